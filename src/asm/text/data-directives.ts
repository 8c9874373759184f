// Browser-safe.

import { encodeUtf8 } from "../../bytes/text.ts";
import { type Instruction, LD_IMM64, slotsOf } from "../instruction.ts";
import { type Assembly, emitInstruction, fail, type Label } from "./assembly.ts";
import { COMMA, isDigit, LINE_FEED, MINUS, PLUS, QUOTE, startsWord } from "./characters.ts";
import { type DataRelocation, grow, MAX_DATA, writeInteger } from "./data-section.ts";
import { expression } from "./expression.ts";
import { accept, peek, readName, readString, skipLine, unexpected } from "./scan.ts";

/** Where data bytes go: to the section, or in code to raw instructions. @returns whether this is data */
function inData(s: Assembly): boolean {
  if (s.section.kind === undefined) s.section.kind = "data";
  return s.section.kind === "data";
}

function rawBytes(s: Assembly, bytes: Iterable<number>): boolean {
  const { section } = s;
  for (const byte of bytes) {
    section.raw.push(byte);
    if (section.raw.length === 8) {
      const slot = section.raw;
      section.raw = [];
      rawSlot(s, Uint8Array.from(slot));
    }
  }
  s.slow = true;
  return true;
}

/** Appends 8 bytes as they are. */
function rawSlot(s: Assembly, slot: Uint8Array): void {
  const view = new DataView(slot.buffer);
  const opcode = slot[0]!;
  const registers = slot[1]!;
  const offset = view.getInt16(2, true);
  const imm = view.getInt32(4, true);
  const last = s.code.at(-1);
  if (last !== undefined && last.meta?.secondSlot === "missing") {
    // This is the second half of what was begun by raw bytes right before.
    const secondSlot = (opcode | registers | offset) === 0 ? undefined : { opcode, registers, offset };
    s.code[s.code.length - 1] = { ...last, high: imm, meta: withoutMissing(last, secondSlot) };
    return;
  }
  const meta = opcode === LD_IMM64 ? ({ secondSlot: "missing" } as const) : undefined;
  emitInstruction(s, { opcode, dst: registers & 15, src: registers >> 4, offset, imm, high: 0, meta });
}

function withoutMissing(
  insn: Instruction,
  secondSlot: { readonly opcode: number; readonly registers: number; readonly offset: number } | undefined,
): Instruction["meta"] {
  const source = insn.meta?.source;
  if (secondSlot !== undefined) return source === undefined ? { secondSlot } : { source, secondSlot };
  return source === undefined ? undefined : { source };
}

/** `.long 1, 2, symbol + 4, a - b` */
export function integers(s: Assembly, size: 1 | 2 | 4 | 8): boolean {
  do {
    peek(s);
    const at = s.at;
    const symbolic = symbolOperand(s);
    if (symbolic === undefined) return false;
    const { value } = symbolic;
    if (value > (1n << BigInt(8 * size)) - 1n || value < -(1n << BigInt(8 * size - 1))) {
      return fail(
        s,
        "ERR_ASM_RANGE",
        `Value ${value} does not fit ${size === 1 ? "a byte" : `${size} bytes`}`,
        at,
        s.at - at,
      );
    }
    if (inData(s)) {
      const { data } = s.section;
      const offset = grow(data, size);
      if (offset < 0) return tooLarge(s);
      if (symbolic.symbol === undefined) writeInteger(data.bytes, offset, size, value);
      else {
        const { symbol, minus } = symbolic;
        data.relocations.push({ offset, size, symbol, addend: value, at, minus });
      }
    } else {
      if (symbolic.symbol !== undefined) {
        return fail(s, "ERR_ASM_OPERAND", "Raw code cannot refer to a symbol", at, s.at - at);
      }
      const bytes = new Uint8Array(size);
      writeInteger(bytes, 0, size, value);
      rawBytes(s, bytes);
    }
  } while (accept(s, COMMA));
  return true;
}

