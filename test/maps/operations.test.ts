import { spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as a from "../../src/asm/index.ts";
import { encodeBtf } from "../../src/btf/index.ts";
import type { BpfError } from "../../src/errors.ts";
import {
  array,
  type BpfMap,
  createMap,
  ipv4Prefix,
  ipv6Prefix,
  perCpu,
  struct,
  u8,
  u16,
  u32,
  u64,
  valueCpus,
} from "../../src/maps/index.ts";
import { loadProgram } from "../../src/programs/index.ts";
import { FakeKernel, isErrno, loadBtf, openBackend, SyscallError, syscallNumbers } from "../../src/syscall/index.ts";
import { onBothKernels } from "../support/backends.ts";
import { guardedBackend } from "../support/guarded.ts";
import { failOnLeaks, missing, requires, rounds, skip } from "../support/harness.ts";

const test = suite("map operations");
failOnLeaks(test);

const real = requires(test, "bpf");
const cpus = valueCpus().length;
const { r0, r1, r2, r10 } = a;

function thrown(run: () => unknown): BpfError {
  try {
    run();
  } catch (error) {
    return error as BpfError;
  }
  throw new Error("Nothing was thrown");
}

function readFileIfAny(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** Runs a program that adds `by` to the 8 bytes at a key of 4 bytes. */
function addFromProgram(map: BpfMap<number, unknown, never>, key: number, by: number, repeat = 1): void {
  const instructions = a.program(
    a.store("u32", r10, -4, key),
    a.ldMap(r1, map),
    a.mov(r2, r10),
    a.add(r2, -4),
    a.call("map_lookup_elem"),
    a.jeq(r0, 0, "none"),
    a.mov(r1, by),
    a.atomic("add", "u64", r0, 0, r1),
    a.label("none"),
    a.mov(r0, 0),
    a.exit(),
  );
  using program = loadProgram({ type: "socket_filter", license: "GPL", instructions });
  program.run({ data: new Uint8Array(64), repeat });
}

onBothKernels(test, "update says what its flag refused", (backend) => {
  using map = createMap({ type: "hash", key: u32, value: u32, maxEntries: 2 }, { backend });
  assert.is(map.update(1, 1, "exist"), false);
  assert.is(map.update(1, 1, "noexist"), true);
  assert.is(map.update(1, 2, "noexist"), false);
  assert.is(map.update(1, 3, "exist"), true);
  assert.is(map.update(1, 4), true);
  assert.is(map.get(1), 4);
  map.set(2, 2);
  assert.is(thrown(() => map.update(3, 3)).code, "E2BIG");
});

onBothKernels(test, "bulk operations agree with single ones", (backend) => {
  using map = createMap({ type: "hash", key: u32, value: u64, maxEntries: 2000 }, { backend });
  const wanted = new Map(Array.from({ length: 1500 }, (_, i) => [i * 7, BigInt(i)] as const));
  assert.is(map.setMany(wanted), 1500);
  assert.is(map.count(), 1500);
  assert.is(map.size, undefined);
  assert.equal(new Map(map.entries()), wanted);
  assert.equal(
    [...map.keys()].sort((x, y) => x - y),
    [...wanted.keys()],
  );
  assert.equal(
    [...map.values()].sort((x, y) => Number(x - y)),
    [...wanted.values()],
  );
  const seen = new Map<number, bigint>();
  map.forEach((value, key) => void seen.set(key, value), { size: 64 });
  assert.equal(seen, wanted);
  assert.is(map.deleteMany([0, 7, 1, 14, 2]), 3, "two of these were not there");
  assert.is(map.count(), 1497);
  const drained = new Map(map.drain({ size: 100 }));
  assert.is(drained.size, 1497);
  assert.is(map.count(), 0);
  map.setMany(wanted, { size: 10 });
  map.clear();
  assert.is(map.count(), 0);
});

onBothKernels(test, "a full map tells how much went in", (backend) => {
  using map = createMap({ type: "hash", name: "small", key: u32, value: u32, maxEntries: 5 }, { backend });
  const error = thrown(() => map.setMany(Array.from({ length: 9 }, (_, i) => [i, i] as const)));
  assert.is(error.message, 'Cannot update map "small" after 5 entries: E2BIG, the map is full (5 entries)');
  assert.is(map.count(), 5);
  assert.is(thrown(() => map.setMany([[0, 1]], { flag: "noexist" })).code, "EEXIST");
});

onBothKernels(test, "an array is read, written and zeroed as a whole", (backend) => {
  using map = createMap({ type: "array", value: u64, maxEntries: 100 }, { backend });
  assert.is(map.size, 100);
  map.setMany(Array.from({ length: 100 }, (_, i) => [i, BigInt(i * i)] as const));
  assert.equal(
    [...map.values()],
    Array.from({ length: 100 }, (_, i) => BigInt(i * i)),
  );
  assert.equal(
    [...map.keys()],
    Array.from({ length: 100 }, (_, i) => i),
  );
  map.clear();
  assert.ok([...map.values()].every((value) => value === 0n));
});

onBothKernels(test, "getInto copies, and leaves the target alone when there is nothing", (backend) => {
  for (const size of [5, 100]) {
    using map = createMap({ type: "hash", key: u8, value: size, maxEntries: 2 }, { backend });
    const value = Uint8Array.from({ length: size }, (_, i) => i + 1);
    map.set(1, value);
    const into = new Uint8Array(size + 4).fill(0xee);
    assert.is(map.getInto(9, into), false);
    assert.ok(into.every((byte) => byte === 0xee));
    assert.is(map.getInto(1, into, 2), true);
    assert.equal([...into], [0xee, 0xee, ...value, 0xee, 0xee]);
    assert.throws(() => map.getInto(1, into, 5), /Need \d+ bytes at offset 5 for the value/);
  }
});

onBothKernels(test, "the raw view has the same entries", (backend) => {
  using map = createMap({ type: "hash", key: u16, value: struct({ a: u8, b: u32 }), maxEntries: 4 }, { backend });
  map.set(0x0102, { a: 5, b: 6 });
  assert.equal(map.raw.get(Uint8Array.of(2, 1)), Uint8Array.of(5, 0, 0, 0, 6, 0, 0, 0));
  map.raw.set(Uint8Array.of(3, 1), Uint8Array.of(7, 0, 0, 0, 8, 0, 0, 0));
  assert.equal(map.get(0x0103), { a: 7, b: 8 });
});

onBothKernels(test, "a loop may delete what it sees, and may close the map", (backend) => {
  using map = createMap({ type: "hash", key: u32, value: u32, maxEntries: 500 }, { backend });
  map.setMany(Array.from({ length: 500 }, (_, i) => [i, i] as const));
  let steps = 0;
  for (const key of map.keys()) {
    steps++;
    assert.is(map.delete(key), true);
  }
  assert.is(steps, 500);
  const gone = createMap({ type: "hash", key: u32, value: u32, maxEntries: 5 }, { backend });
  gone.set(1, 1);
  assert.is(
    thrown(() => {
      for (const _ of gone) gone.close();
    }).code,
    "ERR_CLOSED",
  );
});

test("a batch that is too small for a bucket grows, within bounds", () => {
  const kernel = new FakeKernel();
  const asked: number[] = [];
  const count = 32;
  kernel.on("BPF_MAP_LOOKUP_BATCH", (request) => {
    const room = new DataView(request.attr.buffer, request.attr.byteOffset).getUint32(count, true);
    asked.push(room);
    new DataView(request.attr.buffer, request.attr.byteOffset).setUint32(count, 0, true);
    return "ENOSPC";
  });
  using map = createMap({ type: "hash", key: u32, value: u32, maxEntries: 10 }, { backend: kernel.backend });
  const error = thrown(() => [...map.batches({ size: 3 })]);
  assert.is(error.message, "Cannot read hash map: ENOSPC, one bucket has more than 84 entries");
  assert.equal(asked, [3, 6, 12, 24, 48, 84]);
  assert.throws(() => [...map.batches({ size: 0 })], /A batch has at least 1 entry, not 0/);
});

test("a batch that was interrupted is asked for again, but not for ever", () => {
  const kernel = new FakeKernel();
  let calls = 0;
  kernel.on("BPF_MAP_LOOKUP_BATCH", () => (++calls < 3 ? "EINTR" : undefined));
  using map = createMap({ type: "hash", key: u32, value: u32, maxEntries: 10 }, { backend: kernel.backend });
  map.set(1, 2);
  assert.equal([...map], [[1, 2]]); // biome-ignore format: a list
  kernel.on("BPF_MAP_LOOKUP_BATCH", () => "EINTR");
  assert.is(thrown(() => [...map]).code, "EINTR");
});

test("without batches in the kernel everything goes one by one", () => {
  for (const errno of ["EINVAL", "ENOTSUPP"]) {
    const kernel = new FakeKernel();
    for (const command of [
      "BPF_MAP_LOOKUP_BATCH",
      "BPF_MAP_LOOKUP_AND_DELETE_BATCH",
      "BPF_MAP_UPDATE_BATCH",
      "BPF_MAP_DELETE_BATCH",
      "BPF_MAP_LOOKUP_AND_DELETE_ELEM",
    ] as const) {
      kernel.on(command, () => errno);
    }
    using map = createMap({ type: "hash", key: u32, value: u32, maxEntries: 100 }, { backend: kernel.backend });
    assert.is(map.setMany(Array.from({ length: 50 }, (_, i) => [i, i * 2] as const)), 50);
    assert.equal(new Map(map), new Map(Array.from({ length: 50 }, (_, i) => [i, i * 2])));
    assert.is(map.deleteMany([1, 2, 200]), 2);
    assert.is([...map.drain({ size: 7 })].length, 48);
    assert.is(map.count(), 0);
    map.close();
    assert.equal(kernel.open, []);
  }
});

test("a walk by keys ends, although others delete the key in hand again and again", () => {
  const kernel = new FakeKernel();
  kernel.on("BPF_MAP_LOOKUP_BATCH", () => "ENOTSUPP");
  using map = createMap({ type: "hash", key: u32, value: u32, maxEntries: 8 }, { backend: kernel.backend });
  for (let i = 0; i < 8; i++) map.set(i, i);
  // The kernel starts again from the first key each time.
  let asked = 0;
  kernel.on("BPF_MAP_GET_NEXT_KEY", (request) => {
    asked++;
    new DataView(request.attr.buffer, request.attr.byteOffset);
    return undefined;
  });
  assert.is([...map].length, 8);
  kernel.on("BPF_MAP_GET_NEXT_KEY", () => {
    asked++;
    return 0;
  });
  assert.ok([...map].length <= 16);
  assert.ok(asked < 40, `${asked} calls`);
});

real("guards: the kernel writes nothing outside of any buffer, whatever the type and the size", () => {
  const backend = guardedBackend();
  for (const size of [1, 3, 4, 7, 8, 9, 12, 100]) {
    const value = Uint8Array.from({ length: size }, (_, i) => i + 1);
    for (const type of ["hash", "lru_hash", "array", "lpm_trie"] as const) {
      const key = type === "array" ? 4 : type === "lpm_trie" ? 5 + size : size;
      const flags = type === "lpm_trie" ? 1 : 0;
      using map = createMap({ type, key: key as never, value: size, maxEntries: 4, flags } as const, {
        backend,
      }) as BpfMap;
      const raw = map.raw;
      const name = new Uint8Array(key);
      raw.set(name, value);
      assert.equal(raw.get(name), value);
      assert.equal(raw.nextKey(), name);
      assert.ok(raw.count() >= 1);
      assert.equal([...raw.values()][0], value);
      raw.setMany([[name, value]]);
      if (type !== "array") {
        assert.is([...raw.drain()].length, 1);
        assert.is(raw.deleteMany([name]), 0);
      }
      if (type === "hash" || type === "lru_hash") {
        raw.set(name, value);
        assert.equal(raw.take(name), value);
      }
    }
    for (const type of ["percpu_hash", "percpu_array", "lru_percpu_hash"] as const) {
      using map = createMap({ type, key: u32, value: size, maxEntries: 4 }, { backend });
      const all = Array.from({ length: cpus }, (_, cpu) => value.map((byte) => byte + cpu));
      map.set(1, all);
      assert.equal(map.get(1), all);
      assert.equal(new Map(map).get(1), all);
      assert.is(map.valueCodec.size, Math.ceil(size / 8) * 8 * cpus);
      map.setMany([[2, all]]);
      if (type === "percpu_array") continue;
      assert.equal(map.take(2), all);
      assert.equal([...map.drain()], [[1, all]]);
    }
    for (const type of ["queue", "stack"] as const) {
      using map = createMap({ type, value: size, maxEntries: 2 }, { backend });
      map.push(value);
      assert.equal(map.peek(), value);
      assert.equal(map.pop(), value);
    }
    using bloom = createMap({ type: "bloom_filter", value: size, maxEntries: 10 }, { backend });
    assert.is(bloom.add(value).mayContain(value), true);
    using small = createMap({ type: "hash", key: 1, value: size, maxEntries: 300 }, { backend });
    // Keys smaller than the 4 bytes that the kernel writes to say where it stands.
    small.setMany(Array.from({ length: 256 }, (_, i) => [Uint8Array.of(i), value] as const));
    assert.is(
      [...small.batches({ size: 50 })].reduce((sum, { count }) => sum + count, 0),
      256,
    );
    small.info();
  }
  console.log(`NOTE ${backend.calls} calls left the guards of ${backend.buffers} buffers alone`);
});

real("the guards would show a buffer that is too small", () => {
  const backend = guardedBackend();
  using map = createMap({ type: "percpu_array", value: u64, maxEntries: 1 });
  const value = new Uint8Array(8);
  const key = new Uint8Array(4);
  const attr = new Uint8Array(32);
  const view = new DataView(attr.buffer);
  view.setUint32(0, map.fd, true);
  view.setBigUint64(8, BigInt(backend.addressOf(key)), true);
  view.setBigUint64(16, BigInt(backend.addressOf(value)), true);
  if (cpus === 1) return;
  assert.throws(() => backend.bpf(1, backend.addressOf(attr), 32), /wrote \d+ bytes behind a buffer of 8/);
});

real("what a program writes is read, and the other way round", () => {
  for (const type of ["hash", "array", "lru_hash"] as const) {
    using map = createMap({ type, key: u32, value: u64, maxEntries: 4 });
    map.set(2, 40n);
    addFromProgram(map as never, 2, 2);
    assert.is(map.get(2), 42n, type);
  }
  for (const type of ["percpu_array", "percpu_hash", "lru_percpu_hash"] as const) {
    using map = createMap({ type, key: u32, value: u64, maxEntries: 4 });
    map.set(
      2,
      Array.from({ length: cpus }, () => 1n),
    );
    addFromProgram(map as never, 2, 5, 10);
    const values = map.get(2)!;
    assert.is(values.length, cpus);
    assert.is(
      values.reduce((sum, value) => sum + value, 0n),
      BigInt(cpus) + 50n,
      type,
    );
  }
});

test("values of a per-CPU map are one for each CPU, and nothing else", () => {
  const codec = perCpu(u32, 3);
  assert.is(codec.size, 24);
  assert.equal(codec.decode(codec.encode([1, 2, 3])), [1, 2, 3]);
  assert.throws(() => codec.encode([1, 2]), /Need 3 values, one for each possible CPU, found 2/);
  assert.throws(() => codec.encode(5 as never), /Values of a per-CPU map are arrays/);
});

real("queue and stack", () => {
  using queue = createMap({ type: "queue", value: u32, maxEntries: 3 });
  using stack = createMap({ type: "stack", value: u32, maxEntries: 3 });
  for (const map of [queue, stack]) {
    assert.is(map.pop(), undefined);
    assert.is(map.peek(), undefined);
    for (const value of [1, 2, 3]) assert.is(map.push(value), true);
    assert.is(map.push(4), false);
    assert.is(map.push(4, { replace: true }), true);
  }
  assert.is(queue.peek(), 2);
  assert.equal([queue.pop(), queue.pop(), queue.pop(), queue.pop()], [2, 3, 4, undefined]);
  assert.equal([stack.pop(), stack.pop(), stack.pop(), stack.pop()], [4, 3, 2, undefined]);
  queue.push(1);
  queue.clear();
  assert.is(queue.pop(), undefined);
  const instructions = a.program(
    a.store("u32", r10, -4, 77),
    a.ldMap(r1, queue),
    a.mov(r2, r10),
    a.add(r2, -4),
    a.mov(a.r3, 0),
    a.call("map_push_elem"),
    a.mov(r0, 0),
    a.exit(),
  );
  using program = loadProgram({ type: "socket_filter", license: "GPL", instructions });
  program.run({ data: new Uint8Array(64) });
  assert.is(queue.pop(), 77);
  assert.is(thrown(() => queue.nextKey()).code, "EINVAL");
});

real("a bloom filter knows for certain what was never added", () => {
  using filter = createMap({ type: "bloom_filter", value: u32, maxEntries: 1000, mapExtra: 3n });
  for (let i = 0; i < 1000; i++) filter.add(i);
  for (let i = 0; i < 1000; i++) assert.is(filter.mayContain(i), true);
  let wrong = 0;
  for (let i = 1000; i < 3000; i++) if (filter.mayContain(i)) wrong++;
  assert.ok(wrong < 600, `${wrong} of 2000`);
  assert.is(
    thrown(() => filter.delete(new Uint8Array(0))).message,
    "Cannot delete from bloom_filter map: EOPNOTSUPP, a bloom_filter does not have this operation",
  );
});

real("an LPM trie finds the longest prefix", () => {
  using routes = createMap({ type: "lpm_trie", key: ipv4Prefix, value: u32, maxEntries: 16, flags: ["no_prealloc"] });
  routes.set("10.0.0.0/8", 8).set("10.1.0.0/16", 16).set("0.0.0.0/0", 0);
  assert.is(routes.get("10.1.2.3"), 16);
  assert.is(routes.get("10.2.2.3"), 8);
  assert.is(routes.get("192.0.2.1"), 0);
  assert.equal(new Map(routes), new Map([["10.1.0.0/16", 16], ["10.0.0.0/8", 8], ["0.0.0.0/0", 0]])); // biome-ignore format: table
  assert.is(routes.delete("10.1.0.0/16"), true);
  assert.is(routes.delete("10.1.0.0/16"), false);
  assert.is(routes.get("10.1.2.3"), 8);
  routes.clear();
  assert.is(routes.count(), 0);
  using six = createMap({ type: "lpm_trie", key: ipv6Prefix, value: u32, maxEntries: 16, flags: ["no_prealloc"] });
  six.set("2001:db8::/32", 1);
  assert.is(six.get("2001:db8:1::5"), 1);
  assert.is(six.get("2001:db9::"), undefined);
});

real("maps in maps: written as maps, read as ids", () => {
  const inner = { type: "hash", key: u32, value: u64, maxEntries: 4 } as const;
  using one = createMap(inner);
  for (const [type, key] of [
    ["array_of_maps", undefined],
    ["hash_of_maps", u32],
  ] as const) {
    using outer = createMap({ type, key: key as never, maxEntries: 4, inner } as const) as BpfMap<
      number,
      number,
      number | BpfMap<number, bigint>
    >;
    assert.is(outer.get(1), undefined);
    outer.set(1, one);
    assert.is(outer.get(1), one.info().id);
    assert.equal([...outer], [[1, one.info().id]]);
    assert.equal([...outer.keys()], [1]);
    using other = createMap({ ...inner, value: u32 });
    assert.match(thrown(() => outer.set(2, other as never)).message, /EINVAL, the value is no map like the inner one/);
    assert.is(outer.delete(1), true);
    assert.is(outer.count(), 0);
  }
  using by = createMap({ type: "array_of_maps", maxEntries: 1, inner: one });
  by.set(0, one);
  assert.is(by.get(0), one.info().id);
  assert.throws(() => by.set(0, -1), /Need a descriptor, not -1/);
});

real("a prog_array: a program calls another through it", () => {
  using table = createMap({ type: "prog_array", maxEntries: 2 });
  using target = loadProgram({ type: "socket_filter", license: "GPL", instructions: [a.mov(r0, 42), a.exit()] });
  const instructions = a.program(a.ldMap(r2, table), a.mov(a.r3, 1), a.call("tail_call"), a.mov(r0, 7), a.exit());
  using program = loadProgram({ type: "socket_filter", license: "GPL", instructions });
  const run = (): number => program.run({ data: new Uint8Array(64) }).returnValue;
  assert.is(run(), 7);
  table.set(1, target);
  assert.is(run(), 42);
  assert.ok(table.get(1)! > 0);
  assert.equal([...table.keys()], [1]);
  table.clear();
  assert.is(run(), 7);
  assert.match(thrown(() => table.set(0, 0)).message, /EINVAL, the value is no program/);
  using wrong = loadProgram({ type: "xdp", license: "GPL", instructions: [a.mov(r0, 2), a.exit()] });
  assert.match(thrown(() => table.set(0, wrong)).message, /EINVAL, the value is no program, or not of the type/);
});

real("a spin lock in the value is held by flag", () => {
  const types = encodeBtf([
    { kind: "int", name: "unsigned int", size: 4 },
    { kind: "int", name: "unsigned long long", size: 8 },
    { kind: "struct", name: "bpf_spin_lock", size: 4, members: [{ name: "val", type: 1 }] },
    {
      kind: "struct",
      name: "value",
      size: 24,
      members: [
        { name: "lock", type: 3 },
        { name: "a", type: 2, bitOffset: 64 },
        { name: "b", type: 2, bitOffset: 128 },
      ],
    },
  ]);
  using btf = loadBtf(openBackend(), types);
  const value = struct({ lock: u32, a: u64, b: u64 });
  for (const type of ["array", "hash"] as const) {
    using map = createMap({
      type,
      key: u32,
      value,
      maxEntries: 2,
      btf: { fd: btf.number, keyTypeId: 1, valueTypeId: 4 },
    });
    map.set(0, { lock: 7, a: 1n, b: 2n });
    map.set(0, { lock: 7, a: 3n, b: 4n }, "lock");
    // The lock itself is neither written nor read.
    assert.equal(map.get(0, "lock"), { lock: 0, a: 3n, b: 4n });
    assert.equal(map.get(0), { lock: 0, a: 3n, b: 4n });
    map.set(0, { lock: 0, a: 5n, b: 6n }, "exist|lock");
    assert.equal(map.get(0, "lock"), { lock: 0, a: 5n, b: 6n });
    assert.is(map.update(0, { lock: 0, a: 9n, b: 9n }, "noexist|lock"), false);
    if (type === "hash") {
      assert.is(map.update(1, { lock: 0, a: 9n, b: 9n }, "exist|lock"), false);
      assert.equal(map.take(0, "lock"), { lock: 0, a: 5n, b: 6n });
      assert.is(map.get(0, "lock"), undefined);
    }
  }
});

real("a value without a spin lock cannot be locked", () => {
  using map = createMap({ type: "array", value: u64, maxEntries: 1 });
  assert.is(thrown(() => map.get(0, "lock")).code, "EINVAL");
  assert.is(thrown(() => map.set(0, 1n, "lock")).code, "EINVAL");
  assert.throws(() => map.get(0, "look" as never), /"look" is no lookup flag/);
});

/** A descriptor that stands for a process. */
function openPidfd(pid: number): { readonly fd: number; [Symbol.dispose](): void } {
  const backend = openBackend();
  const PIDFD_OPEN = 434;
  const fd = backend.syscall(PIDFD_OPEN, pid);
  assert.ok(fd > 2, String(fd));
  return { fd, [Symbol.dispose]: () => void backend.syscall(syscallNumbers[backend.architecture].close, fd) };
}

real("storage hangs on a process", () => {
  using task = createMap({ type: "task_storage", value: u64, flags: ["no_prealloc"] });
  using self = openPidfd(process.pid);
  assert.is(task.get(self), undefined);
  task.set(self, 5n);
  assert.is(task.get(self), 5n);
  assert.is(task.delete(self), true);
  assert.is(task.delete(self), false);
});

/** Inodes only have room for it where the BPF LSM is on. */
function missingFileStorage(): string | undefined {
  if (missing("bpf") !== undefined || /\bbpf\b/.test(readFileIfAny("/sys/kernel/security/lsm"))) return undefined;
  using map = createMap({ type: "inode_storage", value: u64, flags: ["no_prealloc"] });
  const file = openSync("/proc/self/exe", "r");
  try {
    map.set(file, 1n);
    return undefined;
  } catch (error) {
    if (!isErrno(error, "EBADF", "EOPNOTSUPP", "EINVAL")) throw error;
    return `the BPF LSM is off, so that inodes have no storage (${(error as BpfError).code})`;
  } finally {
    closeSync(file);
  }
}

const withoutFileStorage = missingFileStorage();
const fileStorage = withoutFileStorage === undefined ? real : (name: string) => skip(test, name, withoutFileStorage);
fileStorage("storage hangs on a file", () => {
  using inode = createMap({
    type: "inode_storage",
    value: struct({ a: u32, b: array(u8, 4) }),
    flags: ["no_prealloc"],
  });
  const file = openSync("/proc/self/exe", "r");
  try {
    assert.is(inode.get(file), undefined);
    inode.set(file, { a: 1, b: [1, 2, 3, 4] });
    assert.equal(inode.get(file), { a: 1, b: [1, 2, 3, 4] });
    assert.is(inode.delete(file), true);
    assert.is(inode.delete(file), false);
  } finally {
    closeSync(file);
  }
});

async function socketPair(): Promise<{ fd: number; close(): Promise<void> }> {
  const sockets: Socket[] = [];
  const server: Server = createServer((socket) => sockets.push(socket));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  const { connect } = await import("node:net");
  const client = connect(port, "127.0.0.1");
  await new Promise((resolve) => client.once("connect", resolve));
  const { fd } = (client as unknown as { _handle: { fd: number } })._handle;
  return {
    fd,
    close: async () => {
      client.destroy();
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

requires(
  test,
  "bpf",
  "net-admin",
)("sockets: written as a descriptor, read as a cookie", async () => {
  const pair = await socketPair();
  try {
    using storage = createMap({ type: "sk_storage", value: u32, flags: ["no_prealloc"] });
    storage.set(pair.fd, 9);
    assert.is(storage.get(pair.fd), 9);
    using sockets = createMap({ type: "sockmap", maxEntries: 4 });
    sockets.set(1, pair.fd);
    const cookie = sockets.get(1)!;
    assert.ok(cookie > 0n);
    assert.equal([...sockets], [[1, cookie]]);
    assert.is(sockets.delete(1), true);
    assert.is(sockets.delete(1), false);
    using named = createMap({ type: "sockhash", key: u32, maxEntries: 4 });
    named.set(99, { fd: pair.fd });
    assert.equal([...named], [[99, cookie]]);
    named.clear();
    assert.is(named.count(), 0);
    using blind = createMap({ type: "sockmap", value: 4, maxEntries: 4 });
    blind.set(2, pair.fd);
    assert.match(
      thrown(() => blind.get(2)).message,
      /ENOSPC, the cookie of a socket does not fit values of 4 bytes: use 8/,
    );
    assert.ok([...blind.keys()].includes(2));
    blind.clear();
    assert.match(thrown(() => sockets.set(0, 0)).message, /ENOTSOCK/);
  } finally {
    await pair.close();
  }
});

requires(
  test,
  "bpf",
  "net-admin",
)("targets of packets: interfaces and CPUs", () => {
  using devices = createMap({ type: "devmap", maxEntries: 4 });
  devices.set(1, { ifindex: 1 });
  assert.equal(devices.get(1), { ifindex: 1, programId: 0 });
  assert.equal([...devices], [[1, { ifindex: 1, programId: 0 }]]);
  const spec = { type: "xdp", license: "GPL", instructions: [a.mov(r0, 2), a.exit()] } as const;
  using onDevice = loadProgram({ ...spec, expectedAttachType: "xdp_devmap" });
  devices.set(2, { ifindex: 1, program: onDevice });
  assert.ok(devices.get(2)!.programId > 0);
  using hashed = createMap({ type: "devmap_hash", maxEntries: 4 });
  hashed.set(1000, { ifindex: 1 });
  assert.equal([...hashed], [[1000, { ifindex: 1, programId: 0 }]]);
  using targets = createMap({ type: "cpumap", maxEntries: 1 });
  targets.set(0, { queueSize: 64 });
  assert.equal(targets.get(0), { queueSize: 64, programId: 0 });
  using old = createMap({ type: "devmap", value: 4, maxEntries: 4 });
  old.set(0, { ifindex: 1 });
  assert.equal(old.get(0), { ifindex: 1, programId: 0 });
  assert.throws(() => old.set(0, { ifindex: 1, program: onDevice }), /A program needs values of 8 bytes/);
});

real("a stack trace is a list of addresses", () => {
  using stacks = createMap({ type: "stack_trace", maxEntries: 16 });
  const instructions = a.program(a.mov(r1, r1), a.ldMap(r2, stacks), a.mov(a.r3, 0), a.call("get_stackid"), a.exit());
  // A raw tracepoint has registers; the kernel's own stack is what it sees.
  using program = loadProgram({ type: "raw_tracepoint", license: "GPL", instructions });
  const id = program.run().returnValue;
  assert.ok(id < 16, `stack id ${id | 0}`);
  const frames = stacks.get(id)!;
  assert.ok(frames.length > 2, `${frames.length} frames`);
  assert.ok(frames.every((frame) => frame > 0xffff800000000000n));
  assert.is(stacks.delete(id), true);
});

// Another process deletes and adds while this one reads.
const rival = `
import { mapFromFd, u32, u64 } from "${new URL("../../src/maps/index.js", import.meta.url).href}";
const map = mapFromFd(3, { key: u32, value: u64 });
process.stdout.write("ready");
let seed = 1;
const next = () => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 0) % 20000;
process.on("message", () => process.exit(0));
const work = () => {
  for (let i = 0; i < 200; i++) {
    const key = 1 + 2 * next();
    if (i & 1) map.delete(key);
    else try { map.set(key, BigInt(key)); } catch {}
  }
  setImmediate(work);
};
work();
`;

for (const batches of [true, false]) {
  real(
    `others delete while we read ${batches ? "in batches" : "key by key"}: no entry is torn, no walk is endless`,
    async () => {
      const backend = openBackend();
      const blind = {
        ...backend,
        bpf: (command: number, attr: number, size: number) =>
          command >= 24 && command <= 27 ? -524 : backend.bpf(command, attr, size),
      };
      using map = createMap(
        { type: "hash", key: u32, value: u64, maxEntries: 40000 },
        { backend: batches ? backend : blind },
      );
      // Even keys stay, odd ones come and go.
      map.setMany(Array.from({ length: 20000 }, (_, i) => [2 * i, BigInt(2 * i)] as const));
      const child = spawn(process.execPath, ["--input-type=module", "-e", rival], {
        stdio: ["ignore", "pipe", "inherit", map.fd, "ipc"],
      });
      try {
        await new Promise((resolve) => child.stdout!.once("data", resolve));
        for (let round = 0; round < rounds(2, 50); round++) {
          let even = 0;
          let all = 0;
          const seen = new Set<number>();
          for (const [key, value] of map) {
            assert.is(value, BigInt(key));
            all++;
            if (key % 2 === 0 && !seen.has(key)) even++;
            seen.add(key);
          }
          assert.ok(all <= 80000);
          if (batches) assert.is(even, 20000, "what stays comes, each exactly once");
          if (batches) assert.is(seen.size, all);
        }
      } finally {
        child.send("end");
        await new Promise((resolve) => child.once("exit", resolve));
      }
    },
  );
}

real("errors are system call errors with command and errno", () => {
  using map = createMap({ type: "perf_event_array", maxEntries: 1 });
  const error = thrown(() => map.get(0));
  assert.instance(error, SyscallError);
  assert.is((error as SyscallError).command, "BPF_MAP_LOOKUP_ELEM");
  assert.is(
    error.message,
    "Cannot look up in perf_event_array map: ENOTSUPP, a perf_event_array does not have this operation",
  );
  assert.match(thrown(() => map.set(0, 9999)).message, /EBADF, the value is no open descriptor/);
  using array = createMap({ type: "array", value: u32, maxEntries: 1 });
  assert.match(thrown(() => array.take(0)).message, /ENOTSUPP, a array does not have this operation/);
  assert.match(thrown(() => array.delete(0)).message, /EINVAL, entries of an array cannot be deleted/);
});

test.run();
