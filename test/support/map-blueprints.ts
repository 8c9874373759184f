import type { MapType } from "../../src/kernel-abi/index.ts";
import { type MapSpec, mapTypeSince } from "../../src/maps/index.ts";
import { kernelOlderThan } from "../../src/syscall/index.ts";

/** Any blueprint. */
export type AnySpec = MapSpec<unknown, unknown, unknown>;

const inner = { type: "hash", key: 4, value: 4, maxEntries: 4 } as const;
const storage = { key: 4, value: 8, flags: ["no_prealloc"] } as const;

/** A blueprint of each type that the kernel takes, in the fewest words. */
export const blueprints: { readonly [T in MapType]?: Omit<AnySpec, "type"> } = {
  hash: { key: 4, value: 4, maxEntries: 4 },
  array: { value: 4, maxEntries: 4 },
  prog_array: { maxEntries: 4 },
  perf_event_array: {},
  percpu_hash: { key: 4, value: 4, maxEntries: 4 },
  percpu_array: { value: 4, maxEntries: 4 },
  stack_trace: { maxEntries: 4 },
  cgroup_array: { maxEntries: 4 },
  lru_hash: { key: 4, value: 4, maxEntries: 4 },
  lru_percpu_hash: { key: 4, value: 4, maxEntries: 4 },
  lpm_trie: { key: 8, value: 4, maxEntries: 4, flags: ["no_prealloc"] },
  array_of_maps: { maxEntries: 4, inner },
  hash_of_maps: { key: 4, maxEntries: 4, inner },
  devmap: { maxEntries: 4 },
  sockmap: { maxEntries: 4 },
  cpumap: { maxEntries: 2 },
  xskmap: { maxEntries: 4 },
  sockhash: { key: 4, maxEntries: 4 },
  cgroup_storage: { key: 8, value: 4 },
  reuseport_sockarray: { maxEntries: 4 },
  percpu_cgroup_storage: { key: 16, value: 4 },
  queue: { value: 4, maxEntries: 4 },
  stack: { value: 4, maxEntries: 4 },
  sk_storage: storage,
  devmap_hash: { maxEntries: 4 },
  ringbuf: { maxEntries: 4096 },
  inode_storage: storage,
  task_storage: storage,
  bloom_filter: { value: 4, maxEntries: 4 },
  user_ringbuf: { maxEntries: 4096 },
  cgrp_storage: storage,
  arena: { maxEntries: 4, flags: ["mmapable"] },
  insn_array: { value: 16, maxEntries: 4 },
  rhash: { key: 4, value: 4, maxEntries: 4, flags: ["no_prealloc"] },
};

/** Whether the running kernel is too old for a type. */
export function isMapTypeAbsent(type: MapType): boolean {
  if (type === "rhash") return kernelOlderThan(7, 2);
  const [major = 0, minor = 0] = (mapTypeSince(type) ?? "0.0").split(".").map(Number);
  return kernelOlderThan(major, minor);
}
