import { suite } from "uvu";
import * as assert from "uvu/assert";
import { call, encode, exit, type Instruction, ldImm64, mov, r0, r1 } from "../../../src/asm/index.ts";
import { type BtfTypeSpec, encodeBtfExt, layoutBtf, type TypeId } from "../../../src/btf/index.ts";
import {
  BpfRelocation,
  type ElfRelocationSpec,
  type ElfSectionSpec,
  type ElfSpec,
  type ElfSymbolSpec,
  linkObjects,
  parseObject,
  readElf,
  SectionFlag,
  SectionType,
  SymbolBinding,
  SymbolType,
  writeElf,
  writeObject,
} from "../../../src/elf/index.ts";
import { BpfError } from "../../../src/errors.ts";
import { cpuTime, rounds } from "../../support/harness.ts";
import { fixture, respec } from "../build.ts";

const test = suite("elf/object/faults");

const { local, global } = SymbolBinding;
const { func, object } = SymbolType;
const CODE = SectionFlag.alloc | SectionFlag.execinstr;
const DATA = SectionFlag.alloc | SectionFlag.write;

const two: readonly Instruction[] = [mov(r0, 0), exit()];
const code = (...instructions: Instruction[]): Uint8Array => encode(instructions);
const text = (value: string): Uint8Array => Uint8Array.from(value, (char) => char.charCodeAt(0));

/** An object with a program `main` in section `xdp`, and what is changed of it. */
function objectWith(change: {
  readonly xdp?: Partial<ElfSectionSpec>;
  readonly main?: Partial<ElfSymbolSpec>;
  readonly sections?: readonly ElfSectionSpec[];
  readonly symbols?: readonly ElfSymbolSpec[];
  readonly license?: ElfSectionSpec | null;
}): Uint8Array {
  const license = change.license === undefined ? { name: "license", flags: DATA, data: text("GPL\0") } : change.license;
  return writeElf({
    sections: [
      { name: "xdp", flags: CODE, alignment: 8, data: code(...two), ...change.xdp },
      ...(license === null ? [] : [license]),
      ...(change.sections ?? []),
    ],
    symbols: [
      { name: "main", type: func, binding: global, section: 0, size: 16, ...change.main },
      ...(change.symbols ?? []),
    ],
  });
}

function refuses(bytes: Uint8Array, message: string | RegExp, what?: string): void {
  try {
    parseObject(bytes);
  } catch (error) {
    assert.ok(error instanceof BpfError, `${what}: ${(error as Error).stack}`);
    if (typeof message === "string") assert.is(error.message, message, what);
    else assert.match(error.message, message, what);
    return;
  }
  assert.unreachable(`${what ?? message}: was accepted`);
}

