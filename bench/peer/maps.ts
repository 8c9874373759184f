/**
 * Answers the words of bench/peer/maps.c, and `objects N`, `loop N`: the hash decoded into objects through a callback and
 * by a loop; `ring N`, `numbers N`, `bigints N`: records to a callback, decoded through BTF into objects of numbers, and
 * of bigints. Each answer is nanoseconds of CPU time, a sum, and resident bytes.
 */
import { createInterface } from "node:readline";
import * as a from "../../src/asm/index.ts";
import { type BtfTypeSpec, codec, encodeBtf, openBtf } from "../../src/btf/index.ts";
import {
  type BpfMap,
  type Codec,
  createMap,
  openRingBuffer,
  type RingBuffer,
  safeU64,
  struct,
  u32,
  valueCpus,
} from "../../src/maps/index.ts";
import { loadProgram, type Program } from "../../src/programs/index.ts";

const cpus = valueCpus().length;
const value = struct({ a: safeU64, b: safeU64, c: u32, d: u32 });
type Fields<T> = { readonly [F in `f${0 | 1 | 2 | 3 | 4 | 5 | 6 | 7}`]: T };
const types = openBtf(
  encodeBtf([
    { kind: "int", name: "unsigned long", size: 8 },
    {
      kind: "struct",
      name: "record",
      size: 64,
      members: [0, 1, 2, 3, 4, 5, 6, 7].map((i) => ({ name: `f${i}`, type: 1, bitOffset: 64 * i })),
    } as BtfTypeSpec,
  ]),
);
const numbers = codec(types, 2 as never, { bigint: "safe" }) as Codec<Fields<number>>;
const bigints = codec(types, 2 as never) as Codec<Fields<bigint>>;
/** Values of the small maps: 64 bits, written as numbers. */
type Count = number;
type Value = { a: number; b: number; c: number; d: number };

function small(type: string): BpfMap<number, Count> | BpfMap<number, Count[]> {
  if (type === "percpu_array") {
    const map = createMap({ type, value: safeU64, maxEntries: 1024 });
    map.setMany(Array.from({ length: 1024 }, (_, key) => [key, new Array<Count>(cpus).fill(key * 3)] as const));
    return map as unknown as BpfMap<number, Count[]>;
  }
  const map = createMap({ type: type as "hash" | "array", key: u32, value: safeU64, maxEntries: 1024 });
  map.setMany(Array.from({ length: 1024 }, (_, key) => [key, key * 3] as const));
  return map;
}

const maps = new Map<string, ReturnType<typeof small>>();
const bytes = new Uint8Array(8 * cpus);
const words = new Uint32Array(bytes.buffer);

function element(word: string, type: string, count: number): number {
  const map = maps.get(type) ?? small(type);
  maps.set(type, map);
  let sum = 0;
  if (word === "lookup") {
    // The bytes of the value are put where they are wanted, as in the peers.
    for (let i = 0; i < count; i++) {
      map.getInto(i & 1023, bytes);
      sum += words[0]! + words[1]! * 2 ** 32;
    }
  } else if (type === "percpu_array") {
    const values = new Array<Count>(cpus).fill(0);
    for (let i = 0; i < count; i++) {
      values[0] = (i & 1023) * 3;
      (map as BpfMap<number, Count[]>).set(i & 1023, values);
      sum += (i & 1023) * 3;
    }
  } else {
    for (let i = 0; i < count; i++) {
      (map as BpfMap<number, Count>).set(i & 1023, (i & 1023) * 3);
      sum += (i & 1023) * 3;
    }
  }
  return sum;
}

let big: BpfMap<number, Value> | undefined;

function bigMap(count: number): BpfMap<number, Value> {
  if (big?.description.maxEntries !== count) {
    big = createMap({ type: "hash", key: u32, value, maxEntries: count });
    const entries = function* (): Generator<[number, Value]> {
      for (let i = 0; i < count; i++) yield [i, { a: i, b: 2 * i, c: i & 0xff, d: 7 }];
    };
    big.setMany(entries());
  }
  return big;
}

