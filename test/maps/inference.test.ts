import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  array,
  type BpfBloomFilter,
  type BpfMap,
  type BpfQueue,
  type CpuInput,
  type CpuTarget,
  createMap,
  cstring,
  type Descriptor,
  type DeviceInput,
  type DeviceTarget,
  ipv4Prefix,
  type MappedArray,
  mapArray,
  type openMapById,
  openRingBuffer,
  struct,
  u8,
  u16,
  u32,
  u64,
} from "../../src/maps/index.ts";
import { FakeKernel } from "../../src/syscall/index.ts";

// These are tests of types: what they say is checked when they are compiled.
const test = suite("inference");

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function same<_T extends true>(): void {}

const { backend } = new FakeKernel();
const with_ = { backend };
const event = struct({ pid: u32, ports: array(u16, 2), name: cstring(8), when: struct({ ns: u64 }) });
type Event = { pid: number; ports: number[]; name: string; when: { ns: bigint } };

test("keys and values are what the schema says", () => {
  using map = createMap({ type: "hash", key: u32, value: event, maxEntries: 4 }, with_);
  same<Same<Parameters<typeof map.get>[0], number>>();
  same<Same<NonNullable<ReturnType<typeof map.get>>["when"]["ns"], bigint>>();
  same<NonNullable<ReturnType<typeof map.get>> extends Event ? true : false>();
  const value: Event = { pid: 1, ports: [2, 3], name: "x", when: { ns: 4n } };
  map.set(1, value);
  assert.equal(map.get(1), value);
  // @ts-expect-error a key of a wrong type
  assert.throws(() => map.get("1"));
  // @ts-expect-error a member that is missing
  assert.throws(() => map.set(1, { pid: 1, ports: [2, 3], name: "x" }));
  // @ts-expect-error a member of a wrong type
  assert.throws(() => map.set(1, { ...value, when: { ns: 4 } }));
  // @ts-expect-error a flag that is none
  assert.throws(() => map.set(1, value, "never"));
  for (const [key, { name }] of map) {
    same<Same<typeof key, number>>();
    same<Same<typeof name, string>>();
  }
  // @ts-expect-error a type that is none
  assert.throws(() => createMap({ type: "hush", key: u32, value: u32, maxEntries: 1 }, with_));
});

test("without a codec, values are what the type of the map says", () => {
  const keyed = <T>(): T => undefined as never;
  type Of<T extends Parameters<typeof createMap>[0]["type"]> = ReturnType<typeof createMap<T>>;
  same<Same<Of<"hash">, BpfMap<Uint8Array, Uint8Array, Uint8Array>>>();
  same<Same<Of<"array">, BpfMap<number, Uint8Array, Uint8Array>>>();
  same<Same<Of<"percpu_array">, BpfMap<number, Uint8Array[], readonly Uint8Array[]>>>();
  same<Same<Of<"prog_array">, BpfMap<number, number, Descriptor>>>();
  same<Same<Of<"hash_of_maps">, BpfMap<Uint8Array, number, Descriptor>>>();
  same<Same<Of<"sockmap">, BpfMap<number, bigint, Descriptor>>>();
  same<Same<Of<"devmap_hash">, BpfMap<number, DeviceTarget, DeviceInput>>>();
  same<Same<Of<"cpumap">, BpfMap<number, CpuTarget, CpuInput>>>();
  same<Same<Of<"task_storage">, BpfMap<Descriptor, Uint8Array, Uint8Array>>>();
  same<Same<Of<"stack_trace">, BpfMap<number, bigint[], bigint[]>>>();
  same<Same<Of<"queue">, BpfQueue<Uint8Array, Uint8Array>>>();
  same<Same<Of<"bloom_filter">, BpfBloomFilter<Uint8Array, Uint8Array>>>();
  assert.is(typeof keyed, "function");
});

test("per-CPU values are arrays, queues have no keys, prefixes are text", () => {
  using counts = createMap({ type: "percpu_hash", key: u8, value: u64, maxEntries: 4 }, with_);
  same<Same<ReturnType<typeof counts.get>, bigint[] | undefined>>();
  same<Same<Parameters<typeof counts.set>[1], readonly bigint[]>>();
  // @ts-expect-error one value is not one for each CPU
  assert.throws(() => counts.set(1, 5n));
  using jobs = createMap({ type: "queue", value: u32, maxEntries: 4 }, with_);
  same<Same<ReturnType<typeof jobs.pop>, number | undefined>>();
  same<Same<Parameters<typeof jobs.push>[0], number>>();
  using routes = createMap(
    { type: "lpm_trie", key: ipv4Prefix, value: u32, maxEntries: 4, flags: ["no_prealloc"] },
    with_,
  );
  same<Same<Parameters<typeof routes.get>[0], string>>();
});

test("what is opened is typed by its codecs and its type, records by theirs", () => {
  type Opened = ReturnType<typeof openMapById<number, bigint, bigint, "percpu_hash">>;
  same<Same<Opened, BpfMap<number, bigint[], readonly bigint[]>>>();
  const mapped = (map: BpfMap<number, bigint>): MappedArray<bigint> => mapArray(map);
  assert.is(mapped.length, 1);
  const read = async (map: BpfMap): Promise<Event | undefined> => {
    for await (const one of openRingBuffer(map).records({ codec: event })) return one;
    return undefined;
  };
  same<Same<Awaited<ReturnType<typeof read>>, Event | undefined>>();
});

test.run();
