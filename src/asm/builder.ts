// Browser-safe.

import type { HelperName } from "../kernel-abi/helpers.generated.ts";
import { asmError } from "./errors.ts";
import { helperNumber } from "./helpers.ts";
import {
  type Instruction,
  type InstructionMeta,
  instruction,
  LD_IMM64,
  type MapReference,
  withMeta,
} from "./instruction.ts";
import {
  AluOp,
  ATOMIC_FETCH,
  AtomicOp,
  CallSource,
  Class,
  DivisionOffset,
  JumpOp,
  Mode,
  MovOffset,
  PseudoSource,
  Size,
  Source,
} from "./opcodes.ts";
import type { AtomicName, SignedSize, UnsignedSize } from "./operation.ts";
import type { AnyRegister, Register } from "./registers.ts";

/** Second operand: a register of the same width as the first, or a constant. */
export type Operand<R extends AnyRegister> = R | number | bigint;

/** Where a jump goes: the name of a label, or a number of slots from the following slot. */
export type Target = string | number;

/** A place in a program, made by {@link label}. */
export interface Label {
  readonly kind: "label";
  /** Name that jumps and calls use. */
  readonly name: string;
}

/** What {@link program} takes: instructions, labels, and lists of them. */
export type ProgramItem = Instruction | Label | readonly ProgramItem[];

/** An atomic operation of {@link atomic}; the forms with `fetch_` put the old value into the source register. */
export type AtomicOperation = AtomicName | "fetch_add" | "fetch_or" | "fetch_and" | "fetch_xor";

const SIZES = { u8: Size.b, u16: Size.h, u32: Size.w, u64: Size.dw, s8: Size.b, s16: Size.h, s32: Size.w } as const;
const BITS = { u8: 8, u16: 16, u32: 32, u64: 64 } as const;

function wrongType(what: string, value: unknown): TypeError {
  return new TypeError(`${what} must be a register, a number or a bigint, not ${String(value)}`);
}

/** The immediate for a value that the machine sign-extends to 64 bits: it must fit 32 signed bits. */
function signed32(value: number | bigint): number {
  if (typeof value === "number") {
    // The `| 0` in the result turns -0 into 0.
    if ((value | 0) === value) return value | 0;
  } else if (typeof value === "bigint") {
    if (BigInt.asIntN(32, value) === value) return Number(value);
  } else throw wrongType("Operand", value);
  throw asmError("ERR_ASM_RANGE", `Immediate ${value} does not fit 32 signed bits`, {
    hint: "Load it into a register with ldImm64() first",
  });
}

/** The immediate for a value of which the machine takes the low `bits`: any signed or unsigned number of that width. */
function lowBits(value: number | bigint, bits: 8 | 16 | 32): number {
  const number = typeof value === "bigint" ? Number(value) : value;
  if (typeof number !== "number") throw wrongType("Operand", value);
  const range = 2 ** bits;
  if (!(Number.isInteger(number) && number >= -range / 2 && number < range)) {
    throw asmError("ERR_ASM_RANGE", `Immediate ${value} does not fit ${bits} bits`);
  }
  return number | 0;
}

function offset16(value: number): number {
  if ((value << 16) >> 16 === value) return value | 0;
  if (typeof value !== "number") throw new TypeError(`Offset must be a number, not ${String(value)}`);
  throw asmError("ERR_ASM_RANGE", `Offset ${value} does not fit 16 signed bits`);
}

function int32(value: number, what: string): number {
  if ((value | 0) === value) return value | 0;
  if (typeof value !== "number") throw new TypeError(`${what} must be a number, not ${String(value)}`);
  throw asmError("ERR_ASM_RANGE", `${what} ${value} does not fit 32 signed bits`);
}

function alu(op: number, dst: AnyRegister, src: AnyRegister | number | bigint, offset = 0): Instruction {
  const c = dst.width === 64 ? Class.alu64 : Class.alu;
  if (typeof src === "object") {
    sameWidth(dst, src);
    return instruction(c | op | Source.x, dst.number, src.number, offset);
  }
  return instruction(c | op, dst.number, 0, offset, dst.width === 64 ? signed32(src) : lowBits(src, 32));
}

