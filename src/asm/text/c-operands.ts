// Browser-safe.

// Operands of the C-like grammar: see c-style.ts.

import { Class, Size } from "../opcodes.ts";
import { type Assembly, emit, fail } from "./assembly.ts";
import {
  CLOSE,
  COMMA,
  isDigit,
  isWordPart,
  LOWER_R,
  LOWER_S,
  LOWER_U,
  LOWER_W,
  MINUS,
  OPEN,
  PLUS,
  SPACE,
  STAR,
  TAB,
} from "./characters.ts";
import { constant, signed16 } from "./expression.ts";
import { expect, expectWhole, HALF, peek, readName, unexpected } from "./scan.ts";

export function registerName(register: number): string {
  return register < HALF ? `r${register}` : `w${register - HALF}`;
}

export function sameWidth(s: Assembly, dst: number, src: number, at: number): boolean {
  if (dst >> 4 === src >> 4) return true;
  const message = `Registers differ in width: ${registerName(dst)} and ${registerName(src)}`;
  return fail(s, "ERR_ASM_OPERAND", message, at, s.at - at, `Write ${registerName(src ^ HALF)}`);
}

export function sameRegister(s: Assembly, dst: number, found: number, at: number): boolean {
  if (dst === found) return true;
  const message = `Expected ${registerName(dst)}, the register assigned to, found ${registerName(found)}`;
  return fail(s, "ERR_ASM_OPERAND", message, at, s.at - at);
}

/** An address needs a whole register. Checked late, so that the operand's own problems come first. */
export function wholeTarget(s: Assembly, dst: number, at: number): boolean {
  if (dst < HALF) return true;
  const name = registerName(dst);
  return fail(
    s,
    "ERR_ASM_OPERAND",
    `The 32-bit register ${name} cannot hold 64 bits`,
    at,
    s.at - at,
    `Write r${dst - HALF}`,
  );
}

export function emitAlu(s: Assembly, dst: number, op: number, src: number, offset: number, imm: number): boolean {
  return dst < HALF
    ? emit(s, Class.alu64 | op, dst, src & 15, offset, imm)
    : emit(s, Class.alu | op, dst & 15, src & 15, offset, imm);
}

export function atRegister(s: Assembly): boolean {
  const c = peek(s);
  return (c === LOWER_R || c === LOWER_W) && isDigit(s.text.charCodeAt(s.at + 1));
}

/** Signed sizes are marked by this bit, which no size has. */
export const SIGNED = 0x80;

/** Reads `(u64 *)`. @returns the size bits, plus `SIGNED`, or -1 after noting a problem */
export function memoryType(s: Assembly): number {
  const { text } = s;
  if (peek(s) !== OPEN) {
    unexpected(s, 'a type such as "(u64 *)"');
    return -1;
  }
  s.at++;
  const letter = peek(s);
  const c = text.charCodeAt(s.at + 1);
  const d = text.charCodeAt(s.at + 2);
  let size = -1;
  let length = 3;
  if (letter === LOWER_U || letter === LOWER_S) {
    if (c === 0x38) {
      size = Size.b;
      length = 2;
    } else if (c === 0x31 && d === 0x36) size = Size.h;
    else if (c === 0x33 && d === 0x32) size = Size.w;
    else if (c === 0x36 && d === 0x34) size = Size.dw;
  }
  if (size < 0 || isWordPart(text.charCodeAt(s.at + length))) {
    unexpected(s, "a type: u8, u16, u32, u64, s8, s16 or s32");
    return -1;
  }
  s.at += length;
  if (!expect(s, STAR, "behind the type") || !expect(s, CLOSE, "behind the type")) return -1;
  return letter === LOWER_S ? size | SIGNED : size;
}

/** Reads `(r6 + 8)` into `base` and `offset`. */
export function address(s: Assembly): boolean {
  if (peek(s) !== OPEN) return unexpected(s, 'an address such as "(r6 + 8)"');
  s.at++;
  return registerAndOffset(s) && expect(s, CLOSE, "behind the address");
}

/** Reads `r6 + 8`. */
export function registerAndOffset(s: Assembly): boolean {
  const base = expectWhole(s, "a register");
  if (base < 0) return false;
  s.base = base;
  s.offset = 0;
  const { text } = s;
  const spaced = text.charCodeAt(s.at) === SPACE;
  const sign = peek(s);
  if (sign !== PLUS && sign !== MINUS) return true;
  const at = s.at;
  // The kernel prints "(r6 +8)", LLVM "(r6 + 8)", people write either.
  if (spaced) {
    const next = text.charCodeAt(at + 1);
    if (next === SPACE || next === TAB) s.sawLlvmStyle = true;
    else s.sawKernelStyle = true;
  }
  if (sign === PLUS) {
    s.at++;
    peek(s);
  }
  const value = constant(s);
  const offset = signed16(s, value, at, "Offset");
  if (Number.isNaN(offset)) return false;
  s.offset = offset;
  return true;
}

export function expectWord(s: Assembly, word: string): boolean {
  peek(s);
  const at = s.at;
  if (readName(s) && s.name === word) return true;
  s.at = at;
  return unexpected(s, `"${word}"`);
}

/** `, 0, 1`: address space of the result, then of the source. @returns the immediate, or NaN after noting a problem */
export function addressSpaces(s: Assembly): number {
  let imm = 0;
  for (let i = 0; i < 2; i++) {
    if (!expect(s, COMMA, "before an address space")) return Number.NaN;
    peek(s);
    const at = s.at;
    const value = constant(s);
    if (Number.isNaN(value)) return value;
    if (!(value >= 0 && value <= 0xffff)) {
      fail(s, "ERR_ASM_RANGE", "An address space is a number from 0 to 65535", at, s.at - at);
      return Number.NaN;
    }
    imm = (imm << 16) | value;
  }
  return imm;
}
