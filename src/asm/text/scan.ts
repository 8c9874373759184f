// Browser-safe.

import { type Assembly, fail } from "./assembly.ts";
import {
  APOSTROPHE,
  BACKSLASH,
  GREATER,
  HASH,
  hexDigit,
  isBlank,
  isDigit,
  isWordPart,
  LESS,
  LINE_FEED,
  LOWER_B,
  LOWER_F,
  LOWER_P,
  LOWER_R,
  LOWER_S,
  LOWER_W,
  LOWER_X,
  NINE,
  PERCENT,
  QUOTE,
  SEMICOLON,
  SEVEN,
  SLASH,
  SPACE,
  STAR,
  startsWord,
  UPPER_R,
  ZERO,
} from "./characters.ts";

/** What {@link register} gives for text that is no register. */
export const NO_REGISTER = -1;
/** What {@link register} gives for a register that does not exist; the problem is noted. */
export const BAD_REGISTER = -2;
/** Added to the number of a register written `w0` to `w10`. */
export const HALF = 16;

/** Steps over blanks and comments inside a line. @returns the character that follows, not consumed */
export function peek(s: Assembly): number {
  const { text } = s;
  let { at } = s;
  let c = text.charCodeAt(at);
  for (;;) {
    while (c === SPACE || isBlank(c)) c = text.charCodeAt(++at);
    if (c !== SLASH || text.charCodeAt(at + 1) !== STAR) break;
    const end = text.indexOf("*/", at + 2);
    if (end < 0) {
      fail(s, "ERR_ASM_SYNTAX", 'Comment has no end "*/"', at, 2);
      at = s.end;
    } else at = end + 2;
    c = text.charCodeAt(at);
  }
  s.at = at;
  return c;
}

/** Steps over one character if it is the next. */
export function accept(s: Assembly, character: number): boolean {
  if (peek(s) !== character) return false;
  s.at++;
  return true;
}

/** Steps over one character, which must be the next. */
export function expect(s: Assembly, character: number, where: string): boolean {
  if (peek(s) === character) {
    s.at++;
    return true;
  }
  return unexpected(s, `"${String.fromCharCode(character)}" ${where}`);
}

/** Notes that something else should stand here. */
export function unexpected(s: Assembly, wanted: string): false {
  const start = s.at;
  if (atEnd(s, peek(s)))
    return fail(s, "ERR_ASM_SYNTAX", `Expected ${wanted}, found the end of the statement`, start, 1);
  const length = tokenLength(s, s.at);
  const found = s.text.slice(s.at, s.at + Math.min(length, 60));
  return fail(s, "ERR_ASM_SYNTAX", `Expected ${wanted}, found "${found}"`, s.at, length);
}

/** Length of what a person would call one token, for underlining. */
export function tokenLength(s: Assembly, at: number): number {
  const { text } = s;
  let end = at;
  while (isWordPart(text.charCodeAt(end))) end++;
  if (end > at) return end - at;
  // A character above U+FFFF takes two units.
  const c = text.charCodeAt(at);
  return c >= 0xd800 && c < 0xdc00 ? 2 : 1;
}

function atEnd(s: Assembly, c: number): boolean {
  return c === LINE_FEED || c === SEMICOLON || c === HASH || (c === SLASH && s.text.charCodeAt(s.at + 1) === SLASH);
}

/** Checks that nothing but a comment follows in this statement. */
export function endOfStatement(s: Assembly): boolean {
  const c = peek(s);
  if (c === LINE_FEED || atEnd(s, c)) return true;
  const length = tokenLength(s, s.at);
  const found = s.text.slice(s.at, s.at + Math.min(length, 60));
  return fail(s, "ERR_ASM_SYNTAX", `Unexpected "${found}" after the statement`, s.at, length);
}

/** Goes to the end of a statement that could not be read. */
export function skipStatement(s: Assembly): void {
  const { text } = s;
  for (;;) {
    const c = peek(s);
    if (atEnd(s, c)) return;
    if (c === QUOTE) skipQuoted(s);
    else s.at += isWordPart(text.charCodeAt(s.at)) ? tokenLength(s, s.at) : 1;
  }
}

function skipQuoted(s: Assembly): void {
  const { text } = s;
  let at = s.at + 1;
  for (;;) {
    const c = text.charCodeAt(at);
    if (c === LINE_FEED) break;
    at++;
    if (c === QUOTE) break;
    if (c === BACKSLASH && text.charCodeAt(at) !== LINE_FEED) at++;
  }
  s.at = at;
}

/** Goes to the line end. */
export function skipLine(s: Assembly): void {
  s.at = s.text.indexOf("\n", s.at);
}