/** A fault in an object: what it is, the object, and what is said of it. */
const faults: readonly (readonly [string, () => Uint8Array, string | RegExp])[] = [
  [
    "a licence that is too long",
    () => objectWith({ license: { name: "license", flags: DATA, data: text("x".repeat(128)) } }),
    'License has 128 bytes, at most 127 are possible (section[2] "license")',
  ],
  [
    "a version of another size",
    () => objectWith({ sections: [{ name: "version", flags: DATA, data: new Uint8Array(3) }] }),
    'Size of the version is 3, expected 4 (section[3] "version")',
  ],
  [
    "code of a length that is no multiple of 8",
    () => objectWith({ xdp: { data: new Uint8Array(17) } }),
    'Size 17 is no multiple of an instruction\'s 8 bytes (section[1] "xdp")',
  ],
  [
    "code without bytes",
    () => objectWith({ xdp: { type: SectionType.nobits, data: undefined, size: 16 } }),
    'Type is 8 (nobits): the section has no instructions in the file (section[1] "xdp")',
  ],
  [
    "code that is compressed",
    () => objectWith({ xdp: { flags: CODE | SectionFlag.compressed } }),
    /^The section is compressed \(SHF_COMPRESSED\) \(section\[1\] "xdp" at byte \d+\)\nHint: Decompress it/,
  ],
  [
    "8 GiB of zeros",
    () => objectWith({ sections: [{ name: ".bss", type: SectionType.nobits, flags: DATA, size: 2 ** 33 }] }),
    'Variables take 8589934592 bytes, more than the 1073741824 that a map can hold (section[3] ".bss")',
  ],
  [
    "a function beyond its section",
    () => objectWith({ main: { size: 24 } }),
    '24 bytes at offset 0 cross the end of section[1] "xdp" at 16 (symbol[1] "main")',
  ],
  [
    "a function of 2^63 bytes",
    () => objectWith({ main: { size: 1n << 63n } }),
    '9223372036854775808 bytes at offset 0 cross the end of section[1] "xdp" at 16 (symbol[1] "main")',
  ],
  [
    "a function in the middle of an instruction",
    () => objectWith({ main: { value: 4, size: 8 } }),
    'Function has offset 4 and size 8, expected multiples of an instruction\'s 8 bytes (section[1] "xdp" symbol[1] "main")',
  ],
  [
    "a function without a size",
    () => objectWith({ main: { size: 0 } }),
    'Function has offset 0 and size 0, expected multiples of an instruction\'s 8 bytes (section[1] "xdp" symbol[1] "main")',
  ],
  [
    "a function without a name",
    () => objectWith({ main: { name: "" } }),
    'Function without a name (section[1] "xdp" symbol[1])',
  ],
  [
    "a program that is static",
    () => objectWith({ main: { binding: local } }),
    'Program "main" is static, and nothing calls it (section[1] "xdp" symbol[1] "main")\nHint: Leave out the word static, so that it can be found',
  ],
  [
    "two functions of one name",
    () => objectWith({ symbols: [{ name: "main", type: func, section: 0, size: 16 }] }),
    'Second function called "main" (symbol[2] "main")',
  ],
  [
    "functions that overlap a hundred times",
    () =>
      objectWith({
        symbols: Array.from({ length: 100 }, (_, i) => ({ name: `f${i}`, type: func, section: 0, size: 16 })),
      }),
    'Functions overlap: they add up to 8 times their section (section[1] "xdp")',
  ],
  [
    "a program that ends inside of an ld_imm64",
    () => objectWith({ xdp: { data: code(mov(r0, 0), ldImm64(r1, 1)).subarray(0, 16) } }),
    'Function ends inside of an ld_imm64 (section[1] "xdp" symbol[1] "main")',
  ],
  [
    "a function that begins inside of an ld_imm64",
    () => objectWith({ xdp: { data: code(ldImm64(r1, 1), exit()) }, main: { value: 8, size: 16 } }),
    'Function begins inside of an ld_imm64 (section[1] "xdp" symbol[1] "main")',
  ],
  [
    "a call to where no function begins",
    () => objectWith({ xdp: { data: code(call(0), exit()).fill(0x10, 1, 2).fill(1, 4, 5) } }),
    'Instruction 0 calls offset 16, where no function begins (section[1] "xdp" symbol[1] "main")',
  ],
];

for (const [what, make, message] of faults) test(what, () => refuses(make(), message));

/** An object whose program has one relocation. */
function relocated(relocation: Partial<ElfRelocationSpec>, more: Parameters<typeof objectWith>[0] = {}): Uint8Array {
  const data = code(ldImm64(r1, 0), call(1), mov(r0, 0), exit());
  data.fill(0x10, 17, 18).fill(0xff, 20, 24); // a call of a function of the object, by its own symbol
  const first = { offset: 0, type: BpfRelocation["64_64"], symbol: "variable", ...relocation };
  return objectWith({
    main: { size: 40 },
    sections: [
      { name: ".data", flags: DATA, alignment: 8, data: new Uint8Array(16) },
      { name: "other", flags: DATA, data: new Uint8Array(8) },
      { name: ".text", flags: CODE, alignment: 8, data: code(...two) },
    ],
    symbols: [
      { name: "variable", type: object, section: 2, size: 8 },
      { name: "elsewhere", type: object, section: 3, size: 8 },
      { name: "absolute", section: "absolute", value: 7 },
      { name: "common", section: "common", value: 8, size: 8 },
      { name: "helper", type: func, section: 4, size: 16 },
    ],
    ...more,
    xdp: {
      data,
      relocations: [first, { offset: 16, type: BpfRelocation["64_32"], symbol: "helper" }],
      ...more.xdp,
    },
  });
}

