// Browser-safe.

import { encodeUtf8 } from "../bytes/index.ts";
import type { StringTable } from "./strings.ts";

/** Strings that lie in a string section, each with its offset. */
const knownStrings = /* @__PURE__ */ new WeakMap<StringTable, Map<string, number>>();

/**
 * Collects strings and lays them out: each once, those of a base not at all, and if wanted a string that ends another
 * one inside it.
 */
export class StringWriter {
  readonly #base: StringTable | undefined;
  readonly #shareSuffixes: boolean;
  /** Where each string begins in `#bytes`, in the order in which they were added. */
  readonly #places = new Map<string, number>();
  /** The strings with a NUL behind each: one array, because 94,000 small ones keep the collector busy. */
  #bytes = new Uint8Array(1024);
  #length: number;

  /**
   * @param base strings of the base of a split BTF
   * @param shareSuffixes whether `struct` may lie inside `task_struct`
   */
  constructor(base: StringTable | undefined, shareSuffixes: boolean) {
    this.#base = base;
    this.#shareSuffixes = shareSuffixes;
    // The empty string comes first; in a split BTF it is the base's.
    this.#length = base === undefined ? 1 : 0;
  }

  /**
   * Adds a string.
   *
   * @throws RangeError when it has a NUL in it
   */
  add(text: string): void {
    if (text === "" || this.#places.has(text)) return;
    if (this.#base !== undefined && stringsOf(this.#base).has(text)) return;
    if (text.includes("\0")) throw new RangeError(`Name ${JSON.stringify(text)} has a NUL in it`);
    const at = this.#length;
    // No character takes more than three bytes for each of its units.
    this.#reserve(3 * text.length + 1);
    const bytes = this.#bytes;
    let end = at;
    for (let i = 0; i < text.length; i++) {
      const c = text.charCodeAt(i);
      if (c >= 0x80) {
        const encoded = encodeUtf8(text);
        bytes.set(encoded, at);
        end = at + encoded.length;
        break;
      }
      bytes[end++] = c;
    }
    bytes[end] = 0;
    this.#places.set(text, at);
    this.#length = end + 1;
  }

  /** Lays the strings out: the section, and the offset of each string that was added. */
  finish(): { readonly section: Uint8Array; readonly offsetOf: (text: string) => number } {
    const start = this.#base?.end ?? 0;
    const { section, places } = this.#shareSuffixes
      ? this.#shared()
      : { section: this.#bytes.slice(0, this.#length), places: this.#places };
    const inherited = this.#base === undefined ? undefined : stringsOf(this.#base);
    const offsetOf = (text: string): number => {
      if (text === "") return 0;
      const place = places.get(text);
      const offset = place === undefined ? inherited?.get(text) : start + place;
      if (offset === undefined) throw new RangeError(`String ${JSON.stringify(text)} was not written`);
      return offset;
    };
    return { section, offsetOf };
  }

  /** The strings without those that end another one. */
  #shared(): { readonly section: Uint8Array; readonly places: ReadonlyMap<string, number> } {
    const strings = [...this.#places].map(([text, at]): [string, Uint8Array] => [
      text,
      this.#bytes.subarray(at, this.#bytes.indexOf(0, at)),
    ]);
    const section = new Uint8Array(this.#length);
    const places = new Map<string, number>();
    let length = this.#base === undefined ? 1 : 0;
    let previous: Uint8Array | undefined;
    for (const [text, bytes] of sortBySuffix(strings)) {
      if (previous !== undefined && endsWith(previous, bytes)) {
        places.set(text, length - 1 - bytes.length);
        continue;
      }
      places.set(text, length);
      section.set(bytes, length);
      length += bytes.length + 1;
      previous = bytes;
    }
    return { section: section.slice(0, length), places };
  }

  #reserve(bytes: number): void {
    if (this.#length + bytes <= this.#bytes.length) return;
    const grown = new Uint8Array(2 * (this.#length + bytes));
    grown.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = grown;
  }
}

/** Strings so that each comes right behind the longest one that ends with it. */
function sortBySuffix(strings: [string, Uint8Array][]): [string, Uint8Array][] {
  return strings.sort(([, a], [, b]) => {
    const shorter = Math.min(a.length, b.length);
    for (let i = 1; i <= shorter; i++) {
      const difference = b[b.length - i]! - a[a.length - i]!;
      if (difference !== 0) return difference;
    }
    return b.length - a.length;
  });
}

function endsWith(text: Uint8Array, ending: Uint8Array): boolean {
  const from = text.length - ending.length;
  if (from < 0) return false;
  for (let i = 0; i < ending.length; i++) if (text[from + i] !== ending[i]) return false;
  return true;
}

function stringsOf(table: StringTable): Map<string, number> {
  let known = knownStrings.get(table);
  if (known !== undefined) return known;
  known = table.base === undefined ? new Map() : new Map(stringsOf(table.base));
  for (let at = 0; at < table.bytes.length; at = table.bytes.indexOf(0, at) + 1) {
    const text = table.at(table.start + at)!;
    if (!known.has(text)) known.set(text, table.start + at);
  }
  knownStrings.set(table, known);
  return known;
}
