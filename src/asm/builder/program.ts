// Browser-safe.

import { asmError } from "../errors.ts";
import { type Instruction, withMeta } from "../instruction.ts";

/** A place in a program, made by {@link label}. */
export interface Label {
  readonly kind: "label";
  /** Name that jumps and calls use. */
  readonly name: string;
}

/** What {@link program} takes: instructions, labels, and lists of them. */
export type ProgramItem = Instruction | Label | readonly ProgramItem[];

/** Names the place of the next instruction, for jumps, calls, and as the name of a function. */
export function label(name: string): Label {
  return { kind: "label", name };
}

/**
 * Puts a program together: lists are flattened in order, labels attached to the instruction that follows.
 *
 * @param items instructions, labels, and lists of them, nested as one likes
 * @returns the instructions, not yet linked
 * @throws AsmError `ERR_ASM_LABEL` when a label stands at the very end
 *
 * @example
 * ```ts
 * const instructions = program(
 *   mov(r0, 0),
 *   jeq(r1, 0, "out"),
 *   load("u32", r0, r1, 0),
 *   label("out"),
 *   exit(),
 * );
 * const bytes = encode(link(instructions));
 * ```
 */
export function program(...items: readonly ProgramItem[]): Instruction[] {
  const out: Instruction[] = [];
  const waiting = collect(items, out, []);
  if (waiting.length > 0) {
    throw asmError("ERR_ASM_LABEL", `Label "${waiting[0]}" stands at the end, where no instruction follows`);
  }
  return out;
}

/** Appends items; gives the labels that wait for an instruction. */
function collect(items: readonly ProgramItem[], out: Instruction[], given: string[]): string[] {
  let waiting = given;
  for (let i = 0; i < items.length; i++) {
    const item = items[i]!;
    // Reading a property that others lack is several times as fast as asking whether it is there.
    const insn = item as Instruction;
    if (insn.opcode !== undefined) {
      if (waiting.length === 0) out.push(insn);
      else {
        const labels = insn.meta?.labels;
        out.push(withMeta(insn, { labels: labels === undefined ? waiting : [...waiting, ...labels] }));
        waiting = [];
      }
    } else if ("kind" in item) waiting.push(item.name);
    else waiting = collect(item as readonly ProgramItem[], out, waiting);
  }
  return waiting;
}

/**
 * A function with labels of its own: labels defined inside are renamed `name.label`, so that functions may use the
 * same ones. The function's name becomes the label of its first instruction.
 *
 * @param name what `callLocal` and `ldFunction` refer to
 * @param items see {@link program}
 *
 * @example
 * ```ts
 * program(
 *   subprogram("main", callLocal("double"), exit()),
 *   subprogram("double", mov(r0, r1), add(r0, r0), exit()),
 * );
 * ```
 */
export function subprogram(name: string, ...items: readonly ProgramItem[]): Instruction[] {
  const body = program(items);
  const local = new Set<string>();
  for (const insn of body) for (const own of insn.meta?.labels ?? []) local.add(own);
  const renamed = (word: string): string => (local.has(word) && word !== name ? `${name}.${word}` : word);
  const scoped = body.map((insn) => {
    const { labels, reference } = insn.meta ?? {};
    if (labels === undefined && (reference === undefined || !local.has(reference))) return insn;
    return withMeta(insn, {
      labels: labels?.map(renamed),
      reference: reference === undefined ? undefined : renamed(reference),
    });
  });
  return local.has(name) ? scoped : program(label(name), scoped);
}
