// Browser-safe.

// 64-bit division of arbitrary operands goes through BigInt: correct, and rare. Small operands never come here.
const words = /* @__PURE__ */ new Int32Array(4);
const unsigned = /* @__PURE__ */ new BigUint64Array(words.buffer);
const signed = /* @__PURE__ */ new BigInt64Array(words.buffer);
// The order of the words is the host's.
const LOW = /* @__PURE__ */ new Uint8Array(/* @__PURE__ */ new Uint32Array([1]).buffer)[0] === 1 ? 0 : 1;
const HIGH = 1 - LOW;
const TWO_32 = 0x1_0000_0000;
/** High halves below this belong to numbers that a double holds exactly. */
const EXACT = 0x20_0000;

/** The 64 bits of two halves as a number without sign. */
export function toU64(low: number, high: number): bigint {
  words[LOW] = low;
  words[HIGH] = high;
  return unsigned[0]!;
}

/** The 64 bits of two halves as a number with sign. */
export function toS64(low: number, high: number): bigint {
  words[LOW] = low;
  words[HIGH] = high;
  return signed[0]!;
}

/** Puts 64 bits into a register. Larger numbers are cut off, negative ones are two's complement. */
export function putBigInt(value: bigint, low: Int32Array, high: Int32Array, at: number): void {
  signed[0] = BigInt.asIntN(64, value);
  low[at] = words[LOW]!;
  high[at] = words[HIGH]!;
}

/** High half of the product of two unsigned 32-bit numbers, as a signed one. */
export function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const cross1 = Math.imul(aLow, bHigh) >>> 0;
  const cross2 = Math.imul(aHigh, bLow) >>> 0;
  const middle = (Math.imul(aLow, bLow) >>> 16) + (cross1 & 0xffff) + (cross2 & 0xffff);
  return (Math.imul(aHigh, bHigh) + (cross1 >>> 16) + (cross2 >>> 16) + (middle >>> 16)) | 0;
}

/** What {@link divide} computes. */
export type Division = "div" | "mod" | "sdiv" | "smod";

/**
 * `dst = dst op src` in 64 bits. Division by 0 gives 0 and leaves the dividend as remainder; the smallest number divided
 * by -1 is itself, with remainder 0.
 */
export function divide(low: Int32Array, high: Int32Array, dst: number, src: number, kind: Division): void {
  const aLow = low[dst]!;
  const aHigh = high[dst]!;
  const bLow = low[src]!;
  const bHigh = high[src]!;
  if ((bLow | bHigh) === 0) {
    if (kind === "div" || kind === "sdiv") low[dst] = high[dst] = 0;
    return;
  }
  if (kind === "div" || kind === "mod") {
    if (aHigh >>> 0 < EXACT && bHigh >>> 0 < EXACT) {
      const a = (aHigh >>> 0) * TWO_32 + (aLow >>> 0);
      const b = (bHigh >>> 0) * TWO_32 + (bLow >>> 0);
      const quotient = Math.floor(a / b);
      const result = kind === "div" ? quotient : a - quotient * b;
      low[dst] = result | 0;
      high[dst] = (result / TWO_32) | 0;
      return;
    }
    const a = toU64(aLow, aHigh);
    const b = toU64(bLow, bHigh);
    putBigInt(kind === "div" ? a / b : a % b, low, high, dst);
    return;
  }
  const a = toS64(aLow, aHigh);
  const b = toS64(bLow, bHigh);
  putBigInt(kind === "sdiv" ? a / b : a % b, low, high, dst);
}
