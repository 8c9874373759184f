// Browser-safe.

import { type Instruction, LD_IMM64 } from "./instruction.ts";
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
  Source,
} from "./opcodes.ts";
import { encodingFault, secondSlotFault } from "./validity.ts";

/** Width of a memory access that zero-extends. */
export type UnsignedSize = "u8" | "u16" | "u32" | "u64";
/** Width of a load that sign-extends to 64 bits. */
export type SignedSize = "s8" | "s16" | "s32";
/** Two-operand arithmetic, by name. */
export type AluName =
  | "add"
  | "sub"
  | "mul"
  | "div"
  | "sdiv"
  | "mod"
  | "smod"
  | "or"
  | "and"
  | "xor"
  | "lsh"
  | "rsh"
  | "arsh";
/** Condition of a jump, by name. */
export type JumpName = "jeq" | "jne" | "jgt" | "jge" | "jlt" | "jle" | "jset" | "jsgt" | "jsge" | "jslt" | "jsle";
/** Read-modify-write operation, by name. */
export type AtomicName = "add" | "or" | "and" | "xor" | "xchg" | "cmpxchg";
/** What an `ld_imm64` loads. */
export type PseudoName = "immediate" | "map-fd" | "map-value" | "btf-id" | "function" | "map-index" | "map-index-value";

/**
 * What an instruction does, with its fields under the names of their meaning. Register fields are numbers 0..10;
 * where `src` may be `undefined`, the immediate `imm` takes its place. Jump and call distances count slots from the
 * following slot.
 */
export type Operation =
  /** `dst = dst op src` */
  | {
      readonly kind: "alu";
      readonly op: AluName;
      readonly width: 32 | 64;
      readonly dst: number;
      readonly src: number | undefined;
      readonly imm: number;
    }
  /** `dst = -dst` */
  | { readonly kind: "neg"; readonly width: 32 | 64; readonly dst: number }
  /** `dst = src` */
  | {
      readonly kind: "mov";
      readonly width: 32 | 64;
      readonly dst: number;
      readonly src: number | undefined;
      readonly imm: number;
    }
  /** `dst = (sN)src` */
  | {
      readonly kind: "movsx";
      readonly width: 32 | 64;
      readonly from: 8 | 16 | 32;
      readonly dst: number;
      readonly src: number;
    }
  /** `dst = le16 dst`, `be`, `bswap` */
  | {
      readonly kind: "endian";
      readonly op: "le" | "be" | "bswap";
      readonly bits: 16 | 32 | 64;
      readonly dst: number;
    }
  /** `dst = *(uN *)(src + offset)` */
  | {
      readonly kind: "load";
      readonly size: UnsignedSize;
      readonly bytes: 1 | 2 | 4 | 8;
      readonly dst: number;
      readonly src: number;
      readonly offset: number;
    }
  /** `dst = *(sN *)(src + offset)` */
  | {
      readonly kind: "load-signed";
      readonly size: SignedSize;
      readonly bytes: 1 | 2 | 4;
      readonly dst: number;
      readonly src: number;
      readonly offset: number;
    }
  /** `*(uN *)(dst + offset) = src` */
  | {
      readonly kind: "store";
      readonly size: UnsignedSize;
      readonly bytes: 1 | 2 | 4 | 8;
      readonly dst: number;
      readonly src: number;
      readonly offset: number;
    }
  /** `*(uN *)(dst + offset) = imm` */
  | {
      readonly kind: "store-imm";
      readonly size: UnsignedSize;
      readonly bytes: 1 | 2 | 4 | 8;
      readonly dst: number;
      readonly offset: number;
      readonly imm: number;
    }
  /** `lock *(uN *)(dst + offset) op= src`; with `fetch` src receives the old value (`cmpxchg`: r0) */
  | {
      readonly kind: "atomic";
      readonly op: AtomicName;
      readonly fetch: boolean;
      readonly size: "u32" | "u64";
      readonly bytes: 4 | 8;
      readonly dst: number;
      readonly src: number;
      readonly offset: number;
    }
  /** `dst = load_acquire((uN *)(src + offset))` */
  | {
      readonly kind: "load-acquire";
      readonly size: UnsignedSize;
      readonly bytes: 1 | 2 | 4 | 8;
      readonly dst: number;
      readonly src: number;
      readonly offset: number;
    }
  /** `store_release((uN *)(dst + offset), src)` */
  | {
      readonly kind: "store-release";
      readonly size: UnsignedSize;
      readonly bytes: 1 | 2 | 4 | 8;
      readonly dst: number;
      readonly src: number;
      readonly offset: number;
    }
  /** `if dst op src goto +offset` */
  | {
      readonly kind: "jump";
      readonly op: JumpName;
      readonly width: 32 | 64;
      readonly dst: number;
      readonly src: number | undefined;
      readonly imm: number;
      readonly offset: number;
    }
  /** `goto +offset`, 16 bits */
  | { readonly kind: "goto"; readonly offset: number }
  /** `gotol +offset`, 32 bits */
  | { readonly kind: "gotol"; readonly offset: number }
  /** `call helper` */
  | { readonly kind: "call-helper"; readonly helper: number }
  /** `call +offset` */
  | { readonly kind: "call-local"; readonly offset: number }
  /** Call of a kernel function by BTF id; `fdIndex` chooses the BTF in `fd_array`, 0 being vmlinux */
  | { readonly kind: "call-kfunc"; readonly btfId: number; readonly fdIndex: number }
  /** `callx register`; compilers up to LLVM 18 put the register number into the immediate (`field`) */
  | { readonly kind: "callx"; readonly register: number; readonly field: "dst" | "imm" }
  | { readonly kind: "exit" }
  /** `dst = 64 bits`, see `PseudoSource` for what `low` and `high` mean */
  | {
      readonly kind: "ld-imm64";
      readonly pseudo: PseudoName;
      readonly dst: number;
      readonly low: number;
      readonly high: number;
    }
  /** `r0 = *(uN *)skb[src + imm]`; mode `abs` has no `src` */
  | {
      readonly kind: "packet-load";
      readonly mode: "abs" | "ind";
      readonly size: "u8" | "u16" | "u32";
      readonly bytes: 1 | 2 | 4;
      readonly src: number | undefined;
      readonly imm: number;
    }
  /** `may_goto +offset`: jumps when the budget of iterations is spent */
  | { readonly kind: "may-goto"; readonly offset: number }
  /** `gotox register` */
  | { readonly kind: "gotox"; readonly register: number }
  /** `dst = addr_space_cast(src, to, from)` */
  | {
      readonly kind: "addr-space-cast";
      readonly dst: number;
      readonly src: number;
      readonly to: number;
      readonly from: number;
    }
  /** `dst = address of this CPU's copy of src`; made by the kernel itself, it refuses it from user space */
  | { readonly kind: "mov-percpu"; readonly dst: number; readonly src: number }
  /** No instruction: unknown opcode, unknown variant, or a field set that must be zero */
  | { readonly kind: "invalid"; readonly reason: string };

