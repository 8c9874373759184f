// Browser-safe.

import { type Instruction, instruction } from "../instruction.ts";
import { ATOMIC_FETCH, AtomicOp, Class, Mode } from "../opcodes.ts";
import type { AtomicName, SignedSize, UnsignedSize } from "../operation.ts";
import type { AnyRegister, Register } from "../registers.ts";
import { BITS, int32, lowBits, offset16, signed32, sizeBits, wholeRegister } from "./operands.ts";

/** An atomic operation of {@link atomic}; the forms with `fetch_` put the old value into the source register. */
export type AtomicOperation = AtomicName | "fetch_add" | "fetch_or" | "fetch_and" | "fetch_xor";

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
  const bits = unsignedBits(size);
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
