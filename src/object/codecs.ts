import { type Btf, type BtfType, codec as btfCodec, type TypeId, type ValueOptions } from "../btf/index.ts";
import { bytes, type Codec } from "../bytes/index.ts";
import type { ObjectMapSpec } from "../elf/index.ts";
import { BpfError, BtfError } from "../errors.ts";
import type { MapType } from "../kernel-abi/index.ts";

/** Codecs of a map's keys and values; a size in bytes stands for what the type of the map says of itself. */
export interface MapCodecs {
  readonly key: Codec<unknown> | number;
  readonly value: Codec<unknown> | number;
}

/** Their values are descriptors, sockets, interfaces or stacks, whatever the object calls them. */
const OWN_VALUES: ReadonlySet<MapType> = new Set<MapType>([
  "prog_array",
  "perf_event_array",
  "cgroup_array",
  "array_of_maps",
  "hash_of_maps",
  "xskmap",
  "sockmap",
  "sockhash",
  "reuseport_sockarray",
  "devmap",
  "devmap_hash",
  "cpumap",
  "stack_trace",
]);

/** Their keys are descriptors: those of sockets, tasks, files, cgroups. */
const OWN_KEYS: ReadonlySet<MapType> = new Set<MapType>([
  "sk_storage",
  "inode_storage",
  "task_storage",
  "cgrp_storage",
]);

/** They are written and read record by record, and have neither keys nor values. */
export const RECORD_MAPS: ReadonlySet<MapType> = new Set<MapType>(["ringbuf", "user_ringbuf"]);

/**
 * Codecs for the types that an object names for a map. Where the type of the map knows more than the object's BTF, as
 * of maps of programs or sockets, it keeps its own.
 *
 * @param btf types of the object
 * @param map the map
 * @param options how values look
 */
export function codecsOf(btf: Btf | undefined, map: ObjectMapSpec, options: ValueOptions = {}): MapCodecs {
  const { type, keyType, valueType } = map;
  const { keySize, valueSize } = sizesOf(map);
  return {
    key: OWN_KEYS.has(type) || keySize === 0 ? keySize : (typedCodec(btf, keyType, keySize, options) ?? keySize),
    value:
      OWN_VALUES.has(type) || map.structOps !== undefined || valueSize === 0
        ? valueSize
        : (typedCodec(btf, valueType, valueSize, options) ?? valueSize),
  };
}

/**
 * Bytes of keys and values as the kernel wants them. Of a ring buffer or perf array, `__type(value, ...)` says what its
 * records are, and is no size.
 */
export function sizesOf({ type, keySize, valueSize }: ObjectMapSpec): {
  readonly keySize: number;
  readonly valueSize: number;
} {
  if (RECORD_MAPS.has(type)) return { keySize: 0, valueSize: 0 };
  if (type === "perf_event_array") return { keySize: 4, valueSize: 4 };
  return { keySize, valueSize };
}

/**
 * Codec of a type; plain bytes where there is none, or where it is of another size.
 *
 * @param btf types of the object
 * @param type number of the type, 0 for none
 * @param size bytes of a value
 * @param options how values look
 */
export function codecOf(btf: Btf | undefined, type: number, size: number, options: ValueOptions = {}): Codec<unknown> {
  return typedCodec(btf, type, size, options) ?? rawBytes(size);
}

function rawBytes(size: number): Codec<unknown> {
  return bytes(size) as unknown as Codec<unknown>;
}

/** The codec of a type is made when it is first used: of a hundred variables, a program looks at two. */
function typedCodec(
  btf: Btf | undefined,
  type: number,
  size: number,
  options: ValueOptions,
): Codec<unknown> | undefined {
  if (btf === undefined || type === 0) return undefined;
  let made: Codec<unknown> | undefined;
  const make = (): Codec<unknown> => {
    try {
      // The size ends a flexible array: values lie side by side, and behind the last one is something else.
      made = btfCodec(btf, type, { ...options, size });
    } catch (error) {
      if (!(error instanceof BtfError || error instanceof RangeError)) throw error;
      made = rawBytes(size);
    }
    return made;
  };
  return {
    size,
    get alignment() {
      return (made ?? make()).alignment;
    },
    decode: (from, offset) => (made ?? make()).decode(from, offset),
    encodeInto: (value, into, offset) => (made ?? make()).encodeInto(value, into, offset),
    encode: (value) => (made ?? make()).encode(value),
  };
}

function isComposite(type: BtfType): boolean {
  return type.kind === "struct" || type.kind === "union";
}

/**
 * The type of the records of a ring buffer or perf array, as far as the object tells:
 *
 * 1. the struct or union that its definition names: `__type(value, struct event)`;
 * 2. else the only struct or union that is called like the map, or like one of many: for a map `events`, `struct event`,
 *    `struct events`, or a typedef `event_t` or `events_t`.
 *
 * @returns number of the type; 0 when there is none, or more than one
 */
export function recordTypeOf(btf: Btf | undefined, map: ObjectMapSpec): TypeId | 0 {
  if (btf === undefined) return 0;
  if (map.valueType !== 0 && isComposite(btf.resolve(map.valueType))) return map.valueType;
  const one = [map.name, map.name.replace(/s$/, ""), map.name.replace(/ies$/, "y")];
  const found = new Map<number, TypeId>();
  for (const name of new Set(one.flatMap((each) => [each, `${each}_t`]))) {
    for (const kind of ["struct", "union", "typedef"] as const) {
      for (const id of btf.idsByName(name, kind)) {
        const type = btf.resolve(id);
        if (isComposite(type)) found.set(type.id, id);
      }
    }
  }
  const [only] = found.values();
  return found.size === 1 ? only! : 0;
}