/** Steps over a word, which begins here. Its place is `nameAt` up to `at`; no string is made. */
export function skipWord(s: Assembly): void {
  const { text } = s;
  let { at } = s;
  s.nameAt = at;
  while (isWordPart(text.charCodeAt(at))) at++;
  s.at = at;
  s.nameLength = at - s.nameAt;
}

/**
 * Reads a name, plain or in quotes, into `name`.
 *
 * @returns whether one stands here; nothing is noted when not, except for a faulty string
 */
export function readName(s: Assembly): boolean {
  const c = peek(s);
  if (c === QUOTE) {
    const at = s.at;
    const name = readString(s);
    if (name === undefined) return false;
    s.name = name;
    s.nameAt = at;
    s.nameLength = s.at - at;
    return true;
  }
  if (!startsWord(c)) return false;
  skipWord(s);
  s.name = s.text.slice(s.nameAt, s.at);
  return true;
}

/** Reads a name that must be there, see {@link readName}. */
export function expectName(s: Assembly, what: string): boolean {
  const quoted = peek(s) === QUOTE;
  if (readName(s)) return true;
  // Of a faulty string more is known already.
  return quoted ? false : unexpected(s, what);
}

const ESCAPES: Readonly<Record<string, string>> = { n: "\n", t: "\t", r: "\r", b: "\b", f: "\f", v: "\v", a: "\x07" };

/** Reads a string in double quotes, which begins here. Escapes of C; each escaped number is one character. */
export function readString(s: Assembly): string | undefined {
  const { text } = s;
  const start = s.at;
  let value = "";
  let at = start + 1;
  for (;;) {
    let plain = at;
    let c = text.charCodeAt(plain);
    while (c !== QUOTE && c !== BACKSLASH && c !== LINE_FEED) c = text.charCodeAt(++plain);
    value += text.slice(at, plain);
    at = plain + 1;
    if (c === QUOTE) break;
    if (c === LINE_FEED || text.charCodeAt(at) === LINE_FEED) {
      s.at = plain;
      fail(s, "ERR_ASM_SYNTAX", "String has no end", start, plain - start);
      return undefined;
    }
    s.at = at;
    const code = escapedNumber(s);
    if (code < 0) {
      const letter = text[at]!;
      value += Object.hasOwn(ESCAPES, letter) ? ESCAPES[letter] : letter;
      at++;
    } else {
      value += String.fromCharCode(code);
      at = s.at;
    }
  }
  s.at = at;
  return value;
}

/** Reads `101` or `x41` behind a backslash. @returns the value, or -1 when it is no number */
function escapedNumber(s: Assembly): number {
  const { text } = s;
  let { at } = s;
  let value = 0;
  if (text.charCodeAt(at) === LOWER_X && hexDigit(text.charCodeAt(at + 1)) >= 0) {
    at++;
    for (let digit = hexDigit(text.charCodeAt(at)); digit >= 0; digit = hexDigit(text.charCodeAt(++at))) {
      value = ((value << 4) | digit) & 0xff;
    }
    s.at = at;
    return value;
  }
  const first = at;
  for (let c = text.charCodeAt(at); c >= ZERO && c <= SEVEN && at < first + 3; c = text.charCodeAt(++at)) {
    value = (value << 3) | (c - ZERO);
  }
  if (at === first) return -1;
  s.at = at;
  return value & 0xff;
}

/** Reads a character in single quotes, which begins here. @returns its code, or -1 when it is none */
export function readCharacter(s: Assembly): number {
  const { text } = s;
  const start = s.at;
  let at = start + 1;
  let code = text.charCodeAt(at);
  const open = code === LINE_FEED || (code === BACKSLASH && text.charCodeAt(at + 1) === LINE_FEED);
  if (code === BACKSLASH && !open) {
    s.at = at + 1;
    code = escapedNumber(s);
    at = s.at;
    if (code < 0) {
      const letter = text[at]!;
      code = Object.hasOwn(ESCAPES, letter) ? ESCAPES[letter]!.charCodeAt(0) : letter.charCodeAt(0);
      at++;
    }
  } else at++;
  if (open || text.charCodeAt(at) !== APOSTROPHE) {
    s.at = start;
    fail(s, "ERR_ASM_SYNTAX", "Character in quotes has no end", start, 1);
    return -1;
  }
  s.at = at + 1;
  return code;
}

/**
 * Reads a register.
 *
 * @param glued whether a signed operator may follow without a space, as bpf-objdump of GNU prints `r1s>5` and `r1s/=5`
 * @returns 0..10 for `r0`..`r10`, `HALF` more for `w0`..`w10`, `NO_REGISTER` when something else stands here (nothing
 * is consumed), `BAD_REGISTER` after noting that there is no such register
 */
