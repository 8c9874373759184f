import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BpfError } from "../../src/errors.ts";
import { bytes, createMap, cstring, i64, struct, u8, u16, u32, u64 } from "../../src/maps/index.ts";
import { SyscallError, type SyscallTrace, traceSyscalls } from "../../src/syscall/index.ts";
import { onBothKernels } from "../support/backends.ts";
import { failOnLeaks, requires } from "../support/harness.ts";

const test = suite("maps");
failOnLeaks(test);

function thrown(run: () => unknown): Error {
  try {
    run();
  } catch (error) {
    return error as Error;
  }
  throw new Error("Nothing was thrown");
}

function codeOf(run: () => unknown): string {
  return (thrown(run) as BpfError).code;
}

onBothKernels(test, "a hash holds what is put into it", (backend) => {
  using map = createMap({ type: "hash", name: "h", key: u32, value: u64, maxEntries: 3 }, { backend });
  assert.is(map.get(1), undefined);
  assert.is(map.has(1), false);
  map.set(1, 0xfedcba9876543210n).set(2, 2n);
  assert.is(map.get(1), 0xfedcba9876543210n);
  assert.is(map.has(2), true);
  map.set(1, 5n, "exist");
  assert.is(
    codeOf(() => map.set(1, 6n, "noexist")),
    "EEXIST",
  );
  assert.is(
    codeOf(() => map.set(9, 6n, "exist")),
    "ENOENT",
  );
  assert.is(map.get(1), 5n);
  map.set(0xffffffff, 3n);
  const full = thrown(() => map.set(4, 4n));
  assert.instance(full, SyscallError);
  assert.is(full.message, 'Cannot update map "h": E2BIG, the map is full (3 entries)');
  assert.equal(new Map(map), new Map([[1, 5n], [2, 2n], [0xffffffff, 3n]])); // biome-ignore format: table
  assert.equal([...map.keys()].sort(), [1, 2, 0xffffffff]);
  assert.is(map.delete(2), true);
  assert.is(map.delete(2), false);
  for (const key of map.keys()) map.delete(key);
  assert.equal([...map], []);
});

onBothKernels(test, "an array has all its entries from the start", (backend) => {
  using map = createMap({ type: "array", key: u32, value: i64, maxEntries: 4 }, { backend });
  assert.equal([...map.entries()], [[0, 0n], [1, 0n], [2, 0n], [3, 0n]]); // biome-ignore format: table
  map.set(3, -1n);
  assert.is(map.get(3), -1n);
  assert.is(map.get(4), undefined);
  assert.is(thrown(() => map.set(4, 1n)).message, "Cannot update array map: E2BIG, index outside of 4 entries");
  assert.is(
    codeOf(() => map.delete(0)),
    "EINVAL",
  );
  assert.is(
    codeOf(() => map.set(0, 1n, "noexist")),
    "EEXIST",
  );
});

onBothKernels(test, "keys and values without a codec are bytes", (backend) => {
  using map = createMap({ type: "hash", key: 3, value: 5, maxEntries: 2 }, { backend });
  const value = Uint8Array.of(1, 2, 3, 4, 5);
  map.set(Uint8Array.of(7, 8, 9), value);
  const got = map.get(Uint8Array.of(7, 8, 9));
  assert.equal(got, value);
  got![0] = 99;
  assert.equal(map.get(Uint8Array.of(7, 8, 9)), value, "what get returns is a copy");
  assert.throws(
    () => map.get(Uint8Array.of(1)),
    (error: Error) => error instanceof RangeError,
  );
  assert.throws(
    () => map.set(Uint8Array.of(7, 8, 9), Uint8Array.of(1)),
    (error: Error) => error instanceof RangeError,
  );
});

onBothKernels(test, "structs have C layout", (backend) => {
  const value = struct({ a: u8, b: u16, c: u64, name: cstring(5), raw: bytes(2) });
  assert.equal(value.offsets, { a: 0, b: 2, c: 8, name: 16, raw: 21 });
  assert.is(value.size, 24);
  using map = createMap({ type: "hash", key: struct({ x: u8, y: u32 }), value, maxEntries: 2 }, { backend });
  assert.is(map.description.keySize, 8);
  map.set({ x: 1, y: 2 }, { a: 1, b: 0xffff, c: 1n << 63n, name: "äb", raw: Uint8Array.of(3, 4) });
  assert.equal(map.get({ x: 1, y: 2 }), { a: 1, b: 0xffff, c: 1n << 63n, name: "äb", raw: Uint8Array.of(3, 4) });
});

onBothKernels(test, "values that do not fit are refused before the call", (backend) => {
  using map = createMap({ type: "hash", key: u8, value: u16, maxEntries: 2 }, { backend });
  assert.throws(() => map.set(256, 1), /Value 256 does not fit u8/);
  assert.throws(() => map.set(1, -1), /Value -1 does not fit u16/);
  assert.throws(() => map.set(1, 1.5), /Value 1.5 does not fit u16/);
  assert.throws(() => map.set(1, 1, "never" as never), /"never" is no update flag/);
  assert.equal([...map], []);
});