function read(word: string, map: BpfMap<number, Value>): number {
  const state = { sum: 0 };
  switch (word) {
    case "batch":
      for (const { count, keys, values } of map.batches({ size: 65536 })) {
        const names = new Uint32Array(keys.buffer, 0, count);
        const fields = new Uint32Array(values.buffer, 0, 6 * count);
        let sum = 0;
        for (let i = 0, at = 0; i < count; i++, at += 6) {
          const low = names[i]! + fields[at]! + fields[at + 2]! + fields[at + 4]! + fields[at + 5]!;
          sum += low + (fields[at + 1]! + fields[at + 3]!) * 2 ** 32;
        }
        state.sum += sum;
      }
      break;
    case "objects":
      map.forEach(({ a, b, c, d }, key) => {
        state.sum += key + a + b + c + d;
      });
      break;
    default:
      for (const [key, { a, b, c, d }] of map) state.sum += key + a + b + c + d;
  }
  return state.sum;
}

let ring: RingBuffer | undefined;
let producer: Program;

function openRing(): RingBuffer {
  const map = createMap({ type: "ringbuf", maxEntries: 64 << 20 });
  const { r0, r1, r2, r3, r4, r10 } = a;
  producer = loadProgram({
    type: "socket_filter",
    license: "GPL",
    instructions: a.program(
      a.call("ktime_get_ns"),
      [-64, -56, -48, -40, -32, -24, -16, -8].map((at) => a.store("u64", r10, at, r0)),
      a.ldMap(r1, map),
      a.mov(r2, r10),
      a.add(r2, -64),
      a.mov(r3, 64),
      a.mov(r4, 0),
      a.call("ringbuf_output"),
      a.mov(r0, 0),
      a.exit(),
    ),
  });
  return openRingBuffer(map);
}

function consume(word: string, reader: RingBuffer): number {
  const state = { sum: 0 };
  const data = reader.data;
  if (word === "ring") {
    reader.consume((view, offset) => {
      let sum = 0;
      if ((view.getUint32(offset, true) | view.getUint32(offset + 4, true)) !== 0) sum++;
      if ((view.getUint32(offset + 8, true) | view.getUint32(offset + 12, true)) !== 0) sum++;
      if ((view.getUint32(offset + 16, true) | view.getUint32(offset + 20, true)) !== 0) sum++;
      if ((view.getUint32(offset + 24, true) | view.getUint32(offset + 28, true)) !== 0) sum++;
      if ((view.getUint32(offset + 32, true) | view.getUint32(offset + 36, true)) !== 0) sum++;
      if ((view.getUint32(offset + 40, true) | view.getUint32(offset + 44, true)) !== 0) sum++;
      if ((view.getUint32(offset + 48, true) | view.getUint32(offset + 52, true)) !== 0) sum++;
      if ((view.getUint32(offset + 56, true) | view.getUint32(offset + 60, true)) !== 0) sum++;
      state.sum += sum;
    });
  } else if (word === "numbers") {
    reader.consume((_, offset) => {
      const { f0, f1, f2, f3, f4, f5, f6, f7 } = numbers.decode(data, offset);
      if (f0 > 0 && f1 > 0 && f2 > 0 && f3 > 0 && f4 > 0 && f5 > 0 && f6 > 0 && f7 > 0) state.sum += 8;
    });
  } else {
    reader.consume((_, offset) => {
      const { f0, f1, f2, f3, f4, f5, f6, f7 } = bigints.decode(data, offset);
      if (f0 > 0n && f1 > 0n && f2 > 0n && f3 > 0n && f4 > 0n && f5 > 0n && f6 > 0n && f7 > 0n) state.sum += 8;
    });
  }
  return state.sum;
}

createInterface({ input: process.stdin }).on("line", (line) => {
  const parts = line.split(" ");
  const word = parts[0]!;
  const count = Number(parts.at(-1));
  let run: () => number;
  if (parts.length === 3) run = () => element(word, parts[1]!, count);
  else if (["ring", "bigints", "numbers"].includes(word)) {
    ring ??= openRing();
    const reader = ring;
    producer.run({ data: new Uint8Array(64), repeat: count });
    run = () => consume(word, reader);
  } else {
    const map = bigMap(count);
    run = () => read(word, map);
  }
  const before = process.cpuUsage();
  const sum = run();
  const used = process.cpuUsage(before);
  console.log(`${(used.user + used.system) * 1000} ${sum} ${process.memoryUsage.rss()}`);
});
