import { MapType } from "../kernel-abi/index.ts";
import { flagNames, MapFlag } from "./flags.ts";
import { isPerCpu, isStorage } from "./traits.ts";

/** What `BPF_MAP_CREATE` is about to be asked for, in numbers. */
export interface MapShape {
  readonly type: MapType;
  readonly name: string;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
  readonly mapExtra: bigint;
  /** Whether an inner map, types of BTF, a type of the kernel's BTF are given. */
  readonly inner: boolean;
  readonly btf: boolean;
  readonly vmlinuxType: boolean;
}

const BPF_OBJ_NAME_LEN = 16;
const MAX_BPF_STACK = 512;
const LPM_KEY_HEADER = 4;
const LPM_MAX_DATA = 256;
/** `PCPU_MIN_UNIT_SIZE`: the largest per-CPU allocation. */
const MAX_PER_CPU_VALUE = 32 * 1024;
const BUILD_ID_RECORD = 32;

/**
 * Finds the first thing for which the kernel would refuse a map, mostly with a bare EINVAL. The rules are those of the
 * `map_alloc_check` functions up to Linux 7.3; where kernels differ, the newest one counts, and bits of flags that
 * have no name here are left to the kernel.
 *
 * @param shape the map
 * @param page bytes of a page
 * @returns what is wrong, as the end of a sentence; `undefined` when nothing is
 */
export function findProblem(shape: MapShape, page: number): string | undefined {
  const { type, name, maxEntries } = shape;
  if (MapType[type] === undefined || type === "unspec") return `there is no map type "${type}"`;
  if (!/^[A-Za-z0-9_.]*$/.test(name)) return `its name has characters other than letters, digits, "_" and "."`;
  if (name.length >= BPF_OBJ_NAME_LEN) return `its name is longer than ${BPF_OBJ_NAME_LEN - 1} characters`;
  for (const [what, value] of [
    ["max entries", maxEntries],
    ["key size", shape.keySize],
    ["value size", shape.valueSize],
    ["flags", shape.flags],
  ] as const) {
    if (!(Number.isInteger(value) && value >= 0 && value <= 0xffffffff)) {
      return `${what} must be a 32-bit number, not ${value}`;
    }
  }
  return sizeProblem(shape, page) ?? flagProblem(shape) ?? extraProblem(shape, page) ?? companionProblem(shape);
}

const NO_KEYS_NOR_VALUES = { ringbuf: "a ring buffer", user_ringbuf: "a ring buffer", arena: "an arena" } as const;

