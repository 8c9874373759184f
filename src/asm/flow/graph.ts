// Browser-safe.

import { collectLabels, distanceField, fault, type Layout, layout, NOWHERE, numericTarget } from "../distance.ts";
import { AsmError, type AsmProblem } from "../errors.ts";
import { type Instruction, LD_IMM64 } from "../instruction.ts";
import { CallSource, Class, JumpOp, PseudoSource, Source } from "../opcodes.ts";

/** One way out of a basic block. */
export type Edge =
  /** Into the next block: no jump, or one that is not taken. `to` is the index of a block. */
  | { readonly kind: "fallthrough"; readonly to: number }
  /** A `goto`, or a conditional jump that is taken. */
  | { readonly kind: "taken"; readonly to: number }
  /** A `may_goto` whose budget is spent. */
  | { readonly kind: "may-goto"; readonly to: number }
  /** A `gotox`, as far as its targets are known. */
  | { readonly kind: "indirect"; readonly to: number }
  /** Return from the function or program. */
  | { readonly kind: "exit" }
  /** Past the last instruction of the program, which no kernel accepts. */
  | { readonly kind: "off-end" };

/** Instructions that run one after the other, entered only at the first and left only at the last. */
export interface BasicBlock {
  /** Its place in `blocks`. */
  readonly index: number;
  /** Index of its first instruction. */
  readonly start: number;
  /** Index behind its last instruction. */
  readonly end: number;
  /** Index of its function. */
  readonly function: number;
  /** Ways out; two of them may lead to the same block. */
  readonly successors: readonly Edge[];
  /** Blocks from which it is entered, each once. */
  readonly predecessors: readonly number[];
  /** Whether anything leads here from the start of the program, over jumps, calls and function addresses. */
  readonly reachable: boolean;
}

/** A function: the instructions from its entry up to the next function's, as the kernel splits a program. */
export interface FunctionFlow {
  /** Its place in `functions`. */
  readonly index: number;
  /** First label of its first instruction. */
  readonly name: string | undefined;
  /** Index of its first instruction. */
  readonly start: number;
  /** Index behind its last instruction. */
  readonly end: number;
  /** Index of its first block, the entry. */
  readonly firstBlock: number;
  /** Index behind its last block. */
  readonly endBlock: number;
  /** Whether the program can come here. */
  readonly reachable: boolean;
}

/** A function refers to another. */
export interface CallEdge {
  /** `call`: a local call. `address`: its address is taken, for a helper that calls back. */
  readonly kind: "call" | "address";
  /** Index of the instruction. */
  readonly instruction: number;
  /** Index of the function that holds the instruction. */
  readonly from: number;
  /** Index of the function referred to. */
  readonly to: number;
}

/** The shape of a program: plain data, made by {@link controlFlow}. */
export interface ControlFlow {
  /** The program, as it was given. */
  readonly instructions: readonly Instruction[];
  /** Basic blocks in order of the program. */
  readonly blocks: readonly BasicBlock[];
  /** Functions in order of the program; the first is where it starts. */
  readonly functions: readonly FunctionFlow[];
  /** Local calls and function addresses in order of the program. */
  readonly calls: readonly CallEdge[];
  /** Block of each instruction. */
  readonly blockOf: Int32Array;
}

/** Options of {@link controlFlow}. */
export interface ControlFlowOptions {
  /**
   * Instructions, besides the first, at which something outside enters: an ELF section with several programs. They
   * start functions and count as reachable.
   */
  readonly entries?: readonly number[] | undefined;
  /** Where a `gotox` may lead: indices of instructions, by the index of the `gotox`. The program does not say. */
  readonly indirect?: ReadonlyMap<number, readonly number[]> | undefined;
}

