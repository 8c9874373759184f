// Browser-safe.

import { bytes as bytesCodec, type Codec, makeCodec, u32 } from "../../bytes/index.ts";
import { BpfError } from "../../errors.ts";
import type { MapType } from "../../kernel-abi/index.ts";
import { ArrayMap } from "./array.ts";
import { HashMap } from "./hash.ts";
import { LpmMap } from "./lpm.ts";
import { MachineBloomFilter, MachineMap, MachineQueue, MachineRingBuffer } from "./machine-map.ts";
import type { MapMaking, ProgramMap } from "./program-map.ts";
import { BloomMap, QueueMap } from "./queue.ts";
import { RingMap } from "./ringbuf.ts";

/** Types of maps that a machine has. */
export type MachineMapType =
  | "array"
  | "percpu_array"
  | "hash"
  | "percpu_hash"
  | "lru_hash"
  | "lru_percpu_hash"
  | "lpm_trie"
  | "queue"
  | "stack"
  | "bloom_filter"
  | "ringbuf"
  | "perf_event_array"
  | "prog_array"
  | "array_of_maps"
  | "hash_of_maps"
  | "devmap"
  | "devmap_hash"
  | "cpumap"
  | "xskmap";

/** Blueprint of a map of a machine: plain data, the same as of a map of the kernel as far as it goes. */
export interface MachineMapSpec<K = Uint8Array, V = Uint8Array, I = V> {
  /** Map type, for example `hash`, `array`, `ringbuf`. */
  readonly type: MachineMapType;
  /** Name. Default: its name among the machine's maps. */
  readonly name?: string | undefined;
  /** Codec of keys, or their size in bytes. Default: 4 bytes where the type says so, else none. */
  readonly key?: Codec<K> | number | undefined;
  /** Codec of values (of one processor's value in per-CPU maps), or their size in bytes; of a ring buffer's records. */
  readonly value?: Codec<V, I> | number | undefined;
  /** Most entries; bytes for a ring buffer, a power of two. Default 1. */
  readonly maxEntries?: number | undefined;
  /** `BPF_F_*` bits. Default 0. */
  readonly flags?: number | undefined;
  /** Number of hash functions of a Bloom filter. Default 5. */
  readonly mapExtra?: bigint | undefined;
}

type PerCpu = "percpu_array" | "percpu_hash" | "lru_percpu_hash";
type Indexed =
  | "array"
  | "percpu_array"
  | "perf_event_array"
  | "prog_array"
  | "array_of_maps"
  | "devmap"
  | "devmap_hash"
  | "cpumap"
  | "xskmap";
type Handles =
  | "perf_event_array"
  | "prog_array"
  | "array_of_maps"
  | "hash_of_maps"
  | "devmap"
  | "devmap_hash"
  | "cpumap"
  | "xskmap";
/** What is written into maps of maps and of programs: a map or program of the machine, or its number. */
export type MachineHandle = number | { readonly fd: number };

/** The handle of a map, by its type and codecs. */
export type MachineMapOf<S> = S extends { readonly type: infer T }
  ? MapOfType<
      T,
      S extends { readonly key: Codec<infer K> } ? K : T extends Indexed ? number : Uint8Array,
      S extends { readonly value: Codec<infer V, infer _I> } ? V : T extends Handles ? number : Uint8Array,
      S extends { readonly value: Codec<infer _V, infer I> } ? I : T extends Handles ? MachineHandle : Uint8Array
    >
  : never;

type MapOfType<T, K, V, I> = T extends PerCpu
  ? MachineMap<K, V[], readonly I[]>
  : T extends "queue" | "stack"
    ? MachineQueue<V, I>
    : T extends "bloom_filter"
      ? MachineBloomFilter<V, I>
      : T extends "ringbuf"
        ? MachineRingBuffer<V, I>
        : MachineMap<K, V, I>;

const INDEXED: ReadonlySet<string> = /* @__PURE__ */ new Set<Indexed>([
  "array",
  "percpu_array",
  "perf_event_array",
  "prog_array",
  "array_of_maps",
  "devmap",
  "devmap_hash",
  "cpumap",
  "xskmap",
]);
const HANDLES: ReadonlySet<string> = /* @__PURE__ */ new Set<Handles>([
  "perf_event_array",
  "prog_array",
  "array_of_maps",
  "hash_of_maps",
  "devmap",
  "devmap_hash",
  "cpumap",
  "xskmap",
]);
const NO_KEY: ReadonlySet<string> = /* @__PURE__ */ new Set(["queue", "stack", "bloom_filter", "ringbuf"]);

const handle: Codec<number, MachineHandle> = makeCodec<number, MachineHandle>(
  4,
  4,
  (bytes, offset) => u32.decode(bytes, offset),
  (value, bytes, offset) => u32.encodeInto(typeof value === "number" ? value : value.fd, bytes, offset),
);

function perCpuCodec(codec: Codec<unknown, unknown>, count: number): Codec<unknown[], readonly unknown[]> {
  const stride = Math.ceil(codec.size / 8) * 8;
  return makeCodec<unknown[], readonly unknown[]>(
    stride * count,
    8,
    (bytes, offset) => Array.from({ length: count }, (_, i) => codec.decode(bytes, offset + i * stride)),
    (values, bytes, offset) => {
      if (!Array.isArray(values)) throw new TypeError("Values of a per-CPU map are arrays: one value for each CPU");
      if (values.length !== count)
        throw new RangeError(`Need ${count} values, one for each CPU, found ${values.length}`);
      for (const [i, value] of values.entries()) codec.encodeInto(value, bytes, offset + i * stride);
    },
  );
}

