// Browser-safe.

// The C-like grammar: what the kernel prints (verifier log, `bpftool prog dump xlated`) and what LLVM reads and prints
// (inline assembler, `clang -S`, `llvm-objdump`), as one. Where the two print the same instruction differently both are
// read: `r1 = *(u32 *)(r6 +8)` and `w1 = *(u32 *)(r6 + 8)`, `goto pc+3` and `goto +3`, `atomic64_xchg(...)` and
// `xchg_64(...)`. What neither can say is written as described at `pseudoOperand` and `callTarget` in operands.ts, and:
//
//     r0 = *(u32 *)skb[r2 + 12]     packet load with register and constant (the kernel's spelling)
//     ld_pseudo r1, 2, 7, 16        like LLVM's, with the high half as fourth operand
//     callx 3                       the register number in the immediate, as compilers up to LLVM 18 wrote it
//
// `r1 = NUMBER` is a mov where the number fits 32 signed bits and an ld_imm64 where not: nothing is cut off. With `ll`
// behind it is an ld_imm64 always; so is a hexadecimal number in the kernel's style, which prints all others in decimal.

import { AluOp, Class, DivisionOffset, JumpOp, Mode, Size, Source } from "../opcodes.ts";
import { type Assembly, emit, emitWide, fail } from "./assembly.ts";
import { lock, storeRelease } from "./c-atomics.ts";
import { address, emitAlu, memoryType, registerName, SIGNED, sameWidth, wholeTarget } from "./c-operands.ts";
import { assignment } from "./c-values.ts";
import {
  AMPERSAND,
  BAR,
  CARET,
  COLON,
  COMMA,
  EQUALS,
  EXCLAMATION,
  GREATER,
  isDigit,
  isWordPart,
  LESS,
  LOWER_F,
  LOWER_I,
  LOWER_R,
  LOWER_S,
  LOWER_W,
  MINUS,
  PERCENT,
  PLUS,
  SLASH,
  STAR,
} from "./characters.ts";
import { bits32, constant, immediateBits, signed32 } from "./expression.ts";
import { callTarget, emitJump, emitLongJump, jumpTarget } from "./operands.ts";
import {
  accept,
  BAD_REGISTER,
  expect,
  expectRegister,
  expectWhole,
  HALF,
  NO_REGISTER,
  peek,
  register,
  unexpected,
} from "./scan.ts";
import { findWord, wordTable } from "./words.ts";

const STATEMENTS: readonly [string, (s: Assembly) => boolean][] = [
  ["if", conditionalJump],
  ["goto", (s) => jump(s, Class.jmp | JumpOp.ja)],
  ["gotol", longJump],
  ["may_goto", (s) => jump(s, Class.jmp | JumpOp.jcond)],
  ["gotox", (s) => registerJump(s, Class.jmp | JumpOp.ja | Source.x)],
  ["call", call],
  ["callx", callRegister],
  ["exit", (s) => emit(s, Class.jmp | JumpOp.exit, 0, 0, 0, 0)],
  ["lock", lock],
  ["store_release", storeRelease],
  ["ld_pseudo", loadPseudo],
  ["nop", (s) => emit(s, Class.jmp | JumpOp.ja, 0, 0, 0, 0)],
];

const STATEMENT_WORDS = /* @__PURE__ */ wordTable(STATEMENTS.map(([word]) => word));

/** Words that begin a statement of this grammar, for suggestions and for detecting the style. */
export const C_WORDS: readonly string[] = STATEMENT_WORDS.words;

/**
 * Reads one statement that begins with a register, `*` or `if`.
 *
 * @param c the character it begins with
 * @returns `undefined`, with nothing consumed, when it begins with something else
 */
export function cStatement(s: Assembly, c: number): boolean | undefined {
  if (c === LOWER_R || c === LOWER_W) {
    const dst = register(s, true);
    if (dst === NO_REGISTER) return undefined;
    return dst !== BAD_REGISTER && registerStatement(s, dst);
  }
  if (c === STAR) return store(s);
  // "if" begins every fifth instruction of real programs, and so is not looked up.
  const { text, at } = s;
  if (c !== LOWER_I || text.charCodeAt(at + 1) !== LOWER_F || isWordPart(text.charCodeAt(at + 2))) return undefined;
  if (text.charCodeAt(at + 2) === COLON) return undefined;
  s.at = at + 2;
  return conditionalJump(s);
}

