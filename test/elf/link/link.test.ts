import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { validateBtf } from "../../../src/btf/index.ts";
import {
  linkObjects,
  parseObject,
  readElf,
  readSymbols,
  SectionFlag,
  SymbolBinding,
  SymbolType,
  SymbolVisibility,
  writeElf,
} from "../../../src/elf/index.ts";
import { BpfError, ElfError } from "../../../src/errors.ts";
import { repository, requires, rounds, toolPath } from "../../support/harness.ts";
import { installedObjects, missingObjects } from "../../support/objects.ts";
import { fixture } from "../build.ts";
import { summarize } from "../summary.ts";

const test = suite("elf/link");

const fixtures = join(repository, "test/fixtures");

const linked = (order: string, ...names: string[]): Uint8Array =>
  linkObjects(names.map((name) => ({ name: `${name}.o`, bytes: fixture(`${name}.${order}.o`) })));

for (const order of ["el", "eb"]) {
  test(`what link-a and link-b share is one (${order})`, () => {
    const spec = parseObject(linked(order, "link-a", "link-b"));
    validateBtf(spec.btf!);
    assert.equal(Object.keys(spec.programs).sort(), ["from_a", "from_b", "only_b"]);
    assert.equal(Object.keys(spec.maps).sort(), [
      ".bss",
      ".data",
      ".data.custom",
      ".kconfig",
      ".rodata",
      "inner",
      "outer",
      "own",
      "shared",
    ]);
    assert.equal(spec.maps.outer!.values, [{ key: 1, name: "inner" }]);
    assert.equal(spec.maps.own!.tags, ["of a"]);
    const names = (program: string): string[] => spec.programs[program]!.functions.map(({ label }) => label).sort();
    // The static functions are different ones, all others are the same.
    assert.equal(names("from_a"), [
      "both_weak",
      "callback",
      "defined_there",
      "from_a",
      "same_name",
      "same_name.2",
      "strong_here",
      "weak_here",
    ]);
    assert.equal(names("from_b"), ["both_weak", "from_b", "hidden", "same_name.2", "strong_here", "weak_here"]);
    const body = (name: string): string => {
      const { instructions } = spec.programs.from_b!;
      const at = instructions.findIndex(({ meta }) => meta?.labels?.includes(name));
      return instructions
        .slice(at, at + 3)
        .map(({ meta }) => meta?.source?.file)
        .join();
    };
    assert.is(body("both_weak"), "./link-a.c,./link-a.c,./link-a.c");
    assert.is(body("weak_here"), "./link-b.c,./link-b.c,./link-b.c");
    assert.equal(
      Object.values(spec.externs).map(({ name, kind }) => `${kind} ${name}`),
      ["kconfig LINUX_KERNEL_VERSION", "kconfig CONFIG_BPF_SYSCALL", "kconfig CONFIG_HZ", "ksym bpf_prog_active"],
    );
    assert.equal((spec.externs.bpf_prog_active as { weak: boolean }).weak, false, "one of both needs it");
    assert.equal((spec.externs.CONFIG_HZ as { weak: boolean }).weak, true);
    const { counter, table, weak_variable: weak, local, "local.2": other } = spec.variables;
    const value = (variable: typeof counter): number =>
      spec.maps[variable!.map]!.contents[variable!.offset + (order === "el" ? 0 : variable!.size - 1)]!;
    assert.equal([counter, weak, local, other].map(value), [100, 5, 1, 2]);
    assert.is(table!.size, 16);
  });

  requires(test, "tool:bpftool")(`bpftool links link-a and link-b to the same (${order})`, () => {
    const folder = mkdtempSync(join(tmpdir(), "rawbpf-link-"));
    try {
      for (const names of [
        ["link-a", "link-b"],
        ["link-a", "struct-ops", "link-b"],
        ["core", "link-a", "link-b"],
        ["legacy-maps", "subprograms"],
        ["externs", "maps", "subprograms"],
      ]) {
        const theirs = join(folder, "theirs.o");
        const inputs = names.map((name) => join(fixtures, `${name}.${order}.o`));
        execFileSync(toolPath("bpftool")!, ["gen", "object", theirs, ...inputs]);
        compare(linked(order, ...names), new Uint8Array(readFileSync(theirs)), names.join(" "));
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
}

requires(test, "tool:bpftool")("bpftool links every pair of fixtures as we do", () => {
  const names = readdirSync(fixtures)
    .filter((name) => name.endsWith(".el.o"))
    .map((name) => name.slice(0, -5));
  const pairs = names.flatMap((a, i) => names.map((b, j) => ({ a, b, number: i * names.length + j })));
  const step = rounds(5, 1);
  const tally = { agree: 0, bothRefuse: 0, theyRefuse: 0, more: [] as string[] };
  const folder = mkdtempSync(join(tmpdir(), "rawbpf-link-"));
  try {
    for (const { a, b, number } of pairs) {
      // bpftool 7.8 moves code and leaves the entries of its jump tables as they were.
      if (number % step !== 0 || b === "jump-table") continue;
      const theirs = join(folder, "theirs.o");
      const paths = [a, b].map((name) => join(fixtures, `${name}.el.o`));
      const result = spawnSync(toolPath("bpftool")!, ["gen", "object", theirs, ...paths], { encoding: "utf8" });
      let ours: Uint8Array | undefined;
      try {
        ours = linked("el", a, b);
      } catch (error) {
        if (!(error instanceof ElfError)) throw error;
        if (result.status === 0) throw new Error(`${a} and ${b}: only we refuse: ${error.message}`);
        tally.bothRefuse++;
        continue;
      }
      if (result.status !== 0) {
        tally.theyRefuse++;
        if (!/failed to find BTF info/.test(result.stderr)) tally.more.push(`${a} ${b}: ${result.stderr}`);
      } else if (sameOrRefused(ours, new Uint8Array(readFileSync(theirs)), `${a} ${b}`)) tally.agree++;
      else tally.bothRefuse++;
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
  const { agree, bothRefuse, theyRefuse } = tally;
  console.log(
    `NOTE bpftool links ${agree} pairs of fixtures to the same, ${bothRefuse} are refused by both; it refuses ${theyRefuse} that we link, without types`,
  );
  assert.equal(tally.more, []);
});

/** Whether two results are the same; or else both cannot be read, for the same reason. */
function sameOrRefused(ours: Uint8Array, theirs: Uint8Array, what: string): boolean {
  const read = (bytes: Uint8Array): string => {
    try {
      parseObject(bytes);
      return "";
    } catch (error) {
      if (!(error instanceof BpfError)) throw error;
      return error.message.replace(/section\[\d+\]|symbol\[\d+\]| at byte \d+/g, "");
    }
  };
  const [refusal, theirRefusal] = [read(ours), read(theirs)];
  assert.is(refusal, theirRefusal, what);
  if (refusal === "") compare(ours, theirs, what);
  return refusal === "";
}

function compare(ours: Uint8Array, theirs: Uint8Array, what: string): void {
  const [a, b] = [summarize(parseObject(ours)), summarize(parseObject(theirs))];
  for (const part of Object.keys(a)) assert.equal(a[part], b[part], `${what}: ${part}`);
}

test("linking one object changes nothing of what it says", () => {
  for (const name of readdirSync(fixtures).filter((each) => each.endsWith(".o"))) {
    // What is not part of any section of variables is left out, and with it a symbol that is nowhere.
    if (/^(link-conflicts|link-a)/.test(name)) continue;
    const bytes = fixture(name);
    compare(linkObjects([bytes]), bytes, name);
  }
});

if (missingObjects() === undefined) {
  requires(test, "tool:bpftool")("objects of Debian's packages are linked as bpftool links them", () => {
    const step = rounds(16, 1);
    const folder = mkdtempSync(join(tmpdir(), "rawbpf-link-"));
    let agree = 0;
    let refused = 0;
    const images = installedObjects().filter((_, i) => i % step === 0);
    try {
      for (const { name, bytes } of images) {
        const [input, output] = [join(folder, "in.o"), join(folder, "out.o")];
        writeFileSync(input, bytes);
        const result = spawnSync(toolPath("bpftool")!, ["gen", "object", output, input], { encoding: "utf8" });
        if (result.status !== 0) {
          // Some sections of old objects are more than it takes.
          refused++;
          parseObject(linkObjects([bytes]));
          continue;
        }
        compare(linkObjects([{ name, bytes }]), new Uint8Array(readFileSync(output)), name);
        agree++;
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
    console.log(`NOTE bpftool links ${agree} of ${images.length} objects to the same; it refuses ${refused}`);
  });
}

const refusals: readonly (readonly [string, readonly string[], RegExp])[] = [
  ["a function that is defined twice", ["link-b", "link-b"], /"\w+" is defined in link-b.o too/],
  [
    "a map that is defined differently",
    ["link-conflicts", "link-b"],
    /^Map "shared" has another size of values than in link-b.o \(link-conflicts.o symbol\[\d+\] "shared"\)$/,
  ],
  [
    "different licences",
    ["link-b", "variables"],
    /^Differs from that of link-b.o: all objects need the same license \(variables.o section\[\d+\] "license"\)$/,
  ],
];

for (const [what, names, message] of refusals) {
  test(`refuses ${what}`, () => {
    assert.throws(
      () => linked("el", ...names),
      (error: unknown) => error instanceof ElfError && error.code === "ERR_ELF_LINK" && message.test(error.message),
    );
  });
}

test("refuses objects of different byte orders, and none at all", () => {
  assert.throws(
    () => linkObjects([fixture("link-a.el.o"), fixture("link-b.eb.o")]),
    /Byte order is big-endian, that of object\[0\] is little-endian \(object\[1\]\)/,
  );
  assert.throws(
    () => linkObjects([]),
    (error: unknown) => error instanceof RangeError,
  );
});

test("jump tables lead to the same instructions, wherever these went", () => {
  const tables = (bytes: Uint8Array): unknown =>
    ["program", "other"].map((name) => {
      const { jumpTables, instructions } = parseObject(bytes).programs[name]!;
      const places = new Map(instructions.flatMap(({ meta }, i) => (meta?.labels ?? []).map((label) => [label, i])));
      return Object.values(jumpTables).map(({ targets }) => targets.map((label) => places.get(label)));
    });
  for (const order of ["el", "eb"]) {
    const alone = tables(fixture(`jump-table.${order}.o`));
    assert.equal(tables(linked(order, "subprograms", "jump-table")), alone);
    assert.equal(tables(linked(order, "jump-table", "subprograms")), alone);
  }
});

/** An object with one function of a name in `.text`. */
function small(binding: number, visibility: number, imm: number, type: number = SymbolType.func): Uint8Array {
  const code = new Uint8Array([0xb7, 0, 0, 0, imm, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0]);
  return writeElf({
    sections: [{ name: ".text", flags: SectionFlag.alloc | SectionFlag.execinstr, alignment: 8, data: code }],
    symbols: [{ name: "f", type, binding, visibility, section: 0, size: 16 }],
  });
}

test("weak and strong definitions, strictest visibility", () => {
  const { global, weak } = SymbolBinding;
  const { hidden, internal, protected: kept } = SymbolVisibility;
  const cases: [readonly [number, number][], value: number, binding: number, visibility: number][] = [
    [[[global, 0]], 0, global, 0],
    [
      [
        [weak, 0],
        [weak, hidden],
      ],
      0,
      weak,
      hidden,
    ],
    [
      [
        [weak, hidden],
        [global, 0],
      ],
      16,
      global,
      hidden,
    ],
    [
      [
        [global, kept],
        [weak, internal],
        [weak, 0],
      ],
      0,
      global,
      internal,
    ],
    [
      [
        [weak, 0],
        [weak, 0],
        [global, 0],
      ],
      32,
      global,
      0,
    ],
  ];
  for (const [objects, value, binding, visibility] of cases) {
    const bytes = linkObjects(objects.map(([bind, seen], i) => small(bind, seen, i)));
    const symbol = readSymbols(readElf(bytes)).find(({ name }) => name === "f")!;
    assert.equal([Number(symbol.value), symbol.binding, symbol.visibility], [value, binding, visibility]);
  }
  assert.throws(
    () => linkObjects([small(weak, 0, 1), small(weak, 0, 1, SymbolType.object)]),
    /Type is 1 \(object\), but 2 \(func\) in object\[0\]/,
  );
});

requires(test, "tool:llvm-objdump")("llvm-objdump reads what was linked, without a warning", () => {
  const folder = mkdtempSync(join(tmpdir(), "rawbpf-link-"));
  try {
    const path = join(folder, "linked.o");
    writeFileSync(path, linked("el", "link-a", "link-b"));
    const text = execFileSync(toolPath("llvm-objdump")!, ["-d", "-r", "-S", path], { encoding: "utf8" });
    assert.match(text, /R_BPF_64_32\s+defined_there/);
    assert.match(text, /CO-RE <byte_off> \[\d+\] struct task_struct::group_leader/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.run();
