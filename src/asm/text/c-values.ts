// Browser-safe.

// What may be assigned to a register in the C-like grammar: see c-style.ts.

import { AluOp, ATOMIC_FETCH, AtomicOp, Class, Mode, MovOffset, Size, Source } from "../opcodes.ts";
import { type Assembly, emit, fail, PATTERN, suggest } from "./assembly.ts";
import { loadAcquire, typedAtomic, untypedAtomic } from "./c-atomics.ts";
import {
  address,
  addressSpaces,
  atRegister,
  emitAlu,
  expectWord,
  memoryType,
  SIGNED,
  sameRegister,
  sameWidth,
  wholeTarget,
} from "./c-operands.ts";
import {
  AMPERSAND,
  CLOSE,
  CLOSE_BRACKET,
  isBlank,
  isDigit,
  isWordPart,
  LOWER_L,
  LOWER_R,
  LOWER_S,
  LOWER_U,
  LOWER_W,
  MINUS,
  OPEN,
  OPEN_BRACKET,
  PLUS,
  QUOTE,
  STAR,
  startsWord,
} from "./characters.ts";
import { bits32, constant, immediate, immediateBits, shown } from "./expression.ts";
import { emitConstant, emitSymbol, pseudoOperand } from "./operands.ts";
import {
  BAD_REGISTER,
  expect,
  expectName,
  expectRegister,
  expectWhole,
  HALF,
  NO_REGISTER,
  peek,
  register,
  skipWord,
  unexpected,
} from "./scan.ts";
import { findWord, standsAt, wordTable } from "./words.ts";

/** What follows `r1 =`. */
export function assignment(s: Assembly, dst: number): boolean {
  const c = peek(s);
  const at = s.at;
  const { text } = s;
  if (isDigit(c)) return assignConstant(s, dst, at);
  switch (c) {
    case LOWER_R:
    case LOWER_W: {
      const src = register(s);
      if (src === BAD_REGISTER) return false;
      if (src >= 0) return sameWidth(s, dst, src, at) && emitAlu(s, dst, AluOp.mov | Source.x, src, 0, 0);
      break;
    }
    case MINUS: {
      let next = at + 1;
      while (isBlank(text.charCodeAt(next))) next++;
      const letter = text.charCodeAt(next);
      if ((letter === LOWER_R || letter === LOWER_W) && isDigit(text.charCodeAt(next + 1))) {
        s.at = next;
        const src = register(s);
        if (src === BAD_REGISTER) return false;
        if (src >= 0) return sameRegister(s, dst, src, next) && emitAlu(s, dst, AluOp.neg, 0, 0, 0);
        s.at = at;
      }
      return assignConstant(s, dst, at);
    }
    case STAR:
      return load(s, dst);
    case OPEN:
      return cast(s, dst);
    case AMPERSAND:
      return percpuAddress(s, dst);
    case QUOTE:
      return assignSymbol(s, dst);
  }
  if (!startsWord(c)) return assignConstant(s, dst, at);
  skipWord(s);
  const end = s.at;
  const found = findWord(VALUE_WORDS, text, at, end);
  if (found >= 0) {
    const next = peek(s);
    if (next === OPEN || (found < SWAPS.length && (next === LOWER_R || next === LOWER_W))) {
      return VALUES[found]![1](s, dst);
    }
  }
  const pseudo = pseudoOperand(s, dst, at, end);
  if (pseudo !== undefined) return pseudo && wholeTarget(s, dst, at);
  s.at = at;
  return assignSymbol(s, dst);
}

function assignConstant(s: Assembly, dst: number, at: number): boolean {
  const value = constant(s);
  if (Number.isNaN(value)) return false;
  if (acceptLongSuffix(s)) return wholeTarget(s, dst, at) && emitConstant(s, dst, value);
  if (dst >= HALF) {
    const imm = bits32(s, value, at);
    return !Number.isNaN(imm) && emit(s, Class.alu | AluOp.mov, dst & 15, 0, 0, imm);
  }
  if ((value | 0) !== value) return emitConstant(s, dst, value);
  if (s.form === PATTERN && value >= 0 && s.hexIsWide !== false) {
    if (s.hexIsWide === true) return emitConstant(s, dst, value);
    s.hexMoves.push({ section: s.section, index: s.code.length });
  }
  return emit(s, Class.alu64 | AluOp.mov, dst, 0, 0, value);
}

/** Steps over the `ll` behind a 64-bit constant or a symbol. */
function acceptLongSuffix(s: Assembly): boolean {
  const { text } = s;
  const c = peek(s) | 0x20;
  if (c !== LOWER_L && c !== LOWER_U) return false;
  let at = c === LOWER_U ? s.at + 1 : s.at;
  if ((text.charCodeAt(at) | 0x20) !== LOWER_L || text.charCodeAt(at) !== text.charCodeAt(at + 1)) return false;
  at += 2;
  if (isWordPart(text.charCodeAt(at))) return false;
  s.at = at;
  s.sawLlvmStyle = true;
  return true;
}

