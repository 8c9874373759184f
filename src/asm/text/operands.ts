// Browser-safe.

import { findHelper } from "../../kernel-abi/helpers.ts";
import { helperHint } from "../helpers.ts";
import type { InstructionMeta, MapReference } from "../instruction.ts";
import { CallSource, Class, JumpOp, PseudoSource } from "../opcodes.ts";
import { type Assembly, emit, emitWide, type Fixup, fail } from "./assembly.ts";
import {
  AT,
  CLOSE_BRACKET,
  COLON,
  COMMA,
  HASH,
  isDigit,
  LESS,
  LINE_FEED,
  LOWER_B,
  LOWER_C,
  LOWER_P,
  MINUS,
  OPEN_BRACKET,
  PLUS,
  QUOTE,
  startsWord,
} from "./characters.ts";
import { constant, highHalf, immediate, lowHalf, shown, signed16 } from "./expression.ts";
import { accept, atLocalLabel, expect, expectName, findInLine, peek, readName, skipWord, unexpected } from "./scan.ts";
import { standsAt } from "./words.ts";

/** What {@link jumpTarget} gives for a label: its name, or its number, is in `name`. */
export const LABEL: number = Number.POSITIVE_INFINITY;

const CALL = Class.jmp | JumpOp.call;

/**
 * Reads where a jump goes: `+3`, `-3`, `3`, `pc+3`, a label, or a numeric label `1f`.
 *
 * @returns a distance of any size, `LABEL`, or NaN after noting a problem
 */
export function jumpTarget(s: Assembly): number {
  const c = peek(s);
  const { text } = s;
  if (c === PLUS) {
    s.at++;
    peek(s);
    return distance(s);
  }
  if (c === MINUS) return distance(s);
  if (isDigit(c)) {
    if (!atLocalLabel(s)) return distance(s);
    const at = s.at;
    skipWord(s);
    s.name = text.slice(at, s.at);
    return LABEL;
  }
  if (c === LOWER_P && text.charCodeAt(s.at + 1) === LOWER_C) {
    const at = s.at;
    s.at += 2;
    const sign = peek(s);
    if (sign === PLUS || sign === MINUS) {
      s.sawKernelStyle = true;
      return jumpTarget(s);
    }
    s.at = at;
  }
  if (readName(s)) return LABEL;
  if (c !== QUOTE) unexpected(s, "a label or a distance such as +3");
  return Number.NaN;
}

function distance(s: Assembly): number {
  const value = constant(s);
  // llvm-objdump prints the place jumped to behind the distance: "+3 <main+0x18>".
  if (peek(s) === LESS) {
    const end = findInLine(s, ">", s.at);
    if (end < 0) {
      fail(s, "ERR_ASM_SYNTAX", 'Expected ">" behind the place', s.at, 1);
      return Number.NaN;
    }
    s.at = end + 1;
  }
  return value;
}

/** Appends a jump with a 16-bit offset to what {@link jumpTarget} just read, which began at `at`. */
export function emitJump(
  s: Assembly,
  opcode: number,
  dst: number,
  src: number,
  imm: number,
  target: number,
  at: number,
): boolean {
  if (target !== LABEL) {
    const offset = signed16(s, target, at, "Jump distance");
    return !Number.isNaN(offset) && emit(s, opcode, dst, src, offset, imm);
  }
  return emit(s, opcode, dst, src, 0, imm) && refer(s, "jump");
}

/** Appends a jump with a 32-bit distance. */
export function emitLongJump(s: Assembly, opcode: number, src: number, target: number, at: number): boolean {
  if (target !== LABEL) {
    const imm = longDistance(s, target, at);
    return !Number.isNaN(imm) && emit(s, opcode, 0, src, 0, imm);
  }
  return emit(s, opcode, 0, src, 0, 0) && refer(s, src === CallSource.local ? "local-call" : "jump");
}

/** A distance in an immediate. @returns NaN after noting a problem */
function longDistance(s: Assembly, value: number, at: number): number {
  if ((value | 0) === value) return value | 0;
  if (Number.isNaN(value)) return value;
  const text = s.text.slice(at, s.at);
  fail(s, "ERR_ASM_RANGE", `Jump distance ${shown(text)} does not fit 32 signed bits`, at, s.at - at);
  return Number.NaN;
}

