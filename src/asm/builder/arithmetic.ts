// Browser-safe.

import { type Instruction, instruction } from "../instruction.ts";
import { AluOp, Class, DivisionOffset, MovOffset, Source } from "../opcodes.ts";
import type { AnyRegister, Register } from "../registers.ts";
import { lowBits, type Operand, sameWidth, signed32, wholeRegister } from "./operands.ts";

function alu(op: number, dst: AnyRegister, src: AnyRegister | number | bigint, offset = 0): Instruction {
  const c = dst.width === 64 ? Class.alu64 : Class.alu;
  if (typeof src === "object") {
    sameWidth(dst, src);
    return instruction(c | op | Source.x, dst.number, src.number, offset);
  }
  return instruction(c | op, dst.number, 0, offset, dst.width === 64 ? signed32(src) : lowBits(src, 32));
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