function sameWidth(dst: AnyRegister, src: AnyRegister): void {
  if (dst.width !== src.width) {
    throw new TypeError(`Registers differ in width: ${dst.width} and ${src.width} bits`);
  }
}

function wholeRegister(register: AnyRegister, what: string): number {
  if (register.width !== 64) throw new TypeError(`${what} needs a 64-bit register, not w${register.number}`);
  return register.number;
}

/** `dst = src` */
export function mov<R extends AnyRegister>(dst: R, src: Operand<NoInfer<R>>): Instruction {
  return alu(AluOp.mov, dst, src);
}
/** `dst += src` */
export function add<R extends AnyRegister>(dst: R, src: Operand<NoInfer<R>>): Instruction {
  return alu(AluOp.add, dst, src);
}
/** `dst -= src` */
export function sub<R extends AnyRegister>(dst: R, src: Operand<NoInfer<R>>): Instruction {
  return alu(AluOp.sub, dst, src);
}
/** `dst *= src` */
export function mul<R extends AnyRegister>(dst: R, src: Operand<NoInfer<R>>): Instruction {
  return alu(AluOp.mul, dst, src);
}
/** `dst /= src`, unsigned; a division by zero gives 0 */
export function div<R extends AnyRegister>(dst: R, src: Operand<NoInfer<R>>): Instruction {
  return alu(AluOp.div, dst, src);
}
/** `dst s/= src`, signed, towards zero (Linux 6.6) */
export function sdiv<R extends AnyRegister>(dst: R, src: Operand<NoInfer<R>>): Instruction {
  return alu(AluOp.div, dst, src, DivisionOffset.signed);
}
/** `dst %= src`, unsigned; a remainder by zero leaves `dst` */
export function mod<R extends AnyRegister>(dst: R, src: Operand<NoInfer<R>>): Instruction {
  return alu(AluOp.mod, dst, src);
}
/** `dst s%= src`, with the sign of `dst` (Linux 6.6) */
export function smod<R extends AnyRegister>(dst: R, src: Operand<NoInfer<R>>): Instruction {
  return alu(AluOp.mod, dst, src, DivisionOffset.signed);
}
/** `dst |= src` */
export function or<R extends AnyRegister>(dst: R, src: Operand<NoInfer<R>>): Instruction {
  return alu(AluOp.or, dst, src);
}
/** `dst &= src` */
export function and<R extends AnyRegister>(dst: R, src: Operand<NoInfer<R>>): Instruction {
  return alu(AluOp.and, dst, src);
}
/** `dst ^= src` */
export function xor<R extends AnyRegister>(dst: R, src: Operand<NoInfer<R>>): Instruction {
  return alu(AluOp.xor, dst, src);
}
/** `dst <<= src` */
export function lsh<R extends AnyRegister>(dst: R, src: Operand<NoInfer<R>>): Instruction {
  return alu(AluOp.lsh, dst, src);
}
/** `dst >>= src`, filling with zeros */
export function rsh<R extends AnyRegister>(dst: R, src: Operand<NoInfer<R>>): Instruction {
  return alu(AluOp.rsh, dst, src);
}
/** `dst s>>= src`, filling with the sign */
export function arsh<R extends AnyRegister>(dst: R, src: Operand<NoInfer<R>>): Instruction {
  return alu(AluOp.arsh, dst, src);
}
/** `dst = -dst` */
export function neg(dst: AnyRegister): Instruction {
  return instruction((dst.width === 64 ? Class.alu64 : Class.alu) | AluOp.neg, dst.number);
}
/**
 * `dst = (sN)src`: sign-extends the low `from` bits (Linux 6.6).
 *
 * @param from 8, 16, or with 64-bit registers 32
 */
export function movsx<R extends AnyRegister>(
  dst: R,
  src: NoInfer<R>,
  from: R extends Register ? 8 | 16 | 32 : 8 | 16,
): Instruction {
  if (!(from === 8 || from === 16 || (from === 32 && dst.width === 64))) {
    throw new RangeError(`Width ${from} cannot be sign-extended to ${dst.width} bits`);
  }
  return alu(AluOp.mov, dst, src, from);
}

