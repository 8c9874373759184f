// Browser-safe.

import { closest } from "../bytes/index.ts";
import type { BpfErrorCode } from "../errors.ts";
import { AsmError, type AsmProblem, asmProblem } from "./errors.ts";
import {
  type Instruction,
  type InstructionMeta,
  instruction,
  LD_IMM64,
  type MapReference,
  slotsOf,
} from "./instruction.ts";
import { CallSource, Class, JumpOp, PseudoSource, Source } from "./opcodes.ts";

/** Which instruction set a program may use: the levels of `clang -mcpu`. */
export type Cpu = "v1" | "v2" | "v3" | "v4";

/** A kernel function as a call refers to it. */
export interface KfuncReference {
  /** BTF id of the function. */
  readonly btfId: number;
  /** Which BTF: 0 vmlinux, else index into the array of descriptors given at load. */
  readonly fdIndex?: number | undefined;
}

/** Options of {@link link}. */
export interface LinkOptions {
  /** Whether jumps that need more than 16 bits may become `gotol`, which is part of `v4` (Linux 6.6). Default `v4`. */
  readonly cpu?: Cpu | undefined;
  /** Maps by the names that instructions refer to: handles or descriptor numbers. */
  readonly maps?: Readonly<Record<string, MapReference | number>> | undefined;
  /** Kernel functions by the names that calls refer to. */
  readonly kfuncs?: Readonly<Record<string, KfuncReference>> | undefined;
}

/** Where the distance of an instruction stands: nowhere, in `offset`, or in `imm`. */
export type DistanceField = "none" | "offset" | "imm";

/**
 * Where an instruction keeps the distance to another instruction of the program.
 *
 * @returns `offset` for jumps, `imm` for `gotol`, local calls and function addresses
 */
export function distanceField(insn: Instruction): DistanceField {
  const { opcode } = insn;
  if (opcode === LD_IMM64) return insn.src === PseudoSource.function ? "imm" : "none";
  const c = opcode & 7;
  if (c !== Class.jmp && c !== Class.jmp32) return "none";
  switch (opcode & 0xf0) {
    case JumpOp.exit:
      return "none";
    case JumpOp.call:
      return opcode === (Class.jmp | JumpOp.call) && insn.src === CallSource.local ? "imm" : "none";
    case JumpOp.ja:
      if ((opcode & Source.x) !== 0) return "none";
      return c === Class.jmp ? "offset" : "imm";
    case JumpOp.jcond:
      return opcode === (Class.jmp | JumpOp.jcond) ? "offset" : "none";
    case 0xf0:
      return "none";
    default:
      return "offset";
  }
}

/** No instruction: an entry of a slot table for the second half of an `ld_imm64`. */
const SECOND_HALF = -1;

/** Where every instruction stands: slots and indices, each by the other. */
export interface Layout {
  /** Slot of each instruction, and the number of slots as last element. */
  readonly slots: Int32Array;
  /** Index of the instruction at each slot; -1 for the second half of an `ld_imm64`. */
  readonly indices: Int32Array;
}

/** Counts the slots of a program. */
export function layout(instructions: readonly Instruction[]): Layout {
  const count = instructions.length;
  const slots = new Int32Array(count + 1);
  let at = 0;
  for (let i = 0; i < count; i++) {
    slots[i] = at;
    at += slotsOf(instructions[i]!);
  }
  slots[count] = at;
  const indices = new Int32Array(at).fill(SECOND_HALF);
  for (let i = 0; i < count; i++) indices[slots[i]!] = i;
  return { slots, indices };
}

/**
 * Turns names into numbers: labels into distances, maps into descriptors, kernel functions into BTF ids. A jump too far
 * for its 16 bits becomes a `gotol`, a conditional one the opposite jump over a `gotol`. Nothing else changes: order,
 * labels, source lines and relocations stay; a `reference` is gone once it is resolved.
 *
 * An `ld_imm64` with source 0 and a reference becomes a map address when the name is among `maps`, else the address of
 * the function of that name.
 *
 * @param instructions from the builder, the assembler or an object file
 * @param options maps and kernel functions by name; the instruction set
 * @returns a new array; unchanged instructions are the same objects
 * @throws AsmError with every fault found: `ERR_ASM_LABEL` for a label defined twice or nowhere, or a jump outside of
 * the program or into the middle of an `ld_imm64`; `ERR_ASM_UNRESOLVED` for an unknown map or kernel function;
 * `ERR_ASM_RANGE` for a jump that is too far
 *
 * @example
 * ```ts
 * const linked = link(program(ldMap(r1, "counts"), call("map_lookup_elem"), exit()), { maps: { counts: 5 } });
 * ```
 */
