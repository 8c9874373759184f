// Browser-safe.

// What the kernel and LLVM print, as measured on Linux 6.18 and LLVM 22. They differ in spaces, in names of atomic
// operations, in hexadecimal numbers, and in that LLVM names the lower half of a register in narrow loads and stores.
// Where they leave something out that the bytes contain, more is printed, so that the text assembles to the same bytes:
//
//     LLVM prints                  here                          when
//     call 15                      call pc+15                    the call is local
//     call 123                     call kfunc#123, kfunc#123@2   the call is of a kernel function
//     r0 = *(u32 *)skb[r2]         r0 = *(u32 *)skb[r2 + 12]     the immediate is not 0
//     ld_pseudo r1, 2, 7           ld_pseudo r1, 2, 7, 16        the high half is not 0
//     callx r0                     callx 3                       the register number is in the immediate
//
// The verifier's log shows run-time addresses for pseudo sources; here they are `map[fd:7]` and so on, after bpftool.

import { findHelper } from "../../kernel-abi/helpers.ts";
import type { Instruction } from "../instruction.ts";
import { LD_IMM64 } from "../instruction.ts";
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
  Source,
} from "../opcodes.ts";
import {
  ALU_OPERATORS,
  COMPARISONS,
  distance,
  hex64,
  number,
  type PrintContext,
  R,
  SIGNED,
  signed64,
  simpleAtomic,
  UNSIGNED,
  W,
} from "./common.ts";

/** Prints a valid instruction as the kernel does. */
export function printKernel(insn: Instruction, context: PrintContext): string {
  return print(insn, context, true);
}

/** Prints a valid instruction as LLVM does. */
export function printLlvm(insn: Instruction, context: PrintContext): string {
  return print(insn, context, false);
}

function print(insn: Instruction, context: PrintContext, kernel: boolean): string {
  switch (insn.opcode & 7) {
    case Class.alu:
    case Class.alu64:
      return arithmetic(insn, context, kernel);
    case Class.jmp:
    case Class.jmp32:
      return jump(insn, context, kernel);
    case Class.ld:
      return insn.opcode === LD_IMM64 ? wide(insn, context, kernel) : packetLoad(insn, context, kernel);
    case Class.ldx: {
      const { opcode, dst } = insn;
      const size = (opcode >> 3) & 3;
      if ((opcode & 0xe0) !== Mode.mem)
        return `${R[dst]} = *(${SIGNED[size]} *)${address(insn.src, insn.offset, context, kernel)}`;
      const name = kernel || size === 3 ? R[dst] : W[dst];
      return `${name} = *(${UNSIGNED[size]} *)${address(insn.src, insn.offset, context, kernel)}`;
    }
    case Class.st: {
      const target = address(insn.dst, insn.offset, context, kernel);
      return `*(${UNSIGNED[(insn.opcode >> 3) & 3]} *)${target} = ${number(insn.imm, !kernel && context.hex)}`;
    }
    default:
      return storeRegister(insn, context, kernel);
  }
}

function arithmetic(insn: Instruction, context: PrintContext, kernel: boolean): string {
  const { opcode, dst, src, offset, imm } = insn;
  const names = (opcode & 7) === Class.alu64 ? R : W;
  const op = opcode & 0xf0;
  if (op === AluOp.neg) return `${names[dst]} = -${names[dst]}`;
  if (op === AluOp.end) {
    const order = (opcode & 7) === Class.alu64 ? "bswap" : (opcode & Source.x) !== 0 ? "be" : "le";
    return `${R[dst]} = ${order}${imm} ${R[dst]}`;
  }
  if ((opcode & Source.x) !== 0) {
    if (op === AluOp.mov && offset !== 0) {
      if (offset === MovOffset.percpu) return `${R[dst]} = &(void __percpu *)(${R[src]})`;
      if (offset === MovOffset.addrSpaceCast) {
        const hex = !kernel && context.hex;
        return `${R[dst]} = addr_space_cast(${R[src]}, ${number(imm >>> 16, hex)}, ${number(imm & 0xffff, hex)})`;
      }
      return `${names[dst]} = (s${offset})${names[src]}`;
    }
    return `${names[dst]} ${operator(op, offset)} ${names[src]}`;
  }
  return `${names[dst]} ${operator(op, offset)} ${number(imm, !kernel && context.hex)}`;
}