const where = '(section[6] ".relxdp" relocation[0] of section[1] "xdp", symbol[2] "variable")';
const relocationFaults: readonly (readonly [string, Partial<ElfRelocationSpec>, string])[] = [
  [
    "of an unknown type",
    { type: 99 },
    'Type is 99, expected 1 (64_64) or 10 (64_32) (section[6] ".relxdp" relocation[0])',
  ],
  [
    "of data, in code",
    { type: 3 },
    'Type is 3 (64_abs32), expected 1 (64_64) or 10 (64_32) (section[6] ".relxdp" relocation[0])',
  ],
  ["at an odd place", { offset: 4 }, 'Offset 4 is no multiple of 8 (section[6] ".relxdp" relocation[0])'],
  ["of the second half of an ld_imm64", { offset: 8 }, `Offset 8 is the second half of an ld_imm64 ${where}`],
  [
    "of an instruction that takes none",
    { offset: 24 },
    `Instruction 2 with opcode 0xb7 takes no relocation, only call and ld_imm64 do ${where}`,
  ],
  [
    "twice",
    { offset: 16, symbol: "helper" },
    'Second relocation of offset 16, the first is section[6] ".relxdp" relocation[0] (section[6] ".relxdp" relocation[1])',
  ],
  [
    "of a symbol that lies nowhere",
    { symbol: "absolute" },
    'symbol[4] "absolute" lies in no section: it is absolute (section[6] ".relxdp" relocation[0] of section[1] "xdp", symbol[4] "absolute")',
  ],
  [
    "of a symbol that is to be put somewhere",
    { symbol: "common" },
    'symbol[5] "common" lies in no section: it is common (section[6] ".relxdp" relocation[0] of section[1] "xdp", symbol[5] "common")',
  ],
  [
    "of a section that holds no variables",
    { symbol: "elsewhere" },
    'Instruction 0 refers to section[4] "other", whose contents are no variables (section[6] ".relxdp" relocation[0] of section[1] "xdp", symbol[3] "elsewhere")\nHint: Names of sections for variables begin with .data, .rodata or .bss',
  ],
];

for (const [what, relocation, message] of relocationFaults) {
  test(`a relocation ${what}`, () => refuses(relocated(relocation), message));
}

test("relocations are taken when nothing is wrong with them", () => {
  const { main } = parseObject(relocated({})).programs;
  assert.equal(
    main!.instructions.map(({ meta }) => meta?.reference),
    [".data", "helper", undefined, undefined, undefined, undefined],
  );
});

test("a relocation without a symbol, with an addend, or behind the end", () => {
  const bytes = relocated({});
  const elf = readElf(bytes);
  const table = elf.sections.find(({ name }) => name === ".relxdp")!;
  const without = bytes.slice();
  without.fill(0, table.offset + 12, table.offset + 16);
  refuses(without, 'Refers to symbol 0, which is none (section[6] ".relxdp" relocation[0])');
  const behind = bytes.slice();
  behind[table.offset] = 48;
  refuses(
    behind,
    /^Offset 48 is outside of section\[1\] "xdp" of 40 bytes \(section\[6\] ".relxdp" relocation\[0\] at byte \d+\)$/,
  );
  const missing = bytes.slice();
  missing[table.offset + 12] = 200;
  refuses(missing, /^Names symbol 200, there are 7 \(section\[6\] ".relxdp" relocation\[0\] at byte \d+\)$/);
  refuses(
    relocated({}, { xdp: { relocations: [{ offset: 0, type: 1, symbol: "variable", addend: 4n }] } }),
    'Relocations have addends (rela), those of BPF have none (rel) (section[6] ".relaxdp")',
  );
});

