// Browser-safe.

import { distanceField, fault, layout, NOWHERE, numericTarget } from "./distance.ts";
import { AsmError, type AsmProblem } from "./errors.ts";
import { type Instruction, slotsOf, withMeta } from "./instruction.ts";
import { type Cpu, stretch } from "./stretch.ts";

/** Options of the functions that edit a program. */
export interface EditOptions {
  /** Whether a jump that an edit makes too far may become a `gotol`, see `link`. Default `v4`. */
  readonly cpu?: Cpu | undefined;
}

/** Options of {@link insertAt}. */
export interface InsertOptions extends EditOptions {
  /**
   * What happens to jumps, calls and labels at the instruction before which something is inserted. `false` (default):
   * they stay with that instruction and pass the inserted ones by. `true`: they move to the first inserted one, so that
   * every way to the instruction leads through it.
   */
  readonly catchJumps?: boolean | undefined;
}

/**
 * Inserts instructions. Numeric jumps and calls of the program still lead to the instructions they led to, labels,
 * references, source lines, maps and relocations stay with theirs.
 *
 * @param instructions the program; not changed
 * @param index before which instruction, 0 to length; counts instructions, not slots
 * @param inserted a fragment of its own: its numeric jumps must stay inside, or lead to its end; to leave it, use labels
 * @param options who reaches the inserted instructions
 * @returns a new array
 * @throws RangeError when `index` lies outside; AsmError when a numeric jump leads nowhere
 *
 * @example
 * ```ts
 * const instructions = [mov(r0, 0), exit()];
 * insertAt(instructions, 0, [mov(r6, r1)]).length; // 3
 * ```
 */
export function insertAt(
  instructions: readonly Instruction[],
  index: number,
  inserted: readonly Instruction[],
  options: InsertOptions = {},
): Instruction[] {
  checkIndex(index, instructions.length, "Index");
  return splice(instructions, index, 0, inserted, options.catchJumps ?? false, options);
}

/**
 * Removes instructions. What led to a removed instruction leads to the next one that is left, and so do its labels.
 *
 * @param instructions the program; not changed
 * @param index the first to remove; counts instructions, not slots
 * @param count how many; default 1
 * @returns a new array
 * @throws RangeError when the range lies outside; AsmError `ERR_ASM_LABEL` when something leads to a removed
 * instruction and none follows
 */
export function removeAt(
  instructions: readonly Instruction[],
  index: number,
  count = 1,
  options: EditOptions = {},
): Instruction[] {
  checkIndex(index, instructions.length, "Index");
  checkIndex(count, instructions.length - index, "Count");
  return splice(instructions, index, count, [], true, options);
}

/**
 * Replaces instructions. What led to the first replaced instruction leads to the first of the replacement, which also
 * takes its labels; instructions without a source line of their own take that of the first replaced one.
 *
 * @param instructions the program; not changed
 * @param index the first to replace; counts instructions, not slots
 * @param count how many
 * @param replacement see {@link insertAt}; when empty, this is {@link removeAt}
 * @returns a new array
 * @throws RangeError when the range lies outside; AsmError `ERR_ASM_LABEL` when something outside leads to a replaced
 * instruction behind the first: no place in the replacement answers to it
 */
export function replaceAt(
  instructions: readonly Instruction[],
  index: number,
  count: number,
  replacement: readonly Instruction[],
  options: EditOptions = {},
): Instruction[] {
  checkIndex(index, instructions.length, "Index");
  checkIndex(count, instructions.length - index, "Count");
  if (replacement.length === 0) return splice(instructions, index, count, [], true, options);
  const source = instructions[index]?.meta?.source;
  const lined = replacement.map((insn) =>
    count === 0 || source === undefined || insn.meta?.source !== undefined ? insn : withMeta(insn, { source }),
  );
  return splice(instructions, index, count, lined, true, options);
}

/**
 * Puts programs one behind the other. Distances are relative, so that nothing has to be adjusted; labels must differ,
 * which `link` checks.
 *
 * @returns a new array
 */
export function concat(...programs: readonly (readonly Instruction[])[]): Instruction[] {
  return programs.flat();
}

/**
 * Rewrites a whole program in one go: the way to make many edits, since each {@link insertAt} looks at every
 * instruction. What led to an instruction leads to the first one that took its place, or, where nothing did, to the
 * next; labels move likewise.
 *
 * @param instructions the program; not changed
 * @param rewriter gives what takes the place of an instruction: itself, others, or none. Numeric jumps of new
 * instructions must stay inside their list, or lead to its end
 * @returns a new array
 * @throws AsmError when something leads to a removed instruction and none follows, or a numeric jump leads nowhere
 *
 * @example Count executed instructions in r9
 * ```ts
 * const instructions = [mov(r0, 0), exit()];
 * rewrite(instructions, (insn) => [add(r9, 1), insn]).length; // 4
 * ```
 */
export function rewrite(
  instructions: readonly Instruction[],
  rewriter: (insn: Instruction, index: number) => Instruction | readonly Instruction[],
  options: EditOptions = {},
): Instruction[] {
  const parts = instructions.map((insn, index): Part => {
    const piece = rewriter(insn, index);
    return { from: index, piece: "opcode" in piece ? [piece] : piece };
  });
  return rebuild(instructions, parts, options);
}

function checkIndex(value: number, limit: number, what: string): void {
  if (!(Number.isInteger(value) && value >= 0 && value <= limit)) {
    throw new RangeError(`${what} ${value} is not in 0 to ${limit}`);
  }
}

/** A stretch of the edited program, and the instruction of the old one whose place it takes. */
interface Part {
  /** Index in the old program; {@link NOWHERE} for what nothing leads to. */
  readonly from: number;
  readonly piece: readonly Instruction[];
  /** Whether it is an error to lead here: the middle of a replaced range. */
  readonly closed?: boolean;
}

