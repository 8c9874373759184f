import { readFileSync } from "node:fs";
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Btf, type BtfTypeSpec, createBtfBuilder, encodeBtf, openBtf, validateBtf } from "../../src/btf/index.ts";
import { toHex } from "../../src/bytes/index.ts";
import { requires, rounds } from "../support/harness.ts";
import { randomTypes } from "./support/random.ts";

const test = suite("btf/roundtrip");

/** What a written type reads as: with number, name and all that goes without saying. */
function normal(type: BtfTypeSpec, id: number): object {
  const named = { name: "", ...type, id };
  if (type.kind === "int") {
    return { bits: 8 * type.size, bitOffset: 0, signed: false, char: false, bool: false, ...named };
  }
  return named;
}

function same(btf: Btf, types: readonly BtfTypeSpec[]): void {
  assert.is(btf.endId - btf.firstId, types.length);
  for (const [i, type] of types.entries())
    assert.equal({ ...btf.typeById(btf.firstId + i) }, normal(type, btf.firstId + i));
}

const seeds = fc.integer({ min: 0, max: 0x7fffffff });

test("reading gives what was written, in every form", () => {
  fc.assert(
    fc.property(seeds, fc.boolean(), fc.boolean(), fc.boolean(), (seed, littleEndian, shareSuffixes, layout) => {
      const types = randomTypes(seed, 60);
      const bytes = encodeBtf(types, { littleEndian, shareSuffixes, layout });
      const btf = openBtf(bytes);
      validateBtf(btf);
      same(btf, types);
      // And writing what was read gives the same bytes.
      assert.is(toHex(encodeBtf(btf.types(), { littleEndian, shareSuffixes, layout })), toHex(bytes));
    }),
    { numRuns: rounds(25, 600) },
  );
});

test("split BTF goes on from its base, with its strings", () => {
  fc.assert(
    fc.property(seeds, fc.boolean(), (seed, littleEndian) => {
      const base = openBtf(encodeBtf(randomTypes(seed, 30), { littleEndian }));
      const types = randomTypes(seed + 1, 30, base.endId);
      // Some references into the base.
      const mixed = types.map((type, i) => (type.kind === "ptr" && i % 2 === 0 ? { ...type, type: 1 } : type));
      const bytes = encodeBtf(mixed, { base });
      const split = openBtf(bytes, { base });
      validateBtf(split);
      same(split, mixed);
      assert.is(split.littleEndian, littleEndian);
      assert.equal([...split.types()].length, 60);
      assert.is(split.typeById(1), base.typeById(1));
      for (const type of split.types()) {
        if (type.name === "") continue;
        const found = split.idsByName(type.name, type.kind);
        assert.ok(found.includes(type.id), type.name);
        for (const id of found) assert.is(split.nameOf(id), type.name);
      }
    }),
    { numRuns: rounds(20, 300) },
  );
});

test("finds names however the strings are shared, with and without an index", () => {
  const names = ["struct", "task_struct", "ruct", "t", "task_struct___old", "task", "x___y___z"];
  for (const shareSuffixes of [false, true]) {
    const builder = createBtfBuilder({ shareSuffixes });
    for (const name of names) builder.add({ kind: "fwd", name, target: "struct" });
    for (const name of names) builder.add({ kind: "fwd", name, target: "union" });
    const void_ = builder.add({ kind: "ptr", type: 0 });
    const typedefs = names.map((name) => builder.add({ kind: "typedef", name, type: void_ }));
    const btf = builder.build();
    for (const withIndex of [false, true]) {
      // One of all kinds, and one of each kind.
      if (withIndex) for (let i = 0; i < 20; i++) btf.idsByName("none", [undefined, "fwd", "typedef"][i % 3] as "fwd");
      if (withIndex) for (let i = 0; i < 20; i++) btf.idsByName("none");
      for (const [i, name] of names.entries()) {
        const forwards = [i + 1, i + 1 + names.length];
        assert.equal(btf.idsByName(name), [...forwards, typedefs[i]], name);
        assert.equal(btf.idsByName(name, "fwd"), forwards, name);
        assert.equal(btf.idsByName(name, "typedef"), [typedefs[i]], name);
        assert.equal(btf.typesByName(name, "struct"), [], name);
        assert.is(btf.typeByName(name, "typedef").id, typedefs[i]);
      }
      assert.equal(btf.idsByEssentialName("task_struct"), [2, 5, 9, 12, typedefs[1], typedefs[4]]);
      assert.equal(btf.idsByEssentialName("task_struct", "fwd"), [2, 5, 9, 12]);
      assert.equal(btf.idsByEssentialName("x___y", "fwd"), [7, 14]);
      assert.equal(btf.idsByEssentialName("x"), []);
      assert.equal(btf.idsByEssentialName("task_struct___old"), []);
      assert.equal(btf.idsByName(""), []);
    }
  }
  const long = encodeBtf(
    [
      { kind: "fwd", name: "task_struct", target: "struct" },
      { kind: "fwd", name: "struct", target: "union" },
    ],
    { shareSuffixes: true },
  );
  assert.is(long.length, 24 + 24 + "\0task_struct\0".length);
});