test("a call into the middle of a function", () => {
  const bytes = relocated({});
  const at = readElf(bytes).sections.find(({ name }) => name === "xdp")!.offset + 16 + 4;
  bytes.fill(0, at, at + 4);
  refuses(
    bytes,
    'Instruction 1 refers to offset 8 of section[5] ".text", where no function begins (section[6] ".relxdp" relocation[1] of section[1] "xdp", symbol[6] "helper")',
  );
});

/** Types of an object with a map `m`, whose definition has these members. */
function mapTypes(members: readonly (readonly [string, number])[], definition?: number): BtfTypeSpec[] {
  const pointer = (length: number): BtfTypeSpec[] => [
    { kind: "array", type: 1, indexType: 1, length },
    { kind: "ptr", type: 2 + 2 * lengths.indexOf(length) },
  ];
  const types: BtfTypeSpec[] = [{ kind: "int", name: "int", size: 4, signed: true }, ...lengths.flatMap(pointer)];
  types.push({ kind: "ptr", type: 0 }, { kind: "func_proto", params: [] }, { kind: "ptr", type: FUNCTION });
  types.push({ kind: "array", type: TO_FUNCTION, indexType: 1, length: 0 });
  types.push({ kind: "ptr", type: 1 });
  types.push({ kind: "array", type: TO_INT, indexType: 1, length: 0 });
  const struct = types.push({
    kind: "struct",
    size: 8 * members.length,
    members: members.map(([name, type], i) => ({ name, type, bitOffset: 64 * i })),
  });
  const variable = types.push({ kind: "var", name: "m", type: definition ?? struct });
  types.push({ kind: "datasec", name: ".maps", vars: [{ type: variable, offset: 0, size: 8 * members.length }] });
  return types;
}

const lengths = [0, 1, 2, 3, 4, 12, 99];
const number = (length: number): number => 3 + 2 * lengths.indexOf(length);
const TO_VOID = 2 + 2 * lengths.length;
const FUNCTION = TO_VOID + 1;
const TO_FUNCTION = TO_VOID + 2;
const FUNCTIONS = TO_VOID + 3;
const TO_INT = TO_VOID + 4;
const INTS = TO_VOID + 5;

function mapObject(members: readonly (readonly [string, number])[], definition?: number): Uint8Array {
  const { bytes } = layoutBtf(mapTypes(members, definition));
  return objectWith({
    sections: [
      { name: ".maps", flags: DATA, alignment: 8, data: new Uint8Array(8 * members.length) },
      { name: ".BTF", data: bytes },
    ],
    symbols: [{ name: "m", type: object, section: 2, size: 8 * members.length }],
  });
}

