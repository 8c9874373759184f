import {
  AluOp,
  AtomicOp,
  Class,
  distanceField,
  type Instruction,
  instruction,
  JumpOp,
  LD_IMM64,
  layout,
  Mode,
  Size,
  Source,
} from "../../src/asm/index.ts";

/** A source of random numbers that gives the same ones for the same seed. */
export interface Random {
  /** An unsigned 32-bit number. */
  next(): number;
  /** A number from 0 to `count - 1`. */
  below(count: number): number;
  /** One of them. */
  pick<T>(from: readonly T[]): T;
}

/** Marsaglia's xorshift with 32 bits, whose period is long enough for any test here. */
export function random(seed: number): Random {
  let state = (seed | 0) === 0 ? 0x9e3779b9 | 0 : seed | 0;
  const next = (): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
  const below = (count: number): number => Math.floor((next() / 0x100000000) * count);
  return { next, below, pick: (from) => from[below(from.length)]! };
}

const ALU = [
  AluOp.add,
  AluOp.sub,
  AluOp.mul,
  AluOp.div,
  AluOp.or,
  AluOp.and,
  AluOp.lsh,
  AluOp.rsh,
  AluOp.mod,
  AluOp.xor,
  AluOp.mov,
  AluOp.arsh,
] as const;
const JUMPS = [
  JumpOp.jeq,
  JumpOp.jgt,
  JumpOp.jge,
  JumpOp.jset,
  JumpOp.jne,
  JumpOp.jsgt,
  JumpOp.jsge,
  JumpOp.jlt,
  JumpOp.jle,
  JumpOp.jslt,
  JumpOp.jsle,
] as const;
const SIZES = [Size.b, Size.h, Size.w, Size.dw] as const;
const ATOMICS = [
  ...[AtomicOp.add, AtomicOp.or, AtomicOp.and, AtomicOp.xor].flatMap((op) => [op, op | 1]),
  AtomicOp.xchg,
  AtomicOp.cmpxchg,
];

function imm32(from: Random): number {
  switch (from.below(4)) {
    case 0:
      return from.below(16) - 8;
    case 1:
      return from.pick([0x7fffffff, -0x80000000, -1, 0x8000, 0xffff, 0x10000, 255]);
    case 2:
      return from.below(0x20000) - 0x10000;
    default:
      return from.next() | 0;
  }
}

function imm16(from: Random): number {
  switch (from.below(4)) {
    case 0:
      return 0;
    case 1:
      return from.below(128) - 64;
    case 2:
      return from.pick([-0x8000, 0x7fff, -1, 1]);
    default:
      return from.below(0x10000) - 0x8000;
  }
}

/**
 * A random instruction of the architecture, every form alike often. Distances of jumps are random too, so that most
 * lead nowhere.
 *
 * @param from where the randomness comes from
 */