/** Notes that the instruction appended last goes to the label read last. */
function refer(s: Assembly, kind: Fixup["kind"]): true {
  const { section, name, nameAt } = s;
  const index = s.code.length - 1;
  const c = name.charCodeAt(0);
  if (isDigit(c) && s.text.charCodeAt(nameAt) === c) {
    const number = Number.parseInt(name, 10);
    const jump = { section, index, at: nameAt, target: -1 };
    s.localJumps.push(jump);
    if (name.charCodeAt(name.length - 1) === LOWER_B) {
      const found = s.localLabels.get(number);
      if (found === undefined) {
        fail(s, "ERR_ASM_LABEL", `Label "${shown(name)}" is not defined further up`, nameAt, s.nameLength);
      } else jump.target = found.index;
    } else {
      const waiting = s.localPending.get(number);
      if (waiting === undefined) s.localPending.set(number, [jump]);
      else waiting.push(jump);
    }
    return true;
  }
  s.fixups.push({ section, index, name, at: nameAt, length: s.nameLength, kind });
  return true;
}

/**
 * Reads what follows `call`: a helper by number or name (`bpf_map_lookup_elem`, `map_lookup_elem`,
 * `bpf_map_lookup_elem#1`), a function of the program (its name, `local` name, `pc+15`), or a kernel function
 * (`kfunc name`, `kfunc#123`, `kfunc#123@2` with an index of a BTF, `name#123`).
 */
export function callTarget(s: Assembly): boolean {
  const c = peek(s);
  const { text } = s;
  if (isDigit(c) || c === MINUS) {
    if (isDigit(c) && atLocalLabel(s)) return localCall(s);
    const number = immediate(s);
    return !Number.isNaN(number) && emit(s, CALL, 0, CallSource.helper, 0, number);
  }
  if (c === PLUS) {
    return fail(
      s,
      "ERR_ASM_SYNTAX",
      'Expected a helper or a function, found "+"',
      s.at,
      1,
      'A function so many slots away is "call pc+3"',
    );
  }
  if (c === LOWER_P && text.charCodeAt(s.at + 1) === LOWER_C) {
    const at = s.at;
    s.at += 2;
    const sign = peek(s);
    s.at = at;
    if (sign === PLUS || sign === MINUS) return localCall(s);
  }
  if (c === QUOTE) {
    if (!readName(s)) return false;
    return emit(s, CALL, 0, CallSource.helper, 0, 0) && refer(s, "call");
  }
  if (!startsWord(c)) return unexpected(s, "a helper or a function");
  skipWord(s);
  const start = s.nameAt;
  const end = s.at;
  if (text.charCodeAt(end) === HASH && (isDigit(text.charCodeAt(end + 1)) || text.charCodeAt(end + 1) === MINUS)) {
    return numberedCall(s, start, end);
  }
  const first = text.charCodeAt(end) === LINE_FEED ? LINE_FEED : peek(s);
  if (first === PLUS || first === MINUS || first === QUOTE || startsWord(first) || isDigit(first)) {
    if (standsAt("local", text, start, end)) return localCall(s);
    if (standsAt("kfunc", text, start, end) && readName(s)) {
      return emit(s, CALL, 0, CallSource.kfunc, 0, 0) && nameKfunc(s, s.name);
    }
    if (standsAt("runtime", text, start, end)) {
      const id = immediate(s);
      return !Number.isNaN(id) && emit(s, CALL, 0, CallSource.kfunc, 0, id);
    }
  }
  s.name = text.slice(start, end);
  s.nameAt = start;
  s.nameLength = end - start;
  return emit(s, CALL, 0, CallSource.helper, 0, 0) && refer(s, "call");
}

function localCall(s: Assembly): boolean {
  peek(s);
  const at = s.at;
  const target = jumpTarget(s);
  return !Number.isNaN(target) && emitLongJump(s, CALL, CallSource.local, target, at);
}

