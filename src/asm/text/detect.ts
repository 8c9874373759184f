// Browser-safe.

import { newAssembly } from "./assembly.ts";
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
import { findWord } from "./words.ts";

/**
 * Whether a text is in mnemonics: its first statement that only one of the grammars can begin with decides. `exit` and
 * `call` are in both, and so a text without any other instruction is C-like.
 */
export function usesMnemonics(text: string): boolean {
  // A state of its own: what is noted here as a problem is noted again when the text is read.
  const s = newAssembly(text, {
    mnemonic: false,
    hexIsWide: undefined,
    allowAnyRegister: false,
    maps: undefined,
    kfuncs: undefined,
    file: "",
    keepSource: false,
    constants: [],
    inserts: [],
  });
  let leading = true;
  for (;;) {
    const c = peek(s);
    if (c === LINE_FEED) {
      if (s.at >= s.end) return false;
      s.at++;
      leading = true;
      continue;
    }
    const next = s.text.charCodeAt(s.at + 1);
    if (c === HASH || (c === SLASH && next === SLASH) || (c === SEMICOLON && leading)) {
      skipLine(s);
      continue;
    }
    leading = false;
    if (c === SEMICOLON) {
      s.at++;
      continue;
    }
    if (c === STAR && next === OPEN) return false;
    if (!startsWord(c)) {
      // Numeric labels and what disassemblers print before an instruction.
      if (isDigit(c) || c === OPEN || c === COLON) s.at++;
      else skipStatement(s);
      continue;
    }
    skipWord(s);
    const start = s.nameAt;
    const end = s.at;
    const follows = peek(s);
    if (follows === COLON) {
      s.at++;
      continue;
    }
    if (c === DOT) {
      skipLine(s);
      continue;
    }
    const isC = (c === LOWER_R || c === LOWER_W) && isDigit(next);
    if (isC && follows !== LINE_FEED) return false;
    const inMnemonics = findWord(MNEMONICS, s.text, start, end) >= 0;
    const inC = C_WORDS.includes(s.text.slice(start, Math.min(end, start + 40)));
    if (inMnemonics && !inC && follows !== EQUALS) return true;
    if (inC && !inMnemonics) return false;
    if (follows === PERCENT) return true;
    // "lock *(u64 *)..." against "lock add ...".
    if (inC && s.text.charCodeAt(start) === 0x6c && end - start === 4) return follows !== STAR;
    skipStatement(s);
  }
}
