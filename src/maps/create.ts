import type { Codec } from "../bytes/index.ts";
import { BpfError } from "../errors.ts";
import { MapType, mapCreateAttr } from "../kernel-abi/index.ts";
import type { SyscallBackend } from "../syscall/backend.ts";
import { bpf, bpfError } from "../syscall/bpf.ts";
import { errnoNumber } from "../syscall/errno.ts";
import { SyscallError } from "../syscall/errors.ts";
import { Fd } from "../syscall/fd.ts";
import { kernelOlderThan } from "../syscall/host.ts";
import { pageSize } from "../syscall/memory.ts";
import { type BackendOption, backendOf } from "../syscall/select.ts";
import { type Descriptor, defaultKey, defaultValue, numberOf, rawCodec, storedCodec, valueCpus } from "./codecs.ts";
import type { MapDescription } from "./description.ts";
import { flagBits, MapFlag } from "./flags.ts";
import { BpfMap } from "./map.ts";
import { BpfBloomFilter, BpfQueue } from "./queue.ts";
import { findProblem, type MapShape } from "./rules.ts";
import type { DefaultInput, DefaultKey, DefaultValue, MapOf, MapSpec } from "./spec.ts";
import { loadStorageTypes } from "./storage-btf.ts";
import { isStorage, mapTypeSince } from "./traits.ts";

/** How to create a map. */
export interface CreateMapOptions extends BackendOption {
  /**
   * `false` leaves it to the kernel to refuse, for a kernel that knows more than this library; what this library knows
   * is told behind the errno then. Default true.
   */
  readonly check?: boolean | undefined;
  /** What messages call it, where its name is none: on kernels before 4.15, which know no names. Default its name. */
  readonly label?: string | undefined;
}

type AnySpec = MapSpec<unknown, unknown, unknown>;
type AnyCodec = Codec<unknown, never>;

/** A blueprint with all defaults filled in. @internal */
export interface ResolvedSpec {
  readonly description: MapDescription;
  readonly keyCodec: AnyCodec;
  /** Of the values of all CPUs together, in per-CPU maps. */
  readonly valueCodec: AnyCodec;
}

/**
 * Creates a map. What the kernel would refuse with a bare EINVAL is checked before, and explained.
 *
 * Keys and values are what the codecs say; without them they are bytes, save where the type of the map says more:
 * keys of arrays are numbers, values of a `prog_array` are written as programs and read as their ids.
 *
 * @param spec blueprint
 * @param options shim
 * @returns an open map: close it
 * @throws BpfError `ERR_MAP_SPEC` for a blueprint that cannot work; SyscallError
 * @example
 * ```ts
 * using counts = createMap({ type: "hash", name: "counts", key: u32, value: u64, maxEntries: 1024 });
 * counts.set(1, 10n);
 * counts.get(1); // 10n
 * ```
 * @example Addresses by their longest prefix
 * ```ts
 * using routes = createMap({ type: "lpm_trie", key: ipv4Prefix, value: u32, maxEntries: 16, flags: ["no_prealloc"] });
 * routes.set("10.0.0.0/8", 1).set("10.1.0.0/16", 2);
 * routes.get("10.1.2.3"); // 2
 * ```
 * @example A value for each CPU, and a map of maps
 * ```ts
 * using hits = createMap({ type: "percpu_array", value: u64, maxEntries: 1 });
 * const total = hits.get(0)!.reduce((sum, value) => sum + value, 0n);
 * total; // 0n
 * using tables = createMap({ type: "array_of_maps", maxEntries: 4, inner: { type: "hash", key: 4, value: 8, maxEntries: 16 } });
 * using table = createMap({ type: "hash", key: u32, value: u64, maxEntries: 16 });
 * tables.set(0, table);
 * tables.get(0) === table.info().id; // true
 * ```
 */
export function createMap<
  const T extends MapType,
  K = DefaultKey<T>,
  V = DefaultValue<T>,
  I = [V] extends [DefaultValue<T>] ? DefaultInput<T> : V,
>(spec: MapSpec<K, V, I> & { readonly type: T }, options: CreateMapOptions = {}): MapOf<T, K, V, I> {
  const backend = backendOf(options);
  const any = spec as unknown as AnySpec;
  const resolved = resolveSpec(any);
  const description = { ...resolved.description, type: spec.type };
  const owner = createDescriptor(backend, any, description, options);
  const map = openHandle(owner, resolved);
  try {
    if (any.contents !== undefined) map.setMany(any.contents);
    if (any.freeze === true) map.freeze();
  } catch (error) {
    map.close();
    throw error;
  }
  return map as unknown as MapOf<T, K, V, I>;
}

