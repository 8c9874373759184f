// Browser-safe.

import { Class, distanceField, type Instruction, JumpOp, LD_IMM64, layout, withMeta } from "../../asm/index.ts";
import { elfError } from "../errors.ts";
import type { FunctionSpec } from "./spec.ts";

const CALL = Class.jmp | JumpOp.call;

/** The functions of a program. */
export interface FoundFunctions {
  /** The program, in which every call and every address of a function names a label. */
  readonly instructions: Instruction[];
  /** Index of the first instruction of each function, and its label: in ascending order, the program's own first. */
  readonly starts: readonly (readonly [index: number, label: string])[];
}

/**
 * Finds where the functions of a program begin: at its start, at the labels of those that are known, and wherever a call
 * or an address leads.
 *
 * @param program its name, instructions, and the functions that are known
 * @throws ElfError when a distance leads out of the program
 */
export function findFunctions(program: {
  readonly name: string;
  readonly instructions: readonly Instruction[];
  readonly functions: readonly FunctionSpec[];
}): FoundFunctions {
  const instructions = program.instructions.slice();
  const places = new Map<string, number>();
  for (const [i, { meta }] of instructions.entries()) for (const label of meta?.labels ?? []) places.set(label, i);
  const starts = new Map<number, string>();
  const add = (index: number | undefined, label: string): string => {
    if (index === undefined) return label;
    const known = starts.get(index) ?? label;
    starts.set(index, known);
    return known;
  };
  add(0, program.functions[0]?.label ?? program.name);
  for (const { label } of program.functions) add(places.get(label), label);
  const place = layout(instructions);
  for (const [i, insn] of instructions.entries()) {
    if (!isCallOrAddress(insn)) continue;
    const reference = insn.meta?.reference;
    if (reference !== undefined) {
      const label = add(places.get(reference), reference);
      if (label !== reference) instructions[i] = withMeta(insn, { reference: label });
      continue;
    }
    // A distance: the function gets a name, so that it may be written elsewhere.
    const index = place.indices[place.slots[i]! + 1 + insn.imm] ?? -1;
    if (index < 0) {
      const message = `Instruction ${i} refers to a function outside of the program`;
      throw elfError("ERR_ELF_INVALID", message, `program "${program.name}"`);
    }
    const label = add(index, instructions[index]!.meta?.labels?.[0] ?? `${program.name}.${index}`);
    instructions[i] = withMeta({ ...insn, imm: 0 }, { reference: label });
  }
  return { instructions, starts: [...starts].sort((a, b) => a[0] - b[0]) };
}

/** Whether an instruction calls a function of the program, or takes its address. */
function isCallOrAddress(insn: Instruction): boolean {
  return distanceField(insn) === "imm" && (insn.opcode === CALL || insn.opcode === LD_IMM64);
}