function swap(opcode: number, dst: Register, bits: 16 | 32 | 64): Instruction {
  if (bits !== 16 && bits !== 32 && bits !== 64)
    throw new RangeError(`Byte swap of ${bits} bits: must be 16, 32 or 64`);
  return instruction(opcode, wholeRegister(dst, "Byte swap"), 0, 0, bits);
}
/** `dst = leN dst`: to or from little-endian, zero-extended */
export function le(dst: Register, bits: 16 | 32 | 64): Instruction {
  return swap(Class.alu | AluOp.end | Source.k, dst, bits);
}
/** `dst = beN dst`: to or from big-endian, zero-extended */
export function be(dst: Register, bits: 16 | 32 | 64): Instruction {
  return swap(Class.alu | AluOp.end | Source.x, dst, bits);
}
/** `dst = bswapN dst`: reverses the bytes whatever the machine's order (Linux 6.6) */
export function bswap(dst: Register, bits: 16 | 32 | 64): Instruction {
  return swap(Class.alu64 | AluOp.end, dst, bits);
}
/**
 * `dst = addr_space_cast(src, to, from)`: converts arena pointers (Linux 6.9).
 *
 * @param to address space of the result: 0 the kernel's, 1 the arena's
 * @param from address space of `src`
 */
export function addrSpaceCast(dst: Register, src: Register, to: number, from: number): Instruction {
  const imm = (lowBits(to, 16) << 16) | (lowBits(from, 16) & 0xffff);
  const opcode = Class.alu64 | AluOp.mov | Source.x;
  const number = wholeRegister(dst, "addr_space_cast");
  return instruction(opcode, number, wholeRegister(src, "addr_space_cast"), MovOffset.addrSpaceCast, imm);
}
/** `dst = &(void __percpu *)(src)`: made by the kernel itself, which refuses it from user space (Linux 6.10) */
export function movPercpu(dst: Register, src: Register): Instruction {
  const opcode = Class.alu64 | AluOp.mov | Source.x;
  return instruction(opcode, wholeRegister(dst, "Mov"), wholeRegister(src, "Mov"), MovOffset.percpu);
}

/**
 * `dst = *(size *)(src + offset)`. Unsigned sizes zero-extend; `s8`, `s16`, `s32` sign-extend to 64 bits (Linux 6.6).
 *
 * @param offset bytes, 16 signed bits
 *
 * @example
 * ```ts
 * load("u64", r1, r6, 8); // r1 = *(u64 *)(r6 + 8)
 * ```
 */
export function load(size: "u8" | "u16" | "u32", dst: AnyRegister, src: Register, offset?: number): Instruction;
export function load(size: UnsignedSize | SignedSize, dst: Register, src: Register, offset?: number): Instruction;
export function load(size: UnsignedSize | SignedSize, dst: AnyRegister, src: Register, offset = 0): Instruction {
  const bits = sizeBits(size);
  const signExtends = size === "s8" || size === "s16" || size === "s32";
  const number = signExtends || size === "u64" ? wholeRegister(dst, `Load of ${size}`) : dst.number;
  const mode = signExtends ? Mode.memsx : Mode.mem;
  return instruction(Class.ldx | mode | bits, number, wholeRegister(src, "Address"), offset16(offset));
}

function sizeBits(size: UnsignedSize | SignedSize): number {
  const bits = SIZES[size];
  if (bits === undefined) throw new RangeError(`Unknown size ${JSON.stringify(size)}`);
  return bits;
}

/**
 * `*(size *)(dst + offset) = src`. A constant must fit the size; into `u64` it is sign-extended from 32 bits.
 *
 * @param offset bytes, 16 signed bits
 *
 * @example
 * ```ts
 * store("u32", r10, -4, 0); // *(u32 *)(r10 - 4) = 0
 * ```
 */
