import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { exit, mov, r0 } from "../../src/asm/index.ts";
import { type BpfError, NotSupportedError } from "../../src/errors.ts";
import { linkCreateAttr } from "../../src/kernel-abi/index.ts";
import { attachKprobe, attachKprobeMulti, attachSyscall, syscallFunction } from "../../src/links/index.ts";
import { globMatcher } from "../../src/links/kprobe-multi.ts";
import { loadProgram, type Program } from "../../src/programs/index.ts";
import { FakeKernel, type SyscallTrace, type Tracefs, traceSyscalls } from "../../src/syscall/index.ts";
import { failOnLeaks, requires } from "../support/harness.ts";

const test = suite("kprobe links");
failOnLeaks(test);
const kernel = requires(test, "bpf", "sys-admin", "koffi");

/** A folder with the files that units and tracefs have. */
function folder(files: { readonly [path: string]: string }): { readonly path: string } & Tracefs {
  const path = mkdtempSync(join(tmpdir(), "rawbpf-kprobe-"));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(path, name, ".."), { recursive: true });
    writeFileSync(join(path, name), text);
  }
  const close = (): void => rmSync(path, { recursive: true });
  return { path, detached: false, close, [Symbol.dispose]: close };
}

const UNIT = { "kprobe/type": "8\n", "kprobe/format/retprobe": "config:0\n" };

function probing(fake: FakeKernel): Program {
  return loadProgram({ type: "kprobe", instructions: [mov(r0, 0), exit()], name: "p" }, { backend: fake.backend });
}

function traced(run: () => { close(): void }): SyscallTrace[] {
  const calls: SyscallTrace[] = [];
  using _tracer = traceSyscalls((one) => calls.push(one));
  run().close();
  return calls;
}

test("a probe is an event of the kernel's unit for them", () => {
  using units = folder(UNIT);
  const fake = new FakeKernel();
  using program = probing(fake);
  const options = { eventSources: units.path };
  const attrs = [
    () => attachKprobe(program, "do_unlinkat", options),
    () => attachKprobe(program, "do_unlinkat", { ...options, return: true, cookie: 4n }),
    () => attachKprobe(program, "do_unlinkat", { ...options, offset: 12 }),
    () => attachKprobe(program, 0xffffffff81234560n, options),
  ].map((run) => {
    const calls = traced(run);
    assert.equal(
      calls.map((call) => call.command ?? call.arguments.request ?? call.syscall),
      ["perf_event_open", "BPF_LINK_CREATE", "PERF_EVENT_IOC_ENABLE", "close", "close"],
    );
    const { pid, group_fd } = calls[0]!.arguments;
    assert.equal([pid, group_fd], [-1, -1]);
    return calls[0]!.arguments.attr;
  });
  assert.equal(attrs, [
    { type: 8, config: 0, kprobe_func: "do_unlinkat", probe_offset: 0, size: 144 },
    { type: 8, config: 1, kprobe_func: "do_unlinkat", probe_offset: 0, size: 144 },
    { type: 8, config: 0, kprobe_func: "do_unlinkat", probe_offset: 12, size: 144 },
    { type: 8, config: 0, kprobe_addr: 0xffffffff81234560n, size: 144 },
  ]);
});

test("without the unit, a line of kprobe_events makes a probe, and another removes it", () => {
  using units = folder({});
  using tracefs = folder({ kprobe_events: "", "events/rawbpf/.keep": "" });
  const fake = new FakeKernel();
  using program = probing(fake);
  // The folder of the probe is not there, as nobody made it: the line is taken back at once.
  assert.throws(() => attachKprobe(program, "do_unlinkat", { eventSources: units.path, tracefs, offset: 4 }), /ENOENT/);
  const [first, second] = readFileSync(join(tracefs.path, "kprobe_events"), "utf8").trim().split("\n");
  const name = /^p:(rawbpf\/p\d+_\d+_do_unlinkat) do_unlinkat\+4$/.exec(first!)?.[1];
  assert.ok(name !== undefined, first);
  assert.is(second, `-:${name}`);
});