export function register(s: Assembly, glued = false): number {
  const { text } = s;
  let at = s.at;
  let letter = text.charCodeAt(at);
  const percent = letter === PERCENT && s.mnemonic;
  if (percent) letter = text.charCodeAt(++at);
  if (letter !== LOWER_R && letter !== LOWER_W)
    return percent || s.mnemonic ? framePointer(s, at, percent) : NO_REGISTER;
  const c = text.charCodeAt(at + 1);
  if (c < ZERO || c > NINE) return percent ? framePointer(s, at, percent) : NO_REGISTER;
  let d = text.charCodeAt(at + 2);
  let number = c - ZERO;
  let end = at + 2;
  if (d >= ZERO && d <= NINE) {
    number = 10 * number + d - ZERO;
    d = text.charCodeAt(++end);
    // Also "r01", which nobody means.
    if (c === ZERO) number = 99;
  }
  if (isWordPart(d)) {
    const digits = end;
    while (isDigit(text.charCodeAt(end))) end++;
    if (isWordPart(text.charCodeAt(end)) && !(glued && atSignedOperator(text, end))) {
      return percent ? framePointer(s, at, percent) : NO_REGISTER;
    }
    if (end > digits) number = 99;
  }
  if (number > s.highestRegister) {
    const word = text.slice(s.at, end);
    const kind = `${percent ? "%" : ""}${String.fromCharCode(letter)}`;
    const hint = `Registers are ${kind}0 to ${kind}10`;
    fail(s, "ERR_ASM_OPERAND", `Register "${word.slice(0, 20)}" does not exist`, s.at, end - s.at, hint);
    s.at = end;
    return BAD_REGISTER;
  }
  s.at = end;
  return letter === LOWER_R ? number : number + HALF;
}

/** Whether `s>`, `s<`, `s/` or `s%` stands here. */
function atSignedOperator(text: string, at: number): boolean {
  if (text.charCodeAt(at) !== LOWER_S) return false;
  const c = text.charCodeAt(at + 1);
  return c === GREATER || c === LESS || c === SLASH || c === PERCENT;
}

/** The other name of r10. */
function framePointer(s: Assembly, at: number, percent: boolean): number {
  const { text } = s;
  if (text.charCodeAt(at) === LOWER_F && text.charCodeAt(at + 1) === LOWER_P && !isWordPart(text.charCodeAt(at + 2))) {
    s.at = at + 2;
    return 10;
  }
  if (!percent || !isWordPart(text.charCodeAt(at))) return NO_REGISTER;
  const length = 1 + tokenLength(s, at);
  fail(
    s,
    "ERR_ASM_OPERAND",
    `Register "${text.slice(at - 1, at - 1 + Math.min(length, 20))}" does not exist`,
    at - 1,
    length,
    "Registers are %r0 to %r10",
  );
  return BAD_REGISTER;
}

/** Reads a register that must be there. @returns as {@link register}, but never `NO_REGISTER` */
export function expectRegister(s: Assembly, what: string, glued = false): number {
  const c = peek(s);
  const found = register(s, glued);
  if (found !== NO_REGISTER) return found;
  if (c === UPPER_R && isDigit(s.text.charCodeAt(s.at + 1))) {
    const length = tokenLength(s, s.at);
    const word = s.text.slice(s.at, s.at + Math.min(length, 20));
    fail(
      s,
      "ERR_ASM_OPERAND",
      `Register "${word}" does not exist`,
      s.at,
      length,
      "Registers are written in lower case",
    );
    return BAD_REGISTER;
  }
  unexpected(s, what);
  return BAD_REGISTER;
}

/** Reads a register that must be there and be 64 bits wide. @returns 0..10, or `BAD_REGISTER` */
export function expectWhole(s: Assembly, what: string): number {
  peek(s);
  const at = s.at;
  const found = expectRegister(s, what);
  if (found < HALF) return found;
  fail(
    s,
    "ERR_ASM_OPERAND",
    `Expected ${what}, found the 32-bit register w${found - HALF}`,
    at,
    s.at - at,
    `Write r${found - HALF}`,
  );
  return BAD_REGISTER;
}

/** Whether a decimal numeric label such as `1f` or `1b` stands here. */
export function atLocalLabel(s: Assembly): boolean {
  const { text } = s;
  let at = s.at;
  while (isDigit(text.charCodeAt(at))) at++;
  if (at === s.at) return false;
  const c = text.charCodeAt(at);
  return (c === LOWER_B || c === LOWER_F) && !isWordPart(text.charCodeAt(at + 1));
}

/**
 * Finds something in the rest of the line. Looks at so many characters only, so that a text made of such searches in one
 * endless line takes no time that grows with its square.
 *
 * @returns its place, or -1
 */
export function findInLine(s: Assembly, what: string, from: number): number {
  const rest = s.text.slice(from, from + 2000);
  const found = rest.indexOf(what);
  const end = rest.indexOf("\n");
  return found < 0 || (end >= 0 && end < found) ? -1 : from + found;
}