export function store(
  size: "u8" | "u16" | "u32",
  dst: Register,
  offset: number,
  src: AnyRegister | number | bigint,
): Instruction;
export function store(size: UnsignedSize, dst: Register, offset: number, src: Register | number | bigint): Instruction;
export function store(
  size: UnsignedSize,
  dst: Register,
  offset: number,
  src: AnyRegister | number | bigint,
): Instruction {
  const bits = sizeBits(size);
  const address = wholeRegister(dst, "Address");
  if (typeof src === "object") {
    const number = size === "u64" ? wholeRegister(src, "Store of u64") : src.number;
    return instruction(Class.stx | Mode.mem | bits, address, number, offset16(offset));
  }
  const width = BITS[size];
  const imm = width === 64 ? signed32(src) : lowBits(src, width);
  return instruction(Class.st | Mode.mem | bits, address, 0, offset16(offset), imm);
}

const ATOMICS: Readonly<Record<AtomicOperation, number>> = {
  add: AtomicOp.add,
  or: AtomicOp.or,
  and: AtomicOp.and,
  xor: AtomicOp.xor,
  fetch_add: AtomicOp.add | ATOMIC_FETCH,
  fetch_or: AtomicOp.or | ATOMIC_FETCH,
  fetch_and: AtomicOp.and | ATOMIC_FETCH,
  fetch_xor: AtomicOp.xor | ATOMIC_FETCH,
  xchg: AtomicOp.xchg,
  cmpxchg: AtomicOp.cmpxchg,
};

/**
 * Atomic read-modify-write of `*(size *)(dst + offset)` with `src`. The `fetch_` forms and `xchg` put the old value
 * into `src`; `cmpxchg` compares with r0 and puts the old value there (all but `add`: Linux 5.12).
 *
 * @example
 * ```ts
 * atomic("fetch_add", "u64", r10, -8, r1); // r1 = atomic_fetch_add((u64 *)(r10 - 8), r1)
 * ```
 */
export function atomic(op: AtomicOperation, size: "u32", dst: Register, offset: number, src: AnyRegister): Instruction;
export function atomic(
  op: AtomicOperation,
  size: "u32" | "u64",
  dst: Register,
  offset: number,
  src: Register,
): Instruction;
export function atomic(
  op: AtomicOperation,
  size: "u32" | "u64",
  dst: Register,
  offset: number,
  src: AnyRegister,
): Instruction {
  const imm = ATOMICS[op];
  if (imm === undefined) throw new RangeError(`Unknown atomic operation ${JSON.stringify(op)}`);
  if (size !== "u32" && size !== "u64") throw new RangeError(`Atomic ${op} works on u32 and u64, not ${size}`);
  const number = size === "u64" ? wholeRegister(src, `Atomic ${op} of u64`) : src.number;
  const opcode = Class.stx | Mode.atomic | sizeBits(size);
  return instruction(opcode, wholeRegister(dst, "Address"), number, offset16(offset), imm);
}
/** `src = xchg(*(size *)(dst + offset), src)`: short for {@link atomic} */
export function xchg(size: "u32" | "u64", dst: Register, offset: number, src: Register): Instruction {
  return atomic("xchg", size, dst, offset, src);
}
/** `r0 = cmpxchg(*(size *)(dst + offset), r0, src)`: short for {@link atomic} */
export function cmpxchg(size: "u32" | "u64", dst: Register, offset: number, src: Register): Instruction {
  return atomic("cmpxchg", size, dst, offset, src);
}
/** `dst = load_acquire((size *)(src + offset))` (Linux 6.15) */
export function loadAcquire(size: UnsignedSize, dst: AnyRegister, src: Register, offset = 0): Instruction {
  const number = size === "u64" ? wholeRegister(dst, "Load of u64") : dst.number;
  const opcode = Class.stx | Mode.atomic | unsignedBits(size);
  return instruction(opcode, number, wholeRegister(src, "Address"), offset16(offset), AtomicOp.loadAcquire);
}
/** `store_release((size *)(dst + offset), src)` (Linux 6.15) */
export function storeRelease(size: UnsignedSize, dst: Register, offset: number, src: AnyRegister): Instruction {
  const number = size === "u64" ? wholeRegister(src, "Store of u64") : src.number;
  const opcode = Class.stx | Mode.atomic | unsignedBits(size);
  return instruction(opcode, wholeRegister(dst, "Address"), number, offset16(offset), AtomicOp.storeRelease);
}
function unsignedBits(size: UnsignedSize): number {
  if (BITS[size] === undefined) throw new RangeError(`Unknown size ${JSON.stringify(size)}`);
  return sizeBits(size);
}

