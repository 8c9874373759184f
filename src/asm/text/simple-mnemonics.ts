// Browser-safe.

// The short cut for mnemonics: see simple.ts.

import { Source } from "../opcodes.ts";
import type { Assembly } from "./assembly.ts";
import {
  CLOSE_BRACKET,
  COLON,
  COMMA,
  isWordPart,
  LINE_FEED,
  LOWER_R,
  MINUS,
  OPEN_BRACKET,
  PERCENT,
  PLUS,
  SPACE,
  startsWord,
  TAB,
} from "./characters.ts";
import { MNEMONICS, Shape } from "./mnemonics.ts";
import {
  decimal,
  emit,
  label,
  NO_NUMBER,
  OTHER,
  pattern,
  refer,
  registerAt,
  registerLength,
  wordEnd,
} from "./simple.ts";
import { addToHash, findHashed } from "./words.ts";

/**
 * Reads lines from the start of one until the first that is not simple.
 *
 * @returns nothing; `s.at` is at the first statement that is left
 */
export function readSimpleMnemonics(s: Assembly): void {
  const { text } = s;
  let { at } = s;
  for (;;) {
    let c = text.charCodeAt(at);
    while (c === LINE_FEED || c === SPACE || c === TAB) c = text.charCodeAt(++at);
    s.start = at;
    if (!startsWord(c)) break;
    let end = at;
    let hash = 0;
    let part = c;
    do {
      hash = addToHash(hash, part);
      part = text.charCodeAt(++end);
    } while (isWordPart(part));
    const next = part === COLON ? label(s, at, c) : statement(s, at, end, hash);
    if (next === OTHER) break;
    at = next;
  }
  s.at = Math.min(at, s.end);
}

function statement(s: Assembly, start: number, end: number, hash: number): number {
  const found = findHashed(MNEMONICS, s.text, start, end, hash);
  if (found < 0) return OTHER;
  const shape = MNEMONICS.shapes[found]!;
  const opcode = MNEMONICS.opcodes[found]!;
  const extra = MNEMONICS.extras[found]!;
  if (shape === Shape.none) {
    if (s.text.charCodeAt(end) !== LINE_FEED) return OTHER;
    emit(s, opcode, 0, 0, 0, 0);
    return end + 1;
  }
  if (s.text.charCodeAt(end) !== SPACE) return OTHER;
  const at = end + 1;
  switch (shape) {
    case Shape.alu:
      return alu(s, at, opcode, extra);
    case Shape.load:
      return load(s, at, opcode, extra);
    case Shape.store:
      return store(s, at, opcode, extra);
    case Shape.storeImmediate:
      return storeImmediate(s, at, opcode);
    case Shape.branch:
      return branch(s, at, opcode);
    case Shape.jump:
      return target(s, at, opcode, 0, 0, 0);
    case Shape.call: {
      const number = decimal(s, at);
      if (number === NO_NUMBER || s.text.charCodeAt(s.at) !== LINE_FEED) return OTHER;
      emit(s, opcode, 0, 0, 0, number);
      return s.at + 1;
    }
    default:
      return OTHER;
  }
}

/** Reads `%r1` or `r1`; `s.at` is behind it. @returns its number, or -1 */
function register(s: Assembly, at: number): number {
  const { text } = s;
  if (text.charCodeAt(at) === PERCENT) at++;
  if (text.charCodeAt(at) !== LOWER_R) return -1;
  const found = registerAt(text, at);
  if (found < 0) return -1;
  at += registerLength(found);
  if (isWordPart(text.charCodeAt(at))) return -1;
  s.at = at;
  return found;
}

/** Position behind `,` or `, `, which stands here; -1 when it does not. */
function behindComma(text: string, at: number): number {
  if (text.charCodeAt(at) !== COMMA) return -1;
  return text.charCodeAt(at + 1) === SPACE ? at + 2 : at + 1;
}