/**
 * Makes the handle that fits a type.
 *
 * @internal
 */
export function openHandle(owner: Fd, resolved: ResolvedSpec): BpfMap<unknown, unknown> {
  const { description, keyCodec, valueCodec } = resolved;
  const key = keyCodec as unknown as Codec<unknown>;
  const value = valueCodec as unknown as Codec<unknown>;
  try {
    switch (description.type) {
      case "queue":
      case "stack":
        return new BpfQueue(owner, description, value) as unknown as BpfMap<unknown, unknown>;
      case "bloom_filter":
        return new BpfBloomFilter(owner, description, value) as unknown as BpfMap<unknown, unknown>;
      default:
        return new BpfMap(owner, description, key, value);
    }
  } catch (error) {
    owner.close();
    throw error;
  }
}

/**
 * Makes the handle of a map that was created by other means, such as from an object file.
 *
 * @param owner its descriptor; the handle's from now on
 * @param description what it was created as
 * @param key codec of keys; default: what the type says, else bytes
 * @param value codec of values, in per-CPU maps of one CPU's value; default: what the type says, else bytes
 * @throws BpfError `ERR_TYPE_MISMATCH` when a codec has another size than the map says; `owner` is closed then
 */
export function bindMap(
  owner: Fd,
  description: MapDescription,
  key?: Codec<unknown>,
  value?: Codec<unknown>,
): BpfMap<unknown, unknown> {
  const { type, keySize, valueSize, flags } = description;
  const keyCodec = key ?? defaultKey(type, keySize) ?? rawCodec(keySize);
  const valueCodec = value ?? defaultValue(type, valueSize, flags) ?? rawCodec(valueSize);
  try {
    for (const [what, codec, size] of [
      ["keys", keyCodec, keySize],
      ["values", valueCodec, valueSize],
    ] as const) {
      if (codec.size === size) continue;
      const text = `Cannot use ${labelOf(type, description.name)}: its ${what} have ${size} bytes, the codec ${codec.size}`;
      throw new BpfError("ERR_TYPE_MISMATCH", text);
    }
    return openHandle(owner, {
      description,
      keyCodec: keyCodec as AnyCodec,
      valueCodec: storedCodec(type, valueCodec as AnyCodec),
    });
  } catch (error) {
    owner.close();
    throw error;
  }
}

/** How a map is called in messages. @internal */
export function labelOf(type: string, name: string): string {
  return name === "" ? `${type} map` : `map "${name}"`;
}

/**
 * Fills the defaults of a blueprint in.
 *
 * @internal
 */
export function resolveSpec(spec: AnySpec): ResolvedSpec {
  const { type } = spec;
  const flags = flagBits(spec.flags) | (spec.numaNode === undefined ? 0 : MapFlag.numa_node);
  const withToken = flags | (spec.token === undefined ? 0 : MapFlag.token_fd);
  const key = codecOf(spec.key, (size) => defaultKey(type, size));
  const value = codecOf(spec.value, (size) => defaultValue(type, size, flags));
  return {
    description: {
      type,
      name: spec.name ?? "",
      keySize: key.size,
      valueSize: value.size,
      maxEntries: spec.maxEntries ?? defaultEntries(type),
      flags: withToken,
      mapExtra: spec.mapExtra ?? 0n,
    },
    keyCodec: key,
    valueCodec: storedCodec(type, value),
  };
}

function codecOf(
  given: Codec<unknown> | number | undefined,
  byDefault: (size: number | undefined) => AnyCodec | undefined,
): AnyCodec {
  if (typeof given === "object") return given;
  return byDefault(given) ?? (rawCodec(given ?? 0) as unknown as AnyCodec);
}

function defaultEntries(type: MapType): number {
  if (type === "perf_event_array") return Math.max(...valueCpus()) + 1;
  return type === "struct_ops" ? 1 : 0;
}

function isSpec(inner: NonNullable<AnySpec["inner"]>): inner is AnySpec {
  return typeof inner === "object" && "type" in inner && !("fd" in inner);
}