type SymbolOperand = { value: bigint; symbol: string | undefined; minus: DataRelocation["minus"] };

/** A constant, or a symbol with something added or another symbol subtracted. */
function symbolOperand(s: Assembly): SymbolOperand | undefined {
  const c = peek(s);
  const start = s.at;
  if ((startsWord(c) || c === QUOTE) && readName(s) && (c === QUOTE || !s.constants.has(s.name))) {
    const symbol = s.name;
    let minus: string | undefined;
    const sign = peek(s);
    if (sign === MINUS) {
      const at = s.at;
      s.at++;
      if (startsWord(peek(s)) && readName(s) && !s.constants.has(s.name)) minus = s.name;
      else s.at = at;
    }
    const next = peek(s);
    const value = next === PLUS || next === MINUS ? expression(s) : 0n;
    return value === undefined ? undefined : { value, symbol, minus };
  }
  s.at = start;
  const value = expression(s);
  return value === undefined ? undefined : { value, symbol: undefined, minus: undefined };
}

export function tooLarge(s: Assembly): boolean {
  return fail(s, "ERR_LIMIT", `Section "${s.section.name}" exceeds ${MAX_DATA} bytes`, s.start, s.at - s.start);
}

export function strings(s: Assembly, terminated: boolean): boolean {
  if (!inData(s)) return fail(s, "ERR_ASM_SYNTAX", "Text in a code section", s.start, s.at - s.start);
  do {
    if (peek(s) !== QUOTE) return unexpected(s, "a string in double quotes");
    const start = s.at;
    const value = readString(s);
    if (value === undefined) return false;
    const bytes = stringBytes(s, value, start);
    const at = grow(s.section.data, bytes.length + (terminated ? 1 : 0));
    if (at < 0) return tooLarge(s);
    s.section.data.bytes.set(bytes, at);
  } while (accept(s, COMMA));
  return true;
}

/** Escaped numbers are bytes; characters beyond ASCII that stand for themselves are UTF-8. */
function stringBytes(s: Assembly, value: string, start: number): Uint8Array {
  const written = s.text.slice(start, s.at);
  if (!/\\[0-7x]/.test(written)) return encodeUtf8(value);
  // Mixed text and bytes: a written character beyond ASCII is encoded, an escape is not, and both are below U+0100 in
  // `value` only when escaped; the two cannot meet in output of a compiler, which escapes all bytes.
  const bytes: number[] = [];
  for (const char of value) {
    const code = char.codePointAt(0)!;
    if (code < 0x100) bytes.push(code);
    else bytes.push(...encodeUtf8(char));
  }
  return Uint8Array.from(bytes);
}

export function count(s: Assembly, what: string): number {
  peek(s);
  const at = s.at;
  const value = expression(s);
  if (value === undefined) return -1;
  if (value >= 0n && value <= BigInt(MAX_DATA)) return Number(value);
  fail(s, "ERR_ASM_RANGE", `${what} must be 0 to ${MAX_DATA}`, at, s.at - at);
  return -1;
}

/** `.zero 16`, `.zero 16, 0xff` */
export function zeros(s: Assembly): boolean {
  const size = count(s, "Number of bytes");
  if (size < 0) return false;
  let value = 0n;
  if (accept(s, COMMA)) {
    const given = expression(s);
    if (given === undefined) return false;
    value = given;
  }
  return repeat(s, size, Number(value & 0xffn));
}

function repeat(s: Assembly, size: number, value: number): boolean {
  if (!inData(s)) {
    if (size > 1 << 20) return tooLarge(s);
    return rawBytes(s, new Uint8Array(size).fill(value));
  }
  const at = grow(s.section.data, size);
  if (at < 0) return tooLarge(s);
  s.section.data.bytes.fill(value, at, at + size);
  return true;
}

