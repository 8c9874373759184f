// Browser-safe.

// Sums of the internet protocols: ones' complement, which is the same in either byte order as long as one keeps to it.

/** Sum of two sums of 32 bits: what carries out comes back in. */
export function add32(a: number, b: number): number {
  const sum = (a >>> 0) + (b >>> 0);
  return (sum + (sum > 0xffff_ffff ? 1 : 0)) >>> 0;
}

/** All bits turned over, 32 of them. */
export function complement(sum: number): number {
  return ~sum >>> 0;
}

/** A sum of 32 bits as one of 16, without turning it over. */
export function add16(sum: number): number {
  const once = (sum & 0xffff) + (sum >>> 16);
  return (once & 0xffff) + (once >>> 16);
}

/** A sum of 32 bits as one of 16. */
export const fold: (sum: number) => number = add16;

/** Sum of bytes, taken as little-endian numbers of 16 bits; an odd one out counts as if a 0 followed. */
export function sumOf(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum = add32(sum, bytes[i]! | ((bytes[i + 1] ?? 0) << 8));
  return sum;
}
