// Browser-safe.

import { decodeCString, encodeUtf8 } from "../bytes/index.ts";

/**
 * How the bytes of a field are to be read: integers by width; `pointer` is a u64 that holds a user-space address;
 * `fd` a 32-bit descriptor; `chars` NUL-padded text; `bytes` anything else; `bits` a bit field.
 */
export type FieldType =
  | "u8"
  | "u16"
  | "u32"
  | "u64"
  | "s8"
  | "s16"
  | "s32"
  | "s64"
  | "pointer"
  | "fd"
  | "chars"
  | "bytes"
  | "bits";

/** Place of one field of a kernel struct. */
export interface FieldLayout {
  /** Distance from the start of the struct, in bytes; for a bit field, of the word that holds it. */
  readonly offset: number;
  /** Size in bytes, of all elements together; for a bit field, of the word that holds it. */
  readonly size: number;
  /** How to read it. */
  readonly type: FieldType;
  /** Number of elements, when the field is an array of integers. */
  readonly count?: number;
  /** Of a bit field: number of its lowest bit, as counted on a little-endian machine. */
  readonly shift?: number;
  /** Of a bit field: width in bits. */
  readonly bits?: number;
}

/**
 * Layout of a kernel struct. Members of anonymous structs and unions stand beside the others, so several fields may
 * share bytes; members of named ones are written with a dot (`perf_event.bpf_cookie`).
 */
export interface StructLayout {
  /** What the kernel calls it, or what this library does where the kernel's is anonymous. */
  readonly name: string;
  /** Size in bytes. */
  readonly size: number;
  /** Its fields by name, in the order of the declaration. */
  readonly fields: { readonly [name: string]: FieldLayout };
}

/** What {@link encodeStruct} takes for a field. */
export type FieldInput<F extends FieldLayout> = F extends { readonly count: number }
  ? readonly (number | bigint)[]
  : F["type"] extends "chars"
    ? string | Uint8Array
    : F["type"] extends "bytes"
      ? Uint8Array
      : number | bigint;

/** What {@link decodeStruct} gives for a field. */
export type FieldOutput<F extends FieldLayout> = F extends { readonly count: number }
  ? F["type"] extends "u64" | "s64"
    ? bigint[]
    : number[]
  : F["type"] extends "chars"
    ? string
    : F["type"] extends "bytes"
      ? Uint8Array
      : F["type"] extends "u64" | "s64" | "pointer"
        ? bigint
        : number;

/** Fields to write: any of the layout's, the rest stays zero. */
export type StructInput<L extends StructLayout> = {
  readonly [K in keyof L["fields"]]?: FieldInput<L["fields"][K]> | undefined;
};

/** Fields as read; those behind the end of a shorter struct are missing. */
export type StructOutput<L extends StructLayout> = { [K in keyof L["fields"]]: FieldOutput<L["fields"][K]> };

const RANGES: { readonly [type in FieldType]?: readonly [size: number, low: bigint, high: bigint] } = {
  u8: [1, 0n, 0xffn],
  u16: [2, 0n, 0xffffn],
  u32: [4, 0n, 0xffffffffn],
  u64: [8, 0n, 0xffffffffffffffffn],
  s8: [1, -0x80n, 0x7fn],
  s16: [2, -0x8000n, 0x7fffn],
  s32: [4, -0x80000000n, 0x7fffffffn],
  s64: [8, -0x8000000000000000n, 0x7fffffffffffffffn],
  pointer: [8, 0n, 0xffffffffffffffffn],
  // Some descriptors are declared signed, most are not; -1 stands for "none" in both.
  fd: [4, -1n, 0xffffffffn],
};

