import { readFileSync } from "node:fs";
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Btf, type CodecOptions, codec, encodeBtf, format, openBtf } from "../../../src/btf/index.ts";
import { toHex } from "../../../src/bytes/index.ts";
import { requires, rounds } from "../../support/harness.ts";
import { randomNumbers, randomTypes } from "../support/random.ts";
import { agrees, randomValue } from "./random-value.ts";

const test = suite("btf/values/properties");

const seeds = fc.integer({ min: 0, max: 0x7fffffff });

function show(value: unknown): string {
  return JSON.stringify(value, (_, part) => (typeof part === "bigint" ? `${part}n` : part));
}

/** Types of a BTF that a codec can be made for. */
function* codecs(btf: Btf, options: CodecOptions): Generator<readonly [number, ReturnType<typeof codec>]> {
  for (const type of btf.types()) {
    if (["func", "func_proto", "fwd", "decl_tag"].includes(type.kind)) continue;
    const { kind } = type.kind === "var" ? btf.resolve(type.type) : btf.resolve(type.id);
    if (["void", "func_proto", "fwd", "datasec"].includes(kind)) continue;
    yield [type.id, codec(btf, type.id, options)];
  }
}

test("decode(encode(x)) is x, for random types in both byte orders", () => {
  let values = 0;
  fc.assert(
    fc.property(seeds, fc.boolean(), fc.boolean(), (seed, littleEndian, codegen) => {
      const btf = openBtf(encodeBtf(randomTypes(seed, 40), { littleEndian }));
      const below = randomNumbers(seed);
      for (const [id, made] of codecs(btf, { codegen })) {
        const type = btf.typeById(id);
        const value = randomValue(btf, type.kind === "var" ? type.type : id, below);
        const bytes = made.encode(value);
        assert.ok(bytes.length >= made.size);
        const decoded = made.decode(bytes);
        assert.ok(agrees(decoded, value), `type ${id}: ${show(value)} became ${show(decoded)}`);
        // What was decoded has every view of a union, and all of them can be given.
        assert.equal(made.decode(made.encode(decoded)), decoded, `type ${id}: ${show(decoded)}`);
        assert.is.not(format(btf, id, decoded), "");
        values++;
      }
    }),
    { numRuns: rounds(60, 600) },
  );
  console.log(`NOTE ${values} random values came back as they were`);
});

test("compiled decoders and closures give the same for any bytes", () => {
  fc.assert(
    fc.property(seeds, fc.boolean(), (seed, littleEndian) => {
      const btf = openBtf(encodeBtf(randomTypes(seed, 40), { littleEndian }));
      const below = randomNumbers(seed);
      const options: CodecOptions = {
        bigint: below(2) === 0 ? "safe" : "always",
        chars: below(2) === 0 ? "bytes" : "string",
        flags: below(2) === 0,
      };
      for (const [id, compiled] of codecs(btf, options)) {
        const closures = codec(btf, id, { ...options, codegen: false });
        // Many zeros and ones: numbers that are small, or negative and small, are read in a way of their own.
        const fill = [() => below(256), () => 0, () => 255][below(4) % 3]!;
        const byte = (): number => (below(3) === 0 ? below(256) : fill());
        const bytes = Uint8Array.from({ length: compiled.size + below(9) }, byte);
        const offset = below(2) * below(bytes.length - compiled.size + 1);
        const value = compiled.decode(bytes, offset);
        assert.equal(closures.decode(bytes, offset), value);
        assert.equal(compiled.decode(bytes, offset), value, "through a view");
        assert.equal(compiled.decode(bytes, offset), value, "through typed arrays");
        assert.is(format(btf, id, value, { compact: true }).includes("\n"), false);
      }
    }),
    { numRuns: rounds(40, 400) },
  );
});

test("one bit changes one value: nothing is read twice or not at all", () => {
  fc.assert(
    fc.property(seeds, fc.boolean(), (seed, littleEndian) => {
      const below = randomNumbers(seed);
      const members: { name: string; type: number; bitOffset: number; bitfieldSize: number }[] = [];
      let at = 0;
      for (let i = 0; i < 12; i++) {
        const type = 1 + below(4);
        const bits = 1 + below([8, 16, 32, 64][type - 1]!);
        members.push({ name: `m${i}`, type, bitOffset: at, bitfieldSize: bits });
        at += bits;
      }
      const size = Math.ceil(at / 8);
      const ints = [1, 2, 4, 8].map((size) => ({
        kind: "int" as const,
        name: `i${size}`,
        size,
        signed: below(2) === 0,
      }));
      const btf = openBtf(encodeBtf([...ints, { kind: "struct", name: "s", size, members }], { littleEndian }));
      const made = codec(btf, 5);
      const bytes = new Uint8Array(size);
      for (let bit = 0; bit < at; bit++) {
        bytes.fill(0);
        bytes[bit >> 3] = littleEndian ? 1 << (bit & 7) : 0x80 >> (bit & 7);
        const value = made.decode(bytes) as Record<string, number | bigint>;
        const owner = members.find(
          ({ bitOffset, bitfieldSize }) => bit >= bitOffset && bit < bitOffset + bitfieldSize,
        )!;
        for (const { name, bitOffset, bitfieldSize, type } of members) {
          let wanted = 0n;
          if (name === owner.name) {
            const place = littleEndian ? bit - bitOffset : bitfieldSize - 1 - (bit - bitOffset);
            wanted = 1n << BigInt(place);
            if (ints[type - 1]!.signed) wanted = BigInt.asIntN(bitfieldSize, wanted);
          }
          assert.is(BigInt(value[name]!), wanted, `bit ${bit}, ${name}`);
        }
        assert.is(toHex(made.encode(value)), toHex(bytes));
      }
    }),
    { numRuns: rounds(20, 200) },
  );
});

requires(test, "kernel-btf")("structs of the kernel come back as they were", () => {
  const btf = openBtf(new Uint8Array(readFileSync("/sys/kernel/btf/vmlinux")));
  const below = randomNumbers(1);
  let structs = 0;
  const step = rounds(12, 1);
  for (const type of btf.types()) {
    if ((type.kind !== "struct" && type.kind !== "union") || type.id % step !== 0 || type.size > 100_000) continue;
    const made = codec(btf, type.id);
    assert.is(made.size, type.size);
    const bytes = Uint8Array.from({ length: type.size }, () => (below(4) === 0 ? 1 : 0));
    const value = made.decode(bytes);
    assert.equal(codec(btf, type.id, { codegen: false }).decode(bytes), value, type.name);
    assert.equal(made.decode(bytes), value, `${type.name} through a view`);
    assert.equal(made.decode(bytes), value, `${type.name} through typed arrays`);
    assert.equal(made.decode(made.encode(value)), value, type.name);
    structs++;
  }
  console.log(`NOTE ${structs} structs of the running kernel decoded by both decoders and encoded again`);
});

test.run();
