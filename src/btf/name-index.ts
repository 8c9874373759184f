// Browser-safe.

import type { BtfImage } from "./image.ts";
import { essentialLength } from "./names.ts";
import type { StringTable } from "./strings.ts";
import type { TypeId } from "./types.ts";

/**
 * Lookups answered by going through all types before an index pays: one costs 0.3 ms on a kernel, an index of all
 * names 6 ms, and that of one kind 1 ms (of functions, which are half of all names, 3 ms). In a process that has just
 * begun, which relocates one program and is done, an index takes ten times as long and a scan three times.
 */
const SCANS_BEFORE_INDEX = { all: 16, kind: 8 } as const;

/** Types by the hash of their essential name. */
interface Index {
  /** The types of one kind that have names, or of all, ascending. */
  readonly entries: Uint32Array;
  /** First of each chain in `entries`, or -1. */
  readonly heads: Int32Array;
  /** Next of the same chain, or -1. */
  readonly next: Int32Array;
}

interface Wanted {
  readonly name: Uint8Array;
  /** Whether a flavour behind the name is passed over. */
  readonly essential: boolean;
  /** Whether the name without anything behind it is meant. */
  readonly itself: boolean;
}

/**
 * Finds types by name. The first few names are looked for by comparing every type's name in place, which is right
 * whatever way the strings are shared; then a hash over essential names is built, as arrays of numbers: of the one kind
 * that is asked for, which mostly is a small part of all.
 */
export class NameIndex {
  readonly #image: BtfImage;
  readonly #strings: StringTable;
  readonly #firstId: number;
  /** By kind, and at 0 of all kinds. */
  readonly #indexes: (Index | undefined)[] = [];
  readonly #scans = new Uint8Array(256);

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
    const ownLength = essentialLength(name, 0, name.length);
    // What has a flavour itself (a___b) is the essential name of others (a___b___c), but not its own.
    const wanted: Wanted = { name, essential, itself: !essential || ownLength === name.length };
    const slot = Math.max(0, kind);
    let index = this.#indexes[slot];
    if (index === undefined) {
      const scans = slot === 0 ? SCANS_BEFORE_INDEX.all : SCANS_BEFORE_INDEX.kind;
      if (this.#scans[slot]! < scans) {
        this.#scans[slot]!++;
        this.#scan(wanted, kind, found, first);
        return;
      }
      index = this.#build(kind);
      this.#indexes[slot] = index;
    }
    const { words, starts } = this.#image;
    const { entries, heads, next } = index;
    const hash = hashBytes(name, 0, essential ? name.length : ownLength);
    let equalOffset = -1;
    for (let entry = heads[hash & (heads.length - 1)]!; entry >= 0; entry = next[entry]!) {
      const offset = words[starts[entries[entry]!]!]!;
      if (offset !== equalOffset && !this.#matches(offset, wanted)) continue;
      equalOffset = offset;
      found.push((this.#firstId + entries[entry]!) as TypeId);
      if (first) return;
    }
  }

  #scan(wanted: Wanted, kind: number, found: TypeId[], first: boolean): void {
    const { words, starts } = this.#image;
    const count = starts.length;
    let equalOffset = -1;
    for (let index = 0; ; index++) {
      index = nextCandidate(this.#image, this.#strings, index, kind, wanted.name);
      if (index >= count) return;
      const offset = words[starts[index]!]!;
      if (offset !== equalOffset && !this.#matches(offset, wanted)) continue;
      equalOffset = offset;
      found.push((this.#firstId + index) as TypeId);
      if (first) return;
    }
  }

  /** Compares the end first: only one place in each string has the right one, however long the string is. */
  #matches(offset: number, { name, essential, itself }: Wanted): boolean {
    if (offset === 0) return false;
    const table = this.#strings.tableOf(offset);
    if (table === undefined) return false;
    const bytes = table.bytes;
    const start = offset - table.start;
    const end = start + name.length;
    const after = bytes[end];
    if (after === 0 ? !itself : !(essential && after === 0x5f && table.essentialEndOf(start) === end)) return false;
    for (let i = 0; i < name.length; i++) if (bytes[start + i] !== name[i]) return false;
    return true;
  }

  #build(kind: number): Index {
    const entries = namedTypes(this.#image, kind);
    const { words, starts } = this.#image;
    const heads = new Int32Array(1 << Math.max(4, 32 - Math.clz32(entries.length))).fill(-1);
    const next = new Int32Array(entries.length).fill(-1);
    // From the last to the first, so that each chain ascends.
    for (let entry = entries.length - 1; entry >= 0; entry--) {
      const offset = words[starts[entries[entry]!]!]!;
      const table = this.#strings.tableOf(offset);
      if (table === undefined) continue;
      const slot = hashEssential(table, offset - table.start) & (heads.length - 1);
      next[entry] = heads[slot]!;
      heads[slot] = entry;
    }
    return { entries, heads, next };
  }
}

/** Indexes of the types of one kind, or with -1 of all, that have a name. */
function namedTypes({ words, starts }: BtfImage, kind: number): Uint32Array {
  const mask = kind < 0 ? 0 : 0x7f000000;
  const wanted = kind < 0 ? 0 : kind << 24;
  // Counted first: an array for all types would stay as large for the few of a kind.
  let count = 0;
  for (let index = 0; index < starts.length; index++) {
    const at = starts[index]!;
    if ((words[at + 1]! & mask) === wanted && words[at] !== 0) count++;
  }
  const entries = new Uint32Array(count);
  for (let index = 0, entry = 0; entry < count; index++) {
    const at = starts[index]!;
    if ((words[at + 1]! & mask) === wanted && words[at] !== 0) entries[entry++] = index;
  }
  return entries;
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

/** Bytes of a name that go into its hash: long ones differ early, or are there to waste time. */
const HASHED = 64;

/** Hash (FNV-1a) of the start of a name. */
function hashBytes(bytes: Uint8Array, start: number, end: number): number {
  let hash = 0x811c9dc5;
  for (let at = start; at < end && at < start + HASHED; at++) hash = Math.imul(hash ^ bytes[at]!, 0x01000193);
  return hash ^ (hash >>> 15);
}

/**
 * {@link hashBytes} of the essential name that starts here, in one pass: when three underscores between other characters
 * turn out to have started a flavour, the hash is that from before them.
 */
function hashEssential(table: StringTable, start: number): number {
  const bytes = table.bytes;
  let hash = 0x811c9dc5;
  let beforeUnderscores = 0;
  let beforeFlavour = 0;
  let flavour = false;
  let underscores = 0;
  for (let at = start; ; at++) {
    const byte = bytes[at]!;
    if (byte === 0) break;
    if (at - start >= HASHED) return hashBytes(bytes, start, table.essentialEndOf(start));
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
  const result = flavour ? beforeFlavour : hash;
  return result ^ (result >>> 15);
}
