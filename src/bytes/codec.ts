// Browser-safe.

import { decodeCString, encodeUtf8 } from "./text.ts";

/**
 * Turns bytes of a fixed layout into a value and back: keys and values of maps, records of ring buffers. Made by the
 * small schema here (`u32`, `struct({...})`), or from BTF.
 */
export interface Codec<T> {
  /** Bytes a value takes, trailing padding included. */
  readonly size: number;
  /** Alignment in bytes, as C would have it. */
  readonly alignment: number;
  /**
   * Reads a value.
   *
   * @param bytes holds at least `size` bytes from `offset` on
   * @param offset first byte; default 0
   * @throws RangeError when there are too few bytes
   */
  decode(bytes: Uint8Array, offset?: number): T;
  /**
   * Writes a value in place.
   *
   * @param value what to write; checked: nothing wraps
   * @param bytes target
   * @param offset first byte; default 0
   * @throws RangeError or TypeError when the value does not fit
   */
  encodeInto(value: T, bytes: Uint8Array, offset?: number): void;
  /**
   * Writes a value.
   *
   * @returns `size` bytes, new
   * @throws RangeError or TypeError when the value does not fit
   */
  encode(value: T): Uint8Array;
}

/** The value type of a codec: `Decoded<typeof event>`. */
export type Decoded<C> = C extends Codec<infer T> ? T : never;

function checkRoom(bytes: Uint8Array, offset: number, size: number): void {
  if (!(offset >= 0 && offset + size <= bytes.length)) {
    throw new RangeError(`Need ${size} bytes at offset ${offset}, there are ${bytes.length}`);
  }
}

function makeCodec<T>(
  size: number,
  alignment: number,
  decode: (bytes: Uint8Array, offset: number) => T,
  encodeInto: (value: T, bytes: Uint8Array, offset: number) => void,
): Codec<T> {
  return {
    size,
    alignment,
    decode: (bytes, offset = 0) => decode(bytes, offset),
    encodeInto: (value, bytes, offset = 0) => encodeInto(value, bytes, offset),
    encode(value) {
      const bytes = new Uint8Array(size);
      encodeInto(value, bytes, 0);
      return bytes;
    },
  };
}

// Integers are read and written byte by byte: V8 does that in 1 to 2 ns, while a DataView would have to be made for
// each buffer (20 ns) or looked up.
function integer(name: string, size: 1 | 2 | 4, signed: boolean): Codec<number> {
  const low = signed ? -(2 ** (size * 8 - 1)) : 0;
  const high = low + 2 ** (size * 8) - 1;
  const shift = 32 - 8 * size;
  return makeCodec(
    size,
    size,
    (bytes, offset) => {
      checkRoom(bytes, offset, size);
      let value = bytes[offset]!;
      if (size > 1) value |= bytes[offset + 1]! << 8;
      if (size > 2) value |= (bytes[offset + 2]! << 16) | (bytes[offset + 3]! << 24);
      return signed ? (value << shift) >> shift : value >>> 0;
    },
    (value, bytes, offset) => {
      if (!(Number.isInteger(value) && value >= low && value <= high)) {
        throw new RangeError(`Value ${value} does not fit ${name}`);
      }
      checkRoom(bytes, offset, size);
      bytes[offset] = value;
      if (size > 1) bytes[offset + 1] = value >> 8;
      if (size > 2) {
        bytes[offset + 2] = value >> 16;
        bytes[offset + 3] = value >> 24;
      }
    },
  );
}

// Big-endian hosts are not supported by the shell, but this core must read little-endian data anywhere.
const wide = new DataView(new ArrayBuffer(8));
const wideBytes = new Uint8Array(wide.buffer);

function integer64(name: string, signed: boolean): Codec<bigint> {
  const low = signed ? -0x8000000000000000n : 0n;
  const high = signed ? 0x7fffffffffffffffn : 0xffffffffffffffffn;
  return makeCodec(
    8,
    8,
    (bytes, offset) => {
      checkRoom(bytes, offset, 8);
      for (let i = 0; i < 8; i++) wideBytes[i] = bytes[offset + i]!;
      return signed ? wide.getBigInt64(0, true) : wide.getBigUint64(0, true);
    },
    (value, bytes, offset) => {
      if (typeof value !== "bigint") throw new TypeError(`Values of ${name} are bigint, not ${typeof value}`);
      if (value < low || value > high) throw new RangeError(`Value ${value} does not fit ${name}`);
      checkRoom(bytes, offset, 8);
      wide.setBigInt64(0, BigInt.asIntN(64, value), true);
      for (let i = 0; i < 8; i++) bytes[offset + i] = wideBytes[i]!;
    },
  );
}

