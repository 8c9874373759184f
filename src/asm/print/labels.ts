// Browser-safe.

import { distanceField, layout } from "../distance.ts";
import { type Instruction, LD_IMM64 } from "../instruction.ts";
import { PseudoSource } from "../opcodes.ts";

/** Names of places in a program, ready to be printed. */
export interface LabelPlan {
  /** Names at each instruction. */
  readonly at: readonly (readonly string[] | undefined)[];
  /** For each instruction the name of the place it refers to. */
  readonly targets: readonly (string | undefined)[];
}

/** A name as the assembler reads it back: plain where that is possible, else in quotes. */
export function labelText(name: string): string {
  // A number or a register would be read as such.
  if (/^[A-Za-z_.$][\w.$]*$/.test(name) && !/^(?:[rw][0-9]+|pc|fp|local|kfunc|runtime)$/.test(name)) return name;
  let quoted = "";
  for (const char of name) {
    const code = char.charCodeAt(0);
    if (code < 0x20 || code === 0x7f) quoted += `\\${code.toString(8).padStart(3, "0")}`;
    else quoted += char === '"' || char === "\\" ? `\\${char}` : char;
  }
  return `"${quoted}"`;
}

/**
 * Finds a name for every place in the program that is jumped to, called or pointed at: the label it has, or a new one.
 *
 * @param generate whether to make names for distances; else only names that are there already are used
 */
export function planLabels(instructions: readonly Instruction[], generate: boolean): LabelPlan {
  const count = instructions.length;
  const at: (string[] | undefined)[] = new Array<string[] | undefined>(count).fill(undefined);
  const used = new Set<string>();
  // Concatenated programs may bring the same label twice; a reference means the first.
  for (let i = 0; i < count; i++) {
    for (const name of instructions[i]!.meta?.labels ?? []) {
      const own = unused(used, name);
      used.add(own);
      const names = at[i];
      if (names === undefined) at[i] = [own];
      else names.push(own);
    }
  }
  const targets: (string | undefined)[] = new Array<string | undefined>(count).fill(undefined);
  const place = generate ? layout(instructions) : undefined;
  const unnamed: { readonly from: number; readonly to: number }[] = [];
  const functions = new Set<number>();
  for (let i = 0; i < count; i++) {
    const insn = instructions[i]!;
    const reference = insn.meta?.reference;
    if (reference !== undefined) {
      targets[i] = labelText(reference);
      continue;
    }
    if (place === undefined) continue;
    const field = distanceField(insn);
    if (field === "none") continue;
    const to = place.indices[place.slots[i]! + 1 + insn[field]];
    if (to === undefined || to < 0) continue;
    if (field === "imm" && isCallOrAddress(insn)) functions.add(to);
    unnamed.push({ from: i, to });
  }
  unnamed.sort((a, b) => a.to - b.to);
  let jumps = 0;
  let calls = 0;
  for (const { from, to } of unnamed) {
    let names = at[to];
    if (names === undefined) {
      let name: string;
      do name = functions.has(to) ? `func_${++calls}` : `L${++jumps}`;
      while (used.has(name));
      used.add(name);
      names = [name];
      at[to] = names;
    }
    targets[from] = labelText(names[0]!);
  }
  return { at: at.map((names) => names?.map(labelText)), targets };
}

function isCallOrAddress(insn: Instruction): boolean {
  return insn.opcode === LD_IMM64 ? insn.src === PseudoSource.function : (insn.opcode & 0xf0) === 0x80;
}

function unused(used: ReadonlySet<string>, wanted: string): string {
  if (!used.has(wanted)) return wanted;
  let number = 2;
  while (used.has(`${wanted}_${number}`)) number++;
  return `${wanted}_${number}`;
}
