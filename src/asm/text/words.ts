// Browser-safe.

/**
 * A set of ASCII words, looked up in place: no substring is made. (A `Map` needs one, and its hash: that alone costs as
 * much as the rest of a statement.)
 */
export interface WordTable {
  /** The words, in the order given. */
  readonly words: readonly string[];
  /** Open addressing: index of a word, or -1. A power of two long, at most a quarter full. */
  readonly slots: Int16Array;
}

/** Makes a table of words. */
export function wordTable(words: readonly string[]): WordTable {
  let size = 16;
  while (size < 4 * words.length) size *= 2;
  const slots = new Int16Array(size).fill(-1);
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!;
    let slot = slotOf(hash(word, 0, word.length), size - 1);
    while (slots[slot]! >= 0) slot = (slot + 1) & (size - 1);
    slots[slot] = i;
  }
  return { words, slots };
}

function hash(text: string, start: number, end: number): number {
  let h = 0;
  for (let i = start; i < end; i++) h = addToHash(h, text.charCodeAt(i));
  return h;
}

/** Goes on with the hash of a word, which begins with 0. */
export function addToHash(h: number, c: number): number {
  return (Math.imul(h, 31) + c) | 0;
}

/**
 * Finds the word that stands in a text.
 *
 * @returns its index in `words`, or -1
 */
export function findWord(table: WordTable, text: string, start: number, end: number): number {
  return findHashed(table, text, start, end, hash(text, start, end));
}

function slotOf(h: number, mask: number): number {
  return (h ^ (h >>> 15)) & mask;
}

/** As {@link findWord}, for who made the hash on the way to the word's end, with {@link addToHash}. */
export function findHashed(table: WordTable, text: string, start: number, end: number, h: number): number {
  const { words, slots } = table;
  const mask = slots.length - 1;
  let slot = slotOf(h, mask);
  for (;;) {
    const index = slots[slot]!;
    if (index < 0) return -1;
    if (standsAt(words[index]!, text, start, end)) return index;
    slot = (slot + 1) & mask;
  }
}

/** Whether a word stands in a text. */
export function standsAt(word: string, text: string, start: number, end: number): boolean {
  if (word.length !== end - start) return false;
  for (let i = 0; i < word.length; i++) {
    if (word.charCodeAt(i) !== text.charCodeAt(start + i)) return false;
  }
  return true;
}