/** Reads one statement that begins with the word read last. @returns `undefined` when it is no word of this grammar */
export function cWordStatement(s: Assembly): boolean | undefined {
  const found = findWord(STATEMENT_WORDS, s.text, s.nameAt, s.at);
  return found < 0 ? undefined : STATEMENTS[found]![1](s);
}

/** `r1 = ...`, `r1 += ...` */
function registerStatement(s: Assembly, dst: number): boolean {
  const { text } = s;
  const c = peek(s);
  const d = text.charCodeAt(s.at + 1);
  if (c === EQUALS && d !== EQUALS) {
    s.at++;
    return assignment(s, dst);
  }
  const e = text.charCodeAt(s.at + 2);
  let op = -1;
  let length = 2;
  let signed = 0;
  if (d === EQUALS) op = assignmentOperator(c);
  else if (d === c && e === EQUALS) {
    length = 3;
    if (c === LESS) op = AluOp.lsh;
    else if (c === GREATER) op = AluOp.rsh;
  } else if (c === LOWER_S) {
    if (e === EQUALS) {
      length = 3;
      signed = DivisionOffset.signed;
      if (d === SLASH) op = AluOp.div;
      else if (d === PERCENT) op = AluOp.mod;
    } else if (d === GREATER && e === GREATER && text.charCodeAt(s.at + 3) === EQUALS) {
      length = 4;
      op = AluOp.arsh;
    }
  }
  if (op < 0) {
    if (c !== COLON) return unexpected(s, '"=" or an operator such as "+="');
    const message = `A label cannot have the name of a register, "${registerName(dst)}"`;
    return fail(s, "ERR_ASM_LABEL", message, s.start, s.at - s.start, "Put the label in quotes");
  }
  s.at += length;
  return aluOperand(s, dst, op, signed);
}

function assignmentOperator(c: number): number {
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
    default:
      return -1;
  }
}

function aluOperand(s: Assembly, dst: number, op: number, offset: number): boolean {
  const c = peek(s);
  const at = s.at;
  if (c === LOWER_R || c === LOWER_W) {
    const src = register(s);
    if (src >= 0) return sameWidth(s, dst, src, at) && emitAlu(s, dst, op | Source.x, src, offset, 0);
    if (src === BAD_REGISTER) return false;
  }
  const value = constant(s);
  const imm = dst < HALF ? signed32(s, value, at) : bits32(s, value, at);
  return !Number.isNaN(imm) && emitAlu(s, dst, op, 0, offset, imm);
}

/** `*(u32 *)(r10 - 8) = r1` */
function store(s: Assembly): boolean {
  s.at++;
  const type = memoryType(s);
  if (type < 0) return false;
  if (type >= SIGNED) return fail(s, "ERR_ASM_OPERAND", "A store has an unsigned type", s.start, s.at - s.start);
  if (!address(s)) return false;
  const { base, offset } = s;
  const operator = peek(s);
  if (operator !== EQUALS) {
    if (s.text.charCodeAt(s.at + 1) === EQUALS) {
      return fail(s, "ERR_ASM_SYNTAX", 'Expected "="', s.at, 2, 'An atomic operation begins with "lock"');
    }
    return unexpected(s, '"="');
  }
  s.at++;
  const c = peek(s);
  const at = s.at;
  if (c === LOWER_R || c === LOWER_W) {
    const src = register(s);
    if (src === BAD_REGISTER) return false;
    if (src >= 0) {
      if (src >= HALF) {
        if (type === Size.dw) return wholeTarget(s, src, at);
        s.sawLlvmStyle = true;
      }
      return emit(s, Class.stx | Mode.mem | type, base, src & 15, offset, 0);
    }
  }
  const value = constant(s);
  const imm = type === Size.dw ? signed32(s, value, at) : bits32(s, value, at);
  return !Number.isNaN(imm) && emit(s, Class.st | Mode.mem | type, base, 0, offset, imm);
}

/** `if r1 == 5 goto +3` */
function conditionalJump(s: Assembly): boolean {
  const dst = expectRegister(s, "a register", true);
  if (dst < 0) return false;
  const op = condition(s);
  if (op < 0) return unexpected(s, "a comparison: ==, !=, >, >=, <, <=, s>, s>=, s<, s<= or &");
  let src = NO_REGISTER;
  let imm = 0;
  const c = peek(s);
  const at = s.at;
  if (c === LOWER_R || c === LOWER_W) {
    src = register(s);
    if (src === BAD_REGISTER || (src >= 0 && !sameWidth(s, dst, src, at))) return false;
  }
  if (src < 0) {
    const value = constant(s);
    imm = dst < HALF ? signed32(s, value, at) : bits32(s, value, at);
    if (Number.isNaN(imm)) return false;
  }
  if (!acceptGoto(s)) return unexpected(s, '"goto"');
  peek(s);
  const targetAt = s.at;
  const target = jumpTarget(s);
  if (Number.isNaN(target)) return false;
  const opcode = (dst < HALF ? Class.jmp : Class.jmp32) | op;
  return src < 0
    ? emitJump(s, opcode, dst & 15, 0, imm, target, targetAt)
    : emitJump(s, opcode | Source.x, dst & 15, src & 15, 0, target, targetAt);
}

