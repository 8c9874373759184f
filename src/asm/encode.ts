// Browser-safe.

import { type AsmError, asmError } from "./errors.ts";
import { type Instruction, LD_IMM64, slotsOf } from "./instruction.ts";
import { PseudoSource, SLOT_BYTES } from "./opcodes.ts";

/** Options of {@link encode} and the byte order of `decode`. */
export interface ByteOrder {
  /** Byte order of the machine the program is for. Default `true`. */
  readonly littleEndian?: boolean | undefined;
}

/**
 * Turns instructions into the bytes a kernel takes. The program must be linked: no symbol left to resolve. Every
 * field is checked against its width, nothing wraps.
 *
 * @param instructions a linked program
 * @param options byte order; big-endian also swaps the two register fields
 * @returns 8 bytes per slot, a new array
 * @throws AsmError `ERR_ASM_RANGE` when a field does not fit, `ERR_ASM_UNRESOLVED` when a name is left
 *
 * @example
 * ```ts
 * encode([mov(r0, 0), exit()]); // b7 00 00 00 00 00 00 00  95 00 00 00 00 00 00 00
 * ```
 */
export function encode(instructions: readonly Instruction[], options: ByteOrder = {}): Uint8Array {
  const little = options.littleEndian ?? true;
  let slots = 0;
  for (let i = 0; i < instructions.length; i++) slots += slotsOf(instructions[i]!);
  const bytes = new Uint8Array(slots * SLOT_BYTES);
  // DataView and not Writer: four times as fast, and the size is known.
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (let i = 0; i < instructions.length; i++) {
    const insn = instructions[i]!;
    const { opcode, dst, src, offset, imm, high } = insn;
    if (
      (opcode & 0xff) !== opcode ||
      (dst & 0xf) !== dst ||
      (src & 0xf) !== src ||
      (offset << 16) >> 16 !== offset ||
      (imm | 0) !== imm ||
      (high | 0) !== high ||
      (high !== 0 && opcode !== LD_IMM64)
    ) {
      throw rangeError(insn, i);
    }
    if (insn.meta !== undefined) checkResolved(insn, i);
    if (little) view.setInt32(at, opcode | (dst << 8) | (src << 12) | (offset << 16), true);
    else view.setInt32(at, (opcode << 24) | (dst << 20) | (src << 16) | (offset & 0xffff), false);
    view.setInt32(at + 4, imm, little);
    at += SLOT_BYTES;
    if (opcode === LD_IMM64) at = secondSlot(view, at, insn, little);
  }
  return bytes;
}

function secondSlot(view: DataView, at: number, insn: Instruction, little: boolean): number {
  const rest = insn.meta?.secondSlot;
  if (rest === "missing") return at;
  if (rest !== undefined) {
    view.setUint8(at, rest.opcode);
    view.setUint8(at + 1, rest.registers);
    view.setInt16(at + 2, rest.offset, little);
  }
  view.setInt32(at + 4, insn.high, little);
  return at + SLOT_BYTES;
}

function checkResolved(insn: Instruction, index: number): void {
  const meta = insn.meta!;
  if (meta.reference !== undefined) {
    throw asmError("ERR_ASM_UNRESOLVED", `Symbol "${meta.reference}" is not resolved`, {
      instruction: index,
      hint: "Call link() before encode()",
    });
  }
  if (meta.map !== undefined && insn.opcode === LD_IMM64 && !holdsMap(insn, meta.map.fd)) {
    const name = meta.map.name === undefined ? "the map" : `map "${meta.map.name}"`;
    throw asmError("ERR_ASM_UNRESOLVED", `Descriptor of ${name} is ${meta.map.fd}, the instruction has ${insn.imm}`, {
      instruction: index,
      hint: "Call link() before encode()",
    });
  }
  const rest = meta.secondSlot;
  if (rest === undefined || rest === "missing") return;
  const fits =
    (rest.opcode & 0xff) === rest.opcode &&
    (rest.registers & 0xff) === rest.registers &&
    (rest.offset << 16) >> 16 === rest.offset;
  if (!fits) throw asmError("ERR_ASM_RANGE", "Second slot of ld_imm64 does not fit its fields", { instruction: index });
}

/** Maps by index have nothing to compare; a plain constant is no map yet. */
function holdsMap(insn: Instruction, fd: number): boolean {
  if (insn.src === PseudoSource.mapFd || insn.src === PseudoSource.mapValue) return insn.imm === fd;
  return insn.src !== PseudoSource.immediate;
}

function rangeError(insn: Instruction, index: number): AsmError {
  const at = { instruction: index };
  const fields: [string, number, number, number][] = [
    ["Opcode", insn.opcode, 0, 0xff],
    ["Destination register", insn.dst, 0, 15],
    ["Source register", insn.src, 0, 15],
    ["Offset", insn.offset, -0x8000, 0x7fff],
    ["Immediate", insn.imm, -0x80000000, 0x7fffffff],
    ["High half", insn.high, -0x80000000, 0x7fffffff],
  ];
  for (const [name, value, low, most] of fields) {
    if (!(Number.isInteger(value) && value >= low && value <= most)) {
      return asmError("ERR_ASM_RANGE", `${name} ${value} does not fit (${low} to ${most})`, at);
    }
  }
  return asmError("ERR_ASM_RANGE", `High half ${insn.high} belongs to ld_imm64 only`, at);
}
