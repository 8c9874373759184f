import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as a from "../../src/asm/index.ts";
import type { BpfError } from "../../src/errors.ts";
import { type BpfMap, createMap, openPerfBuffer, type PerfBuffer, u32, u64 } from "../../src/maps/index.ts";
import { loadProgram, type Program } from "../../src/programs/index.ts";
import { FakeKernel, onlineCpus, openBackend, type SyscallBackend } from "../../src/syscall/index.ts";
import { failOnLeaks, requires } from "../support/harness.ts";

const test = suite("perf buffer");
failOnLeaks(test);
const real = requires(test, "bpf");
const { r0, r1, r2, r3, r4, r5, r6, r10 } = a;
const CURRENT_CPU = 0xffffffff;
const cpus = onlineCpus();

function thrown(run: () => unknown): BpfError {
  try {
    run();
  } catch (error) {
    return error as BpfError;
  }
  throw new Error("Nothing was thrown");
}

/** A program that outputs `size` bytes, of which the first 8 are a counter. */
function producer(map: BpfMap<unknown, unknown>, counter: BpfMap<number, bigint>, size: number): Program {
  return loadProgram({
    type: "socket_filter",
    license: "GPL",
    instructions: a.program(
      a.mov(r6, r1),
      a.store("u32", r10, -4, 0),
      a.ldMap(r1, counter),
      a.mov(r2, r10),
      a.add(r2, -4),
      a.call("map_lookup_elem"),
      a.jeq(r0, 0, "end"),
      a.load("u64", r1, r0, 0),
      a.add(r1, 1),
      a.store("u64", r0, 0, r1),
      Array.from({ length: size / 8 }, (_, i) => a.store("u64", r10, -8 - size + 8 * i, r1)),
      a.mov(r1, r6),
      a.ldMap(r2, map),
      a.ldImm64(r3, CURRENT_CPU),
      a.mov(r4, r10),
      a.add(r4, -8 - size),
      a.mov(r5, size),
      a.call("perf_event_output"),
      a.label("end"),
      a.mov(r0, 0),
      a.exit(),
    ),
  });
}

interface Setup {
  readonly map: BpfMap<unknown, unknown>;
  run(times: number): void;
  [Symbol.dispose](): void;
}

function setUp(size = 16): Setup {
  const map = createMap({ type: "perf_event_array", name: "samples" }) as unknown as BpfMap<unknown, unknown>;
  const counter = createMap({ type: "array", value: u64, maxEntries: 1 });
  const program = producer(map, counter, size);
  return {
    map,
    run: (times) => void program.run({ data: new Uint8Array(64), repeat: times }),
    [Symbol.dispose]() {
      program.close();
      counter.close();
      map.close();
    },
  };
}

function take(buffer: PerfBuffer, limit?: number): bigint[] {
  const got: bigint[] = [];
  buffer.consume((view, offset, length, cpu) => {
    assert.ok(cpus.includes(cpu));
    assert.is(view.getBigUint64(offset, true), view.getBigUint64(offset + 8, true), "a sample is whole");
    assert.ok(length >= 16 && length < 24);
    got.push(view.getBigUint64(offset, true));
  }, limit);
  return got;
}

function range(from: number, to: number): bigint[] {
  return Array.from({ length: to - from + 1 }, (_, i) => BigInt(from + i));
}

function sorted(values: bigint[]): bigint[] {
  return values.sort((x, y) => Number(x - y));
}

real("takes samples in order, each once, from the CPU that wrote them", () => {
  using s = setUp();
  using buffer = openPerfBuffer(s.map);
  assert.equal(buffer.cpus, cpus);
  assert.equal(take(buffer), []);
  s.run(5);
  assert.ok(buffer.available >= 5 * 24);
  assert.equal(sorted([...take(buffer, 2), ...take(buffer)]), range(1, 5));
  assert.is(buffer.available, 0);
  assert.is(buffer.lost, 0n);
});

real("samples across the end of a ring are whole, for many rounds", () => {
  for (const size of [16, 24, 200]) {
    using s = setUp(size);
    using buffer = openPerfBuffer(s.map, { pages: 1 });
    let next = 0;
    for (let round = 0; round < 120; round++) {
      s.run(7);
      const seen: bigint[] = [];
      buffer.consume((view, offset, length) => {
        assert.ok(length >= size);
        const value = view.getBigUint64(offset, true);
        for (let at = 8; at < size; at += 8) assert.is(view.getBigUint64(offset + at, true), value);
        seen.push(value);
      });
      assert.equal(sorted(seen), range(next + 1, next + 7), `round ${round}`);
      next += 7;
    }
    assert.is(buffer.lost, 0n);
  }
});

