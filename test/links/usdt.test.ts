import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { exit, mov, r0 } from "../../src/asm/index.ts";
import { parseObject } from "../../src/elf/index.ts";
import type { BpfError } from "../../src/errors.ts";
import { attachUsdt, UsdtSpecs } from "../../src/links/index.ts";
import { bytes, createMap, openRingBuffer, u32 } from "../../src/maps/index.ts";
import { loadObject } from "../../src/object/index.ts";
import { loadProgram } from "../../src/programs/index.ts";
import { encodeUsdtSpec, openBinary, parseUsdtArguments, usdtProbes } from "../../src/symbols/index.ts";
import { failOnLeaks, repository, requires, skip, toolPath, toolsDirectory } from "../support/harness.ts";
import { counter, counting } from "./counter.ts";

const test = suite("USDT links");
failOnLeaks(test);
const compiled = requires(test, "bpf", "sys-admin", "koffi", "tool:gcc");
const withLibbpf = requires(test, "bpf", "sys-admin", "koffi", "tool:gcc", "tool:clang", "tool:libbpf-cc");

let directory: string;
let target: string;

test.before(() => {
  directory = mkdtempSync(join(tmpdir(), "rawbpf-usdt-"));
  target = join(directory, "target");
  const source = join(repository, "test/links/usdt-target.c");
  const gcc = toolPath("gcc");
  if (gcc === undefined) return;
  const built = spawnSync(gcc, ["-O1", source, "-o", target], { encoding: "utf8" });
  assert.is(built.status, 0, built.stderr);
});

test.after(() => rmSync(directory, { recursive: true }));

compiled("probes are found, with their places, counters and arguments", () => {
  const probes = usdtProbes(openBinary(target));
  assert.equal(probes.map(({ provider, name }) => `${provider}:${name}`).sort(), [
    "test:none",
    "test:one",
    "test:two",
    "test:two",
  ]);
  const one = probes.find((probe) => probe.name === "one")!;
  assert.ok(one.semaphoreOffset > 0);
  assert.is(parseUsdtArguments(one.arguments, "x64").length, 10);
  // Each place holds the instruction that a probe replaces.
  const file = readFileSync(target);
  for (const probe of probes) assert.is(file[probe.offset], 0x90);
});

compiled("a probe runs a program, and its counter is raised meanwhile", () => {
  using map = counter();
  using program = loadProgram({ type: "kprobe", instructions: counting(map), license: "GPL", name: "counter" });
  assert.is(spawnSync(target, ["1"]).status, 0);
  {
    using link = attachUsdt(program, target, "test", "one");
    assert.ok(link.target.endsWith("target:test:one"));
    assert.is(spawnSync(target, ["5"]).status, 1);
    assert.is(map.get(0), 5n);
  }
  assert.is(spawnSync(target, ["5"]).status, 0);
  assert.is(map.get(0), 5n);
  {
    // Both places.
    using _link = attachUsdt(program, target, "test", "two");
    spawnSync(target, ["3"]);
    assert.is(map.get(0), 11n);
  }
});

compiled("one link for all places, where the program was loaded for that", () => {
  using map = counter();
  const expectedAttachType = "trace_uprobe_multi";
  using program = loadProgram({ type: "kprobe", expectedAttachType, instructions: counting(map), license: "GPL" });
  using link = attachUsdt(program, target, "test", "two");
  const info = link.info();
  assert.ok(info.type === "uprobe_multi" && info.count === 2);
  spawnSync(target, ["3"]);
  assert.is(map.get(0), 6n);
  using one = attachUsdt(program, target, "test", "one");
  assert.is(spawnSync(target, ["1"]).status, 1);
  const counters = one.info();
  assert.ok(counters.type === "uprobe_multi" && counters.referenceCounterOffsets[0]! > 0n);
});

compiled("a probe that is not there is named, with those that are near", () => {
  using program = loadProgram({ type: "kprobe", instructions: [mov(r0, 0), exit()], license: "GPL" });
  const fails = (run: () => unknown, text: RegExp): void => {
    assert.throws(run, (error: BpfError) => error.code === "ERR_ATTACH_TARGET" && text.test(error.message));
  };
  fails(() => attachUsdt(program, target, "test", "onne"), /did you mean test:one/);
  fails(() => attachUsdt(program, "true", "test", "one"), /has no USDT probes/);
});