/** Unsigned byte. */
export const u8: Codec<number> = integer("u8", 1, false);
/** Signed byte. */
export const i8: Codec<number> = integer("i8", 1, true);
/** Unsigned 16-bit integer, little-endian. */
export const u16: Codec<number> = integer("u16", 2, false);
/** Signed 16-bit integer, little-endian. */
export const i16: Codec<number> = integer("i16", 2, true);
/** Unsigned 32-bit integer, little-endian. */
export const u32: Codec<number> = integer("u32", 4, false);
/** Signed 32-bit integer, little-endian. */
export const i32: Codec<number> = integer("i32", 4, true);

/** Unsigned 64-bit integer, little-endian, as `bigint`. */
export const u64: Codec<bigint> = integer64("u64", false);
/** Signed 64-bit integer, little-endian, as `bigint`. */
export const i64: Codec<bigint> = integer64("i64", true);

/**
 * Bytes as they are.
 *
 * @param length how many
 * @returns a codec whose values are `Uint8Array`s of exactly that length; decoding copies
 */
export function bytes(length: number): Codec<Uint8Array> {
  return makeCodec(
    length,
    1,
    (from, offset) => {
      checkRoom(from, offset, length);
      return from.slice(offset, offset + length);
    },
    (value, into, offset) => {
      if (value.length !== length) throw new RangeError(`Need ${length} bytes, found ${value.length}`);
      checkRoom(into, offset, length);
      into.set(value, offset);
    },
  );
}

/**
 * A character array with text up to the first NUL, such as `char comm[16]`.
 *
 * @param length bytes of the array
 * @returns a codec of strings; a text that needs more than `length - 1` bytes is refused
 */
export function cstring(length: number): Codec<string> {
  return makeCodec(
    length,
    1,
    (from, offset) => {
      checkRoom(from, offset, length);
      return decodeCString(from.subarray(offset, offset + length));
    },
    (value, into, offset) => {
      const text = encodeUtf8(value);
      if (text.length >= length) throw new RangeError(`Text of ${text.length} bytes does not fit char[${length}]`);
      checkRoom(into, offset, length);
      into.fill(0, offset, offset + length);
      into.set(text, offset);
    },
  );
}

/**
 * An array of equal elements.
 *
 * @param element codec of one element
 * @param length number of elements
 */
export function array<T>(element: Codec<T>, length: number): Codec<T[]> {
  return makeCodec<T[]>(
    element.size * length,
    element.alignment,
    (from, offset) => Array.from({ length }, (_, i) => element.decode(from, offset + i * element.size)),
    (values, into, offset) => {
      if (values.length !== length) throw new RangeError(`Need ${length} elements, found ${values.length}`);
      for (let i = 0; i < length; i++) element.encodeInto(values[i]!, into, offset + i * element.size);
    },
  );
}

/** A codec of plain objects that knows where each member lies. */
export type StructCodec<T> = Codec<T> & {
  /** Offset of each member in bytes. */
  readonly offsets: { readonly [K in keyof T]: number };
};

/**
 * A C struct: members in order, each at its natural alignment, padded at the end.
 *
 * @param members codecs by name
 * @returns a codec of plain objects
 * @example
 * ```ts
 * const event = struct({ pid: u32, ppid: u32, time: u64, comm: cstring(16) });
 * event.size; // 32
 * ```
 */
// biome-ignore lint/suspicious/noExplicitAny: a codec both takes and gives its values; only any fits either way
export function struct<M extends { readonly [name: string]: Codec<any> }>(
  members: M,
): StructCodec<{ [K in keyof M]: Decoded<M[K]> }> {
  type Value = { [K in keyof M]: Decoded<M[K]> };
  const offsets: Record<string, number> = {};
  let at = 0;
  let alignment = 1;
  for (const [name, member] of Object.entries(members)) {
    at = Math.ceil(at / member.alignment) * member.alignment;
    offsets[name] = at;
    at += member.size;
    alignment = Math.max(alignment, member.alignment);
  }
  const entries = Object.entries(members) as [string, Codec<unknown>][];
  const codec = makeCodec<Value>(
    Math.ceil(at / alignment) * alignment,
    alignment,
    (from, offset) => {
      const value: Record<string, unknown> = {};
      for (const [name, member] of entries) value[name] = member.decode(from, offset + offsets[name]!);
      return value as Value;
    },
    (value, into, offset) => {
      into.fill(0, offset, offset + codec.size);
      for (const [name, member] of entries) member.encodeInto(value[name as keyof M], into, offset + offsets[name]!);
    },
  );
  return { ...codec, offsets: offsets as { [K in keyof M]: number } };
}
