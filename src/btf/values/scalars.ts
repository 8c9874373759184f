// Browser-safe.

import { decodeUtf8 } from "../../bytes/index.ts";
import { MACHINE_LITTLE_ENDIAN } from "../image.ts";
import type { EnumNumber, EnumTable } from "./enum-table.ts";

// Numbers are put together from bytes, without a DataView: making one takes 200 ns and more, which is several times
// what decoding a small struct takes, and records often arrive as arrays of their own. 64-bit integers go through
// two words of a scratch array, which takes half as long as getBigUint64. Measured with Node 20 for a struct of five
// members, two of them 64-bit: 72 ns, against 57 with a DataView at hand, 98 with getBigUint64 and 530 with a new view.
//
// No function here checks bounds: codecs have done so for the whole value.

const words = /* @__PURE__ */ new Uint32Array(4);
const unsigned64 = /* @__PURE__ */ new BigUint64Array(words.buffer);
const signed64 = /* @__PURE__ */ new BigInt64Array(words.buffer);
const floats = /* @__PURE__ */ new Float32Array(words.buffer);
const doubles = /* @__PURE__ */ new Float64Array(words.buffer);
/** Indices of the less and the more significant word of `unsigned64[0]`. */
const LOW = MACHINE_LITTLE_ENDIAN ? 0 : 1;
const HIGH = 1 - LOW;

/** Functions that read numbers of one byte order. */
export interface Readers {
  u8(bytes: Uint8Array, at: number): number;
  s8(bytes: Uint8Array, at: number): number;
  u16(bytes: Uint8Array, at: number): number;
  s16(bytes: Uint8Array, at: number): number;
  u32(bytes: Uint8Array, at: number): number;
  s32(bytes: Uint8Array, at: number): number;
  u64(bytes: Uint8Array, at: number): bigint;
  s64(bytes: Uint8Array, at: number): bigint;
  /** A `number` up to 2^53 - 1. */
  safeU64(bytes: Uint8Array, at: number): number | bigint;
  /** A `number` from -(2^53 - 1) to 2^53 - 1. */
  safeS64(bytes: Uint8Array, at: number): number | bigint;
  u128(bytes: Uint8Array, at: number): bigint;
  s128(bytes: Uint8Array, at: number): bigint;
  f32(bytes: Uint8Array, at: number): number;
  f64(bytes: Uint8Array, at: number): number;
  /** A bit field of at most 32 bits. */
  bits(bytes: Uint8Array, at: number, shift: number, width: number, signed: boolean): number;
  /** A bit field of any width. */
  wideBits(bytes: Uint8Array, at: number, shift: number, width: number, signed: boolean): bigint;
}

function u8(bytes: Uint8Array, at: number): number {
  return bytes[at]!;
}

function s8(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 24) >> 24;
}

/** What is the same in both orders, given how to read words. */
function readers(
  u16: (bytes: Uint8Array, at: number) => number,
  s32: (bytes: Uint8Array, at: number) => number,
  /** Distance of the low and the high word of 64 bits. */
  low: 0 | 4,
  littleEndian: boolean,
): Readers {
  const high = 4 - low;
  const u64 = (bytes: Uint8Array, at: number): bigint => {
    words[LOW] = s32(bytes, at + low);
    words[HIGH] = s32(bytes, at + high);
    return unsigned64[0]!;
  };
  const s64 = (bytes: Uint8Array, at: number): bigint => {
    words[LOW] = s32(bytes, at + low);
    words[HIGH] = s32(bytes, at + high);
    return signed64[0]!;
  };
  const wideBits = (bytes: Uint8Array, at: number, shift: number, width: number, signed: boolean): bigint => {
    const count = Math.ceil((shift + width) / 8);
    let all = 0n;
    for (let i = 0; i < count; i++) all = (all << 8n) | BigInt(bytes[littleEndian ? at + count - 1 - i : at + i]!);
    all >>= BigInt(littleEndian ? shift : 8 * count - shift - width);
    return signed ? BigInt.asIntN(width, all) : BigInt.asUintN(width, all);
  };
  return {
    u8,
    s8,
    u16,
    s16: (bytes, at) => (u16(bytes, at) << 16) >> 16,
    u32: (bytes, at) => s32(bytes, at) >>> 0,
    s32,
    u64,
    s64,
    safeU64(bytes, at) {
      const upper = s32(bytes, at + high) >>> 0;
      return upper < 0x200000 ? upper * 0x100000000 + (s32(bytes, at + low) >>> 0) : u64(bytes, at);
    },
    safeS64(bytes, at) {
      const upper = s32(bytes, at + high);
      if (upper >= -0x200000 && upper < 0x200000) {
        const value = upper * 0x100000000 + (s32(bytes, at + low) >>> 0);
        if (value >= Number.MIN_SAFE_INTEGER) return value;
      }
      return s64(bytes, at);
    },
    u128: (bytes, at) => (u64(bytes, at + 2 * high) << 64n) | u64(bytes, at + 2 * low),
    s128: (bytes, at) => (s64(bytes, at + 2 * high) << 64n) | u64(bytes, at + 2 * low),
    f32(bytes, at) {
      words[0] = s32(bytes, at);
      return floats[0]!;
    },
    f64(bytes, at) {
      words[LOW] = s32(bytes, at + low);
      words[HIGH] = s32(bytes, at + high);
      return doubles[0]!;
    },
    bits(bytes, at, shift, width, signed) {
      // At most 39 bits come together, which a double holds exactly.
      const count = (shift + width + 7) >> 3;
      let all = 0;
      for (let i = 0; i < count; i++) all = all * 256 + bytes[littleEndian ? at + count - 1 - i : at + i]!;
      const value = Math.floor(all / 2 ** (littleEndian ? shift : 8 * count - shift - width)) % 2 ** width;
      return signed && value >= 2 ** (width - 1) ? value - 2 ** width : value;
    },
    wideBits,
  };
}

