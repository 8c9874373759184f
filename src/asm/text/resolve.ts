// Browser-safe.

import { findHelper } from "../../kernel-abi/helpers.ts";
import { distanceField } from "../distance.ts";
import { AsmError } from "../errors.ts";
import { helperHint } from "../helpers.ts";
import { type Instruction, type InstructionMeta, LD_IMM64, slotsOf } from "../instruction.ts";
import { link } from "../link.ts";
import { CallSource, Class, JumpOp, PseudoSource } from "../opcodes.ts";
import type { Cpu } from "../stretch.ts";
import { type Assembly, type Fixup, fail, type Label, type Section, suggest, throwProblems } from "./assembly.ts";
import { shown } from "./expression.ts";

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** The code of all sections behind one another; each section knows where its own begins. */
export interface ResolvedCode {
  readonly instructions: Instruction[];
}

/**
 * Turns names into numbers, in place: the instructions were made by this assembler and nobody else has them yet.
 *
 * @param keep whether instructions keep the name they refer to
 * @throws AsmError with what was noted while reading and here
 */
export function resolve(s: Assembly, keep: boolean, cpu: Cpu | undefined): ResolvedCode {
  decideHexMoves(s);
  defineExit(s);
  const { code, positions } = joined(s.sections);
  const where: Places = { code, slots: slotTable(code) };
  let far = false;
  for (const fixup of s.fixups) far = bind(s, where, fixup) || far;
  for (const { section, index, target } of s.localJumps) {
    if (target < 0) continue;
    far = aim(where, section.start + index, section.start + target) || far;
  }
  if (where.slots !== undefined) checkMiddles(s, where, positions);
  throwProblems(s);
  nameLabels(s, where);
  // Who keeps the names links later, and link() makes long jumps itself.
  if (far && !keep) return stretched(s, where, positions, cpu);
  if (keep) {
    for (const { section, index, name } of s.fixups) {
      const insn = code[section.start + index]! as Mutable<Instruction>;
      if (distanceField(insn) !== "none") insn.meta = { ...insn.meta, reference: name };
    }
  }
  return { instructions: code };
}

/** One program out of all sections with code. */
function joined(sections: readonly Section[]): {
  readonly code: Instruction[];
  readonly positions: readonly number[];
} {
  const filled = sections.filter((section) => section.code.length > 0);
  let total = 0;
  for (const section of sections) {
    section.start = total;
    total += section.code.length;
  }
  const only = filled[0];
  if (filled.length === 1 && only !== undefined) return { code: only.code, positions: only.positions };
  const code: Instruction[] = [];
  const positions: number[] = [];
  for (const section of filled) {
    // Not push(...section.code): a call has room for some 100,000 arguments only.
    for (const insn of section.code) code.push(insn);
    for (const at of section.positions) positions.push(at);
  }
  return { code, positions };
}

interface Places {
  readonly code: Instruction[];
  /** Slot of each instruction and of the end; `undefined` when that is its index. */
  readonly slots: Int32Array | undefined;
}

/** Whether `r1 = 0x5` was meant as the kernel prints it: as an `ld_imm64`. */
function decideHexMoves(s: Assembly): void {
  if (s.hexMoves.length === 0) return;
  if (!(s.hexIsWide ?? (s.sawKernelStyle && !s.sawLlvmStyle))) return;
  for (const { section, index } of s.hexMoves) {
    const insn = section.code[index] as Mutable<Instruction> | undefined;
    // An instruction that was refused left no trace, and its index went to the next.
    if (insn?.opcode !== 0xb7) continue;
    insn.opcode = LD_IMM64;
    insn.high = insn.imm < 0 ? -1 : 0;
  }
}

function slotTable(code: readonly Instruction[]): Int32Array | undefined {
  let i = 0;
  while (i < code.length && code[i]!.opcode !== LD_IMM64) i++;
  if (i === code.length) return undefined;
  const slots = new Int32Array(code.length + 1);
  let slot = 0;
  for (i = 0; i < code.length; i++) {
    slots[i] = slot;
    slot += slotsOf(code[i]!);
  }
  slots[i] = slot;
  return slots;
}

