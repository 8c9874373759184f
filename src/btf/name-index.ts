// Browser-safe.

import type { BtfImage } from "./image.ts";
import { infoKind } from "./kinds.ts";
import { essentialLength } from "./names.ts";
import type { StringTable } from "./strings.ts";
import type { TypeId } from "./types.ts";

/** Lookups answered by going through all types before an index pays: one costs 0.3 ms on a kernel, the index 6 ms. */
const SCANS_BEFORE_INDEX = 16;

/**
 * Finds types by name. The first few names are looked for by comparing every type's name in place, which is right
 * whatever way the strings are shared; then a hash over essential names is built, as two arrays of numbers.
 */
export class NameIndex {
  readonly #image: BtfImage;
  readonly #strings: StringTable;
  readonly #firstId: number;
  #scans = 0;
  #heads: Int32Array | undefined;
  #next: Int32Array = new Int32Array(0);

  constructor(image: BtfImage, strings: StringTable, firstId: number) {
    this.#image = image;
    this.#strings = strings;
    this.#firstId = firstId;
  }

  /**
   * Appends the numbers of all types of a name.
   *
   * @param name the name as bytes, not empty
   * @param kind number of the kind, or -1 for any
   * @param essential whether a flavour behind the name is passed over
   * @param found list to append to, in ascending order
   * @param first whether to stop at the first
   */
  find(name: Uint8Array, kind: number, essential: boolean, found: TypeId[], first = false): void {
    const { words, starts } = this.#image;
    if (this.#heads === undefined && this.#scans++ < SCANS_BEFORE_INDEX) {
      this.#scan(name, kind, essential, found, first);
      return;
    }
    const heads = this.#heads ?? this.#build();
    const hash = hashName(name, 0, !essential);
    for (let index = heads[hash & (heads.length - 1)]!; index >= 0; index = this.#next[index]!) {
      const at = starts[index]!;
      if (kind >= 0 && infoKind(words[at + 1]!) !== kind) continue;
      if (this.#matches(words[at]!, name, essential)) {
        found.push((this.#firstId + index) as TypeId);
        if (first) return;
      }
    }
  }

  #scan(name: Uint8Array, kind: number, essential: boolean, found: TypeId[], first: boolean): void {
    const image = this.#image;
    const count = image.starts.length;
    for (let index = 0; ; index++) {
      index = nextCandidate(image, this.#strings, index, kind, name);
      if (index >= count) return;
      if (!this.#matches(image.words[image.starts[index]!]!, name, essential)) continue;
      found.push((this.#firstId + index) as TypeId);
      if (first) return;
    }
  }

  #matches(offset: number, name: Uint8Array, essential: boolean): boolean {
    if (offset === 0) return false;
    const table = this.#strings.tableOf(offset);
    if (table === undefined) return false;
    const bytes = table.bytes;
    const start = offset - table.start;
    for (let i = 0; i < name.length; i++) if (bytes[start + i] !== name[i]) return false;
    const after = bytes[start + name.length];
    if (after === 0) return !essential || essentialLength(bytes, start, start + name.length) === name.length;
    if (!essential || after !== 0x5f) return false;
    return essentialLength(bytes, start, bytes.indexOf(0, start)) === name.length;
  }

  #build(): Int32Array {
    const { words, starts } = this.#image;
    const heads = new Int32Array(1 << Math.max(4, 32 - Math.clz32(starts.length))).fill(-1);
    const next = new Int32Array(starts.length);
    // From the last to the first, so that each chain ascends.
    for (let index = starts.length - 1; index >= 0; index--) {
      const offset = words[starts[index]!]!;
      const table = offset === 0 ? undefined : this.#strings.tableOf(offset);
      if (table === undefined) continue;
      const start = offset - table.start;
      const slot = hashName(table.bytes, start, true) & (heads.length - 1);
      next[index] = heads[slot]!;
      heads[slot] = index;
    }
    this.#next = next;
    this.#heads = heads;
    return heads;
  }
}

/**
 * The next type of a kind whose name may be this one: the kind and two letters rule out nearly all. Names in the
 * strings of the base are let through.
 *
 * On its own and without calls, because it is compiled while it runs for the first time, and the more there is to
 * compile the longer it runs uncompiled.
 */
function nextCandidate(image: BtfImage, strings: StringTable, from: number, kind: number, name: Uint8Array): number {
  const { words, starts } = image;
  const { bytes, start } = strings;
  const mask = kind < 0 ? 0 : 0x7f000000;
  const wanted = kind < 0 ? 0 : kind << 24;
  const count = starts.length;
  const lastAt = name.length - 1;
  const first = name[0];
  const last = name[lastAt];
  let index = from;
  while (index < count) {
    const at = starts[index]!;
    if ((words[at + 1]! & mask) === wanted) {
      const own = words[at]! - start;
      if (own < 0 || (bytes[own] === first && bytes[own + lastAt] === last)) return index;
    }
    index++;
  }
  return index;
}

/**
 * Hash (FNV-1a) of the name that starts here, up to a NUL or the end of the bytes. With `essential` that of the
 * essential name, in the same pass: when three underscores between other characters turn out to have started a
 * flavour, the hash is that from before them.
 */
function hashName(bytes: Uint8Array, start: number, essential: boolean): number {
  let hash = 0x811c9dc5;
  let beforeUnderscores = 0;
  let beforeFlavour = 0;
  let flavour = false;
  let underscores = 0;
  for (let at = start; ; at++) {
    const byte = bytes[at];
    if (byte === undefined || byte === 0) break;
    if (byte === 0x5f) {
      if (underscores++ === 0) beforeUnderscores = hash;
    } else {
      if (underscores === 3 && at - 3 > start) {
        flavour = true;
        beforeFlavour = beforeUnderscores;
      }
      underscores = 0;
    }
    hash = Math.imul(hash ^ byte, 0x01000193);
  }
  const result = flavour && essential ? beforeFlavour : hash;
  return result ^ (result >>> 15);
}
