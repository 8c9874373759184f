// Browser-safe.

import { type Instruction, slotsOf } from "../asm/index.ts";
import type { FuncInfo, LineInfo } from "./ext.ts";
import type { TypeId } from "./types.ts";

const SLOT_BYTES = 8;

/** A function of a program, and its type. */
export interface ProgramFunction {
  /** Label of its first instruction. */
  readonly label: string;
  /** Its type, a `func`; `undefined` when nothing is known of it. */
  readonly type: number | undefined;
}

/** What {@link functionInfos} and {@link lineInfos} need of a program. */
export interface ProgramCode {
  /** Its instructions, as they will be loaded. */
  readonly instructions: readonly Instruction[];
  /** Its functions, by their labels. Those whose label is not in the program (any more) do not count. */
  readonly functions: readonly ProgramFunction[];
}

/**
 * The functions of a program as `BPF_PROG_LOAD` wants them: wherever editing has moved them, in ascending order.
 *
 * @param program its instructions and functions
 * @returns offsets from the start of the program, for `encodeFuncInfo`; none when the type of one function is not
 *   known, or the program does not begin with a function, because the kernel takes all or none
 */
export function functionInfos(program: ProgramCode): FuncInfo[] {
  const infos: FuncInfo[] = [];
  for (const [insnOffset, { type }] of startsOf(program)) {
    if (type === undefined) return [];
    infos.push({ insnOffset, type: type as TypeId });
  }
  return infos[0]?.insnOffset === 0 ? infos : [];
}

/**
 * The source lines of a program as `BPF_PROG_LOAD` wants them, in ascending order: one where each function begins, and
 * wherever the line is another object than that of the instruction before. An instruction without a line of its own
 * belongs to the one before it.
 *
 * @param program its instructions and functions
 * @returns offsets from the start of the program, for `encodeLineInfo`; none when a function begins without a line,
 *   because the kernel wants one there
 */
export function lineInfos(program: ProgramCode): LineInfo[] {
  const starts = startsOf(program);
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

/** Functions by their offset in bytes, in ascending order. */
function startsOf({ instructions, functions }: ProgramCode): Map<number, ProgramFunction> {
  const byLabel = new Map(functions.map((func) => [func.label, func]));
  const starts = new Map<number, ProgramFunction>();
  let offset = 0;
  for (const insn of instructions) {
    const label = insn.meta?.labels?.find((each) => byLabel.has(each));
    if (label !== undefined) starts.set(offset, byLabel.get(label)!);
    offset += slotsOf(insn) * SLOT_BYTES;
  }
  return starts;
}
