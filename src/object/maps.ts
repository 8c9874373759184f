import type { Codec } from "../bytes/index.ts";
import type { ObjectMapSpec, ObjectSpec } from "../elf/index.ts";
import { BpfError } from "../errors.ts";
import { BPF_F_MMAPABLE, MapType, mapCreateAttr } from "../kernel-abi/index.ts";
import { type BpfMap, bindMap } from "../maps/index.ts";
import type { SyscallBackend } from "../syscall/backend.ts";
import { bpfFd } from "../syscall/bpf.ts";
import { mapFreeze, mapUpdate } from "../syscall/commands.ts";
import { SyscallError } from "../syscall/errors.ts";
import { probeFeature } from "../syscall/features.ts";
import { possibleCpus } from "../syscall/host.ts";
import { pageSize } from "../syscall/memory.ts";
import type { Cleanup } from "./cleanup.ts";
import { codecsOf } from "./codecs.ts";
import type { LoadedTypes } from "./load-types.ts";
import { kernelMapName } from "./names.ts";

/** Any map: what its keys and values are depends on the object. */
// biome-ignore lint/suspicious/noExplicitAny: types of an object file are known when it is read, not before
export type ObjectMap = BpfMap<any, any>;

/** What maps are made with. */
export interface MapContext {
  readonly backend: SyscallBackend;
  readonly spec: ObjectSpec;
  readonly types: LoadedTypes | undefined;
  readonly prefix: string;
  readonly token: number | undefined;
  readonly cleanup: Cleanup;
  readonly warnings: string[];
}

/** These take no types of keys and values, though objects name them. */
const WITHOUT_TYPES: ReadonlySet<MapType> = new Set<MapType>([
  "perf_event_array",
  "cgroup_array",
  "stack_trace",
  "array_of_maps",
  "hash_of_maps",
  "devmap",
  "devmap_hash",
  "cpumap",
  "xskmap",
  "sockmap",
  "sockhash",
  "queue",
  "stack",
  "arena",
]);

const BPF_F_NUMA_NODE = 4;
const BPF_F_TOKEN_FD = 0x10000;

/** Entries as the kernel wants them: a ring buffer is whole pages and a power of two, a perf array has all CPUs. */
function entriesOf(map: ObjectMapSpec, page: number): number {
  if (map.type === "perf_event_array" && map.maxEntries === 0) return (possibleCpus().at(-1) ?? 0) + 1;
  if ((map.type !== "ringbuf" && map.type !== "user_ringbuf") || map.maxEntries === 0) return map.maxEntries;
  let size = page;
  while (size < map.maxEntries && size < 0x80000000) size *= 2;
  return size;
}

/** Flags of creation, with `BPF_F_MMAPABLE` where it is wanted and can be had. */
function flagsOf(map: ObjectMapSpec, context: MapContext): number {
  let { flags } = map;
  if (map.mmapable && probeFeature("mmapable", context) !== false) flags |= BPF_F_MMAPABLE;
  if (map.numaNode !== undefined) flags |= BPF_F_NUMA_NODE;
  if (context.token !== undefined) flags |= BPF_F_TOKEN_FD;
  return flags;
}

/**
 * Creates a map of an object.
 *
 * @param map as the object has it
 * @param context what it is made with
 * @returns an open map, which the context's cleanup owns
 * @throws SyscallError, BpfError
 */
export function createObjectMap(map: ObjectMapSpec, context: MapContext): ObjectMap {
  const { backend, cleanup, types } = context;
  const name = kernelMapName(map, context.spec.name, context.prefix);
  const label = `map "${map.name}"`;
  let inner: ObjectMap | undefined;
  if (map.inner !== undefined) {
    inner = createObjectMap(map.inner, { ...context, prefix: "" });
  } else if (map.type === "array_of_maps" || map.type === "hash_of_maps") {
    throw new BpfError("ERR_MAP_SPEC", `Cannot create ${label}: the object does not say what its inner maps are like`, {
      hint: "Describe them in its definition: __array(values, struct { ... })",
    });
  }
  const description = {
    type: map.type,
    name,
    keySize: map.keySize,
    valueSize: map.valueSize,
    maxEntries: entriesOf(map, pageSize(backend.architecture)),
    flags: flagsOf(map, context),
    mapExtra: BigInt(map.mapExtra),
  };
  const attr = {
    map_type: MapType[map.type],
    key_size: map.keySize,
    value_size: map.valueSize,
    max_entries: description.maxEntries,
    map_flags: description.flags,
    map_name: probeFeature("prog_name", context) === false ? "" : name,
    map_extra: map.mapExtra,
    numa_node: map.numaNode ?? 0,
    inner_map_fd: inner?.fd ?? 0,
    map_token_fd: context.token ?? 0,
  };
  const typed =
    types !== undefined && (map.keyType !== 0 || map.valueType !== 0) && !WITHOUT_TYPES.has(map.type)
      ? { btf_fd: types.fd.number, btf_key_type_id: map.keyType, btf_value_type_id: map.valueType }
      : undefined;
  const create = (more: object) =>
    bpfFd(
      backend,
      "BPF_MAP_CREATE",
      mapCreateAttr,
      { ...attr, ...more },
      { action: `Cannot create ${label}`, label, mapType: map.type, trace: { map_type: map.type } },
    );
  try {
    let owner: ReturnType<typeof create>;
    try {
      owner = create(typed ?? {});
    } catch (error) {
      if (typed === undefined || !(error instanceof SyscallError) || error.code === "EPERM") throw error;
      // Kernels differ in which maps may have types; without them it works all the same.
      try {
        owner = create({});
      } catch {
        throw error;
      }
      context.warnings.push(`Map "${map.name}" was created without the types of its keys and values (${error.code})`);
    }
    cleanup.add(owner);
    const { key, value } = codecsOf(context.spec.btf, map);
    return bindMap(owner, description, key as Codec<unknown>, value as Codec<unknown>) as ObjectMap;
  } finally {
    inner?.close();
  }
}

/** Puts the first bytes of its only value into a map with variables, and freezes it where it is constant. */
export function fillDataMap(map: ObjectMapSpec, handle: ObjectMap): void {
  const value = new Uint8Array(map.valueSize);
  value.set(map.contents.subarray(0, map.valueSize));
  // What was just created is all zeros.
  if (value.some((byte) => byte !== 0)) mapUpdate(handle.owner, new Uint8Array(4), value);
  if (map.frozen) mapFreeze(handle.owner);
}
