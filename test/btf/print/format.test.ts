import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type BtfTypeSpec, codec, encodeBtf, format, openBtf } from "../../../src/btf/index.ts";
import { fromHex } from "../../../src/bytes/index.ts";

const test = suite("btf/print/format");

const member = (name: string, type: number, bitOffset: number, bitfieldSize = 0) => ({
  name,
  type,
  bitOffset,
  bitfieldSize,
});
const array = (type: number, length: number): BtfTypeSpec => ({ kind: "array", type, indexType: 1, length });

const btf = openBtf(
  encodeBtf([
    { kind: "int", name: "int", size: 4, signed: true },
    { kind: "int", name: "char", size: 1 },
    { kind: "int", name: "unsigned char", size: 1 },
    { kind: "int", name: "unsigned long", size: 8 },
    { kind: "int", name: "_Bool", size: 1, bool: true },
    array(2, 16),
    array(3, 6),
    {
      kind: "enum",
      name: "state",
      values: [
        { name: "IDLE", value: 0 },
        { name: "BUSY", value: 1 },
        { name: "LATE", value: 2 },
      ],
    },
    { kind: "ptr", type: 0 },
    { kind: "struct", name: "point", size: 8, members: [member("x", 1, 0), member("y", 1, 32)] },
    array(10, 3),
    array(1, 8),
    { kind: "union", size: 4, members: [member("word", 1, 0), member("flag", 5, 0)] },
    {
      kind: "struct",
      name: "event",
      size: 128,
      members: [
        member("pid", 1, 0),
        member("comm", 6, 32),
        member("mac", 7, 160),
        member("ok", 5, 208),
        member("state", 8, 224),
        member("stack", 9, 256),
        member("points", 11, 320),
        member("counts", 12, 512),
        member("", 13, 768),
        member("low", 1, 800, 4),
        member("size", 4, 832),
        member("a b", 1, 896),
        member("letter", 2, 928),
      ],
    },
    { kind: "typedef", name: "event_t", type: 14 },
    { kind: "var", name: "count", type: 4 },
    { kind: "datasec", name: ".bss", size: 8, vars: [{ type: 16, offset: 0, size: 8 }] },
    array(3, 40),
    array(10, 8),
    { kind: "float", name: "double", size: 8 },
    array(6, 2),
  ]),
);
const EVENT = 14;

const bytes = new Uint8Array(128);
codec(btf, EVENT, { partial: true }).encodeInto(
  {
    pid: -42,
    comm: 'a"b\n\\é\x01',
    mac: fromHex("deadbeef0001"),
    ok: true,
    state: "BUSY",
    stack: 0xffffc90000123f58n,
    points: [
      { x: 1, y: 2 },
      { x: 3, y: 4 },
      { x: 5, y: 6 },
    ],
    counts: [1, 0, 0, 0, 0, 0, 2, 2],
    word: 1,
    low: -8,
    size: 12345678901234567890n,
    "a b": 7,
    letter: 65,
  },
  bytes,
);

test("a struct", () => {
  assert.is(
    format(btf, EVENT, bytes),
    `(struct event) {
  .pid = -42,
  .comm = "a\\"b\\n\\\\é\\001",
  .mac = { 0xde, 0xad, 0xbe, 0xef, 0x00, 0x01 },
  .ok = true,
  .state = BUSY,
  .stack = 0xffffc90000123f58,
  .points = { { .x = 1, .y = 2 }, { .x = 3, .y = 4 }, { .x = 5, .y = 6 } },
  .counts = { 1, [1 ... 5] = 0, 2, 2 },
  .word = 1,
  .flag = true,
  .low = -8,
  .size = 12345678901234567890,
  ."a b" = 7,
  .letter = 'A',
}`,
  );
});

test("on one line, indented otherwise, without zeros, without its type", () => {
  const value = { pid: 1, comm: "", state: "IDLE", points: [{ x: 0, y: 0 }], counts: [0, 0], ok: false };
  assert.is(
    format(btf, 15, value, { compact: true }),
    '(event_t) { .pid = 1, .comm = "", .ok = false, .state = IDLE, .points = { { .x = 0, .y = 0 } }, .counts = { 0, 0 } }',
  );
  assert.is(format(btf, EVENT, value, { omitZeros: true, indent: "\t", typeName: false }), "{\n\t.pid = 1,\n}");
  assert.is(format(btf, EVENT, {}), "(struct event) {}");
});

test("values of other types", () => {
  for (const [type, value, text] of [
    [1, -5, "(int) -5"],
    [2, 0x41, "(char) 'A'"],
    [2, 0x27, "(char) '\\''"],
    [2, 7, "(char) 7"],
    [4, 5n, "(unsigned long) 5"],
    [5, false, "(_Bool) false"],
    [6, "hello", '(char [16]) "hello"'],
    [7, Uint8Array.of(1, 2, 3), "RangeError"],
    [8, "LATE", "(enum state) LATE"],
    [8, 9, "(enum state) 9"],
    [8, ["BUSY", "LATE", 4], "(enum state) BUSY | LATE | 0x4"],
    [8, [], "(enum state) 0"],
    [9, 0n, "(void *) 0x0"],
    [16, 5n, "(unsigned long count) 5"],
    [17, { count: 3n }, "(section .bss) {\n  .count = 3,\n}"],
    [20, -0, "(double) -0"],
    [20, Number.POSITIVE_INFINITY, "(double) Infinity"],
    [21, ["a", "b"], '(char [2][16]) { "a", "b" }'],
  ] as const) {
    if (text === "RangeError")
      assert.throws(
        () => format(btf, type, value),
        (error: Error) => error instanceof RangeError,
      );
    else assert.is(format(btf, type, value), text);
  }
});

test("long arrays are wrapped and drawn together", () => {
  const list = Uint8Array.from({ length: 40 }, (_, i) => (i < 20 ? i : 0xff));
  assert.is(
    format(btf, 18, list, { typeName: false }),
    `{
  0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f,
  0x10, 0x11, 0x12, 0x13, [20 ... 39] = 0xff,
}`,
  );
  const same = Array.from({ length: 8 }, (_, i) => (i === 0 ? { x: 1, y: 1 } : { x: 0, y: 0 }));
  assert.is(
    format(btf, 19, same, { typeName: false }),
    "{\n  { .x = 1, .y = 1 },\n  [1 ... 7] = { .x = 0, .y = 0 },\n}",
  );
});

test("too few bytes", () => {
  assert.throws(() => format(btf, EVENT, new Uint8Array(5)), /Need 128 bytes at offset 0 for struct event/);
});

test.run();
