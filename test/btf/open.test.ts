import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { essentialName, openBtf } from "../../src/btf/index.ts";
import { fromHex } from "../../src/bytes/index.ts";
import { requires } from "../support/harness.ts";

const test = suite("btf/open");

// int "int"; struct "s" { int a; int b:3; } written by hand, in both byte orders.
const LITTLE = fromHex(`
  9feb 01 00 18000000 00000000 34000000 34000000 0b000000
  01000000 00000001 04000000 20000001
  05000000 02000084 08000000
    07000000 01000000 00000000
    09000000 01000000 20000003
  00 696e7400 7300 6100 6200`);
const BIG = fromHex(`
  eb9f 01 00 00000018 00000000 00000034 00000034 0000000b
  00000001 01000000 00000004 01000020
  00000005 84000002 00000008
    00000007 00000001 00000000
    00000009 00000001 03000020
  00 696e7400 7300 6100 6200`);

for (const [name, bytes] of [
  ["little", LITTLE],
  ["big", BIG],
] as const) {
  test(`opens ${name}-endian BTF`, () => {
    const btf = openBtf(bytes);
    assert.is(btf.littleEndian, name === "little");
    assert.is(btf.endId, 3);
    assert.equal(btf.typeById(0), { kind: "void", id: 0, name: "" });
    assert.equal(btf.typeById(1), {
      kind: "int",
      id: 1,
      name: "int",
      size: 4,
      bits: 32,
      bitOffset: 0,
      signed: true,
      char: false,
      bool: false,
    });
    assert.equal(btf.typeByName("s"), {
      kind: "struct",
      id: 2,
      name: "s",
      size: 8,
      members: [
        { name: "a", type: 1, bitOffset: 0, bitfieldSize: 0 },
        { name: "b", type: 1, bitOffset: 32, bitfieldSize: 3 },
      ],
    });
    assert.is(btf.typeById(2), btf.typeByName("s", "struct"), "decoded once");
    assert.is(btf.sizeOf(2), 8);
    assert.is(btf.alignOf(2), 4);
    assert.equal(btf.typesByName("s", "union"), []);
  });
}

test("tells essential names from flavours", () => {
  for (const [name, essential] of [
    ["task_struct", "task_struct"],
    ["task_struct___old", "task_struct"],
    ["a___b___c", "a___b"],
    ["___x", "___x"],
    ["x___", "x___"],
    ["a____b", "a____b"],
    ["a__b", "a__b"],
  ] as const) {
    assert.is(essentialName(name), essential);
  }
});

requires(test, "kernel-btf")("finds structs of the running kernel, before and after building its index", () => {
  const btf = openBtf(readFileSync("/sys/kernel/btf/vmlinux"));
  const task = btf.typeByName("task_struct", "struct");
  assert.ok(task.members.some((member) => member.name === "pid"));
  for (let i = 0; i < 40; i++) assert.equal(btf.idsByName(`no_such_type_${i}`), []);
  assert.equal(btf.idsByName("task_struct", "struct"), [task.id]);
  assert.is(btf.typeByName("task_struct", "struct"), task);
});

test.run();
