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

import {
  AluOp,
  ATOMIC_FETCH,
  AtomicOp,
  Class,
  DivisionOffset,
  JumpOp,
  Mode,
  MovOffset,
  Size,
  Source,
} from "../opcodes.ts";
import { type Assembly, emit, emitWide, fail, PATTERN, suggest } from "./assembly.ts";
import {
  AMPERSAND,
  BAR,
  CARET,
  CLOSE,
  CLOSE_BRACKET,
  COLON,
  COMMA,
  EQUALS,
  EXCLAMATION,
  GREATER,
  isBlank,
  isDigit,
  isWordPart,
  LESS,
  LOWER_F,
  LOWER_I,
  LOWER_L,
  LOWER_R,
  LOWER_S,
  LOWER_U,
  LOWER_W,
  MINUS,
  OPEN,
  OPEN_BRACKET,
  PERCENT,
  PLUS,
  QUOTE,
  SLASH,
  SPACE,
  STAR,
  startsWord,
  TAB,
} from "./characters.ts";
import { bits32, constant, immediate, immediateBits, shown, signed16, signed32 } from "./expression.ts";
import { callTarget, emitConstant, emitJump, emitLongJump, emitSymbol, jumpTarget, pseudoOperand } from "./operands.ts";
import {
  accept,
  BAD_REGISTER,
  expect,
  expectName,
  expectRegister,
  expectWhole,
  HALF,
  NO_REGISTER,
  peek,
  readName,
  register,
  skipWord,
  unexpected,
} from "./scan.ts";
import { findWord, standsAt, wordTable } from "./words.ts";

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
    const dst = register(s);
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

function emitAlu(s: Assembly, dst: number, op: number, src: number, offset: number, imm: number): boolean {
  return dst < HALF
    ? emit(s, Class.alu64 | op, dst, src & 15, offset, imm)
    : emit(s, Class.alu | op, dst & 15, src & 15, offset, imm);
}

function registerName(register: number): string {
  return register < HALF ? `r${register}` : `w${register - HALF}`;
}

function sameWidth(s: Assembly, dst: number, src: number, at: number): boolean {
  if (dst >> 4 === src >> 4) return true;
  const message = `Registers differ in width: ${registerName(dst)} and ${registerName(src)}`;
  return fail(s, "ERR_ASM_OPERAND", message, at, s.at - at, `Write ${registerName(src ^ HALF)}`);
}

