// Browser-safe.

import { LD_IMM64 } from "./instruction.ts";
import {
  AluOp,
  ATOMIC_FETCH,
  AtomicOp,
  CallSource,
  Class,
  DivisionOffset,
  JumpOp,
  MAX_REGISTER,
  Mode,
  MovOffset,
  PseudoSource,
  Size,
  Source,
} from "./opcodes.ts";

// What each opcode is, and which fields must be zero. One byte per opcode: low four bits must-be-zero fields, high
// four bits the further check. Kept in a table because strict decoding asks it for every instruction.
const DST = 1;
const SRC = 2;
const OFFSET = 4;
const IMM = 8;
const Check = {
  none: 0x00,
  unknown: 0x10,
  division: 0x20,
  mov64: 0x30,
  mov32: 0x40,
  endian: 0x50,
  atomic: 0x60,
  ordered: 0x70,
  call: 0x80,
  callx: 0x90,
  mayGoto: 0xa0,
  ldImm64: 0xb0,
} as const;

/** Checks of the instructions whose source field is no register. */
const PSEUDO_CHECKS: readonly number[] = [Check.call, Check.mayGoto, Check.ldImm64];

const SHAPE: Uint8Array = /* @__PURE__ */ makeShapes();

function makeShapes(): Uint8Array {
  const shape = new Uint8Array(256).fill(Check.unknown);
  const { k, x } = Source;
  for (const size of Object.values(Size)) {
    if (size !== Size.dw) {
      shape[Class.ld | Mode.abs | size] = DST | SRC | OFFSET;
      shape[Class.ld | Mode.ind | size] = DST | OFFSET;
      shape[Class.ldx | Mode.memsx | size] = IMM;
    }
    shape[Class.ldx | Mode.mem | size] = IMM;
    shape[Class.st | Mode.mem | size] = SRC;
    shape[Class.stx | Mode.mem | size] = IMM;
    shape[Class.stx | Mode.atomic | size] = size === Size.w || size === Size.dw ? Check.atomic : Check.ordered;
  }
  shape[LD_IMM64] = OFFSET | Check.ldImm64;
  for (const c of [Class.alu, Class.alu64]) {
    for (const op of Object.values(AluOp)) {
      shape[c | op | k] = SRC | OFFSET;
      shape[c | op | x] = OFFSET | IMM;
    }
    for (const op of [AluOp.div, AluOp.mod]) {
      shape[c | op | k] = SRC | Check.division;
      shape[c | op | x] = IMM | Check.division;
    }
    shape[c | AluOp.neg | k] = SRC | OFFSET | IMM;
    shape[c | AluOp.neg | x] = Check.unknown;
    shape[c | AluOp.end | k] = SRC | OFFSET | Check.endian;
    shape[c | AluOp.end | x] = c === Class.alu ? SRC | OFFSET | Check.endian : Check.unknown;
    shape[c | AluOp.mov | x] = c === Class.alu ? IMM | Check.mov32 : Check.mov64;
  }
  for (const c of [Class.jmp, Class.jmp32]) {
    for (const op of Object.values(JumpOp)) {
      if (op === JumpOp.ja || op === JumpOp.call || op === JumpOp.exit || op === JumpOp.jcond) continue;
      shape[c | op | k] = SRC;
      shape[c | op | x] = IMM;
    }
  }
  shape[Class.jmp | JumpOp.ja | k] = DST | SRC | IMM;
  shape[Class.jmp | JumpOp.ja | x] = SRC | OFFSET | IMM;
  shape[Class.jmp32 | JumpOp.ja | k] = DST | SRC | OFFSET;
  shape[Class.jmp | JumpOp.call | k] = DST | Check.call;
  shape[Class.jmp | JumpOp.call | x] = SRC | OFFSET | Check.callx;
  shape[Class.jmp | JumpOp.exit | k] = DST | SRC | OFFSET | IMM;
  shape[Class.jmp | JumpOp.jcond | k] = DST | IMM | Check.mayGoto;
  return shape;
}

const hex = (value: number): string => `0x${value.toString(16).padStart(2, "0")}`;

/**
 * Why fields do not form an instruction of the architecture: unknown opcode or variant, a register that does not
 * exist, an unused field that is not zero.
 *
 * @returns the reason, or `undefined` when the instruction is well formed
 */
