import { suite } from "uvu";
import * as assert from "uvu/assert";
import { toHex, Writer } from "../../src/bytes/index.ts";

const test = suite("bytes/writer");

test("keeps what is written while it grows, whatever the write that makes it grow", () => {
  const writes: readonly [string, (w: Writer) => unknown, string][] = [
    ["u8", (w) => w.u8(0xab), "ab"],
    ["u16", (w) => w.u16(0xabcd), "cdab"],
    ["i16", (w) => w.i16(-2), "feff"],
    ["u32", (w) => w.u32(0xabcdef01), "01efcdab"],
    ["i32", (w) => w.i32(-2), "feffffff"],
    ["u64", (w) => w.u64(0x0102030405060708n), "0807060504030201"],
    ["bytes", (w) => w.bytes(Uint8Array.of(1, 2, 3)), "010203"],
  ];
  for (const [name, write, hex] of writes) {
    for (let before = 0; before <= 64; before++) {
      const writer = new Writer({ capacity: 16 });
      writer.bytes(new Uint8Array(before).fill(0x55));
      write(writer);
      assert.is(toHex(writer.finish()), "55".repeat(before) + hex, `${name} after ${before} bytes`);
    }
  }
});

test("writes nothing when the value does not fit", () => {
  const writer = new Writer();
  for (const write of [
    () => writer.u8(256),
    () => writer.u8(-1),
    () => writer.u16(65536),
    () => writer.i16(32768),
    () => writer.u32(2 ** 32),
    () => writer.i32(2 ** 31),
    () => writer.u32(1.5),
    () => writer.u64(-1),
    () => writer.u64(2n ** 64n),
  ]) {
    assert.throws(write, (error: unknown) => error instanceof RangeError);
  }
  assert.is(writer.length, 0);
});

test("aligns, patches and knows both byte orders", () => {
  const writer = new Writer({ littleEndian: false }).u8(1).align(4).u32(0).u16(0x1234);
  writer.patchU32(4, 0xdeadbeef);
  assert.is(toHex(writer.finish()), "01000000deadbeef1234");
  assert.throws(() => writer.patchU32(8, 0), /Offset 8 was not written yet/);
});

test.run();