const type = ["type", number(1)] as const;
const mapFaults: readonly (readonly [string, readonly (readonly [string, number])[], string])[] = [
  ["an unknown type", [["type", number(99)]], 'Unknown map type 99 (map "m".type)'],
  ["type 0", [["type", number(0)]], 'Map type is 0, which is none (map "m".type)'],
  [
    "no type",
    [["max_entries", number(1)]],
    'The definition has no type (map "m".type)\nHint: Add __uint(type, BPF_MAP_TYPE_...)',
  ],
  [
    "an unknown attribute",
    [type, ["max_entry", number(1)]],
    'Unknown attribute "max_entry" (map "m".max_entry)\nHint: Did you mean "max_entries"?',
  ],
  ["an attribute of no known name", [type, ["colour", number(1)]], 'Unknown attribute "colour" (map "m".colour)'],
  [
    "a number that is none",
    [type, ["max_entries", TO_INT]],
    'Is no number of 32 bits (map "m".max_entries)\nHint: Write it as __uint(max_entries, VALUE)',
  ],
  ["a key without a size", [type, ["key", TO_VOID]], /^The key has no size: .* \(map "m".key\)$/ as unknown as string],
  [
    "a key that is no pointer",
    [type, ["key", 1]],
    'Is of kind int, expected a pointer (map "m".key)\nHint: Write it as __type(key, TYPE)',
  ],
  [
    "two sizes of a key",
    [type, ["key", TO_INT], ["key_size", number(12)]],
    'Size of the key is 12 here, but 4 by another attribute (map "m".key_size)',
  ],
  [
    "pinning of an unknown kind",
    [type, ["pinning", number(2)]],
    'Pinning is 2, expected 0 (none) or 1 (by name) (map "m".pinning)',
  ],
  [
    "first values of a hash",
    [type, ["values", FUNCTIONS]],
    'a map of type hash has no values to begin with, only prog_array, array_of_maps and hash_of_maps do (map "m".values)',
  ],
  [
    "first values before the type",
    [["values", FUNCTIONS]],
    'a map whose type is not told before has no values to begin with, only prog_array, array_of_maps and hash_of_maps do (map "m".values)',
  ],
  [
    "first values that are not last",
    [
      ["type", number(3)],
      ["values", FUNCTIONS],
      ["max_entries", number(1)],
    ],
    'Is not the last member (map "m".values)',
  ],
  [
    "first values that are no functions",
    [
      ["type", number(3)],
      ["values", INTS],
    ],
    'Elements point to int, expected functions (map "m".values)',
  ],
  [
    "first values that are no maps",
    [
      ["type", number(12)],
      ["values", INTS],
    ],
    'Elements point to int, expected the definition of a map (map "m".values)',
  ],
];

for (const [what, members, message] of mapFaults)
  test(`a map with ${what}`, () => refuses(mapObject(members), message));

test("a map whose definition is no struct", () => {
  refuses(mapObject([type], 1), 'Type of the definition is of kind int, expected struct (map "m")');
});

test("maps without types", () => {
  refuses(
    objectWith({
      sections: [{ name: ".maps", flags: DATA, data: new Uint8Array(8) }],
      symbols: [{ name: "m", type: object, section: 2, size: 8 }],
    }),
    'Maps cannot be read: there is no .BTF (section[3] ".maps")\nHint: Compile with clang -g',
  );
});

test("variables of a section that is not there, or beyond its end", () => {
  const types: BtfTypeSpec[] = [
    { kind: "int", name: "int", size: 4, signed: true },
    { kind: "var", name: "v", type: 1 },
    { kind: "datasec", name: ".data", vars: [{ type: 2, offset: 0, size: 4 }] },
  ];
  const { bytes } = layoutBtf(types);
  const sections = [{ name: ".BTF", data: bytes }];
  refuses(objectWith({ sections }), 'There is no section ".data", whose variables .BTF describes (.BTF)');
  refuses(
    objectWith({
      sections: [...sections, { name: ".data", flags: DATA, data: new Uint8Array(6) }],
      symbols: [{ name: "v", type: object, section: 3, value: 4, size: 2 }],
    }),
    'Variable "v" of 4 bytes at offset 4 crosses the end at 6 (section[4] ".data")',
  );
});

