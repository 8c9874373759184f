// Browser-safe.

import { decodeCString, encodeUtf8 } from "./text.ts";

/**
 * Turns bytes of a fixed layout into a value and back: keys and values of maps, records of ring buffers. Made by the
 * small schema here (`u32`, `struct({...})`), or from BTF.
 *
 * @typeParam T what decoding gives
 * @typeParam In what encoding takes, where that is more or something else
 */
export interface Codec<T, In = T> {
  /** Bytes a value takes, trailing padding included. */
  readonly size: number;
  /** Alignment in bytes, as C would have it. */
  readonly alignment: number;
  /** Whether decoding goes on behind `size` up to the end of the bytes: a flexible array at the end of a struct. */
  readonly flexible?: boolean | undefined;
  /**
   * Of a flexible one: with so many bytes it looks at none behind them. Records of as many are decoded where they lie,
   * shorter ones are cut out first. Default: it looks at all there are.
   */
  readonly whole?: number | undefined;
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
  encodeInto(value: In, bytes: Uint8Array, offset?: number): void;
  /**
   * Writes a value.
   *
   * @returns `size` bytes, new
   * @throws RangeError or TypeError when the value does not fit
   */
  encode(value: In): Uint8Array;
}

/** The value type of a codec: `Decoded<typeof event>`. */
// biome-ignore lint/suspicious/noExplicitAny: what it encodes does not matter here
export type Decoded<C> = C extends Codec<infer T, any> ? T : never;

/** What a codec encodes: its values, and for some codecs more. */
export type Encodable<C> = C extends Codec<unknown, infer In> ? In : never;

/**
 * How a codec made here reads, for code that reads many members at once without calling each codec.
 *
 * @internal
 */
export type Shape =
  | { readonly kind: "int"; readonly size: 1 | 2 | 4; readonly signed: boolean }
  | {
      readonly kind: "call";
      readonly read: (bytes: Uint8Array, offset: number) => unknown;
      /** What it reads, when that is an integer of 64 bits: as bigint, or as a number that must be exact. */
      readonly wide?: "bigint" | "safe";
      readonly signed?: boolean;
    }
  | { readonly kind: "array"; readonly element: Codec<unknown>; readonly length: number }
  | { readonly kind: "struct"; readonly members: readonly (readonly [string, number, Codec<unknown>])[] };

const shapes = /* @__PURE__ */ new WeakMap<object, Shape>();

/**
 * @returns `undefined` for a codec that was not made here
 * @internal
 */
export function shapeOf(codec: object): Shape | undefined {
  return shapes.get(codec);
}

/**
 * Refuses a value that would not lie inside of the bytes.
 *
 * @internal
 */
export function checkRoom(bytes: Uint8Array, offset: number, size: number): void {
  if (!(offset >= 0 && offset + size <= bytes.length)) {
    throw new RangeError(`Need ${size} bytes at offset ${offset}, there are ${bytes.length}`);
  }
}

/**
 * Makes a codec.
 *
 * @param size bytes of a value
 * @param alignment its alignment in bytes
 * @param decode reads a value; checks that there are enough bytes
 * @param encodeInto writes one; checks the value and the room
 * @param shape how it reads, where that is known
 * @internal
 */
export function makeCodec<T, In = T>(
  size: number,
  alignment: number,
  decode: (bytes: Uint8Array, offset: number) => T,
  encodeInto: (value: In, bytes: Uint8Array, offset: number) => void,
  shape?: Shape,
): Codec<T, In> {
  const codec: Codec<T, In> = {
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
  if (shape !== undefined) shapes.set(codec, shape);
  return codec;
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
    { kind: "int", size, signed },
  );
}

// 64-bit integers go through two words of a scratch array: half the cost of getBigUint64, and no DataView to be made.
// The order of the words is the host's: this core must read little-endian data anywhere.
const words = /* @__PURE__ */ new Uint32Array(2);
const unsigned = /* @__PURE__ */ new BigUint64Array(words.buffer);
const signed = /* @__PURE__ */ new BigInt64Array(words.buffer);
const LOW = /* @__PURE__ */ new Uint8Array(/* @__PURE__ */ new Uint32Array([1]).buffer)[0] === 1 ? 0 : 1;
const HIGH = 1 - LOW;

function word(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
}

function putWord(value: number, bytes: Uint8Array, at: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >> 8;
  bytes[at + 2] = value >> 16;
  bytes[at + 3] = value >> 24;
}

function readU64(bytes: Uint8Array, at: number): bigint {
  words[LOW] = word(bytes, at);
  words[HIGH] = word(bytes, at + 4);
  return unsigned[0]!;
}