real("what did not fit is counted, and told with the CPU", () => {
  using s = setUp();
  const told: [bigint, number][] = [];
  using buffer = openPerfBuffer(s.map, { pages: 1, onLost: (count, cpu) => void told.push([count, cpu]) });
  s.run(1000);
  const first = take(buffer);
  assert.ok(first.length > 50 && first.length < 1000);
  // The notice comes with the first sample that fits again.
  s.run(1);
  const rest = take(buffer);
  assert.is(BigInt(first.length + rest.length) + buffer.lost, 1001n);
  assert.ok(told.length > 0 && told.every(([count, cpu]) => count > 0n && cpus.includes(cpu)));
  assert.is(
    told.reduce((sum, [count]) => sum + count, 0n),
    buffer.lost,
  );
  const byCpu = new Map<number, bigint>();
  for (const [count, cpu] of told) byCpu.set(cpu, (byCpu.get(cpu) ?? 0n) + count);
  assert.equal(buffer.lostByCpu, byCpu);
});

real("iterates over samples as they come, decoded", async () => {
  using s = setUp();
  using buffer = openPerfBuffer(s.map);
  s.run(1);
  setTimeout(() => s.run(1), 5);
  setTimeout(() => s.run(1), 15);
  const got: bigint[] = [];
  for await (const value of buffer.records({ codec: u64 })) {
    got.push(value);
    if (got.length === 3) break;
  }
  assert.equal(sorted(got), range(1, 3));
  s.run(1);
  for await (const bytes of buffer.records()) {
    assert.is(bytes[0], 4);
    break;
  }
});

real("a listener is called; one reader at a time; close ends the waiting", async () => {
  using s = setUp();
  const buffer = openPerfBuffer(s.map);
  const got: bigint[] = [];
  const listener = buffer.listen((view, offset) => got.push(view.getBigUint64(offset, true)));
  assert.throws(() => buffer.records(), /map "samples" is being read already/);
  s.run(100);
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(sorted(got), range(1, 100));
  listener.close();
  setTimeout(() => buffer.close(), 5);
  let code = "";
  try {
    for await (const _ of buffer.records()) assert.unreachable();
  } catch (error) {
    code = (error as BpfError).code;
  }
  assert.is(code, "ERR_CLOSED");
  assert.is(thrown(() => buffer.consume(() => {})).code, "ERR_CLOSED");
  buffer.close();
});

real("a watermark wakes the reader only when so many bytes are there", async () => {
  using s = setUp();
  using buffer = openPerfBuffer(s.map, { pages: 8, watermark: 16384 });
  const stop = new AbortController();
  let got = 0;
  const reading = (async () => {
    for await (const _ of buffer.records({ signal: stop.signal })) got++;
  })().catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, 10));
  s.run(10);
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.is(got, 0);
  s.run(2 * cpus.length * 700);
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.ok(got > 500, `${got} samples`);
  stop.abort();
  await reading;
  for (const watermark of [0, -1, 2 ** 20, 1.5])
    assert.throws(() => openPerfBuffer(s.map, { watermark }), /The watermark is 1 to/);
  assert.throws(() => openPerfBuffer(s.map, { wakeupEvents: 0 }), /after 1 sample or more, not 0/);
  assert.throws(() => openPerfBuffer(s.map, { pages: 0 }), /has 1 to 262144 pages for each CPU, not 0/);
});

real("an overwritable buffer keeps the newest samples, whatever happens to the reader", () => {
  using s = setUp();
  using buffer = openPerfBuffer(s.map, { pages: 1, overwritable: true });
  const look = (): Map<number, bigint[]> => {
    const found = new Map<number, bigint[]>();
    buffer.snapshot((view, offset, _, cpu) => {
      assert.is(view.getBigUint64(offset, true), view.getBigUint64(offset + 8, true));
      found.set(cpu, [...(found.get(cpu) ?? []), view.getBigUint64(offset, true)]);
    });
    return found;
  };
  assert.is(look().size, 0);
  s.run(3);
  assert.equal(sorted([...look().values()].flat()), range(1, 3));
  s.run(997);
  const newest = [...look().values()];
  for (const values of newest) {
    const descending = [...values].sort((x, y) => Number(y - x));
    assert.equal(values, descending, "newest first");
  }
  const all = sorted(newest.flat());
  assert.is(all.at(-1), 1000n);
  assert.ok(all.length > 100);
  s.run(1);
  assert.is(sorted([...look().values()].flat()).at(-1), 1001n, "writers go on after a snapshot");
  assert.match(thrown(() => buffer.consume(() => {})).message, /in order: it is overwritable\nHint: use snapshot/);
  assert.is(thrown(() => buffer.records()).code, "ERR_NOT_SUPPORTED");
});

real("a pause loses what is written meanwhile", () => {
  using s = setUp();
  using buffer = openPerfBuffer(s.map);
  buffer.pause();
  s.run(3);
  buffer.resume();
  s.run(1);
  assert.equal(take(buffer), [4n]);
  assert.is(thrown(() => buffer.snapshot(() => {})).code, "ERR_NOT_SUPPORTED");
});