/** How {@link Operation} kinds are named. */
export type OperationKind = Operation["kind"];

const ALU_NAMES: readonly AluName[] = /* @__PURE__ */ Object.assign(new Array<AluName>(16), {
  [AluOp.add >> 4]: "add",
  [AluOp.sub >> 4]: "sub",
  [AluOp.mul >> 4]: "mul",
  [AluOp.div >> 4]: "div",
  [AluOp.or >> 4]: "or",
  [AluOp.and >> 4]: "and",
  [AluOp.lsh >> 4]: "lsh",
  [AluOp.rsh >> 4]: "rsh",
  [AluOp.mod >> 4]: "mod",
  [AluOp.xor >> 4]: "xor",
  [AluOp.arsh >> 4]: "arsh",
});

const JUMP_NAMES: readonly JumpName[] = /* @__PURE__ */ Object.assign(new Array<JumpName>(16), {
  [JumpOp.jeq >> 4]: "jeq",
  [JumpOp.jgt >> 4]: "jgt",
  [JumpOp.jge >> 4]: "jge",
  [JumpOp.jset >> 4]: "jset",
  [JumpOp.jne >> 4]: "jne",
  [JumpOp.jsgt >> 4]: "jsgt",
  [JumpOp.jsge >> 4]: "jsge",
  [JumpOp.jlt >> 4]: "jlt",
  [JumpOp.jle >> 4]: "jle",
  [JumpOp.jslt >> 4]: "jslt",
  [JumpOp.jsle >> 4]: "jsle",
});

const ATOMIC_NAMES: ReadonlyMap<number, AtomicName> = /* @__PURE__ */ new Map([
  [AtomicOp.add, "add"],
  [AtomicOp.add | ATOMIC_FETCH, "add"],
  [AtomicOp.or, "or"],
  [AtomicOp.or | ATOMIC_FETCH, "or"],
  [AtomicOp.and, "and"],
  [AtomicOp.and | ATOMIC_FETCH, "and"],
  [AtomicOp.xor, "xor"],
  [AtomicOp.xor | ATOMIC_FETCH, "xor"],
  [AtomicOp.xchg, "xchg"],
  [AtomicOp.cmpxchg, "cmpxchg"],
]);

const PSEUDO_NAMES: readonly PseudoName[] = [
  "immediate",
  "map-fd",
  "map-value",
  "btf-id",
  "function",
  "map-index",
  "map-index-value",
];

// Indexed by the size bits shifted down: w, h, b, dw.
const UNSIGNED: readonly UnsignedSize[] = ["u32", "u16", "u8", "u64"];
const SIGNED: readonly SignedSize[] = ["s32", "s16", "s8"];
const BYTES: readonly (1 | 2 | 4 | 8)[] = [4, 2, 1, 8];