export function encodingFault(
  opcode: number,
  dst: number,
  src: number,
  offset: number,
  imm: number,
  high: number,
): string | undefined {
  const shape = SHAPE[opcode];
  // The test that almost every instruction passes comes first and allocates nothing.
  if (shape === undefined || (shape & 0xf0) === Check.unknown) return `Unknown opcode ${hex(opcode)}`;
  if (dst > MAX_REGISTER) return `Destination register r${dst} does not exist`;
  if (src > MAX_REGISTER && (shape & SRC) === 0 && !PSEUDO_CHECKS.includes(shape & 0xf0)) {
    return `Source register r${src} does not exist`;
  }
  if (
    ((shape & DST) !== 0 && dst !== 0) ||
    ((shape & SRC) !== 0 && src !== 0) ||
    ((shape & OFFSET) !== 0 && offset !== 0) ||
    ((shape & IMM) !== 0 && imm !== 0)
  ) {
    if ((shape & DST) !== 0 && dst !== 0) return unused(opcode, "destination", dst);
    if ((shape & SRC) !== 0 && src !== 0) return unused(opcode, "source", src);
    if ((shape & OFFSET) !== 0 && offset !== 0) return unused(opcode, "offset", offset);
    return unused(opcode, "immediate", imm);
  }
  const check = shape & 0xf0;
  return check === Check.none ? undefined : variantFault(check, opcode, dst, src, offset, imm, high);
}

function unused(opcode: number, field: string, value: number): string {
  return `Opcode ${hex(opcode)} does not use its ${field} field, which must be 0, not ${value}`;
}

function variantFault(
  check: number,
  opcode: number,
  dst: number,
  src: number,
  offset: number,
  imm: number,
  high: number,
): string | undefined {
  switch (check) {
    case Check.division:
      if (offset === DivisionOffset.unsigned || offset === DivisionOffset.signed) return undefined;
      return `Offset of a division must be 0 (unsigned) or 1 (signed), not ${offset}`;
    case Check.mov64:
      if (offset === MovOffset.addrSpaceCast) return undefined;
      if (offset !== 0 && offset !== 8 && offset !== 16 && offset !== 32 && offset !== MovOffset.percpu) {
        return `Offset of a 64-bit register move must be 0, 1, 8, 16, 32 or -1, not ${offset}`;
      }
      return imm === 0 ? undefined : unused(opcode, "immediate", imm);
    case Check.mov32:
      if (offset === 0 || offset === 8 || offset === 16) return undefined;
      return `Offset of a 32-bit register move must be 0, 8 or 16, not ${offset}`;
    case Check.endian:
      if (imm === 16 || imm === 32 || imm === 64) return undefined;
      return `Immediate of a byte swap must be 16, 32 or 64, not ${imm}`;
    case Check.atomic:
      if (isReadModifyWrite(imm)) return undefined;
      if (imm === AtomicOp.loadAcquire || imm === AtomicOp.storeRelease) return undefined;
      return `Unknown atomic operation ${hex(imm >>> 0)}`;
    case Check.ordered:
      if (imm === AtomicOp.loadAcquire || imm === AtomicOp.storeRelease) return undefined;
      if (!isReadModifyWrite(imm)) return `Unknown atomic operation ${hex(imm >>> 0)}`;
      return "Atomic read-modify-write works on 32 and 64 bits only";
    case Check.call:
      if (src > CallSource.kfunc) return `Unknown kind of call ${src}`;
      return src === CallSource.kfunc || offset === 0 ? undefined : unused(opcode, "offset", offset);
    case Check.callx:
      if (imm === 0) return undefined;
      if (dst !== 0) return unused(opcode, "immediate", imm);
      return imm > 0 && imm <= MAX_REGISTER ? undefined : `Immediate of callx must be a register number, not ${imm}`;
    case Check.mayGoto:
      return src === 0 ? undefined : `Unknown kind of conditional jump ${src}`;
    default: {
      if (src > PseudoSource.mapIndexValue) return `Unknown source ${src} of ld_imm64`;
      const oneWord = src === PseudoSource.mapFd || src === PseudoSource.function || src === PseudoSource.mapIndex;
      return oneWord && high !== 0 ? `High half of ld_imm64 with source ${src} must be 0, not ${high}` : undefined;
    }
  }
}

function isReadModifyWrite(imm: number): boolean {
  switch (imm & ~ATOMIC_FETCH) {
    case AtomicOp.add:
    case AtomicOp.or:
    case AtomicOp.and:
    case AtomicOp.xor:
      return true;
    default:
      return imm === AtomicOp.xchg || imm === AtomicOp.cmpxchg;
  }
}

/** Why the second slot of an `ld_imm64` is not one. */
export function secondSlotFault(
  slot: { readonly opcode: number; readonly registers: number; readonly offset: number } | "missing",
): string {
  if (slot === "missing") return "The ld_imm64 is cut off after its first slot";
  const found = `opcode ${hex(slot.opcode)}, registers ${hex(slot.registers)}, offset ${slot.offset}`;
  return `The second slot of an ld_imm64 must be 0 except for its immediate (found ${found})`;
}