export function link(instructions: readonly Instruction[], options: LinkOptions = {}): Instruction[] {
  const place = layout(instructions);
  const problems: AsmProblem[] = [];
  const labels = collectLabels(instructions, problems);
  const out = instructions.slice();
  // Index of the instruction each instruction jumps to, calls or points at; NOWHERE for all others.
  const targets = new Int32Array(out.length).fill(NOWHERE);
  let symbolic = false;
  for (let i = 0; i < out.length; i++) {
    const insn = out[i]!;
    const field = distanceField(insn);
    const meta = insn.meta;
    if (meta === undefined && field === "none") continue;
    if (meta?.reference !== undefined) {
      const found = resolve(insn, i, meta.reference, labels, options, problems);
      if (typeof found === "number") {
        targets[i] = found;
        symbolic = true;
        if (field === "none") out[i] = { ...insn, src: PseudoSource.function };
      } else if (found !== undefined) out[i] = found;
    } else if (meta?.map !== undefined && insn.opcode === LD_IMM64) {
      if (insn.imm !== meta.map.fd) out[i] = { ...insn, imm: meta.map.fd };
    } else if (field !== "none") {
      targets[i] = numericTarget(insn, i, field, place, problems);
    }
  }
  if (problems.length > 0) throw new AsmError(problems);
  if (!symbolic) return out; // numeric distances are right as they are
  const stretched = stretch(out, targets, options.cpu ?? "v4", problems);
  if (problems.length > 0) throw new AsmError(problems);
  return stretched;
}

/** No target. */
const NOWHERE = -1;

function collectLabels(instructions: readonly Instruction[], problems: AsmProblem[]): Map<string, number> {
  const labels = new Map<string, number>();
  for (let i = 0; i < instructions.length; i++) {
    const insn = instructions[i]!;
    for (const name of insn.meta?.labels ?? []) {
      const first = labels.get(name);
      if (first === undefined) labels.set(name, i);
      else
        problems.push(
          fault(insn, i, "ERR_ASM_LABEL", `Label "${name}" is already defined at instruction ${first}`, name),
        );
    }
  }
  return labels;
}

/** A fault of one instruction, with the line of source it came from where that is known. */
function fault(
  insn: Instruction,
  index: number,
  code: BpfErrorCode,
  message: string,
  word: string,
  hint?: string,
): AsmProblem {
  const source = insn.meta?.source;
  if (source === undefined || source.line === 0) return asmProblem(code, message, { instruction: index, hint });
  const found = source.text.indexOf(word, Math.max(0, source.column - 1));
  return {
    code,
    message,
    line: source.line,
    column: found >= 0 ? found + 1 : source.column,
    length: found >= 0 ? word.length : 1,
    hint,
    instruction: index,
    file: source.file,
    text: source.text,
  };
}

/**
 * Finds what a reference means.
 *
 * @returns index of the instruction it names, or the finished instruction, or `undefined` after noting a fault
 */
