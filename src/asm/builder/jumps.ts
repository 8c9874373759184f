// Browser-safe.

import type { HelperName } from "../../kernel-abi/helpers.generated.ts";
import { helperNumber } from "../helpers.ts";
import { type Instruction, type InstructionMeta, instruction } from "../instruction.ts";
import { CallSource, Class, JumpOp, Source } from "../opcodes.ts";
import type { AnyRegister, Register } from "../registers.ts";
import { int32, lowBits, type Operand, offset16, sameWidth, signed32, type Target, wholeRegister } from "./operands.ts";

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