function createDescriptor(
  backend: SyscallBackend,
  spec: AnySpec,
  description: MapDescription & { readonly type: MapType },
  options: CreateMapOptions,
): Fd {
  const { type, name, keySize, valueSize, maxEntries, flags, mapExtra } = description;
  const label = options.label ?? labelOf(type, name);
  const shape: MapShape = {
    ...description,
    inner: spec.inner !== undefined,
    btf: spec.btf !== undefined || isStorage(type),
    vmlinuxType: spec.vmlinuxValueTypeId !== undefined,
  };
  const problem = findProblem(shape, pageSize(backend.architecture)) ?? hashProblem(spec.exclusiveProgram);
  if (problem !== undefined && (options.check !== false || MapType[type] === undefined)) {
    throw new BpfError("ERR_MAP_SPEC", `Cannot create ${label}: ${problem}`);
  }
  const made: { close(): void }[] = [];
  try {
    let inner = 0;
    if (spec.inner !== undefined) {
      if (isSpec(spec.inner)) {
        const template = createMap(spec.inner as MapSpec, { ...options, backend }) as unknown as BpfMap;
        made.push(template);
        inner = template.fd;
      } else inner = numberOf(spec.inner as Descriptor);
    }
    let { btf } = spec;
    if (btf === undefined && isStorage(type)) {
      const types = loadStorageTypes(backend, valueSize);
      made.push(types.owner);
      btf = { fd: types.owner.number, keyTypeId: types.keyTypeId, valueTypeId: types.valueTypeId };
    }
    const context = { action: `Cannot create ${label}`, mapType: type, trace: { map_type: type } };
    const attr = {
      map_type: MapType[type],
      key_size: keySize,
      value_size: valueSize,
      max_entries: maxEntries,
      map_flags: flags,
      inner_map_fd: inner,
      numa_node: spec.numaNode ?? 0,
      map_name: name,
      map_ifindex: spec.ifindex ?? 0,
      btf_fd: btf === undefined ? 0 : numberOf(btf.fd),
      btf_key_type_id: btf?.keyTypeId ?? 0,
      btf_value_type_id: btf?.valueTypeId ?? 0,
      btf_vmlinux_value_type_id: spec.vmlinuxValueTypeId ?? 0,
      map_extra: mapExtra,
      value_type_btf_obj_fd: spec.valueTypeBtf === undefined ? 0 : numberOf(spec.valueTypeBtf),
      map_token_fd: spec.token === undefined ? 0 : numberOf(spec.token),
      excl_prog_hash: spec.exclusiveProgram,
      excl_prog_hash_size: spec.exclusiveProgram?.length ?? 0,
    };
    try {
      const { result } = bpf(backend, "BPF_MAP_CREATE", mapCreateAttr, attr, context);
      return new Fd(backend, result, label);
    } catch (error) {
      const detail = error instanceof SyscallError ? (problem ?? refusal(description, error.code)) : undefined;
      if (detail === undefined) throw error;
      throw bpfError("BPF_MAP_CREATE", errnoNumber((error as SyscallError).code), { ...context, detail });
    }
  } finally {
    for (const one of made) one.close();
  }
}

const SHA256_BYTES = 32;

function hashProblem(hash: Uint8Array | undefined): string | undefined {
  if (hash === undefined || hash.length === SHA256_BYTES) return undefined;
  return `the hash of its program has ${SHA256_BYTES} bytes, not ${hash.length}`;
}

/** What an errno of `BPF_MAP_CREATE` means for a blueprint in which nothing is wrong as far as this library knows. */
function refusal(map: MapDescription & { readonly type: MapType }, code: string): string | undefined {
  if (code === "EINVAL" || code === "ENOTSUPP") {
    if (map.type === "struct_ops" && (map.flags & MapFlag.link) !== 0 && kernelOlderThan(6, 4)) {
      return "functions that take effect by a link need Linux 6.4";
    }
    const since = mapTypeSince(map.type);
    if (since === undefined) return `this kernel may not know the map type ${map.type}`;
    const [major = 0, minor = 0] = since.split(".").map(Number);
    return kernelOlderThan(major, minor) ? `the map type ${map.type} needs Linux ${since}` : undefined;
  }
  if (code !== "E2BIG") return undefined;
  return `${map.maxEntries} entries with values of ${map.valueSize} bytes are too large for this kernel`;
}
