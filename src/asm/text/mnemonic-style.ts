// Browser-safe.

// The mnemonic grammar: one word for the operation, then operands, as uBPF, rbpf, the conformance suite of BPF and GNU as
// ("normal" dialect) write it. Their names are all read; where two of them give one name to different things there is no
// such name here. Registers may go without their `%`. What none of them can say is written:
//
//     ldacqw %r1, [%r2+8]    strelw [%r2+8], %r1      load-acquire and store-release, in the four sizes
//     addr_space_cast %r1, %r2, 0, 1                   address space of the result, then of the source
//     mov_percpu %r1, %r2                              address of this CPU's copy
//     gotox %r1                                        jump through a register
//     callx 3                                          the register number in the immediate, as old compilers wrote it
//     lddw %r1, map[fd:7]                              pseudo sources, as in the other styles: operands.ts
//     call kfunc#123                                   kernel functions, likewise
//
// The first `exit` defines the label `exit`, unless the file does.

import { ATOMIC_FETCH, AtomicOp, Class, Mode, MovOffset, Size, Source } from "../opcodes.ts";
import { type Assembly, emit, fail, suggest } from "./assembly.ts";
import { addressSpaces } from "./c-operands.ts";
import { callRegister } from "./c-style.ts";
import {
  APOSTROPHE,
  CLOSE_BRACKET,
  COMMA,
  isDigit,
  LOWER_L,
  LOWER_R,
  MINUS,
  OPEN,
  OPEN_BRACKET,
  PERCENT,
  PLUS,
  startsWord,
  TILDE,
} from "./characters.ts";
import { constant, immediate, shown, signed16, signed32 } from "./expression.ts";
import { MNEMONICS, Shape } from "./mnemonics.ts";
import {
  callTarget,
  emitConstant,
  emitJump,
  emitLongJump,
  emitMap,
  emitSymbol,
  givenMap,
  jumpTarget,
  pseudoOperand,
} from "./operands.ts";
import {
  BAD_REGISTER,
  expect,
  expectWhole,
  NO_REGISTER,
  peek,
  readName,
  register,
  skipWord,
  unexpected,
} from "./scan.ts";
import { findWord, standsAt } from "./words.ts";

/** Reads one statement that begins with the word read last. @returns `undefined` when it is no mnemonic */
export function mnemonicStatement(s: Assembly): boolean | undefined {
  const found = findWord(MNEMONICS, s.text, s.nameAt, s.at);
  if (found < 0) return undefined;
  const opcode = MNEMONICS.opcodes[found]!;
  const extra = MNEMONICS.extras[found]!;
  switch (MNEMONICS.shapes[found]) {
    case Shape.alu:
      return alu(s, opcode, extra);
    case Shape.neg: {
      const dst = expectWhole(s, "a register");
      return dst >= 0 && emit(s, opcode, dst, 0, 0, 0);
    }
    case Shape.swap: {
      const dst = expectWhole(s, "a register");
      return dst >= 0 && emit(s, opcode, dst, 0, 0, extra);
    }
    case Shape.swapBits: {
      const dst = expectWhole(s, "a register");
      if (dst < 0 || !expect(s, COMMA, "behind the register")) return false;
      const bits = oneOf(s, [16, 32, 64]);
      return bits > 0 && emit(s, opcode, dst, 0, 0, bits);
    }
    case Shape.signExtend:
      return twoRegisters(s, opcode, extra);
    case Shape.signExtendBits: {
      const dst = expectWhole(s, "a register");
      if (dst < 0 || !expect(s, COMMA, "behind the register")) return false;
      const src = expectWhole(s, "a register");
      if (src < 0 || !expect(s, COMMA, "behind the register")) return false;
      const bits = oneOf(s, (opcode & 7) === Class.alu ? [8, 16] : [8, 16, 32]);
      return bits > 0 && emit(s, opcode, dst, src, bits, 0);
    }
    case Shape.load: {
      const dst = expectWhole(s, "a register");
      if (dst < 0 || !expect(s, COMMA, "behind the register") || !address(s)) return false;
      return emit(s, opcode, dst, s.base, s.offset, extra);
    }
    case Shape.storeImmediate: {
      if (!address(s) || !expect(s, COMMA, "behind the address")) return false;
      const { base, offset } = s;
      const imm = immediateOrHint(s, 'A store of a register begins with "stx"');
      return !Number.isNaN(imm) && emit(s, opcode, base, 0, offset, imm);
    }
    case Shape.store:
      return store(s, opcode, extra);
    case Shape.wide:
      return wide(s);
    case Shape.branch:
      return branch(s, opcode);
    case Shape.jump: {
      peek(s);
      const at = s.at;
      const target = jumpTarget(s);
      return !Number.isNaN(target) && emitJump(s, opcode, 0, 0, 0, target, at);
    }
    case Shape.longJump: {
      peek(s);
      const at = s.at;
      const target = jumpTarget(s);
      return !Number.isNaN(target) && emitLongJump(s, opcode, 0, target, at);
    }
    case Shape.call: {
      const c = peek(s);
      if (c !== PERCENT && c !== LOWER_R) return callTarget(s);
      const target = register(s);
      if (target === NO_REGISTER) return callTarget(s);
      return target >= 0 && emit(s, opcode | Source.x, target, 0, 0, 0);
    }
    case Shape.register: {
      const dst = expectWhole(s, "a register");
      return dst >= 0 && emit(s, opcode, dst, 0, 0, 0);
    }
    case Shape.callx:
      return callRegister(s);
    case Shape.none:
      return emit(s, opcode, 0, 0, 0, 0);
    case Shape.absolute: {
      const imm = immediate(s);
      return !Number.isNaN(imm) && emit(s, opcode, 0, 0, 0, imm);
    }
    case Shape.indirect: {
      const src = expectWhole(s, "a register");
      if (src < 0) return false;
      if (peek(s) !== COMMA) return emit(s, opcode, 0, src, 0, 0);
      s.at++;
      const imm = immediate(s);
      return !Number.isNaN(imm) && emit(s, opcode, 0, src, 0, imm);
    }
    case Shape.lock:
      return lock(s);
    case Shape.addressSpaceCast: {
      const dst = expectWhole(s, "a register");
      if (dst < 0 || !expect(s, COMMA, "behind the register")) return false;
      const src = expectWhole(s, "a register");
      if (src < 0) return false;
      const spaces = addressSpaces(s);
      return !Number.isNaN(spaces) && emit(s, opcode, dst, src, MovOffset.addrSpaceCast, spaces);
    }
    default:
      return twoRegisters(s, opcode, MovOffset.percpu);
  }
}

