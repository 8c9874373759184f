// Browser-safe.

// The short cut for the C-like styles: see simple.ts.

import { HELPERS } from "../../kernel-abi/helpers.generated.ts";
import { AluOp, Class, JumpOp, Mode, Size, Source } from "../opcodes.ts";
import type { Assembly } from "./assembly.ts";
import {
  AMPERSAND,
  BAR,
  CARET,
  CLOSE,
  EQUALS,
  EXCLAMATION,
  GREATER,
  HASH,
  isWordPart,
  LESS,
  LINE_FEED,
  LOWER_C,
  LOWER_I,
  LOWER_P,
  LOWER_R,
  LOWER_S,
  LOWER_U,
  LOWER_W,
  MINUS,
  OPEN,
  PERCENT,
  PLUS,
  SLASH,
  SPACE,
  STAR,
  startsWord,
  TAB,
} from "./characters.ts";
import {
  decimal,
  emit,
  label,
  NO_NUMBER,
  OTHER,
  pattern,
  refer,
  referTo,
  registerAt,
  registerLength,
  wordEnd,
} from "./simple.ts";
import { addToHash, findHashed, wordTable } from "./words.ts";

/**
 * Reads lines from the start of one until the first that is not simple.
 *
 * @returns nothing; `s.at` is at the first statement that is left
 */
export function readSimpleC(s: Assembly): void {
  const { text } = s;
  let { at } = s;
  for (;;) {
    let c = text.charCodeAt(at);
    while (c === LINE_FEED || c === SPACE || c === TAB) c = text.charCodeAt(++at);
    s.start = at;
    let next = OTHER;
    if (c === LOWER_R || c === LOWER_W) next = assignment(s, at, c);
    else if (c === STAR) next = store(s, at);
    else if (c === LOWER_I) next = conditionalJump(s, at);
    else if (c === 0x65)
      next = exit(s, at); // e
    else if (c === LOWER_C) next = call(s, at);
    else if (c === 0x67) next = jump(s, at); // g
    if (next === OTHER) next = label(s, at, c);
    if (next === OTHER) break;
    at = next;
  }
  s.at = Math.min(at, s.end);
}

/** Size bits of `u8`, `u16`, `u32` or `u64` in `(u64 *)(`, which begins here; -1 for anything else. */
function memorySize(text: string, at: number): number {
  if (text.charCodeAt(at) !== OPEN || text.charCodeAt(at + 1) !== LOWER_U) return -1;
  const c = text.charCodeAt(at + 2);
  const d = text.charCodeAt(at + 3);
  let size: number;
  let end = at + 4;
  if (c === 0x36 && d === 0x34) size = Size.dw;
  else if (c === 0x33 && d === 0x32) size = Size.w;
  else if (c === 0x31 && d === 0x36) size = Size.h;
  else if (c === 0x38) {
    size = Size.b;
    end = at + 3;
  } else return -1;
  return text.charCodeAt(end) === SPACE &&
    text.charCodeAt(end + 1) === STAR &&
    text.charCodeAt(end + 2) === CLOSE &&
    text.charCodeAt(end + 3) === OPEN &&
    text.charCodeAt(end + 4) === LOWER_R
    ? size
    : -1;
}

/** Reads `r6 + 8)` or `r6 +8)` into `base` and `offset`; `s.at` is behind it. */
function address(s: Assembly, at: number): boolean {
  const { text } = s;
  const base = registerAt(text, at);
  if (base < 0) return false;
  at += registerLength(base);
  if (text.charCodeAt(at) !== SPACE) return false;
  const sign = text.charCodeAt(at + 1);
  if (sign !== PLUS && sign !== MINUS) return false;
  at += 2;
  const spaced = text.charCodeAt(at) === SPACE;
  if (spaced) at++;
  if (text.charCodeAt(at) === MINUS) return false;
  const value = decimal(s, at);
  const offset = sign === PLUS ? value : -value | 0;
  if ((offset << 16) >> 16 !== offset || text.charCodeAt(s.at) !== CLOSE) return false;
  if (spaced) s.sawLlvmStyle = true;
  else s.sawKernelStyle = true;
  s.at++;
  s.base = base;
  s.offset = offset;
  return true;
}