/**
 * Finds basic blocks, edges, functions and calls. Takes linked programs and such that still have labels; references to
 * maps and kernel functions do not matter. Time grows with the length of the program.
 *
 * @throws AsmError with every jump that leads nowhere; RangeError for an entry outside of the program
 *
 * @example
 * ```ts
 * const flow = controlFlow(program(jeq(r1, 0, "out"), mov(r0, 1), label("out"), exit()));
 * flow.blocks.map((block) => [block.start, block.end]); // [[0, 1], [1, 2], [2, 3]]
 * ```
 */
export function controlFlow(instructions: readonly Instruction[], options: ControlFlowOptions = {}): ControlFlow {
  const count = instructions.length;
  const targets = findTargets(instructions);
  const entries = [0, ...(options.entries ?? [])];
  const indirect = options.indirect ?? new Map<number, readonly number[]>();
  for (const index of [...entries.slice(1), ...[...indirect.values()].flat()]) {
    if (!(Number.isInteger(index) && index >= 0 && index < count)) {
      throw new RangeError(`Instruction ${index} is not in 0 to ${count - 1}`);
    }
  }

  const startsFunction = new Uint8Array(count);
  const startsBlock = new Uint8Array(count + 1);
  for (const index of entries) startsFunction[index] = startsBlock[index] = 1;
  for (const list of indirect.values()) for (const index of list) startsBlock[index] = 1;
  for (let i = 0; i < count; i++) {
    const insn = instructions[i]!;
    const target = targets[i]!;
    if (target !== NOWHERE) {
      startsBlock[target] = 1;
      if (refersToFunction(insn)) startsFunction[target] = 1;
    }
    if (endsBlock(insn)) startsBlock[i + 1] = 1;
  }

  const blockOf = new Int32Array(count);
  const starts: number[] = [];
  const functionStarts: number[] = [];
  const functionOf: number[] = []; // by block
  for (let i = 0; i < count; i++) {
    if (startsBlock[i] === 1) {
      if (startsFunction[i] === 1) functionStarts.push(i);
      starts.push(i);
      functionOf.push(functionStarts.length - 1);
    }
    blockOf[i] = starts.length - 1;
  }

  const successors = starts.map((_, block): Edge[] => {
    const last = (starts[block + 1] ?? count) - 1;
    return edgesOf(instructions[last]!, last, targets, blockOf, count, indirect);
  });
  const predecessors = starts.map((): number[] => []);
  for (let block = 0; block < starts.length; block++) {
    for (const edge of successors[block]!) {
      if (!("to" in edge)) continue;
      const list = predecessors[edge.to]!;
      // Blocks come in order, so that a second edge from the same block would be its neighbour.
      if (list.at(-1) !== block) list.push(block);
    }
  }

  const calls: CallEdge[] = [];
  for (let i = 0; i < count; i++) {
    const insn = instructions[i]!;
    if (targets[i] === NOWHERE || !refersToFunction(insn)) continue;
    calls.push({
      kind: insn.opcode === LD_IMM64 ? "address" : "call",
      instruction: i,
      from: functionOf[blockOf[i]!]!,
      to: functionOf[blockOf[targets[i]!]!]!,
    });
  }
  const reachable = reach(successors, calls, blockOf, functionStarts, entries);

  const blocks = starts.map(
    (start, index): BasicBlock => ({
      index,
      start,
      end: starts[index + 1] ?? count,
      function: functionOf[index]!,
      successors: successors[index]!,
      predecessors: predecessors[index]!,
      reachable: reachable[index] === 1,
    }),
  );
  const functions = functionStarts.map((start, index): FunctionFlow => {
    const end = functionStarts[index + 1] ?? count;
    return {
      index,
      name: instructions[start]!.meta?.labels?.[0],
      start,
      end,
      firstBlock: blockOf[start]!,
      endBlock: end === count ? starts.length : blockOf[end]!,
      reachable: reachable[blockOf[start]!] === 1,
    };
  });
  return { instructions, blocks, functions, calls, blockOf };
}