/** Whether a register may begin here. */
function atRegister(s: Assembly): boolean {
  const c = peek(s);
  return c === PERCENT || startsWord(c);
}

function alu(s: Assembly, opcode: number, offset: number): boolean {
  const dst = expectWhole(s, "a register");
  if (dst < 0 || !expect(s, COMMA, "behind the register")) return false;
  if (atRegister(s)) {
    const src = register(s);
    if (src === BAD_REGISTER) return false;
    if (src >= 0) return wholeOnly(s, src) && emit(s, opcode | Source.x, dst, src, offset, 0);
  }
  const imm = immediateOrHint(s, undefined);
  return !Number.isNaN(imm) && emit(s, opcode, dst, 0, offset, imm);
}

function wholeOnly(s: Assembly, src: number): boolean {
  if (src < 16) return true;
  const length = src < 26 ? 2 : 3;
  const name = `w${src - 16}`;
  const hint = `Mnemonics say the width themselves: write %r${src - 16}`;
  return fail(s, "ERR_ASM_OPERAND", `Expected a 64-bit register, found ${name}`, s.at - length, length, hint);
}

/** An immediate. @returns NaN after noting a problem */
function immediateOrHint(s: Assembly, hint: string | undefined): number {
  const c = peek(s);
  const at = s.at;
  if (c === PERCENT) {
    const found = register(s);
    if (found === NO_REGISTER) unexpected(s, "a register or a number");
    else if (found >= 0) fail(s, "ERR_ASM_OPERAND", "Expected a number, found a register", at, s.at - at, hint);
    return Number.NaN;
  }
  if (isDigit(c) || c === MINUS || c === PLUS || c === TILDE || c === OPEN || c === APOSTROPHE || startsWord(c)) {
    return signed32(s, constant(s), at);
  }
  unexpected(s, "a register or a number");
  return Number.NaN;
}

function oneOf(s: Assembly, allowed: readonly number[]): number {
  peek(s);
  const at = s.at;
  const value = constant(s);
  if (Number.isNaN(value)) return -1;
  if (allowed.includes(value)) return value;
  fail(s, "ERR_ASM_OPERAND", `Expected a width of ${allowed.join(", ")} bits`, at, s.at - at);
  return -1;
}

function twoRegisters(s: Assembly, opcode: number, offset: number): boolean {
  const dst = expectWhole(s, "a register");
  if (dst < 0 || !expect(s, COMMA, "behind the register")) return false;
  const src = expectWhole(s, "a register");
  return src >= 0 && emit(s, opcode, dst, src, offset, 0);
}

/** Reads `[%r1+8]` into `base` and `offset`. */
function address(s: Assembly): boolean {
  if (!expect(s, OPEN_BRACKET, "before the address")) return false;
  const base = expectWhole(s, "a register");
  if (base < 0) return false;
  s.base = base;
  s.offset = 0;
  const sign = peek(s);
  if (sign === PLUS || sign === MINUS) {
    const at = s.at;
    if (sign === PLUS) {
      s.at++;
      peek(s);
    }
    const offset = signed16(s, constant(s), at, "Offset");
    if (Number.isNaN(offset)) return false;
    s.offset = offset;
  }
  return expect(s, CLOSE_BRACKET, "behind the address");
}

