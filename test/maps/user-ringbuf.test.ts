import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as a from "../../src/asm/index.ts";
import { encodeBtf } from "../../src/btf/index.ts";
import type { BpfError } from "../../src/errors.ts";
import { btfLoadAttr } from "../../src/kernel-abi/index.ts";
import {
  type BpfMap,
  createMap,
  openUserRingBuffer,
  struct,
  type UserRingBuffer,
  u32,
  u64,
} from "../../src/maps/index.ts";
import { loadProgram, type Program } from "../../src/programs/index.ts";
import { bpfFd, kernelOlderThan, openBackend, toKernel } from "../../src/syscall/index.ts";
import { failOnLeaks, requires, skip } from "../support/harness.ts";

const test = suite("user ring buffer");
failOnLeaks(test);
const real = kernelOlderThan(6, 1)
  ? (name: string): void => skip(test, name, "needs Linux 6.1")
  : requires(test, "bpf");
const { r0, r1, r2, r3, r4, r5, r10 } = a;

function thrown(run: () => unknown): BpfError {
  try {
    run();
  } catch (error) {
    return error as BpfError;
  }
  throw new Error("Nothing was thrown");
}

/** Takes records of 8 bytes out of the ring: adds them up and counts them. Returns how many there were. */
function drainer(ring: BpfMap<unknown, unknown>, sums: BpfMap<number, bigint>): Program {
  const image = encodeBtf([
    { kind: "int", name: "long", size: 8, signed: true },
    { kind: "ptr", type: 0 },
    { kind: "func_proto", returnType: 1, params: [{ name: "ctx", type: 2 }] },
    { kind: "func", name: "drain", type: 3, linkage: "global" },
    { kind: "func_proto", returnType: 1, params: [{ name: "record", type: 2 }, { name: "ctx", type: 2 }] }, // biome-ignore format: a type
    { kind: "func", name: "take", type: 5, linkage: "static" },
  ]);
  const bytes = toKernel(image);
  using btf = bpfFd(
    openBackend(),
    "BPF_BTF_LOAD",
    btfLoadAttr,
    { btf: bytes, btf_size: image.length },
    { action: "Cannot load", label: "btf" },
  );
  const instructions = a.program(
    a.label("drain"),
    a.ldMap(r1, ring),
    a.ldFunction(r2, "take"),
    a.mov(r3, 0),
    a.mov(r4, 0),
    a.call("user_ringbuf_drain"),
    a.exit(),
    a.label("take"),
    a.mov(r3, r1),
    a.mov(r1, r10),
    a.add(r1, -8),
    a.mov(r2, 8),
    a.mov(r4, 0),
    a.mov(r5, 0),
    a.call("dynptr_read"),
    a.jne(r0, 0, "end"),
    a.store("u32", r10, -12, 0),
    a.ldMap(r1, sums),
    a.mov(r2, r10),
    a.add(r2, -12),
    a.call("map_lookup_elem"),
    a.jeq(r0, 0, "end"),
    a.load("u64", r1, r10, -8),
    a.load("u64", r2, r0, 0),
    a.add(r2, r1),
    a.store("u64", r0, 0, r2),
    a.label("end"),
    a.mov(r0, 0),
    a.exit(),
  );
  const functions = [{ label: "drain", type: 4 }, { label: "take", type: 6 }]; // biome-ignore format: a list
  return loadProgram({ type: "socket_filter", license: "GPL", instructions, btf: { fd: btf.number, functions } });
}

interface Setup {
  readonly ring: UserRingBuffer<bigint>;
  drain(): number;
  sum(): bigint;
  [Symbol.dispose](): void;
}

function setUp(): Setup {
  const map = createMap({ type: "user_ringbuf", name: "orders", maxEntries: 4096 });
  const sums = createMap({ type: "array", value: u64, maxEntries: 1 });
  const program = drainer(map as unknown as BpfMap<unknown, unknown>, sums);
  const ring = openUserRingBuffer(map, { codec: u64 });
  return {
    ring,
    drain: () => program.run({ data: new Uint8Array(64) }).returnValue | 0,
    sum: () => sums.get(0)!,
    [Symbol.dispose]() {
      ring.close();
      program.close();
      sums.close();
      map.close();
    },
  };
}

