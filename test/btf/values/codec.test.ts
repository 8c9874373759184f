import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type BtfTypeSpec, type CodecOptions, codec, encodeBtf, openBtf } from "../../../src/btf/index.ts";
import { fromHex, toHex } from "../../../src/bytes/index.ts";

const test = suite("btf/values/codec");

// Numbers of the types that every case below starts with.
const CHAR = 1;
const U8 = 2;
const INT = 3;
const U32 = 4;
const U64 = 5;
const BOOL = 6;
const S64 = 7;
const base: readonly BtfTypeSpec[] = [
  { kind: "int", name: "char", size: 1, signed: true },
  { kind: "int", name: "unsigned char", size: 1 },
  { kind: "int", name: "int", size: 4, signed: true },
  { kind: "int", name: "unsigned int", size: 4 },
  { kind: "int", name: "unsigned long long", size: 8 },
  { kind: "int", name: "_Bool", size: 1, bool: true },
  { kind: "int", name: "long long", size: 8, signed: true },
];

/** A codec of the last of some types that follow the ones above: the first has number 8. */
function make(
  types: readonly BtfTypeSpec[],
  options?: CodecOptions & { readonly littleEndian?: boolean },
): ReturnType<typeof codec> {
  const all = [...base, ...types];
  return codec(openBtf(encodeBtf(all, { littleEndian: options?.littleEndian ?? true })), all.length, options);
}

const member = (name: string, type: number, bitOffset: number, bitfieldSize = 0) => ({
  name,
  type,
  bitOffset,
  bitfieldSize,
});
const array = (type: number, length: number): BtfTypeSpec => ({ kind: "array", type, indexType: U32, length });

interface Case {
  readonly types: readonly BtfTypeSpec[];
  readonly little: string;
  readonly big: string;
  readonly value: unknown;
  readonly options?: CodecOptions;
}

const color: BtfTypeSpec = {
  kind: "enum",
  name: "color",
  values: [
    { name: "RED", value: 0 },
    { name: "GREEN", value: 1 },
    { name: "ALSO_GREEN", value: 1 },
    { name: "BLUE", value: 0x80000000 },
  ],
};
const flags: BtfTypeSpec = {
  kind: "enum",
  name: "flags",
  values: [
    { name: "NONE", value: 0 },
    { name: "A", value: 1 },
    { name: "B", value: 2 },
    { name: "AB", value: 3 },
    { name: "H", value: 0x80000000 },
  ],
};