compiled("entries of the map of arguments are taken and given back", () => {
  using specs = createMap({ type: "array", key: u32, value: bytes(208), maxEntries: 2 });
  using program = loadProgram({ type: "kprobe", instructions: [mov(r0, 0), exit()], license: "GPL" });
  const usdt = new UsdtSpecs(specs);
  for (let i = 0; i < 5; i++) {
    using _link = attachUsdt(program, target, "test", "two", { specs: usdt });
  }
  using _both = attachUsdt(program, target, "test", "two", { specs: usdt });
  assert.throws(
    () => attachUsdt(program, target, "test", "none", { specs: usdt }),
    (error: BpfError) => error.code === "ERR_LIMIT" && /BPF_USDT_MAX_SPEC_CNT/.test(error.message),
  );
  using other = createMap({ type: "array", key: u32, value: bytes(8), maxEntries: 2 });
  assert.throws(() => new UsdtSpecs(other), /is no map of USDT arguments/);
});

interface Seen {
  readonly cookie: bigint;
  readonly count: bigint;
  readonly args: readonly bigint[];
  readonly results: readonly bigint[];
}

const HEADERS = [
  { version: "1.7", path: join(toolsDirectory(), "trees/libbpf/usr/include"), indexed: true },
  { version: "of this machine", path: "/usr/include", indexed: false },
];

for (const { version, path, indexed } of HEADERS) {
  const register = existsSync(join(path, "bpf/usdt.bpf.h"))
    ? withLibbpf
    : (name: string) => skip(test, name, `needs ${path}/bpf/usdt.bpf.h`);
  register(`a program built with libbpf's header (${version}) reads its arguments`, () => readArguments(path, indexed));
}

function readArguments(headers: string, indexed: boolean): void {
  const object = join(directory, "reader.o");
  const source = join(repository, "test/links/usdt-reader.c");
  const flags = [
    "-g",
    "-O2",
    "-target",
    "bpf",
    "-D__TARGET_ARCH_x86",
    "-I",
    headers,
    "-I/usr/include/x86_64-linux-gnu",
  ];
  const built = spawnSync(toolPath("clang")!, [...flags, "-c", source, "-o", object], { encoding: "utf8" });
  assert.is(built.status, 0, built.stderr);
  const spec = parseObject(readFileSync(object));
  spec.programs.read_one!.attachTo = `${target}:test:one`;
  spec.programs.read_two!.attachTo = `${target}:test:two`;
  using loaded = loadObject(spec);
  using _links = loaded.attach();
  spawnSync(target, ["2"]);
  const seen: Seen[] = [];
  using ring = openRingBuffer(loaded.maps.records!);
  ring.consume((view, offset) => {
    const words = Array.from({ length: 26 }, (_, i) => view.getBigInt64(offset + i * 8, true));
    seen.push({ cookie: words[0]!, count: words[1]!, args: words.slice(2, 14), results: words.slice(14) });
  });
  const pad = (values: bigint[]): bigint[] => [...values, ...Array.from({ length: 12 - values.length }, () => 0n)];
  // Headers before 1.7 do not know indexed memory.
  const last = indexed ? [12n, -13n] : [];
  const one = (n: bigint): bigint[] => pad([n, 251n, -5n, -300n, 0x89abcdefn, -(1n << 40n), -7n, 99n, ...last]);
  assert.equal(
    seen.map(({ count, args }) => [count, args]),
    [
      [10n, one(-3n)],
      [1n, pad([0n])],
      [1n, pad([100n])],
      [10n, one(-2n)],
      [1n, pad([1n])],
      [1n, pad([101n])],
    ],
  );
  // The arguments that are there were read; asking for more gives ENOENT.
  assert.equal([...new Set(seen[0]!.results.slice(0, 8))], [0n]);
  assert.equal(seen[0]!.results.slice(8, 10), indexed ? [0n, 0n] : [-22n, -22n]);
  assert.is(seen[0]!.results[10], -2n);
}

