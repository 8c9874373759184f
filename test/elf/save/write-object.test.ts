import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  add,
  call,
  callKfunc,
  callLocal,
  exit,
  type Instruction,
  ja,
  jeq,
  label,
  ldFunction,
  ldMap,
  ldMapValue,
  mov,
  program,
  r0,
  r1,
  r2,
  r3,
  r4,
  r10,
  rewrite,
  store,
  subprogram,
} from "../../../src/asm/index.ts";
import { createBtfBuilder, validateBtf } from "../../../src/btf/index.ts";
import { createObjectSpec, type ObjectSpec, parseObject, writeObject } from "../../../src/elf/index.ts";
import { ElfError } from "../../../src/errors.ts";
import { missing, repository, requires, rounds, toolPath } from "../../support/harness.ts";
import { installedObjects, missingObjects } from "../../support/objects.ts";
import { fixture } from "../build.ts";
import { summarize } from "../summary.ts";

const test = suite("elf/save");

const names = readdirSync(join(repository, "test/fixtures")).filter(
  (name) => name.endsWith(".o") && !/^link-(a|conflicts)/.test(name),
);

/** What a file says, without what cannot be written: bytes behind definitions in `maps`. */
function comparable(spec: ObjectSpec): Record<string, unknown> {
  for (const map of Object.values(spec.maps)) map.extra = undefined;
  return summarize(spec);
}

function compare(bytes: Uint8Array, what: string): void {
  const spec = parseObject(bytes);
  const again = parseObject(writeObject(spec));
  if (again.btf !== undefined) validateBtf(again.btf);
  const [a, b] = [comparable(again), comparable(spec)];
  for (const part of Object.keys(b)) assert.equal(a[part], b[part], `${what}: ${part}`);
}

for (const name of names) {
  test(`writing ${name} and reading it again changes nothing`, () => compare(fixture(name), name));
}

if (missingObjects() === undefined) {
  test("writing objects of Debian's packages and reading them again changes nothing", () => {
    const step = rounds(8, 1);
    let same = 0;
    const images = installedObjects().filter(({ name }, i) => i % step === 0 && !name.startsWith("bpfilter"));
    for (const { name, bytes } of images) {
      compare(bytes, name);
      same++;
    }
    console.log(`NOTE ${same} of ${images.length} objects are the same after being written`);
  });
}