const CASES: Record<string, Case> = {
  "a name through const, volatile, restrict and tags": {
    types: [
      { kind: "const", type: 9 },
      { kind: "typedef", name: "a", type: 10 },
      { kind: "volatile", type: 11 },
      { kind: "type_tag", name: "user", type: 12 },
      { kind: "restrict", type: U32 },
      { kind: "typedef", name: "b", type: 8 },
    ],
    little: "01020304",
    big: "04030201",
    value: 0x04030201,
  },
  "three bytes of a number": {
    types: [{ kind: "int", name: "u24", size: 3 }],
    little: "010203",
    big: "030201",
    value: 0x030201,
  },
  "five signed bytes": {
    types: [{ kind: "int", name: "s40", size: 5, signed: true }],
    little: "fdffffffff",
    big: "fffffffffd",
    value: -3n,
  },
  "a boolean of four bytes": {
    types: [{ kind: "int", name: "bool32", size: 4, bool: true }],
    little: "01000000",
    big: "00000001",
    value: true,
  },
  "half and long double as bytes": {
    types: [
      { kind: "float", name: "_Float16", size: 2 },
      { kind: "float", name: "long double", size: 12 },
      { kind: "struct", name: "s", size: 14, members: [member("h", 8, 0), member("l", 9, 16)] },
    ],
    little: "0102030405060708090a0b0c0d0e",
    big: "0102030405060708090a0b0c0d0e",
    value: { h: fromHex("0102"), l: fromHex("030405060708090a0b0c0d0e") },
  },
  "the first of several names of a value": { types: [color], little: "01000000", big: "00000001", value: "GREEN" },
  "an enum value in the sign bit": { types: [color], little: "00000080", big: "80000000", value: "BLUE" },
  "a value without a name": { types: [color], little: "ffffffff", big: "ffffffff", value: 0xffffffff },
  "an enum of one byte that compilers of old wrote unsigned": {
    types: [{ kind: "enum", name: "e", size: 1, values: [{ name: "LAST", value: 0xffffffff }] }],
    little: "ff",
    big: "ff",
    value: "LAST",
  },
  "an enum of eight bytes without 64-bit values": {
    types: [{ kind: "enum", name: "e", size: 8, signed: true, values: [{ name: "LOW", value: -2 }] }],
    little: "feffffffffffffff",
    big: "fffffffffffffffe",
    value: "LOW",
  },
  "an unnamed value of it": {
    types: [{ kind: "enum", name: "e", size: 8, signed: true, values: [{ name: "LOW", value: -2 }] }],
    little: "fdffffffffffffff",
    big: "fffffffffffffffd",
    value: -3n,
  },
  "an enum64 of four bytes": {
    types: [{ kind: "enum64", name: "e", size: 4, values: [{ name: "X", value: 7n }] }],
    little: "07000000",
    big: "00000007",
    value: "X",
  },
  flags: { types: [flags], options: { flags: true }, little: "03000080", big: "80000003", value: ["A", "B", "H"] },
  "flags with more bits": {
    types: [flags],
    options: { flags: ["flags"] },
    little: "f1000000",
    big: "000000f1",
    value: ["A", 0xf0],
  },
  "no flags": { types: [flags], options: { flags: true }, little: "00000000", big: "00000000", value: [] },
  "flags of a typedef by its name": {
    types: [flags, { kind: "typedef", name: "flags_t", type: 8 }],
    options: { flags: ["flags_t"] },
    little: "02000000",
    big: "00000002",
    value: ["B"],
  },
  "an enum that is not among the flags": {
    types: [flags],
    options: { flags: ["other"] },
    little: "03000000",
    big: "00000003",
    value: "AB",
  },
  "64 bits as they come": {
    types: [{ kind: "const", type: U64 }],
    little: "0100000000002000",
    big: "0020000000000001",
    value: 0x20000000000001n,
  },
  "safe numbers": {
    types: [array(U64, 2)],
    options: { bigint: "safe" },
    little: "ffffffffffff1f00" + "0000000000002000",
    big: "001fffffffffffff" + "0020000000000000",
    value: [Number.MAX_SAFE_INTEGER, 0x20000000000000n],
  },
  "safe signed numbers": {
    types: [array(S64, 3)],
    options: { bigint: "safe" },
    little: "010000000000e0ff" + "000000000000e0ff" + "fefffffffffffffF",
    big: "ffe0000000000001" + "ffe0000000000000" + "fffffffffffffffe",
    value: [Number.MIN_SAFE_INTEGER, -0x20000000000000n, -2],
  },
  "pointers stay bigint": {
    types: [{ kind: "ptr", type: 0 }],
    options: { bigint: "safe" },
    little: "0100000000000000",
    big: "0000000000000001",
    value: 1n,
  },
  "bytes of a character array": {
    types: [array(CHAR, 4)],
    options: { chars: "bytes" },
    little: "61006200",
    big: "61006200",
    value: fromHex("61006200"),
  },
  "UTF-8": { types: [array(CHAR, 6)], little: "c3a4e282ac00", big: "c3a4e282ac00", value: "ä€" },
  "an array without elements in front of others": {
    types: [
      array(CHAR, 0),
      { kind: "struct", name: "s", size: 4, members: [member("mark", 8, 0), member("x", U32, 0)] },
    ],
    little: "01000000",
    big: "00000001",
    value: { mark: "", x: 1 },
  },
  "a member called __proto__": {
    types: [{ kind: "struct", name: "s", size: 8, members: [member("__proto__", U32, 0), member("x", U32, 32)] }],
    little: "0100000002000000",
    big: "0000000100000002",
    value: JSON.parse('{"__proto__":1,"x":2}'),
  },
  "names that are no identifiers": {
    types: [
      {
        kind: "struct",
        name: 's"',
        size: 8,
        members: [member('"];throw 1;//\u2028\\', U32, 0), member("$" + "{x}`\n", U32, 32)],
      },
    ],
    little: "0100000002000000",
    big: "0000000100000002",
    value: { '"];throw 1;//\u2028\\': 1, ["$" + "{x}`\n"]: 2 },
  },
  "names that occur twice through anonymous members": {
    types: [
      { kind: "struct", size: 4, members: [member("x", U32, 0)] },
      { kind: "struct", name: "s", size: 8, members: [member("x", U32, 0), member("", 8, 32)] },
    ],
    little: "0100000002000000",
    big: "0000000100000002",
    value: { x: 1, x___2: 2 },
  },
  "padding without a name": {
    types: [
      {
        kind: "struct",
        name: "s",
        size: 4,
        members: [member("", U32, 0, 8), member("x", U32, 8, 8), member("", INT, 16, 3)],
      },
    ],
    little: "00050000",
    big: "00050000",
    value: { x: 5 },
  },
  "a bit field across nine bytes": {
    types: [{ kind: "struct", name: "s", size: 9, members: [member("x", U64, 4, 64)] }],
    // 0x0fedcba987654321 from the fifth bit on.
    little: "1032547698badcfe00",
    big: "00fedcba9876543210",
    value: { x: 0x0fedcba987654321n },
  },
  "a section": {
    types: [
      { kind: "var", name: "count", type: U32 },
      array(CHAR, 4),
      { kind: "var", name: "name", type: 9 },
      {
        kind: "datasec",
        name: ".data",
        size: 12,
        vars: [
          { type: 8, offset: 0, size: 4 },
          { type: 10, offset: 8, size: 4 },
        ],
      },
    ],
    little: "0700000000000000" + "61620000",
    big: "0000000700000000" + "61620000",
    value: { count: 7, name: "ab" },
  },
  "a variable with a flexible array": {
    types: [
      array(U8, 0),
      { kind: "struct", name: "s", size: 4, members: [member("n", U32, 0), member("rest", 8, 32)] },
      { kind: "var", name: "v", type: 9 },
      { kind: "datasec", name: ".data", size: 8, vars: [{ type: 10, offset: 0, size: 7 }] },
    ],
    little: "0300000001020300",
    big: "0000000301020300",
    value: { v: { n: 3, rest: fromHex("010203") } },
  },
  "a place of fixed size": {
    types: [
      array(U8, 0),
      { kind: "struct", name: "key", size: 4, members: [member("prefixlen", U32, 0), member("data", 8, 32)] },
    ],
    options: { size: 8 },
    little: "180000000a000001",
    big: "000000180a000001",
    value: { prefixlen: 24, data: fromHex("0a000001") },
  },
  "text that takes the rest": {
    types: [
      array(CHAR, 0),
      { kind: "struct", name: "s", size: 4, members: [member("n", U32, 0), member("text", 8, 32)] },
    ],
    little: "02000000616200",
    big: "00000002616200",
    value: { n: 2, text: "ab" },
  },
};
for (const [name, { types, little, big, value, options }] of Object.entries(CASES)) {
  test(name, () => {
    for (const [littleEndian, hex] of [
      [true, little],
      [false, big],
    ] as const) {
      for (const codegen of [true, false]) {
        const made = make(types, { ...options, littleEndian, codegen });
        const bytes = fromHex(hex);
        const decoded = made.decode(bytes);
        assert.equal(decoded, value);
        if (typeof value === "object" && value !== null) {
          assert.equal(Object.keys(decoded as object), Object.keys(value), "own members in their order");
          assert.is(Object.getPrototypeOf(decoded), Object.getPrototypeOf(value));
        }
        assert.equal(made.decode(bytes), value, "the same bytes again are read through a view");
        assert.equal(made.decode(bytes), value, "and from then on through typed arrays");
        assert.is(toHex(made.encode(value)), toHex(bytes));
        for (let length = 0; length < made.size; length++) {
          assert.throws(
            () => made.decode(bytes.subarray(0, length)),
            (error: Error) => error instanceof RangeError,
          );
        }
      }
    }
  });
}

