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
  readonly #strings = new Map<string, Uint8Array>();

  /**
   * @param base strings of the base of a split BTF
   * @param shareSuffixes whether `struct` may lie inside `task_struct`
   */
  constructor(base: StringTable | undefined, shareSuffixes: boolean) {
    this.#base = base;
    this.#shareSuffixes = shareSuffixes;
  }

  /**
   * Adds a string.
   *
   * @throws RangeError when it has a NUL in it
   */
  add(text: string): void {
    if (text === "" || this.#strings.has(text)) return;
    if (this.#base !== undefined && stringsOf(this.#base).has(text)) return;
    if (text.includes("\0")) throw new RangeError(`Name ${JSON.stringify(text)} has a NUL in it`);
    this.#strings.set(text, encodeUtf8(text));
  }

  /** Lays the strings out: the section, and the offset of each string that was added. */
  finish(): { readonly section: Uint8Array; readonly offsetOf: (text: string) => number } {
    const start = this.#base?.end ?? 0;
    const offsets = new Map<string, number>();
    const order = this.#shareSuffixes ? sortBySuffix([...this.#strings]) : [...this.#strings];
    // The empty string comes first; in a split BTF it is the base's.
    let length = this.#base === undefined ? 1 : 0;
    const kept: [number, Uint8Array][] = [];
    let previous: Uint8Array | undefined;
    for (const [text, bytes] of order) {
      if (this.#shareSuffixes && previous !== undefined && endsWith(previous, bytes)) {
        offsets.set(text, start + length - 1 - bytes.length);
        continue;
      }
      offsets.set(text, start + length);
      kept.push([length, bytes]);
      length += bytes.length + 1;
      previous = bytes;
    }
    const section = new Uint8Array(length);
    for (const [at, bytes] of kept) section.set(bytes, at);
    const inherited = this.#base === undefined ? undefined : stringsOf(this.#base);
    const offsetOf = (text: string): number => {
      const offset = text === "" ? 0 : (offsets.get(text) ?? inherited?.get(text));
      if (offset === undefined) throw new RangeError(`String ${JSON.stringify(text)} was not written`);
      return offset;
    };
    return { section, offsetOf };
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
