import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Btf, type BtfTypeSpec, encodeBtf, openBtf, validateBtf } from "../../src/btf/index.ts";
import { BtfError } from "../../src/errors.ts";
import { cpuTime, requires, rounds } from "../support/harness.ts";
import { randomNumbers, randomTypes } from "./support/random.ts";

const test = suite("btf/hostile");

/** Runs one operation; anything but an answer or a {@link BtfError} fails the test. */
function attempt<T>(what: string, run: () => T): T | undefined {
  try {
    return run();
  } catch (error) {
    if (!(error instanceof BtfError)) throw new Error(`${what} threw ${error}`, { cause: error });
    return undefined;
  }
}

/** Does everything that can be done with bytes that claim to be BTF. */
function exercise(bytes: Uint8Array, base?: Btf): boolean {
  const btf = attempt("openBtf", () => openBtf(bytes, { base }));
  if (btf === undefined) return false;
  const valid = attempt("validateBtf", () => validateBtf(btf) ?? true) === true;
  attempt("types", () => [...btf.types()].length);
  attempt("functions", () => [...btf.functions()].length);
  attempt("declTags", () => btf.declTags(1));
  attempt("pointerSize", () => btf.pointerSize);
  for (let id = 0; id <= Math.min(btf.endId, 300); id++) {
    const type = attempt("typeById", () => btf.typeById(id));
    assert.ok(!valid || type !== undefined || id >= btf.endId, `type ${id} of valid BTF`);
    attempt("kindOf", () => btf.kindOf(id));
    const name = attempt("nameOf", () => btf.nameOf(id));
    if (name !== undefined && id < 40) attempt("idsByName", () => btf.idsByName(name));
    attempt("resolve", () => btf.resolve(id));
    attempt("sizeOf", () => btf.sizeOf(id));
    attempt("alignOf", () => btf.alignOf(id));
  }
  return valid;
}

const INTERESTING = [0, 1, 2, 3, 4, 0x7f, 0x80, 0xff, 0xffff, 0x10000, 0xffffff, 0x7fffffff, 0x80000000, 0xffffffff];

function mutate(bytes: Uint8Array, below: (count: number) => number): Uint8Array {
  const copy = bytes.slice();
  const view = new DataView(copy.buffer);
  for (let i = 1 + below(4); i > 0; i--) {
    const at = below(copy.length);
    switch (below(4)) {
      case 0:
        copy[at] = below(256);
        break;
      case 1:
        copy[at]! ^= 1 << below(8);
        break;
      default: {
        const word = Math.min(at & ~3, copy.length - 4);
        const value = below(2) === 0 ? INTERESTING[below(INTERESTING.length)]! : below(64);
        view.setUint32(word, value, below(4) > 0);
      }
    }
  }
  return below(10) === 0 ? copy.subarray(0, below(copy.length)) : copy;
}

test("every prefix is refused", () => {
  for (const options of [{}, { littleEndian: false }, { layout: true }]) {
    const bytes = encodeBtf(randomTypes(7, 40), options);
    for (let length = 0; length < bytes.length; length++) {
      assert.is(exercise(bytes.subarray(0, length)), false, `${length} bytes`);
    }
    assert.ok(exercise(bytes));
  }
});

test("mutations give answers or BtfError", () => {
  let valid = 0;
  const count = rounds(800, 20_000);
  for (let seed = 0; seed < count; seed++) {
    const below = randomNumbers(seed);
    const original = encodeBtf(randomTypes(seed % 50, 25), { littleEndian: seed % 3 > 0, layout: seed % 5 === 0 });
    if (exercise(mutate(original, below))) valid++;
  }
  assert.ok(valid > 0 && valid < count, `${valid} of ${count} are still valid`);
  console.log(`\nNOTE ${count} mutations, ${valid} of them still valid`);
});

test("mutations of split BTF give answers or BtfError", () => {
  const base = openBtf(encodeBtf(randomTypes(3, 30)));
  const split = encodeBtf(randomTypes(4, 30, base.endId), { base });
  for (let length = 0; length < split.length; length++) exercise(split.subarray(0, length), base);
  for (let seed = 0; seed < rounds(300, 8000); seed++) exercise(mutate(split, randomNumbers(seed)), base);
  // Beside another base, numbers and names mean something else, but nothing breaks.
  exercise(split, openBtf(encodeBtf(randomTypes(9, 4))));
  exercise(split);
});