test("bytes that come again are read anew, wherever they lie", () => {
  const made = make([{ kind: "struct", name: "s", size: 16, members: [member("a", U64, 0), member("b", U32, 64)] }]);
  const buffer = new ArrayBuffer(64);
  const one = new Uint8Array(buffer, 4, 32);
  const other = new Uint8Array(buffer, 20, 16);
  for (let round = 0; round < 4; round++) {
    one[0] = round;
    other[0] = 100 + round;
    assert.equal(made.decode(one), { a: BigInt(round), b: 0 });
    assert.equal(made.decode(one), { a: BigInt(round), b: 0 });
    assert.equal(made.decode(one, 16), { a: BigInt(100 + round), b: 0 });
    assert.equal(made.decode(other), { a: BigInt(100 + round), b: 0 });
    assert.throws(() => made.decode(one, 17), /Need 16 bytes at offset 17/);
    if (round % 2 === 0) assert.equal(made.decode(other), { a: BigInt(100 + round), b: 0 });
  }
  type Resizable = new (
    size: number,
    options: { maxByteLength: number },
  ) => ArrayBuffer & { resize(size: number): void };
  const growing = new (ArrayBuffer as unknown as Resizable)(16, { maxByteLength: 64 });
  const tracking = new Uint8Array(growing);
  assert.equal([made.decode(tracking), made.decode(tracking)], [{ a: 0n, b: 0 }, { a: 0n, b: 0 }]); // biome-ignore format: table
  growing.resize(64);
  tracking[48] = 9;
  assert.equal(made.decode(tracking, 48), { a: 9n, b: 0 });
  growing.resize(16);
  assert.throws(() => made.decode(tracking, 48), /Need 16 bytes at offset 48/);
});

