import { type Instruction, layout, type SourceLine } from "../asm/index.ts";
import { encodeFuncInfo, encodeLineInfo, functionInfos, lineInfos, type ProgramFunction } from "../btf/index.ts";

/** Types of a program's functions, and where its source lines lie, in BTF that the kernel has. */
export interface ProgramBtf {
  /** Descriptor of the BTF. */
  readonly fd: number;
  /** Its functions: all of them or none, in the order of the program. */
  readonly functions: readonly ProgramFunction[];
  /** Offset of a text in the BTF's strings: of file names and source lines. Without it no lines are given. */
  readonly offsetOf?: ((text: string) => number) | undefined;
}

/** What `BPF_PROG_LOAD` takes of both. */
export interface ProgramInfo {
  /** Records of 8 bytes; empty when a function has no type. */
  readonly funcInfo: Uint8Array;
  /** Records of 16 bytes; empty when a function does not begin with a line. */
  readonly lineInfo: Uint8Array;
}

/**
 * Places of functions and lines in a program, for the kernel.
 *
 * @param instructions linked: nothing moves any more
 * @param btf types and strings
 */
export function programInfo(instructions: readonly Instruction[], btf: ProgramBtf): ProgramInfo {
  const program = { instructions, functions: btf.functions };
  const funcs = functionInfos(program);
  const lines = funcs.length === 0 || btf.offsetOf === undefined ? [] : lineInfos(program);
  const none = new Uint8Array(0);
  return {
    funcInfo: funcs.length === 0 ? none : encodeFuncInfo(funcs),
    lineInfo: lines.length === 0 ? none : encodeLineInfo(lines, btf.offsetOf!),
  };
}

/**
 * Source lines by slot, for those who explain what the kernel says.
 *
 * @param instructions linked
 * @returns the line of the instruction in a slot
 */
export function sourceLines(instructions: readonly Instruction[]): (slot: number) => SourceLine | undefined {
  const { indices } = layout(instructions);
  return (slot) => {
    const index = indices[slot];
    return index === undefined || index < 0 ? undefined : instructions[index]!.meta?.source;
  };
}
