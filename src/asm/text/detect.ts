// Browser-safe.

import { type Assembly, newAssembly } from "./assembly.ts";
import { C_WORDS } from "./c-style.ts";
import {
  COLON,
  DOT,
  EQUALS,
  HASH,
  isDigit,
  LINE_FEED,
  LOWER_R,
  LOWER_W,
  OPEN,
  PERCENT,
  SEMICOLON,
  SLASH,
  STAR,
  startsWord,
} from "./characters.ts";
import { MNEMONICS } from "./mnemonics.ts";
import { peek, skipLine, skipStatement, skipWord } from "./scan.ts";
import { atVerifierState, linePrefix, NONE, opcodePrefix } from "./statements.ts";
import { findWord, standsAt } from "./words.ts";

/**
 * Whether a text is in mnemonics: its first statement that only one of the grammars can begin with decides. `exit` and
 * `call` are in both, and so a text without any other instruction is C-like.
 */
export function usesMnemonics(text: string): boolean {
  // Nearly always the first lines tell, and a state for the whole text copies it.
  const cut = text.length > FIRST_LINES ? text.lastIndexOf("\n", FIRST_LINES) : -1;
  return (cut > 0 ? decide(text.slice(0, cut)) : undefined) ?? decide(text) ?? false;
}

/** Characters in which the deciding statement is looked for first. */
const FIRST_LINES = 4096;

/** @returns `undefined` when no statement decides */
function decide(text: string): boolean | undefined {
  // A state of its own: what is noted here as a problem is noted again when the text is read.
  const s = newAssembly(text, {
    mnemonic: false,
    hexIsWide: undefined,
    allowAnyRegister: false,
    allowUndefined: false,
    maps: undefined,
    kfuncs: undefined,
    file: "",
    keepSource: false,
    constants: [],
    inserts: [],
  });
  let leading = true;
  let fromLog = false;
  for (;;) {
    const c = peek(s);
    if (c === LINE_FEED) {
      if (s.at >= s.end) return undefined;
      s.at++;
      leading = true;
      fromLog = false;
      continue;
    }
    const next = s.text.charCodeAt(s.at + 1);
    if (c === HASH || (c === SLASH && next === SLASH)) {
      skipLine(s);
      continue;
    }
    if (c === SEMICOLON) {
      s.at++;
      if (leading || fromLog || atVerifierState(s)) skipLine(s);
      continue;
    }
    s.start = s.at;
    leading = false;
    if (c === STAR && next === OPEN) return false;
    if ((isDigit(c) || (c >= 0x61 && c <= 0x66)) && linePrefix(s, c) !== NONE) continue;
    if (c === OPEN && opcodePrefix(s)) {
      fromLog = true;
      continue;
    }
    if (!startsWord(c)) {
      s.at++;
      skipStatement(s);
      continue;
    }
    const found = styleOfWord(s, c, next);
    if (found !== undefined) return found;
  }
}

/**
 * What the statement that begins with a word says of the style, and steps over it.
 *
 * @returns whether it is a mnemonic, or `undefined` when it may be either
 */
function styleOfWord(s: Assembly, c: number, next: number): boolean | undefined {
  skipWord(s);
  const start = s.nameAt;
  const end = s.at;
  const follows = peek(s);
  if (follows === COLON) {
    s.at++;
    return undefined;
  }
  if (c === DOT) {
    skipLine(s);
    return undefined;
  }
  // "r1 = ", "r1 += " and "r1 s>>= ".
  if ((c === LOWER_R || c === LOWER_W) && isDigit(next) && s.text.slice(s.at, s.at + 4).includes("=")) return false;
  const inMnemonics = findWord(MNEMONICS, s.text, start, end) >= 0;
  const inC = C_WORDS.includes(s.text.slice(start, Math.min(end, start + 40)));
  if (inMnemonics && !inC && follows !== EQUALS) return true;
  if (inC && !inMnemonics) return false;
  if (follows === PERCENT) return true;
  // "lock *(u64 *)..." against "lock add ...".
  if (inC && standsAt("lock", s.text, start, end)) return follows !== STAR;
  skipStatement(s);
  return undefined;
}