function alu(s: Assembly, at: number, opcode: number, offset: number): number {
  const { text } = s;
  const dst = register(s, at);
  if (dst < 0) return OTHER;
  const next = behindComma(text, s.at);
  if (next < 0) return OTHER;
  const c = text.charCodeAt(next);
  if (c === PERCENT || c === LOWER_R) {
    const src = register(s, next);
    if (src < 0 || text.charCodeAt(s.at) !== LINE_FEED) return OTHER;
    emit(s, opcode | Source.x, dst, src, offset, 0);
    return s.at + 1;
  }
  const imm = pattern(s, next);
  if (imm === NO_NUMBER || text.charCodeAt(s.at) !== LINE_FEED) return OTHER;
  emit(s, opcode, dst, 0, offset, imm);
  return s.at + 1;
}

/** Reads `[%r1+8]` or `[%r1]` into `base` and `offset`; `s.at` is behind it. */
function address(s: Assembly, at: number): boolean {
  const { text } = s;
  if (text.charCodeAt(at) !== OPEN_BRACKET) return false;
  const base = register(s, at + 1);
  if (base < 0) return false;
  const sign = text.charCodeAt(s.at);
  let offset = 0;
  if (sign === PLUS || sign === MINUS) {
    at = sign === PLUS ? s.at + 1 : s.at;
    if (sign === PLUS && text.charCodeAt(at) === MINUS) return false;
    offset = decimal(s, at);
    if ((offset << 16) >> 16 !== offset) return false;
  }
  if (text.charCodeAt(s.at) !== CLOSE_BRACKET) return false;
  s.at++;
  s.base = base;
  s.offset = offset;
  return true;
}

function load(s: Assembly, at: number, opcode: number, imm: number): number {
  const { text } = s;
  const dst = register(s, at);
  if (dst < 0) return OTHER;
  const next = behindComma(text, s.at);
  if (next < 0 || !address(s, next) || text.charCodeAt(s.at) !== LINE_FEED) return OTHER;
  emit(s, opcode, dst, s.base, s.offset, imm);
  return s.at + 1;
}

function store(s: Assembly, at: number, opcode: number, imm: number): number {
  const { text } = s;
  if (!address(s, at)) return OTHER;
  const next = behindComma(text, s.at);
  if (next < 0) return OTHER;
  const src = register(s, next);
  if (src < 0 || text.charCodeAt(s.at) !== LINE_FEED) return OTHER;
  emit(s, opcode, s.base, src, s.offset, imm);
  return s.at + 1;
}

function storeImmediate(s: Assembly, at: number, opcode: number): number {
  const { text } = s;
  if (!address(s, at)) return OTHER;
  const next = behindComma(text, s.at);
  if (next < 0) return OTHER;
  const imm = pattern(s, next);
  if (imm === NO_NUMBER || text.charCodeAt(s.at) !== LINE_FEED) return OTHER;
  emit(s, opcode, s.base, 0, s.offset, imm);
  return s.at + 1;
}

function branch(s: Assembly, at: number, opcode: number): number {
  const { text } = s;
  const dst = register(s, at);
  if (dst < 0) return OTHER;
  let next = behindComma(text, s.at);
  if (next < 0) return OTHER;
  const c = text.charCodeAt(next);
  const byRegister = c === PERCENT || c === LOWER_R;
  const operand = byRegister ? register(s, next) : pattern(s, next);
  if (operand === (byRegister ? -1 : NO_NUMBER)) return OTHER;
  next = behindComma(text, s.at);
  if (next < 0) return OTHER;
  return byRegister ? target(s, next, opcode | Source.x, dst, operand, 0) : target(s, next, opcode, dst, 0, operand);
}

/** Reads `+3` or a label, and appends the jump. */
function target(s: Assembly, at: number, opcode: number, dst: number, src: number, imm: number): number {
  const { text } = s;
  const c = text.charCodeAt(at);
  if (c === PLUS || c === MINUS) {
    if (c === PLUS && text.charCodeAt(++at) === MINUS) return OTHER;
    const offset = decimal(s, at);
    if ((offset << 16) >> 16 !== offset || text.charCodeAt(s.at) !== LINE_FEED) return OTHER;
    emit(s, opcode, dst, src, offset, imm);
    return s.at + 1;
  }
  if (!startsWord(c)) return OTHER;
  const end = wordEnd(text, at);
  if (text.charCodeAt(end) !== LINE_FEED) return OTHER;
  emit(s, opcode, dst, src, 0, imm);
  refer(s, at, end, "jump");
  return end + 1;
}
