import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as a from "../../src/asm/index.ts";
import type { BpfError } from "../../src/errors.ts";
import { array, createMap, mapArena, mapArray, openMapById, struct, u8, u32, u64 } from "../../src/maps/index.ts";
import { loadProgram } from "../../src/programs/index.ts";
import { kernelOlderThan } from "../../src/syscall/index.ts";
import { failOnLeaks, requires } from "../support/harness.ts";

const test = suite("maps in memory");
failOnLeaks(test);
const real = requires(test, "bpf");

function thrown(run: () => unknown): BpfError {
  try {
    run();
  } catch (error) {
    return error as BpfError;
  }
  throw new Error("Nothing was thrown");
}

real("an array in memory is the array", () => {
  using map = createMap({
    type: "array",
    value: struct({ a: u8, b: u32, c: u8 }),
    maxEntries: 1000,
    flags: ["mmapable"],
  });
  using mapped = mapArray(map);
  assert.is(mapped.length, 1000);
  assert.is(mapped.stride, 16);
  mapped.set(999, { a: 1, b: 2, c: 3 });
  assert.equal(map.get(999), { a: 1, b: 2, c: 3 });
  map.set(0, { a: 4, b: 5, c: 6 });
  assert.equal(mapped.get(0), { a: 4, b: 5, c: 6 });
  assert.equal([...mapped.bytes.subarray(0, 9)], [4, 0, 0, 0, 5, 0, 0, 0, 6]);
  for (const index of [-1, 1000, 0.5])
    assert.throws(() => mapped.get(index), /is outside of the 1000 entries of array map/);
  assert.throws(() => mapped.set(1, { a: 256, b: 0, c: 0 }), /Value 256 does not fit u8/);
  const copy = new Uint8Array(40);
  assert.is(mapped.copyInto(copy, 998), 2);
  assert.is(copy[16], 1);
  assert.throws(() => mapped.copyInto(copy, 1001), /is outside/);
});

real("a program and a typed array see each other's words at once", () => {
  using map = createMap({ type: "array", value: array(u64, 4), maxEntries: 1, flags: ["mmapable"] });
  using mapped = mapArray(map);
  const words = mapped.as(BigInt64Array);
  words[2] = 40n;
  const { r0, r1 } = a;
  const instructions = a.program(
    a.ldMapValue(r1, map, 16),
    a.mov(r0, 2),
    a.atomic("add", "u64", r1, 0, r0),
    a.mov(r0, 0),
    a.exit(),
  );
  using program = loadProgram({ type: "socket_filter", license: "GPL", instructions });
  program.run({ data: new Uint8Array(64) });
  assert.is(Atomics.load(words, 2), 42n);
});

real("after close every use throws, and old views read zeros", () => {
  using map = createMap({ type: "array", value: u64, maxEntries: 4, flags: ["mmapable"] });
  const mapped = mapArray(map);
  const { bytes } = mapped;
  mapped.set(0, -1n & 0xffffffffffffffffn);
  assert.is(bytes[0], 255);
  mapped.close();
  mapped.close();
  assert.is(mapped.closed, true);
  for (const use of [
    () => mapped.get(0),
    () => mapped.set(0, 1n),
    () => mapped.bytes,
    () => mapped.as(Uint8Array),
    () => mapped.copyInto(new Uint8Array(8)),
  ]) {
    const error = thrown(use);
    assert.is(error.code, "ERR_CLOSED");
    assert.is(error.message, "Cannot use the memory of array map: it is closed");
  }
  assert.is(bytes[0], 0);
  bytes[0] = 9;
  assert.is(map.get(0), 0xffffffffffffffffn, "the map itself is as it was");
});

real("freeze: write, close, freeze, and then only reading", () => {
  using map = createMap({ type: "array", value: u64, maxEntries: 4, flags: ["mmapable"] });
  {
    using mapped = mapArray(map);
    mapped.set(1, 7n);
    assert.is(
      thrown(() => map.freeze()).message,
      "Cannot freeze array map: EBUSY, it is mapped writable, or being written to: close the mapping first",
    );
  }
  map.freeze();
  assert.is(thrown(() => mapArray(map)).code, "EPERM");
  using reading = mapArray(map, { access: "read" });
  assert.is(reading.get(1), 7n);
  for (const use of [() => reading.set(0, 1n), () => reading.bytes, () => reading.as(Uint8Array)]) {
    assert.match(
      thrown(use).message,
      /Cannot write to the memory of array map: it is mapped for reading\nHint: use get and copyInto/,
    );
  }
});

requires(
  test,
  "bpf",
  "sys-admin",
)("a map opened for reading only is not mapped, whichever way", () => {
  using map = createMap({ type: "array", value: u64, maxEntries: 4, flags: ["mmapable"] });
  using again = openMapById(map.info().id, { key: u32, value: u64, access: "read" });
  for (const access of ["read", "read-write"] as const) {
    const { message } = thrown(() => mapArray(again, { access }));
    assert.match(message, /: E(INVAL|ACCES), its descriptor was opened for reading or writing only$/);
  }
});

real("what cannot be mapped is refused with the reason", () => {
  using plain = createMap({ type: "array", value: u64, maxEntries: 4 });
  assert.is(
    thrown(() => mapArray(plain)).message,
    "Cannot map array map into memory: it was created without the flag BPF_F_MMAPABLE",
  );
  using hash = createMap({ type: "hash", key: u32, value: u64, maxEntries: 4 });
  assert.is(thrown(() => mapArray(hash)).message, "Cannot map hash map into memory: it is a hash");
  assert.match(thrown(() => mapArena(hash as never)).message, /as an arena: it is a hash/);
});

if (!kernelOlderThan(6, 9)) {
  real("an arena is shared memory, and can be mapped again at its place", () => {
    using map = createMap({ type: "arena", name: "heap", maxEntries: 64, flags: ["mmapable"] });
    const arena = mapArena(map);
    const { address } = arena;
    assert.is(arena.length, 64 * 4096);
    arena.bytes[5000] = 77;
    assert.is(thrown(() => mapArena(map)).message, 'map "heap" is mapped already');
    assert.is(arena.offsetOf(arena.pointerTo(5000)), 5000);
    assert.is(arena.offsetOf(arena.pointerTo(5000) & 0xffffffffn), 5000);
    assert.throws(() => arena.offsetOf(address + BigInt(arena.length)), /leads out of map "heap"/);
    assert.throws(() => arena.offsetOf(arena.pointerTo(0) + 2n ** 40n), /leads out of map "heap"/);
    assert.throws(() => arena.pointerTo(64 * 4096), /is outside of the 262144 bytes/);
    arena.close();
    assert.is(thrown(() => arena.bytes).code, "ERR_CLOSED");
    using again = mapArena(map);
    assert.is(again.address, address);
    assert.is(again.bytes[5000], 77);
  });

  real("an arena at an address of choice", () => {
    const at = 0x1000_0000_0000n;
    using map = createMap({ type: "arena", maxEntries: 4, flags: ["mmapable"], mapExtra: at });
    using arena = mapArena(map);
    assert.is(arena.address, at);
  });

  real("an arena whose missing pages end the process is not mapped", () => {
    using map = createMap({ type: "arena", maxEntries: 4, flags: ["mmapable", "segv_on_fault"] });
    assert.is(thrown(() => mapArena(map)).code, "ERR_NOT_SUPPORTED");
  });
}

test.run();