real("a snapshot leaves a pause alone, and there is one reader at a time", () => {
  using s = setUp();
  const buffer = openPerfBuffer(s.map, { pages: 1, overwritable: true });
  const look = (): bigint[] => {
    const found: bigint[] = [];
    buffer.snapshot((view, offset) => void found.push(view.getBigUint64(offset, true)));
    return sorted(found);
  };
  s.run(2);
  buffer.pause();
  assert.equal([look(), look()], [range(1, 2), range(1, 2)]);
  s.run(1);
  assert.equal(look(), range(1, 2), "still paused");
  buffer.resume();
  s.run(1);
  assert.equal(look(), [1n, 2n, 4n]);
  assert.match(thrown(() => openPerfBuffer(s.map)).message, /has a reader already/);
  buffer.close();
  using again = openPerfBuffer(s.map);
  s.run(1);
  assert.equal(take(again), [5n]);
});

real("an exception in a callback counts its sample as read", () => {
  using s = setUp();
  using buffer = openPerfBuffer(s.map);
  s.run(3);
  let seen = 0;
  assert.throws(
    () =>
      buffer.consume(() => {
        seen++;
        throw new Error("mine");
      }),
    /^mine$|mine/,
  );
  assert.is(seen, 1);
  assert.is(take(buffer).length, 2);
});

real("a CPU that goes offline meanwhile is passed over; another failure undoes everything", () => {
  const backend = openBackend();
  const failing = (errno: number): SyscallBackend => {
    let opened = 0;
    return {
      ...backend,
      // perf_event_open
      syscall: (number, ...args) =>
        number === 298 && ++opened === cpus.length ? -errno : backend.syscall(number, ...args),
    };
  };
  using map = createMap({ type: "perf_event_array" }, { backend: failing(19) });
  using buffer = openPerfBuffer(map);
  assert.equal(buffer.cpus, cpus.slice(0, -1));
  using other = createMap({ type: "perf_event_array" }, { backend: failing(24) });
  assert.is(thrown(() => openPerfBuffer(other)).code, "EMFILE");
  using hash = createMap({ type: "hash", key: u32, value: u32, maxEntries: 1 });
  assert.match(thrown(() => openPerfBuffer(hash)).message, /as a perf buffer: it is a hash/);
});

// The layout that only a broken kernel, or another process, would write.
function fake(write: (kernel: FakeKernel, fd: number) => void, start = 0n): PerfBuffer {
  const kernel = new FakeKernel();
  kernel.perfStart = start;
  const map = createMap({ type: "perf_event_array", name: "samples", maxEntries: 1 }, { backend: kernel.backend });
  const buffer = openPerfBuffer(map, { pages: 1 });
  const event = kernel.open.find((entry) => entry.startsWith("perf_event"))!;
  write(kernel, Number(event.split(" ")[1]));
  return buffer;
}

function bytesOf(...words: number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(words).buffer);
}

test("positions pass 2^32, and unknown records are passed over", () => {
  const buffer = fake(
    (kernel, fd) => {
      kernel.perfRecord(fd, 9, bytesOf(8, 1, 0, 0));
      kernel.perfRecord(fd, 1, bytesOf(1, 2));
      kernel.perfRecord(fd, 2, bytesOf(0, 0, 5, 0));
      kernel.perfRecord(fd, 9, bytesOf(8, 2, 0, 0));
    },
    2n ** 32n - 24n,
  );
  const got: number[] = [];
  buffer.consume((view, offset, length) => {
    assert.is(length, 8);
    got.push(view.getUint32(offset, true));
  });
  assert.equal(got, [1, 2]);
  assert.is(buffer.lost, 5n);
  assert.equal([...buffer.lostByCpu], [[0, 5n]]);
  assert.is(buffer.available, 0);
  buffer.close();
});

test("a corrupt ring ends in an error, and the reader is closed", () => {
  const cases: [string, (kernel: FakeKernel, fd: number) => void][] = [
    [
      "a record of 4 bytes does not fit the 24 bytes written",
      (k, fd) => k.perfRecord(fd, 9, bytesOf(8, 1, 0, 0), { size: 4 }),
    ],
    [
      "a record of 48 bytes does not fit the 24 bytes written",
      (k, fd) => k.perfRecord(fd, 9, bytesOf(8, 1, 0, 0), { size: 48 }),
    ],
    ["a sample of 13 bytes does not fit its record of 24", (k, fd) => k.perfRecord(fd, 9, bytesOf(13, 1, 0, 0))],
    ["a sample of -1 bytes does not fit its record of 8", (k, fd) => k.perfRecord(fd, 9, bytesOf())],
  ];
  for (const [what, corrupt] of cases) {
    const buffer = fake(corrupt);
    const error = thrown(() => buffer.consume(() => {}));
    assert.is(error.code, "ERR_RING_CORRUPT");
    assert.is(error.message, `The perf buffer of CPU 0 is corrupt: ${what}`);
    assert.is(buffer.closed, true);
  }
});

test.run();