/**
 * Writes a kernel struct: zeros, and the fields given. Nothing wraps and nothing is cut off silently.
 *
 * @param layout which struct
 * @param values fields by name; `undefined` and missing ones stay zero
 * @param littleEndian byte order. Default `true`, that of every machine this library makes system calls on
 * @returns a new array of `layout.size` bytes
 * @throws RangeError when a value does not fit its field, or two fields that share bytes are both given
 * @throws TypeError when there is no such field, or its value is of another type
 *
 * @example
 * ```ts
 * import { encodeStruct, mapCreateAttr } from "rawbpf/kernel-abi";
 *
 * const attr = encodeStruct(mapCreateAttr, { map_type: 1, key_size: 4, value_size: 8, max_entries: 100 });
 * console.log(attr[0], attr[4], attr[8]); // 1 4 8
 * ```
 */
export function encodeStruct<const L extends StructLayout>(
  layout: L,
  values: StructInput<L>,
  littleEndian = true,
): Uint8Array {
  const bytes = new Uint8Array(layout.size);
  const view = new DataView(bytes.buffer);
  const written = new Uint8Array(layout.size);
  for (const name of Object.keys(values)) {
    const value = (values as { readonly [name: string]: unknown })[name];
    if (value === undefined) continue;
    const field = Object.hasOwn(layout.fields, name) ? layout.fields[name] : undefined;
    if (field === undefined) throw new TypeError(`${layout.name} has no field "${name}"`);
    if (field.type !== "bits") {
      for (let i = field.offset; i < field.offset + field.size; i++) {
        if (written[i] !== 0)
          throw new RangeError(`Field "${name}" of ${layout.name} shares bytes with another one given`);
        written[i] = 1;
      }
    }
    writeField(view, layout, name, field, value, littleEndian);
  }
  return bytes;
}

function writeField(
  view: DataView,
  layout: StructLayout,
  name: string,
  field: FieldLayout,
  value: unknown,
  littleEndian: boolean,
): void {
  const where = `Field "${name}" of ${layout.name}`;
  if (field.type === "chars" || field.type === "bytes") {
    const bytes = typeof value === "string" && field.type === "chars" ? encodeUtf8(value) : value;
    if (!(bytes instanceof Uint8Array)) throw new TypeError(`${where} wants ${field.type}, found ${typeof value}`);
    // The kernel wants text terminated, bytes fill the field.
    const room = typeof value === "string" ? field.size - 1 : field.size;
    if (bytes.length > room) throw new RangeError(`${where} has room for ${room} bytes, found ${bytes.length}`);
    new Uint8Array(view.buffer, view.byteOffset + field.offset, field.size).set(bytes);
    return;
  }
  if (field.type === "bits") {
    const bits = BigInt(field.bits ?? 0);
    const number = integer(value, where, 0n, (1n << bits) - 1n);
    const shift = bitShift(field, littleEndian);
    setUint(
      view,
      field.offset,
      field.size,
      getUint(view, field.offset, field.size, littleEndian) | (number << shift),
      littleEndian,
    );
    return;
  }
  const [size, low, high] = RANGES[field.type]!;
  if (field.count === undefined) {
    setUint(view, field.offset, size, BigInt.asUintN(8 * size, integer(value, where, low, high)), littleEndian);
    return;
  }
  if (!Array.isArray(value)) throw new TypeError(`${where} wants an array, found ${typeof value}`);
  if (value.length > field.count) {
    throw new RangeError(`${where} has room for ${field.count} elements, found ${value.length}`);
  }
  value.forEach((element, i) => {
    const number = integer(element, `${where} element ${i}`, low, high);
    setUint(view, field.offset + i * size, size, BigInt.asUintN(8 * size, number), littleEndian);
  });
}

function integer(value: unknown, where: string, low: bigint, high: bigint): bigint {
  if (typeof value !== "bigint" && typeof value !== "number") {
    throw new TypeError(`${where} wants an integer, found ${typeof value}`);
  }
  // Above 2^53 a number no longer tells which integer was meant.
  if (typeof value === "number" && !Number.isSafeInteger(value)) {
    throw new RangeError(`${where} wants an integer, found ${value}`);
  }
  const wide = BigInt(value);
  if (wide < low || wide > high) throw new RangeError(`${where} is ${value}, expected ${low} to ${high}`);
  return wide;
}

