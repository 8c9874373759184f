import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as a from "../../src/asm/index.ts";
import { type BpfMap, createMap, openPerfBuffer, openRingBuffer, struct, u64 } from "../../src/maps/index.ts";
import { loadProgram, type Program } from "../../src/programs/index.ts";
import { traceSyscalls } from "../../src/syscall/index.ts";
import { failOnLeaks, requires, rounds } from "../support/harness.ts";

const test = suite("streams of records");
failOnLeaks(test);
const real = requires(test, "bpf");
const { r0, r1, r2, r3, r4, r6, r10 } = a;

const record = struct({ number: u64, same: u64, again: u64, padding: u64 });

/**
 * A program that numbers its records: those that did not fit have a number too, and are counted in `drops`.
 *
 * @param counters entry 0: records so far
 */
function numberer(map: BpfMap<unknown, unknown>, counters: BpfMap<number, bigint>, drops: unknown): Program {
  const count = (where: unknown): unknown[] => [
    a.store("u32", r10, -36, 0),
    a.ldMap(r1, where as BpfMap),
    a.mov(r2, r10),
    a.add(r2, -36),
    a.call("map_lookup_elem"),
    a.jeq(r0, 0, "end"),
    a.load("u64", r6, r0, 0),
    a.add(r6, 1),
    a.store("u64", r0, 0, r6),
  ];
  return loadProgram({
    type: "socket_filter",
    license: "GPL",
    instructions: a.program(
      count(counters) as never,
      [-32, -24, -16, -8].map((at) => a.store("u64", r10, at, r6)),
      a.ldMap(r1, map),
      a.mov(r2, r10),
      a.add(r2, -32),
      a.mov(r3, 32),
      a.mov(r4, 0),
      a.call("ringbuf_output"),
      a.jeq(r0, 0, "end"),
      count(drops) as never,
      a.label("end"),
      a.mov(r0, 0),
      a.exit(),
    ),
  });
}

interface Stream {
  readonly map: BpfMap<unknown, unknown>;
  readonly drops: BpfMap<number, bigint[], readonly bigint[]>;
  /** Makes so many records. */
  run(times: number): void;
  [Symbol.dispose](): void;
}

function setUp(size: number): Stream {
  const map = createMap({ type: "ringbuf", maxEntries: size }) as unknown as BpfMap<unknown, unknown>;
  const counters = createMap({ type: "array", value: u64, maxEntries: 1 });
  const drops = createMap({ type: "percpu_array", value: u64, maxEntries: 1 });
  const program = numberer(map, counters, drops);
  return {
    map,
    drops,
    run: (times) => void program.run({ data: new Uint8Array(64), repeat: times }),
    [Symbol.dispose]() {
      program.close();
      drops.close();
      counters.close();
      map.close();
    },
  };
}

function after(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

real("a ring that is full drops what is new: each record is either read, once and in order, or counted as lost", () => {
  using s = setUp(4096);
  using ring = openRingBuffer(s.map, { drops: { map: s.drops } });
  let last = 0n;
  let read = 0n;
  for (let round = 0; round < 50; round++) {
    // 102 records of 40 bytes fill the ring: some of them stay, from round to round.
    s.run(150);
    ring.consume((_, offset) => {
      const { number, same, again, padding } = record.decode(ring.data, offset);
      assert.ok(number > last && same === number && again === number && padding === number);
      last = number;
      read++;
    }, 60);
  }
  ring.consume(() => void read++);
  assert.is(read + ring.lost!, 7500n);
  assert.ok(ring.lost! > 3000n);
  assert.is(ring.available, 0);
});

real(
  "a loop that is slower than the producer neither grows nor starves others, and misses only what is counted",
  async () => {
    using s = setUp(16384);
    using ring = openRingBuffer(s.map, { drops: { map: s.drops } });
    const stop = new AbortController();
    const seconds = rounds(2, 30);
    setTimeout(() => stop.abort(), 1000 * seconds);
    let made = 0n;
    let ticks = 0;
    const producer = setInterval(() => {
      s.run(1000);
      made += 1000n;
      ticks++;
    }, 2);
    let read = 0n;
    let last = 0n;
    let early = 0;
    const started = performance.now();
    try {
      for await (const { number, padding } of ring.records({ codec: record, signal: stop.signal })) {
        assert.ok(number > last && padding === number, "in order, whole");
        last = number;
        // Half a millisecond for a few of them: the producer makes thousands meanwhile.
        if (++read % 64n === 0n) await after(1);
        if (early === 0 && performance.now() - started > 500) {
          globalThis.gc?.();
          early = process.memoryUsage().rss;
        }
      }
    } catch (error) {
      assert.is(error, stop.signal.reason);
    } finally {
      clearInterval(producer);
    }
    globalThis.gc?.();
    const grown = (process.memoryUsage().rss - early) / 2 ** 20;
    read += BigInt(ring.consume(() => {}));
    assert.is(read + ring.lost!, made);
    assert.ok(ring.lost! > read, "most of them were lost");
    assert.ok(ticks > 20 * seconds, `the event loop turned ${ticks} times`);
    assert.ok(grown < 24, `grew by ${grown.toFixed(1)} MiB`);
    console.log(
      `NOTE ${seconds} s: ${made} records made, ${read} read, the rest counted; memory ${grown.toFixed(1)} MiB`,
    );
  },
);

real("rings and perf buffers wait on one poller, and each gets its own", async () => {
  using one = setUp(4096);
  using two = setUp(4096);
  using three = setUp(4096);
  using events = createMap({ type: "perf_event_array" });
  const created: string[] = [];
  using _trace = traceSyscalls(({ syscall }) => void (syscall.startsWith("epoll_create") && created.push(syscall)));
  const rings = [one, two, three].map(({ map }) => openRingBuffer(map));
  using perf = openPerfBuffer(events);
  const got: number[] = [0, 0, 0];
  const listeners = rings.map((ring, i) => ring.listen(() => void got[i]!++));
  const perfListener = perf.listen(() => assert.unreachable());
  for (let round = 0; round < 5; round++) {
    one.run(1);
    three.run(3);
    await after(2);
  }
  two.run(7);
  for (let i = 0; i < 200 && got.join() !== "5,7,15"; i++) await after(5);
  assert.equal(got, [5, 7, 15]);
  assert.ok(created.length <= 1, `${created.length} pollers`);
  for (const listener of [...listeners, perfListener]) listener.close();
  for (const ring of rings) ring.close();
});

real("what a consumer is not asked for stays in the ring: back-pressure reaches the program", async () => {
  using s = setUp(4096);
  using ring = openRingBuffer(s.map, { drops: { map: s.drops } });
  s.run(100);
  const iterator = ring.records({ codec: record });
  assert.is((await iterator.next()).value!.number, 1n);
  assert.is(ring.available, 99 * 40);
  s.run(100);
  // 102 records fit; one was taken.
  assert.is(ring.lost, 97n);
  await iterator.return();
  assert.is(ring.available, 102 * 40);
});

test.run();
