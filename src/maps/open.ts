import type { Codec } from "../bytes/index.ts";
import { BpfError } from "../errors.ts";
import { getIdAttr, type MapType } from "../kernel-abi/index.ts";
import type { SyscallBackend } from "../syscall/backend.ts";
import { bpfError, bpfFd, rawBpf } from "../syscall/bpf.ts";
import { call } from "../syscall/call.ts";
import { objGet } from "../syscall/commands.ts";
import { errnoName } from "../syscall/errno.ts";
import { isErrno, SyscallError } from "../syscall/errors.ts";
import { Fd } from "../syscall/fd.ts";
import { type BackendOption, backendOf } from "../syscall/select.ts";
import { MapIncompatibleError, mapDifferences } from "./compatible.ts";
import { bindMap, type CreateMapOptions, createMap, labelOf, openHandle, resolveSpec } from "./create.ts";
import { type MapDescription, readMapInfo } from "./description.ts";
import { MapFlag } from "./flags.ts";
import type { BpfMap } from "./map.ts";
import { openPin } from "./pin.ts";
import type { DefaultInput, DefaultKey, DefaultValue, MapOf, MapSpec } from "./spec.ts";

/** How to see a map that is there already. */
export interface OpenMapOptions<K = Uint8Array, V = Uint8Array, I = V> extends BackendOption {
  /** Codec of keys; its size must be that of the map's. Default: bytes, or what the type of the map says. */
  readonly key?: Codec<K> | undefined;
  /** Codec of values: in per-CPU maps of one CPU's value. Default: bytes, or what the type of the map says. */
  readonly value?: Codec<V, I> | undefined;
  /**
   * What the descriptor may be used for: `read`, `write`, or both. Default both. A map created with `rdonly` or
   * `wronly` allows no more than that.
   */
  readonly access?: "read" | "write" | "read-write" | undefined;
  /**
   * The type that the map must have. With it the handle is typed by it: values of a `percpu_hash` are arrays.
   */
  readonly type?: MapType | undefined;
}

const F_DUPFD_CLOEXEC = 1030;
const ACCESS = { read: MapFlag.rdonly, write: MapFlag.wronly, "read-write": 0 } as const;

function accessBits(options: AnyOptions): number {
  const bits = ACCESS[options.access ?? "read-write"];
  if (bits === undefined) throw new TypeError(`"${options.access}" is no access: use read, write or read-write`);
  return bits;
}

type AnyOptions = OpenMapOptions<unknown, unknown, unknown>;

/**
 * Opens a map by its id. Needs CAP_SYS_ADMIN.
 *
 * @param id id, as `map.info()` or another tool shows it
 * @param options codecs, access
 * @returns an open map: close it
 * @throws SyscallError `ENOENT` when there is none; BpfError `ERR_TYPE_MISMATCH` when a codec or the type does not fit
 * @example
 * ```ts
 * using counts = createMap({ type: "hash", key: u32, value: u64, maxEntries: 16 });
 * counts.set(1, 5n);
 * using again = openMapById(counts.info().id, { key: u32, value: u64 });
 * again.get(1); // 5n
 * ```
 */
export function openMapById<K = Uint8Array, V = Uint8Array, I = V, const T extends MapType = "hash">(
  id: number,
  options: OpenMapOptions<K, V, I> & { readonly type?: T | undefined } = {},
): MapOf<T, K, V, I> {
  const backend = backendOf(options);
  const context = { action: `Cannot open map ${id}`, label: `map ${id}` };
  const attr = { map_id: id, open_flags: accessBits(options as AnyOptions) };
  const owner = bpfFd(backend, "BPF_MAP_GET_FD_BY_ID", getIdAttr, attr, context);
  return adopt(owner, options as AnyOptions) as unknown as MapOf<T, K, V, I>;
}

/**
 * Opens a map by its name in the BPF file system.
 *
 * @param path path of the pin
 * @param options codecs, access
 * @returns an open map: close it
 * @throws SyscallError `ENOENT` when nothing is there; BpfError `ERR_TYPE_MISMATCH` when it is no map, or a codec or the
 *   type does not fit
 */
export function openPinnedMap<K = Uint8Array, V = Uint8Array, I = V, const T extends MapType = "hash">(
  path: string,
  options: OpenMapOptions<K, V, I> & { readonly type?: T | undefined } = {},
): MapOf<T, K, V, I> {
  const owner = objGet(backendOf(options), path, accessBits(options as AnyOptions));
  return adopt(owner, options as AnyOptions) as unknown as MapOf<T, K, V, I>;
}

/**
 * Makes a map of a descriptor that came from elsewhere. What the map is, the kernel tells.
 *
 * @param fd a number, which stays the caller's (the map gets a duplicate), or an owner, which becomes the map's
 * @param options codecs
 * @returns an open map: close it
 * @throws SyscallError `EBADF`; BpfError `ERR_TYPE_MISMATCH` when it is no map, or a codec or the type does not fit
 */
