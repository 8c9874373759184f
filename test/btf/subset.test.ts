import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  type BtfTypeSpec,
  downgradeBtf,
  encodeBtf,
  mapReferences,
  openBtf,
  referencesOf,
  subsetBtf,
  validateBtf,
} from "../../src/btf/index.ts";
import { requires, rounds } from "../support/harness.ts";
import { randomNumbers, randomTypes } from "./support/random.ts";

const test = suite("btf/subset");

test("takes what is reached, and the tags on it", () => {
  const types: BtfTypeSpec[] = [
    { kind: "int", name: "int", size: 4 },
    { kind: "float", name: "float", size: 4 },
    { kind: "struct", name: "s", size: 8, members: [{ name: "next", type: 5 }] },
    { kind: "decl_tag", name: "on s", type: 3 },
    { kind: "ptr", type: 3 },
    { kind: "decl_tag", name: "on t", type: 7 },
    { kind: "typedef", name: "t", type: 2 },
  ];
  const btf = openBtf(encodeBtf(types));
  const { types: taken, ids } = subsetBtf(btf, [5]);
  assert.equal([...ids.keys()], [0, 3, 4, 5]);
  assert.equal(
    taken.map((type) => type.kind),
    ["struct", "decl_tag", "ptr"],
  );
  assert.equal(taken.map(referencesOf), [[3], [1], [1]]);
  assert.equal([...subsetBtf(btf, [5], { declTags: false }).ids.keys()], [0, 3, 5]);
  assert.equal(subsetBtf(btf, []).types, []);
});

test("what is taken says the same as before", () => {
  for (let seed = 0; seed < rounds(50, 1000); seed++) {
    const below = randomNumbers(seed);
    const base = openBtf(encodeBtf(randomTypes(seed, 30)));
    const btf = openBtf(encodeBtf(randomTypes(seed + 1, 30, base.endId), { base }), { base });
    const roots = [1 + below(btf.endId - 1), 1 + below(btf.endId - 1)];
    const { types, ids } = subsetBtf(btf, roots);
    const taken = openBtf(encodeBtf(types));
    validateBtf(taken);
    assert.is(taken.endId, ids.size);
    for (const [old, id] of ids) {
      if (old === 0) continue;
      const before = btf.typeById(old);
      const expected = { ...mapReferences(before as BtfTypeSpec, (reference) => ids.get(reference)!), id };
      assert.equal({ ...taken.typeById(id) }, expected);
    }
  }
});

requires(test, "kernel-btf")("takes a struct of the kernel out", () => {
  const btf = openBtf(readFileSync("/sys/kernel/btf/vmlinux"));
  const { types, ids } = subsetBtf(btf, [btf.typeByName("list_head", "struct").id]);
  const taken = openBtf(encodeBtf(types));
  validateBtf(taken);
  assert.is(taken.sizeOf(ids.get(btf.typeByName("list_head", "struct").id)!), 16);
  assert.ok(types.length < 20, `${types.length} types`);
});

// One of each kind that some kernel does not know, by number.
const NEW: BtfTypeSpec[] = [
  { kind: "int", name: "int", size: 4, signed: true },
  { kind: "var", name: "v", type: 1 },
  { kind: "datasec", name: ".data.x", size: 8, vars: [{ type: 2, offset: 4, size: 4 }] },
  { kind: "datasec", name: "?.data", size: 4, vars: [{ type: 2, offset: 0, size: 4 }] },
  { kind: "func_proto", params: [{ name: "a", type: 1 }, { type: 1 }] },
  { kind: "func", name: "f", type: 5 },
  { kind: "func", name: "g", type: 5, linkage: "extern" },
  { kind: "float", name: "double", size: 8 },
  { kind: "decl_tag", name: "t", type: 6, componentIndex: 0 },
  { kind: "type_tag", name: "user", type: 1 },
  { kind: "type_tag", name: "packed", type: 1, attribute: true },
  { kind: "enum", name: "e", signed: true, values: [{ name: "A", value: -1 }] },
  { kind: "enum64", name: "e64", signed: true, values: [{ name: "B", value: -1n }] },
];

const BYTE = { kind: "int", size: 1 };
const DOWNGRADES: [Parameters<typeof downgradeBtf>[1], Record<number, object>][] = [
  [{}, {}],
  [
    { datasec: false },
    {
      2: { ...BYTE, name: "v" },
      3: { kind: "struct", name: "_data_x", size: 8, members: [{ name: "v", type: 2, bitOffset: 32 }] },
      4: { kind: "struct", name: "__data", size: 4, members: [{ name: "v", type: 2, bitOffset: 0 }] },
    },
  ],
  [{ questionMarkDatasec: false }, { 4: { ...NEW[3], name: "_.data" } }],
  [
    { func: false },
    {
      5: {
        kind: "enum",
        values: [
          { name: "a", value: 1 },
          { name: "arg1", value: 1 },
        ],
      },
      6: { kind: "typedef", name: "f", type: 5 },
      7: { kind: "typedef", name: "g", type: 5 },
      9: { ...BYTE, name: "t" },
    },
  ],
  [{ funcGlobal: false }, { 6: { ...NEW[5], linkage: "static" }, 7: { ...NEW[6], linkage: "static" } }],
  [{ float: false }, { 8: { kind: "struct", size: 8, members: [] } }],
  [{ declTag: false }, { 9: { ...BYTE, name: "t" } }],
  [{ typeTag: false }, { 10: { kind: "const", type: 1 }, 11: { kind: "const", type: 1 } }],
  [{ attributeTag: false }, { 11: { kind: "const", type: 1 } }],
  [
    { enum64: false },
    {
      12: { kind: "enum", name: "e", signed: false, values: [{ name: "A", value: 0xffffffff }] },
      13: { kind: "union", name: "e64", size: 8, members: [{ name: "B", type: 14 }] },
      14: { ...BYTE, name: "enum64_placeholder" },
    },
  ],
];

for (const [features, changes] of DOWNGRADES) {
  test(`downgrades for a kernel with ${JSON.stringify(features)}`, () => {
    const types = downgradeBtf(NEW, features);
    assert.is(types.length, Math.max(NEW.length, ...Object.keys(changes).map(Number)));
    for (const [i, type] of types.entries()) assert.equal(type, changes[i + 1] ?? NEW[i], `type ${i + 1}`);
    validateBtf(openBtf(encodeBtf(types)));
  });
}

test("downgrades everything at once, and random types", () => {
  const none = {
    func: false,
    datasec: false,
    float: false,
    declTag: false,
    typeTag: false,
    enum64: false,
  };
  const old = new Set([
    "int",
    "ptr",
    "array",
    "struct",
    "union",
    "enum",
    "fwd",
    "typedef",
    "volatile",
    "const",
    "restrict",
  ]);
  for (const types of [NEW, ...Array.from({ length: rounds(20, 300) }, (_, seed) => randomTypes(seed, 60))]) {
    const downgraded = downgradeBtf(types, none);
    for (const type of downgraded) assert.ok(old.has(type.kind), type.kind);
    openBtf(encodeBtf(downgraded));
  }
});

test.run();
