// Browser-safe.

import type { BpfErrorCode } from "../errors.ts";
import { type AsmProblem, asmProblem } from "./errors.ts";
import { type Instruction, LD_IMM64, slotsOf } from "./instruction.ts";
import { CallSource, Class, JumpOp, PseudoSource, Source } from "./opcodes.ts";

/** Where the distance of an instruction stands: nowhere, in `offset`, or in `imm`. */
export type DistanceField = "none" | "offset" | "imm";

/**
 * Where an instruction keeps the distance to another instruction of the program.
 *
 * @returns `offset` for jumps, `imm` for `gotol`, local calls and function addresses
 */
export function distanceField(insn: Instruction): DistanceField {
  const { opcode } = insn;
  if (opcode === LD_IMM64) return insn.src === PseudoSource.function ? "imm" : "none";
  const c = opcode & 7;
  if (c !== Class.jmp && c !== Class.jmp32) return "none";
  switch (opcode & 0xf0) {
    case JumpOp.exit:
      return "none";
    case JumpOp.call:
      return opcode === (Class.jmp | JumpOp.call) && insn.src === CallSource.local ? "imm" : "none";
    case JumpOp.ja:
      if ((opcode & Source.x) !== 0) return "none";
      return c === Class.jmp ? "offset" : "imm";
    case JumpOp.jcond:
      return opcode === (Class.jmp | JumpOp.jcond) ? "offset" : "none";
    case 0xf0:
      return "none";
    default:
      return "offset";
  }
}

/** No instruction: an entry of a slot table for the second half of an `ld_imm64`. */
const SECOND_HALF = -1;

/** Where every instruction stands: slots and indices, each by the other. */
export interface Layout {
  /** Slot of each instruction, and the number of slots as last element. */
  readonly slots: Int32Array;
  /** Index of the instruction at each slot; -1 for the second half of an `ld_imm64`. */
  readonly indices: Int32Array;
}

/** Counts the slots of a program. */
export function layout(instructions: readonly Instruction[]): Layout {
  const count = instructions.length;
  const slots = new Int32Array(count + 1);
  let at = 0;
  for (let i = 0; i < count; i++) {
    slots[i] = at;
    at += slotsOf(instructions[i]!);
  }
  slots[count] = at;
  const indices = new Int32Array(at).fill(SECOND_HALF);
  for (let i = 0; i < count; i++) indices[slots[i]!] = i;
  return { slots, indices };
}

/** No target. */
export const NOWHERE = -1;

/** Index of the instruction at each label. Notes labels defined twice. */
export function collectLabels(instructions: readonly Instruction[], problems: AsmProblem[]): Map<string, number> {
  const labels = new Map<string, number>();
  for (let i = 0; i < instructions.length; i++) {
    const insn = instructions[i]!;
    if (insn.meta?.labels === undefined) continue;
    for (const name of insn.meta.labels) {
      const first = labels.get(name);
      if (first === undefined) labels.set(name, i);
      else
        problems.push(
          fault(insn, i, "ERR_ASM_LABEL", `Label "${name}" is already defined at instruction ${first}`, name),
        );
    }
  }
  return labels;
}

/** A fault of one instruction, with the line of source it came from where that is known. */
export function fault(
  insn: Instruction,
  index: number,
  code: BpfErrorCode,
  message: string,
  word: string,
  hint?: string,
): AsmProblem {
  const source = insn.meta?.source;
  if (source === undefined || source.line === 0) return asmProblem(code, message, { instruction: index, hint });
  const found = source.text.indexOf(word, Math.max(0, source.column - 1));
  return {
    code,
    message,
    line: source.line,
    column: found >= 0 ? found + 1 : source.column,
    length: found >= 0 ? word.length : 1,
    hint,
    instruction: index,
    file: source.file,
    text: source.text,
  };
}

/**
 * Index of the instruction that a numeric distance leads to.
 *
 * @returns {@link NOWHERE} after noting a fault: outside of the program, or the middle of an `ld_imm64`
 */
export function numericTarget(
  insn: Instruction,
  index: number,
  field: "offset" | "imm",
  place: Layout,
  problems: AsmProblem[],
): number {
  const slot = place.slots[index]! + 1 + insn[field];
  const target = place.indices[slot];
  if (target === undefined) {
    const end = place.indices.length - 1;
    const message = `Jump to slot ${slot} leaves the program (slots 0 to ${end})`;
    problems.push(fault(insn, index, "ERR_ASM_LABEL", message, ""));
    return NOWHERE;
  }
  if (target === SECOND_HALF) {
    const message = `Jump to slot ${slot} lands in the second half of the ld_imm64 at instruction ${place.indices[slot - 1]}`;
    problems.push(fault(insn, index, "ERR_ASM_LABEL", message, ""));
  }
  return target;
}