onBothKernels(test, "a closed map cannot be used", (backend) => {
  const map = createMap({ type: "hash", name: "gone", key: u32, value: u32, maxEntries: 2 }, { backend });
  map.close();
  map.close();
  assert.is(map.closed, true);
  for (const use of [() => map.get(1), () => map.set(1, 1), () => map.delete(1), () => map.nextKey(), () => map.fd]) {
    assert.is(codeOf(use), "ERR_CLOSED");
  }
  assert.is(thrown(() => map.get(1)).message, 'Cannot use map "gone": it is closed');
});

// What the kernel answers with a bare EINVAL. Left: fields that differ from a valid hash; right: what we say.
const WRONG_SPECS: readonly [string, object, string][] = [
  ["zero key", { key: 0 }, "a hash needs keys of at least 1 byte"],
  ["zero value", { value: 0 }, "a hash needs values of at least 1 byte"],
  ["zero entries", { maxEntries: 0 }, "max entries may not be 0"],
  ["too many entries", { maxEntries: 2 ** 32 }, "max entries must be a 32-bit number, not 4294967296"],
  ["name", { name: "a-b" }, 'its name has characters other than letters, digits, "_" and "."'],
  ["long name", { name: "a234567890123456" }, "its name is longer than 15 characters"],
  ["unknown type", { type: "hsah" }, 'there is no map type "hsah"'],
  ["array key", { type: "array", key: 8 }, "the keys of an array are indexes of 4 bytes, not 8"],
  ["ring size", { type: "ringbuf", key: 0, value: 0, maxEntries: 12288 }, "its size must be a power of two and whole pages of 4096 bytes, not 12288"],
  ["ring keys", { type: "ringbuf", maxEntries: 4096 }, "a ring buffer has neither keys nor values"],
  ["trie", { type: "lpm_trie", key: 8 }, "an LPM trie needs the flag BPF_F_NO_PREALLOC"],
]; // biome-ignore format: table

for (const [what, wrong, message] of WRONG_SPECS) {
  onBothKernels(test, `a wrong blueprint is explained: ${what}`, (backend, fake) => {
    const spec = { type: "hash", key: 4, value: 4, maxEntries: 1, ...wrong };
    const error = thrown(() => createMap(spec as never, { backend })) as BpfError;
    assert.instance(error, BpfError);
    assert.is(error.code, "ERR_MAP_SPEC");
    assert.ok(error.message.endsWith(`: ${message}`), error.message);
    if (fake !== undefined) assert.equal(fake.commands, [], "no system call was made");
  });
}

requires(test, "bpf")("the kernel refuses what we refuse: zero sizes, wrong names, ring sizes", async () => {
  const { openBackend, mapCreate } = await import("../../src/syscall/index.ts");
  const backend = openBackend();
  const hash = { map_type: 1, key_size: 4, value_size: 4, max_entries: 1 };
  const array = { ...hash, map_type: 2 };
  const ring = { map_type: 27, max_entries: 12288 };
  for (const attr of [
    { ...hash, key_size: 0 },
    { ...hash, value_size: 0 },
    { ...hash, max_entries: 0 },
    { ...hash, map_name: "a-b" },
    { ...array, key_size: 8 },
    ring,
    { ...hash, map_type: 11, key_size: 8 },
  ]) {
    assert.is(
      codeOf(() => mapCreate(backend, attr)),
      "EINVAL",
      JSON.stringify(attr),
    );
  }
});

onBothKernels(test, "every call can be watched", (backend) => {
  const calls: SyscallTrace[] = [];
  using map = createMap({ type: "hash", name: "t", key: u32, value: u32, maxEntries: 2 }, { backend });
  {
    using _tracer = traceSyscalls((call) => calls.push(call));
    map.set(1, 0x01020304);
    map.get(1);
    map.get(2);
    map.nextKey();
    map.delete(1);
  }
  map.get(1);
  assert.equal(
    calls.map((call) => [call.syscall, call.command, call.result === 0 ? "ok" : call.error]),
    [
      ["bpf", "BPF_MAP_UPDATE_ELEM", "ok"],
      ["bpf", "BPF_MAP_LOOKUP_ELEM", "ok"],
      ["bpf", "BPF_MAP_LOOKUP_ELEM", "ENOENT"],
      ["bpf", "BPF_MAP_GET_NEXT_KEY", "ok"],
      ["bpf", "BPF_MAP_DELETE_ELEM", "ok"],
    ],
  );
  assert.equal(calls[0]!.arguments.key, Uint8Array.of(1, 0, 0, 0));
  assert.equal(calls[0]!.arguments.value, Uint8Array.of(4, 3, 2, 1));
  assert.equal(calls[1]!.arguments.value, Uint8Array.of(4, 3, 2, 1));
  assert.equal(calls[3]!.arguments.next_key, Uint8Array.of(1, 0, 0, 0));
  assert.ok(calls.every((call) => call.nanoseconds >= 0 && call.arguments.map_fd === map.fd));
});

test.run();