test("where arguments are, as assemblers write it", () => {
  const x64 = (text: string): unknown[] =>
    parseUsdtArguments(text, "x64").map(({ size, signed, ...rest }) => ({ ...rest, size: signed ? -size : size }));
  assert.equal(x64(""), []);
  assert.equal(x64("-4@%edi 8@%r10 1@%bpl 2@%sp"), [
    { kind: "register", register: "edi", offset: 112, size: -4 },
    { kind: "register", register: "r10", offset: 56, size: 8 },
    { kind: "register", register: "bpl", offset: 32, size: 1 },
    { kind: "register", register: "sp", offset: 152, size: 2 },
  ]);
  assert.equal(x64("8@-1204(%rbp) -4@(%rax) 8@0x10(%rip) -4@$-9 8@$0x7fffffffffffffff"), [
    { kind: "memory", register: "rbp", offset: 32, displacement: -1204n, size: 8 },
    { kind: "memory", register: "rax", offset: 80, displacement: 0n, size: -4 },
    { kind: "memory", register: "rip", offset: 128, displacement: 16n, size: 8 },
    { kind: "constant", value: -9n, size: -4 },
    { kind: "constant", value: 0x7fffffffffffffffn, size: 8 },
  ]);
  assert.equal(x64("1@-96(%rbp,%rax,8) 4@(%rdx,%rcx)"), [
    {
      kind: "indexed",
      register: "rbp",
      offset: 32,
      index: "rax",
      indexOffset: 80,
      scale: 8,
      displacement: -96n,
      size: 1,
    },
    {
      kind: "indexed",
      register: "rdx",
      offset: 96,
      index: "rcx",
      indexOffset: 88,
      scale: 1,
      displacement: 0n,
      size: 4,
    },
  ]);
  const arm64 = (text: string): unknown[] =>
    parseUsdtArguments(text, "arm64").map(({ size, signed, ...rest }) => ({ ...rest, size: signed ? -size : size }));
  assert.equal(arm64("-4@w0 8@x30 8@[sp, 16] -4@[x29,-20] 8@[x1] -8@-5"), [
    { kind: "register", register: "w0", offset: 0, size: -4 },
    { kind: "register", register: "x30", offset: 240, size: 8 },
    { kind: "memory", register: "sp", offset: 248, displacement: 16n, size: 8 },
    { kind: "memory", register: "x29", offset: 232, displacement: -20n, size: -4 },
    { kind: "memory", register: "x1", offset: 8, displacement: 0n, size: 8 },
    { kind: "constant", value: -5n, size: -8 },
  ]);
  for (const text of [
    "3@%rax",
    "8@%xmm0",
    "8f@%xmm0",
    "8@counter(%rip)",
    "8@(%rax,%rbx,3)",
    "8@",
    "@%rax",
    "8@%rax extra",
    "8@$x",
  ]) {
    assert.throws(
      () => x64(text),
      (error: BpfError) => error.code === "ERR_USDT_ARGUMENTS",
      text,
    );
  }
  for (const text of ["8@v0", "8@[x0, x1]", "8@[q0]"]) {
    assert.throws(
      () => arm64(text),
      (error: BpfError) => error.code === "ERR_USDT_ARGUMENTS",
      text,
    );
  }
  assert.throws(() => x64(Array.from({ length: 13 }, () => "8@%rax").join(" ")), /more than 12/);
});

test("specifications have the layout of struct __bpf_usdt_spec", () => {
  const spec = encodeUsdtSpec(parseUsdtArguments("-4@%edi 8@$-2 1@-96(%rbp,%rax,8)", "x64"), 0x1122334455667788n);
  const view = new DataView(spec.buffer);
  assert.is(spec.length, 208);
  assert.equal([...spec.subarray(0, 16)], [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 112, 0, 1, 32]);
  assert.equal([...spec.subarray(16, 32)], [0xfe, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0]);
  assert.is(view.getBigInt64(32, true), -96n);
  // Kind 3 in 8 bits, place of the index in 12, scale as a shift in 4.
  assert.is(view.getUint32(40, true), 3 | (80 << 8) | (3 << 20));
  assert.equal([...spec.subarray(44, 48)], [32, 0, 0, 56]);
  assert.is(view.getBigUint64(192, true), 0x1122334455667788n);
  assert.is(view.getInt16(200, true), 3);
  // The layout that compilers give to the bit fields of libbpf 1.7, as its BTF has it.
  const args = parseUsdtArguments("1@-96(%rbp,%rax,8)", "x64");
  const wide = encodeUsdtSpec(args, 7n, 304);
  const fields = new DataView(wide.buffer);
  assert.is(wide.length, 304);
  assert.equal([wide[8], fields.getUint16(10, true), wide[12]], [3, 80 | (3 << 12), 0]);
  assert.equal([fields.getInt16(14, true), wide[16], wide[17]], [32, 0, 56]);
  assert.equal([fields.getBigUint64(288, true), fields.getInt16(296, true)], [7n, 1]);
  assert.throws(() => encodeUsdtSpec(args, 7n, 200), RangeError);
});

test.run();
