// Browser-safe.

// What the two short cuts share, simple-c.ts and simple-mnemonics.ts: readers for lines that make up nearly all of a long
// text, one statement each, written as a disassembler or a compiler writes it, and nothing behind. Whatever is not
// exactly that is left to the grammars, which alone decide what is right or wrong; a line read by a short cut means the
// same to them (a test holds the two together). Measured on Node 20: twice to three times as fast, because positions
// stay in registers and nothing is looked at twice.

import type { Assembly } from "./assembly.ts";
import { COLON, hexDigit, isWordPart, LOWER_R, LOWER_W, LOWER_X, MINUS, startsWord, ZERO } from "./characters.ts";
import { defineLabel } from "./labels.ts";

/** The line is not simple. */
export const OTHER = -1;

/** Appends an instruction of the line that began at `s.start`. */
export function emit(s: Assembly, opcode: number, dst: number, src: number, offset: number, imm: number): void {
  s.code.push({ opcode, dst, src, offset, imm, high: 0, meta: undefined });
  s.positions.push(s.start);
}

/** Number of the register at a position, of which the letter is known; -1 when there is none. */
export function registerAt(text: string, at: number): number {
  const digit = text.charCodeAt(at + 1) - ZERO;
  if (digit === 1 && text.charCodeAt(at + 2) === ZERO) return 10;
  return digit >= 0 && digit <= 9 ? digit : -1;
}

/** Characters of a register: what follows it decides whether it was one. */
export function registerLength(register: number): number {
  return register === 10 ? 3 : 2;
}

/** What {@link decimal} gives for something else, or for more than nine digits. */
export const NO_NUMBER = 0x7fffffff;

/** Reads a decimal number with or without a minus sign; `s.at` is behind it. */
export function decimal(s: Assembly, at: number): number {
  const { text } = s;
  let c = text.charCodeAt(at);
  const negative = c === MINUS;
  if (negative) c = text.charCodeAt(++at);
  const first = at;
  let value = c - ZERO;
  if (!(value >= 0 && value <= 9)) return NO_NUMBER;
  for (let digit = text.charCodeAt(++at) - ZERO; digit >= 0 && digit <= 9; digit = text.charCodeAt(++at) - ZERO) {
    value = value * 10 + digit;
    if (at - first > 8) return NO_NUMBER;
  }
  // A leading 0 means octal.
  if (c === ZERO && at - first > 1) return NO_NUMBER;
  s.at = at;
  return negative ? 0 - value : value;
}

/** As {@link decimal}, or up to eight hexadecimal digits behind `0x`. */
export function pattern(s: Assembly, at: number): number {
  const { text } = s;
  if (text.charCodeAt(at) !== ZERO || text.charCodeAt(at + 1) !== LOWER_X) return decimal(s, at);
  const first = at + 2;
  at = first;
  let value = 0;
  for (let digit = hexDigit(text.charCodeAt(at)); digit >= 0; digit = hexDigit(text.charCodeAt(++at))) {
    value = (value << 4) | digit;
  }
  if (at === first || at - first > 8 || value === NO_NUMBER) return NO_NUMBER;
  s.at = at;
  return value;
}

/** Where the word ends that begins here. */
export function wordEnd(text: string, at: number): number {
  while (isWordPart(text.charCodeAt(at))) at++;
  return at;
}

/** Notes that the instruction appended last goes to the name that stands there. */
export function refer(s: Assembly, at: number, end: number, kind: "jump" | "call"): void {
  referTo(s, s.text.slice(at, end), at, kind);
}

/** As {@link refer}, with the name. */
export function referTo(s: Assembly, name: string, at: number, kind: "jump" | "call"): void {
  s.fixups.push({ section: s.section, index: s.code.length - 1, name, at, length: name.length, kind });
}

/** Reads `name:`. @returns the position behind it, or {@link OTHER} */
export function label(s: Assembly, at: number, c: number): number {
  if (!startsWord(c)) return OTHER;
  const { text } = s;
  const end = wordEnd(text, at);
  if (text.charCodeAt(end) !== COLON) return OTHER;
  if ((c === LOWER_R || c === LOWER_W) && registerAt(text, at) >= 0) return OTHER;
  s.at = end + 1;
  defineLabel(s, text.slice(at, end), at);
  return end + 1;
}