function operator(op: number, offset: number): string {
  if (offset !== DivisionOffset.signed) return ALU_OPERATORS[op >> 4]!;
  return op === AluOp.div ? "s/=" : "s%=";
}

function address(base: number, offset: number, context: PrintContext, kernel: boolean): string {
  return `(${registerAndOffset(base, offset, context, kernel)})`;
}

function registerAndOffset(base: number, offset: number, context: PrintContext, kernel: boolean): string {
  if (kernel) return `${R[base]} ${offset < 0 ? "" : "+"}${offset}`;
  return offset < 0 ? `${R[base]} - ${number(-offset, context.hex)}` : `${R[base]} + ${number(offset, context.hex)}`;
}

function storeRegister(insn: Instruction, context: PrintContext, kernel: boolean): string {
  const { opcode, dst, src, offset, imm } = insn;
  const index = (opcode >> 3) & 3;
  const size = UNSIGNED[index]!;
  const names = kernel || index === 3 ? R : W;
  if ((opcode & 0xe0) === Mode.mem) return `*(${size} *)${address(dst, offset, context, kernel)} = ${names[src]}`;
  if (imm === AtomicOp.loadAcquire)
    return `${names[dst]} = load_acquire((${size} *)${address(src, offset, context, kernel)})`;
  if (imm === AtomicOp.storeRelease)
    return `store_release((${size} *)${address(dst, offset, context, kernel)}, ${names[src]})`;
  const wide = index === 3 ? "64" : "";
  if (imm === AtomicOp.xchg || imm === AtomicOp.cmpxchg) {
    const compared = imm === AtomicOp.cmpxchg ? `${names[0]}, ` : "";
    const result = imm === AtomicOp.cmpxchg ? names[0] : names[src];
    const word = imm === AtomicOp.cmpxchg ? "cmpxchg" : "xchg";
    if (kernel) {
      return `${result} = atomic${wide}_${word}((${size} *)${address(dst, offset, context, true)}, ${compared}${names[src]})`;
    }
    const place = registerAndOffset(dst, offset, context, false);
    return `${result} = ${word}${index === 3 ? "_64" : "32_32"}(${place}, ${compared}${names[src]})`;
  }
  const [word, sign] = simpleAtomic(imm & ~ATOMIC_FETCH);
  const place = address(dst, offset, context, kernel);
  if ((imm & ATOMIC_FETCH) === 0) return `lock *(${size} *)${place} ${sign} ${names[src]}`;
  return `${names[src]} = atomic${kernel ? wide : ""}_fetch_${word}((${size} *)${place}, ${names[src]})`;
}

function packetLoad(insn: Instruction, context: PrintContext, kernel: boolean): string {
  const { opcode, src, imm } = insn;
  const size = UNSIGNED[(opcode >> 3) & 3];
  const value = number(imm, !kernel && context.hex);
  if ((opcode & 0xe0) === Mode.abs) return `r0 = *(${size} *)skb[${value}]`;
  if (!kernel && imm === 0) return `r0 = *(${size} *)skb[${R[src]}]`;
  return `r0 = *(${size} *)skb[${R[src]} + ${value}]`;
}