/** The kernel's way: `name#number`, for helpers and kernel functions alike. */
function numberedCall(s: Assembly, start: number, end: number): boolean {
  const name = s.text.slice(start, end);
  s.at = end + 1;
  const at = s.at;
  const number = immediate(s);
  if (Number.isNaN(number)) return false;
  const length = s.at - start;
  let index = 0;
  if (s.text.charCodeAt(s.at) === AT) {
    s.at++;
    const indexAt = s.at;
    index = signed16(s, constant(s), indexAt, "BTF index");
    if (Number.isNaN(index)) return false;
  } else {
    s.sawKernelStyle = true;
    if (name === "unknown" || name === "bpf_unspec") return emit(s, CALL, 0, CallSource.helper, 0, number);
    const helper = findHelper(name);
    if (helper !== undefined) {
      // In a dump of a loaded program the kernel has put an address in place of the number.
      const isAddress = number < 0 || findHelper(number) === undefined;
      if (helper.number === number || isAddress) return emit(s, CALL, 0, CallSource.helper, 0, helper.number);
      return fail(
        s,
        "ERR_ASM_UNKNOWN_HELPER",
        `Helper ${name} has number ${helper.number}, not ${number}`,
        at,
        s.at - at,
      );
    }
    // BTF ids of kernel functions are far above the numbers of helpers: this is a helper, misspelt.
    if (name !== "kfunc" && number > 0 && findHelper(number) !== undefined) {
      return fail(s, "ERR_ASM_UNKNOWN_HELPER", `Unknown helper "${shown(name)}"`, start, length, helperHint(name));
    }
  }
  return emit(s, CALL, 0, CallSource.kfunc, index, number);
}

/** Makes the call appended last one of a kernel function by name, which `link` or the loader finds. */
export function nameKfunc(s: Assembly, name: string): true {
  const index = s.code.length - 1;
  const insn = s.code[index]!;
  const known = s.kfuncs !== undefined && Object.hasOwn(s.kfuncs, name) ? s.kfuncs[name] : undefined;
  s.code[index] =
    known === undefined
      ? { ...insn, src: CallSource.kfunc, meta: { ...insn.meta, reference: name } }
      : { ...insn, src: CallSource.kfunc, offset: known.fdIndex ?? 0, imm: known.btfId };
  return true;
}

/** Appends an `ld_imm64` with a constant. */
export function emitConstant(s: Assembly, dst: number, value: number): boolean {
  return emitWide(s, dst, PseudoSource.immediate, lowHalf(s, value), highHalf(s, value));
}

/** A map given with the options, or `undefined`. */
export function givenMap(s: Assembly, name: string): MapReference | number | undefined {
  return s.maps !== undefined && Object.hasOwn(s.maps, name) ? s.maps[name] : undefined;
}

/** Appends an `ld_imm64` that loads the address of a map, or with `high` an address inside its value. */
export function emitMap(s: Assembly, dst: number, src: number, name: string, high: number): boolean {
  const map = givenMap(s, name);
  let meta: InstructionMeta | undefined;
  if (map === undefined) meta = { reference: name };
  else if (typeof map === "object") meta = { map };
  const fd = map === undefined ? 0 : typeof map === "object" ? map.fd : map;
  return emitWide(s, dst, src, fd, high, meta);
}

/**
 * Appends an `ld_imm64` of the symbol read last, `addend` bytes into it: a map given with the options, or what the name
 * turns out to be: a function of this text, or something that is found later.
 */
export function emitSymbol(s: Assembly, dst: number, addend: number): boolean {
  const { name } = s;
  if (givenMap(s, name) !== undefined) {
    return emitMap(s, dst, addend === 0 ? PseudoSource.mapFd : PseudoSource.mapValue, name, addend);
  }
  return emitWide(s, dst, PseudoSource.immediate, addend, 0, undefined) && refer(s, "address");
}

/**
 * Reads what follows the word `map`, `subprog` or `btf` and appends the `ld_imm64` it describes:
 *
 *     map[counts]  map[fd:7]  map[idx:2]         the address of a map
 *     map[counts][0]+16  map[fd:7][0]+16         an address inside its only value
 *     subprog[name]  subprog[+7]                 the address of a function
 *     btf[name]  btf[id:123]  btf[id:123,fd:4]   the address of a kernel variable
 *
 * @returns `undefined`, with nothing consumed or noted, when no bracket follows
 */
