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
   */
  find(name: Uint8Array, kind: number, essential: boolean, found: TypeId[]): void {
    const { words, starts } = this.#image;
    if (this.#heads === undefined && this.#scans++ < SCANS_BEFORE_INDEX) {
      this.#scan(name, kind, essential, found);
      return;
    }
    const heads = this.#heads ?? this.#build();
    const hash = hashName(name, 0, essential ? name.length : essentialLength(name, 0, name.length));
    for (let index = heads[hash & (heads.length - 1)]!; index >= 0; index = this.#next[index]!) {
      const at = starts[index]!;
      if (kind >= 0 && infoKind(words[at + 1]!) !== kind) continue;
      if (this.#matches(words[at]!, name, essential)) found.push((this.#firstId + index) as TypeId);
    }
  }

  #scan(name: Uint8Array, kind: number, essential: boolean, found: TypeId[]): void {
    const { words, starts } = this.#image;
    const { start: stringsStart, bytes } = this.#strings;
    const first = name[0]!;
    const last = name[name.length - 1]!;
    const lastAt = name.length - 1;
    for (let index = 0; index < starts.length; index++) {
      const at = starts[index]!;
      const offset = words[at]!;
      // Two characters rule out nearly all. Names that lie in the base's strings take the long way.
      const own = offset - stringsStart;
      if (own >= 0 && (bytes[own] !== first || bytes[own + lastAt] !== last)) continue;
      if (kind >= 0 && infoKind(words[at + 1]!) !== kind) continue;
      if (this.#matches(offset, name, essential)) found.push((this.#firstId + index) as TypeId);
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
      const end = table.bytes.indexOf(0, start);
      const slot = hashName(table.bytes, start, start + essentialLength(table.bytes, start, end)) & (heads.length - 1);
      next[index] = heads[slot]!;
      heads[slot] = index;
    }
    this.#next = next;
    this.#heads = heads;
    return heads;
  }
}

function hashName(bytes: Uint8Array, start: number, end: number): number {
  let hash = 0x811c9dc5;
  for (let i = start; i < end; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193);
  return hash ^ (hash >>> 15);
}