/** What follows `r1 =`. */
function assignment(s: Assembly, dst: number): boolean {
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

/** An address needs a whole register. Checked late, so that the operand's own problems come first. */
function wholeTarget(s: Assembly, dst: number, at: number): boolean {
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

function sameRegister(s: Assembly, dst: number, found: number, at: number): boolean {
  if (dst === found) return true;
  const message = `Expected ${registerName(dst)}, the register assigned to, found ${registerName(found)}`;
  return fail(s, "ERR_ASM_OPERAND", message, at, s.at - at);
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

function atRegister(s: Assembly): boolean {
  const c = peek(s);
  return (c === LOWER_R || c === LOWER_W) && isDigit(s.text.charCodeAt(s.at + 1));
}

/** Signed sizes are marked by this bit, which no size has. */
const SIGNED = 0x80;

/** Reads `(u64 *)`. @returns the size bits, plus `SIGNED`, or -1 after noting a problem */
function memoryType(s: Assembly): number {
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
function address(s: Assembly): boolean {
  if (peek(s) !== OPEN) return unexpected(s, 'an address such as "(r6 + 8)"');
  s.at++;
  return registerAndOffset(s) && expect(s, CLOSE, "behind the address");
}

/** Reads `r6 + 8`. */
function registerAndOffset(s: Assembly): boolean {
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

function expectWord(s: Assembly, word: string): boolean {
  peek(s);
  const at = s.at;
  if (readName(s) && s.name === word) return true;
  s.at = at;
  return unexpected(s, `"${word}"`);
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

/** `((u64 *)(r10 - 8), r1)` behind `atomic_fetch_add`; `atomic64_` allows u64 only. */
function typedAtomic(s: Assembly, dst: number, op: number, only: number | undefined): boolean {
  s.at++;
  if (only === undefined) s.sawLlvmStyle = true;
  else s.sawKernelStyle = true;
  peek(s);
  const at = s.at;
  const size = memoryType(s);
  if (size < 0) return false;
  // The kernel prints "atomic_fetch_add" for 32 bits, LLVM for both.
  if ((size !== Size.w && size !== Size.dw) || (only !== undefined && size !== only)) {
    const wanted = only === undefined ? "u32 or u64" : only === Size.w ? "u32" : "u64";
    return fail(s, "ERR_ASM_OPERAND", `This operation has type ${wanted}`, at, s.at - at);
  }
  return address(s) && atomicOperands(s, dst, op, size);
}

/** `(r10 - 8, r1)` behind `xchg_64`. */
function untypedAtomic(s: Assembly, dst: number, op: number, size: number): boolean {
  s.at++;
  s.sawLlvmStyle = true;
  return registerAndOffset(s) && atomicOperands(s, dst, op, size);
}

/** `, r0, r1)` of a compare and exchange, `, r1)` of the others. */
function atomicOperands(s: Assembly, dst: number, op: number, size: number): boolean {
  const { base, offset } = s;
  if (op === AtomicOp.cmpxchg) {
    if ((dst & 15) !== 0) {
      return fail(s, "ERR_ASM_OPERAND", `The old value goes to r0, not ${registerName(dst)}`, s.start, s.at - s.start);
    }
    const compared = atomicOperand(s, size);
    if (compared === BAD_REGISTER) return false;
    if (compared !== 0) {
      return fail(s, "ERR_ASM_OPERAND", `The value compared with is r0, not r${compared}`, s.nameAt, s.at - s.nameAt);
    }
  }
  const src = atomicOperand(s, size);
  if (src < 0) return false;
  if (op !== AtomicOp.cmpxchg && src !== (dst & 15)) return sameRegister(s, dst, src | (dst & HALF), s.nameAt);
  if (size === Size.dw && !wholeTarget(s, dst, s.start)) return false;
  return expect(s, CLOSE, "behind the operands") && emit(s, Class.stx | Mode.atomic | size, base, src, offset, op);
}

/** `, r1`: 32-bit operations may name either width. */
function atomicOperand(s: Assembly, size: number): number {
  if (!expect(s, COMMA, "before the register")) return BAD_REGISTER;
  peek(s);
  s.nameAt = s.at;
  if (size === Size.dw) return expectWhole(s, "a register");
  const found = expectRegister(s, "a register");
  return found < 0 ? found : found & 15;
}

/** `r1 = load_acquire((u64 *)(r10 - 8))` */
function loadAcquire(s: Assembly, dst: number): boolean {
  s.at++;
  const type = memoryType(s);
  if (type < 0) return false;
  if (type >= SIGNED) return fail(s, "ERR_ASM_OPERAND", "This operation has an unsigned type", s.start, s.at - s.start);
  if (!address(s) || !expect(s, CLOSE, "behind the address")) return false;
  if (type === Size.dw && !wholeTarget(s, dst, s.start)) return false;
  return emit(s, Class.stx | Mode.atomic | type, dst & 15, s.base, s.offset, AtomicOp.loadAcquire);
}

/** `store_release((u64 *)(r10 - 8), r1)` */
function storeRelease(s: Assembly): boolean {
  if (!expect(s, OPEN, 'behind "store_release"')) return false;
  const type = memoryType(s);
  if (type < 0) return false;
  if (type >= SIGNED) return fail(s, "ERR_ASM_OPERAND", "This operation has an unsigned type", s.start, s.at - s.start);
  if (!address(s)) return false;
  const { base, offset } = s;
  const src = atomicOperand(s, type);
  if (src < 0 || !expect(s, CLOSE, "behind the register")) return false;
  return emit(s, Class.stx | Mode.atomic | type, base, src, offset, AtomicOp.storeRelease);
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

/** `lock *(u64 *)(r10 - 8) += r1` */
function lock(s: Assembly): boolean {
  if (!expect(s, STAR, 'behind "lock"')) return false;
  const typeAt = s.at;
  const type = memoryType(s);
  if (type < 0) return false;
  if (type !== Size.w && type !== Size.dw) {
    return fail(s, "ERR_ASM_OPERAND", "An atomic operation has type u32 or u64", typeAt, s.at - typeAt);
  }
  if (!address(s)) return false;
  const { base, offset } = s;
  const c = peek(s);
  let op = -1;
  if (s.text.charCodeAt(s.at + 1) === EQUALS) {
    if (c === PLUS) op = AtomicOp.add;
    else if (c === BAR) op = AtomicOp.or;
    else if (c === AMPERSAND) op = AtomicOp.and;
    else if (c === CARET) op = AtomicOp.xor;
  }
  if (op < 0) return unexpected(s, '"+=", "|=", "&=" or "^="');
  s.at += 2;
  peek(s);
  const at = s.at;
  const src = expectRegister(s, "a register");
  if (src < 0 || (type === Size.dw && !wholeTarget(s, src, at))) return false;
  return emit(s, Class.stx | Mode.atomic | type, base, src & 15, offset, op);
}

/** `if r1 == 5 goto +3` */
function conditionalJump(s: Assembly): boolean {
  const dst = expectRegister(s, "a register");
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