/**
 * What an instruction does. Every opcode byte and every combination of fields has an answer; what is no instruction
 * is `invalid` with a reason.
 *
 * @example
 * ```ts
 * operation(add(r1, 5)); // { kind: "alu", op: "add", width: 64, dst: 1, src: undefined, imm: 5 }
 * ```
 */
export function operation(insn: Instruction): Operation {
  const { opcode, dst, src, offset, imm, high } = insn;
  const fault = encodingFault(opcode, dst, src, offset, imm, high);
  if (fault !== undefined) return { kind: "invalid", reason: fault };
  if (insn.meta?.secondSlot !== undefined) return { kind: "invalid", reason: secondSlotFault(insn.meta.secondSlot) };
  const c = opcode & 7;
  switch (c) {
    case Class.ld:
    case Class.ldx:
    case Class.st:
    case Class.stx:
      return memoryOperation(c, insn);
    case Class.jmp:
    case Class.jmp32:
      return jumpOperation(insn);
    default: {
      const width = c === Class.alu64 ? 64 : 32;
      const register = (opcode & Source.x) !== 0 ? src : undefined;
      const op = opcode & 0xf0;
      if (op === AluOp.neg) return { kind: "neg", width, dst };
      if (op === AluOp.end) {
        const order = width === 64 ? "bswap" : register === undefined ? "le" : "be";
        return { kind: "endian", op: order, bits: imm as 16 | 32 | 64, dst };
      }
      if (op === AluOp.mov) {
        if (offset === MovOffset.plain) return { kind: "mov", width, dst, src: register, imm };
        if (offset === MovOffset.percpu) return { kind: "mov-percpu", dst, src };
        if (offset === MovOffset.addrSpaceCast) {
          return { kind: "addr-space-cast", dst, src, to: imm >>> 16, from: imm & 0xffff };
        }
        return { kind: "movsx", width, from: offset as 8 | 16 | 32, dst, src };
      }
      let name = ALU_NAMES[op >> 4]!;
      if (offset === DivisionOffset.signed) name = name === "div" ? "sdiv" : "smod";
      return { kind: "alu", op: name, width, dst, src: register, imm };
    }
  }
}

function memoryOperation(c: number, insn: Instruction): Operation {
  const { opcode, dst, src, offset, imm } = insn;
  const index = (opcode & 0x18) >> 3;
  const size = UNSIGNED[index]!;
  const bytes = BYTES[index]!;
  if (c === Class.ld) {
    if (opcode === LD_IMM64) return { kind: "ld-imm64", pseudo: PSEUDO_NAMES[src]!, dst, low: imm, high: insn.high };
    const absolute = (opcode & 0xe0) === Mode.abs;
    return {
      kind: "packet-load",
      mode: absolute ? "abs" : "ind",
      size: size as "u8" | "u16" | "u32",
      bytes: bytes as 1 | 2 | 4,
      src: absolute ? undefined : src,
      imm,
    };
  }
  if (c === Class.ldx) {
    if ((opcode & 0xe0) === Mode.mem) return { kind: "load", size, bytes, dst, src, offset };
    return { kind: "load-signed", size: SIGNED[index]!, bytes: bytes as 1 | 2 | 4, dst, src, offset };
  }
  if (c === Class.st) return { kind: "store-imm", size, bytes, dst, offset, imm };
  if ((opcode & 0xe0) === Mode.mem) return { kind: "store", size, bytes, dst, src, offset };
  if (imm === AtomicOp.loadAcquire) return { kind: "load-acquire", size, bytes, dst, src, offset };
  if (imm === AtomicOp.storeRelease) return { kind: "store-release", size, bytes, dst, src, offset };
  return {
    kind: "atomic",
    op: ATOMIC_NAMES.get(imm)!,
    fetch: (imm & ATOMIC_FETCH) !== 0,
    size: size as "u32" | "u64",
    bytes: bytes as 4 | 8,
    dst,
    src,
    offset,
  };
}

function jumpOperation(insn: Instruction): Operation {
  const { opcode, dst, src, offset, imm } = insn;
  const width = (opcode & 7) === Class.jmp ? 64 : 32;
  const register = (opcode & Source.x) !== 0;
  switch (opcode & 0xf0) {
    case JumpOp.ja:
      if (width === 32) return { kind: "gotol", offset: imm };
      return register ? { kind: "gotox", register: dst } : { kind: "goto", offset };
    case JumpOp.call:
      if (register) return { kind: "callx", register: imm === 0 ? dst : imm, field: imm === 0 ? "dst" : "imm" };
      if (src === CallSource.helper) return { kind: "call-helper", helper: imm };
      if (src === CallSource.local) return { kind: "call-local", offset: imm };
      return { kind: "call-kfunc", btfId: imm, fdIndex: offset };
    case JumpOp.exit:
      return { kind: "exit" };
    case JumpOp.jcond:
      return { kind: "may-goto", offset };
    default: {
      const op = JUMP_NAMES[(opcode & 0xf0) >> 4]!;
      return { kind: "jump", op, width, dst, src: register ? src : undefined, imm, offset };
    }
  }
}