function sizeProblem(shape: MapShape, page: number): string | undefined {
  const { type, keySize, valueSize, maxEntries } = shape;
  const indexed = keySize === 4 ? undefined : `its keys are indexes of 4 bytes, not ${keySize}`;
  const someEntries = maxEntries === 0 ? "max entries may not be 0" : undefined;
  const someValue = valueSize === 0 ? "its values need at least 1 byte" : undefined;
  const perCpuValue =
    isPerCpu(type) && valueSize > MAX_PER_CPU_VALUE
      ? `per-CPU values have at most ${MAX_PER_CPU_VALUE} bytes, not ${valueSize}`
      : undefined;
  switch (type) {
    case "ringbuf":
    case "user_ringbuf":
    case "arena": {
      if (keySize !== 0 || valueSize !== 0) return `${NO_KEYS_NOR_VALUES[type]} has neither keys nor values`;
      if (type === "arena") {
        if (maxEntries * page > 2 ** 32) return `its size is at most 4 GiB, not ${maxEntries} pages`;
        return someEntries;
      }
      const powerOfTwo = maxEntries > 0 && Number.isInteger(Math.log2(maxEntries));
      if (powerOfTwo && maxEntries % page === 0) return undefined;
      return `its size must be a power of two and whole pages of ${page} bytes, not ${maxEntries}`;
    }
    case "hash":
    case "percpu_hash":
    case "lru_hash":
    case "lru_percpu_hash":
    case "hash_of_maps":
    case "rhash":
      if (keySize === 0) return "a hash needs keys of at least 1 byte";
      if (type === "hash_of_maps") return oneOf(valueSize, [4], "descriptors of maps") ?? someEntries;
      return (valueSize === 0 ? "a hash needs values of at least 1 byte" : perCpuValue) ?? someEntries;
    case "array":
    case "percpu_array":
      if (keySize !== 4) return `the keys of an array are indexes of 4 bytes, not ${keySize}`;
      return someValue ?? perCpuValue ?? someEntries;
    case "prog_array":
    case "perf_event_array":
    case "cgroup_array":
    case "array_of_maps":
    case "xskmap":
      return indexed ?? oneOf(valueSize, [4], "descriptors") ?? someEntries;
    case "sockmap":
    case "reuseport_sockarray":
      return indexed ?? oneOf(valueSize, [4, 8], "descriptors of sockets") ?? someEntries;
    case "sockhash":
      if (keySize === 0 || keySize > MAX_BPF_STACK) return `its keys have 1 to ${MAX_BPF_STACK} bytes, not ${keySize}`;
      return oneOf(valueSize, [4, 8], "descriptors of sockets") ?? someEntries;
    case "devmap":
    case "devmap_hash":
      return indexed ?? oneOf(valueSize, [4, 8], "an interface, and a program") ?? someEntries;
    case "cpumap":
      return indexed ?? oneOf(valueSize, [4, 8], "the size of a queue, and a program") ?? someEntries;
    case "insn_array":
      return indexed ?? oneOf(valueSize, [16], "places of instructions") ?? someEntries;
    case "stack_trace":
      return indexed ?? stackProblem(shape) ?? someEntries;
    case "lpm_trie":
      if (keySize <= LPM_KEY_HEADER || keySize > LPM_KEY_HEADER + LPM_MAX_DATA) {
        return `its keys are a prefix length of 4 bytes and 1 to ${LPM_MAX_DATA} bytes of data, not ${keySize} altogether`;
      }
      return someValue ?? someEntries;
    case "queue":
    case "stack":
      if (keySize !== 0) return `a ${type} has no keys`;
      return someValue ?? someEntries;
    case "bloom_filter":
      if (keySize !== 0) return "a bloom filter has no keys: what is added are its values";
      return someValue ?? someEntries;
    case "cgroup_storage":
    case "percpu_cgroup_storage":
      if (keySize !== 8 && keySize !== 16) {
        return `its keys are the id of a cgroup (8 bytes), or that and an attach type (16 bytes), not ${keySize} bytes`;
      }
      if (maxEntries !== 0) return "it has as many entries as it is attached to: max entries must be 0";
      return someValue ?? perCpuValue;
    case "sk_storage":
    case "inode_storage":
    case "task_storage":
    case "cgrp_storage":
      if (keySize !== 4) return `its keys are descriptors of 4 bytes, not ${keySize}`;
      if (maxEntries !== 0) return "it has as many entries as there are owners: max entries must be 0";
      return someValue;
    case "struct_ops":
      if (keySize !== 4) return `its key is an index of 4 bytes, not ${keySize}`;
      return maxEntries === 1 ? someValue : `it has one entry, not ${maxEntries}`;
    case "unspec":
      return undefined;
    default:
      return type satisfies never;
  }
}

function oneOf(size: number, allowed: readonly number[], what: string): string | undefined {
  return allowed.includes(size) ? undefined : `its values (${what}) have ${allowed.join(" or ")} bytes, not ${size}`;
}

function stackProblem({ valueSize, flags }: MapShape): string | undefined {
  // How deep a stack may be is a setting of the machine (kernel.perf_event_max_stack): the kernel checks it.
  const frame = (flags & MapFlag.stack_build_id) === 0 ? 8 : BUILD_ID_RECORD;
  if (valueSize === 0 || valueSize % frame !== 0) {
    return `its values are frames of ${frame} bytes each, not ${valueSize} bytes`;
  }
  return undefined;
}

const HASHES: readonly MapType[] = ["hash", "percpu_hash", "lru_hash", "lru_percpu_hash", "hash_of_maps"];
const STORAGES: readonly MapType[] = ["sk_storage", "inode_storage", "task_storage", "cgrp_storage"];
const CGROUP_STORAGES: readonly MapType[] = ["cgroup_storage", "percpu_cgroup_storage"];
const PROGRAM_ACCESS: readonly MapType[] = [
  ...HASHES,
  ...CGROUP_STORAGES,
  ...(["array", "percpu_array", "lpm_trie", "queue", "stack", "bloom_filter", "reuseport_sockarray", "rhash"] as const),
];
const DESCRIPTOR_ACCESS: readonly MapType[] = [
  ...PROGRAM_ACCESS,
  ...(["prog_array", "perf_event_array", "cgroup_array", "array_of_maps", "stack_trace", "xskmap"] as const),
  ...(["sockmap", "sockhash", "devmap", "devmap_hash"] as const),
];