/** `r0 = *(size *)skb[imm]`: big-endian packet load; ends the program with 0 outside of the packet. Context in r6 */
export function ldAbs(size: "u8" | "u16" | "u32", imm: number): Instruction {
  return instruction(Class.ld | Mode.abs | packetBits(size), 0, 0, 0, int32(imm, "Packet offset"));
}
/** `r0 = *(size *)skb[src + imm]`, see {@link ldAbs} */
export function ldInd(size: "u8" | "u16" | "u32", src: Register, imm = 0): Instruction {
  const opcode = Class.ld | Mode.ind | packetBits(size);
  return instruction(opcode, 0, wholeRegister(src, "Packet load"), 0, int32(imm, "Packet offset"));
}
function packetBits(size: "u8" | "u16" | "u32"): number {
  if (size !== "u8" && size !== "u16" && size !== "u32") {
    throw new RangeError(`Packet loads take u8, u16 or u32, not ${JSON.stringify(size)}`);
  }
  return sizeBits(size);
}

function jump(op: number, dst: AnyRegister, src: AnyRegister | number | bigint, target: Target): Instruction {
  const c = dst.width === 64 ? Class.jmp : Class.jmp32;
  let offset = 0;
  let meta: InstructionMeta | undefined;
  if (typeof target === "string") meta = { reference: target };
  else offset = offset16(target);
  if (typeof src === "object") {
    sameWidth(dst, src);
    return instruction(c | op | Source.x, dst.number, src.number, offset, 0, 0, meta);
  }
  const imm = dst.width === 64 ? signed32(src) : lowBits(src, 32);
  return instruction(c | op, dst.number, 0, offset, imm, 0, meta);
}

/** `if dst == src goto target` */
export function jeq<R extends AnyRegister>(dst: R, src: Operand<NoInfer<R>>, target: Target): Instruction {
  return jump(JumpOp.jeq, dst, src, target);
}
/** `if dst != src goto target` */
export function jne<R extends AnyRegister>(dst: R, src: Operand<NoInfer<R>>, target: Target): Instruction {
  return jump(JumpOp.jne, dst, src, target);
}
/** `if dst > src goto target`, unsigned */
export function jgt<R extends AnyRegister>(dst: R, src: Operand<NoInfer<R>>, target: Target): Instruction {
  return jump(JumpOp.jgt, dst, src, target);
}
/** `if dst >= src goto target`, unsigned */
export function jge<R extends AnyRegister>(dst: R, src: Operand<NoInfer<R>>, target: Target): Instruction {
  return jump(JumpOp.jge, dst, src, target);
}
/** `if dst < src goto target`, unsigned */
export function jlt<R extends AnyRegister>(dst: R, src: Operand<NoInfer<R>>, target: Target): Instruction {
  return jump(JumpOp.jlt, dst, src, target);
}
/** `if dst <= src goto target`, unsigned */
export function jle<R extends AnyRegister>(dst: R, src: Operand<NoInfer<R>>, target: Target): Instruction {
  return jump(JumpOp.jle, dst, src, target);
}
/** `if dst & src goto target` */
export function jset<R extends AnyRegister>(dst: R, src: Operand<NoInfer<R>>, target: Target): Instruction {
  return jump(JumpOp.jset, dst, src, target);
}
/** `if dst s> src goto target`, signed */
export function jsgt<R extends AnyRegister>(dst: R, src: Operand<NoInfer<R>>, target: Target): Instruction {
  return jump(JumpOp.jsgt, dst, src, target);
}
/** `if dst s>= src goto target`, signed */
export function jsge<R extends AnyRegister>(dst: R, src: Operand<NoInfer<R>>, target: Target): Instruction {
  return jump(JumpOp.jsge, dst, src, target);
}
/** `if dst s< src goto target`, signed */
export function jslt<R extends AnyRegister>(dst: R, src: Operand<NoInfer<R>>, target: Target): Instruction {
  return jump(JumpOp.jslt, dst, src, target);
}
/** `if dst s<= src goto target`, signed */
export function jsle<R extends AnyRegister>(dst: R, src: Operand<NoInfer<R>>, target: Target): Instruction {
  return jump(JumpOp.jsle, dst, src, target);
}

