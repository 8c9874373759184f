// Browser-safe.

import { decodeUtf8 } from "../bytes/index.ts";

/** Strings decoded one by one before all of them are: 0.2 us each, against 5 ms for those of a kernel. */
const NAMES_BEFORE_TEXT = 4096;

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
   */
  at(offset: number): string | undefined {
    if (offset === 0 && this.end > 0) return "";
    const table = this.tableOf(offset);
    return table === undefined ? undefined : table.#decode(offset - table.start);
  }

  #decode(start: number): string {
    const bytes = this.bytes;
    let end = start;
    let byte = bytes[end]!;
    while (byte !== 0) {
      if (byte >= 0x80) return decodeUtf8(bytes.subarray(start, bytes.indexOf(0, start)));
      byte = bytes[++end]!;
    }
    if (this.#text !== undefined) return this.#text.slice(start, end);
    if (this.#decoded++ > NAMES_BEFORE_TEXT) this.#text = latin1(bytes);
    return String.fromCharCode.apply(null, bytes.subarray(start, end) as unknown as number[]);
  }

  /** Whether the string at `offset` is empty, or there is none. */
  isEmpty(offset: number): boolean {
    const table = this.tableOf(offset);
    return table === undefined || table.bytes[offset - table.start] === 0;
  }
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