/** In mnemonics the first `exit` defines the label `exit`, where a jump wants it and the text has no other. */
function defineExit(s: Assembly): void {
  if (!s.mnemonic || s.labels.has("exit") || !s.fixups.some((fixup) => fixup.name === "exit")) return;
  const exit = Class.jmp | JumpOp.exit;
  for (const section of s.sections) {
    const index = section.code.findIndex((insn) => insn.opcode === exit);
    if (index < 0) continue;
    s.labels.set("exit", { name: "exit", section, index, at: section.positions[index]! });
    return;
  }
}

/** Binds one name. @returns whether the jump is too far for its 16 bits */
function bind(s: Assembly, where: Places, fixup: Fixup): boolean {
  const { section, name, kind } = fixup;
  const index = section.start + fixup.index;
  const insn = where.code[index]! as Mutable<Instruction>;
  const label = s.labels.get(name);
  if (label === undefined || label.section.kind === "data") {
    bindOutside(s, insn, fixup, label);
    return false;
  }
  let fault = "";
  if (kind === "jump" && label.section !== section) fault = `is in another section, "${label.section.name}"`;
  else if (label.index >= label.section.code.length) fault = "has no instruction behind it";
  if (kind === "address" && insn.imm !== 0) {
    const message = `The address of function "${shown(name)}" cannot have a number added to it`;
    fail(s, "ERR_ASM_OPERAND", message, fixup.at, fixup.length);
    return false;
  }
  if (fault !== "") {
    fail(s, "ERR_ASM_LABEL", `Label "${shown(name)}" ${fault}`, fixup.at, fixup.length);
    return false;
  }
  if (kind === "call") insn.src = CallSource.local;
  else if (kind === "address") insn.src = PseudoSource.function;
  return aim(where, index, label.section.start + label.index);
}

/** Binds a name that is no place in the code. */
function bindOutside(s: Assembly, insn: Mutable<Instruction>, fixup: Fixup, label: Label | undefined): void {
  const { name, kind, at, length } = fixup;
  if (kind === "address" && insn.src !== PseudoSource.function) {
    // A map, a variable, or a function found later.
    insn.meta = { ...insn.meta, reference: name };
    return;
  }
  if (label !== undefined) {
    fail(s, "ERR_ASM_LABEL", `"${shown(name)}" is data, not code`, at, length);
    return;
  }
  if (kind === "call") {
    const helper = findHelper(name);
    if (helper !== undefined) {
      insn.imm = helper.number;
      return;
    }
    const known = s.kfuncs !== undefined && Object.hasOwn(s.kfuncs, name) ? s.kfuncs[name] : undefined;
    if (known !== undefined || s.symbols.get(name)?.external === true || s.allowUndefined) {
      insn.src = CallSource.kfunc;
      if (known === undefined) insn.meta = { ...insn.meta, reference: name };
      else {
        insn.imm = known.btfId;
        insn.offset = known.fdIndex ?? 0;
      }
      return;
    }
    const hint = suggest(s, name, s.labels.keys()) ?? (s.hintsLeft > 0 ? helperHint(shown(name)) : undefined);
    fail(s, "ERR_ASM_UNKNOWN_HELPER", `Unknown function or helper "${shown(name)}"`, at, length, hint);
    return;
  }
  const what = kind === "jump" ? "label" : "function";
  fail(s, "ERR_ASM_LABEL", `Unknown ${what} "${shown(name)}"`, at, length, suggest(s, name, s.labels.keys()));
}

/** Writes the distance to an instruction. @returns whether it needs more than the 16 bits that are there */
function aim(where: Places, from: number, to: number): boolean {
  const { code, slots } = where;
  const insn = code[from]! as Mutable<Instruction>;
  const distance = slots === undefined ? to - from - 1 : slots[to]! - slots[from]! - 1;
  if (distanceField(insn) === "imm") {
    insn.imm = distance;
    return false;
  }
  if ((distance << 16) >> 16 !== distance) return true;
  insn.offset = distance;
  return false;
}

