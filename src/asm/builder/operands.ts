// Browser-safe.

import { asmError } from "../errors.ts";
import { Size } from "../opcodes.ts";
import type { SignedSize, UnsignedSize } from "../operation.ts";
import type { AnyRegister } from "../registers.ts";

/** Second operand: a register of the same width as the first, or a constant. */
export type Operand<R extends AnyRegister> = R | number | bigint;

/** Where a jump goes: the name of a label, or a number of slots from the following slot. */
export type Target = string | number;

/** Size bits of each width. */
export const SIZES: Readonly<Record<UnsignedSize | SignedSize, Size>> = {
  u8: Size.b,
  u16: Size.h,
  u32: Size.w,
  u64: Size.dw,
  s8: Size.b,
  s16: Size.h,
  s32: Size.w,
};

/** Bits of each width that can be stored. */
export const BITS = { u8: 8, u16: 16, u32: 32, u64: 64 } as const;

const RANGES = { 8: 2 ** 8, 16: 2 ** 16, 32: 2 ** 32 } as const;

/** What an operand of another type gives. */
export function wrongType(what: string, value: unknown): TypeError {
  return new TypeError(`${what} must be a register, a number or a bigint, not ${String(value)}`);
}

/** The immediate for a value that the machine sign-extends to 64 bits: it must fit 32 signed bits. */
export function signed32(value: number | bigint): number {
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
export function lowBits(value: number | bigint, bits: 8 | 16 | 32): number {
  const number = typeof value === "bigint" ? Number(value) : value;
  if (typeof number !== "number") throw wrongType("Operand", value);
  const range = RANGES[bits];
  if (!(number >= -range / 2 && number < range && Math.trunc(number) === number)) {
    throw asmError("ERR_ASM_RANGE", `Immediate ${value} does not fit ${bits} bits`);
  }
  return number | 0;
}

/** A 16-bit offset, checked. */
export function offset16(value: number): number {
  if ((value << 16) >> 16 === value) return value | 0;
  if (typeof value !== "number") throw new TypeError(`Offset must be a number, not ${String(value)}`);
  throw asmError("ERR_ASM_RANGE", `Offset ${value} does not fit 16 signed bits`);
}

/** A signed 32-bit number that is no operand, checked. */
export function int32(value: number, what: string): number {
  if ((value | 0) === value) return value | 0;
  if (typeof value !== "number") throw new TypeError(`${what} must be a number, not ${String(value)}`);
  throw asmError("ERR_ASM_RANGE", `${what} ${value} does not fit 32 signed bits`);
}

/** @throws TypeError when one register is whole and the other a half */
export function sameWidth(dst: AnyRegister, src: AnyRegister): void {
  if (dst.width !== src.width) {
    throw new TypeError(`Registers differ in width: ${dst.width} and ${src.width} bits`);
  }
}

/** Number of a 64-bit register. @throws TypeError for a half */
export function wholeRegister(register: AnyRegister, what: string): number {
  if (register.width !== 64) throw new TypeError(`${what} needs a 64-bit register, not w${register.number}`);
  return register.number;
}

/** Size bits of the opcode. @throws RangeError for an unknown size */
export function sizeBits(size: UnsignedSize | SignedSize): number {
  const bits = SIZES[size];
  if (bits === undefined) throw new RangeError(`Unknown size ${JSON.stringify(size)}`);
  return bits;
}