function inFolder(run: (folder: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), "rawbpf-save-"));
  try {
    run(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Loads an object with bpftool, in a mount namespace of its own; gives the names of its programs. */
function loadAll(folder: string, bytes: Uint8Array): string[] {
  const object = join(folder, "object.o");
  writeFileSync(object, bytes);
  const script = 'mkdir -p "$1" && mount -t bpf bpf "$1" && "$2" prog loadall "$3" "$1/programs" && ls "$1/programs"';
  const args = ["-m", "sh", "-c", script, "sh", join(folder, "bpffs"), toolPath("bpftool")!, object];
  const result = spawnSync("unshare", args, { encoding: "utf8" });
  assert.is(result.status, 0, result.stderr);
  return result.stdout.trim().split("\n").sort();
}

const lookup = (map: string): Instruction[] =>
  program(
    store("u32", r10, -4, 0),
    ldMap(r1, map),
    mov(r2, r10),
    add(r2, -4),
    call("map_lookup_elem"),
    jeq(r0, 0, "none"),
    callLocal("helper"),
    ja("end"),
    label("none"),
    mov(r0, 0),
    label("end"),
    exit(),
    subprogram("helper", mov(r0, 3), exit()),
  );

const created = (): ObjectSpec => {
  const types = createBtfBuilder();
  const int = types.add({ kind: "int", name: "unsigned int", size: 4 });
  const btf = types.build();
  const callback = program(
    ldMap(r1, "counts"),
    ldFunction(r2, "each"),
    mov(r3, 0),
    mov(r4, 0),
    call("for_each_map_elem"),
    mov(r0, 0),
    exit(),
    subprogram("each", mov(r0, 0), exit()),
  );
  return createObjectSpec({
    license: "GPL",
    version: 0x60102,
    btf,
    maps: {
      counts: { type: "array", keySize: 4, valueSize: 4, keyType: int, valueType: int, maxEntries: 2 },
      outer: {
        type: "array_of_maps",
        keySize: 4,
        valueSize: 4,
        maxEntries: 2,
        inner: { type: "array", keySize: 4, valueSize: 4, keyType: int, valueType: int, maxEntries: 2 },
        values: [{ key: 1, name: "counts" }],
      },
      jumps: { type: "prog_array", keySize: 4, valueSize: 4, maxEntries: 3, values: [{ key: 2, name: "second" }] },
      ".data": { type: "array", kind: "data", keySize: 4, valueSize: 8, maxEntries: 1, contents: new Uint8Array(8) },
    },
    programs: {
      first: { section: "socket", instructions: lookup("counts") },
      second: { section: "socket", instructions: lookup("counts") },
      third: { section: "?socket", instructions: program(ldMapValue(r1, ".data", 4), mov(r0, 0), exit()) },
      fourth: { section: "socket", instructions: callback },
    },
  });
};

test("an object made of instructions is written and read", () => {
  const spec = parseObject(writeObject(created()));
  assert.is(spec.license, "GPL");
  assert.is(spec.version, 0x60102);
  assert.equal(Object.keys(spec.programs).sort(), ["first", "fourth", "second", "third"]);
  assert.equal(
    spec.programs.first!.functions.map(({ label }) => label),
    ["first", "helper"],
  );
  assert.equal(
    spec.programs.fourth!.functions.map(({ label }) => label),
    ["fourth", "each"],
  );
  assert.equal([spec.programs.third!.autoload, spec.programs.first!.autoload], [false, true]);
  assert.equal(spec.maps.outer!.values, [{ key: 1, name: "counts" }]);
  assert.equal(spec.maps.jumps!.values, [{ key: 2, name: "second" }]);
  assert.is(spec.btf!.nameOf(spec.maps.counts!.keyType), "unsigned int");
  const reference = spec.programs.third!.instructions[0]!;
  assert.equal([reference.meta?.reference, reference.src, reference.high], [".data", 2, 4]);
});

requires(
  test,
  "sys-admin",
  "bpf",
  "tool:bpftool",
)("libbpf loads an object made of instructions", () =>
  inFolder((folder) => {
    const spec = created();
    spec.programs.third!.autoload = true; // bpftool pins all of them
    assert.equal(loadAll(folder, writeObject(spec)), ["first", "fourth", "second", "third"]);
  }),
);

requires(
  test,
  "sys-admin",
  "bpf",
  "tool:bpftool",
)("libbpf loads fixtures that were read and written", () =>
  inFolder((folder) => {
    for (const [name, programs] of [
      ["packet-count", ["count", "drop", "pass"]],
      ["maps", ["one", "two"]],
      ["variables", ["read"]],
      ["subprogram-sections", undefined],
    ] as const) {
      const spec = parseObject(fixture(`${name}.el.o`));
      for (const map of Object.values(spec.maps)) map.pinning = "none";
      // No section of this name is known to anyone.
      Reflect.deleteProperty(spec.programs, "unknown");
      assert.equal(loadAll(folder, writeObject(spec)), programs ?? ["other", "program"], name);
      rmSync(join(folder, "bpffs"), { recursive: true });
    }
  }),
);

test("functions that programs share are written once, unless one of them was changed", () => {
  const spec = parseObject(fixture("subprograms.el.o"));
  const size = (changed: ObjectSpec): number => writeObject(changed).length;
  const before = size(spec);
  const { calls } = spec.programs;
  const leaf = calls!.instructions.findIndex(({ meta }) => meta?.labels?.includes("leaf"));
  calls!.instructions = rewrite(calls!.instructions, (insn, i) => (i === leaf ? [insn, mov(r0, r0)] : insn));
  const bytes = writeObject(spec);
  assert.ok(bytes.length > before);
  const again = parseObject(bytes);
  const length = (name: string): number => again.programs[name]!.instructions.length;
  assert.is(length("calls"), calls!.instructions.length);
  assert.is(length("callbacks"), spec.programs.callbacks!.instructions.length);
  // Those that call the changed one are written again too.
  assert.equal(
    again.programs.calls!.functions.map(({ name }) => name).sort(),
    spec.programs.calls!.functions.map(({ name }) => name).sort(),
  );
});

const refused: readonly (readonly [string, (spec: ObjectSpec) => void, string])[] = [
  [
    "an open map",
    (spec) => {
      spec.programs.first!.instructions = program(ldMap(r1, { fd: 3 }), mov(r0, 0), exit());
    },
    'An open map cannot be written to a file (program "first" function "first")\nHint: Refer to the map by its name',
  ],
  [
    "a descriptor",
    (spec) => {
      spec.programs.first!.instructions = program(ldMap(r1, 5), mov(r0, 0), exit());
    },
    'A number of the running kernel cannot be written to a file: source 1 of an ld_imm64 (program "first" function "first")',
  ],
  [
    "a kernel function by its number",
    (spec) => {
      spec.programs.first!.instructions = program(callKfunc(77), exit());
    },
    'A number of the running kernel cannot be written to a file: source 2 of an call (program "first" function "first")',
  ],
  [
    "a value of a map of the user's own",
    (spec) => {
      spec.programs.first!.instructions = program(ldMapValue(r1, "counts", 4), mov(r0, 0), exit());
    },
    'A reference to the value of "counts" cannot be written to a file (program "first" function "first")',
  ],
  [
    "a program without instructions",
    (spec) => {
      spec.programs.first!.instructions = [];
    },
    'The program has no instructions (program "first")',
  ],
  [
    "a program without a section",
    (spec) => {
      spec.programs.first!.sectionName = "";
    },
    'The program has no section (program "first")',
  ],
  [
    "a program that is not there",
    (spec) => {
      Reflect.deleteProperty(spec.programs, "second");
    },
    'Refers to program "second", which is not in the object (map "jumps")',
  ],
  [
    "a map that is not there",
    (spec) => {
      spec.maps.outer!.values = [{ key: 0, name: "nothing" }];
    },
    'Holds map "nothing", which is not in the object (map "outer")',
  ],
  [
    "a licence that is too long",
    (spec) => {
      spec.license = "x".repeat(128);
    },
    "License has 128 bytes, at most 127 are possible (license)",
  ],
  [
    "first values in .bss",
    (spec) => {
      spec.maps[".bss"] = { ...spec.maps[".data"]!, name: ".bss", contents: Uint8Array.of(1) };
    },
    'Variables of ".bss" have first values, which a file cannot hold (map ".bss")',
  ],
];

for (const [what, change, message] of refused) {
  test(`refuses ${what}`, () => {
    const spec = created();
    change(spec);
    assert.throws(
      () => writeObject(spec),
      (error: unknown) => error instanceof ElfError && error.message === message,
    );
  });
}

test("what is not defined stays a symbol", () => {
  const spec = createObjectSpec({
    programs: { first: { section: "xdp", instructions: program(callLocal("elsewhere"), exit()) } },
  });
  const again = parseObject(writeObject(spec));
  assert.equal(again.externs.elsewhere, { kind: "undefined", name: "elsewhere", weak: false });
});

if (missing("tool:llvm-readelf") === undefined) {
  test("llvm-readelf reads what was written, without a warning", () =>
    inFolder((folder) => {
      const path = join(folder, "object.o");
      writeFileSync(path, writeObject(created()));
      const result = spawnSync(toolPath("llvm-readelf")!, ["-a", path], { encoding: "utf8" });
      assert.is(result.stderr, "");
      assert.is(result.status, 0);
    }));
}

test.run();