function readI64(bytes: Uint8Array, at: number): bigint {
  words[LOW] = word(bytes, at);
  words[HIGH] = word(bytes, at + 4);
  return signed[0]!;
}

function integer64(name: string, isSigned: boolean): Codec<bigint> {
  const low = isSigned ? -0x8000000000000000n : 0n;
  const high = isSigned ? 0x7fffffffffffffffn : 0xffffffffffffffffn;
  const read = isSigned ? readI64 : readU64;
  return makeCodec(
    8,
    8,
    (bytes, offset) => {
      checkRoom(bytes, offset, 8);
      return read(bytes, offset);
    },
    (value, bytes, offset) => {
      if (typeof value !== "bigint") throw new TypeError(`Values of ${name} are bigint, not ${typeof value}`);
      if (value < low || value > high) throw new RangeError(`Value ${value} does not fit ${name}`);
      checkRoom(bytes, offset, 8);
      signed[0] = value;
      putWord(words[LOW]!, bytes, offset);
      putWord(words[HIGH]!, bytes, offset + 4);
    },
    { kind: "call", read, wide: "bigint", signed: isSigned },
  );
}

/** Says that a number is not exact. @internal */
export function unsafeInteger(value: bigint, name: string): RangeError {
  return new RangeError(`Value ${value} of ${name} is no safe integer: use ${name}`);
}

function safeInteger64(name: string, isSigned: boolean): Codec<number> {
  const read = (bytes: Uint8Array, at: number): number => {
    const upper = isSigned ? word(bytes, at + 4) : word(bytes, at + 4) >>> 0;
    const value = upper * 0x1_0000_0000 + (word(bytes, at) >>> 0);
    if (!Number.isSafeInteger(value)) throw unsafeInteger((isSigned ? readI64 : readU64)(bytes, at), name);
    return value;
  };
  return makeCodec(
    8,
    8,
    (bytes, offset) => {
      checkRoom(bytes, offset, 8);
      return read(bytes, offset);
    },
    (value, bytes, offset) => {
      if (!Number.isSafeInteger(value) || (!isSigned && value < 0)) {
        throw new RangeError(`Value ${value} does not fit ${name}`);
      }
      checkRoom(bytes, offset, 8);
      putWord(value >>> 0, bytes, offset);
      putWord(Math.floor(value / 0x1_0000_0000), bytes, offset + 4);
    },
    { kind: "call", read, wide: "safe", signed: isSigned },
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
 * Unsigned 64-bit integer as `number`, for counters and sizes: several times quicker than `bigint`. Decoding a value
 * above 2^53 - 1 is a `RangeError`.
 */
export const safeU64: Codec<number> = safeInteger64("u64", false);
/** Signed 64-bit integer as `number`; a value that is no safe integer is a `RangeError`. */
export const safeI64: Codec<number> = safeInteger64("i64", true);

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
      if (!(value instanceof Uint8Array))
        throw new TypeError(`Need a Uint8Array of ${length} bytes, not ${typeof value}`);
      if (value.length !== length) throw new RangeError(`Need ${length} bytes, found ${value.length}`);
      checkRoom(into, offset, length);
      into.set(value, offset);
    },
    { kind: "call", read: (from, offset) => from.slice(offset, offset + length) },
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
      if (typeof value !== "string") throw new TypeError(`Values of char[${length}] are text, not ${typeof value}`);
      const text = encodeUtf8(value);
      if (text.length >= length) throw new RangeError(`Text of ${text.length} bytes does not fit char[${length}]`);
      checkRoom(into, offset, length);
      into.fill(0, offset, offset + length);
      into.set(text, offset);
    },
    { kind: "call", read: (from, offset) => decodeCString(from.subarray(offset, offset + length)) },
  );
}

/**
 * An array of equal elements.
 *
 * @param element codec of one element
 * @param length number of elements
 */
export function array<T, In>(element: Codec<T, In>, length: number): Codec<T[], readonly In[]> {
  const size = element.size * length;
  return makeCodec<T[], readonly In[]>(
    size,
    element.alignment,
    (from, offset) => {
      checkRoom(from, offset, size);
      const values: T[] = [];
      for (let i = 0; i < length; i++) values.push(element.decode(from, offset + i * element.size));
      return values;
    },
    (values, into, offset) => {
      if (values?.length !== length) throw new RangeError(`Need ${length} elements, found ${values?.length}`);
      for (let i = 0; i < length; i++) element.encodeInto(values[i]!, into, offset + i * element.size);
    },
    { kind: "array", element, length },
  );
}