/** Notes jumps into the second half of an `ld_imm64`. Jumps out of the program are the kernel's to refuse. */
function checkMiddles(s: Assembly, where: Places, positions: readonly number[]): void {
  const { code } = where;
  const slots = where.slots!;
  const middle = new Uint8Array(slots[code.length]!);
  for (let i = 0; i < code.length; i++) {
    if (slots[i + 1]! - slots[i]! === 2) middle[slots[i]! + 1] = 1;
  }
  for (let i = 0; i < code.length; i++) {
    const insn = code[i]!;
    const field = insn.opcode === LD_IMM64 ? "none" : distanceField(insn);
    if (field === "none" || insn.meta?.reference !== undefined) continue;
    const target = slots[i]! + 1 + insn[field];
    if (middle[target] !== 1) continue;
    const at = positions[i]!;
    const message = `Jump to slot ${target} lands in the second half of an ld_imm64`;
    fail(s, "ERR_ASM_LABEL", message, at, statementLength(s, at));
  }
}

function statementLength(s: Assembly, at: number): number {
  const { text } = s;
  let end = at;
  while (end < s.end && end - at < 200 && !/[\n;#]/.test(text[end]!)) end++;
  while (end > at + 1 && /\s/.test(text[end - 1]!)) end--;
  return Math.max(1, end - at);
}

/** Gives each label to the instruction behind it. */
function nameLabels(s: Assembly, where: Places): void {
  for (const { name, section, index } of s.labels.values()) {
    if (section.kind === "data" || index >= section.code.length) continue;
    const insn = where.code[section.start + index]! as Mutable<Instruction>;
    const { meta } = insn;
    const labels = meta?.labels === undefined ? [name] : [...meta.labels, name];
    insn.meta = meta === undefined ? { labels } : { ...meta, labels };
  }
}

/** Begins the names made here, which no text can contain and which are gone afterwards. */
const PRIVATE = "\0";

/** Some jump is too far: `link` knows how to make it longer, if everything is named that moves apart. */
function stretched(s: Assembly, where: Places, positions: readonly number[], cpu: Cpu | undefined): ResolvedCode {
  const named: Instruction[] = [...where.code];
  const refer = (index: number, reference: string): void => {
    const insn = named[index]!;
    if (distanceField(insn) !== "none") named[index] = { ...insn, meta: { ...insn.meta, reference } };
  };
  const define = (index: number, name: string): void => {
    const insn = named[index];
    const labels = insn?.meta?.labels ?? [];
    if (insn !== undefined && !labels.includes(name)) {
      named[index] = { ...insn, meta: { ...insn.meta, labels: [...labels, name] } };
    }
  };
  for (const { section, index, name } of s.fixups) refer(section.start + index, name);
  for (const { section, index, target } of s.localJumps) {
    const start = section.start;
    refer(start + index, `${PRIVATE}${start + target}`);
    define(start + target, `${PRIVATE}${start + target}`);
  }
  s.sections.forEach((section, i) => {
    if (section.code.length > 0) define(section.start, `${PRIVATE}section${i}`);
  });
  return forgetPrivate(s, linked(s, named, positions, cpu));
}

function linked(s: Assembly, named: Instruction[], positions: readonly number[], cpu: Cpu | undefined): Instruction[] {
  try {
    return link(named, { cpu });
  } catch (error) {
    if (!(error instanceof AsmError)) throw error;
    for (const { code, message, hint, instruction } of error.problems) {
      const at = instruction === undefined ? 0 : positions[instruction]!;
      fail(s, code, message.replaceAll(PRIVATE, ""), at, statementLength(s, at), hint);
    }
    throwProblems(s);
    throw error;
  }
}

function forgetPrivate(s: Assembly, instructions: Instruction[]): ResolvedCode {
  const starts = new Map<string, number>();
  for (let i = 0; i < instructions.length; i++) {
    const insn = instructions[i]!;
    const labels = insn.meta?.labels;
    if (labels === undefined || !labels.some((name) => name.startsWith(PRIVATE))) continue;
    for (const name of labels) if (name.startsWith(PRIVATE)) starts.set(name.slice(PRIVATE.length), i);
    const kept = labels.filter((name) => !name.startsWith(PRIVATE));
    instructions[i] = { ...insn, meta: cleared({ ...insn.meta, labels: kept.length === 0 ? undefined : kept }) };
  }
  let next = instructions.length;
  for (let i = s.sections.length - 1; i >= 0; i--) {
    next = starts.get(`section${i}`) ?? next;
    s.sections[i]!.start = next;
  }
  return { instructions };
}

function cleared(meta: InstructionMeta): InstructionMeta | undefined {
  return Object.values(meta).every((value) => value === undefined) ? undefined : meta;
}