test("a probe in tracefs has its event, and is removed after it was closed", () => {
  using units = folder({});
  const fake = new FakeKernel();
  using program = probing(fake);
  using tracefs = folder({ kprobe_events: "" });
  // What the kernel would make for the next probe: its number is one higher than that of the last one.
  const probe = (n: number): string => `events/rawbpf/p${process.pid}_${n}_vfs_read/id`;
  for (let n = 1; n < 50; n++) {
    mkdirSync(join(tracefs.path, probe(n), ".."), { recursive: true });
    writeFileSync(join(tracefs.path, probe(n)), `${1000 + n}\n`);
  }
  const options = { eventSources: units.path, tracefs, return: true, maxActive: 16 };
  const calls = traced(() => attachKprobe(program, "vfs_read", options));
  assert.is((calls[0]!.arguments.attr as { type: number }).type, 2);
  const lines = readFileSync(join(tracefs.path, "kprobe_events"), "utf8").trim().split("\n");
  assert.match(lines[0]!, /^r16:rawbpf\/p\d+_\d+_vfs_read vfs_read$/);
  assert.match(lines[1]!, /^-:rawbpf\/p\d+_\d+_vfs_read$/);
  assert.throws(() => attachKprobe(program, "vfs_read\n-:other", options), /is no function's name/);
});

test("a kernel without kprobes says so", () => {
  using units = folder({});
  using tracefs = folder({ README: "" });
  const fake = new FakeKernel();
  using program = probing(fake);
  assert.throws(
    () => attachKprobe(program, "vfs_read", { eventSources: units.path, tracefs }),
    (error: unknown) => error instanceof NotSupportedError && /CONFIG_KPROBE_EVENTS/.test(error.message),
  );
  assert.throws(
    () => attachKprobe(program, "vfs_read", { eventSources: units.path, mode: "perf" }),
    /perf event unit for kprobes/,
  );
});

kernel("on this machine, attaching works or says what is missing", () => {
  using program = loadProgram({ type: "kprobe", instructions: [mov(r0, 0), exit()], license: "GPL" });
  try {
    attachKprobe(program, "do_unlinkat").close();
  } catch (error) {
    assert.instance(error, NotSupportedError);
    return;
  }
  assert.throws(
    () => attachKprobe(program, "do_unlinkatt"),
    (error: BpfError) => error.code === "ERR_ATTACH_TARGET" && /did you mean do_unlinkat/.test(error.message),
  );
});

test("system calls are functions with the prefix of the architecture", () => {
  const { backend } = new FakeKernel();
  assert.is(syscallFunction(backend, "openat", new Set(["__x64_sys_openat", "__se_sys_openat"])), "__x64_sys_openat");
  assert.is(syscallFunction(backend, "openat", new Set(["__se_sys_openat"])), "__se_sys_openat");
  assert.is(syscallFunction(backend, "openat", new Set(["sys_openat"])), "sys_openat");
  assert.is(syscallFunction(backend, "openat", new Set()), "__x64_sys_openat");
  assert.is(
    syscallFunction({ ...backend, architecture: "arm64" }, "openat", new Set(["__arm64_sys_openat"])),
    "__arm64_sys_openat",
  );
  using units = folder(UNIT);
  using program = probing(new FakeKernel());
  const calls = traced(() => attachSyscall(program, "no_such_call", { eventSources: units.path }));
  assert.is((calls[0]!.arguments.attr as { kprobe_func: string }).kprobe_func, "__x64_sys_no_such_call");
});

test("many functions by one link: names, addresses, patterns, cookies", () => {
  using tracefs = folder({
    available_filter_functions: "tcp_v4_connect\ntcp_v6_connect\ntwice_x\ntwice_x\nudp_sendmsg [udp]\n",
  });
  const seen: unknown[] = [];
  const fake = new FakeKernel().on("BPF_LINK_CREATE", (request) => {
    const get = (field: string): number => request.get(linkCreateAttr, field);
    const count = get("kprobe_multi.cnt");
    const words = (field: string): bigint[] => [
      ...new BigUint64Array(request.memory(linkCreateAttr, field, count * 8).slice().buffer),
    ];
    const symbols = words("kprobe_multi.syms");
    seen.push({
      attachType: get("attach_type"),
      flags: get("kprobe_multi.flags"),
      symbols: symbols.map((address) => fake.textAt(Number(address))),
      addresses: words("kprobe_multi.addrs"),
      cookies: words("kprobe_multi.cookies"),
    });
    return undefined;
  });
  const { backend } = fake;
  const load = (expectedAttachType: "trace_kprobe_multi" | "trace_kprobe_session"): Program =>
    loadProgram({ type: "kprobe", expectedAttachType, instructions: [mov(r0, 0), exit()], name: "p" }, { backend });
  using program = load("trace_kprobe_multi");
  using session = load("trace_kprobe_session");
  attachKprobeMulti(program, { symbols: ["a", "b"], cookies: [1n, 2n], return: true }).close();
  attachKprobeMulti(session, { addresses: [0xffffffff81000000n] }).close();
  attachKprobeMulti(program, { pattern: "t*_*", tracefs }).close();
  assert.equal(seen, [
    { attachType: 42, flags: 1, symbols: ["a", "b"], addresses: [], cookies: [1n, 2n] },
    { attachType: 56, flags: 0, symbols: [], addresses: [0xffffffff81000000n], cookies: [] },
    // A name that stands for two functions is not taken.
    { attachType: 42, flags: 0, symbols: ["tcp_v4_connect", "tcp_v6_connect"], addresses: [], cookies: [] },
  ]);
  assert.throws(
    () => attachKprobeMulti(program, { pattern: "nothing*", tracefs }),
    (error: BpfError) => error.code === "ERR_ATTACH_TARGET",
  );
  assert.throws(() => attachKprobeMulti(program, { symbols: [] }), RangeError);
  assert.throws(() => attachKprobeMulti(program, { symbols: ["a"], cookies: [] }), RangeError);
  assert.throws(() => attachKprobeMulti(program, {}), TypeError);
  using wrong = loadProgram({ type: "xdp", instructions: [mov(r0, 0), exit()] }, { backend });
  assert.throws(
    () => attachKprobeMulti(wrong, { symbols: ["a"] }),
    (error: BpfError) => error.code === "ERR_TYPE_MISMATCH",
  );
});

test("patterns are those of a shell", () => {
  const matches = (pattern: string, ...names: string[]): string[] => names.filter(globMatcher(pattern));
  assert.equal(matches("tcp_*", "tcp_", "tcp_x", "xtcp_y", "tcp"), ["tcp_", "tcp_x"]);
  assert.equal(matches("a?c", "abc", "ac", "abbc"), ["abc"]);
  assert.equal(matches("a.c", "abc", "a.c"), ["a.c"]);
  assert.equal(matches("*", "x", ""), ["x", ""]);
});

test.run();
