import { type Instruction, layout, type SourceLine } from "../asm/index.ts";
import { encodeFuncInfo, encodeLineInfo, type FuncInfo, type LineInfo, type TypeId } from "../btf/index.ts";

/** A function of a program, and its type in BTF. */
export interface ProgramFunction {
  /** Label of its first instruction. */
  readonly label: string;
  /** Its type, a `func`; `undefined` when nothing is known of it. */
  readonly type: number | undefined;
}

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
 * Places of functions and lines in a program, for the kernel. A line begins where its object is another one than that
 * of the instruction before, and at the start of each function.
 *
 * @param instructions linked: nothing moves any more
 * @param btf types and strings
 */
export function programInfo(instructions: readonly Instruction[], btf: ProgramBtf): ProgramInfo {
  const { slots } = layout(instructions);
  const functions = new Map(btf.functions.map((func) => [func.label, func.type]));
  const funcs: FuncInfo[] = [];
  const lines: LineInfo[] = [];
  let typed = true;
  let lined = btf.offsetOf !== undefined;
  let line: SourceLine | undefined;
  for (const [index, { meta }] of instructions.entries()) {
    if (meta === undefined) continue;
    const insnOffset = 8 * slots[index]!;
    const label = meta.labels?.find((each) => functions.has(each));
    if (label !== undefined) {
      const type = functions.get(label);
      if (type === undefined) typed = false;
      else funcs.push({ insnOffset, type: type as TypeId });
      line = undefined;
      // The kernel wants a line at the start of every function, or no lines at all.
      if (meta.source === undefined) lined = false;
    }
    const { source } = meta;
    if (source === undefined || source === line) continue;
    line = source;
    lines.push({
      insnOffset,
      fileName: source.file,
      line: source.text,
      lineNumber: source.line,
      column: source.column,
    });
  }
  const none = new Uint8Array(0);
  const complete = typed && funcs.length > 0;
  return {
    funcInfo: complete ? encodeFuncInfo(funcs) : none,
    lineInfo: complete && lined && lines.length > 0 ? encodeLineInfo(lines, btf.offsetOf!) : none,
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