/** The error of an operation. */
function failure(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    assert.instance(error, BtfError);
    return `${(error as BtfError).code}: ${(error as BtfError).message}`;
  }
  return "nothing thrown";
}

function patched(changes: Record<number, number>, extra: Record<string, number> = {}): Uint8Array {
  const bytes = encodeBtf(
    [
      { kind: "int", name: "int", size: 4, signed: true },
      { kind: "ptr", type: 1 },
    ],
    { layout: extra.layout === 1 },
  );
  const view = new DataView(bytes.buffer);
  for (const [at, value] of Object.entries(changes)) view.setUint32(Number(at), value, true);
  return bytes;
}

// 24 bytes of header, an int of 16 bytes, a ptr of 12, 5 of strings: 57.
const BROKEN_HEADERS: [string, Uint8Array, string][] = [
  ["empty", new Uint8Array(0), "ERR_TRUNCATED: Need 24 bytes for the header, found 0 (.BTF header at byte 0)"],
  [
    "magic",
    patched({ 0: 0x0001eb9e }),
    "ERR_UNSUPPORTED_FORMAT: Magic is 0x9eeb, expected 0xeb9f (.BTF header at byte 0)",
  ],
  ["version", patched({ 0: 0x0002eb9f }), "ERR_UNSUPPORTED_FORMAT: Version is 2, expected 1 (.BTF header at byte 2)"],
  ["flags", patched({ 0: 0x0101eb9f }), "ERR_UNSUPPORTED_FORMAT: Flags are 0x1, expected 0 (.BTF header at byte 3)"],
  ["short", patched({ 4: 8 }), "ERR_MALFORMED: Header length is 8, expected at least 24 (.BTF header at byte 4)"],
  [
    "long",
    patched({ 4: 0xffffffff }),
    "ERR_TRUNCATED: Header length is 4294967295, the input has 57 bytes (.BTF header at byte 4)",
  ],
  [
    "misaligned",
    patched({ 8: 2, 12: 26 }),
    "ERR_MALFORMED: Type section offset 2 is no multiple of 4 (.BTF header at byte 8)",
  ],
  ["odd length", patched({ 12: 27 }), "ERR_TRUNCATED: Type section length 27 is no multiple of 4 (.BTF at byte 24)"],
  [
    "huge types",
    patched({ 12: 0xfffffff0 }),
    "ERR_TRUNCATED: The type section of 4294967280 bytes at offset 24 ends behind the input of 57 bytes (.BTF header at byte 8)",
  ],
  [
    "wrapping offset",
    patched({ 8: 0xfffffffc, 12: 8 }),
    "ERR_TRUNCATED: The type section of 8 bytes at offset 4294967316 ends behind the input of 57 bytes (.BTF header at byte 8)",
  ],
  [
    "strings behind the end",
    patched({ 16: 100 }),
    "ERR_TRUNCATED: The string section of 5 bytes at offset 124 ends behind the input of 57 bytes (.BTF header at byte 16)",
  ],
  [
    "overlap",
    patched({ 16: 20, 20: 13 }),
    "ERR_MALFORMED: The string section overlaps the type section (.BTF header at byte 16)",
  ],
  ["no strings", patched({ 20: 0 }), "ERR_MALFORMED: The string section is empty (.BTF strings at byte 52)"],
  [
    "no final NUL",
    patched({ 20: 4 }),
    "ERR_MALFORMED: The string section does not end with a NUL (.BTF strings at byte 55)",
  ],
  [
    "no first NUL",
    patched({ 16: 29, 20: 4 }),
    "ERR_MALFORMED: The string section does not start with an empty string (.BTF strings at byte 53)",
  ],
  [
    "layout behind the end",
    patched({ 24: 500 }, { layout: 1 }),
    "ERR_TRUNCATED: The layout section of 80 bytes at offset 532 ends behind the input of 145 bytes (.BTF header at byte 24)",
  ],
  [
    "layout over types",
    patched({ 24: 0 }, { layout: 1 }),
    "ERR_MALFORMED: The layout section overlaps another section (.BTF header at byte 24)",
  ],
  [
    "type cut off",
    patched({ 12: 24 }),
    "ERR_TRUNCATED: The type reaches past the end of the section at 48 (.BTF type[2] at byte 40)",
  ],
  ["kind 0", patched({ 28: 0 }), "ERR_UNSUPPORTED_FORMAT: Unknown kind 0 (.BTF type[1] at byte 24)"],
  ["kind 31", patched({ 44: 31 << 24 }), "ERR_UNSUPPORTED_FORMAT: Unknown kind 31 (.BTF type[2] at byte 40)"],
  [
    "huge vlen",
    patched({ 44: 0x04ffffff }),
    "ERR_TRUNCATED: The type reaches past the end of the section at 52 (.BTF type[2] at byte 40)",
  ],
];

