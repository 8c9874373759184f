// Browser-safe.

import { type Instruction, slotsOf } from "../../asm/index.ts";
import type { FuncInfo, LineInfo } from "../../btf/index.ts";
import { BpfError } from "../../errors.ts";
import type { FunctionSpec } from "./spec.ts";

const SLOT_BYTES = 8;

/** What {@link functionInfos} and {@link lineInfos} need of a program. */
export interface ProgramCode {
  /** Its instructions, as they will be loaded. */
  readonly instructions: readonly Instruction[];
  /** Its functions, by their labels. */
  readonly functions: readonly FunctionSpec[];
}

/**
 * The functions of a program as `BPF_PROG_LOAD` wants them: wherever editing has moved them, in ascending order.
 *
 * @param program its instructions and functions
 * @returns offsets from the start of the program, for `encodeFuncInfo`; none when the type of one function is not
 *   known, because the kernel takes all or none
 * @throws BpfError `ERR_ASM_LABEL` when the label of a function is not in the program
 */
export function functionInfos(program: ProgramCode): FuncInfo[] {
  const starts = startsOf(program);
  const infos: FuncInfo[] = [];
  for (const [index, { type }] of program.functions.entries()) {
    if (type === undefined) return [];
    infos.push({ insnOffset: starts[index]!, type });
  }
  return infos.sort((a, b) => a.insnOffset - b.insnOffset);
}

/**
 * The source lines of a program as `BPF_PROG_LOAD` wants them, in ascending order. An instruction without a line of its
 * own belongs to the one before it.
 *
 * @param program its instructions and functions
 * @returns offsets from the start of the program, for `encodeLineInfo`; none when a function begins without a line,
 *   because the kernel wants one there
 * @throws BpfError `ERR_ASM_LABEL` when the label of a function is not in the program
 */
export function lineInfos(program: ProgramCode): LineInfo[] {
  const starts = new Set(startsOf(program));
  const infos: LineInfo[] = [];
  let offset = 0;
  let last: unknown;
  for (const insn of program.instructions) {
    const source = insn.meta?.source;
    const isStart = starts.has(offset);
    if (source === undefined) {
      if (isStart) return [];
    } else if (isStart || source !== last) {
      const { file, text, line, column } = source;
      infos.push({ insnOffset: offset, fileName: file, line: text, lineNumber: line, column });
      last = source;
    }
    offset += slotsOf(insn) * SLOT_BYTES;
  }
  return infos;
}

/** Offset of each function, in bytes. */
function startsOf({ instructions, functions }: ProgramCode): number[] {
  const places = new Map<string, number>();
  let offset = 0;
  for (const insn of instructions) {
    for (const label of insn.meta?.labels ?? []) places.set(label, offset);
    offset += slotsOf(insn) * SLOT_BYTES;
  }
  return functions.map(({ label }) => {
    const place = places.get(label);
    if (place === undefined) throw new BpfError("ERR_ASM_LABEL", `Function "${label}" is not in the program`);
    return place;
  });
}
