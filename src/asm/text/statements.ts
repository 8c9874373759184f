// Browser-safe.

import { type Assembly, fail, type LocalJump, suggest } from "./assembly.ts";
import { C_WORDS, cStatement, cWordStatement } from "./c-style.ts";
import {
  CLOSE,
  COLON,
  DOT,
  EQUALS,
  HASH,
  hexDigit,
  isBlank,
  isDigit,
  isWordPart,
  LESS,
  LINE_FEED,
  LOWER_R,
  LOWER_W,
  OPEN,
  QUOTE,
  SEMICOLON,
  SLASH,
  startsWord,
  UPPER_R,
} from "./characters.ts";
import { closeRaw, define, directive } from "./directives.ts";
import { shown } from "./expression.ts";
import { defineLabel } from "./labels.ts";
import { mnemonicStatement } from "./mnemonic-style.ts";
import { MNEMONICS } from "./mnemonics.ts";
import { endOfStatement, findInLine, peek, readName, skipLine, skipStatement, skipWord, tokenLength } from "./scan.ts";
import { readSimpleC } from "./simple-c.ts";
import { readSimpleMnemonics } from "./simple-mnemonics.ts";
import { findWord } from "./words.ts";

// Statements end with a line or with ";". A line that begins with ";" is a comment, because that is how the kernel and
// llvm-objdump print source lines; and so is what follows ";" behind an instruction copied from a verifier log.

/** Reads the whole text. Problems are noted and reading goes on behind the statement. */
export function readStatements(s: Assembly): void {
  const { text, end } = s;
  // Where the current line's first statement began with a slot number and opcode, as in a verifier log.
  let leading = true;
  let fromLog = false;
  if (!s.slow) readSimple(s);
  for (;;) {
    const c = peek(s);
    if (c === LINE_FEED) {
      if (s.at >= end) break;
      s.at++;
      leading = true;
      fromLog = false;
      if (!s.slow) readSimple(s);
      continue;
    }
    if (c === SEMICOLON) {
      s.at++;
      if (leading || fromLog || (!s.mnemonic && atVerifierState(s))) skipLine(s);
      continue;
    }
    if (c === HASH || (c === SLASH && text.charCodeAt(s.at + 1) === SLASH)) {
      skipLine(s);
      continue;
    }
    s.start = s.at;
    leading = false;
    if (isDigit(c) || (c >= 0x61 && c <= 0x66 && hexDigit(text.charCodeAt(s.at + 1)) >= 0)) {
      const prefix = linePrefix(s, c);
      if (prefix === FAILED) skipStatement(s);
      if (prefix !== NONE) continue;
    } else if (c === OPEN && opcodePrefix(s)) {
      fromLog = true;
      continue;
    }
    const noted = s.problems.length;
    const outcome = statement(s, c);
    if (outcome === LABEL) continue; // the next statement may stand in the same line
    if (outcome === FAILED) {
      // No statement is ever left out in silence, whatever its reader forgot to say.
      if (s.problems.length === noted) fail(s, "ERR_ASM_SYNTAX", UNREADABLE, s.start, 1);
      skipStatement(s);
    } else if (text.charCodeAt(s.at) !== LINE_FEED && !endOfStatement(s)) skipStatement(s);
  }
  for (const section of s.sections) closeRaw(s, section);
  for (const waiting of s.localPending.values()) {
    for (const jump of waiting) {
      const length = tokenLength(s, jump.at);
      const name = text.slice(jump.at, jump.at + length);
      fail(s, "ERR_ASM_LABEL", `Label "${shown(name)}" is not defined further down`, jump.at, length);
    }
  }
}

function readSimple(s: Assembly): void {
  if (s.mnemonic) readSimpleMnemonics(s);
  else readSimpleC(s);
}

/** Whether registers of the verifier follow, as in `r0 = 0 ; R0=0`. No statement begins with an upper-case R. */
export function atVerifierState(s: Assembly): boolean {
  const c = peek(s);
  return c === UPPER_R && isDigit(s.text.charCodeAt(s.at + 1));
}

const UNREADABLE = "Cannot read this statement";

const FAILED = 0;
const DONE = 1;
const LABEL = 2;
/** What {@link linePrefix} gives when it consumed nothing. */
export const NONE = 3;

/** Reads one statement. @returns `FAILED` after noting a problem, `LABEL` for a label, which needs no end */
function statement(s: Assembly, c: number): number {
  const { text } = s;
  if (!s.mnemonic) {
    const read = cStatement(s, c);
    if (read !== undefined) return read ? DONE : FAILED;
  }
  if (!startsWord(c)) {
    if (c === QUOTE) {
      if (!readName(s)) return FAILED;
      if (peek(s) === COLON) {
        s.at++;
        defineLabel(s, s.name, s.nameAt);
        return LABEL;
      }
      s.at = s.nameAt;
    }
    const length = tokenLength(s, s.at);
    fail(s, "ERR_ASM_SYNTAX", `Expected a statement, found "${text.slice(s.at, s.at + length)}"`, s.at, length);
    return FAILED;
  }
  skipWord(s);
  const start = s.nameAt;
  const end = s.at;
  if (text.charCodeAt(end) === COLON) {
    s.at++;
    defineLabel(s, text.slice(start, end), start);
    return LABEL;
  }
  const read = c === DOT ? directive(s) : s.mnemonic ? mnemonicStatement(s) : cWordStatement(s);
  if (read !== undefined) return read ? DONE : FAILED;
  const next = peek(s);
  if (next === COLON) {
    s.at++;
    defineLabel(s, text.slice(start, end), start);
    return LABEL;
  }
  if (next === EQUALS && text.charCodeAt(s.at + 1) !== EQUALS && !looksLikeRegister(text, start)) {
    s.at++;
    peek(s);
    return define(s, text.slice(start, end), start) ? DONE : FAILED;
  }
  unknown(s, start, end);
  return FAILED;
}