function store(s: Assembly, opcode: number, imm: number): boolean {
  if (!address(s) || !expect(s, COMMA, "behind the address")) return false;
  const { base, offset } = s;
  if (isDigit(peek(s)) && (opcode & 0xe7) === (Class.stx | Mode.mem)) {
    const at = s.at;
    immediate(s);
    return fail(
      s,
      "ERR_ASM_OPERAND",
      "Expected a register, found a number",
      at,
      s.at - at,
      'A store of a number begins with "st"',
    );
  }
  const src = expectWhole(s, "a register");
  return src >= 0 && emit(s, opcode, base, src, offset, imm);
}

function branch(s: Assembly, opcode: number): boolean {
  const dst = expectWhole(s, "a register");
  if (dst < 0 || !expect(s, COMMA, "behind the register")) return false;
  let src = NO_REGISTER;
  let imm = 0;
  if (atRegister(s)) {
    src = register(s);
    if (src === BAD_REGISTER || (src >= 0 && !wholeOnly(s, src))) return false;
  }
  if (src === NO_REGISTER) {
    imm = immediateOrHint(s, undefined);
    if (Number.isNaN(imm)) return false;
  }
  if (!expect(s, COMMA, "before the target")) return false;
  peek(s);
  const at = s.at;
  const target = jumpTarget(s);
  if (Number.isNaN(target)) return false;
  return src >= 0
    ? emitJump(s, opcode | Source.x, dst, src, 0, target, at)
    : emitJump(s, opcode, dst, 0, imm, target, at);
}

/** `lddw %r1, 0x1122334455667788`, `lddw %r1, map[fd:7]`, `lddw %r1, symbol` */
function wide(s: Assembly): boolean {
  const dst = expectWhole(s, "a register");
  if (dst < 0 || !expect(s, COMMA, "behind the register")) return false;
  if (!startsWord(peek(s))) {
    const value = constant(s);
    if (Number.isNaN(value)) return false;
    return longSuffix(s) && emitConstant(s, dst, value);
  }
  const at = s.at;
  skipWord(s);
  const pseudo = pseudoOperand(s, dst, at, s.at);
  if (pseudo !== undefined) return pseudo;
  s.at = at;
  readName(s);
  const { name, nameAt, nameLength } = s;
  if (s.constants.has(name)) {
    s.at = at;
    const value = constant(s);
    return !Number.isNaN(value) && emitConstant(s, dst, value);
  }
  if (givenMap(s, name) !== undefined && peek(s) !== PLUS) return emitMap(s, dst, 1, name, 0);
  let addend = 0;
  const sign = peek(s);
  if (sign === PLUS || sign === MINUS) {
    addend = immediate(s);
    if (Number.isNaN(addend)) return false;
  }
  s.name = name;
  s.nameAt = nameAt;
  s.nameLength = nameLength;
  return emitSymbol(s, dst, addend);
}

/** Steps over `ll`, which GNU as allows behind the number. */
function longSuffix(s: Assembly): boolean {
  if (peek(s) === LOWER_L && s.text.charCodeAt(s.at + 1) === LOWER_L) s.at += 2;
  return true;
}

const LOCKED: readonly (readonly [string, number])[] = [
  ["add", AtomicOp.add],
  ["or", AtomicOp.or],
  ["and", AtomicOp.and],
  ["xor", AtomicOp.xor],
  ["xchg", AtomicOp.xchg],
  ["cmpxchg", AtomicOp.cmpxchg],
];

/** `lock add [%r1+8], %r2`, `lock fetch add32 [%r1+8], %r2`, `lock cmpxchg [%r1+8], %r2` */
function lock(s: Assembly): boolean {
  const { text } = s;
  let fetch = 0;
  if (!startsWord(peek(s))) return unexpected(s, "an atomic operation");
  skipWord(s);
  if (standsAt("fetch", text, s.nameAt, s.at)) {
    fetch = ATOMIC_FETCH;
    if (!startsWord(peek(s))) return unexpected(s, "an atomic operation");
    skipWord(s);
  }
  const start = s.nameAt;
  const word = text.slice(start, Math.min(s.at, start + 64));
  for (const [name, op] of LOCKED) {
    const size = word === name || word === `${name}64` ? Size.dw : word === `${name}32` ? Size.w : -1;
    if (size >= 0) return store(s, Class.stx | Mode.atomic | size, op | fetch);
  }
  const hint = suggest(s, word, LOCKED.map(([name]) => name).concat(LOCKED.map(([name]) => `${name}32`)));
  return fail(s, "ERR_ASM_UNKNOWN_MNEMONIC", `Unknown atomic operation "${shown(word)}"`, start, s.at - start, hint);
}