/** Readers of little-endian numbers. */
export const littleEndianReaders: Readers = /* @__PURE__ */ readers(
  (bytes, at) => bytes[at]! | (bytes[at + 1]! << 8),
  (bytes, at) => bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24),
  0,
  true,
);

/** Readers of big-endian numbers. */
export const bigEndianReaders: Readers = /* @__PURE__ */ readers(
  (bytes, at) => (bytes[at]! << 8) | bytes[at + 1]!,
  (bytes, at) => (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!,
  4,
  false,
);

/** Whether any of `size` bytes is not zero. */
export function anyBit(bytes: Uint8Array, at: number, size: number): boolean {
  for (let i = 0; i < size; i++) if (bytes[at + i] !== 0) return true;
  return false;
}

/** Text up to the first NUL or `end`. */
export function text(bytes: Uint8Array, at: number, end: number): string {
  let decoded = "";
  for (let i = at; i < end; i++) {
    const byte = bytes[i]!;
    if (byte === 0) return decoded;
    if (byte >= 0x80) {
      const nul = bytes.subarray(i, end).indexOf(0);
      return decoded + decodeUtf8(bytes.subarray(i, nul < 0 ? end : i + nul));
    }
    decoded += String.fromCharCode(byte);
  }
  return decoded;
}

/** A value of an enum: its name, or the number when it has none. */
export function enumValue(table: EnumTable, value: EnumNumber): string | EnumNumber {
  return table.nameOf(value) ?? value;
}

/** A value of an enum as names of its bits, and what is left of it as a number. */
export function flagsValue(table: EnumTable, value: EnumNumber, size: number): (string | EnumNumber)[] {
  const list: (string | EnumNumber)[] = [];
  let rest = BigInt.asUintN(8 * size, BigInt(value));
  for (const [bit, name] of table.bits) {
    const raw = BigInt.asUintN(8 * size, BigInt(bit));
    if ((rest & raw) === 0n) continue;
    rest &= ~raw;
    list.push(name);
  }
  if (rest !== 0n) list.push(size === 8 ? rest : Number(rest));
  return list;
}

/**
 * Writes an integer into bytes that are zero there. Takes the value modulo 2^bits: callers have checked its range.
 *
 * @param size bytes, 1 to 16
 */
export function writeInt(bytes: Uint8Array, at: number, size: number, value: EnumNumber, littleEndian: boolean): void {
  if (size <= 4) {
    const number = Number(value);
    for (let i = 0; i < size; i++) bytes[littleEndian ? at + i : at + size - 1 - i] = number >> (8 * i);
    return;
  }
  let rest = BigInt(value);
  for (let done = 0; done < size; done += 8) {
    signed64[0] = BigInt.asIntN(64, rest);
    rest >>= 64n;
    const count = Math.min(8, size - done);
    for (let i = 0; i < count; i++) {
      const word = words[i < 4 ? LOW : HIGH]!;
      bytes[littleEndian ? at + done + i : at + size - 1 - done - i] = word >> (8 * (i & 3));
    }
  }
}

/** Writes a floating-point number of 4 or 8 bytes. */
export function writeFloat(bytes: Uint8Array, at: number, size: number, value: number, littleEndian: boolean): void {
  if (size === 4) floats[0] = value;
  else doubles[0] = value;
  const [first, second] = size === 4 ? [words[0]!, 0] : [words[LOW]!, words[HIGH]!];
  for (let i = 0; i < size; i++) {
    bytes[littleEndian ? at + i : at + size - 1 - i] = (i < 4 ? first : second) >> (8 * (i & 3));
  }
}

/**
 * Writes a bit field into bytes whose bits are zero there.
 *
 * @param value in range; negative values in two's complement
 */
export function writeBits(
  bytes: Uint8Array,
  at: number,
  shift: number,
  width: number,
  value: EnumNumber,
  littleEndian: boolean,
): void {
  const count = Math.ceil((shift + width) / 8);
  const wide = BigInt.asUintN(width, BigInt(value)) << BigInt(littleEndian ? shift : 8 * count - shift - width);
  for (let i = 0; i < count; i++) {
    const place = littleEndian ? at + i : at + count - 1 - i;
    bytes[place] = bytes[place]! | Number((wide >> BigInt(8 * i)) & 0xffn);
  }
}

/**
 * Functions that read 64 bits through a view: as two words and a scratch array, which is what optimisers know well.
 *
 * @param signed signed ones
 * @param littleEndian order of the bytes
 */
export function viewReader(signed: boolean, littleEndian: boolean): (view: DataView, at: number) => bigint {
  const low = littleEndian ? 0 : 4;
  const high = 4 - low;
  const numbers = signed ? signed64 : unsigned64;
  return (view, at) => {
    words[LOW] = view.getInt32(at + low, littleEndian);
    words[HIGH] = view.getInt32(at + high, littleEndian);
    return numbers[0]!;
  };
}