function acceptGoto(s: Assembly): boolean {
  const { text } = s;
  if (peek(s) !== 0x67) return false; // g
  const { at } = s;
  if (text.charCodeAt(at + 1) !== 0x6f || text.charCodeAt(at + 2) !== 0x74 || text.charCodeAt(at + 3) !== 0x6f)
    return false;
  if (isWordPart(text.charCodeAt(at + 4))) return false;
  s.at = at + 4;
  return true;
}

/** Reads a comparison. @returns the jump, or -1 when none stands here */
function condition(s: Assembly): number {
  const { text } = s;
  let c = peek(s);
  const signed = c === LOWER_S;
  let at = s.at;
  if (signed) c = text.charCodeAt(++at);
  const equals = text.charCodeAt(at + 1) === EQUALS;
  let op = -1;
  if (c === GREATER) op = signed ? (equals ? JumpOp.jsge : JumpOp.jsgt) : equals ? JumpOp.jge : JumpOp.jgt;
  else if (c === LESS) op = signed ? (equals ? JumpOp.jsle : JumpOp.jslt) : equals ? JumpOp.jle : JumpOp.jlt;
  else if (signed) return -1;
  else if (c === AMPERSAND) {
    s.at = at + 1;
    return JumpOp.jset;
  } else if (!equals) return -1;
  else if (c === EQUALS) op = JumpOp.jeq;
  else if (c === EXCLAMATION) op = JumpOp.jne;
  if (op >= 0) s.at = equals ? at + 2 : at + 1;
  return op;
}

function jump(s: Assembly, opcode: number): boolean {
  peek(s);
  const at = s.at;
  const target = jumpTarget(s);
  return !Number.isNaN(target) && emitJump(s, opcode, 0, 0, 0, target, at);
}

function longJump(s: Assembly): boolean {
  peek(s);
  const at = s.at;
  const target = jumpTarget(s);
  return !Number.isNaN(target) && emitLongJump(s, Class.jmp32 | JumpOp.ja, 0, target, at);
}

function registerJump(s: Assembly, opcode: number): boolean {
  const dst = expectWhole(s, "a register");
  return dst >= 0 && emit(s, opcode, dst, 0, 0, 0);
}

function call(s: Assembly): boolean {
  const c = peek(s);
  if (c !== LOWER_R) return callTarget(s);
  const target = register(s);
  if (target === NO_REGISTER) return callTarget(s);
  return target !== BAD_REGISTER && emit(s, CALLX, target, 0, 0, 0);
}

const CALLX = Class.jmp | JumpOp.call | Source.x;

/** `callx r3`, and `callx 3` for the old encoding. */
export function callRegister(s: Assembly): boolean {
  if (!isDigit(peek(s))) return registerJump(s, CALLX);
  const at = s.at;
  const number = constant(s);
  if (Number.isNaN(number)) return false;
  if (number >= 1 && number <= 10) return emit(s, CALLX, 0, 0, 0, number);
  return fail(s, "ERR_ASM_RANGE", "The number of a register in the immediate is 1 to 10", at, s.at - at);
}

/** `ld_pseudo r1, 1, 7` */
function loadPseudo(s: Assembly): boolean {
  const dst = expectWhole(s, "a register");
  if (dst < 0 || !expect(s, COMMA, "behind the register")) return false;
  peek(s);
  const at = s.at;
  const src = constant(s);
  if (Number.isNaN(src)) return false;
  if (!(src >= 0 && src <= 15))
    return fail(s, "ERR_ASM_RANGE", "A pseudo source is a number from 0 to 15", at, s.at - at);
  if (!expect(s, COMMA, "behind the pseudo source")) return false;
  const low = immediateBits(s);
  if (Number.isNaN(low)) return false;
  const high = accept(s, COMMA) ? immediateBits(s) : 0;
  return !Number.isNaN(high) && emitWide(s, dst, src, low, high);
}
