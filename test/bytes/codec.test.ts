import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  array,
  bytes,
  type Codec,
  cstring,
  i8,
  i16,
  i32,
  i64,
  safeI64,
  safeU64,
  struct,
  u8,
  u16,
  u32,
  u64,
} from "../../src/bytes/index.ts";
import { rounds } from "../support/harness.ts";

const test = suite("codecs");

const scalars: readonly (readonly [string, Codec<never>, readonly (number | bigint)[], readonly unknown[]])[] = [
  ["u8", u8 as never, [0, 1, 255], [-1, 256, 1.5, "1", 1n, undefined]],
  ["i8", i8 as never, [-128, -1, 0, 127], [-129, 128]],
  ["u16", u16 as never, [0, 0x1234, 0xffff], [-1, 0x10000]],
  ["i16", i16 as never, [-32768, 0x1234, 32767], [-32769, 32768]],
  ["u32", u32 as never, [0, 0x12345678, 0xffffffff], [-1, 2 ** 32]],
  ["i32", i32 as never, [-(2 ** 31), -2, 2 ** 31 - 1], [2 ** 31]],
  ["u64", u64 as never, [0n, 0x123456789abcdef0n, 2n ** 64n - 1n], [-1n, 2n ** 64n, 5]],
  ["i64", i64 as never, [-(2n ** 63n), -2n, 2n ** 63n - 1n], [2n ** 63n, 5]],
  ["safeU64", safeU64 as never, [0, 0x1_2345_6789, Number.MAX_SAFE_INTEGER], [-1, 2 ** 53, 5n]],
  ["safeI64", safeI64 as never, [Number.MIN_SAFE_INTEGER, -2, 0, Number.MAX_SAFE_INTEGER], [2 ** 53, 5n]],
];

for (const [name, codec, right, wrong] of scalars) {
  test(`${name} gives back what it took, at any offset, and agrees with DataView`, () => {
    for (const value of right) {
      const buffer = new Uint8Array(codec.size + 8).fill(0xee);
      codec.encodeInto(value as never, buffer, 3);
      assert.is(codec.decode(buffer, 3), value as never);
      assert.equal([...buffer.subarray(0, 3), ...buffer.subarray(codec.size + 3)], Array(8).fill(0xee));
      const view = new DataView(buffer.buffer);
      const raw =
        codec.size === 8
          ? view.getBigInt64(3, true)
          : BigInt([view.getInt8(3), view.getInt16(3, true), 0, view.getInt32(3, true)][codec.size - 1]!);
      assert.is(BigInt.asUintN(8 * codec.size, raw), BigInt.asUintN(8 * codec.size, BigInt(value)));
    }
  });
  test(`${name} refuses what does not fit`, () => {
    for (const value of wrong) {
      assert.throws(
        () => codec.encode(value as never),
        (error: Error) => error instanceof RangeError || error instanceof TypeError,
        String(value),
      );
    }
    const short = new Uint8Array(codec.size + 1);
    assert.throws(() => codec.decode(short, 2), /^RangeError: Need|Need \d bytes at offset 2/);
    assert.throws(() => codec.decode(short, -1), /Need/);
    assert.throws(
      () => codec.encodeInto(0 as never, short, 2),
      (error: Error) => error instanceof RangeError || error instanceof TypeError,
    );
  });
}

test("64-bit values that no number holds are refused by the safe codecs, with the value", () => {
  const big = u64.encode(2n ** 53n);
  assert.throws(
    () => safeU64.decode(big),
    /Value 9007199254740992 of safe u64|Value 9007199254740992 of u64 is no safe integer: use u64/,
  );
  assert.throws(
    () => safeI64.decode(i64.encode(-(2n ** 60n))),
    /Value -1152921504606846976 of i64 is no safe integer: use i64/,
  );
});

test("bytes and text", () => {
  assert.equal(bytes(3).decode(Uint8Array.of(9, 1, 2, 3), 1), Uint8Array.of(1, 2, 3));
  assert.throws(() => bytes(3).encode([1, 2, 3] as never), /Need a Uint8Array of 3 bytes, not object/);
  assert.throws(() => bytes(3).encode(Uint8Array.of(1)), /Need 3 bytes, found 1/);
  assert.is(cstring(4).decode(Uint8Array.of(97, 98, 0, 99)), "ab");
  assert.is(cstring(2).decode(Uint8Array.of(97, 98)), "ab");
  assert.throws(() => cstring(4).encode("abcd"), /Text of 4 bytes does not fit char\[4\]/);
  assert.throws(() => cstring(4).encode(5 as never), /Values of char\[4\] are text, not number/);
  const buffer = new Uint8Array(6).fill(0xee);
  cstring(4).encodeInto("a", buffer, 1);
  assert.equal(buffer, Uint8Array.of(0xee, 97, 0, 0, 0, 0xee));
});