/** `.fill repeat, size, value` */
export function fill(s: Assembly): boolean {
  const times = count(s, "Number of repetitions");
  if (times < 0) return false;
  let size = 1;
  let value = 0n;
  if (accept(s, COMMA)) {
    size = count(s, "Size");
    if (size < 0) return false;
    if (accept(s, COMMA)) {
      const given = expression(s);
      if (given === undefined) return false;
      value = given;
    }
  }
  if (size > 8) size = 8;
  if (!inData(s)) return fail(s, "ERR_ASM_SYNTAX", "Fill in a code section", s.start, s.at - s.start);
  const at = grow(s.section.data, times * size);
  if (at < 0) return tooLarge(s);
  for (let i = 0; i < times; i++) writeInteger(s.section.data.bytes, at + i * size, size, value);
  return true;
}

/** `.align 8` and `.p2align 3`. Code is always aligned. */
export function align(s: Assembly, power: boolean): boolean {
  peek(s);
  const at = s.at;
  const given = count(s, "Alignment");
  if (given < 0) return false;
  const alignment = power ? 2 ** given : given;
  if (!(alignment >= 1 && alignment <= 65536 && Number.isInteger(Math.log2(alignment)))) {
    return fail(s, "ERR_ASM_RANGE", "Alignment must be a power of two up to 65536", at, s.at - at);
  }
  let value = 0n;
  if (accept(s, COMMA) && (isDigit(peek(s)) || startsWord(peek(s)))) {
    const filler = expression(s);
    if (filler === undefined) return false;
    value = filler;
  }
  if (peek(s) !== LINE_FEED) skipLine(s);
  if (s.section.kind === "code") {
    if (alignment <= 8) return true;
    return fail(s, "ERR_ASM_RANGE", "Code cannot be aligned to more than 8 bytes", at, s.at - at);
  }
  if (s.section.kind === undefined) return true;
  const rest = s.section.data.length % alignment;
  return rest === 0 || repeat(s, alignment - rest, Number(value & 0xffn));
}

/** `.uleb128 300`, `.sleb128 -2`, and what compilers write for debuggers: `.uleb128 .Lend-.Lbegin` */
export function leb128(s: Assembly, signed: boolean): boolean {
  if (!inData(s)) return fail(s, "ERR_ASM_SYNTAX", "Data in a code section", s.start, s.at - s.start);
  do {
    peek(s);
    const at = s.at;
    const operand = symbolOperand(s);
    if (operand === undefined) return false;
    const distance = operand.symbol === undefined ? 0n : knownDistance(s, operand.symbol, operand.minus, at);
    if (distance === undefined) return false;
    let value = operand.value + distance;
    if (!signed && value < 0n) return fail(s, "ERR_ASM_RANGE", `Value ${value} is negative`, at, s.at - at);
    for (let more = true; more; ) {
      const byte = Number(value & 0x7fn);
      value >>= 7n;
      more = signed ? !((value === 0n && byte < 64) || (value === -1n && byte >= 64)) : value !== 0n;
      const place = grow(s.section.data, 1);
      if (place < 0) return tooLarge(s);
      s.section.data.bytes[place] = more ? byte | 0x80 : byte;
    }
  } while (accept(s, COMMA));
  return true;
}

/** How far two labels that stand above are apart, in bytes: the length of what is written depends on it. */
function knownDistance(s: Assembly, symbol: string, minus: string | undefined, at: number): bigint | undefined {
  const a = s.labels.get(symbol);
  const b = minus === undefined ? undefined : s.labels.get(minus);
  if (a === undefined || b === undefined || a.section !== b.section) {
    fail(
      s,
      "ERR_ASM_LABEL",
      "Expected a number, or the distance of two labels of one section further up",
      at,
      s.at - at,
    );
    return undefined;
  }
  return BigInt(byteOffset(a) - byteOffset(b));
}

function byteOffset({ section, index }: Label): number {
  if (section.kind === "data") return index;
  const { slots, code } = section;
  for (let i = slots.length; i <= index; i++) slots.push(i === 0 ? 0 : slots[i - 1]! + slotsOf(code[i - 1]!));
  return 8 * slots[index]!;
}