function jump(insn: Instruction, context: PrintContext, kernel: boolean): string {
  const { opcode, dst, src, offset, imm } = insn;
  const narrow = (opcode & 7) === Class.jmp32;
  const op = opcode & 0xf0;
  switch (op) {
    case JumpOp.ja:
      if (narrow) return `gotol ${place(imm, context, kernel)}`;
      return (opcode & Source.x) !== 0 ? `gotox ${R[dst]}` : `goto ${place(offset, context, kernel)}`;
    case JumpOp.call:
      if ((opcode & Source.x) !== 0) return imm === 0 ? `callx ${R[dst]}` : `callx ${imm}`;
      return call(insn, context, kernel);
    case JumpOp.exit:
      return "exit";
    case JumpOp.jcond:
      return `may_goto ${place(offset, context, kernel)}`;
  }
  const names = narrow ? W : R;
  const other =
    (opcode & Source.x) !== 0 ? names[src] : kernel ? `0x${(imm >>> 0).toString(16)}` : number(imm, context.hex);
  return `if ${names[dst]} ${COMPARISONS[op >> 4]} ${other} goto ${place(offset, context, kernel)}`;
}

function place(value: number, context: PrintContext, kernel: boolean): string {
  if (context.target !== undefined) return context.target;
  return kernel ? `pc${value < 0 ? "" : "+"}${value}` : distance(value, context.hex);
}

function call(insn: Instruction, context: PrintContext, kernel: boolean): string {
  const { src, imm } = insn;
  if (src === CallSource.local) return `call ${place(imm, context, true)}`;
  if (src === CallSource.kfunc) return kfunc(insn, context);
  if (!context.helpers) return `call ${number(imm, !kernel && context.hex)}`;
  const name = findHelper(imm)?.name;
  // The kernel's table of names has an entry for 0, which is no helper.
  if (kernel) return `call ${name !== undefined ? `bpf_${name}` : imm === 0 ? "bpf_unspec" : "unknown"}#${imm}`;
  return name === undefined ? `call ${number(imm, context.hex)}` : `call bpf_${name}`;
}

/** A call of a kernel function, the same in all styles. */
export function kfunc(insn: Instruction, context: PrintContext): string {
  if (context.target !== undefined) return `call kfunc ${context.target}`;
  return insn.offset === 0 ? `call kfunc#${insn.imm}` : `call kfunc#${insn.imm}@${insn.offset}`;
}

function wide(insn: Instruction, context: PrintContext, kernel: boolean): string {
  const { dst, src, imm, high } = insn;
  if (!kernel && context.target !== undefined && (src === PseudoSource.immediate || src === PseudoSource.function)) {
    const addend = src === PseudoSource.function || imm === 0 ? "" : imm < 0 ? ` - ${-imm}` : ` + ${imm}`;
    return `${R[dst]} = ${context.target}${addend} ll`;
  }
  if (src === PseudoSource.immediate && context.target === undefined) {
    return kernel ? `${R[dst]} = ${hex64(imm, high)}` : `${R[dst]} = ${signed64(imm, high, context.hex)} ll`;
  }
  if (kernel || context.target !== undefined) return `${R[dst]} = ${pseudo(insn, context)}`;
  const fields = `ld_pseudo\t${R[dst]}, ${number(src, context.hex)}, ${number(imm >>> 0, context.hex)}`;
  return high === 0 ? fields : `${fields}, ${number(high >>> 0, context.hex)}`;
}

/** The operand of an `ld_imm64` with a pseudo source, the same in the kernel's style and in mnemonics. */
export function pseudo(insn: Instruction, context: PrintContext): string {
  const { src, imm, high } = insn;
  const { target } = context;
  switch (src) {
    case PseudoSource.immediate:
      return `${target}${imm === 0 ? "" : imm < 0 ? ` - ${-imm}` : ` + ${imm}`} ll`;
    case PseudoSource.mapFd:
      return `map[${target ?? `fd:${imm}`}]`;
    case PseudoSource.mapValue:
      return `map[${target ?? `fd:${imm}`}][0]+${high}`;
    case PseudoSource.btfId:
      return target === undefined ? `btf[id:${imm}${high === 0 ? "" : `,fd:${high}`}]` : `btf[${target}]`;
    case PseudoSource.function:
      return `subprog[${target ?? distance(imm, false)}]`;
    case PseudoSource.mapIndex:
      return `map[idx:${imm}]`;
    default:
      return `map[idx:${imm}][0]+${high}`;
  }
}