/** Index of the instruction that each instruction refers to, by label or by number. */
function findTargets(instructions: readonly Instruction[]): Int32Array {
  const problems: AsmProblem[] = [];
  const labels = collectLabels(instructions, problems);
  const targets = new Int32Array(instructions.length).fill(NOWHERE);
  let place: Layout | undefined;
  for (let i = 0; i < instructions.length; i++) {
    const insn = instructions[i]!;
    const reference = insn.meta?.reference;
    const field = distanceField(insn);
    if (reference !== undefined) {
      const target = labels.get(reference);
      // A plain ld_imm64 may name a function, as link() has it; else its name is a map's.
      const plain = insn.opcode === LD_IMM64 && insn.src === PseudoSource.immediate;
      if (target !== undefined && (field !== "none" || plain)) targets[i] = target;
      else if (field !== "none") {
        problems.push(fault(insn, i, "ERR_ASM_LABEL", `Unknown label "${reference}"`, reference));
      }
    } else if (field !== "none") {
      place ??= layout(instructions);
      targets[i] = numericTarget(insn, i, field, place, problems);
    }
  }
  if (problems.length > 0) throw new AsmError(problems);
  return targets;
}

function refersToFunction(insn: Instruction): boolean {
  if (insn.opcode === LD_IMM64) return true;
  return insn.opcode === (Class.jmp | JumpOp.call) && insn.src === CallSource.local;
}

/** Whether control may go elsewhere than to the next instruction; calls come back and do not count. */
function endsBlock(insn: Instruction): boolean {
  const { opcode } = insn;
  if (opcode === (Class.jmp | JumpOp.exit) || opcode === GOTOX) return true;
  return opcode !== LD_IMM64 && !isCall(opcode) && distanceField(insn) !== "none";
}

const GOTOX = Class.jmp | JumpOp.ja | Source.x;

function isCall(opcode: number): boolean {
  return opcode === (Class.jmp | JumpOp.call);
}

function edgesOf(
  insn: Instruction,
  index: number,
  targets: Int32Array,
  blockOf: Int32Array,
  count: number,
  indirect: ReadonlyMap<number, readonly number[]>,
): Edge[] {
  const { opcode } = insn;
  if (opcode === (Class.jmp | JumpOp.exit)) return [{ kind: "exit" }];
  if (opcode === GOTOX) {
    const places = new Set((indirect.get(index) ?? []).map((target) => blockOf[target]!));
    return [...places].map((to): Edge => ({ kind: "indirect", to }));
  }
  const next: Edge = index + 1 < count ? { kind: "fallthrough", to: blockOf[index + 1]! } : { kind: "off-end" };
  if (!endsBlock(insn)) return [next];
  const to = blockOf[targets[index]!]!;
  if ((opcode & 0xf0) === JumpOp.ja) return [{ kind: "taken", to }];
  return [next, { kind: (opcode & 0xf0) === JumpOp.jcond ? "may-goto" : "taken", to }];
}

/** Marks the blocks that control can come to. */
function reach(
  successors: readonly (readonly Edge[])[],
  calls: readonly CallEdge[],
  blockOf: Int32Array,
  functionStarts: readonly number[],
  entries: readonly number[],
): Uint8Array {
  const seen = new Uint8Array(successors.length);
  if (successors.length === 0) return seen;
  const callees = new Map<number, number[]>(); // block -> entry blocks of the functions it refers to
  for (const edge of calls) {
    const block = blockOf[edge.instruction]!;
    const entry = blockOf[functionStarts[edge.to]!]!;
    const list = callees.get(block);
    if (list === undefined) callees.set(block, [entry]);
    else list.push(entry);
  }
  const work: number[] = [];
  const visit = (block: number): void => {
    if (seen[block] === 1) return;
    seen[block] = 1;
    work.push(block);
  };
  for (const entry of entries) visit(blockOf[entry]!);
  for (let block = work.pop(); block !== undefined; block = work.pop()) {
    for (const edge of successors[block]!) if ("to" in edge) visit(edge.to);
    for (const entry of callees.get(block) ?? []) visit(entry);
  }
  return seen;
}