test("text ends at a NUL, and what is no UTF-8 shows as such", () => {
  const made = make([array(CHAR, 6)]);
  assert.is(made.decode(fromHex("610062ffffff")), "a");
  assert.is(made.decode(fromHex("61ff62c3e282")), "a\ufffdb\ufffd\ufffd\ufffd");
  assert.is(made.decode(fromHex("616263646566")), "abcdef");
});

test("size and alignment", () => {
  const packed = make([{ kind: "struct", name: "s", size: 5, members: [member("a", U8, 0), member("b", U32, 8)] }]);
  assert.equal([packed.size, packed.alignment], [5, 1]);
  const plain = make([{ kind: "struct", name: "s", size: 16, members: [member("a", U64, 0), member("b", U32, 64)] }]);
  assert.equal([plain.size, plain.alignment], [16, 8]);
  const section = make([
    { kind: "var", name: "a", type: U64 },
    { kind: "datasec", name: ".bss", size: 24, vars: [{ type: 8, offset: 8, size: 8 }] },
  ]);
  assert.equal([section.size, section.alignment], [24, 8]);
  // Before a linker has filled it in.
  const open = make([
    { kind: "var", name: "a", type: U64 },
    { kind: "datasec", name: ".bss", vars: [{ type: 8, offset: 0, size: 8 }] },
  ]);
  assert.is(open.size, 8);
});

const event: readonly BtfTypeSpec[] = [
  color,
  array(CHAR, 4),
  array(U8, 3),
  array(INT, 2),
  { kind: "struct", name: "point", size: 8, members: [member("x", INT, 0), member("y", INT, 32)] },
  array(12, 2),
  { kind: "union", size: 8, members: [member("word", U64, 0), member("point", 12, 0)] },
  { kind: "float", name: "float", size: 4 },
  {
    kind: "struct",
    name: "event",
    size: 64,
    members: [
      member("id", U32, 0),
      member("color", 8, 32),
      member("name", 9, 64),
      member("mac", 10, 96),
      member("ok", BOOL, 120),
      member("pair", 11, 128),
      member("path", 13, 192),
      member("", 14, 320),
      member("f", 15, 384),
      member("bits", INT, 416, 5),
      member("size", U64, 448),
    ],
  },
];
const sound = {
  id: 1,
  color: "RED",
  name: "abc",
  mac: Uint8Array.of(1, 2, 3),
  ok: true,
  pair: [1, -1],
  path: [
    { x: 1, y: 2 },
    { x: 3, y: 4 },
  ],
  word: 5n,
  f: 0.5,
  bits: -16,
  size: 0xffffffffffffffffn,
};

