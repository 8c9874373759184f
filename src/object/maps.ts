import type { Instruction } from "../asm/index.ts";
import type { ValueOptions } from "../btf/index.ts";
import { type JumpTableSpec, jumpTableOffsets, type ObjectMapSpec, type ObjectSpec } from "../elf/index.ts";
import { BpfError } from "../errors.ts";
import { BPF_F_MMAPABLE, type MapType } from "../kernel-abi/index.ts";
import {
  bindMap,
  checkPinName,
  createMap,
  MapIncompatibleError,
  mapDifferences,
  openPinnedMap,
  pinObject,
  unpin,
} from "../maps/index.ts";
import type { SyscallBackend } from "../syscall/backend.ts";
import { mapFreeze, mapUpdate } from "../syscall/commands.ts";
import { isErrno, SyscallError } from "../syscall/errors.ts";
import { probeFeature } from "../syscall/features.ts";
import { possibleCpus } from "../syscall/host.ts";
import { pageSize } from "../syscall/memory.ts";
import type { Cleanup } from "./cleanup.ts";
import { codecsOf, RECORD_MAPS, recordTypeOf, sizesOf } from "./codecs.ts";
import type { LoadedTypes } from "./load-types.ts";
import { kernelMapName } from "./names.ts";
import { RecordMap } from "./record-map.ts";
import type { ObjectMap } from "./types.ts";

/** What maps are made with. */
export interface MapContext {
  readonly backend: SyscallBackend;
  readonly spec: ObjectSpec;
  readonly types: LoadedTypes | undefined;
  readonly prefix: string;
  readonly token: number | undefined;
  readonly cleanup: Cleanup;
  readonly warnings: string[];
  /** How values look. */
  readonly values?: ValueOptions | undefined;
  /** Called when a map was pinned. */
  readonly pinned?: ((path: string) => void) | undefined;
  /** What the kernel's own types say of tables for it, by name of the map. */
  readonly structOps?: ReadonlyMap<string, StructOpsAttributes> | undefined;
}

/** What a `struct_ops` map is created with besides. */
export interface StructOpsAttributes {
  /** Bytes of the kernel's value. */
  readonly value: number;
  /** Its type in the kernel's BTF. */
  readonly vmlinuxValueTypeId: number;
  /** Descriptor of the BTF of the module that has it. */
  readonly valueTypeBtf?: number | undefined;
  /** Flags of creation. */
  readonly flags: number;
}

