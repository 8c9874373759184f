import type { Codec } from "../bytes/index.ts";
import type { MapType } from "../kernel-abi/index.ts";
import type { CpuInput, CpuTarget, Descriptor, DeviceInput, DeviceTarget } from "./codecs.ts";
import type { MapFlag } from "./flags.ts";
import type { BpfMap } from "./map.ts";
import type { BpfBloomFilter, BpfQueue } from "./queue.ts";
import type { HandleMapType, IndexedMapType, PerCpuMapType, SocketMapType, StorageMapType } from "./traits.ts";

/** Types of a map's key and value, in BTF that the kernel has. */
export interface MapBtf {
  /** Descriptor of the BTF. */
  readonly fd: Descriptor;
  /** Type of the key; 0 for none. */
  readonly keyTypeId: number;
  /** Type of the value. */
  readonly valueTypeId: number;
}

/** Blueprint of a map: plain data. */
export interface MapSpec<K = Uint8Array, V = Uint8Array, I = V> {
  /** Map type, for example `hash`, `array`, `ringbuf`. */
  readonly type: MapType;
  /** Name: at most 15 letters, digits, `_` and `.`. */
  readonly name?: string | undefined;
  /** Codec of keys, or their size in bytes. Default: 4 bytes where the type says so, else none. */
  readonly key?: Codec<K> | number | undefined;
  /** Codec of values (of one CPU's value in per-CPU maps), or their size in bytes. */
  readonly value?: Codec<V, I> | number | undefined;
  /**
   * Most entries; bytes for a ring buffer (a power of two, whole pages), pages for an arena. Default: all CPUs for
   * `perf_event_array`, 1 for `struct_ops`, 0 for storage, which counts nothing.
   */
  readonly maxEntries?: number | undefined;
  /** Flags: `BPF_F_*` bits or names such as `no_prealloc`. Default none. */
  readonly flags?: number | readonly MapFlag[] | undefined;
  /** NUMA node to allocate on; sets `BPF_F_NUMA_NODE`. */
  readonly numaNode?: number | undefined;
  /** Depends on the type: number of hash functions of a bloom filter, address of an arena. Default 0: the kernel's choice. */
  readonly mapExtra?: bigint | undefined;
  /** For `array_of_maps` and `hash_of_maps`: a map like those that will be put in, or a blueprint of one. */
  readonly inner?: Descriptor | MapSpec<never, never, never> | MapSpec<unknown, unknown, unknown> | undefined;
  /** Types of key and value. Storage maps must have them; they get plain ones when none are given. */
  readonly btf?: MapBtf | undefined;
  /** For `struct_ops`: type of the value in the kernel's BTF, or in that of a module. */
  readonly vmlinuxValueTypeId?: number | undefined;
  /** For `struct_ops` of a module: descriptor of the module's BTF. */
  readonly valueTypeBtf?: Descriptor | undefined;
  /** Interface to offload the map to. */
  readonly ifindex?: number | undefined;
  /** BPF token to create it with (Linux 6.9). */
  readonly token?: Descriptor | undefined;
  /** SHA-256, 32 bytes, of the only program that may use the map (Linux 6.18). */
  readonly exclusiveProgram?: Uint8Array | undefined;
  /** Entries to put in at once. */
  readonly contents?: Iterable<readonly [NoInfer<K>, NoInfer<I>]> | undefined;
  /** Freezes the map when the contents are in: user space cannot change it any more. Default `false`. */
  readonly freeze?: boolean | undefined;
}

/** Keys of a type when no codec is given. */
export type DefaultKey<T extends MapType> = T extends IndexedMapType | "devmap_hash" | "struct_ops"
  ? number
  : T extends StorageMapType
    ? Descriptor
    : Uint8Array;

/** Values of a type as they are read, when no codec is given. */
export type DefaultValue<T extends MapType> = T extends HandleMapType
  ? number
  : T extends SocketMapType
    ? bigint
    : T extends "devmap" | "devmap_hash"
      ? DeviceTarget
      : T extends "cpumap"
        ? CpuTarget
        : T extends "stack_trace"
          ? bigint[]
          : Uint8Array;

/** Values of a type as they are written, when no codec is given. */
export type DefaultInput<T extends MapType> = T extends HandleMapType | SocketMapType
  ? Descriptor
  : T extends "devmap" | "devmap_hash"
    ? DeviceInput
    : T extends "cpumap"
      ? CpuInput
      : DefaultValue<T>;

/** The handle of a map of a type. */
export type MapOf<T extends MapType, K, V, I> = MapType extends T
  ? BpfMap<K, V, I>
  : T extends PerCpuMapType
    ? BpfMap<K, V[], readonly I[]>
    : T extends "queue" | "stack"
      ? BpfQueue<V, I>
      : T extends "bloom_filter"
        ? BpfBloomFilter<V, I>
        : BpfMap<K, V, I>;