/**
 * Reads a kernel struct.
 *
 * @param layout which struct
 * @param bytes the struct; may be shorter when an older kernel filled it in, and longer when a newer one did
 * @param littleEndian byte order. Default `true`
 * @returns an object with the fields that lie inside `bytes`; 64-bit fields are `bigint`, byte arrays are copies
 *
 * @example
 * ```ts
 * import { decodeStruct, funcInfo } from "rawbpf/kernel-abi";
 *
 * const info = decodeStruct(funcInfo, Uint8Array.of(8, 0, 0, 0, 5, 0, 0, 0));
 * console.log(info.insn_off, info.type_id); // 8 5
 * ```
 */
export function decodeStruct<const L extends StructLayout>(
  layout: L,
  bytes: Uint8Array,
  littleEndian = true,
): Partial<StructOutput<L>> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const values: { [name: string]: unknown } = {};
  for (const [name, field] of Object.entries(layout.fields)) {
    if (field.offset + field.size <= bytes.length) values[name] = readField(view, field, littleEndian);
  }
  return values as Partial<StructOutput<L>>;
}

function readField(view: DataView, field: FieldLayout, littleEndian: boolean): unknown {
  const { offset, size, type } = field;
  if (type === "chars" || type === "bytes") {
    const bytes = new Uint8Array(view.buffer, view.byteOffset + offset, size);
    return type === "chars" ? decodeCString(bytes) : bytes.slice();
  }
  if (type === "bits") {
    const word = getUint(view, offset, size, littleEndian) >> bitShift(field, littleEndian);
    return Number(word & ((1n << BigInt(field.bits ?? 0)) - 1n));
  }
  if (field.count === undefined) return readInteger(view, offset, size, type, littleEndian);
  const each = size / field.count;
  return Array.from({ length: field.count }, (_, i) => readInteger(view, offset + i * each, each, type, littleEndian));
}

function readInteger(view: DataView, offset: number, size: number, type: FieldType, littleEndian: boolean): unknown {
  const unsigned = getUint(view, offset, size, littleEndian);
  const value = type.startsWith("s") || type === "fd" ? BigInt.asIntN(8 * size, unsigned) : unsigned;
  return size === 8 ? value : Number(value);
}

/** Bit fields are laid out from the lowest bit on little-endian machines, from the highest on the others. */
function bitShift(field: FieldLayout, littleEndian: boolean): bigint {
  const shift = field.shift ?? 0;
  return BigInt(littleEndian ? shift : 8 * field.size - shift - (field.bits ?? 0));
}

function getUint(view: DataView, offset: number, size: number, littleEndian: boolean): bigint {
  switch (size) {
    case 1:
      return BigInt(view.getUint8(offset));
    case 2:
      return BigInt(view.getUint16(offset, littleEndian));
    case 4:
      return BigInt(view.getUint32(offset, littleEndian));
    default:
      return view.getBigUint64(offset, littleEndian);
  }
}

function setUint(view: DataView, offset: number, size: number, value: bigint, littleEndian: boolean): void {
  switch (size) {
    case 1:
      view.setUint8(offset, Number(value));
      break;
    case 2:
      view.setUint16(offset, Number(value), littleEndian);
      break;
    case 4:
      view.setUint32(offset, Number(value), littleEndian);
      break;
    default:
      view.setBigUint64(offset, value, littleEndian);
  }
}

/**
 * Offset behind a field: the least size of a struct that contains it. Kernels refuse sizes that they do not know
 * unless the rest is zero, and ignore fields behind the size they are told.
 *
 * @param layout which struct
 * @param field name of the field
 * @returns bytes
 */
export function endOfField<L extends StructLayout>(layout: L, field: keyof L["fields"] & string): number {
  const { offset, size } = layout.fields[field]!;
  return offset + size;
}