export function randomInstruction(from: Random): Instruction {
  const dst = from.below(11);
  const src = from.below(11);
  const size = from.pick(SIZES);
  const wide = from.below(2) === 0;
  const alu = wide ? Class.alu64 : Class.alu;
  const jmp = wide ? Class.jmp : Class.jmp32;
  switch (from.below(26)) {
    case 0:
      return instruction(alu | from.pick(ALU), dst, 0, 0, imm32(from));
    case 1:
      return instruction(alu | from.pick(ALU) | Source.x, dst, src);
    case 2: {
      const op = from.pick([AluOp.div, AluOp.mod]);
      const register = from.below(2) === 0;
      return instruction(alu | op | (register ? Source.x : 0), dst, register ? src : 0, 1, register ? 0 : imm32(from));
    }
    case 3:
      return instruction(alu | AluOp.neg, dst);
    case 4:
      return instruction(
        from.pick([Class.alu | AluOp.end, Class.alu | AluOp.end | Source.x, Class.alu64 | AluOp.end]),
        dst,
        0,
        0,
        from.pick([16, 32, 64]),
      );
    case 5:
      return instruction(alu | AluOp.mov | Source.x, dst, src, from.pick(wide ? [8, 16, 32] : [8, 16]));
    case 6:
      return instruction(Class.alu64 | AluOp.mov | Source.x, dst, src, 1, imm32(from));
    case 7:
      return instruction(Class.alu64 | AluOp.mov | Source.x, dst, src, -1);
    case 8:
      return instruction(Class.ldx | Mode.mem | size, dst, src, imm16(from));
    case 9:
      return instruction(Class.ldx | Mode.memsx | from.pick([Size.b, Size.h, Size.w]), dst, src, imm16(from));
    case 10:
      return instruction(Class.st | Mode.mem | size, dst, 0, imm16(from), imm32(from));
    case 11:
      return instruction(Class.stx | Mode.mem | size, dst, src, imm16(from));
    case 12:
      return instruction(
        Class.stx | Mode.atomic | from.pick([Size.w, Size.dw]),
        dst,
        src,
        imm16(from),
        from.pick(ATOMICS),
      );
    case 13:
      return instruction(
        Class.stx | Mode.atomic | size,
        dst,
        src,
        imm16(from),
        from.pick([AtomicOp.loadAcquire, AtomicOp.storeRelease]),
      );
    case 14:
      return instruction(Class.ld | Mode.abs | from.pick([Size.b, Size.h, Size.w]), 0, 0, 0, imm32(from));
    case 15:
      return instruction(
        Class.ld | Mode.ind | from.pick([Size.b, Size.h, Size.w]),
        0,
        src,
        0,
        from.below(2) === 0 ? 0 : imm32(from),
      );
    case 16:
      return instruction(jmp | from.pick(JUMPS), dst, 0, imm16(from), imm32(from));
    case 17:
      return instruction(jmp | from.pick(JUMPS) | Source.x, dst, src, imm16(from));
    case 18:
      return from.below(2) === 0
        ? instruction(Class.jmp | JumpOp.ja, 0, 0, imm16(from))
        : instruction(Class.jmp32 | JumpOp.ja, 0, 0, 0, imm32(from));
    case 19:
      return instruction(Class.jmp | JumpOp.call, 0, 0, 0, from.below(2) === 0 ? from.below(230) : imm32(from));
    case 20:
      return from.below(2) === 0
        ? instruction(Class.jmp | JumpOp.call, 0, 1, 0, imm32(from))
        : instruction(Class.jmp | JumpOp.call, 0, 2, imm16(from), imm32(from));
    case 21:
      return from.pick([
        instruction(Class.jmp | JumpOp.exit),
        instruction(Class.jmp | JumpOp.call | Source.x, dst),
        instruction(Class.jmp | JumpOp.call | Source.x, 0, 0, 0, 1 + from.below(10)),
        instruction(Class.jmp | JumpOp.ja | Source.x, dst),
        instruction(Class.jmp | JumpOp.jcond, 0, 0, imm16(from)),
      ]);
    case 22:
    case 23:
      return instruction(0x18, dst, 0, 0, imm32(from), from.pick([0, -1, imm32(from), imm32(from)]));
    default: {
      const source = 1 + from.below(6);
      const hasHigh = source === 2 || source === 3 || source === 6;
      return instruction(0x18, dst, source, 0, imm32(from), hasHigh && from.below(2) === 0 ? imm32(from) : 0);
    }
  }
}

/** Random instructions in a row, of which no jump leads into the middle of an `ld_imm64`. */
export function randomInstructions(from: Random, count: number): Instruction[] {
  const all = Array.from({ length: count }, () => randomInstruction(from));
  const { slots, indices } = layout(all);
  return all.map((insn, i) => {
    const field = insn.opcode === LD_IMM64 ? "none" : distanceField(insn);
    if (field === "none" || indices[slots[i]! + 1 + insn[field]] !== -1) return insn;
    return { ...insn, [field]: 0x7fff };
  });
}
