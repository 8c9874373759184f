// Browser-safe.

import { asmError } from "../errors.ts";
import { type Instruction, type InstructionMeta, instruction, LD_IMM64, type MapReference } from "../instruction.ts";
import { PseudoSource } from "../opcodes.ts";
import type { Register } from "../registers.ts";
import { int32, lowBits, type Target, wholeRegister } from "./operands.ts";

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
