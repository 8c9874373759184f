import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type BtfType, type BtfTypeSpec, encodeBtf, openBtf, validateBtf } from "../../src/btf/index.ts";
import { fromHex, toHex } from "../../src/bytes/index.ts";

const test = suite("btf/kinds");

interface Case {
  readonly spec: BtfTypeSpec;
  /** What reading gives, without number; default the spec itself. */
  readonly read?: Omit<BtfType, "id"> & Record<string, unknown>;
  /** Words of the type, in hex, most significant digit first. */
  readonly words: string;
}

// One type of every kind, in this order: type 1 is the integer, 2 the struct, 3 the prototype, 4 the variable.
// Offsets of names: int 1, s 5, a 7, b 9, c 11, v 13, f 15, e 17, A 19, B 21, u 23, t 25, d 27, .data 29.
const CASES: Case[] = [
  {
    spec: { kind: "int", name: "int", size: 4, signed: true },
    read: { kind: "int", name: "int", size: 4, bits: 32, bitOffset: 0, signed: true, char: false, bool: false },
    words: "00000001 01000000 00000004 01000020",
  },
  {
    spec: {
      kind: "struct",
      name: "s",
      size: 8,
      members: [
        { name: "a", type: 1, bitOffset: 0, bitfieldSize: 0 },
        { name: "b", type: 1, bitOffset: 32, bitfieldSize: 5 },
        { name: "c", type: 1, bitOffset: 37, bitfieldSize: 27 },
      ],
    },
    words:
      "00000005 84000003 00000008 00000007 00000001 00000000 00000009 00000001 05000020 0000000b 00000001 1b000025",
  },
  {
    spec: {
      kind: "func_proto",
      returnType: 1,
      params: [{ name: "a", type: 1 }],
      variadic: true,
    },
    read: { kind: "func_proto", name: "", returnType: 1, params: [{ name: "a", type: 1 }], variadic: true },
    words: "00000000 0d000002 00000001 00000007 00000001 00000000 00000000",
  },
  { spec: { kind: "var", name: "v", type: 1, linkage: "extern" }, words: "0000000d 0e000000 00000001 00000002" },
  { spec: { kind: "func", name: "f", type: 3, linkage: "global" }, words: "0000000f 0c000001 00000003" },
  {
    spec: { kind: "ptr", type: 0 },
    read: { kind: "ptr", name: "", type: 0 as never },
    words: "00000000 02000000 00000000",
  },
  {
    spec: { kind: "array", type: 2, indexType: 1, length: 10 },
    read: { kind: "array", name: "", type: 2, indexType: 1, length: 10 },
    words: "00000000 03000000 00000000 00000002 00000001 0000000a",
  },
  {
    spec: { kind: "union", name: "", size: 4, members: [{ name: "a", type: 1, bitOffset: 0, bitfieldSize: 0 }] },
    words: "00000000 05000001 00000004 00000007 00000001 00000000",
  },
  {
    spec: {
      kind: "enum",
      name: "e",
      size: 4,
      signed: true,
      values: [
        { name: "A", value: -1 },
        { name: "B", value: 0x7fffffff },
      ],
    },
    words: "00000011 86000002 00000004 00000013 ffffffff 00000015 7fffffff",
  },
  {
    spec: { kind: "enum", name: "e", size: 1, signed: false, values: [{ name: "A", value: 0xffffffff }] },
    words: "00000011 06000001 00000001 00000013 ffffffff",
  },
  { spec: { kind: "fwd", name: "u", target: "union" }, words: "00000017 87000000 00000000" },
  { spec: { kind: "fwd", name: "s", target: "struct" }, words: "00000005 07000000 00000000" },
  { spec: { kind: "typedef", name: "t", type: 2 }, words: "00000019 08000000 00000002" },
  {
    spec: { kind: "volatile", type: 1 },
    read: { kind: "volatile", name: "", type: 1 as never },
    words: "00000000 09000000 00000001",
  },
  {
    spec: { kind: "const", type: 1 },
    read: { kind: "const", name: "", type: 1 as never },
    words: "00000000 0a000000 00000001",
  },
  {
    spec: { kind: "restrict", type: 6 },
    read: { kind: "restrict", name: "", type: 6 as never },
    words: "00000000 0b000000 00000006",
  },
  { spec: { kind: "float", name: "d", size: 8 }, words: "0000001b 10000000 00000008" },
  {
    spec: { kind: "datasec", name: ".data", size: 4, vars: [{ type: 4, offset: 0, size: 4 }] },
    words: "0000001d 0f000001 00000004 00000004 00000000 00000004",
  },
  {
    spec: { kind: "decl_tag", name: "t", type: 2, componentIndex: 1, attribute: false },
    words: "00000019 11000000 00000002 00000001",
  },
  {
    spec: { kind: "decl_tag", name: "t", type: 2, componentIndex: -1, attribute: true },
    words: "00000019 91000000 00000002 ffffffff",
  },
  { spec: { kind: "type_tag", name: "t", type: 1, attribute: false }, words: "00000019 12000000 00000001" },
  {
    spec: { kind: "enum64", name: "e", size: 8, signed: true, values: [{ name: "A", value: -2n }] },
    words: "00000011 93000001 00000008 00000013 fffffffe ffffffff",
  },
  {
    spec: { kind: "enum64", name: "e", size: 8, signed: false, values: [{ name: "B", value: 0x1_0000_0002n }] },
    words: "00000011 13000001 00000008 00000015 00000002 00000001",
  },
];