function codecOf(given: unknown, fallback: Codec<unknown, unknown> | undefined): Codec<unknown, unknown> | undefined {
  if (typeof given === "number") return bytesCodec(given) as unknown as Codec<unknown, unknown>;
  return (given as Codec<unknown, unknown> | undefined) ?? fallback;
}

function problemOf(type: MapType, keySize: number, valueSize: number, maxEntries: number): string | undefined {
  if (!(Number.isInteger(maxEntries) && maxEntries > 0 && maxEntries <= 0xffff_ffff)) {
    return `max entries must be 1 or more, not ${maxEntries}`;
  }
  if (type === "ringbuf") {
    const powerOfTwo = Number.isInteger(Math.log2(maxEntries));
    return powerOfTwo ? undefined : `its size must be a power of two, not ${maxEntries}`;
  }
  if (valueSize === 0) return "its values need at least 1 byte";
  if (INDEXED.has(type) && keySize !== 4) return `its keys are indexes of 4 bytes, not ${keySize}`;
  if (type === "lpm_trie" && (keySize <= 4 || keySize > 260)) {
    return `its keys are a prefix length of 4 bytes and 1 to 256 bytes of data, not ${keySize} altogether`;
  }
  if (NO_KEY.has(type) && keySize !== 0) return `a ${type} has no keys`;
  if (!NO_KEY.has(type) && keySize === 0) return "it needs keys of at least 1 byte";
  return undefined;
}

/**
 * Makes a map.
 *
 * @param spec blueprint
 * @param making machine and number; its description is made here
 * @throws BpfError `ERR_MAP_SPEC` for a blueprint that cannot work, `ERR_LIMIT` when memory is short
 */
export function makeMap(
  // biome-ignore lint/suspicious/noExplicitAny: maps of every kind of key and value
  spec: MachineMapSpec<any, any, any>,
  name: string,
  making: Omit<MapMaking, "description">,
): MachineMap<unknown, unknown> {
  const { type } = spec;
  const indexed = INDEXED.has(type);
  const key = codecOf(spec.key, indexed ? (u32 as Codec<unknown, unknown>) : undefined) ?? codecOf(0, undefined)!;
  const fallback = HANDLES.has(type) ? (handle as Codec<unknown, unknown>) : undefined;
  const one = codecOf(spec.value, fallback);
  const isRing = type === "ringbuf";
  const maxEntries = spec.maxEntries ?? 1;
  const description = {
    type,
    name: spec.name ?? name,
    keySize: key.size,
    valueSize: isRing ? 0 : (one?.size ?? 0),
    maxEntries,
    flags: spec.flags ?? 0,
    mapExtra: spec.mapExtra ?? 0n,
  };
  const problem = problemOf(type, description.keySize, description.valueSize, maxEntries);
  if (problem !== undefined) throw new BpfError("ERR_MAP_SPEC", `Cannot create map "${description.name}": ${problem}`);
  const inside = insideOf({ ...making, description });
  if (isRing) {
    const record = typeof spec.value === "object" ? (spec.value as Codec<unknown>) : undefined;
    return new MachineRingBuffer(inside, bytesCodec(0), record) as unknown as MachineMap<unknown, unknown>;
  }
  const value = type.includes("percpu") ? (perCpuCodec(one!, making.cpus) as Codec<unknown, unknown>) : one!;
  if (type === "queue" || type === "stack") {
    return new MachineQueue(inside, bytesCodec(0), value) as unknown as MachineMap<unknown, unknown>;
  }
  if (type === "bloom_filter") {
    return new MachineBloomFilter(inside, bytesCodec(0), value) as unknown as MachineMap<unknown, unknown>;
  }
  return new MachineMap(inside, key, value);
}

function insideOf(making: MapMaking): ProgramMap {
  const type = making.description.type as MachineMapType;
  switch (type) {
    case "array":
      return new ArrayMap(making, "values", false);
    case "percpu_array":
      return new ArrayMap(making, "values", true);
    case "array_of_maps":
      return new ArrayMap(making, "maps", false);
    case "perf_event_array":
    case "prog_array":
    case "devmap":
    case "cpumap":
    case "xskmap":
      return new ArrayMap(making, "handles", false);
    case "hash":
      return new HashMap(making, {}, false);
    case "percpu_hash":
      return new HashMap(making, {}, true);
    case "lru_hash":
      return new HashMap(making, { lru: true }, false);
    case "lru_percpu_hash":
      return new HashMap(making, { lru: true }, true);
    case "hash_of_maps":
      return new HashMap(making, { maps: true }, false);
    case "devmap_hash":
      return new HashMap(making, { handles: true }, false);
    case "lpm_trie":
      return new LpmMap(making);
    case "queue":
    case "stack":
      return new QueueMap(making);
    case "bloom_filter":
      return new BloomMap(making);
    case "ringbuf":
      return new RingMap(making);
    default:
      void (type satisfies never);
      throw new BpfError("ERR_MAP_SPEC", `The machine has no maps of type "${String(type)}"`);
  }
}
