import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { exit, type Instruction, layout, ldMap, mov, print, r0, r1 } from "../../src/asm/index.ts";
import { NotSupportedError } from "../../src/errors.ts";
import { progInfo } from "../../src/kernel-abi/index.ts";
import { attachRawTracepoint, attachTracepoint, listPins } from "../../src/links/index.ts";
import { createMap, listMaps } from "../../src/maps/index.ts";
import { loadObject } from "../../src/object/index.ts";
import {
  enableStatistics,
  hasTag,
  listPrograms,
  loadProgram,
  openPinnedProgram,
  openProgramById,
  type Program,
  programFromFd,
  programTag,
  queryTaskFd,
} from "../../src/programs/index.ts";
import { readKernelSymbols } from "../../src/symbols/index.ts";
import { FakeKernel, isErrno, listBtf, mountDetached, openBackend, openBtfById } from "../../src/syscall/index.ts";
import { failOnLeaks, repository, requires, toolPath } from "../support/harness.ts";

const test = suite("programs/inspect");
failOnLeaks(test);
const kernel = requires(test, "bpf", "sys-admin", "koffi");
const bpftool = requires(test, "bpf", "sys-admin", "koffi", "tool:bpftool>=7");

function ask(...args: string[]): unknown {
  const { stdout } = spawnSync(toolPath("bpftool")!, [...args, "-j"], { encoding: "utf8", maxBuffer: 1 << 27 });
  return JSON.parse(stdout);
}

/** Every fixture that this kernel takes. */
function* fixtures(): Generator<{ readonly name: string; readonly programs: Record<string, Program> }> {
  for (const name of readdirSync(join(repository, "test/fixtures"))
    .filter((each) => each.endsWith(".el.o"))
    .sort()) {
    let object: ReturnType<typeof loadObject>;
    try {
      object = loadObject(readFileSync(join(repository, "test/fixtures", name)));
    } catch {
      continue;
    }
    try {
      yield { name, programs: object.programs as Record<string, Program> };
    } finally {
      object.close();
    }
  }
}

const nothing = [mov(r0, 0), exit()];

interface ShownProgram {
  readonly [field: string]: unknown;
  readonly id: number;
}

bpftool("what bpftool shows of programs, instruction by instruction and line by line", () => {
  const symbols = readKernelSymbols();
  let programs = 0;
  let instructions = 0;
  let same = 0;
  let lines = 0;
  let code = 0;
  for (const { name, programs: loaded } of fixtures()) {
    const now = readKernelSymbols();
    // One call for all: it looks through the descriptors of every process each time.
    const shown = new Map((ask("prog", "show") as ShownProgram[]).map((each) => [each.id, each]));
    for (const program of Object.values(loaded)) {
      programs++;
      const info = program.info();
      const theirs = shown.get(info.id)!;
      assert.equal(
        {
          id: info.id,
          type: info.type,
          name: info.name || undefined,
          tag: info.tag,
          gpl_compatible: info.gplCompatible,
          uid: info.uid,
          bytes_xlated: info.translatedSize,
          bytes_jited: info.machineSize,
          bytes_memlock: info.memory,
          map_ids: info.mapIds.length === 0 ? undefined : info.mapIds,
          btf_id: info.btfId || undefined,
        },
        {
          id: theirs.id,
          type: theirs.type,
          name: theirs.name,
          tag: theirs.tag,
          gpl_compatible: theirs.gpl_compatible,
          uid: theirs.uid,
          bytes_xlated: theirs.bytes_xlated,
          bytes_jited: theirs.bytes_jited,
          bytes_memlock: theirs.bytes_memlock,
          map_ids: theirs.map_ids,
          btf_id: theirs.btf_id,
        },
        `${name} ${program.name}`,
      );
      assert.ok(Math.abs(info.loadedAt!.getTime() / 1000 - (theirs.loaded_at as number)) < 3);
      const id = String(info.id);
      const machine = program.machineCode();
      const bytes = machine.reduce((sum, each) => sum + each.code.length, 0);
      assert.is(bytes, theirs.bytes_jited);
      code += bytes;
      for (const each of machine) {
        assert.equal(now.resolve(each.address), { name: each.symbol, offset: 0, module: "bpf" });
      }
      const translated = program.translated({ symbols });
      const dump = ask("prog", "dump", "xlated", "id", id, "linum") as Shown[];
      assert.is(dump.length, translated.length, `${name} ${program.name}`);
      lines += compareLines(dump, translated);
      same += compareText(dump, translated);
      instructions += dump.length;
    }
  }
  assert.ok(programs > 10);
  assert.is(same, instructions);
  console.log(
    `NOTE bpftool agrees on ${programs} of ${programs} programs: ${same} of ${instructions} translated instructions, ${lines} source lines, ${code} bytes of machine code`,
  );
});

