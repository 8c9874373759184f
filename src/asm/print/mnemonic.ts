// Browser-safe.

// The names are those of the conformance suite and of RFC 9669 where they have one. Offsets are always written, because
// GNU as wants them; see text/mnemonic-style.ts for what is spelt our own way.

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
import { kfunc, pseudo } from "./c-style.ts";
import { distance, hex64, number, type PrintContext, simpleAtomic } from "./common.ts";

const R: readonly string[] = Array.from({ length: 16 }, (_, i) => `%r${i}`);
const SIZES: readonly string[] = ["w", "h", "b", "dw"];

const ALU: readonly string[] = [
  "add",
  "sub",
  "mul",
  "div",
  "or",
  "and",
  "lsh",
  "rsh",
  "neg",
  "mod",
  "xor",
  "mov",
  "arsh",
  "",
  "",
  "",
];
const JUMPS: readonly string[] = [
  "ja",
  "jeq",
  "jgt",
  "jge",
  "jset",
  "jne",
  "jsgt",
  "jsge",
  "",
  "",
  "jlt",
  "jle",
  "jslt",
  "jsle",
  "jcond",
  "",
];

/** Prints a valid instruction in mnemonics. */
export function printMnemonic(insn: Instruction, context: PrintContext): string {
  const { opcode, dst, src, offset, imm } = insn;
  const size = SIZES[(opcode >> 3) & 3];
  switch (opcode & 7) {
    case Class.alu:
    case Class.alu64:
      return arithmetic(insn, context);
    case Class.jmp:
    case Class.jmp32:
      return jump(insn, context);
    case Class.ld: {
      if (opcode === LD_IMM64) {
        const plain = src === PseudoSource.immediate && context.target === undefined;
        return `lddw ${R[dst]}, ${plain ? hex64(imm, insn.high) : withoutSuffix(pseudo(insn, context))}`;
      }
      const value = number(imm, context.hex);
      return (opcode & 0xe0) === Mode.abs ? `ldabs${size} ${value}` : `ldind${size} ${R[src]}, ${value}`;
    }
    case Class.ldx:
      return `${(opcode & 0xe0) === Mode.mem ? "ldx" : "ldxs"}${size} ${R[dst]}, ${address(src, offset, context)}`;
    case Class.st:
      return `st${size} ${address(dst, offset, context)}, ${number(imm, context.hex)}`;
  }
  if ((opcode & 0xe0) === Mode.mem) return `stx${size} ${address(dst, offset, context)}, ${R[src]}`;
  if (imm === AtomicOp.loadAcquire) return `ldacq${size} ${R[dst]}, ${address(src, offset, context)}`;
  if (imm === AtomicOp.storeRelease) return `strel${size} ${address(dst, offset, context)}, ${R[src]}`;
  return `lock ${atomicName(imm)}${size === "dw" ? "" : "32"} ${address(dst, offset, context)}, ${R[src]}`;
}

function withoutSuffix(text: string): string {
  return text.endsWith(" ll") ? text.slice(0, -3) : text;
}

function atomicName(op: number): string {
  if (op === AtomicOp.xchg) return "xchg";
  if (op === AtomicOp.cmpxchg) return "cmpxchg";
  const [name] = simpleAtomic(op & ~ATOMIC_FETCH);
  return (op & ATOMIC_FETCH) === 0 ? name : `fetch ${name}`;
}

function address(base: number, offset: number, context: PrintContext): string {
  return `[${R[base]}${distance(offset, context.hex)}]`;
}

function arithmetic(insn: Instruction, context: PrintContext): string {
  const { opcode, dst, src, offset, imm } = insn;
  const whole = (opcode & 7) === Class.alu64;
  const suffix = whole ? "" : "32";
  const op = opcode & 0xf0;
  if (op === AluOp.neg) return `neg${suffix} ${R[dst]}`;
  if (op === AluOp.end) {
    const order = whole ? "bswap" : (opcode & Source.x) !== 0 ? "be" : "le";
    return `${order}${imm} ${R[dst]}`;
  }
  const signed = op !== AluOp.mov && offset === DivisionOffset.signed ? "s" : "";
  const word = `${signed}${ALU[op >> 4]}${suffix}`;
  if ((opcode & Source.x) === 0) return `${word} ${R[dst]}, ${number(imm, context.hex)}`;
  if (op === AluOp.mov && offset !== MovOffset.plain) {
    if (offset === MovOffset.percpu) return `mov_percpu ${R[dst]}, ${R[src]}`;
    if (offset === MovOffset.addrSpaceCast) {
      return `addr_space_cast ${R[dst]}, ${R[src]}, ${number(imm >>> 16, context.hex)}, ${number(imm & 0xffff, context.hex)}`;
    }
    return `movsx${offset}${whole ? "64" : "32"} ${R[dst]}, ${R[src]}`;
  }
  return `${word} ${R[dst]}, ${R[src]}`;
}

function jump(insn: Instruction, context: PrintContext): string {
  const { opcode, dst, src, offset, imm } = insn;
  const suffix = (opcode & 7) === Class.jmp32 ? "32" : "";
  const op = opcode & 0xf0;
  const place = (value: number): string => context.target ?? distance(value, context.hex);
  switch (op) {
    case JumpOp.ja:
      if (suffix !== "") return `ja32 ${place(imm)}`;
      return (opcode & Source.x) !== 0 ? `gotox ${R[dst]}` : `ja ${place(offset)}`;
    case JumpOp.call: {
      if ((opcode & Source.x) !== 0) return imm === 0 ? `callx ${R[dst]}` : `callx ${imm}`;
      if (src === CallSource.local) return `call local ${place(imm)}`;
      if (src === CallSource.kfunc) return kfunc(insn, context);
      const name = context.helpers ? findHelper(imm)?.name : undefined;
      return name === undefined ? `call ${number(imm, context.hex)}` : `call bpf_${name}`;
    }
    case JumpOp.exit:
      return "exit";
    case JumpOp.jcond:
      return `jcond ${place(offset)}`;
  }
  const other = (opcode & Source.x) !== 0 ? R[src] : number(imm, context.hex);
  return `${JUMPS[op >> 4]}${suffix} ${R[dst]}, ${other}, ${place(offset)}`;
}