for (const [name, bytes, expected] of BROKEN_HEADERS) {
  test(`opening refuses: ${name}`, () => {
    assert.is(
      failure(() => openBtf(bytes)),
      expected,
    );
  });
}

test("errors tell where in the file", () => {
  assert.is(
    failure(() => openBtf(patched({ 4: 8 }), { path: "prog.o .BTF", offset: 1000 })),
    "ERR_MALFORMED: Header length is 8, expected at least 24 (prog.o .BTF header at byte 1004)",
  );
});

test("accepts longer headers and sections in any order", () => {
  const strings = new TextEncoder().encode("\0int\0");
  const bytes = new Uint8Array(40 + 8 + 16);
  const view = new DataView(bytes.buffer);
  const header = [0x0001eb9f, 40, 8, 16, 0, 5, 0, 0, 0xdeadbeef, 1];
  for (const [i, word] of header.entries()) view.setUint32(4 * i, word, true);
  bytes.set(strings, 40);
  for (const [i, word] of [1, 0x01000000, 4, 32].entries()) view.setUint32(48 + 4 * i, word, true);
  assert.is(openBtf(bytes).typeByName("int", "int").size, 4);
});

test("passes over kinds that only the layout section knows", () => {
  const bytes = encodeBtf(
    [
      { kind: "int", name: "int", size: 4 },
      { kind: "ptr", type: 1 },
    ],
    { layout: true },
  );
  // 32 bytes of header, 28 of types, 80 of layout: the ptr becomes kind 1 above the last, and layout gains an entry.
  const grown = new Uint8Array(bytes.length + 4);
  grown.set(bytes.subarray(0, 32 + 28 + 80));
  grown.set(bytes.subarray(32 + 28 + 80), 32 + 28 + 84);
  const view = new DataView(grown.buffer);
  view.setUint32(16, 28 + 84, true);
  view.setUint32(28, 84, true);
  view.setUint32(32 + 16 + 4, 20 << 24, true);
  const btf = openBtf(grown);
  assert.is(btf.endId, 3);
  assert.equal(
    [...btf.types()].map((type) => type.kind),
    ["int"],
  );
  assert.is(
    failure(() => btf.typeById(2)),
    "ERR_UNSUPPORTED_FORMAT: Unknown kind 20 (.BTF type[2] at byte 52)",
  );
  assert.is(
    failure(() => btf.kindOf(2)),
    "ERR_UNSUPPORTED_FORMAT: Unknown kind 20 (.BTF type[2] at byte 48)",
  );
});