const STRINGS = "\0int\0s\0a\0b\0c\0v\0f\0e\0A\0B\0u\0t\0d\0.data\0";

function words(text: string, littleEndian: boolean): string {
  return text
    .split(" ")
    .map((word) => (littleEndian ? word.match(/../g)!.reverse().join("") : word))
    .join("");
}

function expected(littleEndian: boolean): string {
  const types = CASES.map((entry) => words(entry.words, littleEndian)).join("");
  const length = (value: number): string => words(value.toString(16).padStart(8, "0"), littleEndian);
  const magic = littleEndian ? "9feb" : "eb9f";
  const strings = toHex(new TextEncoder().encode(STRINGS));
  const [typeBytes, stringBytes] = [types.length / 2, strings.length / 2];
  return `${magic}0100${length(24)}${length(0)}${length(typeBytes)}${length(typeBytes)}${length(stringBytes)}${types}${strings}`;
}

for (const littleEndian of [true, false]) {
  const name = littleEndian ? "little" : "big";
  test(`writes every kind as by hand, ${name}-endian`, () => {
    const specs = CASES.map((entry) => entry.spec);
    assert.is(toHex(encodeBtf(specs, { littleEndian })), expected(littleEndian));
  });

  test(`reads every kind as by hand, ${name}-endian`, () => {
    const btf = openBtf(fromHex(expected(littleEndian)));
    assert.is(btf.littleEndian, littleEndian);
    assert.is(btf.endId, CASES.length + 1);
    for (const [i, { spec, read }] of CASES.entries()) {
      assert.equal({ ...btf.typeById(i + 1) }, { ...(read ?? spec), id: i + 1 }, `type ${i + 1}`);
    }
    validateBtf(btf);
  });
}

test("reads type numbers of types that lie at odd addresses", () => {
  const bytes = fromHex(expected(true));
  const moved = new Uint8Array(bytes.length + 1);
  moved.set(bytes, 1);
  const btf = openBtf(moved.subarray(1));
  assert.is(btf.typeByName("s", "struct").members.length, 3);
});

test("finds sizes, alignments, tags and what is behind names", () => {
  const btf = openBtf(fromHex(expected(true)));
  assert.is(btf.sizeOf(btf.typeByName("t", "typedef").id), 8);
  assert.is(btf.sizeOf(7), 80);
  assert.is(btf.sizeOf(6), 8);
  assert.is(btf.sizeOf(4), 4);
  assert.is(btf.alignOf(7), 4);
  assert.is(btf.resolve(13).name, "s");
  assert.equal(
    btf.declTags(2).map((tag) => tag.id),
    [19, 20],
  );
  assert.equal(
    btf.declTags(2, 1).map((tag) => tag.id),
    [19],
  );
  assert.equal(
    [...btf.functions()].map((func) => func.name),
    ["f"],
  );
  assert.equal(btf.idsByName("e", "enum64"), [22, 23]);
  assert.equal(btf.idsByName("e"), [9, 10, 22, 23]);
});

test.run();
