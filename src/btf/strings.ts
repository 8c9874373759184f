// Browser-safe.

import { decodeUtf8 } from "../bytes/index.ts";

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
  readonly #base: StringTable | undefined;

  /**
   * @param bytes the string section, which ends with a NUL unless it is empty
   * @param base strings of the base of a split BTF
   */
  constructor(bytes: Uint8Array, base?: StringTable) {
    this.bytes = bytes;
    this.start = base === undefined ? 0 : base.end;
    this.end = this.start + bytes.length;
    this.#base = base;
  }

  /**
   * The table among this and its bases that holds an offset.
   *
   * @returns `undefined` when none does
   */
  tableOf(offset: number): StringTable | undefined {
    let table: StringTable | undefined = this;
    while (table !== undefined && offset < table.start) table = table.#base;
    return table !== undefined && offset < table.end ? table : undefined;
  }

  /**
   * The string at an offset.
   *
   * @returns `undefined` when the offset is outside
   */
  at(offset: number): string | undefined {
    if (offset === 0) return this.end > 0 ? "" : undefined;
    const table = this.tableOf(offset);
    if (table === undefined) return undefined;
    const start = offset - table.start;
    const bytes = table.bytes;
    const end = bytes.indexOf(0, start);
    // Nearly every name is ASCII; a loop over a few characters is faster than any call.
    let text = "";
    for (let i = start; i < end; i++) {
      const byte = bytes[i]!;
      if (byte >= 0x80) return decodeUtf8(bytes.subarray(start, end));
      text += String.fromCharCode(byte);
    }
    return text;
  }

  /** Whether the string at `offset` is `name`, without decoding it. */
  equals(offset: number, name: Uint8Array): boolean {
    const table = this.tableOf(offset);
    if (table === undefined) return false;
    const bytes = table.bytes;
    const start = offset - table.start;
    if (bytes[start + name.length] !== 0) return false;
    for (let i = 0; i < name.length; i++) if (bytes[start + i] !== name[i]) return false;
    return true;
  }
}