// Types that can be written, but not all of which may be. Type 1 is an int, 2 a struct of 4 bytes, 3 a prototype.
const FIRST: BtfTypeSpec[] = [
  { kind: "int", name: "int", size: 4, signed: true },
  { kind: "struct", name: "s", size: 4, members: [{ name: "m", type: 1 }] },
  { kind: "func_proto", params: [] },
];
const member = (type: number, bitOffset = 0, bitfieldSize = 0) => ({ name: "m", type, bitOffset, bitfieldSize });
const INVALID: [string, BtfTypeSpec[], string][] = [
  [
    "typedef of itself",
    [{ kind: "typedef", name: "t", type: 4 }],
    "type[4] ERR_BTF_CYCLE The type leads back to itself",
  ],
  [
    "two typedefs",
    [
      { kind: "typedef", name: "t", type: 5 },
      { kind: "typedef", name: "u", type: 4 },
    ],
    "type[4] ERR_BTF_CYCLE The type leads back to itself",
  ],
  [
    "pointers in a circle",
    [
      { kind: "ptr", type: 5 },
      { kind: "const", type: 4 },
    ],
    "type[4] ERR_BTF_CYCLE The type leads back to itself",
  ],
  [
    "array of itself",
    [{ kind: "array", type: 4, indexType: 1, length: 1 }],
    "type[4] ERR_BTF_CYCLE The type leads back to itself",
  ],
  [
    "struct in itself",
    [{ kind: "struct", name: "t", size: 4, members: [member(4)] }],
    "type[4].member[0] ERR_BTF_CYCLE The type contains itself",
  ],
  [
    "struct in itself through an array and a union",
    [
      { kind: "struct", name: "t", size: 8, members: [member(1), member(6, 32)] },
      { kind: "union", name: "u", size: 4, members: [member(4)] },
      { kind: "array", type: 5, indexType: 1, length: 1 },
    ],
    "type[5].member[0] ERR_BTF_INVALID 64 bits at bit 0 lie outside of the 4 bytes of the type",
  ],
  [
    "empty structs in a circle",
    [
      { kind: "struct", name: "t", size: 0, members: [member(5)] },
      { kind: "struct", name: "u", size: 0, members: [member(4)] },
    ],
    "type[5].member[0] ERR_BTF_CYCLE The type contains itself",
  ],
  [
    "33 typedefs",
    Array.from({ length: 33 }, (_, i): BtfTypeSpec => ({ kind: "typedef", name: "t", type: i === 0 ? 1 : 3 + i })),
    "type[36] ERR_BTF_CYCLE More than 32 steps to the type behind it",
  ],
  [
    "array of too many bytes",
    [
      { kind: "array", type: 1, indexType: 1, length: 0x8000 },
      { kind: "array", type: 4, indexType: 1, length: 0x8000 },
    ],
    "type[5] ERR_BTF_INVALID The array has more than 2^32 - 1 bytes",
  ],
  [
    "array of void",
    [{ kind: "array", type: 0, indexType: 1, length: 1 }],
    "type[4] ERR_BTF_INVALID A value of kind void has no size",
  ],
  [
    "array by struct",
    [{ kind: "array", type: 1, indexType: 2, length: 1 }],
    "type[4] ERR_BTF_INVALID The index is of kind struct, expected int",
  ],
  [
    "func to int",
    [{ kind: "func", name: "f", type: 1 }],
    "type[4] ERR_BTF_INVALID The type of a function is of kind int, expected func_proto",
  ],
  [
    "datasec of a struct",
    [{ kind: "datasec", name: "d", vars: [{ type: 2, offset: 0, size: 4 }] }],
    "type[4].var[0] ERR_BTF_INVALID A section cannot hold a struct",
  ],
  [
    "datasec too small",
    [
      { kind: "var", name: "v", type: 1 },
      { kind: "datasec", name: "d", size: 4, vars: [{ type: 4, offset: 1, size: 4 }] },
    ],
    "type[5].var[0] ERR_BTF_INVALID 4 bytes at 1 lie outside of 4",
  ],
  [
    "member outside",
    [{ kind: "struct", name: "t", size: 4, members: [member(1, 8)] }],
    "type[4].member[0] ERR_BTF_INVALID 32 bits at bit 8 lie outside of the 4 bytes of the type",
  ],
  [
    "bit field outside",
    [{ kind: "struct", name: "t", size: 4, members: [member(1, 24, 9)] }],
    "type[4].member[0] ERR_BTF_INVALID 9 bits at bit 24 lie outside of the 4 bytes of the type",
  ],
  [
    "members out of order",
    [{ kind: "struct", name: "t", size: 8, members: [member(1, 32), member(1, 0)] }],
    "type[4].member[1] ERR_BTF_INVALID Bit offset 0 lies before the 32 of the last",
  ],
  [
    "union with an offset",
    [{ kind: "union", name: "t", size: 8, members: [member(1, 32)] }],
    "type[4].member[0] ERR_BTF_INVALID Bit offset is 32 in a union",
  ],
  [
    "void member",
    [{ kind: "struct", name: "t", size: 8, members: [member(0)] }],
    "type[4].member[0] ERR_BTF_INVALID A value of kind void has no size",
  ],
  [
    "pointer to a variable",
    [
      { kind: "var", name: "v", type: 1 },
      { kind: "ptr", type: 4 },
    ],
    "type[5] ERR_BTF_INVALID A ptr cannot refer to a var",
  ],
  [
    "typedef without a name",
    [{ kind: "typedef", name: "", type: 1 }],
    "type[4] ERR_BTF_INVALID A typedef needs a name",
  ],
  [
    "void parameter",
    [{ kind: "func_proto", params: [{ type: 0 }, { name: "a", type: 1 }] }],
    "type[4].param[0] ERR_BTF_INVALID A parameter cannot be of kind void",
  ],
  [
    "named void parameter",
    [{ kind: "func_proto", params: [{ name: "a", type: 0 }] }],
    "type[4].param[0] ERR_BTF_INVALID A parameter cannot be of kind void",
  ],
  [
    "tag on an int",
    [{ kind: "decl_tag", name: "t", type: 1 }],
    "type[4] ERR_BTF_INVALID A declaration tag cannot be on a int",
  ],
  [
    "tag on a member that is not there",
    [{ kind: "decl_tag", name: "t", type: 2, componentIndex: 1 }],
    "type[4] ERR_BTF_INVALID Component index is 1, the struct has 1",
  ],
  [
    "wide int",
    [{ kind: "int", name: "i", size: 1, bits: 9 }],
    "type[4] ERR_BTF_INVALID 9 bits at bit 0 do not fit into 1 bytes",
  ],
  [
    "float of 3",
    [{ kind: "float", name: "f", size: 3 }],
    "type[4] ERR_BTF_INVALID Floating-point size is 3 bytes, expected 2, 4, 8, 12 or 16",
  ],
  [
    "enum of 3",
    [{ kind: "enum", name: "e", size: 3, values: [] }],
    "type[4] ERR_BTF_INVALID Enum size is 3 bytes, expected 1, 2, 4 or 8",
  ],
];