/** These take no types of keys and values, though objects name them. */
export const WITHOUT_TYPES: ReadonlySet<MapType> = new Set<MapType>([
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
  const { key, value } = codecsOf(context.spec.btf, map, context.values);
  const wanted = {
    type: map.type,
    name: probeFeature("prog_name", context) === false ? "" : name,
    key,
    value,
    maxEntries: entriesOf(map, pageSize(backend.architecture)),
    flags: flagsOf(map, context),
    numaNode: map.numaNode,
    mapExtra: map.mapExtra,
    inner: inner?.fd,
    token: context.token,
    ...context.structOps?.get(map.name),
  };
  const typed =
    (map.keyType !== 0 || map.valueType !== 0) && !WITHOUT_TYPES.has(map.type) && !RECORD_MAPS.has(map.type);
  // A table for the kernel has the kernel's type, and needs BTF of the object all the same.
  const table = map.type === "struct_ops";
  const btf =
    types !== undefined && (typed || table)
      ? { fd: types.fd.number, keyTypeId: table ? 0 : map.keyType, valueTypeId: table ? 0 : map.valueType }
      : undefined;
  // The kernel judges: objects of other loaders may know more than the rules here.
  const create = (more: { readonly btf?: typeof btf }): ObjectMap =>
    objectHandle(
      map,
      createMap({ ...wanted, ...more } as never, { backend, check: false, label }) as ObjectMap,
      context,
    );
  try {
    try {
      return cleanup.add(create({ btf }));
    } catch (error) {
      if (btf === undefined || !(error instanceof SyscallError) || error.code === "EPERM") throw error;
      // Kernels differ in which maps may have types; without them it works all the same.
      let made: ObjectMap;
      try {
        made = cleanup.add(create({}));
      } catch {
        throw error;
      }
      context.warnings.push(`Map "${map.name}" was created without the types of its keys and values (${error.code})`);
      return made;
    }
  } finally {
    inner?.close();
  }
}

/** `struct bpf_insn_array_value`: its first word is the place of an instruction, the kernel fills in the others. */
const INSN_ARRAY_VALUE = 16;

/**
 * Makes the map of a jump table of one program, which has to be there before the program is loaded, and frozen.
 *
 * @param table the table
 * @param instructions those of the program, as they will be loaded
 * @param context what it is made with
 * @returns an open map, which the caller owns: a loaded program keeps it without that
 * @throws SyscallError where the kernel knows none, before Linux 6.19; BpfError
 */
export function createJumpTable(
  table: JumpTableSpec,
  instructions: readonly Instruction[],
  context: MapContext,
): ObjectMap {
  const offsets = jumpTableOffsets(instructions, table);
  const { backend, token } = context;
  const name = probeFeature("prog_name", context) === false ? "" : ".jumptables";
  const shape = { key: 4, value: INSN_ARRAY_VALUE, maxEntries: offsets.length };
  const map = createMap({ type: "insn_array", name, ...shape, token } as never, { backend, check: false }) as ObjectMap;
  try {
    for (const [key, offset] of offsets.entries()) {
      const value = new Uint32Array(INSN_ARRAY_VALUE / 4);
      value[0] = offset;
      mapUpdate(map.owner, new Uint8Array(Uint32Array.of(key).buffer), new Uint8Array(value.buffer));
    }
    mapFreeze(map.owner);
  } catch (error) {
    map.close();
    throw error;
  }
  return map;
}

/** Puts the first bytes of its only value into a map with variables, and freezes it where it is constant. */
export function fillDataMap(map: ObjectMapSpec, handle: ObjectMap): void {
  const value = new Uint8Array(map.valueSize);
  value.set(map.contents.subarray(0, map.valueSize));
  // What was just created is all zeros.
  if (value.some((byte) => byte !== 0)) mapUpdate(handle.owner, new Uint8Array(4), value);
  if (map.frozen) mapFreeze(handle.owner);
}

/**
 * Opens the map that is pinned under its name, or creates it and pins it there. One that is there must be like the one
 * that is wanted. When loading fails later, a pin made here is removed, and one that was there stays.
 *
 * @param map as the object has it
 * @param folder folder on a BPF file system
 * @param context what it is made with
 * @throws MapIncompatibleError, SyscallError, BpfError
 */
export function pinnedObjectMap(map: ObjectMapSpec, folder: string, context: MapContext): ObjectMap {
  const { backend, cleanup } = context;
  const path = `${folder.replace(/\/+$/, "")}/${checkPinName(map.name)}`;
  const there = openExisting(map, path, context);
  if (there !== undefined) return there;
  const made = createObjectMap(map, context);
  try {
    pinObject(made.owner, path);
    context.pinned?.(path);
  } catch (error) {
    // Someone else was faster: theirs is as good.
    const other = isErrno(error, "EEXIST") ? openExisting(map, path, context) : undefined;
    if (other === undefined) throw error;
    made.close();
    return other;
  }
  cleanup.add({ close: () => void unpin(path, { backend }) });
  return made;
}

function openExisting(map: ObjectMapSpec, path: string, context: MapContext): ObjectMap | undefined {
  const { backend, cleanup } = context;
  let found: ObjectMap;
  try {
    found = cleanup.add(openPinnedMap(path, { backend }) as ObjectMap);
  } catch (error) {
    if (isErrno(error, "ENOENT")) return undefined;
    throw error;
  }
  const { type, name, mapExtra } = map;
  const { keySize, valueSize } = sizesOf(map);
  const maxEntries = entriesOf(map, pageSize(backend.architecture));
  const wanted = { type, name, keySize, valueSize, maxEntries, flags: flagsOf(map, context), mapExtra };
  const differences = mapDifferences(wanted, found.description);
  if (differences.length > 0) throw new MapIncompatibleError(`Cannot use the pin ${path}`, differences);
  return typedHandle(map, found, context);
}

/**
 * Handle of a map that is there already, with the types that the object gives it.
 *
 * @param map as the object has it
 * @param found an open map of the same sizes; not to be used any more
 * @param context types of the object
 */
export function typedHandle(
  map: ObjectMapSpec,
  found: Pick<ObjectMap, "owner" | "description">,
  context: Pick<MapContext, "spec" | "values">,
): ObjectMap {
  const { key, value } = codecsOf(context.spec.btf, map, context.values);
  const [keys, values] = [key, value].map((codec) => (typeof codec === "number" ? undefined : codec));
  return objectHandle(map, bindMap(found.owner, found.description, keys, values), context);
}

/** The kind of handle that an object's map has: those with records know their type. */
function objectHandle(
  map: ObjectMapSpec,
  made: ObjectMap,
  { spec, values }: Pick<MapContext, "spec" | "values">,
): ObjectMap {
  if (map.type !== "ringbuf" && map.type !== "perf_event_array") return made;
  return new RecordMap(made, { btf: spec.btf, type: recordTypeOf(spec.btf, map), values });
}