function splice(
  instructions: readonly Instruction[],
  index: number,
  count: number,
  inserted: readonly Instruction[],
  catchJumps: boolean,
  options: EditOptions,
): Instruction[] {
  const parts: Part[] = [];
  for (let i = 0; i < instructions.length; i++) {
    const insn = instructions[i]!;
    if (i < index || i >= index + Math.max(1, count)) parts.push({ from: i, piece: [insn] });
    else if (i > index) parts.push({ from: i, piece: [], closed: inserted.length > 0 });
    else if (count > 0) parts.push({ from: i, piece: inserted });
    else if (catchJumps) parts.push({ from: i, piece: [...inserted, insn] });
    else parts.push({ from: NOWHERE, piece: inserted }, { from: i, piece: [insn] });
  }
  if (index === instructions.length) parts.push({ from: NOWHERE, piece: inserted });
  return rebuild(instructions, parts, options);
}

/** Puts the parts together, moves labels to where their place went, and writes the numeric distances anew. */
function rebuild(instructions: readonly Instruction[], parts: readonly Part[], options: EditOptions): Instruction[] {
  const problems: AsmProblem[] = [];
  const old = layout(instructions);
  const out: Instruction[] = [];
  const entries = new Int32Array(instructions.length); // old index -> new index
  const closed = new Set<number>();
  const closedLabels: string[] = [];
  // Old index that an instruction kept from the old program leads to; new index for what is new, see `inside`.
  const oldTargets: [at: number, target: number][] = [];
  const newTargets: [at: number, target: number][] = [];
  let waiting: string[] = [];
  for (const { from, piece, closed: isClosed } of parts) {
    const original = from === NOWHERE ? undefined : instructions[from]!;
    if (original !== undefined) {
      entries[from] = out.length;
      if (isClosed) closed.add(from);
      const labels = original.meta?.labels;
      if (labels !== undefined) (isClosed ? closedLabels : waiting).push(...labels);
    }
    const start = out.length;
    for (let k = 0; k < piece.length; k++) {
      const insn = piece[k]!;
      const field = insn.meta?.reference === undefined ? distanceField(insn) : "none";
      if (field !== "none") {
        // One that takes the place of one counts as its predecessor did; in a longer list only the original itself.
        if (original !== undefined && (insn === original || piece.length === 1)) {
          const target = numericTarget(insn, from, field, old, problems);
          if (target !== NOWHERE) oldTargets.push([out.length, target]);
        } else {
          const target = inside(insn, piece, k, field);
          if (target !== NOWHERE) newTargets.push([out.length, start + target]);
          else {
            const message = `Jump by ${insn[field]} slots leaves the new instructions`;
            problems.push(fault(insn, out.length, "ERR_ASM_LABEL", message, "", "Use a label to leave them"));
          }
        }
      }
      out.push(relabelled(insn, waiting, k === 0));
      if (k === piece.length - 1) waiting = [];
    }
  }

  const targets = new Int32Array(out.length).fill(NOWHERE);
  for (const [at, target] of oldTargets) {
    const place = entries[target]!;
    if (closed.has(target) || place === out.length) {
      const what = closed.has(target) ? "the middle of the replaced instructions" : "removed instructions at the end";
      const message = `Jump leads to instruction ${target}, in ${what}`;
      problems.push(fault(out[at]!, at, "ERR_ASM_LABEL", message, ""));
    } else targets[at] = place;
  }
  for (const [at, target] of newTargets) {
    if (target < out.length) targets[at] = target;
    else problems.push(fault(out[at]!, at, "ERR_ASM_LABEL", "Jump leads to the end, where no instruction follows", ""));
  }
  const lost = new Set([...closedLabels, ...waiting]);
  if (lost.size > 0) {
    for (let i = 0; i < out.length; i++) {
      const name = out[i]!.meta?.reference;
      if (name === undefined || !lost.has(name)) continue;
      problems.push(fault(out[i]!, i, "ERR_ASM_LABEL", `The edit removes the place of label "${name}"`, name));
    }
  }
  if (problems.length > 0) throw new AsmError(problems);
  const result = stretch(out, targets, options.cpu ?? "v4", problems);
  if (problems.length > 0) throw new AsmError(problems);
  return result;
}

/** The first instruction of a piece takes the labels that wait; copies of them further on go. */
function relabelled(insn: Instruction, waiting: readonly string[], first: boolean): Instruction {
  if (waiting.length === 0) return insn;
  const own = insn.meta?.labels;
  if (first) {
    const labels = [...new Set([...waiting, ...(own ?? [])])];
    return own !== undefined && own.length === labels.length ? insn : withMeta(insn, { labels });
  }
  if (own === undefined) return insn;
  const rest = own.filter((name) => !waiting.includes(name));
  return rest.length === own.length ? insn : withMeta(insn, { labels: rest.length > 0 ? rest : undefined });
}

/** Index in a piece that a numeric distance of its k-th instruction leads to, its length for the end. */
function inside(insn: Instruction, piece: readonly Instruction[], k: number, field: "offset" | "imm"): number {
  let distance = insn[field];
  let at = k;
  if (distance < 0) {
    // The distance counts from the slot behind the first slot of this instruction.
    for (distance = -distance - 1; distance > 0 && at > 0; ) distance -= slotsOf(piece[--at]!);
    return distance === 0 ? at : NOWHERE;
  }
  // From there, an ld_imm64 still has its second slot to go.
  distance -= slotsOf(insn) - 1;
  at++;
  while (distance > 0 && at < piece.length) distance -= slotsOf(piece[at++]!);
  return distance === 0 ? at : NOWHERE;
}
