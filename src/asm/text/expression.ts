// Browser-safe.

import { type Assembly, COMPUTED, DECIMAL, fail, PATTERN, suggest } from "./assembly.ts";
import {
  AMPERSAND,
  APOSTROPHE,
  BAR,
  CARET,
  CLOSE,
  EXCLAMATION,
  GREATER,
  hexDigit,
  isDigit,
  isOperator,
  isWordPart,
  LESS,
  LOWER_R,
  LOWER_X,
  MINUS,
  OPEN,
  PERCENT,
  PLUS,
  QUOTE,
  SLASH,
  SPACE,
  STAR,
  startsWord,
  TILDE,
  ZERO,
} from "./characters.ts";
import { expect, peek, readCharacter, readName, unexpected } from "./scan.ts";

/** What {@link constant} gives when the value is no safe integer: it is in `big` then. */
export const BIG: number = Number.POSITIVE_INFINITY;

const U64 = 0xffffffffffffffffn;

/**
 * Reads a constant: a number, a character, a name given by `.equ`, or an expression of these with the operators and the
 * precedence of C. Sets `form`.
 *
 * @returns the value; `BIG` when only `big` holds it; NaN after noting a problem
 */
export function constant(s: Assembly): number {
  const { text } = s;
  let at = s.at;
  let c = text.charCodeAt(at);
  // The common case, a plain number of at most 15 digits, comes first and makes no bigint.
  const negative = c === MINUS;
  if (negative) {
    do c = text.charCodeAt(++at);
    while (c === SPACE);
  }
  if (!isDigit(c)) return slowConstant(s);
  let value = c - ZERO;
  let form = DECIMAL;
  const first = at;
  c = text.charCodeAt(++at);
  if (value === 0 && c === LOWER_X) {
    form = PATTERN;
    let digit = hexDigit(text.charCodeAt(++at));
    if (digit < 0) return slowConstant(s);
    while (digit >= 0) {
      value = value * 16 + digit;
      digit = hexDigit(text.charCodeAt(++at));
    }
    if (at - first > 14) return slowConstant(s);
    c = text.charCodeAt(at);
  } else if (isDigit(c)) {
    if (value === 0) return slowConstant(s); // octal
    do {
      value = value * 10 + c - ZERO;
      c = text.charCodeAt(++at);
    } while (isDigit(c));
    if (at - first > 15) return slowConstant(s);
  }
  if (isWordPart(c)) return slowConstant(s);
  let next = at;
  while (c === SPACE) c = text.charCodeAt(++next);
  if (isOperator(c) && continues(text, next)) return slowConstant(s);
  s.at = at;
  s.form = form;
  return negative ? 0 - value : value;
}

/** Whether what stands here goes on with an expression: an operator, and not a comment or `<main+0x8>`. */
function continues(text: string, at: number): boolean {
  const c = text.charCodeAt(at);
  const next = text.charCodeAt(at + 1);
  if (c === SLASH) return next !== SLASH;
  if (c === LESS || c === GREATER) return next === c;
  return true;
}

function slowConstant(s: Assembly): number {
  const value = expression(s);
  if (value === undefined) return Number.NaN;
  if (value >= -0x1fffffffffffffn && value <= 0x1fffffffffffffn) return Number(value);
  s.big = value;
  return BIG;
}

/**
 * Reads a constant expression. Sets `form`.
 *
 * @returns its value, of any size, or `undefined` after noting a problem
 */
export function expression(s: Assembly): bigint | undefined {
  s.form = DECIMAL;
  peek(s);
  const start = s.at;
  const value = binary(s, 0, 0);
  if (value === undefined) return undefined;
  // No operation makes a number much longer than its operands but multiplication, and none is needed beyond 64 bits.
  if (value > U64 || value < -(1n << 63n)) {
    fail(s, "ERR_ASM_RANGE", `Value ${shorten(value)} does not fit 64 bits`, start, s.at - start);
    return undefined;
  }
  return value;
}

function shorten(value: bigint): string {
  const text = value.toString();
  return text.length <= 40 ? text : `of ${text.length} digits`;
}