/** `r1 = r2`, `r1 = 5`, `r1 += r2`, `r1 = *(u64 *)(r6 + 8)` */
function assignment(s: Assembly, at: number, letter: number): number {
  const { text } = s;
  const dst = registerAt(text, at);
  if (dst < 0) return OTHER;
  at += registerLength(dst);
  if (text.charCodeAt(at) !== SPACE) return OTHER;
  const c = text.charCodeAt(at + 1);
  let op: number = AluOp.mov;
  at += 2;
  if (c !== EQUALS) {
    op = operator(text, at - 1, c);
    if (op < 0) return OTHER;
    at += op === AluOp.lsh || op === AluOp.rsh ? 2 : op === AluOp.arsh ? 3 : 1;
  }
  if (text.charCodeAt(at) !== SPACE) return OTHER;
  at++;
  const opcode = (letter === LOWER_R ? Class.alu64 : Class.alu) | op;
  const d = text.charCodeAt(at);
  if (d === letter) {
    const src = registerAt(text, at);
    if (src < 0) return OTHER;
    at += registerLength(src);
    if (text.charCodeAt(at) !== LINE_FEED) return OTHER;
    emit(s, opcode | Source.x, dst, src, 0, 0);
    return at + 1;
  }
  if (d === STAR && op === AluOp.mov) return load(s, at + 1, dst, letter);
  const imm = decimal(s, at);
  if (imm === NO_NUMBER || text.charCodeAt(s.at) !== LINE_FEED) return OTHER;
  emit(s, opcode, dst, 0, 0, imm);
  return s.at + 1;
}

/** The operation of `+=` and its like, which begins here; -1 for none. */
function operator(text: string, at: number, c: number): number {
  const d = text.charCodeAt(at + 1);
  if (d === EQUALS) {
    switch (c) {
      case PLUS:
        return AluOp.add;
      case MINUS:
        return AluOp.sub;
      case STAR:
        return AluOp.mul;
      case SLASH:
        return AluOp.div;
      case BAR:
        return AluOp.or;
      case AMPERSAND:
        return AluOp.and;
      case PERCENT:
        return AluOp.mod;
      case CARET:
        return AluOp.xor;
    }
    return -1;
  }
  if (c === LOWER_S) {
    const arsh = d === GREATER && text.charCodeAt(at + 2) === GREATER && text.charCodeAt(at + 3) === EQUALS;
    return arsh ? AluOp.arsh : -1;
  }
  if (d !== c || text.charCodeAt(at + 2) !== EQUALS) return -1;
  return c === LESS ? AluOp.lsh : c === GREATER ? AluOp.rsh : -1;
}

function load(s: Assembly, at: number, dst: number, letter: number): number {
  const { text } = s;
  const size = memorySize(text, at);
  if (size < 0 || (size === Size.dw && letter === LOWER_W)) return OTHER;
  if (!address(s, at + (size === Size.b ? 7 : 8)) || text.charCodeAt(s.at) !== LINE_FEED) return OTHER;
  if (letter === LOWER_W) s.sawLlvmStyle = true;
  emit(s, Class.ldx | Mode.mem | size, dst, s.base, s.offset, 0);
  return s.at + 1;
}

/** `*(u64 *)(r10 - 8) = r1`, `*(u64 *)(r10 - 8) = 5` */
function store(s: Assembly, at: number): number {
  const { text } = s;
  const size = memorySize(text, at + 1);
  if (size < 0 || !address(s, at + (size === Size.b ? 8 : 9))) return OTHER;
  at = s.at;
  if (text.charCodeAt(at) !== SPACE || text.charCodeAt(at + 1) !== EQUALS || text.charCodeAt(at + 2) !== SPACE) {
    return OTHER;
  }
  at += 3;
  const { base, offset } = s;
  const c = text.charCodeAt(at);
  if (c === LOWER_R || (c === LOWER_W && size !== Size.dw)) {
    const src = registerAt(text, at);
    if (src < 0) return OTHER;
    at += registerLength(src);
    if (text.charCodeAt(at) !== LINE_FEED) return OTHER;
    if (c === LOWER_W) s.sawLlvmStyle = true;
    emit(s, Class.stx | Mode.mem | size, base, src, offset, 0);
    return at + 1;
  }
  const imm = decimal(s, at);
  if (imm === NO_NUMBER || text.charCodeAt(s.at) !== LINE_FEED) return OTHER;
  emit(s, Class.st | Mode.mem | size, base, 0, offset, imm);
  return s.at + 1;
}

/** `if r1 == 5 goto +3` */
function conditionalJump(s: Assembly, at: number): number {
  const { text } = s;
  if (text.charCodeAt(at + 1) !== 0x66 || text.charCodeAt(at + 2) !== SPACE) return OTHER;
  at += 3;
  const letter = text.charCodeAt(at);
  if (letter !== LOWER_R && letter !== LOWER_W) return OTHER;
  const dst = registerAt(text, at);
  if (dst < 0) return OTHER;
  at += registerLength(dst);
  if (text.charCodeAt(at) !== SPACE) return OTHER;
  at++;
  const first = text.charCodeAt(at);
  const signed = first === LOWER_S;
  if (signed) at++;
  const c = signed ? text.charCodeAt(at) : first;
  at++;
  const equals = text.charCodeAt(at) === EQUALS;
  if (equals) at++;
  let op: number;
  if (c === GREATER) op = signed ? (equals ? JumpOp.jsge : JumpOp.jsgt) : equals ? JumpOp.jge : JumpOp.jgt;
  else if (c === LESS) op = signed ? (equals ? JumpOp.jsle : JumpOp.jslt) : equals ? JumpOp.jle : JumpOp.jlt;
  else if (signed) return OTHER;
  else if (c === EQUALS && equals) op = JumpOp.jeq;
  else if (c === EXCLAMATION && equals) op = JumpOp.jne;
  else if (c === AMPERSAND && !equals) op = JumpOp.jset;
  else return OTHER;
  if (text.charCodeAt(at) !== SPACE) return OTHER;
  at++;
  let src = 0;
  let imm = 0;
  let opcode = (letter === LOWER_R ? Class.jmp : Class.jmp32) | op;
  if (text.charCodeAt(at) === letter) {
    src = registerAt(text, at);
    if (src < 0) return OTHER;
    at += registerLength(src);
    opcode |= Source.x;
  } else {
    imm = pattern(s, at);
    if (imm === NO_NUMBER) return OTHER;
    at = s.at;
  }
  if (text.charCodeAt(at) !== SPACE || !isGoto(text, at + 1)) return OTHER;
  return target(s, at + 6, opcode, dst, src, imm);
}