/** `r1 = NAME`, a constant, and `r1 = name ll`, an address. */
function assignSymbol(s: Assembly, dst: number): boolean {
  const at = s.at;
  if (!expectName(s, "a value")) return false;
  const { name, nameAt, nameLength } = s;
  if (s.text.charCodeAt(nameAt) !== QUOTE && s.constants.has(name)) {
    s.at = at;
    return assignConstant(s, dst, at);
  }
  let addend = 0;
  const sign = peek(s);
  if (sign === PLUS || sign === MINUS) {
    addend = immediate(s);
    if (Number.isNaN(addend)) return false;
  }
  s.name = name;
  s.nameAt = nameAt;
  s.nameLength = nameLength;
  const long = acceptLongSuffix(s);
  if (!long && !(s.maps !== undefined && Object.hasOwn(s.maps, name))) {
    const next = s.text.charCodeAt(s.at);
    if (next === OPEN || atRegister(s)) {
      const hint = suggest(s, name, VALUE_WORDS.words);
      return fail(s, "ERR_ASM_UNKNOWN_MNEMONIC", `Unknown operation "${shown(name)}"`, nameAt, nameLength, hint);
    }
    const hint =
      suggest(s, name, s.constants.keys()) ??
      (s.labels.has(name) ? `The address of "${name}" is "${shown(name)} ll"` : "The address of a symbol ends in ll");
    return fail(s, "ERR_ASM_OPERAND", `Unknown constant "${shown(name)}"`, nameAt, nameLength, hint);
  }
  return wholeTarget(s, dst, at) && emitSymbol(s, dst, addend);
}

/** `r1 = *(u64 *)(r6 + 8)`, `r0 = *(u32 *)skb[12]` */
function load(s: Assembly, dst: number): boolean {
  const start = s.at;
  s.at++;
  const type = memoryType(s);
  if (type < 0) return false;
  const size = type & ~SIGNED;
  if (peek(s) === LOWER_S) return packetLoad(s, dst, type);
  if (!address(s)) return false;
  if (type >= SIGNED) {
    if (size === Size.dw)
      return fail(s, "ERR_ASM_OPERAND", "A load of s64 extends nothing", start, s.at - start, "Write u64");
    return wholeTarget(s, dst, start) && emit(s, Class.ldx | Mode.memsx | size, dst, s.base, s.offset, 0);
  }
  if (size === Size.dw && dst >= HALF) return wholeTarget(s, dst, start);
  if (dst >= HALF) s.sawLlvmStyle = true;
  return emit(s, Class.ldx | Mode.mem | size, dst & 15, s.base, s.offset, 0);
}

function packetLoad(s: Assembly, dst: number, size: number): boolean {
  const { text } = s;
  const start = s.at;
  skipWord(s);
  if (!standsAt("skb", text, start, s.at)) {
    s.at = start;
    return unexpected(s, 'an address such as "(r6 + 8)", or "skb["');
  }
  if (dst !== 0) return fail(s, "ERR_ASM_OPERAND", "A packet load goes to r0 only", start, s.at - start);
  if (size > Size.b) return fail(s, "ERR_ASM_OPERAND", "A packet load has type u8, u16 or u32", start, s.at - start);
  if (!expect(s, OPEN_BRACKET, 'behind "skb"')) return false;
  const c = peek(s);
  const src = c === LOWER_R || c === LOWER_W ? expectWhole(s, "a register") : NO_REGISTER;
  if (src === BAD_REGISTER) return false;
  let imm = 0;
  if (src === NO_REGISTER) imm = immediateBits(s);
  else if (peek(s) !== CLOSE_BRACKET) {
    const sign = peek(s);
    if (sign !== PLUS && sign !== MINUS) return unexpected(s, '"]", "+" or "-"');
    if (sign === PLUS) s.at++;
    imm = immediateBits(s);
  }
  if (Number.isNaN(imm) || !expect(s, CLOSE_BRACKET, "behind the offset")) return false;
  return src === NO_REGISTER
    ? emit(s, Class.ld | Mode.abs | size, 0, 0, 0, imm)
    : emit(s, Class.ld | Mode.ind | size, 0, src, 0, imm);
}