const REFUSED: readonly (readonly [string, object, string])[] = [
  ["RangeError", { id: -1 }, "at id: value -1 does not fit an unsigned integer of 32 bits (0 to 4294967295)"],
  [
    "RangeError",
    { id: 2 ** 32 },
    "at id: value 4294967296 does not fit an unsigned integer of 32 bits (0 to 4294967295)",
  ],
  ["RangeError", { id: 1.5 }, "at id: value 1.5 is no integer"],
  ["RangeError", { id: Number.NaN }, "at id: value NaN is no integer"],
  ["TypeError", { id: "1" }, "at id: expected an integer, not string"],
  ["TypeError", { id: null }, "at id: expected an integer, not null"],
  ["TypeError", { id: undefined }, "at id: missing"],
  [
    "RangeError",
    { size: 1n << 64n },
    "at size: value 18446744073709551616 does not fit an unsigned integer of 64 bits (0 to 18446744073709551615)",
  ],
  ["RangeError", { size: 2 ** 53 }, "at size: value 9007199254740992 is not exact, expected a bigint"],
  ["RangeError", { bits: 16 }, "at bits: value 16 does not fit a signed integer of 5 bits (-16 to 15)"],
  ["RangeError", { color: "GREN" }, 'at color: no enumerator "GREN", did you mean "GREEN"?'],
  ["RangeError", { color: -1 }, "at color: value -1 does not fit an unsigned integer of 32 bits (0 to 4294967295)"],
  ["TypeError", { color: true }, "at color: expected the name of an enumerator or its number, not boolean"],
  ["RangeError", { name: "abcde" }, "at name: text of 5 bytes does not fit char[4]"],
  ["RangeError", { name: "ä€" }, "at name: text of 5 bytes does not fit char[4]"],
  ["RangeError", { name: "a\0b" }, 'at name: text "a\\u0000b" has a NUL in it'],
  ["TypeError", { name: 5 }, "at name: expected a string, not number"],
  ["RangeError", { mac: Uint8Array.of(1, 2) }, "at mac: 2 bytes, expected 3"],
  ["RangeError", { mac: Uint8Array.of(1, 2, 3, 4) }, "at mac: 4 bytes, expected 3"],
  ["RangeError", { mac: [1, 256, 3] }, "at mac[1]: value 256 does not fit an unsigned integer of 8 bits (0 to 255)"],
  ["TypeError", { mac: "abc" }, "at mac: expected a Uint8Array, not string"],
  ["TypeError", { ok: 1 }, "at ok: expected a boolean, not number"],
  ["RangeError", { pair: [1] }, "at pair: 1 elements, expected 2"],
  ["RangeError", { pair: [1, 2, 3] }, "at pair: 3 elements, expected 2"],
  ["TypeError", { pair: 1 }, "at pair: expected an array, not number"],
  ["TypeError", { path: [{ x: 1, y: 2 }, { x: 1 }] }, "at path[1].y: missing"],
  ["TypeError", { path: [{ x: 1, y: 2 }, [1, 2]] }, "at path[1]: expected an object, not array"],
  [
    "TypeError",
    {
      path: [
        { x: 1, y: 2, z: 3 },
        { x: 1, y: 2 },
      ],
    },
    'at path[0]: unknown member "z"',
  ],
  ["TypeError", { colour: 1 }, 'event: unknown member "colour", did you mean "color"?'],
  ["TypeError", { word: undefined }, "event: no member of the union is given, expected one of word, point"],
  [
    "RangeError",
    { point: { x: 1, y: 2 } },
    "event: members of the union disagree (word, point): give only one of them",
  ],
  ["RangeError", { f: 1e300 }, "at f: value 1e+300 does not fit a float of 32 bits"],
  ["TypeError", { f: 1n }, "at f: expected a number, not bigint"],
];

for (const [kind, change, message] of REFUSED) {
  test(`refuses ${message}`, () => {
    const made = make(event);
    let error: unknown;
    try {
      made.encode({ ...sound, ...change });
    } catch (thrown) {
      error = thrown;
    }
    assert.ok(error instanceof Error, "nothing was thrown");
    assert.is((error as Error).name, kind);
    assert.is(
      (error as Error).message,
      `Cannot encode struct event${message.startsWith("event") ? message.slice(5) : ` ${message}`}`,
    );
  });
}

test("takes what means the same", () => {
  const made = make(event);
  const bytes = toHex(made.encode(sound));
  const same = {
    ...sound,
    id: 1n,
    color: 0,
    name: fromHex("616263"),
    mac: [1, 2, 3],
    pair: Int32Array.of(1, -1),
    word: 5,
  };
  assert.is(toHex(made.encode(same)), bytes);
  // What was decoded has all members of the union, which agree.
  const decoded = made.decode(fromHex(bytes)) as typeof sound;
  assert.equal(decoded, { ...sound, point: { x: 5, y: 0 } });
  assert.is(toHex(made.encode(decoded)), bytes);
  assert.is(toHex(made.encode({ ...sound, name: "abcd" })).slice(16, 24), "61626364");
  assert.equal(Object.getOwnPropertyNames(sound).length, 11);
});

