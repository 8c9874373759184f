// Browser-safe.

import { decodeUtf8 } from "../bytes/index.ts";
import { btfError } from "./image.ts";
import { essentialLength } from "./names.ts";

/** Strings decoded one by one before all of them are: 0.2 us each, against 1 ms for those of a kernel. */
const NAMES_BEFORE_TEXT = 4096;

/** Bytes that are looked at one by one for the end of a string. No name in a kernel is half as long. */
const LONG = 256;

/**
 * Strings longer than {@link LONG}, in ascending order. They are listed once, since offsets may point to any character
 * of one: with a megabyte of it and a hundred thousand names inside, looking for its end each time would not end.
 */
interface LongStrings {
  readonly starts: readonly number[];
  readonly ends: readonly number[];
  /** Where the essential name ends: at the last flavour, or the end. */
  readonly essentialEnds: readonly number[];
  readonly ascii: readonly boolean[];
}

/**
 * The strings of a BTF by offset. A split BTF's offsets go on where those of its base end. Offsets may point into
 * the middle of a string: writers share suffixes.
 */
export class StringTable {
  /** Strings of its own. */
  readonly bytes: Uint8Array;
  /** Offset of its first string. */
  readonly start: number;
  /** One behind the last offset. */
  readonly end: number;
  /** Strings of the base of a split BTF. */
  readonly base: StringTable | undefined;
  /** One character for each byte, once many strings were asked for: cutting a piece out of it is the fastest way. */
  #text: string | undefined;
  #decoded = 0;
  #long: LongStrings | undefined;
  /** Long strings that are not ASCII, which cannot be cut out of the text. */
  readonly #longDecoded = new Map<number, string>();
  #longDecodedBytes = 0;

  /**
   * @param bytes the string section, which ends with a NUL unless it is empty
   * @param base strings of the base of a split BTF
   */
  constructor(bytes: Uint8Array, base?: StringTable) {
    this.bytes = bytes;
    this.start = base === undefined ? 0 : base.end;
    this.end = this.start + bytes.length;
    this.base = base;
  }

  /**
   * The table among this and its bases that holds an offset.
   *
   * @returns `undefined` when none does
   */
  tableOf(offset: number): StringTable | undefined {
    let table: StringTable | undefined = this;
    while (table !== undefined && offset < table.start) table = table.base;
    return table !== undefined && offset < table.end ? table : undefined;
  }

  /**
   * The string at an offset.
   *
   * @returns `undefined` when the offset is outside
   * @throws BtfError `ERR_LIMIT` when so many offsets point into one long string that is not ASCII that decoding all
   *   of them would take many times the size of the section
   */
  at(offset: number): string | undefined {
    if (offset === 0 && this.end > 0) return "";
    const table = this.tableOf(offset);
    return table === undefined ? undefined : table.#decode(offset - table.start);
  }

  /** Whether the string at `offset` is empty, or there is none. */
  isEmpty(offset: number): boolean {
    const table = this.tableOf(offset);
    return table === undefined || table.bytes[offset - table.start] === 0;
  }

  /**
   * Index in `bytes` of where the essential name that starts at an index ends: before its flavour.
   *
   * @param start index in `bytes`
   */
  essentialEndOf(start: number): number {
    const end = shortEnd(this.bytes, start);
    if (end >= 0) return start + essentialLength(this.bytes, start, end);
    const long = this.#longStrings();
    const index = indexOf(long, start);
    // A flavour needs a character before it.
    const essentialEnd = long.essentialEnds[index]!;
    return essentialEnd > start ? essentialEnd : long.ends[index]!;
  }

  #decode(start: number): string {
    const bytes = this.bytes;
    const limit = start + LONG;
    let end = start;
    let byte = bytes[end]!;
    while (byte !== 0) {
      if (end === limit) return this.#decodeLong(start);
      if (byte >= 0x80) return this.#decodeUnicode(start);
      byte = bytes[++end]!;
    }
    if (this.#text !== undefined) return this.#text.slice(start, end);
    if (this.#decoded++ > NAMES_BEFORE_TEXT) this.#text = latin1(bytes);
    return String.fromCharCode.apply(null, bytes.subarray(start, end) as unknown as number[]);
  }

  #decodeUnicode(start: number): string {
    const end = shortEnd(this.bytes, start);
    return end < 0 ? this.#decodeLong(start) : decodeUtf8(this.bytes.subarray(start, end));
  }

  #decodeLong(start: number): string {
    const long = this.#longStrings();
    const index = indexOf(long, start);
    const end = long.ends[index]!;
    if (long.ascii[index] === true) {
      this.#text ??= latin1(this.bytes);
      return this.#text.slice(start, end);
    }
    let text = this.#longDecoded.get(start);
    if (text === undefined) {
      this.#longDecodedBytes += end - start;
      if (this.#longDecodedBytes > 8 * this.bytes.length) {
        throw btfError("ERR_LIMIT", "Too many names lie inside one long string", "strings", start);
      }
      text = decodeUtf8(this.bytes.subarray(start, end));
      this.#longDecoded.set(start, text);
    }
    return text;
  }

  #longStrings(): LongStrings {
    if (this.#long !== undefined) return this.#long;
    const { bytes } = this;
    const starts: number[] = [];
    const ends: number[] = [];
    const essentialEnds: number[] = [];
    const ascii: boolean[] = [];
    for (let start = 0; start < bytes.length; ) {
      const end = bytes.indexOf(0, start);
      if (end - start >= LONG) {
        starts.push(start);
        ends.push(end);
        essentialEnds.push(start + essentialLength(bytes, start, end));
        ascii.push(!bytes.subarray(start, end).some((byte) => byte >= 0x80));
      }
      start = end + 1;
    }
    this.#long = { starts, ends, essentialEnds, ascii };
    return this.#long;
  }
}

/** Index of the NUL of a string, or -1 when it is a long one. */
function shortEnd(bytes: Uint8Array, start: number): number {
  for (let at = start; at < start + LONG; at++) if (bytes[at] === 0) return at;
  return -1;
}

/** Which long string holds an index. */
function indexOf({ starts }: LongStrings, at: number): number {
  let low = 0;
  let high = starts.length;
  while (high - low > 1) {
    const middle = (low + high) >>> 1;
    if (starts[middle]! <= at) low = middle;
    else high = middle;
  }
  return low;
}

interface Decoder {
  decode(bytes: Uint8Array): string;
}

/** A string with one character for each byte. */
function latin1(bytes: Uint8Array): string {
  // Every runtime has a TextDecoder, and for ASCII it is 20 times as fast as what follows. It may only be used for
  // ASCII, where characters and bytes are the same: a longer sequence makes the text shorter, a broken one throws.
  const { TextDecoder } = globalThis as { TextDecoder?: new (encoding: string, options: object) => Decoder };
  try {
    const text = TextDecoder && new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    if (text?.length === bytes.length) return text;
  } catch {
    // Not UTF-8: single strings are decoded as far as they go.
  }
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) {
    text += String.fromCharCode.apply(null, bytes.subarray(at, at + 8192) as unknown as number[]);
  }
  return text;
}