real("records reach the program in order, for many rounds across the end of the ring", () => {
  using s = setUp();
  let sum = 0n;
  for (let round = 0; round < 200; round++) {
    for (let i = 0; i < 7; i++) {
      assert.is(s.ring.push(BigInt(round * i + 1)), true);
      sum += BigInt(round * i + 1);
    }
    assert.is(s.drain(), 7);
  }
  assert.is(s.sum(), sum);
  assert.is(s.ring.free, 4096);
});

real("a full ring says so, and takes more when the program has drained it", () => {
  using s = setUp();
  let pushed = 0;
  while (s.ring.push(1n)) pushed++;
  assert.is(pushed, 256);
  assert.is(s.ring.free, 0);
  assert.is(s.ring.reserve(1), undefined);
  assert.is(s.drain(), 256);
  assert.is(s.sum(), 256n);
  assert.is(s.ring.push(2n), true);
});

real("what is discarded is passed over; what is not finished holds up the rest", () => {
  using s = setUp();
  const first = s.ring.reserve(8)!;
  const second = s.ring.reserve(8)!;
  u64.encodeInto(5n, second.bytes, 0);
  second.submit();
  assert.is(s.drain(), 0);
  assert.is(s.sum(), 0n);
  first.discard();
  s.drain();
  assert.is(s.sum(), 5n);
  assert.throws(() => first.submit(), /A record is submitted or discarded once/);
  assert.throws(() => s.ring.push("5" as never), /bigint/);
  s.ring.push(6n);
  s.drain();
  assert.is(s.sum(), 11n);
});

real("waiting for room: served in order when the program drains", async () => {
  using s = setUp();
  while (s.ring.push(1n));
  const order: number[] = [];
  const wait = async (name: number, size: number): Promise<void> => {
    const record = await s.ring.reserveWhenFree(size);
    order.push(name);
    record.bytes.fill(0);
    record.submit();
  };
  const all = [wait(1, 2000), wait(2, 8), wait(3, 8)];
  assert.is(s.ring.reserve(8), undefined, "whoever waits comes first");
  setTimeout(() => s.drain(), 10);
  await Promise.all(all);
  assert.equal(order, [1, 2, 3]);
  const again = await s.ring.reserveWhenFree(8);
  again.discard();
});

real("an abort or a close ends the waiting", async () => {
  using s = setUp();
  while (s.ring.push(1n));
  const stop = new AbortController();
  const aborted = s.ring.reserveWhenFree(8, { signal: stop.signal }).catch((error: Error) => error.message);
  const closed = s.ring.reserveWhenFree(8).catch((error: BpfError) => error.code);
  stop.abort(new Error("enough"));
  assert.is(await aborted, "enough");
  s.ring.close();
  assert.is(await closed, "ERR_CLOSED");
  assert.is(thrown(() => s.ring.push(1n)).code, "ERR_CLOSED");
  assert.is(thrown(() => s.ring.free).message, 'Cannot write to map "orders": the producer is closed');
  const late = await s.ring.reserveWhenFree(8).catch((error: BpfError) => error.code);
  assert.is(late, "ERR_CLOSED");
});

real("what a closed producer left unfinished holds nobody up", () => {
  using s = setUp();
  s.ring.push(1n);
  const left = s.ring.reserve(8)!;
  s.ring.push(2n);
  s.ring.close();
  assert.is(thrown(() => left.submit()).code, "ERR_CLOSED");
  s.drain();
  assert.is(s.sum(), 3n);
  assert.is(s.drain(), 0);
});

real("sizes, types and second producers are refused", () => {
  using s = setUp();
  for (const size of [4089, -1, 1.5]) assert.throws(() => s.ring.reserve(size), /does not fit a ring of 4096/);
  s.ring.reserve(4088)!.discard();
  using map = createMap({ type: "user_ringbuf", maxEntries: 4096 });
  using one = openUserRingBuffer(map);
  assert.is(one.push(Uint8Array.of(1, 2, 3)), true);
  assert.match(thrown(() => openUserRingBuffer(map)).message, /has a producer already/);
  assert.match(thrown(() => openUserRingBuffer(map.raw)).message, /has a producer already/);
  using hash = createMap({ type: "hash", key: u32, value: struct({ a: u32 }), maxEntries: 1 });
  assert.match(thrown(() => openUserRingBuffer(hash as never)).message, /as a user ring buffer: it is a hash/);
});

test.run();