for (const [name, types, expected] of INVALID) {
  test(`validation refuses: ${name}`, () => {
    const bytes = encodeBtf([...FIRST, ...types]);
    const btf = openBtf(bytes);
    let found = "nothing thrown";
    try {
      validateBtf(btf);
    } catch (error) {
      assert.instance(error, BtfError);
      const { code, message, path, offset } = error as BtfError;
      found = `${path.replace(".BTF ", "")} ${code} ${message.replace(/ \(.*/, "")}`;
      assert.ok(offset !== undefined && offset < bytes.length, `byte ${offset}`);
    }
    assert.is(found, expected);
    exercise(bytes);
  });
}

// Fields that cannot be written wrong, by the byte that holds them: the int is at 24, the struct at 40, a typedef at 64.
const PATCHED: [string, number, number, string][] = [
  ["name behind the last", 24, 11, "type[1] Name offset 11 is outside of the strings"],
  ["name of int", 24, 1000, "type[1] Name offset 1000 is outside of the strings"],
  ["name of member", 52, 0xffffffff, "type[2].member[0] Name offset 4294967295 is outside of the strings"],
  ["type of member", 56, 4, "type[2].member[0] Type 4 does not exist, there are 0 to 3"],
  ["type of typedef", 72, 0x7fffffff, "type[3] Type 2147483647 does not exist, there are 0 to 3"],
  ["encoding", 36, 0x08000020, "type[1] Unknown bits in integer encoding 0x8000020"],
];

for (const [name, at, value, expected] of PATCHED) {
  test(`types are checked one by one: ${name}`, () => {
    const bytes = encodeBtf([FIRST[0]!, FIRST[1]!, { kind: "typedef", name: "t", type: 2 }]);
    new DataView(bytes.buffer).setUint32(at, value, true);
    const btf = openBtf(bytes);
    const id = Number(/\d+/.exec(expected)![0]);
    const found = failure(() => btf.typeById(id));
    assert.is(
      found,
      `ERR_BTF_INVALID: ${expected.replace(/^\S+ /, "")} (.BTF ${expected.split(" ")[0]} at byte ${at})`,
    );
    assert.is(
      failure(() => validateBtf(btf)),
      found,
    );
    exercise(bytes);
  });
}