// What a struct of a random shape holds, written down independently of the codecs.
type Shape = { readonly codec: Codec<unknown>; readonly value: unknown };
const leaf: fc.Arbitrary<Shape> = fc.oneof(
  fc.nat(255).map((value) => ({ codec: u8 as Codec<unknown>, value })),
  fc.integer({ min: -128, max: 127 }).map((value) => ({ codec: i8 as Codec<unknown>, value })),
  fc.nat(65535).map((value) => ({ codec: u16 as Codec<unknown>, value })),
  fc.integer({ min: -32768, max: 32767 }).map((value) => ({ codec: i16 as Codec<unknown>, value })),
  fc.integer({ min: 0, max: 0xffffffff }).map((value) => ({ codec: u32 as Codec<unknown>, value })),
  fc.integer().map((value) => ({ codec: i32 as Codec<unknown>, value })),
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map((value) => ({ codec: u64 as Codec<unknown>, value })),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map((value) => ({ codec: i64 as Codec<unknown>, value })),
  fc.maxSafeInteger().map((value) => ({ codec: safeI64 as Codec<unknown>, value })),
  fc
    .uint8Array({ maxLength: 9 })
    .map((value) => ({ codec: bytes(value.length) as Codec<unknown>, value: new Uint8Array(value) })),
  fc.string({ maxLength: 7 }).map((text) => {
    const value = text.replace(/[^ -~]/g, "x");
    return { codec: cstring(8) as Codec<unknown>, value };
  }),
  // A codec that was not made here.
  fc.nat(255).map((value) => ({ codec: { ...u8 } as Codec<unknown>, value })),
);
const name = fc.oneof(
  fc.constantFrom("__proto__", "constructor", "a b", '"', "\\", "\u2028", "`", "*/", "length"),
  fc.string({ maxLength: 5 }),
);

function shapes(codegen: boolean): fc.Arbitrary<Shape> {
  return fc.letrec<{ any: Shape; group: Shape; list: Shape }>((tie) => ({
    any: fc.oneof({ depthSize: "small" }, leaf, tie("group"), tie("list")),
    group: fc
      .uniqueArray(fc.tuple(name, tie("any")), { selector: ([key]) => key, minLength: 0, maxLength: 6 })
      .map((members) => {
        const codecs = Object.fromEntries(members.map(([key, { codec }]) => [key, codec]));
        const value = Object.fromEntries(members.map(([key, shape]) => [key, shape.value]));
        return { codec: struct(codecs, { codegen }) as Codec<unknown>, value };
      }),
    list: fc.tuple(tie("any"), fc.constantFrom(0, 1, 2, 17)).map(([{ codec, value }, length]) => ({
      codec: array(codec, length) as Codec<unknown>,
      value: Array.from({ length }, () => value),
    })),
  })).group;
}

for (const codegen of [true, false]) {
  test(`structs of any shape give back what they took (${codegen ? "generated code" : "closures"})`, () => {
    const property = fc.property(shapes(codegen), fc.nat(7), ({ codec, value }, offset) => {
      const buffer = new Uint8Array(codec.size + offset + 3).fill(0xee);
      codec.encodeInto(value, buffer, offset);
      // Not uvu's, which looks at a member named "constructor".
      assert.ok(isDeepStrictEqual(codec.decode(buffer, offset), value));
      assert.ok(buffer.subarray(0, offset).every((byte) => byte === 0xee));
      assert.ok(buffer.subarray(offset + codec.size).every((byte) => byte === 0xee));
    });
    fc.assert(property, { numRuns: rounds(200, 5000) });
  });
}