function symbolic(opcode: number, target: Target): Instruction {
  if (typeof target === "string") return instruction(opcode, 0, 0, 0, 0, 0, { reference: target });
  return instruction(opcode, 0, 0, offset16(target));
}

/** `goto target` */
export function ja(target: Target): Instruction {
  return symbolic(Class.jmp | JumpOp.ja, target);
}
/** `gotol target`: 32-bit distance (Linux 6.6) */
export function gotol(target: Target): Instruction {
  const opcode = Class.jmp32 | JumpOp.ja;
  if (typeof target === "string") return symbolic(opcode, target);
  return instruction(opcode, 0, 0, 0, int32(target, "Distance"));
}
/** `may_goto target`: goes on with the next instruction until the budget of iterations is spent, then jumps (Linux 6.9) */
export function mayGoto(target: Target): Instruction {
  return symbolic(Class.jmp | JumpOp.jcond, target);
}
/** `gotox register`: jumps to an address from an instruction array map (Linux 6.19) */
export function gotox(register: Register): Instruction {
  return instruction(Class.jmp | JumpOp.ja | Source.x, wholeRegister(register, "gotox"));
}

/**
 * Calls a helper of the kernel.
 *
 * @param helper name, checked by the compiler, or number
 * @throws AsmError `ERR_ASM_UNKNOWN_HELPER` with a suggestion when the name is unknown
 */
export function call(helper: HelperName | `bpf_${HelperName}` | number): Instruction {
  const number = typeof helper === "number" ? int32(helper, "Helper number") : helperNumber(helper);
  return instruction(Class.jmp | JumpOp.call, 0, CallSource.helper, 0, number);
}
/**
 * Calls a function of the same program.
 *
 * @param target its label, or a number of slots from the following slot
 */
export function callLocal(target: Target): Instruction {
  const opcode = Class.jmp | JumpOp.call;
  if (typeof target === "string") return instruction(opcode, 0, CallSource.local, 0, 0, 0, { reference: target });
  return instruction(opcode, 0, CallSource.local, 0, int32(target, "Distance"));
}
/**
 * Calls a kernel function.
 *
 * @param target its BTF id, or its name, which `link` looks up in the kernel functions given to it
 * @param fdIndex which BTF: 0 vmlinux, else index into the array of descriptors given at load
 */
export function callKfunc(target: string | number, fdIndex = 0): Instruction {
  const opcode = Class.jmp | JumpOp.call;
  if (typeof target === "string") {
    return instruction(opcode, 0, CallSource.kfunc, offset16(fdIndex), 0, 0, { reference: target });
  }
  return instruction(opcode, 0, CallSource.kfunc, offset16(fdIndex), int32(target, "BTF id"));
}
/** `callx register`: part of the instruction set, refused by every kernel so far */
export function callx(register: Register): Instruction {
  return instruction(Class.jmp | JumpOp.call | Source.x, wholeRegister(register, "callx"));
}
/** Returns from the program or function with the value in r0 */
export function exit(): Instruction {
  return instruction(Class.jmp | JumpOp.exit);
}

/**
 * `dst = value`: any 64-bit constant; two slots.
 *
 * @param value signed or unsigned; a number must be a safe integer
 */
export function ldImm64(dst: Register, value: bigint | number): Instruction {
  if (typeof value === "number" && !Number.isSafeInteger(value)) {
    throw asmError("ERR_ASM_RANGE", `Number ${value} is no safe integer`, {
      hint: `Write it as a bigint, for example 1n`,
    });
  }
  const wideValue = BigInt(value);
  if (wideValue < -(1n << 63n) || wideValue >= 1n << 64n) {
    throw asmError("ERR_ASM_RANGE", `Immediate ${value} does not fit 64 bits`);
  }
  const low = Number(BigInt.asIntN(32, wideValue));
  const high = Number(BigInt.asIntN(32, wideValue >> 32n));
  return instruction(LD_IMM64, wholeRegister(dst, "ld_imm64"), PseudoSource.immediate, 0, low, high);
}