interface Shown {
  readonly proto?: string;
  readonly src?: string;
  readonly line_num?: number;
  readonly file?: string;
  readonly disasm: string;
}

function compareLines(dump: readonly Shown[], translated: readonly Instruction[]): number {
  let lines = 0;
  for (const [i, { src, line_num: number, file, proto }] of dump.entries()) {
    const meta = translated[i]!.meta;
    if (proto !== undefined) {
      const name = /(\w+)\(/.exec(proto)![1]!;
      assert.ok(meta?.labels?.[0]?.startsWith(name), proto);
    }
    if (src === undefined) continue;
    assert.is(meta?.source?.text.trim(), src);
    if (number !== undefined) assert.is(meta?.source?.line, number);
    if (file !== undefined) assert.is(meta?.source?.file, file);
    lines++;
  }
  return lines;
}

/** bpftool's way of writing what we write with names. */
function compareText(dump: readonly Shown[], translated: readonly Instruction[]): number {
  const { slots } = layout(translated);
  const places = new Map<string, number>();
  translated.forEach((insn, i) => {
    for (const label of insn.meta?.labels ?? []) places.set(label, slots[i]!);
  });
  const ours = print(translated, { style: "kernel", numbers: true })
    .split("\n")
    .filter((line) => /^\s*\d+: /.test(line));
  let same = 0;
  for (const [i, { disasm }] of dump.entries()) {
    const insn = translated[i]!;
    let text = ours[i]!.replace(/^\s*\d+: /, "");
    const { reference } = insn.meta ?? {};
    const target = reference === undefined ? undefined : places.get(reference);
    const distance = target === undefined ? undefined : target - slots[i]! - 1;
    const signed = distance === undefined || distance < 0 ? String(distance) : `+${distance}`;
    let wanted = disasm;
    if (/call pc/.test(disasm)) {
      assert.is(insn.imm, distance);
      text = `(85) call pc${signed}`;
      wanted = disasm.replace(/#.*/, "");
    } else if (/subprog/.test(disasm)) {
      text = `(18) ${text.split(" ")[1]} = subprog[${signed}]`;
    } else if (/map\[id/.test(disasm)) {
      text = text.replace(/map\[[^\]]*\]/, `map[id:${insn.imm}]`);
    } else if (/call /.test(disasm)) {
      wanted = disasm.replace(/#.*/, "");
      text = text.replace("call kfunc ", "call ").replace(/#.*/, "");
    }
    if (normal(text) === normal(wanted)) same++;
    else console.log(`NOTE bpftool writes "${disasm}", we "${text}"`);
  }
  return same;
}

function normal(text: string): string {
  return text.replace(/0x([0-9a-f]+)/g, (_, hex: string) => BigInt.asIntN(64, BigInt(`0x${hex}`)).toString());
}

bpftool("maps and BTF, as bpftool lists them", () => {
  using map = createMap({ type: "hash", name: "inspected", key: 4, value: 8, maxEntries: 10 });
  using object = loadObject(readFileSync(join(repository, "test/fixtures/variables.el.o")));
  const mine = new Set([map.info().id, ...Object.values(object.maps).map((each) => each.info().id)]);
  const theirs = (ask("map", "show") as { readonly [field: string]: unknown }[]).filter((each) =>
    mine.has(each.id as number),
  );
  const ours = [...listMaps()].filter((each) => mine.has(each.id));
  assert.is(theirs.length, mine.size);
  assert.equal(
    ours.map((each) => [
      each.id,
      each.type,
      each.name || undefined,
      each.flags,
      each.keySize,
      each.valueSize,
      each.maxEntries,
      each.memory,
    ]),
    theirs.map((each) => [
      each.id,
      each.type,
      each.name,
      each.flags,
      each.bytes_key,
      each.bytes_value,
      each.max_entries,
      each.bytes_memlock,
    ]),
  );
  const btfs = [...listBtf()];
  const listed = ask("btf", "list") as { id: number; size: number; kernel?: boolean; name?: string }[];
  let agree = 0;
  for (const each of listed) {
    const found = btfs.find((one) => one.id === each.id);
    if (found === undefined) continue;
    assert.equal(found, { id: each.id, size: each.size, name: each.name ?? "", kernel: each.kernel ?? false });
    agree++;
  }
  assert.ok(agree >= 2);
  const own = btfs.find((each) => !each.kernel)!;
  assert.ok(openBtfById(own.id).endId > 1);
  const cache = new Map();
  const vmlinux = btfs.find((each) => each.name === "vmlinux")!;
  assert.is(openBtfById(vmlinux.id, { cache }), openBtfById(vmlinux.id, { cache }));
  assert.ok(openBtfById(vmlinux.id, { cache }).typeByName("task_struct", "struct").size > 0);
  console.log(`NOTE bpftool agrees on ${ours.length} of ${ours.length} maps and ${agree} of ${agree} BTFs`);
});

bpftool("what perf events of this process run", () => {
  using program = loadProgram({ type: "tracepoint", instructions: nothing, license: "GPL", name: "watched" });
  using link = attachTracepoint(program, "sched", "sched_process_exec");
  using raw = loadProgram({ type: "raw_tracepoint", instructions: nothing, license: "GPL" });
  using second = attachRawTracepoint(raw, "sched_switch");
  const shown = ask("perf", "show") as {
    pid: number;
    fd: number;
    prog_id: number;
    fd_type: string;
    tracepoint?: string;
  }[];
  let agree = 0;
  for (const each of shown.filter((one) => one.pid === process.pid)) {
    const found = queryTaskFd(process.pid, each.fd)!;
    assert.is(found.programId, each.prog_id);
    assert.is(found.kind, each.fd_type);
    assert.is(found.name, each.tracepoint);
    agree++;
  }
  assert.ok(agree >= 1);
  assert.equal(queryTaskFd(process.pid, second.fd), {
    kind: "raw_tracepoint",
    programId: raw.id,
    name: "sched_switch",
  });
  assert.is(queryTaskFd(process.pid, 1), undefined);
  assert.throws(
    () => queryTaskFd(0x7ffffff0, 1),
    (error: unknown) => isErrno(error, "ENOENT"),
  );
  assert.throws(
    () => queryTaskFd(process.pid, 9999),
    (error: unknown) => isErrno(error, "EBADF"),
  );
  assert.ok(link.fd > 2);
  console.log(`NOTE bpftool agrees on ${agree} of ${agree} perf events`);
});

kernel("tags are those of the kernel, whatever the descriptors of maps", () => {
  using map = createMap({ type: "array", key: 4, value: 8, maxEntries: 1 });
  const programs: readonly (readonly Instruction[])[] = [
    nothing,
    [ldMap(r1, map), mov(r0, 0), exit()],
    [mov(r0, 1), exit()],
  ];
  for (const instructions of programs) {
    using program = loadProgram({ type: "socket_filter", instructions });
    const { tag } = program.info();
    assert.ok(hasTag(instructions, tag));
    assert.ok(tag === programTag(instructions) || tag === programTag(instructions, "sha1"));
    assert.not(hasTag([mov(r0, 7), exit()], tag));
  }
  assert.is(programTag(nothing, "sha1"), "a04f5eef06a7f555");
});

kernel("programs by number, pin and descriptor", () => {
  using bpffs = mountDetached(openBackend(), "bpf");
  const path = `/proc/self/fd/${bpffs.number}/one`;
  using program = loadProgram({ type: "socket_filter", instructions: nothing, name: "one" });
  using byId = openProgramById(program.id);
  assert.is(byId.name, "one");
  assert.is(byId.type, "socket_filter");
  program.pin(path);
  assert.equal(program.pins, [path]);
  using byPin = openPinnedProgram(path);
  assert.is(byPin.id, program.id);
  using byFd = programFromFd(program.fd);
  assert.is(byFd.id, program.id);
  assert.ok(byFd.fd !== program.fd);
  assert.ok([...listPrograms()].some((each) => each.id === program.id && each.name === "one"));
  program.unpin();
  assert.equal(program.pins, []);
  assert.throws(
    () => openPinnedProgram(path),
    (error: unknown) => isErrno(error, "ENOENT"),
  );
  assert.throws(
    () => openProgramById(0x7fffffff),
    (error: unknown) => isErrno(error, "ENOENT"),
  );
  using map = createMap({ type: "array", key: 4, value: 8, maxEntries: 1 });
  assert.throws(() => programFromFd(map.fd), /Cannot use descriptor \d+ as a program: it is a map/);
  assert.throws(
    () => programFromFd(9999),
    (error: unknown) => isErrno(error, "EBADF"),
  );
});

kernel("pins of a folder, and what they are", () => {
  using bpffs = mountDetached(openBackend(), "bpf");
  const root = `/proc/self/fd/${bpffs.number}`;
  using program = loadProgram({ type: "raw_tracepoint", instructions: nothing, name: "one", license: "GPL" });
  using map = createMap({ type: "array", name: "two", key: 4, value: 8, maxEntries: 1 });
  using link = attachRawTracepoint(program, "sched_switch");
  program.pin(`${root}/inner/program`);
  map.pin(`${root}/map`);
  link.pin(`${root}/inner/link`);
  const found = [...listPins(root)].map((pin) => {
    const id =
      pin.kind === "program" ? pin.program.id : pin.kind === "map" ? pin.map.id : pin.kind === "link" ? pin.link.id : 0;
    return [pin.path.slice(root.length), pin.kind, id];
  });
  assert.equal(found, [
    ["/inner/link", "link", link.id],
    ["/inner/program", "program", program.id],
    ["/map", "map", map.info().id],
  ]);
  link.unpin();
  assert.throws(() => [...listPins(`${root}/nothing`)], /Cannot list the pins of .*: ENOENT/);
});

kernel("statistics are counted while the handle is open", () => {
  using program = loadProgram({ type: "socket_filter", instructions: nothing });
  program.run({ data: new Uint8Array(64), repeat: 10 });
  const before = program.statistics().runCount;
  const statistics = enableStatistics();
  program.run({ data: new Uint8Array(64), repeat: 1000 });
  const counted = program.statistics();
  statistics.close();
  assert.is(counted.runCount - before, 1000n);
  assert.ok(counted.runTime > 0n);
  assert.equal(program.info().statistics, counted);
});

kernel("streams, where the kernel has them", () => {
  using program = loadProgram({ type: "socket_filter", instructions: nothing });
  try {
    assert.is(program.readStream("stdout"), "");
    assert.is(program.readStream("stderr"), "");
  } catch (error) {
    assert.instance(error, NotSupportedError);
  }
  assert.throws(() => program.readStream("stdin" as never), TypeError);
});

test("a kernel that hides what it has says so", () => {
  const fake = new FakeKernel();
  const answer = (fields: Partial<Record<keyof (typeof progInfo)["fields"], number>>): void => {
    fake.on("BPF_OBJ_GET_INFO_BY_FD", (request) => {
      const view = new DataView(request.attr.buffer, request.attr.byteOffset);
      const length = view.getUint32(4, true);
      const info = request.memory(
        { name: "x", size: 16, fields: { info: { offset: 8, size: 8, type: "pointer" } } },
        "info",
        length,
      );
      const out = new DataView(info.buffer, info.byteOffset, length);
      for (const name of ["jited_prog_insns", "xlated_prog_insns", "jited_ksyms"] as const) {
        out.setBigUint64(progInfo.fields[name].offset, 0n, true);
      }
      for (const [name, value] of Object.entries(fields)) {
        out.setUint32(progInfo.fields[name as keyof (typeof progInfo)["fields"]].offset, value, true);
      }
      return 0;
    });
  };
  using program = loadProgram({ type: "kprobe", instructions: nothing }, { backend: fake.backend });
  answer({ type: 2, id: 7 });
  assert.throws(() => program.translated(), /instructions of .* is not supported here\nHint: needs CAP_BPF/);
  assert.throws(() => program.machineCode(), /machine code of .*\nHint: it is interpreted/);
  answer({ type: 2, id: 7, xlated_prog_len: 16, jited_prog_len: 20 });
  assert.throws(() => program.translated(), /Hint: its constants are blinded \(net.core.bpf_jit_harden\)/);
  assert.throws(() => program.machineCode(), /Hint: kernel.kptr_restrict/);
  const info = program.info();
  assert.is(info.id, 7);
  assert.is(info.type, "kprobe");
  assert.equal(info.mapIds, []);
  assert.is(info.memory, undefined);
});

test("streams and struct_ops: what reaches the kernel", () => {
  const fake = new FakeKernel();
  using program = loadProgram({ type: "syscall", instructions: nothing }, { backend: fake.backend });
  const parts = ["one\n", "two\n"];
  fake.on("BPF_PROG_STREAM_READ_BY_FD", (request) => {
    const view = new DataView(request.attr.buffer, request.attr.byteOffset);
    assert.is(view.getUint32(12, true), 2);
    assert.is(view.getInt32(16, true), program.fd);
    const text = parts.shift() ?? "";
    const room = request.memory(
      { name: "x", size: 20, fields: { buf: { offset: 0, size: 8, type: "pointer" } } },
      "buf",
      view.getUint32(8, true),
    );
    room.set(new TextEncoder().encode(text));
    return text.length;
  });
  assert.is(program.readStream("stderr"), "one\ntwo\n");
  fake.on("BPF_PROG_STREAM_READ_BY_FD", () => "EINVAL");
  assert.throws(() => program.readStream("stdout"), /Streams of programs is not supported here: needs Linux 6.17/);
  fake.on("BPF_PROG_ASSOC_STRUCT_OPS", (request) => {
    const view = new DataView(request.attr.buffer, request.attr.byteOffset);
    assert.equal([view.getInt32(0, true), view.getInt32(4, true), view.getUint32(8, true)], [42, program.fd, 0]);
    return 0;
  });
  program.associateStructOps({ fd: 42 });
  fake.on("BPF_PROG_ASSOC_STRUCT_OPS", () => "EINVAL");
  assert.throws(() => program.associateStructOps({ fd: 42 }), /EINVAL.*\nHint: needs Linux 7.0/s);
});

test("a name that needs more room, and kinds of probes", () => {
  const fake = new FakeKernel();
  let kind = 4;
  fake.on("BPF_TASK_FD_QUERY", (request) => {
    const view = new DataView(request.attr.buffer, request.attr.byteOffset);
    const text = `/usr/lib/${"x".repeat(300)}`;
    const room = view.getUint32(12, true);
    view.setUint32(12, text.length, true);
    if (room <= text.length) return "ENOSPC";
    const memory = request.memory(
      { name: "x", size: 48, fields: { buf: { offset: 16, size: 8, type: "pointer" } } },
      "buf",
      room,
    );
    memory.set(new TextEncoder().encode(text));
    view.setUint32(24, 9, true);
    view.setUint32(28, kind, true);
    view.setBigUint64(32, 0x1234n, true);
    view.setBigUint64(40, 0xffffffff81000000n, true);
    return 0;
  });
  const name = `/usr/lib/${"x".repeat(300)}`;
  assert.equal(queryTaskFd(1, 3, { backend: fake.backend }), { kind: "uprobe", programId: 9, name, offset: 0x1234n });
  kind = 3;
  assert.equal(queryTaskFd(1, 3, { backend: fake.backend }), {
    kind: "kretprobe",
    programId: 9,
    name,
    offset: 0x1234n,
    address: 0xffffffff81000000n,
  });
  kind = 77;
  assert.is(queryTaskFd(1, 3, { backend: fake.backend }), undefined);
});

test.run();