/** An object with records of its instructions. */
function described(record: { insnOffset: number; access?: string }, what: "func" | "line" | "core"): Uint8Array {
  const types: BtfTypeSpec[] = [
    { kind: "int", name: "int", size: 4, signed: true },
    { kind: "func_proto", returnType: 1, params: [] },
    { kind: "func", name: "main", type: 2 },
  ];
  const { insnOffset, access = "0" } = record;
  const { bytes, offsetOf } = layoutBtf(types, { strings: ["xdp", "f.c", access] });
  const section = <T>(wanted: typeof what, value: T): { section: string; records: T[] }[] =>
    what === wanted ? [{ section: "xdp", records: [value] }] : [];
  const ext = {
    funcInfos: section("func", { insnOffset, type: 3 as TypeId }),
    lineInfos: section("line", { insnOffset, fileName: "f.c", line: "f.c", lineNumber: 1, column: 1 }),
    coreRelos: section("core", { insnOffset, type: 1 as TypeId, access, kind: "type_size" as const }),
  };
  return objectWith({
    xdp: { data: code(ldImm64(r1, 1), exit()) },
    main: { size: 24 },
    sections: [
      { name: ".BTF", data: bytes },
      { name: ".BTF.ext", data: encodeBtfExt(ext, offsetOf) },
    ],
  });
}

for (const what of ["func", "line", "core"] as const) {
  const name = `${what}_${what === "core" ? "relo" : "info"}`;
  test(`${name} behind the section, or inside of an instruction`, () => {
    refuses(
      described({ insnOffset: 24 }, what),
      `Offset 24 is behind the section of 24 bytes (.BTF.ext ${name} "xdp")`,
    );
    refuses(described({ insnOffset: 8 }, what), `Offset 8 lies inside of an ld_imm64 (.BTF.ext ${name} "xdp")`);
    parseObject(described({ insnOffset: 0 }, what));
  });
}

test("paths of CO-RE relocations that are none", () => {
  for (const access of ["", ":", "0:", ":0", "0:-1", "-1", "0::1", "0:x", " 0", "99999999999", "0x1", "0:1.5"]) {
    refuses(
      described({ insnOffset: 0, access }, "core"),
      `Access ${JSON.stringify(access)} at offset 0 is no list of at most 64 numbers (.BTF.ext core_relo "xdp")`,
      access,
    );
  }
  refuses(
    described({ insnOffset: 0, access: Array(65).fill("0").join(":") }, "core"),
    /is no list of at most 64 numbers/,
  );
  parseObject(described({ insnOffset: 0, access: Array(64).fill("0").join(":") }, "core"));
});

test("a missing licence is told", () => {
  const spec = parseObject(objectWith({ license: null }));
  assert.is(spec.license, "");
  assert.equal(spec.warnings, ["No license section: the kernel will refuse helpers that are for GPL programs only"]);
  const empty = parseObject(objectWith({ license: { name: "license", flags: DATA, data: new Uint8Array(4) } }));
  assert.equal(empty.warnings, ["The license is empty: the kernel will refuse helpers that are for GPL programs only"]);
  const unended = parseObject(objectWith({ license: { name: "license", flags: DATA, data: text("GPL") } }));
  assert.equal([unended.license, unended.warnings], ["GPL", []]);
});

/** What is said of an object with one part of a real one changed. */
function changed(name: string, change: (spec: ElfSpec) => ElfSpec): Uint8Array {
  return writeElf(change(respec(readElf(fixture(name)))));
}

test("first values and tables that point to the wrong things", () => {
  const aim = (name: string, section: string, symbol: string): Uint8Array =>
    changed(name, (spec) => {
      const target = spec.symbols!.findIndex((each) => each.name === symbol);
      assert.ok(target >= 0);
      const sections = spec.sections.map((each) =>
        each.name === section
          ? { ...each, relocations: each.relocations!.map((relocation) => ({ ...relocation, symbol: target })) }
          : each,
      );
      return { ...spec, sections };
    });
  refuses(
    aim("maps.el.o", ".maps", "one"),
    /^Refers to "one", which is no map \(.* relocation\[\d+\] of map "outer"\)$/,
  );
  refuses(
    aim("maps.el.o", ".maps", "first"),
    /^Refers to offset \d+ of section\[\d+\] ".maps", where no program begins/,
  );
  refuses(
    aim("struct-ops.el.o", ".struct_ops", "by_link"),
    /^Refers to offset 0 of section\[\d+\] ".struct_ops.link", where no program begins/,
  );
});