test("both ways of reading give the same for the same bytes", () => {
  const members = {
    a: i8,
    b: u16,
    c: array(i32, 3),
    d: struct({ e: u64, f: array(u8, 20) }),
    g: cstring(5),
    h: bytes(2),
    i: safeU64,
  };
  const compiled = struct(members);
  const plain = struct(members, { codegen: false });
  assert.equal(compiled.offsets, plain.offsets);
  const property = fc.property(fc.uint8Array({ minLength: compiled.size, maxLength: compiled.size }), (data) => {
    // The last two bytes of `i`: a number that fits.
    data[compiled.offsets.i + 6] = 0;
    data[compiled.offsets.i + 7] = 0;
    const value = plain.decode(data);
    assert.equal(compiled.decode(data), value);
    // The same bytes again are read through typed arrays, where they are aligned.
    assert.equal(compiled.decode(data), value);
    assert.equal(compiled.decode(data), value);
    const moved = new Uint8Array(data.length + 12);
    for (const at of [8, 4, 12, 1]) {
      moved.set(data, at);
      for (let round = 0; round < 3; round++) assert.equal(compiled.decode(moved, at), value);
    }
  });
  fc.assert(property, { numRuns: rounds(200, 5000) });
});

test("bytes that come again are read with the same checks", () => {
  const codec = struct({ a: u32, b: safeU64, c: safeI64, d: i16, e: i64 });
  const buffer = new ArrayBuffer(96);
  const view = new DataView(buffer);
  const data = new Uint8Array(buffer, 8, 80);
  const { b, c, d, e } = codec.offsets;
  for (let round = 0; round < 4; round++) {
    view.setInt16(8 + d, -round, true);
    view.setBigInt64(8 + e, -5n - BigInt(round), true);
    for (const number of [-(2 ** 53) + 1, -(2 ** 32), -1, 0, 2 ** 31, 2 ** 53 - 1]) {
      view.setBigInt64(8 + c, BigInt(number), true);
      view.setBigUint64(8 + b, BigInt(Math.abs(number)), true);
      const value = { a: 0, b: Math.abs(number), c: number, d: -round, e: -5n - BigInt(round) };
      value.d += 0;
      assert.equal(codec.decode(data), value);
    }
    for (const number of [-(2n ** 53n), -(2n ** 63n), 2n ** 53n]) {
      view.setBigInt64(8 + c, number, true);
      assert.throws(() => codec.decode(data), `Value ${number} of i64 is no safe integer: use i64`);
      view.setBigInt64(8 + c, 0n, true);
    }
    view.setBigUint64(8 + b, 2n ** 64n - 1n, true);
    assert.throws(() => codec.decode(data), /Value 18446744073709551615 of u64 is no safe integer: use u64/);
    assert.throws(() => codec.decode(data, 80 - codec.size + 1), /Need \d+ bytes at offset/);
    assert.throws(() => codec.decode(data, -8), /Need \d+ bytes at offset -8/);
  }
  structuredClone(buffer, { transfer: [buffer] });
  assert.throws(() => codec.decode(data), /there are 0/);
});

test("a struct has C layout", () => {
  const s = struct({ a: u8, b: u64, c: u16, d: struct({ e: u8, f: u32 }), g: u8 });
  assert.equal({ ...s.offsets }, { a: 0, b: 8, c: 16, d: 20, g: 28 });
  assert.is(s.size, 32);
  assert.is(s.alignment, 8);
  assert.is(struct({}).size, 0);
});

test("what is wrong with a value names the member", () => {
  const s = struct({ pid: u32, inner: struct({ name: cstring(4) }) });
  assert.throws(
    () => s.encode({ pid: -1, inner: { name: "" } }),
    /^RangeError: Member "pid": Value -1 does not fit u32|Member "pid": Value -1 does not fit u32/,
  );
  assert.throws(
    () => s.encode({ pid: 1, inner: { name: "long" } }),
    /Member "inner": Member "name": Text of 4 bytes does not fit char\[4\]/,
  );
  assert.throws(() => s.encode({ pid: 1 } as never), /Member "inner": Values of a struct are objects, not undefined/);
  assert.throws(() => s.encode(null as never), /Values of a struct are objects, not null/);
  assert.throws(() => s.decode(new Uint8Array(3)), /Need 8 bytes at offset 0, there are 3/);
});

test("an array of another length is refused", () => {
  assert.throws(() => array(u8, 2).encode([1]), /Need 2 elements, found 1/);
  assert.throws(() => array(u8, 2).encode(undefined as never), /Need 2 elements, found undefined/);
  assert.equal(array(u16, 2).decode(Uint8Array.of(1, 0, 2, 0)), [1, 2]);
});

test.run();
