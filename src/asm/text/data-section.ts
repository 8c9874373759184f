// Browser-safe.

/** A place in data where an address goes. */
export interface DataRelocation {
  /** Byte offset of the field in its section. */
  readonly offset: number;
  /** Bytes of the field. */
  readonly size: 1 | 2 | 4 | 8;
  /** Whose address. */
  readonly symbol: string;
  /** Added to the address. */
  readonly addend: bigint;
  /** Where in the text it stands. */
  readonly at: number;
  /** The symbol whose address is subtracted, in `.long a-b`; resolved when both are known. */
  readonly minus: string | undefined;
}

/** Bytes of a section that holds no code. */
export interface DataSection {
  /** At least `length` bytes. */
  bytes: Uint8Array;
  length: number;
  readonly relocations: DataRelocation[];
}

/** More than any program's data; a bound for sizes that are merely written in the text. */
export const MAX_DATA: number = 64 * 1024 * 1024;

/** An empty section. */
export function dataSection(): DataSection {
  return { bytes: new Uint8Array(0), length: 0, relocations: [] };
}

/** Makes room for more bytes. @returns where they begin, or -1 when the section would become too large */
export function grow(data: DataSection, count: number): number {
  const at = data.length;
  if (count > MAX_DATA - at) return -1;
  const length = at + count;
  if (length > data.bytes.length) {
    const larger = new Uint8Array(Math.max(64, length, 2 * data.bytes.length));
    larger.set(data.bytes.subarray(0, at));
    data.bytes = larger;
  }
  data.length = length;
  return at;
}

/** Writes the low bytes of a value, little-endian. */
export function writeInteger(bytes: Uint8Array, at: number, size: number, value: bigint): void {
  let rest = BigInt.asUintN(64, value);
  for (let i = 0; i < size; i++) {
    bytes[at + i] = Number(rest & 0xffn);
    rest >>= 8n;
  }
}