test("inherited members do not count", () => {
  const made = make(event);
  assert.throws(() => made.encode(Object.create(sound)), /at id: missing/);
});

test("partial values are filled with zeros", () => {
  const made = make(event, { partial: true });
  assert.is(toHex(made.encode({})), "00".repeat(64));
  assert.is(
    toHex(made.encode({ id: 1, mac: Uint8Array.of(9), path: [{ y: 2 }] })).replace(/(00)+$/, ""),
    `0100000000000000000000000900000000000000000000000000000002`,
  );
  assert.throws(() => made.encode({ idd: 1 }), /unknown member "idd", did you mean "id"/);
  assert.throws(() => made.encode({ pair: [1, 2, 3] }), /at pair: 3 elements, expected at most 2/);
});

test("flags are encoded from names and numbers", () => {
  const made = make([flags], { flags: true });
  for (const [value, hex] of [
    [["A", "B"], "03000000"],
    [["AB", 0x10], "13000000"],
    [["H"], "00000080"],
    ["AB", "03000000"],
    [5, "05000000"],
    [[], "00000000"],
  ] as const) {
    assert.is(toHex(made.encode(value)), hex);
  }
  assert.throws(() => made.encode(["C"]), /at \[0\]: no enumerator "C"/);
  assert.throws(() => made.encode([2 ** 32]), /at \[0\]: value 4294967296 does not fit/);
});

test("the bytes around a value stay, those in it that it does not fill are cleared", () => {
  const made = make([{ kind: "struct", name: "s", size: 8, members: [member("a", U8, 0), member("b", U32, 32)] }]);
  const bytes = new Uint8Array(12).fill(0xff);
  made.encodeInto({ a: 1, b: 2 }, bytes, 2);
  assert.is(toHex(bytes), "ffff0100000002000000ffff");
  assert.throws(
    () => made.encodeInto({ a: 1, b: 2 }, bytes, 5),
    "Need 8 bytes at offset 5 for struct s, found 12 altogether",
  );
  assert.throws(() => made.decode(bytes, -1), /Need 8 bytes at offset -1/);
  assert.throws(() => made.decode(bytes, 0.5), /Need 8 bytes at offset 0.5/);
  assert.throws(() => made.decode(bytes, Number.NaN), /Need 8 bytes at offset NaN/);
});

test("flexible arrays grow and shrink", () => {
  const types: BtfTypeSpec[] = [
    array(U32, 0),
    { kind: "struct", name: "s", size: 4, members: [member("n", U32, 0), member("rest", 8, 32)] },
  ];
  const made = make(types);
  assert.is(made.size, 4);
  for (let n = 0; n < 4; n++) {
    const value = { n, rest: Array.from({ length: n }, (_, i) => i) };
    const bytes = made.encode(value);
    assert.is(bytes.length, 4 + 4 * n);
    assert.equal(made.decode(bytes), value);
    // An element that is not whole does not count.
    assert.equal(made.decode(Uint8Array.of(...bytes, 1, 2)), value);
  }
  const fixed = make(types, { size: 12 });
  assert.is(fixed.size, 12);
  assert.equal(fixed.decode(new Uint8Array(20)), { n: 0, rest: [0, 0] });
  assert.is(toHex(fixed.encode({ n: 1, rest: [1] })), "010000000100000000000000");
  assert.throws(() => fixed.encode({ n: 1, rest: [1, 2, 3] }), /at rest: 3 elements, expected at most 2/);
  assert.throws(() => make(types, { size: 3 }), "Values of struct s cannot have 3 bytes: expected at least 4");
  assert.throws(() => make([{ kind: "const", type: U32 }], { size: 5 }), /cannot have 5 bytes: expected 4/);
});