/** `r1 = (s8)r2`, `r1 = (1 + 2) * 3` */
function cast(s: Assembly, dst: number): boolean {
  const { text } = s;
  const start = s.at;
  s.at++;
  if (peek(s) === LOWER_S && isDigit(text.charCodeAt(s.at + 1))) {
    const typeAt = s.at;
    skipWord(s);
    const type = text.slice(typeAt, Math.min(s.at, typeAt + 8));
    const bits = type === "s8" ? 8 : type === "s16" ? 16 : type === "s32" ? 32 : 0;
    if (bits === 0 || (bits === 32 && dst >= HALF)) {
      const range = dst < HALF ? "s8, s16 or s32" : "s8 or s16";
      return fail(s, "ERR_ASM_OPERAND", `Expected ${range}, found "${type}"`, typeAt, s.at - typeAt);
    }
    if (!expect(s, CLOSE, "behind the type")) return false;
    peek(s);
    const at = s.at;
    const src = expectRegister(s, "a register");
    return src >= 0 && sameWidth(s, dst, src, at) && emitAlu(s, dst, AluOp.mov | Source.x, src, bits, 0);
  }
  s.at = start;
  return assignConstant(s, dst, start);
}

/** `r1 = &(void __percpu *)(r2)` */
function percpuAddress(s: Assembly, dst: number): boolean {
  const start = s.at;
  s.at++;
  if (!expect(s, OPEN, 'behind "&"')) return false;
  if (!expectWord(s, "void") || !expectWord(s, "__percpu")) return false;
  if (!expect(s, STAR, "behind the type") || !expect(s, CLOSE, "behind the type")) return false;
  if (!expect(s, OPEN, "before the register")) return false;
  const src = expectWhole(s, "a register");
  if (src < 0 || !expect(s, CLOSE, "behind the register")) return false;
  return wholeTarget(s, dst, start) && emit(s, Class.alu64 | AluOp.mov | Source.x, dst, src, MovOffset.percpu, 0);
}

type Value = readonly [word: string, read: (s: Assembly, dst: number) => boolean];

const SWAPS: readonly Value[] = ([16, 32, 64] as const).flatMap((bits): Value[] => [
  [`le${bits}`, (s, dst) => swap(s, dst, Class.alu | AluOp.end, bits)],
  [`be${bits}`, (s, dst) => swap(s, dst, Class.alu | AluOp.end | Source.x, bits)],
  [`bswap${bits}`, (s, dst) => swap(s, dst, Class.alu64 | AluOp.end, bits)],
]);

const FETCHES: readonly Value[] = (
  [
    ["add", AtomicOp.add],
    ["or", AtomicOp.or],
    ["and", AtomicOp.and],
    ["xor", AtomicOp.xor],
  ] as const
).flatMap(([name, op]): Value[] => [
  [`atomic_fetch_${name}`, (s, dst) => typedAtomic(s, dst, op | ATOMIC_FETCH, undefined)],
  [`atomic64_fetch_${name}`, (s, dst) => typedAtomic(s, dst, op | ATOMIC_FETCH, Size.dw)],
]);

const VALUES: readonly Value[] = [
  ...SWAPS,
  ...FETCHES,
  ["atomic_xchg", (s, dst) => typedAtomic(s, dst, AtomicOp.xchg, Size.w)],
  ["atomic64_xchg", (s, dst) => typedAtomic(s, dst, AtomicOp.xchg, Size.dw)],
  ["atomic_cmpxchg", (s, dst) => typedAtomic(s, dst, AtomicOp.cmpxchg, Size.w)],
  ["atomic64_cmpxchg", (s, dst) => typedAtomic(s, dst, AtomicOp.cmpxchg, Size.dw)],
  ["xchg_64", (s, dst) => untypedAtomic(s, dst, AtomicOp.xchg, Size.dw)],
  ["xchg32_32", (s, dst) => untypedAtomic(s, dst, AtomicOp.xchg, Size.w)],
  ["cmpxchg_64", (s, dst) => untypedAtomic(s, dst, AtomicOp.cmpxchg, Size.dw)],
  ["cmpxchg32_32", (s, dst) => untypedAtomic(s, dst, AtomicOp.cmpxchg, Size.w)],
  ["load_acquire", loadAcquire],
  ["addr_space_cast", addressSpaceCast],
];

const VALUE_WORDS = /* @__PURE__ */ wordTable(VALUES.map(([word]) => word));

function swap(s: Assembly, dst: number, opcode: number, bits: number): boolean {
  const at = s.at;
  const src = expectRegister(s, "a register");
  if (src < 0 || !sameRegister(s, dst, src, at) || !wholeTarget(s, dst, at)) return false;
  return emit(s, opcode, dst, 0, 0, bits);
}

/** `r1 = addr_space_cast(r2, 0, 1)` */
function addressSpaceCast(s: Assembly, dst: number): boolean {
  const at = s.at;
  s.at++;
  const src = expectWhole(s, "a register");
  if (src < 0 || !wholeTarget(s, dst, at)) return false;
  const spaces = addressSpaces(s);
  if (Number.isNaN(spaces) || !expect(s, CLOSE, "behind the address spaces")) return false;
  return emit(s, Class.alu64 | AluOp.mov | Source.x, dst, src, MovOffset.addrSpaceCast, spaces);
}