export function pseudoOperand(s: Assembly, dst: number, wordStart: number, wordEnd: number): boolean | undefined {
  const { text } = s;
  if (text.charCodeAt(wordEnd) !== OPEN_BRACKET) return undefined;
  if (standsAt("map", text, wordStart, wordEnd)) {
    s.at = wordEnd + 1;
    return mapOperand(s, dst);
  }
  if (standsAt("subprog", text, wordStart, wordEnd)) {
    s.at = wordEnd + 1;
    peek(s);
    const at = s.at;
    const target = jumpTarget(s);
    if (Number.isNaN(target)) return false;
    if (target === LABEL) {
      return (
        emitWide(s, dst, PseudoSource.function, 0, 0) &&
        refer(s, "address") &&
        expect(s, CLOSE_BRACKET, "behind the function")
      );
    }
    const imm = longDistance(s, target, at);
    return (
      !Number.isNaN(imm) &&
      expect(s, CLOSE_BRACKET, "behind the function") &&
      emitWide(s, dst, PseudoSource.function, imm, 0)
    );
  }
  if (standsAt("btf", text, wordStart, wordEnd)) {
    s.at = wordEnd + 1;
    return btfOperand(s, dst);
  }
  return undefined;
}

function mapOperand(s: Assembly, dst: number): boolean {
  if (!expectName(s, "the name of a map, fd:N or idx:N")) return false;
  const { name, nameAt, nameLength } = s;
  let number = 0;
  const numbered = s.text.charCodeAt(nameAt) !== QUOTE && peek(s) === COLON;
  if (numbered) {
    s.at++;
    if (name !== "fd" && name !== "idx") {
      const hint = name === "id" ? "A program refers to maps by descriptor: map[fd:N]" : undefined;
      return fail(s, "ERR_ASM_OPERAND", `Expected fd: or idx:, found "${shown(name)}:"`, nameAt, nameLength + 1, hint);
    }
    number = immediate(s);
    if (Number.isNaN(number)) return false;
  }
  if (!expect(s, CLOSE_BRACKET, "behind the map")) return false;
  let value = false;
  let high = 0;
  if (accept(s, OPEN_BRACKET)) {
    value = true;
    peek(s);
    const at = s.at;
    const index = immediate(s);
    if (Number.isNaN(index)) return false;
    if (index !== 0) return fail(s, "ERR_ASM_OPERAND", "Only the value at index 0 has an address", at, s.at - at);
    if (!expect(s, CLOSE_BRACKET, "behind the index")) return false;
  }
  if (peek(s) === PLUS) {
    value = true;
    s.at++;
    high = immediate(s);
    if (Number.isNaN(high)) return false;
  }
  if (!numbered) return emitMap(s, dst, value ? PseudoSource.mapValue : PseudoSource.mapFd, name, high);
  const source =
    name === "fd"
      ? value
        ? PseudoSource.mapValue
        : PseudoSource.mapFd
      : value
        ? PseudoSource.mapIndexValue
        : PseudoSource.mapIndex;
  return emitWide(s, dst, source, number, high);
}

function btfOperand(s: Assembly, dst: number): boolean {
  if (!expectName(s, "the name of a kernel variable, or id:N")) return false;
  const { name, nameAt } = s;
  if (s.text.charCodeAt(nameAt) === QUOTE || peek(s) !== COLON) {
    return (
      expect(s, CLOSE_BRACKET, "behind the variable") && emitWide(s, dst, PseudoSource.btfId, 0, 0, { reference: name })
    );
  }
  s.at++;
  if (name !== "id") return fail(s, "ERR_ASM_OPERAND", `Expected id:, found "${shown(name)}:"`, nameAt, s.at - nameAt);
  const id = immediate(s);
  if (Number.isNaN(id)) return false;
  let fd = 0;
  if (accept(s, COMMA)) {
    if (!readName(s) || s.name !== "fd") return unexpected(s, "fd:N");
    if (!expect(s, COLON, 'behind "fd"')) return false;
    fd = immediate(s);
    if (Number.isNaN(fd)) return false;
  }
  return expect(s, CLOSE_BRACKET, "behind the variable") && emitWide(s, dst, PseudoSource.btfId, id, fd);
}