/** How tightly an operator binds, as in C; 0 when no operator stands here. */
function precedence(text: string, at: number): number {
  const c = text.charCodeAt(at);
  const next = text.charCodeAt(at + 1);
  switch (c) {
    case STAR:
      return 6;
    case PERCENT:
      // "%r1" is a register.
      return next === LOWER_R && isDigit(text.charCodeAt(at + 2)) ? 0 : 6;
    case SLASH:
      return next === SLASH || next === STAR ? 0 : 6;
    case PLUS:
    case MINUS:
      return 5;
    case LESS:
    case GREATER:
      return next === c ? 4 : 0;
    case AMPERSAND:
      return next === AMPERSAND ? 0 : 3;
    case CARET:
      return 2;
    case BAR:
      return next === BAR ? 0 : 1;
    default:
      return 0;
  }
}

function binary(s: Assembly, least: number, depth: number): bigint | undefined {
  let left = unary(s, depth);
  while (left !== undefined) {
    const operator = peek(s);
    const binds = precedence(s.text, s.at);
    if (binds === 0 || binds <= least) return left;
    const at = s.at;
    s.at += operator === LESS || operator === GREATER ? 2 : 1;
    s.form = COMPUTED;
    const right = binary(s, binds, depth + 1);
    if (right === undefined) return undefined;
    s.form = COMPUTED;
    left = apply(s, operator, left, right, at);
  }
  return undefined;
}

function apply(s: Assembly, operator: number, left: bigint, right: bigint, at: number): bigint | undefined {
  let result: bigint;
  switch (operator) {
    case STAR:
      result = left * right;
      break;
    case PERCENT:
    case SLASH:
      if (right === 0n) {
        fail(s, "ERR_ASM_RANGE", "Division by zero", at, s.at - at);
        return undefined;
      }
      result = operator === SLASH ? left / right : left % right;
      break;
    case PLUS:
      result = left + right;
      break;
    case MINUS:
      result = left - right;
      break;
    case LESS:
    case GREATER:
      if (right < 0n || right > 63n) {
        fail(s, "ERR_ASM_RANGE", `Shift by ${shorten(right)} (0 to 63)`, at, s.at - at);
        return undefined;
      }
      result = operator === LESS ? left << right : left >> right;
      break;
    case AMPERSAND:
      result = left & right;
      break;
    case CARET:
      result = left ^ right;
      break;
    default:
      result = left | right;
  }
  // A bound on what lies between, so that no chain of operations grows without end.
  if (result > 1n << 128n || result < -(1n << 128n)) {
    fail(s, "ERR_ASM_RANGE", "Value does not fit 64 bits", at, s.at - at);
    return undefined;
  }
  return result;
}

/** Deeper nesting than any person writes; a bound for the stack. */
const DEPTH = 200;

function unary(s: Assembly, depth: number): bigint | undefined {
  const c = peek(s);
  if (depth > DEPTH) {
    fail(s, "ERR_LIMIT", `Expression is nested deeper than ${DEPTH}`, s.at, 1);
    return undefined;
  }
  if (isDigit(c)) return literal(s);
  if (c === MINUS || c === PLUS || c === TILDE || c === EXCLAMATION) {
    s.at++;
    const value = unary(s, depth + 1);
    if (value === undefined) return undefined;
    if (c === PLUS) return value;
    if (c === MINUS) return -value;
    s.form = COMPUTED;
    return c === TILDE ? ~value : value === 0n ? 1n : 0n;
  }
  if (c === OPEN) {
    s.at++;
    const value = binary(s, 0, depth + 1);
    s.form = COMPUTED;
    if (value === undefined || !expect(s, CLOSE, "at the end of the expression")) return undefined;
    return value;
  }
  if (c === APOSTROPHE) {
    const code = readCharacter(s);
    return code < 0 ? undefined : BigInt(code);
  }
  if (startsWord(c) && c !== QUOTE) {
    readName(s);
    const value = s.constants.get(s.name);
    s.form = COMPUTED;
    if (value !== undefined) return value;
    const hint = suggest(s, s.name, s.constants.keys());
    fail(s, "ERR_ASM_OPERAND", `Unknown constant "${shown(s.name)}"`, s.nameAt, s.nameLength, hint);
    return undefined;
  }
  unexpected(s, "a number");
  return undefined;
}