/** In the mnemonic style `r1 = 5` defines no constant: it is a statement of another style. */
function looksLikeRegister(text: string, at: number): boolean {
  const c = text.charCodeAt(at) | 0x20;
  return (c === LOWER_R || c === LOWER_W) && isDigit(text.charCodeAt(at + 1));
}

function unknown(s: Assembly, start: number, end: number): boolean {
  const { text } = s;
  const word = text.slice(start, Math.min(end, start + 80));
  return fail(
    s,
    "ERR_ASM_UNKNOWN_MNEMONIC",
    `Unknown instruction "${shown(word)}"`,
    start,
    end - start,
    unknownHint(s, word, start, end),
  );
}

function unknownHint(s: Assembly, word: string, start: number, end: number): string | undefined {
  const { text } = s;
  if (s.mnemonic) {
    if (looksLikeRegister(text, start) || (C_WORDS.includes(word) && findWord(MNEMONICS, text, start, end) < 0)) {
      return "This file is in mnemonic style, and a file has one style";
    }
  } else if (findWord(MNEMONICS, text, start, end) >= 0) {
    return `"${word}" is of the mnemonic style, and a file has one style`;
  } else if (/^[RW][0-9]/.test(word)) return "Registers are written in lower case";
  const words = s.mnemonic ? MNEMONICS.words : C_WORDS;
  const near = suggest(s, word, s.code.length > 0 ? words : [...words, ...MNEMONICS.words]);
  if (near !== undefined) return near;
  let before = start - 1;
  while (isBlank(text.charCodeAt(before))) before--;
  if (text.charCodeAt(before) === SEMICOLON) return '";" separates statements; a comment begins with "#" or "//"';
  return undefined;
}

/**
 * What may stand before an instruction: a numeric label `1:`, which may be a slot number printed by a disassembler, and
 * the bytes of llvm-objdump, which are passed over. Also its line `0000000000000000 <main>:`, which defines a label.
 *
 * @returns `NONE` when none of these stands here
 */
export function linePrefix(s: Assembly, c: number): number {
  const { text } = s;
  const start = s.at;
  if (skipBytes(s)) return LABEL;
  const open = objdumpSymbol(s);
  if (open >= 0) {
    const close = text.indexOf(">:", open);
    s.at = close + 2;
    defineLabel(s, text.slice(open, close), open);
    return LABEL;
  }
  if (!isDigit(c)) return NONE;
  let at = start;
  let number = 0;
  for (let digit = c; isDigit(digit); digit = text.charCodeAt(++at)) number = number * 10 + digit - 0x30;
  s.at = at;
  if (isWordPart(text.charCodeAt(at)) || peek(s) !== COLON) {
    const length = tokenLength(s, start);
    const found = shown(text.slice(start, start + Math.min(length, 80)));
    fail(s, "ERR_ASM_SYNTAX", `Expected a statement, found "${found}"`, start, length);
    return FAILED;
  }
  s.at++;
  defineLocal(s, number);
  return LABEL;
}

function defineLocal(s: Assembly, number: number): void {
  const { section } = s;
  const index = s.code.length;
  s.localLabels.set(number, { section, index });
  const waiting = s.localPending.get(number);
  if (waiting === undefined) return;
  for (const jump of waiting as LocalJump[]) jump.target = jump.section === section ? index : -1;
  s.localPending.delete(number);
}

/** Steps over `(b7)`, the opcode in a verifier log. @returns `false`, with nothing consumed, when it is not there */
export function opcodePrefix(s: Assembly): boolean {
  const { text, at } = s;
  const high = hexDigit(text.charCodeAt(at + 1));
  const low = hexDigit(text.charCodeAt(at + 2));
  if (high < 0 || low < 0 || text.charCodeAt(at + 3) !== CLOSE) return false;
  s.at = at + 4;
  s.sawKernelStyle = true;
  // The opcode tells an ld_imm64 from a mov, which the text alone does not.
  if (!s.mnemonic && s.hexIsWide === undefined && high === 1 && low === 8) s.hexIsWide = true;
  return true;
}

/** Steps over eight or sixteen bytes in hexadecimal, two digits each. */
function skipBytes(s: Assembly): boolean {
  const { text } = s;
  let at = s.at;
  let bytes = 0;
  while (
    bytes < 17 &&
    hexDigit(text.charCodeAt(at)) >= 0 &&
    hexDigit(text.charCodeAt(at + 1)) >= 0 &&
    isBlank(text.charCodeAt(at + 2))
  ) {
    bytes++;
    at += 3;
  }
  if (bytes !== 8 && bytes !== 16) return false;
  s.at = at;
  return true;
}

/** Where the name begins in `0000000000000000 <main>:`, or -1 when no such thing stands here. */
function objdumpSymbol(s: Assembly): number {
  const { text } = s;
  let at = s.at;
  while (hexDigit(text.charCodeAt(at)) >= 0) at++;
  if (at - s.at !== 16 || !isBlank(text.charCodeAt(at)) || text.charCodeAt(at + 1) !== LESS) return -1;
  return findInLine(s, ">:", at) < 0 ? -1 : at + 2;
}