test("long chains and deep nesting end, without exhausting the stack", () => {
  const count = 100_000;
  const started = cpuTime();
  const chain = openBtf(
    encodeBtf([
      { kind: "int", name: "int", size: 4 },
      ...Array.from({ length: count }, (_, i): BtfTypeSpec => ({ kind: "const", type: i + 1 })),
    ]),
  );
  assert.is(failure(() => chain.resolve(count)).slice(0, 13), "ERR_BTF_CYCLE");
  assert.is(failure(() => chain.sizeOf(count)).slice(0, 13), "ERR_BTF_CYCLE");
  assert.is(chain.alignOf(count + 1), 4);
  assert.is(failure(() => validateBtf(chain)).slice(0, 13), "ERR_BTF_CYCLE");
  const nested = openBtf(
    encodeBtf([
      { kind: "int", name: "int", size: 4 },
      ...Array.from(
        { length: count },
        (_, i): BtfTypeSpec => ({ kind: "struct", size: 4, members: [{ name: "m", type: i + 1 }] }),
      ),
    ]),
  );
  assert.is(nested.alignOf(count + 1), 4);
  validateBtf(nested);
  const loop = openBtf(
    encodeBtf(
      Array.from(
        { length: count },
        (_, i): BtfTypeSpec => ({ kind: "struct", size: 4, members: [{ name: "m", type: ((i + 1) % count) + 1 }] }),
      ),
    ),
  );
  assert.is(failure(() => loop.alignOf(5)).slice(0, 13), "ERR_BTF_CYCLE");
  assert.is(failure(() => loop.alignOf(5)).slice(0, 13), "ERR_BTF_CYCLE", "and again");
  assert.is(failure(() => validateBtf(loop)).slice(0, 13), "ERR_BTF_CYCLE");
  assert.ok(cpuTime() - started < 20_000, "in time");
});

test("long names are read, found and told apart", () => {
  for (const letter of ["a", "ä"]) {
    const long = letter.repeat(20_000);
    const names = [long, long.slice(1), `${long}___old`, `${long.slice(50)}___x___y`, "short", `${"b".repeat(70)}___c`];
    for (const shareSuffixes of [false, true]) {
      const types = names.map((name): BtfTypeSpec => ({ kind: "fwd", name, target: "struct" }));
      const btf = openBtf(encodeBtf(types, { shareSuffixes }));
      for (let round = 0; round < 3; round++) {
        for (const [i, name] of names.entries()) {
          assert.ok(btf.nameOf(i + 1) === name, `name ${i}`);
          assert.equal(btf.idsByName(name), [i + 1]);
        }
        assert.equal(btf.idsByEssentialName(long), [1, 3]);
        assert.equal(btf.idsByEssentialName(`${long.slice(50)}___x`), [4]);
        assert.equal(btf.idsByEssentialName("b".repeat(70)), [6]);
      }
    }
  }
});

for (const [what, letter] of [
  ["ASCII", 0x61],
  ["not ASCII", 0x80],
] as const) {
  test(`many names inside one long string do not take long: ${what}`, () => {
    const count = 20_000;
    const bytes = encodeBtf(
      Array.from({ length: count }, (): BtfTypeSpec => ({ kind: "fwd", name: "x", target: "struct" })),
    );
    // A megabyte of one letter in place of the name, and each type's name starts somewhere in it.
    const size = 1 << 20;
    const grown = new Uint8Array(bytes.length - 3 + size).fill(letter);
    grown.set(bytes.subarray(0, bytes.length - 3));
    grown[bytes.length - 3] = 0;
    grown[grown.length - 1] = 0;
    const view = new DataView(grown.buffer);
    view.setUint32(20, size, true);
    for (let i = 0; i < count; i++) view.setUint32(24 + 12 * i, 1 + (i % 1000), true);
    const started = cpuTime();
    const btf = openBtf(grown);
    validateBtf(btf);
    attempt("types", () => [...btf.types()].length);
    for (let i = 1; i < 40; i++) {
      const name = attempt("nameOf", () => btf.nameOf(i));
      if (name !== undefined && letter < 0x80) assert.is(btf.idsByName(name).length, count / 1000);
      attempt("typeById", () => btf.typeById(i));
    }
    assert.equal(btf.idsByName("a"), []);
    assert.ok(cpuTime() - started < 20_000, "in time");
  });
}

requires(test, "kernel-btf")("prefixes and mutations of the kernel's BTF", () => {
  const bytes = new Uint8Array(readFileSync("/sys/kernel/btf/vmlinux"));
  const below = randomNumbers(1);
  for (let i = 0; i < rounds(60, 500); i++) {
    const length = i < 50 ? i : below(bytes.length);
    assert.is(
      attempt("openBtf", () => openBtf(bytes.subarray(0, length))),
      undefined,
      `${length} bytes`,
    );
  }
  for (let i = 0; i < rounds(2, 40); i++) exercise(mutate(bytes, below));
  validateBtf(openBtf(bytes));
});

test.run();
