import type { Codec } from "../bytes/index.ts";
import { BpfError } from "../errors.ts";
import { MapType, mapCreateAttr } from "../kernel-abi/index.ts";
import { bpfFd } from "../syscall/bpf.ts";
import { pageSize } from "../syscall/memory.ts";
import { type BackendOption, backendOf } from "../syscall/select.ts";
import { BpfMap, rawCodec } from "./map.ts";

/** Blueprint of a map: plain data. */
export interface MapSpec<K = Uint8Array, V = Uint8Array> {
  /** Map type, for example `hash`, `array`, `ringbuf`. */
  readonly type: MapType;
  /** Name: at most 15 letters, digits, `_` and `.`. */
  readonly name?: string | undefined;
  /** Codec of keys, or their size in bytes. Default: 4 bytes for arrays, none for ring buffers. */
  readonly key?: Codec<K> | number | undefined;
  /** Codec of values, or their size in bytes. */
  readonly value?: Codec<V> | number | undefined;
  /** Most entries; bytes for a ring buffer (a power of two, whole pages). */
  readonly maxEntries: number;
  /** `BPF_F_*` flags. Default 0. */
  readonly flags?: number | undefined;
}

const BPF_F_NO_PREALLOC = 1;
const BPF_OBJ_NAME_LEN = 16;

/**
 * Creates a map. What the kernel would refuse with a bare EINVAL is checked before, and explained.
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
 */
export function createMap<K = Uint8Array, V = Uint8Array>(
  spec: MapSpec<K, V>,
  options: BackendOption = {},
): BpfMap<K, V> {
  const backend = backendOf(options);
  const keySize = sizeOf(spec.key, spec.type.endsWith("array") ? 4 : 0);
  const valueSize = sizeOf(spec.value, 0);
  const name = spec.name ?? "";
  const problem = findProblem(spec, keySize, valueSize, pageSize(backend.architecture));
  const label = name === "" ? `${spec.type} map` : `map "${name}"`;
  if (problem !== undefined) throw new BpfError("ERR_MAP_SPEC", `Cannot create ${label}: ${problem}`);
  const owner = bpfFd(
    backend,
    "BPF_MAP_CREATE",
    mapCreateAttr,
    {
      map_type: MapType[spec.type],
      key_size: keySize,
      value_size: valueSize,
      max_entries: spec.maxEntries,
      map_flags: spec.flags ?? 0,
      map_name: name,
    },
    { action: `Cannot create ${label}`, label, mapType: spec.type, trace: { map_type: spec.type } },
  );
  const description = {
    type: spec.type,
    name,
    keySize,
    valueSize,
    maxEntries: spec.maxEntries,
    flags: spec.flags ?? 0,
  };
  return new BpfMap(owner, description, codecOf(spec.key, keySize), codecOf(spec.value, valueSize));
}

function sizeOf(codec: Codec<never> | Codec<unknown> | number | undefined, otherwise: number): number {
  return codec === undefined ? otherwise : typeof codec === "number" ? codec : codec.size;
}

function codecOf<T>(codec: Codec<T> | number | undefined, size: number): Codec<T> {
  // Without a codec T is Uint8Array: the type parameters' defaults say so.
  return typeof codec === "object" ? codec : (rawCodec(size) as unknown as Codec<T>);
}

function findProblem(
  spec: MapSpec<never, never> | MapSpec<unknown, unknown>,
  keySize: number,
  valueSize: number,
  page: number,
): string | undefined {
  const { type, maxEntries } = spec;
  const name = spec.name ?? "";
  if (MapType[type] === undefined) return `there is no map type "${type}"`;
  if (!/^[A-Za-z0-9_.]*$/.test(name)) return `its name has characters other than letters, digits, "_" and "."`;
  if (name.length >= BPF_OBJ_NAME_LEN) return `its name is longer than ${BPF_OBJ_NAME_LEN - 1} characters`;
  if (!(Number.isInteger(maxEntries) && maxEntries >= 0 && maxEntries <= 0xffffffff)) {
    return `max entries must be a 32-bit number, not ${maxEntries}`;
  }
  const powerOfTwoPages = maxEntries > 0 && maxEntries % page === 0 && (maxEntries & (maxEntries - 1)) === 0;
  switch (type) {
    case "ringbuf":
    case "user_ringbuf":
      if (keySize !== 0 || valueSize !== 0) return "a ring buffer has neither keys nor values";
      if (!powerOfTwoPages)
        return `its size must be a power of two and whole pages of ${page} bytes, not ${maxEntries}`;
      return undefined;
    case "hash":
    case "percpu_hash":
    case "lru_hash":
    case "lru_percpu_hash":
      if (keySize === 0) return "a hash needs keys of at least 1 byte";
      if (valueSize === 0) return "a hash needs values of at least 1 byte";
      break;
    case "array":
    case "percpu_array":
    case "prog_array":
    case "perf_event_array":
      if (keySize !== 4) return `the keys of an array are indexes of 4 bytes, not ${keySize}`;
      if (valueSize === 0 && type.startsWith("perc")) return "an array needs values of at least 1 byte";
      break;
    case "lpm_trie":
      if (((spec.flags ?? 0) & BPF_F_NO_PREALLOC) === 0) return "an LPM trie needs the flag BPF_F_NO_PREALLOC";
      break;
    default:
      break;
  }
  if (maxEntries === 0 && type !== "perf_event_array" && !type.endsWith("_storage") && type !== "struct_ops") {
    return "max entries may not be 0";
  }
  return undefined;
}
