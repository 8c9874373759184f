import type { MapType } from "../kernel-abi/index.ts";

/** Types whose values the kernel keeps once for each CPU. */
export type PerCpuMapType = "percpu_hash" | "percpu_array" | "lru_percpu_hash" | "percpu_cgroup_storage";

/** Types that are addressed by an index from 0 on. */
export type IndexedMapType =
  | "array"
  | "percpu_array"
  | "prog_array"
  | "perf_event_array"
  | "cgroup_array"
  | "array_of_maps"
  | "stack_trace"
  | "devmap"
  | "cpumap"
  | "xskmap"
  | "sockmap"
  | "reuseport_sockarray"
  | "insn_array";

/** Types of storage that hangs on an object of the kernel, and is found by a descriptor of it. */
export type StorageMapType = "sk_storage" | "inode_storage" | "task_storage" | "cgrp_storage";

/** Types whose entries are written as a descriptor, and read as an id. */
export type HandleMapType =
  | "prog_array"
  | "perf_event_array"
  | "cgroup_array"
  | "array_of_maps"
  | "hash_of_maps"
  | "xskmap";

/** Types whose entries are sockets: written as a descriptor, read as a cookie. */
export type SocketMapType = "sockmap" | "sockhash" | "reuseport_sockarray";

/** Types that the program and user space share as memory alone. */
export type MemoryMapType = "ringbuf" | "user_ringbuf" | "arena";

const PER_CPU: ReadonlySet<string> = new Set<PerCpuMapType>([
  "percpu_hash",
  "percpu_array",
  "lru_percpu_hash",
  "percpu_cgroup_storage",
]);
const INDEXED: ReadonlySet<string> = new Set<IndexedMapType>([
  "array",
  "percpu_array",
  "prog_array",
  "perf_event_array",
  "cgroup_array",
  "array_of_maps",
  "stack_trace",
  "devmap",
  "cpumap",
  "xskmap",
  "sockmap",
  "reuseport_sockarray",
  "insn_array",
]);
const STORAGE: ReadonlySet<string> = new Set<StorageMapType>([
  "sk_storage",
  "inode_storage",
  "task_storage",
  "cgrp_storage",
]);
const HANDLE: ReadonlySet<string> = new Set<HandleMapType>([
  "prog_array",
  "perf_event_array",
  "cgroup_array",
  "array_of_maps",
  "hash_of_maps",
  "xskmap",
]);
const SOCKET: ReadonlySet<string> = new Set<SocketMapType>(["sockmap", "sockhash", "reuseport_sockarray"]);

/** Whether values are kept once for each possible CPU. */
export function isPerCpu(type: string): type is PerCpuMapType {
  return PER_CPU.has(type);
}

/** Whether keys are indexes of 4 bytes. */
export function isIndexed(type: string): type is IndexedMapType {
  return INDEXED.has(type);
}

/** Whether entries hang on an object of the kernel. */
export function isStorage(type: string): type is StorageMapType {
  return STORAGE.has(type);
}

/** Whether entries are written as a descriptor and read as an id. */
export function isHandleMap(type: string): type is HandleMapType {
  return HANDLE.has(type);
}

/** Whether entries are sockets. */
export function isSocketMap(type: string): type is SocketMapType {
  return SOCKET.has(type);
}

/** Whether all entries exist from the start, and none can be deleted. */
export function isFilled(type: string): type is "array" | "percpu_array" {
  return type === "array" || type === "percpu_array";
}

/** First kernel with each map type. */
const SINCE: { readonly [T in MapType]?: string } = {
  hash: "3.19",
  array: "3.19",
  prog_array: "4.2",
  perf_event_array: "4.3",
  percpu_hash: "4.6",
  percpu_array: "4.6",
  stack_trace: "4.6",
  cgroup_array: "4.8",
  lru_hash: "4.10",
  lru_percpu_hash: "4.10",
  lpm_trie: "4.11",
  array_of_maps: "4.12",
  hash_of_maps: "4.12",
  devmap: "4.14",
  sockmap: "4.14",
  cpumap: "4.15",
  xskmap: "4.18",
  sockhash: "4.18",
  cgroup_storage: "4.19",
  reuseport_sockarray: "4.19",
  percpu_cgroup_storage: "4.20",
  queue: "4.20",
  stack: "4.20",
  sk_storage: "5.2",
  devmap_hash: "5.4",
  struct_ops: "5.6",
  ringbuf: "5.8",
  inode_storage: "5.10",
  task_storage: "5.11",
  bloom_filter: "5.16",
  user_ringbuf: "6.1",
  cgrp_storage: "6.2",
  arena: "6.9",
  insn_array: "6.19",
};

/**
 * First kernel with a map type, for example `"5.8"` for `ringbuf`.
 *
 * @returns `undefined` where that is not known
 */
export function mapTypeSince(type: MapType): string | undefined {
  return SINCE[type];
}
