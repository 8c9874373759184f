import { spawnSync } from "node:child_process";
import { closeSync, mkdirSync, openSync, readFileSync, rmdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { assemble, exit, type Instruction, mov, r0 } from "../../src/asm/index.ts";
import { encodeBtf } from "../../src/btf/index.ts";
import { parseObject } from "../../src/elf/index.ts";
import type { AttachType } from "../../src/kernel-abi/index.ts";
import {
  attachCgroup,
  attachFreplace,
  attachIterator,
  attachTracing,
  attachTracingMulti,
  type Link,
  listLinks,
  openPinnedLink,
  readIterator,
} from "../../src/links/index.ts";
import { createMap, listMaps, u32, u64 } from "../../src/maps/index.ts";
import { loadObject } from "../../src/object/index.ts";
import { loadProgram, type Program } from "../../src/programs/index.ts";
import { objectById } from "../../src/syscall/commands.ts";
import { type Fd, listBtf, loadBtf, loadKernelBtf, openBackend } from "../../src/syscall/index.ts";
import { counter, counting } from "../links/counter.ts";
import { inside, udpSocket, withCgroup } from "../links/network.ts";
import { failOnLeaks, repository } from "../support/harness.ts";
import {
  changes,
  counts,
  features,
  functionId,
  givesCookie,
  sameAsBpftool,
  tracepointId,
  unlinkFile,
} from "./feature.ts";

const test = suite("functions under other kernels");
failOnLeaks(test);
const feature = features(test);

type Tracing = "trace_fentry" | "trace_fexit" | "modify_return" | "trace_fsession";

function tracing(expectedAttachType: Tracing, name: string) {
  return { type: "tracing", expectedAttachType, attachBtfId: functionId(name) } as const;
}

const attach = (program: Program): Link => attachTracing(program);
const openFile = (): void => closeSync(openSync("/etc/passwd", "r"));

feature("fentry", [], () =>
  counts(tracing("trace_fentry", "vfs_unlink"), attach, unlinkFile, (link) => {
    const info = link.info();
    assert.ok(info.type === "tracing" && info.attachType === "trace_fentry");
    // Before 6.? the kernel does not tell the target.
    if (info.targetBtfId !== 0) assert.is(info.targetBtfId, functionId("vfs_unlink"));
  }),
);
feature("fexit", [], () => counts(tracing("trace_fexit", "vfs_unlink"), attach, unlinkFile));
feature("fmod_ret", [], () => counts(tracing("modify_return", "security_file_open"), attach, openFile));
feature("fsession", ["6.1", "6.12", "6.18"], () => counts(tracing("trace_fsession", "vfs_unlink"), attach, unlinkFile));
feature("fentry cookie", [], () => {
  const withCookie = (program: Program): Link => attachTracing(program, { cookie: 6n });
  givesCookie(tracing("trace_fentry", "vfs_unlink"), withCookie, unlinkFile, 6n);
});
feature("fentry, sleepable", ["6.1", "6.12", "6.18"], () => {
  const spec = tracing("trace_fentry", "__x64_sys_unlink");
  counts({ ...spec, flags: BPF_F_SLEEPABLE }, attach, unlinkFile);
});
feature("fentry of a module", [], () => {
  spawnSync("modprobe", ["tun"]);
  using object = loadObject(objectWith({ p43: "tun:tun_chr_open", p47: "tun_chr_open" }));
  using links = object.attach();
  assert.is(Object.keys(links.links).length, 2);
  for (const link of Object.values(links.links)) sameAsBpftool(link);
  const info = [...listBtf()].find(({ name }) => name === "tun")!;
  using types = objectById(openBackend(), "btf", info.id);
  const attachBtfId = loadKernelBtf("tun", { cache: new Map() }).typeByName("tun_chr_open", "func").id;
  for (const expectedAttachType of ["trace_fentry", "trace_fexit"] as const) {
    counts({ type: "tracing", expectedAttachType, attachBtf: types.number, attachBtfId }, attach, () =>
      closeSync(openSync("/dev/net/tun", "r")),
    );
  }
});
feature("fentry.multi", ["6.1", "6.12", "6.18"], () => {
  using map = counter();
  using program = loadProgram({
    type: "tracing",
    expectedAttachType: "trace_fentry_multi",
    instructions: counting(map),
    license: "GPL",
  });
  using link = attachTracingMulti(program, { btfIds: [functionId("vfs_unlink"), functionId("vfs_rmdir")] });
  unlinkFile();
  assert.is(map.get(0), 2n);
  assert.is(link.info().type, "tracing_multi");
});

feature("fexit.multi by a pattern", ["6.1", "6.12", "6.18"], () => {
  using map = counter();
  using program = loadProgram({
    type: "tracing",
    expectedAttachType: "trace_fexit_multi",
    instructions: counting(map),
    license: "GPL",
  });
  using link = attachTracingMulti(program, { pattern: "vfs_unlin?" });
  unlinkFile();
  assert.is(map.get(0), 1n);
  const info = link.info();
  assert.ok(info.type === "tracing_multi" && info.count === 1);
});

const BPF_F_SLEEPABLE = 1 << 4;

/** The fixture with a program in a section of every name, of which those are loaded that are given, with their targets. */
function objectWith(targets: { readonly [program: string]: string }): ReturnType<typeof parseObject> {
  const spec = parseObject(readFileSync(join(repository, "test/fixtures/sections.el.o")));
  for (const [name, program] of Object.entries(spec.programs)) {
    program.autoload = Object.hasOwn(targets, name);
    if (targets[name] !== undefined) program.attachTo = targets[name];
  }
  return spec;
}

function lsm(name: string, attachType: AttachType = "lsm_mac", flags = 0) {
  return { type: "lsm", expectedAttachType: attachType, attachBtfId: functionId(`bpf_lsm_${name}`), flags } as const;
}

feature("lsm", [], () => counts(lsm("file_open"), attach, openFile));
feature("lsm, sleepable", [], () => counts(lsm("file_open", "lsm_mac", BPF_F_SLEEPABLE), attach, openFile));
feature("lsm refuses", [], () => {
  const EPERM = 1;
  using program = loadProgram({ ...lsm("path_mkdir"), instructions: [mov(r0, -EPERM), exit()], license: "GPL" });
  const make = (): void => {
    mkdirSync("/tmp/made");
    rmdirSync("/tmp/made");
  };
  {
    using _link = attachTracing(program);
    assert.throws(make, /EPERM/);
  }
  make();
});
feature("lsm_cgroup", [], () => {
  withCgroup((path, root) => {
    const open = (): void =>
      inside(path, root, () => {
        udpSocket().close();
      });
    const spec = { ...lsm("socket_create", "lsm_cgroup"), result: 1 } as const;
    counts(spec, (program) => attachCgroup(program, path), open);
    changes(spec, (program) => attachCgroup(program, path), open, { update: true, detach: true });
  });
});

feature("tp_btf", [], () => {
  const spec = {
    type: "tracing",
    expectedAttachType: "trace_raw_tp",
    attachBtfId: tracepointId("sched_process_exec"),
  } as const;
  counts(spec, attach, () => void spawnSync("true"));
});
feature("tp_btf cookie", ["6.1"], () => {
  const spec = {
    type: "tracing",
    expectedAttachType: "trace_raw_tp",
    attachBtfId: tracepointId("sched_process_exec"),
  } as const;
  givesCookie(
    spec,
    (program) => attachTracing(program, { cookie: 8n }),
    () => void spawnSync("true"),
    8n,
  );
});

feature("a trace link outlives its process by a pin", [], () => {
  using map = counter();
  const path = "/sys/fs/bpf/rawbpf-pinned";
  using program = loadProgram({
    ...tracing("trace_fentry", "vfs_unlink"),
    instructions: counting(map),
    license: "GPL",
  });
  const link = attachTracing(program);
  link.pin(path);
  link.close();
  unlinkFile();
  const counted = map.get(0)!;
  assert.ok(counted >= 1n);
  using again = openPinnedLink(path);
  assert.is(again.info().type, "tracing");
  const number = again.id;
  again.unpin(path);
  again.close();
  // The kernel lets go of the pin when nobody can be looking at it any more (6.9), not at once.
  for (const end = Date.now() + 10_000; [...listLinks()].some(({ id }) => id === number); ) {
    assert.ok(Date.now() < end, "the link is still there");
  }
  const last = map.get(0)!;
  unlinkFile();
  assert.is(map.get(0), last);
});

/** A program of an iterator that writes the number of each object, which is at an offset in its context. */
function numbering(offset: number): Instruction[] {
  return assemble(`
    r2 = *(u64 *)(r1 + ${offset})
    if r2 == 0 goto out
    r1 = *(u64 *)(r1 + 0)
    r2 = *(u64 *)(r1 + 16)
    *(u64 *)(r10 - 8) = r2
    r1 = *(u64 *)(r1 + 0)
    r2 = r10
    r2 += -8
    r3 = 8
    call seq_write
    out:
    r0 = 0
    exit
  `) as Instruction[];
}

feature("iterators", [], () => {
  using map = createMap({ type: "hash", key: u32, value: u64, maxEntries: 4 });
  map.set(1, 1n);
  map.set(2, 4n);
  for (const [name, options] of [
    ["task", {}],
    ["task", { task: { pid: process.pid } }],
    ["task_file", { task: { pid: process.pid } }],
    ["task_vma", { task: { pid: process.pid } }],
    ["bpf_map_elem", { map }],
    ["bpf_map", {}],
    ["bpf_prog", {}],
    ["bpf_link", {}],
    ["tcp", {}],
    ["udp", {}],
    ["unix", {}],
    ["netlink", {}],
    ["cgroup", { cgroup: { id: BigInt(statSync("/sys/fs/cgroup").ino), order: "descendants_pre" } }],
  ] as const) {
    using times = counter();
    const spec = {
      type: "tracing",
      expectedAttachType: "trace_iter",
      attachBtfId: functionId(`bpf_iter_${name}`),
      license: "GPL",
    } as const;
    using program = loadProgram({ ...spec, instructions: numbering(name === "bpf_map_elem" ? 16 : 8) });
    using link = attachIterator(program, options);
    sameAsBpftool(link);
    const output = readIterator(link);
    assert.is(output.length % 8, 0);
    const numbers = [...new BigUint64Array(output.buffer, output.byteOffset, output.length / 8)];
    assert.equal(numbers, [...numbers.keys()].map(BigInt), name);
    if (name === "bpf_map_elem") assert.is(numbers.length, 2);
    if (name === "bpf_map") assert.ok(numbers.length >= [...listMaps()].length);
    // There may be no sockets of some kinds.
    if (!["tcp", "udp", "unix", "netlink"].includes(name)) assert.ok(numbers.length >= 1, name);
    using counts = loadProgram({ ...spec, instructions: counting(times) });
    link.update(counts, { expected: program });
    assert.equal([...readIterator(link)], [], name);
    assert.ok(times.get(0)! >= 1n, name);
  }
});

/** BTF of a program with a context of XDP and one function more, `choose`, which takes and gives a number. */
function programTypes(): Fd {
  const bytes = encodeBtf([
    { kind: "int", name: "int", size: 4, signed: true },
    { kind: "struct", name: "xdp_md", size: 24, members: [] },
    { kind: "ptr", type: 2 },
    { kind: "func_proto", returnType: 1, params: [{ name: "ctx", type: 3 }] },
    { kind: "func", name: "first", type: 4, linkage: "global" },
    { kind: "func_proto", returnType: 1, params: [{ name: "a", type: 1 }] },
    { kind: "func", name: "choose", type: 6, linkage: "global" },
  ]);
  return loadBtf(openBackend(), bytes);
}
const CHOOSE = 7;
const choosing = "first: r1 = 5; call choose; exit; choose: r0 = r1; r0 += 1; exit";
const functions = [
  { label: "first", type: 5 },
  { label: "choose", type: CHOOSE },
];

feature("freplace", [], () => {
  const returned = (program: Program): number => program.run({ data: new Uint8Array(64) }).returnValue;
  using types = programTypes();
  const target = (name: string): Program =>
    loadProgram({
      type: "xdp",
      name,
      instructions: assemble(choosing) as Instruction[],
      license: "GPL",
      btf: { fd: types.number, functions },
    });
  using first = target("first");
  using second = target("second");
  using replacement = loadProgram({
    type: "ext",
    name: "replacement",
    attachProgram: first.fd,
    attachBtfId: CHOOSE,
    instructions: assemble("choose: r0 = r1; r0 *= 100; exit") as Instruction[],
    license: "GPL",
    btf: { fd: types.number, functions: [functions[1]!] },
  });
  assert.equal([returned(first), returned(second)], [6, 6]);
  {
    using link = attachFreplace(replacement);
    assert.equal([returned(first), returned(second)], [500, 6]);
    sameAsBpftool(link);
  }
  assert.equal([returned(first), returned(second)], [6, 6]);
  {
    using _link = attachFreplace(replacement, { program: second.fd, btfId: CHOOSE });
    assert.equal([returned(first), returned(second)], [6, 500]);
  }
  assert.equal([returned(first), returned(second)], [6, 6]);
});

feature("freplace by an object", [], () => {
  // Compiled before the machine starts, which has no compiler.
  const bytes = readFileSync(join(repository, ".build/test/kernels/replace.o"));
  const returned = (program: Program): number => program.run({ data: new Uint8Array(64) }).returnValue;
  using target = loadObject(bytes, { programs: ["first"] });
  const first = target.program("first");
  using object = loadObject(bytes, { programs: ["replacement"], targets: { replacement: first } });
  assert.is(returned(first), 6);
  {
    using links = object.attach();
    sameAsBpftool(links.links.replacement!);
    assert.is(returned(first), 500);
  }
  assert.is(returned(first), 6);
});

feature("changes of links to functions", [], () => {
  const kept = { update: false, detach: false };
  changes(tracing("trace_fentry", "vfs_unlink"), attach, unlinkFile, kept);
  changes(lsm("file_open"), attach, openFile, kept);
  const spec = { type: "tracing", expectedAttachType: "trace_raw_tp" } as const;
  const exec = (): void => void spawnSync("true");
  changes({ ...spec, attachBtfId: tracepointId("sched_process_exec") }, attach, exec, kept);
});

test.run();