/**
 * A type by its name, as source code writes it: `event`, `struct event`, `event_t`, `u64`.
 *
 * @throws BpfError `ERR_OBJECT` when the object has no such type, or several that differ
 */
export function typeByName(btf: Btf | undefined, name: string): TypeId {
  const [, keyword, bare = name] = /^(struct|union|enum)\s+(\S+)$/.exec(name) ?? [];
  const kinds = keyword === undefined ? undefined : keyword === "enum" ? ["enum", "enum64"] : [keyword];
  const found = (btf?.idsByName(bare) ?? []).filter((id) => {
    const { kind } = btf!.typeById(id);
    if (kinds !== undefined) return kinds.includes(kind);
    return ["struct", "union", "enum", "enum64", "typedef", "int", "float"].includes(kind);
  });
  // A typedef may have the name of the struct that it stands for.
  const distinct = new Set(found.map((id) => btf!.resolve(id).id as number));
  if (distinct.size === 1) return found[0]!;
  if (distinct.size === 0) throw new BpfError("ERR_OBJECT", `The object has no type "${name}"`);
  throw new BpfError("ERR_OBJECT", `The object has ${distinct.size} types called "${name}"`, {
    hint: "Say which with struct, union or enum before the name, or give a codec",
  });
}

/**
 * Codec of records. Programs often leave out the unused end of a record whose last member is an array: what is missing
 * of it reads as zeros. A flexible array has as many elements as the record has bytes for, and no more: where it begins
 * in the padding of its struct, a record may be shorter than that.
 *
 * @param btf types of the object
 * @param type number of the type
 * @param options how values look
 * @throws BtfError when the type has no values
 */
export function recordCodec(btf: Btf, type: TypeId, options: ValueOptions = {}): Codec<unknown> {
  const tail = flexibleTail(btf, type);
  const inner = btfCodec(btf, type, options);
  const whole = inner.size;
  const size = Math.min(whole, endOfFixed(btf, type));
  if (size === whole && !endsOpen(btf, type)) return inner;
  return {
    ...inner,
    size,
    flexible: true,
    whole: endsOpen(btf, type) ? undefined : whole,
    decode(from, offset = 0) {
      const length = from.length - offset;
      if (length >= whole) return inner.decode(from, offset);
      const padded = new Uint8Array(whole);
      padded.set(from.subarray(offset));
      const value = inner.decode(padded, 0);
      if (tail !== undefined) cutTail(value, tail, length);
      return value;
    },
  };
}

/** A flexible array at the end of a struct. */
interface FlexibleTail {
  /** Names of the members that lead to it. */
  readonly path: readonly string[];
  /** Where it begins, in bytes. */
  readonly offset: number;
  /** Bytes of an element. */
  readonly element: number;
}

function flexibleTail(btf: Btf, id: number): FlexibleTail | undefined {
  const type = btf.resolve(id);
  const last = type.kind === "struct" ? type.members.at(-1) : undefined;
  if (last === undefined) return undefined;
  const inner = btf.resolve(last.type);
  // Members of a struct without a name are members of the one around it.
  const path = last.name === "" ? [] : [last.name];
  if (inner.kind === "array") {
    return inner.length > 0 ? undefined : { path, offset: last.bitOffset / 8, element: btf.sizeOf(inner.type) };
  }
  const tail = flexibleTail(btf, last.type);
  return tail && { ...tail, path: [...path, ...tail.path], offset: last.bitOffset / 8 + tail.offset };
}

function cutTail(value: unknown, { path, offset, element }: FlexibleTail, length: number): void {
  let parent = value as Record<string, unknown>;
  for (const name of path.slice(0, -1)) parent = parent[name] as Record<string, unknown>;
  const name = path.at(-1)!;
  const found = parent[name];
  // Text ends at its first NUL anyway.
  if (!Array.isArray(found) && !(found instanceof Uint8Array)) return;
  parent[name] = found.slice(0, Math.max(0, Math.floor((length - offset) / element)));
}

/** Where the array begins that a value ends in; its size when it ends in none. */
function endOfFixed(btf: Btf, id: TypeId): number {
  const type = btf.resolve(id);
  if (type.kind === "array") return 0;
  const last = type.kind === "struct" ? type.members.at(-1) : undefined;
  if (last === undefined || last.bitfieldSize > 0) return btf.sizeOf(id);
  const inner = btf.resolve(last.type);
  if (inner.kind !== "array" && inner.kind !== "struct") return btf.sizeOf(id);
  const end = endOfFixed(btf, last.type);
  return inner.kind === "struct" && end === btf.sizeOf(last.type) ? btf.sizeOf(id) : last.bitOffset / 8 + end;
}

/** Whether a value ends in an array without a length, which takes all the bytes that there are. */
function endsOpen(btf: Btf, id: TypeId): boolean {
  const type = btf.resolve(id);
  if (type.kind === "array") return type.length === 0;
  if (type.kind !== "struct" && type.kind !== "union") return false;
  return type.members.some((member) => member.bitfieldSize === 0 && endsOpen(btf, member.type));
}