test("an arena's variables without an arena, and two arenas", () => {
  const withoutArena = changed("arena.el.o", (spec) => ({
    ...spec,
    sections: spec.sections.map((each) =>
      each.name === ".maps" ? { ...each, name: ".maps.off", relocations: [] } : each,
    ),
  }));
  refuses(withoutArena, /^There is no section ".maps", whose variables .BTF describes/);
});

/** A chain of functions, each of which calls the next: deeper than any stack of this machine. */
function chain(length: number, programs: number): Uint8Array {
  const body = code(call(0), exit());
  body[1] = 0x10;
  const all = new Uint8Array(16 * length);
  for (let i = 0; i < length; i++) {
    all.set(body, 16 * i);
    // To the function behind this one; the last one calls itself.
    new DataView(all.buffer).setInt32(16 * i + 4, i === length - 1 ? -1 : 1, true);
  }
  const main = new Uint8Array(16 * programs);
  for (let i = 0; i < programs; i++) main.set(body, 16 * i);
  return writeElf({
    sections: [
      { name: ".text", flags: CODE, alignment: 8, data: all },
      {
        name: "xdp",
        flags: CODE,
        alignment: 8,
        data: main.map((byte, i) => (i % 16 >= 4 && i % 16 < 8 ? 0xff : byte)),
        relocations: Array.from({ length: programs }, (_, i) => ({ offset: 16 * i, type: 10, symbol: "f0" })),
      },
    ],
    symbols: [
      ...Array.from({ length }, (_, i) => ({ name: `f${i}`, type: func, section: 0, value: 16 * i, size: 16 })),
      ...Array.from({ length: programs }, (_, i) => ({
        name: `p${i}`,
        type: func,
        section: 1,
        value: 16 * i,
        size: 16,
      })),
    ],
  });
}

test("a chain of 20,000 calls is followed", () => {
  const { p0 } = parseObject(chain(20_000, 1)).programs;
  assert.is(p0!.functions.length, 20_001);
  assert.is(p0!.instructions.length, 40_002);
});

test("objects with many of everything are read, linked and written in time", () => {
  const start = cpuTime();
  const count = rounds(5000, 20_000);
  const deep = chain(count, 1);
  assert.is(parseObject(writeObject(parseObject(deep))).programs.p0!.functions.length, count + 1);
  // Many symbols of one name, and as many types.
  const types: BtfTypeSpec[] = [
    { kind: "int", name: "int", size: 4, signed: true },
    { kind: "func_proto", returnType: 1, params: [{ name: "", type: 1 }] },
    ...Array.from({ length: count }, () => ({ kind: "func", name: "f", type: 2, linkage: "extern" }) as const),
    { kind: "datasec", name: ".ksyms", vars: [{ type: 3, offset: 0, size: 0 }] },
  ];
  const same = objectWith({
    sections: [{ name: ".BTF", data: layoutBtf(types).bytes }],
    symbols: Array.from({ length: count }, () => ({ name: "f", binding: global })),
  });
  assert.is(parseObject(same).externs.f!.kind, "kfunc");
  for (const bytes of [deep, same]) linkObjects([bytes]);
  const took = cpuTime() - start;
  assert.ok(took < 5000, `took ${took} ms`);
});

test("objects that would take much more memory or time than their size are refused in time", () => {
  const count = rounds(3000, 10_000);
  const bytes = chain(count, count);
  const start = cpuTime();
  refuses(bytes, /^Programs are longer than 4194304 instructions together/);
  const names = objectWith({
    sections: [{ name: ".data", flags: DATA, data: new Uint8Array(8) }],
    symbols: Array.from({ length: 50_000 }, () => ({
      name: "same",
      type: object,
      binding: local,
      section: 2,
      size: 8,
    })),
  });
  assert.is(Object.keys(parseObject(names).variables).length, 50_000);
  const took = cpuTime() - start;
  assert.ok(took < 5000, `took ${took} ms`);
});

test.run();