test("the builder gives numbers, and fills in what was declared", () => {
  const builder = createBtfBuilder();
  assert.is(builder.endId, 1);
  const list = builder.declare("list");
  const pointer = builder.add({ kind: "ptr", type: list });
  builder.set(list, { kind: "struct", name: "list", size: 8, members: [{ name: "next", type: pointer }] });
  const btf = builder.build();
  validateBtf(btf);
  assert.is(btf.typeByName("list", "struct").members[0]?.type, 2);
  assert.throws(() => builder.set(3, { kind: "ptr", type: 0 }), /No type 3 was added, there are 1 to 2/);
});

test("refuses what does not fit, and says in which type", () => {
  const cases: [BtfTypeSpec, string][] = [
    [{ kind: "ptr", type: 2 }, "Cannot write type[1]: Type is 2, expected 0 to 1"],
    [{ kind: "ptr", type: -1 }, "Cannot write type[1]: Type is -1, expected 0 to 1"],
    [{ kind: "float", name: "f", size: 2 ** 32 }, "Cannot write type[1]: Size is 4294967296, expected 0 to 4294967295"],
    [{ kind: "int", name: "i", size: 4, bits: 256 }, "Cannot write type[1]: Width in bits is 256, expected 0 to 255"],
    [
      { kind: "enum", values: [{ name: "A", value: -1 }] },
      "Cannot write type[1]: Value of value[0] is -1, expected 0 to 4294967295",
    ],
    [
      { kind: "enum64", values: [{ name: "A", value: 1n << 64n }] },
      "Cannot write type[1]: Value of value[0] is 18446744073709551616, which does not fit 64 bits",
    ],
    [
      { kind: "struct", size: 4, members: [{ type: 0, bitOffset: 0x1000000, bitfieldSize: 1 }] },
      "Cannot write type[1]: Bit offset of member[0] is 16777216, expected 0 to 16777215",
    ],
    [{ kind: "typedef", name: "a\0b", type: 0 }, 'Cannot write type[1]: Name "a\\u0000b" has a NUL in it'],
  ];
  for (const [type, message] of cases) {
    assert.throws(
      () => encodeBtf([type]),
      (error: unknown) => error instanceof RangeError && error.message === message,
      message,
    );
  }
});

requires(test, "kernel-btf")("every type of the kernel survives writing and reading", () => {
  const btf = openBtf(readFileSync("/sys/kernel/btf/vmlinux"));
  const again = openBtf(encodeBtf(btf.types(), { littleEndian: false, shareSuffixes: true, layout: true }));
  validateBtf(again);
  const types = again.types();
  let count = 0;
  for (const type of btf.types()) {
    assert.is(JSON.stringify(types.next().value, jsonValue), JSON.stringify(type, jsonValue));
    count++;
  }
  console.log(`\nNOTE ${count} types agree after writing them in the other byte order`);
});

function jsonValue(_: string, value: unknown): unknown {
  return typeof value === "bigint" ? `${value}n` : value;
}

test.run();