/** Where each flag may stand. A flag that is missing here may stand anywhere. */
const FLAG_TYPES: { readonly [F in MapFlag]?: readonly MapType[] } = {
  no_prealloc: ["hash", "percpu_hash", "hash_of_maps", "lpm_trie", "rhash", ...STORAGES],
  no_common_lru: ["lru_hash", "lru_percpu_hash"],
  numa_node: [
    ...DESCRIPTOR_ACCESS.filter((type) => !isPerCpu(type) || type === "percpu_cgroup_storage"),
    ...(["cpumap", "ringbuf", "user_ringbuf"] as const),
  ],
  rdonly: DESCRIPTOR_ACCESS,
  wronly: DESCRIPTOR_ACCESS,
  rdonly_prog: PROGRAM_ACCESS,
  wronly_prog: PROGRAM_ACCESS,
  stack_build_id: ["stack_trace"],
  zero_seed: [...HASHES, "bloom_filter"],
  clone: STORAGES,
  mmapable: ["array", "arena"],
  preserve_elems: ["perf_event_array"],
  inner_map: ["array"],
  link: ["struct_ops"],
  vtype_btf_obj_fd: ["struct_ops"],
  segv_on_fault: ["arena"],
  no_user_conv: ["arena"],
  rb_overwrite: ["ringbuf"],
};

function flagProblem({ type, flags }: MapShape): string | undefined {
  for (const [name, bit] of Object.entries(MapFlag) as [MapFlag, number][]) {
    if ((flags & bit) === 0) continue;
    const types = FLAG_TYPES[name];
    if (types === undefined || types.includes(type)) continue;
    if (types.length > 6) return `${flagNames(bit)} is no flag for a ${type}`;
    return `${flagNames(bit)} is no flag for a ${type}, only for ${types.join(", ")}`;
  }
  const both = (one: number, other: number): boolean => (flags & one) !== 0 && (flags & other) !== 0;
  if (both(MapFlag.rdonly, MapFlag.wronly)) return "BPF_F_RDONLY and BPF_F_WRONLY exclude each other";
  if (both(MapFlag.rdonly_prog, MapFlag.wronly_prog)) {
    return "BPF_F_RDONLY_PROG and BPF_F_WRONLY_PROG exclude each other";
  }
  if (both(MapFlag.no_common_lru, MapFlag.numa_node)) {
    return "BPF_F_NO_COMMON_LRU and BPF_F_NUMA_NODE exclude each other";
  }
  if (type === "lpm_trie" && (flags & MapFlag.no_prealloc) === 0) return "an LPM trie needs the flag BPF_F_NO_PREALLOC";
  if ((isStorage(type) || type === "rhash") && (flags & MapFlag.no_prealloc) === 0) {
    return `a ${type} needs the flag BPF_F_NO_PREALLOC`;
  }
  if (type === "arena" && (flags & MapFlag.mmapable) === 0) return "an arena needs the flag BPF_F_MMAPABLE";
  return undefined;
}

function extraProblem({ type, mapExtra, maxEntries }: MapShape, page: number): string | undefined {
  if (mapExtra < 0n || mapExtra > 0xffffffffffffffffn) return `map extra must be a 64-bit number, not ${mapExtra}`;
  if (mapExtra === 0n) return undefined;
  switch (type) {
    case "bloom_filter":
      return mapExtra <= 15n ? undefined : `map extra is its number of hash functions, 1 to 15, not ${mapExtra}`;
    case "arena":
      if (mapExtra % BigInt(page) !== 0n) return `map extra is its address, at the start of a page, not ${mapExtra}`;
      if (mapExtra >> 32n !== (mapExtra + BigInt(maxEntries * page) - 1n) >> 32n) {
        return "it may not cross a boundary of 4 GiB";
      }
      return undefined;
    case "rhash":
      if (mapExtra <= BigInt(maxEntries)) return undefined;
      return `map extra is its size at first, at most max entries, not ${mapExtra}`;
    default:
      return `map extra means nothing for a ${type}`;
  }
}

function companionProblem({ type, inner, btf, vmlinuxType }: MapShape): string | undefined {
  const nests = type === "array_of_maps" || type === "hash_of_maps";
  if (nests && !inner) return "it needs an inner map, or a blueprint of one";
  if (!nests && inner) return "only array_of_maps and hash_of_maps have an inner map";
  if (type === "struct_ops" && !vmlinuxType) return "it needs the type of its value in the kernel's BTF";
  if (type !== "struct_ops" && vmlinuxType) return "only struct_ops has a type of the kernel's BTF as its value";
  if (isStorage(type) && !btf) return "it needs the types of its key and value as BTF";
  return undefined;
}