function pseudo(dst: Register, src: number, imm: number, high: number, meta?: InstructionMeta): Instruction {
  return instruction(LD_IMM64, wholeRegister(dst, "ld_imm64"), src, 0, imm, high, meta);
}
function ldMapBy(dst: Register, src: number, map: MapReference | string | number, high: number): Instruction {
  if (typeof map === "number") return pseudo(dst, src, int32(map, "Descriptor"), high);
  return pseudo(dst, src, 0, high, typeof map === "string" ? { reference: map } : { map });
}

/**
 * `dst = map`: its address, as helpers take it.
 *
 * @param map a map handle, a descriptor number, or a name that `link` looks up in the maps given to it
 */
export function ldMap(dst: Register, map: MapReference | string | number): Instruction {
  return ldMapBy(dst, PseudoSource.mapFd, map, 0);
}
/**
 * `dst = address inside the value of an array map with one entry` (Linux 5.2).
 *
 * @param map see {@link ldMap}
 * @param offset bytes from the start of the value
 */
export function ldMapValue(dst: Register, map: MapReference | string | number, offset = 0): Instruction {
  return ldMapBy(dst, PseudoSource.mapValue, map, lowBits(offset, 32));
}
/** `dst = map`, by index into the array of descriptors given at load (Linux 5.14) */
export function ldMapIndex(dst: Register, index: number): Instruction {
  return pseudo(dst, PseudoSource.mapIndex, int32(index, "Index"), 0);
}
/** Like {@link ldMapValue}, by index into the array of descriptors given at load (Linux 5.14) */
export function ldMapIndexValue(dst: Register, index: number, offset = 0): Instruction {
  return pseudo(dst, PseudoSource.mapIndexValue, int32(index, "Index"), lowBits(offset, 32));
}
/**
 * `dst = address of a kernel variable` (Linux 5.10).
 *
 * @param btfId its BTF type id
 * @param btfFd descriptor of the BTF, 0 for vmlinux
 */
export function ldBtfId(dst: Register, btfId: number, btfFd = 0): Instruction {
  return pseudo(dst, PseudoSource.btfId, int32(btfId, "BTF id"), int32(btfFd, "Descriptor"));
}
/**
 * `dst = address of a function of the same program`, for helpers that call back (Linux 5.13).
 *
 * @param target its label, or a number of slots from the second slot of this instruction
 */
export function ldFunction(dst: Register, target: Target): Instruction {
  if (typeof target === "string") return pseudo(dst, PseudoSource.function, 0, 0, { reference: target });
  return pseudo(dst, PseudoSource.function, int32(target, "Distance"), 0);
}

/** Names the place of the next instruction, for jumps, calls, and as the name of a function. */
export function label(name: string): Label {
  return { kind: "label", name };
}

/**
 * Puts a program together: lists are flattened in order, labels attached to the instruction that follows.
 *
 * @param items instructions, labels, and lists of them, nested as one likes
 * @returns the instructions, not yet linked
 * @throws AsmError `ERR_ASM_LABEL` when a label stands at the very end
 *
 * @example
 * ```ts
 * const instructions = program(
 *   mov(r0, 0),
 *   jeq(r1, 0, "out"),
 *   load("u32", r0, r1, 0),
 *   label("out"),
 *   exit(),
 * );
 * const bytes = encode(link(instructions));
 * ```
 */
export function program(...items: readonly ProgramItem[]): Instruction[] {
  const out: Instruction[] = [];
  const waiting: string[] = [];
  collect(items, out, waiting);
  if (waiting.length > 0) {
    throw asmError("ERR_ASM_LABEL", `Label "${waiting[0]}" stands at the end, where no instruction follows`);
  }
  return out;
}

function collect(items: readonly ProgramItem[], out: Instruction[], waiting: string[]): void {
  for (let i = 0; i < items.length; i++) {
    const item = items[i]!;
    if ("opcode" in item) {
      if (waiting.length === 0) out.push(item);
      else {
        const labels = item.meta?.labels;
        out.push(withMeta(item, { labels: labels === undefined ? waiting.slice() : [...waiting, ...labels] }));
        waiting.length = 0;
      }
    } else if ("kind" in item) waiting.push(item.name);
    else collect(item, out, waiting);
  }
}
