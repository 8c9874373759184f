import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseObject } from "../../../src/elf/index.ts";
import { fixture } from "../build.ts";

const test = suite("elf/object/parse");

for (const order of ["el", "eb"]) {
  test(`programs, maps, variables and externs of packet-count.${order}.o`, () => {
    const spec = parseObject(fixture(`packet-count.${order}.o`));
    assert.is(spec.littleEndian, order === "el");
    assert.is(spec.license, "GPL");
    assert.equal(Object.keys(spec.programs), ["count", "pass", "drop"]);
    const { count } = spec.programs;
    assert.is(count!.type, "socket_filter");
    assert.equal(
      count!.functions.map(({ name }) => name),
      ["count", "clamp", "add"],
    );
    assert.equal(
      [...new Set(count!.instructions.map(({ meta }) => meta?.reference).filter((name) => name !== undefined))],
      ["clamp", "counts", ".bss", "add", ".data", "maybe", ".rodata", ".rodata.cst32"],
    );
    const { counts } = spec.maps;
    assert.is(counts!.type, "array");
    assert.equal([counts!.keySize, counts!.valueSize, counts!.maxEntries], [4, 8, 4]);
    assert.is(spec.btf!.nameOf(counts!.keyType), "__u32");
    assert.equal(Object.keys(spec.variables).sort(), ["dropped", "limit", "message", "total"]);
    assert.equal([spec.maps[".bss"]!.valueSize, spec.maps[".bss"]!.contents.length], [8, 0]);
    assert.equal(spec.externs.maybe, {
      kind: "ksym",
      name: "maybe",
      kernelName: "maybe",
      weak: true,
      type: spec.btf!.typesByName("limit", "var").length > 0 ? (spec.externs.maybe as { type: number }).type : 0,
    });
  });
}

test.run();