function resolve(
  insn: Instruction,
  index: number,
  name: string,
  labels: ReadonlyMap<string, number>,
  options: LinkOptions,
  problems: AsmProblem[],
): number | Instruction | undefined {
  const { opcode, src } = insn;
  if (opcode === LD_IMM64 && src !== PseudoSource.function) {
    const map = own(options.maps, name);
    if (map !== undefined && src !== PseudoSource.btfId) {
      const source = src === PseudoSource.immediate ? PseudoSource.mapFd : src;
      return settled({ ...insn, src: source, imm: typeof map === "number" ? map : map.fd }, map);
    }
    if (src === PseudoSource.immediate) {
      const target = labels.get(name);
      if (target !== undefined) return target;
    }
    const hint = didYouMean(name, [...Object.keys(options.maps ?? {}), ...(src === 0 ? labels.keys() : [])]);
    const message = src === PseudoSource.btfId ? `Unknown kernel variable "${name}"` : `Unknown map "${name}"`;
    problems.push(fault(insn, index, "ERR_ASM_UNRESOLVED", message, name, hint));
    return undefined;
  }
  if (opcode === (Class.jmp | JumpOp.call) && src === CallSource.kfunc) {
    const kfunc = own(options.kfuncs, name);
    if (kfunc !== undefined) return settled({ ...insn, imm: kfunc.btfId, offset: kfunc.fdIndex ?? 0 }, undefined);
    const hint = didYouMean(name, Object.keys(options.kfuncs ?? {}));
    problems.push(fault(insn, index, "ERR_ASM_UNRESOLVED", `Unknown kernel function "${name}"`, name, hint));
    return undefined;
  }
  if (distanceField(insn) === "none") {
    const message = `Instruction cannot refer to "${name}": it is no jump, call or ld_imm64`;
    problems.push(fault(insn, index, "ERR_ASM_UNRESOLVED", message, name));
    return undefined;
  }
  const target = labels.get(name);
  if (target === undefined) {
    const what = opcode === LD_IMM64 || (opcode & 0xf0) === JumpOp.call ? "function" : "label";
    const hint = didYouMean(name, labels.keys());
    problems.push(fault(insn, index, "ERR_ASM_LABEL", `Unknown ${what} "${name}"`, name, hint));
  }
  return target;
}

/** An own property: `constructor` and the like are no map names. */
function own<T>(record: Readonly<Record<string, T>> | undefined, name: string): T | undefined {
  return record !== undefined && Object.hasOwn(record, name) ? record[name] : undefined;
}

function settled(insn: Instruction, map: MapReference | number | undefined): Instruction {
  const meta = { ...insn.meta, reference: undefined };
  return { ...insn, meta: typeof map === "object" ? { ...meta, map } : meta };
}

function didYouMean(name: string, candidates: Iterable<string>): string | undefined {
  const near = closest(name, candidates);
  return near === undefined ? undefined : `Did you mean "${near}"?`;
}

function numericTarget(
  insn: Instruction,
  index: number,
  field: "offset" | "imm",
  place: Layout,
  problems: AsmProblem[],
): number {
  const slot = place.slots[index]! + 1 + insn[field];
  const target = place.indices[slot];
  if (target === undefined) {
    const end = place.indices.length - 1;
    const message = `Jump to slot ${slot} leaves the program (slots 0 to ${end})`;
    problems.push(fault(insn, index, "ERR_ASM_LABEL", message, ""));
    return NOWHERE;
  }
  if (target === SECOND_HALF) {
    const message = `Jump to slot ${slot} lands in the second half of the ld_imm64 at instruction ${place.indices[slot - 1]}`;
    problems.push(fault(insn, index, "ERR_ASM_LABEL", message, ""));
  }
  return target;
}

/** How a jump is written: as it is, or with a `gotol` in place of 16 bits. */
const Form = { short: 0, long: 1 } as const;