export function mapFromFd<K = Uint8Array, V = Uint8Array, I = V, const T extends MapType = "hash">(
  fd: number | Fd,
  options: Omit<OpenMapOptions<K, V, I>, "access"> & { readonly type?: T | undefined } = {},
): MapOf<T, K, V, I> {
  const owner = typeof fd === "number" ? duplicateOf(backendOf(options), fd) : fd;
  return adopt(owner, options as AnyOptions) as unknown as MapOf<T, K, V, I>;
}

function duplicateOf(backend: SyscallBackend, fd: number): Fd {
  if (!(Number.isInteger(fd) && fd >= 0)) throw new TypeError(`Need a descriptor, not ${String(fd)}`);
  const args = [fd, F_DUPFD_CLOEXEC, 3];
  const number = call(backend, "fcntl", args, () => ({ fd, cmd: "F_DUPFD_CLOEXEC", arg: 3 }));
  if (number < 0) throw new SyscallError(`Cannot duplicate descriptor ${fd}`, "fcntl", number);
  return new Fd(backend, number, `descriptor ${fd}`);
}

function adopt(owner: Fd, options: AnyOptions): BpfMap<unknown, unknown> {
  try {
    let info: MapDescription;
    try {
      info = readMapInfo(owner);
    } catch (cause) {
      if (!isErrno(cause, "EINVAL")) throw cause;
      throw new BpfError("ERR_TYPE_MISMATCH", `Cannot use ${owner.label} as a map: it is none`, { cause });
    }
    const { type, name, keySize, valueSize, maxEntries, flags, mapExtra } = info;
    const label = labelOf(type, name);
    if (options.type !== undefined && options.type !== type) {
      throw new BpfError("ERR_TYPE_MISMATCH", `Cannot use ${label} as a ${options.type}: it is a ${type}`);
    }
    const description = { type, name, keySize, valueSize, maxEntries, flags, mapExtra };
    return bindMap(owner, description, options.key, options.value);
  } catch (error) {
    owner.close();
    throw error;
  }
}

/**
 * Opens the map at a path, or creates it and pins it there when nothing is. A map that is there must be the one that is
 * wanted: its type, sizes and flags are compared.
 *
 * @param path absolute path on a BPF file system
 * @param spec blueprint
 * @param options shim
 * @returns an open map: close it
 * @throws MapIncompatibleError when another map is there: names each field that differs; SyscallError; BpfError `ERR_PIN`
 * @example
 * ```ts no-run
 * using counts = openOrCreatePinnedMap("/sys/fs/bpf/app/counts", { type: "hash", key: u32, value: u64, maxEntries: 1024 });
 * counts.set(1, 1n);
 * ```
 */
export function openOrCreatePinnedMap<
  const T extends MapType,
  K = DefaultKey<T>,
  V = DefaultValue<T>,
  I = [V] extends [DefaultValue<T>] ? DefaultInput<T> : V,
>(path: string, spec: MapSpec<K, V, I> & { readonly type: T }, options: CreateMapOptions = {}): MapOf<T, K, V, I> {
  const backend = backendOf(options);
  const found = openCompatible(backend, path, spec as unknown as MapSpec<unknown, unknown, unknown>);
  if (found !== undefined) return found as unknown as MapOf<T, K, V, I>;
  const made = createMap<T, K, V, I>(spec, { ...options, backend });
  try {
    (made as BpfMap<K, V, I>).pin(path);
    return made;
  } catch (error) {
    (made as BpfMap<K, V, I>).close();
    if (!isErrno(error, "EEXIST")) throw error;
    // Somebody else was quicker: theirs counts.
    const theirs = openCompatible(backend, path, spec as unknown as MapSpec<unknown, unknown, unknown>);
    if (theirs === undefined) throw error;
    return theirs as unknown as MapOf<T, K, V, I>;
  }
}

function openCompatible(
  backend: SyscallBackend,
  path: string,
  spec: MapSpec<unknown, unknown, unknown>,
): BpfMap<unknown, unknown> | undefined {
  const resolved = resolveSpec(spec);
  const owner = openPin(backend, path, 0);
  if (owner === undefined) return undefined;
  const map = adopt(owner, {});
  const differences = mapDifferences(resolved.description, map.description);
  if (differences.length > 0) {
    map.close();
    throw new MapIncompatibleError(`Cannot use the map at ${path}`, differences);
  }
  return openHandle(map.owner, { ...resolved, description: map.description });
}

/**
 * Ids of all maps of this kernel, ascending. Needs CAP_SYS_ADMIN. A map may be gone when it is opened.
 *
 * @param options shim
 * @throws SyscallError `EPERM`
 */
export function* mapIds(options: BackendOption = {}): Generator<number, void, undefined> {
  const backend = backendOf(options);
  for (let id = 0; ; ) {
    const { result, attr } = rawBpf(backend, "BPF_MAP_GET_NEXT_ID", getIdAttr, { start_id: id });
    if (result < 0) {
      if (errnoName(result) === "ENOENT") return;
      throw bpfError("BPF_MAP_GET_NEXT_ID", result, { action: "Cannot list the maps" });
    }
    id = attr.readU32(getIdAttr.fields.next_id.offset);
    yield id;
  }
}
