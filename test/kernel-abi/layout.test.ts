import { suite } from "uvu";
import * as assert from "uvu/assert";
import { fromHex, toHex } from "../../src/bytes/index.ts";
import {
  decodeStruct,
  encodeStruct,
  endOfField,
  lineInfo,
  linkCreateAttr,
  MapType,
  mapCreateAttr,
  nameOfValue,
  perfEventAttr,
  perfEventHeader,
  progInfo,
} from "../../src/kernel-abi/index.ts";

const test = suite("kernel-abi/layout");

function message(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return `${(error as Error).name}: ${(error as Error).message}`;
  }
  return "nothing thrown";
}

test("encodes integers, text and descriptors in both byte orders", () => {
  const values = { map_type: MapType.ringbuf, max_entries: 4096, map_name: "events", map_token_fd: -1, map_extra: 5n };
  const little = encodeStruct(mapCreateAttr, values);
  assert.is(little.length, mapCreateAttr.size);
  assert.is(toHex(little.subarray(0, 16)), "1b000000000000000000000000100000");
  assert.is(toHex(little.subarray(28, 44)), "6576656e747300000000000000000000");
  assert.is(toHex(little.subarray(64, 80)), "050000000000000000000000ffffffff");
  const big = encodeStruct(mapCreateAttr, values, false);
  assert.is(toHex(big.subarray(0, 16)), "0000001b000000000000000000001000");
  assert.is(toHex(big.subarray(64, 72)), "0000000000000005");
  for (const [bytes, order] of [
    [little, true],
    [big, false],
  ] as const) {
    const back = decodeStruct(mapCreateAttr, bytes, order);
    assert.is(back.map_type, 27);
    assert.is(back.map_name, "events");
    assert.is(back.map_token_fd, -1);
    assert.is(back.map_extra, 5n);
  }
});

test("encodes bit fields in both byte orders", () => {
  const attr = encodeStruct(perfEventAttr, { disabled: 1, precise_ip: 2, exclude_kernel: 1, sigtrap: 1 });
  // Bits 0, 5, 15-16 (value 2) and 37 of the word at byte 40.
  assert.is(toHex(attr.subarray(40, 48)), toHex(fromHex("21 00 01 00 20 00 00 00")));
  assert.is(decodeStruct(perfEventAttr, attr).precise_ip, 2);
  const big = encodeStruct(perfEventAttr, { disabled: 1, precise_ip: 2 }, false);
  assert.is(toHex(big.subarray(40, 48)), "8001000000000000");
  assert.is(decodeStruct(perfEventAttr, big, false).precise_ip, 2);
  assert.is(decodeStruct(perfEventAttr, big, false).disabled, 1);
});

test("reaches the variants of a link and refuses to mix them", () => {
  const attr = encodeStruct(linkCreateAttr, { prog_fd: 3, attach_type: 41, "perf_event.bpf_cookie": 0x1122n });
  assert.is(toHex(attr.subarray(0, 24)), "030000000000000029000000000000002211000000000000");
  assert.is(
    message(() => encodeStruct(linkCreateAttr, { "perf_event.bpf_cookie": 1n, "kprobe_multi.cnt": 1 })),
    'RangeError: Field "kprobe_multi.cnt" of bpf_attr.link_create shares bytes with another one given',
  );
});

test("refuses what does not fit", () => {
  const cases: [() => unknown, string][] = [
    [
      () => encodeStruct(mapCreateAttr, { map_type: -1 }),
      'RangeError: Field "map_type" of bpf_attr is -1, expected 0 to 4294967295',
    ],
    [
      () => encodeStruct(mapCreateAttr, { map_type: 2 ** 32 }),
      'RangeError: Field "map_type" of bpf_attr is 4294967296, expected 0 to 4294967295',
    ],
    [
      () => encodeStruct(mapCreateAttr, { map_extra: 2 ** 60 }),
      'RangeError: Field "map_extra" of bpf_attr wants an integer, found 1152921504606847000',
    ],
    [
      () => encodeStruct(mapCreateAttr, { map_extra: 1n << 64n }),
      'RangeError: Field "map_extra" of bpf_attr is 18446744073709551616, expected 0 to 18446744073709551615',
    ],
    [
      () => encodeStruct(mapCreateAttr, { map_name: "a_name_of_16_chr" }),
      'RangeError: Field "map_name" of bpf_attr has room for 15 bytes, found 16',
    ],
    [
      () => encodeStruct(perfEventAttr, { precise_ip: 4 }),
      'RangeError: Field "precise_ip" of perf_event_attr is 4, expected 0 to 3',
    ],
    [() => encodeStruct(mapCreateAttr, { map_typo: 1 } as never), 'TypeError: bpf_attr has no field "map_typo"'],
    [() => encodeStruct(mapCreateAttr, { toString: 1 } as never), 'TypeError: bpf_attr has no field "toString"'],
    [
      () => encodeStruct(mapCreateAttr, { map_type: "hash" } as never),
      'TypeError: Field "map_type" of bpf_attr wants an integer, found string',
    ],
  ];
  for (const [run, expected] of cases) assert.is(message(run), expected);
});

test("reads shorter and longer structs", () => {
  const bytes = fromHex("01000000 02000000 0011223344556677");
  const info = decodeStruct(progInfo, bytes);
  assert.equal(Object.keys(info), ["type", "id", "tag"]);
  assert.is(toHex(info.tag!), "0011223344556677");
  const header = decodeStruct(perfEventHeader, fromHex("09000000 0200 1800 ffff"));
  assert.equal(header, { type: 9, misc: 2, size: 24 });
  assert.equal(decodeStruct(lineInfo, encodeStruct(lineInfo, { insn_off: 1, line_col: 7 << 10 })), {
    insn_off: 1,
    file_name_off: 0,
    line_off: 0,
    line_col: 7168,
  });
});

test("tells where a field ends", () => {
  assert.is(endOfField(mapCreateAttr, "map_name"), 44);
  assert.is(endOfField(linkCreateAttr, "perf_event.bpf_cookie"), 24);
});

test("finds names of numbers", () => {
  assert.is(nameOfValue(MapType, 27), "ringbuf");
  assert.is(nameOfValue(MapType, 19), "cgroup_storage");
  assert.is(nameOfValue(MapType, 12345), undefined);
});

test.run();