/** A name as a message shows it. */
export function shown(name: string): string {
  return name.length <= 60 ? name : `${name.slice(0, 57)}...`;
}

/** Reads a number: decimal, `0x`, `0b`, or octal with a leading 0, as in C. */
function literal(s: Assembly): bigint | undefined {
  const { text } = s;
  const start = s.at;
  let end = start;
  while (isWordPart(text.charCodeAt(end))) end++;
  // "5ll" is "5 ll".
  if (/^[lL]{2}$/.test(text.slice(end - 2, end)) && end - start > 2) end -= 2;
  const word = text.slice(start, Math.min(end, start + 80));
  let value: bigint | undefined;
  if (/^(?:0[xX][0-9a-fA-F]+|0[bB][01]+|[1-9][0-9]*|0)$/.test(word)) value = BigInt(word);
  else if (/^0[0-7]+$/.test(word)) value = BigInt(`0o${word.slice(1)}`);
  if (value === undefined) {
    const hint = /^0[0-9]+$/.test(word) ? "A leading 0 makes a number octal" : undefined;
    fail(s, "ERR_ASM_SYNTAX", `"${shown(word)}" is no number`, start, end - start, hint);
    return undefined;
  }
  if (end - start > 80 || value > U64) {
    fail(s, "ERR_ASM_RANGE", `Number ${shown(word)} does not fit 64 bits`, start, end - start);
    return undefined;
  }
  s.at = end;
  if (s.form === DECIMAL && text.charCodeAt(start) === ZERO && end - start > 1) s.form = PATTERN;
  return value;
}

/** An immediate of which the machine takes 32 bits or fewer: any number that fits, signed or not. */
export function bits32(s: Assembly, value: number, at: number): number {
  if (value >= -0x80000000 && value <= 0xffffffff) return value | 0;
  return tooWide(s, value, at, "32 bits (-2147483648 to 4294967295)");
}

/**
 * An immediate that the machine sign-extends to 64 bits. Patterns such as `0xffffffff` and computed values may have bit
 * 31 set; of a plain decimal that would silently be another number.
 */
export function signed32(s: Assembly, value: number, at: number): number {
  if ((value | 0) === value) return value | 0;
  if (value > 0 && value <= 0xffffffff && s.form !== DECIMAL) return value | 0;
  return tooWide(s, value, at, "32 signed bits (-2147483648 to 2147483647)");
}

/** A 16-bit offset. */
export function signed16(s: Assembly, value: number, at: number, what: string): number {
  if ((value << 16) >> 16 === value) return value | 0;
  if (!Number.isNaN(value)) {
    const text = value === BIG ? shorten(s.big) : `${value}`;
    fail(s, "ERR_ASM_RANGE", `${what} ${text} does not fit 16 bits (-32768 to 32767)`, at, s.at - at);
  }
  return Number.NaN;
}

function tooWide(s: Assembly, value: number, at: number, range: string): number {
  if (!Number.isNaN(value)) {
    const text = value === BIG ? shorten(s.big) : `${value}`;
    const hint =
      value > 0x7fffffff && value <= 0xffffffff
        ? `Write 0x${value.toString(16)} if the pattern of bits is meant`
        : undefined;
    fail(s, "ERR_ASM_RANGE", `Immediate ${text} does not fit ${range}`, at, s.at - at, hint);
  }
  return Number.NaN;
}

/** Reads an immediate, see {@link signed32}. @returns NaN after noting a problem */
export function immediate(s: Assembly): number {
  peek(s);
  const at = s.at;
  return signed32(s, constant(s), at);
}

/** Reads an immediate, see {@link bits32}. @returns NaN after noting a problem */
export function immediateBits(s: Assembly): number {
  peek(s);
  const at = s.at;
  return bits32(s, constant(s), at);
}

/** Low half of a constant: the argument and the result of {@link constant}. */
export function lowHalf(s: Assembly, value: number): number {
  return value === BIG ? Number(BigInt.asIntN(32, s.big)) : value | 0;
}

/** High half of a constant. */
export function highHalf(s: Assembly, value: number): number {
  return value === BIG ? Number(BigInt.asIntN(32, s.big >> 32n)) : Math.floor(value / 4294967296) | 0;
}