/** Writes all distances, after making every jump long that needs it. */
function stretch(out: Instruction[], targets: Int32Array, cpu: Cpu, problems: AsmProblem[]): Instruction[] {
  const count = out.length;
  const form = new Uint8Array(count);
  const slots = new Int32Array(count + 1);
  // Making one jump long moves others apart, so this repeats until nothing changes. A long jump never becomes short
  // again, which is why it ends; programs need one or two rounds.
  for (let changed = true; changed; ) {
    changed = false;
    let at = 0;
    for (let i = 0; i < count; i++) {
      slots[i] = at;
      at += form[i] === Form.long ? longSlots(out[i]!) : slotsOf(out[i]!);
    }
    slots[count] = at;
    for (let i = 0; i < count; i++) {
      if (targets[i] === NOWHERE || form[i] === Form.long || distanceField(out[i]!) !== "offset") continue;
      const distance = slots[targets[i]!]! - slots[i]! - 1;
      if ((distance << 16) >> 16 === distance) continue;
      form[i] = Form.long;
      changed = true;
      if (cpu === "v4") continue;
      const insn = out[i]!;
      const goal = insn.meta?.reference === undefined ? "" : ` to "${insn.meta.reference}"`;
      const message = `Jump${goal} spans ${Math.abs(distance)} slots, more than 16 bits hold`;
      const hint = 'Use cpu "v4" (gotol, Linux 6.6), or bring the target nearer';
      problems.push(fault(insn, i, "ERR_ASM_RANGE", message, insn.meta?.reference ?? "", hint));
    }
    if (problems.length > 0) return out;
  }

  const result: Instruction[] = [];
  for (let i = 0; i < count; i++) {
    const insn = out[i]!;
    if (targets[i] === NOWHERE) result.push(insn);
    else if (form[i] === Form.long) writeLong(result, insn, slots[i]!, slots[targets[i]!]!);
    else {
      const distance = slots[targets[i]!]! - slots[i]! - 1;
      const byOffset = distanceField(insn) === "offset";
      const known = insn.meta?.reference === undefined;
      if (known && (byOffset ? insn.offset : insn.imm) === distance) result.push(insn);
      else {
        const { opcode, dst, src, high } = insn;
        const meta = withoutReference(insn);
        result.push(
          byOffset
            ? { opcode, dst, src, offset: distance, imm: insn.imm, high, meta }
            : { opcode, dst, src, offset: insn.offset, imm: distance, high, meta },
        );
      }
    }
  }
  return result;
}

/** What travels on with a resolved instruction; the common case, nothing but the reference, leaves nothing. */
function withoutReference(insn: Instruction): InstructionMeta | undefined {
  const { meta } = insn;
  if (meta?.reference === undefined) return meta;
  const { labels, map, source, relocation, secondSlot } = meta;
  const bare =
    labels === undefined &&
    map === undefined &&
    source === undefined &&
    relocation === undefined &&
    secondSlot === undefined;
  return bare ? undefined : { ...meta, reference: undefined };
}

/** Slots of a jump in its long form. */
function longSlots(insn: Instruction): number {
  const op = insn.opcode & 0xf0;
  if (op === JumpOp.ja) return 1;
  return OPPOSITE[op] === undefined ? 3 : 2;
}

/** The condition that holds when another does not. `jset` and `may_goto` have none. */
const OPPOSITE: Readonly<Record<number, number>> = {
  [JumpOp.jeq]: JumpOp.jne,
  [JumpOp.jne]: JumpOp.jeq,
  [JumpOp.jgt]: JumpOp.jle,
  [JumpOp.jle]: JumpOp.jgt,
  [JumpOp.jge]: JumpOp.jlt,
  [JumpOp.jlt]: JumpOp.jge,
  [JumpOp.jsgt]: JumpOp.jsle,
  [JumpOp.jsle]: JumpOp.jsgt,
  [JumpOp.jsge]: JumpOp.jslt,
  [JumpOp.jslt]: JumpOp.jsge,
};

function writeLong(result: Instruction[], insn: Instruction, slot: number, target: number): void {
  const far = Class.jmp32 | JumpOp.ja;
  const meta = withoutReference(insn);
  const op = insn.opcode & 0xf0;
  if (op === JumpOp.ja) {
    result.push(instruction(far, 0, 0, 0, target - slot - 1, 0, meta));
    return;
  }
  // Labels stay with the first instruction only; the source line belongs to all.
  const copy = meta?.source === undefined ? undefined : { source: meta.source };
  const opposite = OPPOSITE[op];
  if (opposite !== undefined) {
    result.push({ ...insn, opcode: (insn.opcode & 0x0f) | opposite, offset: 1, meta });
    result.push(instruction(far, 0, 0, 0, target - slot - 2, 0, copy));
    return;
  }
  result.push({ ...insn, offset: 1, meta });
  result.push(instruction(Class.jmp | JumpOp.ja, 0, 0, 1, 0, 0, copy));
  result.push(instruction(far, 0, 0, 0, target - slot - 3, 0, copy));
}