test("types without values are refused by name", () => {
  const refused: readonly (readonly [BtfTypeSpec[], string, string])[] = [
    [[{ kind: "fwd", name: "gone", target: "struct" }], "ERR_BTF_UNSIZED", 'No values are of kind fwd "gone"'],
    [[{ kind: "func_proto", params: [] }], "ERR_BTF_UNSIZED", "No values are of kind func_proto"],
    [
      [
        { kind: "func_proto", params: [] },
        { kind: "func", name: "f", type: 8 },
      ],
      "ERR_BTF_UNSIZED",
      'No values are of kind func "f"',
    ],
    [[{ kind: "const", type: 0 }], "ERR_BTF_UNSIZED", "No values are of kind void"],
    [
      [
        { kind: "fwd", name: "gone", target: "union" },
        { kind: "struct", name: "s", size: 4, members: [member("x", 8, 0)] },
      ],
      "ERR_BTF_UNSIZED",
      'No values are of kind fwd "gone"',
    ],
    [[{ kind: "decl_tag", name: "tag", type: U32 }], "ERR_BTF_UNSIZED", 'No values are of kind decl_tag "tag"'],
    [
      [{ kind: "struct", name: "s", size: 2, members: [member("x", U32, 0)] }],
      "ERR_BTF_INVALID",
      "Bits 0 to 32 of the member end behind the 16 bits it may use",
    ],
    [
      [{ kind: "struct", name: "s", size: 8, members: [member("x", BOOL, 3)] }],
      "ERR_BTF_INVALID",
      "Bit offset 3 of a member that is no bit field is no multiple of 8",
    ],
    [
      [{ kind: "struct", name: "s", size: 8, members: [member("x", U32, 0, 33)] }],
      "ERR_BTF_INVALID",
      "33 bits do not fit into 4 bytes",
    ],
    [
      [
        { kind: "ptr", type: 0 },
        { kind: "struct", name: "s", size: 8, members: [member("x", 8, 0, 3)] },
      ],
      "ERR_BTF_INVALID",
      "A bit field of kind ptr",
    ],
    [[{ kind: "int", name: "i", size: 4, bits: 0 }], "ERR_BTF_INVALID", "An integer of 0 bits in 4 bytes"],
    [
      [{ kind: "struct", name: "s", size: 8, members: [member("s", 8, 0)] }],
      "ERR_LIMIT",
      "More than 64 types inside one another",
    ],
    [[{ kind: "typedef", name: "t", type: 8 }], "ERR_BTF_CYCLE", "More than 32 steps to the type behind it"],
    [
      [
        { kind: "var", name: "a", type: U32 },
        {
          kind: "datasec",
          name: ".bss",
          vars: [
            { type: 8, offset: 0, size: 4 },
            { type: 8, offset: 0, size: 4 },
          ],
        },
      ],
      "ERR_BTF_UNSIZED",
      'Section ".bss" has no size yet, and its variables no offsets',
    ],
  ];
  for (const [types, code, message] of refused) {
    for (const codegen of [true, false]) {
      let error: { code?: string; message?: string; name?: string } = {};
      try {
        make(types, { codegen });
      } catch (thrown) {
        error = thrown as typeof error;
      }
      assert.is(error.name, "BtfError", message);
      assert.is(error.code, code, message);
      assert.ok(error.message?.startsWith(message), `${error.message} does not start with ${message}`);
    }
  }
});

test("types that would take for ever are refused at once", () => {
  // A struct without a byte that holds two of the one before it, sixty times over.
  const doubling: BtfTypeSpec[] = [{ kind: "struct", name: "s0", size: 0, members: [] }];
  const anonymous: BtfTypeSpec[] = [{ kind: "struct", size: 0, members: [member("x", 9, 0)] }, array(U8, 0)];
  for (let i = 1; i < 60; i++) {
    const before = 7 + doubling.length;
    doubling.push({
      kind: "struct",
      name: `s${i}`,
      size: 0,
      members: [member("a", before, 0), member("b", before, 0)],
    });
    const last = 7 + anonymous.length - (i === 1 ? 1 : 0);
    anonymous.push({ kind: "struct", size: 0, members: [member("", last, 0), member("", last, 0)] });
  }
  const huge: BtfTypeSpec[] = [{ kind: "struct", name: "empty", size: 0, members: [] }, array(8, 0xffffffff)];
  for (const types of [doubling, anonymous, huge]) {
    for (const codegen of [true, false]) {
      assert.throws(
        () => make(types, { codegen }),
        (error: { code?: string }) => error.code === "ERR_LIMIT",
      );
    }
  }
});

test.run();
