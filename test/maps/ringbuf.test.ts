import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { BpfError } from "../../src/errors.ts";
import { createMap, openRingBuffer, type RingBuffer, u32, u64 } from "../../src/maps/index.ts";
import { FakeKernel } from "../../src/syscall/index.ts";
import { failOnLeaks } from "../support/harness.ts";

const test = suite("ring buffer on the fake kernel");
failOnLeaks(test);

interface Setup {
  readonly kernel: FakeKernel;
  readonly fd: number;
  readonly ring: RingBuffer;
  [Symbol.dispose](): void;
}

function setUp(size = 4096): Setup {
  const kernel = new FakeKernel();
  const map = createMap({ type: "ringbuf", name: "events", maxEntries: size }, { backend: kernel.backend });
  const ring = openRingBuffer(map);
  return {
    kernel,
    fd: map.fd,
    ring,
    [Symbol.dispose]() {
      ring.close();
      map.close();
      assert.equal(kernel.open, []);
    },
  };
}

function number(value: number, length = 4): Uint8Array {
  const bytes = new Uint8Array(length);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

function take(ring: RingBuffer, limit?: number): number[] {
  const got: number[] = [];
  ring.consume((view, offset) => got.push(view.getUint32(offset, true)), limit);
  return got;
}

test("takes records in order, and each once", () => {
  using s = setUp();
  assert.equal(take(s.ring), []);
  for (const value of [1, 2, 3]) s.kernel.submit(s.fd, number(value));
  assert.is(s.ring.available, 48);
  assert.equal(take(s.ring), [1, 2, 3]);
  assert.equal(take(s.ring), []);
  assert.is(s.ring.available, 0);
});

test("gives length and place of each record", () => {
  using s = setUp();
  s.kernel.submit(s.fd, number(7, 13));
  s.kernel.submit(s.fd, new Uint8Array(0));
  const seen: [number, number][] = [];
  s.ring.consume((_, offset, length) => seen.push([offset, length]));
  assert.equal(seen, [[8, 13], [8 + 24, 0]]); // biome-ignore format: table
});

test("a limit leaves the rest in the ring", () => {
  using s = setUp();
  for (const value of [1, 2, 3, 4, 5]) s.kernel.submit(s.fd, number(value));
  assert.equal(take(s.ring, 2), [1, 2]);
  assert.equal(take(s.ring, 2), [3, 4]);
  assert.equal(take(s.ring, 2), [5]);
});

test("passes over discarded records", () => {
  using s = setUp();
  s.kernel.submit(s.fd, number(1));
  s.kernel.submit(s.fd, number(2), { discard: true });
  s.kernel.submit(s.fd, number(3));
  assert.equal(take(s.ring), [1, 3]);
  assert.is(s.ring.available, 0);
});

test("stops at a record that is still being written", () => {
  using s = setUp();
  s.kernel.submit(s.fd, number(1));
  const position = s.kernel.submit(s.fd, number(2), { busy: true });
  s.kernel.submit(s.fd, number(3));
  assert.equal(take(s.ring), [1]);
  assert.equal(take(s.ring), []);
  s.kernel.commit(s.fd, position);
  assert.equal(take(s.ring), [2, 3]);
});

test("records across the end of the ring are whole", () => {
  using s = setUp();
  const record = Uint8Array.from({ length: 100 }, (_, i) => i);
  for (let round = 0; round < 500; round++) {
    assert.ok(s.kernel.submit(s.fd, record) >= 0);
    let copy: Uint8Array | undefined;
    s.ring.consume((view, offset, length) => {
      copy = new Uint8Array(view.buffer, view.byteOffset + offset, length).slice();
    });
    assert.equal(copy, record, `round ${round}`);
  }
});

test("positions pass 2^32", () => {
  using s = setUp();
  const map = s.fd;
  s.ring.close();
  s.kernel.setPosition(map, 2n ** 32n - 32n);
  const object = s.kernel.object(map);
  const consumer = object.kind === "map" ? object.map.ring!.consumer : undefined;
  using second = setUp();
  void second;
  const again = createReader(s.kernel, map);
  for (let value = 0; value < 6; value++) s.kernel.submit(map, number(value));
  assert.equal(take(again, 1), [0]);
  assert.equal(take(again), [1, 2, 3, 4, 5]);
  assert.is(new DataView(consumer!).getBigUint64(0, true), 2n ** 32n - 32n + 96n);
  again.close();
});

function createReader(kernel: FakeKernel, fd: number): RingBuffer {
  const object = kernel.object(fd);
  if (object.kind !== "map") throw new Error("no map");
  // A second handle on the same map: what opening it by id would give.
  kernel.on("BPF_MAP_CREATE", () => kernel.backend.syscall(72, fd, 1030, 3));
  const map = createMap({ type: "ringbuf", maxEntries: 4096 }, { backend: kernel.backend });
  const ring = openRingBuffer(map);
  const close = ring.close.bind(ring);
  ring.close = () => {
    close();
    map.close();
  };
  return ring;
}

test("a callback that throws has its record counted, and the error reaches the caller", () => {
  using s = setUp();
  for (const value of [1, 2, 3]) s.kernel.submit(s.fd, number(value));
  const seen: number[] = [];
  const failing = (view: DataView, offset: number): void => {
    seen.push(view.getUint32(offset, true));
    if (seen.length === 2) throw new Error("mine");
  };
  assert.throws(() => s.ring.consume(failing), /^mine$/);
  assert.equal(seen, [1, 2]);
  assert.equal(take(s.ring), [3]);
});

test("the producer position is read once: records added meanwhile wait for the next call", () => {
  using s = setUp();
  s.kernel.submit(s.fd, number(1));
  let calls = 0;
  s.ring.consume(() => {
    calls++;
    s.kernel.submit(s.fd, number(2));
  });
  assert.is(calls, 1);
  assert.equal(take(s.ring), [2]);
});

test("cannot be consumed from its own callback", () => {
  using s = setUp();
  s.kernel.submit(s.fd, number(1));
  assert.throws(() => s.ring.consume(() => s.ring.consume(() => {})), /from its own callback/);
});

test("a corrupt ring ends in an error, and the reader is closed", () => {
  const cases: [string, (producer: DataView) => void][] = [
    ["a record of 1000 bytes does not fit the 16 bytes written", (p) => p.setUint32(4096, 1000, true)],
    ["8192 bytes are unread in a ring of 4096", (p) => p.setBigUint64(0, 8192n, true)],
  ];
  for (const [what, corrupt] of cases) {
    using s = setUp();
    s.kernel.submit(s.fd, number(1));
    const object = s.kernel.object(s.fd);
    if (object.kind === "map") corrupt(new DataView(object.map.ring!.producer));
    try {
      s.ring.consume(() => {});
      assert.unreachable();
    } catch (error) {
      assert.is((error as BpfError).code, "ERR_RING_CORRUPT");
      assert.is((error as BpfError).message, `The ring buffer map "events" is corrupt: ${what}`);
    }
    assert.is(s.ring.closed, true);
  }
});

test("iterates over records as they come", async () => {
  using s = setUp();
  s.kernel.submit(s.fd, number(1));
  setTimeout(() => s.kernel.submit(s.fd, number(2)), 5);
  setTimeout(() => s.kernel.submit(s.fd, number(3)), 10);
  const got: number[] = [];
  for await (const value of s.ring.records({ codec: u32 })) {
    got.push(value);
    if (value === 3) break;
  }
  assert.equal(got, [1, 2, 3]);
});

test("records without a codec are copies", async () => {
  using s = setUp();
  s.kernel.submit(s.fd, number(0x0a0b0c0d, 6));
  for await (const record of s.ring.records()) {
    assert.equal(record, Uint8Array.of(0x0d, 0x0c, 0x0b, 0x0a, 0, 0));
    break;
  }
});

test("an abort ends the iteration with the signal's reason, also while it waits", async () => {
  using s = setUp();
  const stop = new AbortController();
  setTimeout(() => stop.abort(new Error("enough")), 5);
  let caught: Error | undefined;
  try {
    for await (const _ of s.ring.records({ signal: stop.signal })) assert.unreachable();
  } catch (error) {
    caught = error as Error;
  }
  assert.is(caught?.message, "enough");
  s.kernel.submit(s.fd, number(1));
  assert.equal(take(s.ring), [1], "the reader goes on after an abort");
});

test("close ends a waiting iteration", async () => {
  using s = setUp();
  setTimeout(() => s.ring.close(), 5);
  let caught: BpfError | undefined;
  try {
    for await (const _ of s.ring.records()) assert.unreachable();
  } catch (error) {
    caught = error as BpfError;
  }
  assert.is(caught?.code, "ERR_CLOSED");
});

test("a record too short for the codec is an error that names both sizes", async () => {
  using s = setUp();
  s.kernel.submit(s.fd, number(1));
  let message = "";
  try {
    for await (const _ of s.ring.records({ codec: u64 })) assert.unreachable();
  } catch (error) {
    message = (error as Error).message;
  }
  assert.is(message, "A record of 4 bytes is too short for a value of 8");
});

test("one reader and one iteration at a time", async () => {
  using s = setUp();
  const first = s.ring.records();
  const pending = first.next();
  assert.throws(() => s.ring.records(), /map "events" is being read already/);
  s.kernel.submit(s.fd, number(1));
  await pending;
  await first.return();
  await s.ring.records().return();
});

test("leaving the loop loses no record", async () => {
  using s = setUp();
  for (const value of [1, 2, 3]) s.kernel.submit(s.fd, number(value));
  for await (const value of s.ring.records({ codec: u32 })) {
    assert.is(value, 1);
    break;
  }
  for await (const value of s.ring.records({ codec: u32 })) {
    assert.is(value, 2);
    break;
  }
  assert.equal(take(s.ring), [3]);
});

test("calls of next before an answer are answered in order, and with the end after return", async () => {
  using s = setUp();
  const iterator = s.ring.records({ codec: u32 });
  const all = [iterator.next(), iterator.next(), iterator.next()];
  s.kernel.submit(s.fd, number(1));
  s.kernel.submit(s.fd, number(2));
  assert.equal((await all[0])!.value, 1);
  assert.equal((await all[1])!.value, 2);
  void iterator.return();
  assert.equal(await all[2], { done: true, value: undefined });
  assert.equal(await iterator.next(), { done: true, value: undefined });
});

test("a listener gets each record, and none after it is closed", async () => {
  using s = setUp();
  const got: number[] = [];
  s.kernel.submit(s.fd, number(1));
  const listener = s.ring.listen((view, offset) => got.push(view.getUint32(offset, true)), 2);
  await new Promise((resolve) => setTimeout(resolve, 5));
  for (const value of [2, 3, 4, 5, 6]) s.kernel.submit(s.fd, number(value));
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(got, [1, 2, 3, 4, 5, 6]);
  assert.throws(() => s.ring.listen(() => {}), /is being read already/);
  listener.close();
  listener.close();
  s.kernel.submit(s.fd, number(7));
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(got.length, 6);
  assert.equal(take(s.ring), [7]);
});

test("what a listener throws is reported, and ends it", async () => {
  using s = setUp();
  const listeners = process.listeners("uncaughtException");
  process.removeAllListeners("uncaughtException");
  const caught = new Promise<Error>((resolve) => process.once("uncaughtException", resolve));
  s.ring.listen(() => {
    throw new Error("mine");
  });
  s.kernel.submit(s.fd, number(1));
  s.kernel.submit(s.fd, number(2));
  assert.is((await caught).message, "mine");
  for (const listener of listeners) process.on("uncaughtException", listener);
  assert.equal(take(s.ring), [2]);
});

test("the event loop has its turn while records keep coming", async () => {
  using s = setUp();
  let ticks = 0;
  const timer = setInterval(() => ticks++, 0);
  let n = 0;
  s.kernel.submit(s.fd, number(0));
  for await (const _ of s.ring.records({ batch: 10 })) {
    s.kernel.submit(s.fd, number(n), { silent: true });
    if (++n === 5000) break;
  }
  clearInterval(timer);
  assert.ok(ticks > 3, `${ticks} turns of the event loop`);
});

test("a waiting reader does not spin at a record that is still being written", async () => {
  using s = setUp();
  s.kernel.submit(s.fd, number(1), { busy: true });
  let reads = 0;
  const load = s.kernel.backend.loadWord;
  s.kernel.backend.loadWord = (words, index, address) => {
    reads++;
    return load(words, index, address);
  };
  const iterator = s.ring.records({ codec: u32 });
  const pending = iterator.next();
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.ok(reads < 20, `${reads} reads of the ring while nothing happened`);
  s.kernel.commit(s.fd, 0);
  assert.equal(await pending, { done: false, value: 1 });
  await iterator.return();
});

test.run();