/** Whether `goto ` stands here. */
function isGoto(text: string, at: number): boolean {
  return (
    text.charCodeAt(at) === 0x67 &&
    text.charCodeAt(at + 1) === 0x6f &&
    text.charCodeAt(at + 2) === 0x74 &&
    text.charCodeAt(at + 3) === 0x6f &&
    text.charCodeAt(at + 4) === SPACE
  );
}

/** Reads `+3`, `pc+3` or a label, and appends the jump. */
function target(s: Assembly, at: number, opcode: number, dst: number, src: number, imm: number): number {
  const { text } = s;
  let c = text.charCodeAt(at);
  if (c === LOWER_P && text.charCodeAt(at + 1) === LOWER_C) {
    c = text.charCodeAt(at + 2);
    if (c === PLUS || c === MINUS) {
      at += 2;
      s.sawKernelStyle = true;
    }
  }
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

function jump(s: Assembly, at: number): number {
  return isGoto(s.text, at) ? target(s, at + 5, Class.jmp | JumpOp.ja, 0, 0, 0) : OTHER;
}

function exit(s: Assembly, at: number): number {
  const { text } = s;
  if (text.charCodeAt(at + 1) !== 0x78 || text.charCodeAt(at + 2) !== 0x69 || text.charCodeAt(at + 3) !== 0x74) {
    return OTHER;
  }
  if (text.charCodeAt(at + 4) !== LINE_FEED) return OTHER;
  emit(s, Class.jmp | JumpOp.exit, 0, 0, 0, 0);
  return at + 5;
}

/** `call 1`, `call name`, `call bpf_name#1` */
function call(s: Assembly, at: number): number {
  const { text } = s;
  if (text.charCodeAt(at + 1) !== 0x61 || text.charCodeAt(at + 2) !== 0x6c || text.charCodeAt(at + 3) !== 0x6c) {
    return OTHER;
  }
  if (text.charCodeAt(at + 4) !== SPACE) return OTHER;
  at += 5;
  const c = text.charCodeAt(at);
  if (startsWord(c)) {
    // A register is called through, and "rN" is no name.
    if (c === LOWER_R) return OTHER;
    return namedCall(s, at);
  }
  const number = decimal(s, at);
  if (number === NO_NUMBER || text.charCodeAt(s.at) !== LINE_FEED) return OTHER;
  emit(s, Class.jmp | JumpOp.call, 0, 0, 0, number);
  return s.at + 1;
}

function namedCall(s: Assembly, at: number): number {
  const { text } = s;
  let end = at;
  let hash = 0;
  let c = text.charCodeAt(at);
  do {
    hash = addToHash(hash, c);
    c = text.charCodeAt(++end);
  } while (isWordPart(c));
  const found = findHashed(HELPER_WORDS, text, at, end, hash);
  if (c === LINE_FEED) {
    emit(s, Class.jmp | JumpOp.call, 0, 0, 0, 0);
    // Which one is meant is known at the end: the text may define a function of this name.
    referTo(s, found < 0 ? text.slice(at, end) : HELPER_WORDS.words[found]!, at, "call");
    return end + 1;
  }
  // The kernel's way, with the number that this helper has.
  if (c !== HASH || found < 0) return OTHER;
  const number = decimal(s, end + 1);
  if (number !== HELPERS[found]!.number || text.charCodeAt(s.at) !== LINE_FEED) return OTHER;
  s.sawKernelStyle = true;
  emit(s, Class.jmp | JumpOp.call, 0, 0, 0, number);
  return s.at + 1;
}

/**
 * Names of helpers as calls have them. Found in place, a name need not be cut out of the text, and is a string of which
 * the hash is known already. (Put together by `join`, for the reason given at `text` in assembly.ts.)
 */
const HELPER_WORDS = /* @__PURE__ */ wordTable(/* @__PURE__ */ HELPERS.map(({ name }) => ["bpf_", name].join("")));
