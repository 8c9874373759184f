// Browser-safe.

import { closest } from "../bytes/index.ts";
import { collectLabels, distanceField, fault, type Layout, layout, NOWHERE, numericTarget } from "./distance.ts";
import { AsmError, type AsmProblem } from "./errors.ts";
import { type Instruction, LD_IMM64, type MapReference, withMeta } from "./instruction.ts";
import { CallSource, Class, JumpOp, PseudoSource } from "./opcodes.ts";
import { type Cpu, stretch } from "./stretch.ts";

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
  const problems: AsmProblem[] = [];
  const labels = collectLabels(instructions, problems);
  const out = instructions.slice();
  const count = out.length;
  // Index of the instruction each instruction jumps to, calls or points at; NOWHERE for all others.
  const targets = new Int32Array(count).fill(NOWHERE);
  let place: Layout | undefined; // only numeric distances need it
  let symbolic = false;
  for (let i = 0; i < count; i++) {
    const insn = out[i]!;
    const meta = insn.meta;
    if (meta?.map !== undefined && insn.opcode === LD_IMM64) {
      out[i] = withMap(insn, meta.map);
      continue;
    }
    if (meta?.reference !== undefined) {
      const found = resolve(insn, i, meta.reference, labels, options, problems);
      if (typeof found === "number") {
        targets[i] = found;
        symbolic = true;
        if (insn.opcode === LD_IMM64 && insn.src !== PseudoSource.function) {
          out[i] = { ...insn, src: PseudoSource.function };
        }
      } else if (found !== undefined) out[i] = found;
      continue;
    }
    const field = distanceField(insn);
    if (field === "none") continue;
    place ??= layout(instructions);
    targets[i] = numericTarget(insn, i, field, place, problems);
  }
  if (problems.length > 0) throw new AsmError(problems);
  if (!symbolic) return out; // numeric distances are right as they are
  const stretched = stretch(out, targets, options.cpu ?? "v4", problems);
  if (problems.length > 0) throw new AsmError(problems);
  return stretched;
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
    if (
      src === PseudoSource.immediate &&
      (insn.imm !== 0 || insn.high !== 0) &&
      (map !== undefined || labels.has(name))
    ) {
      const message = `The address of "${name}" cannot have a number added to it`;
      const hint = map === undefined ? undefined : "For a place inside the value of an array map use ldMapValue()";
      problems.push(fault(insn, index, "ERR_ASM_OPERAND", message, name, hint));
      return undefined;
    }
    if (map !== undefined && src !== PseudoSource.btfId) {
      if (typeof map === "object") return withMap(insn, map);
      return settled({ ...insn, src: src === PseudoSource.immediate ? PseudoSource.mapFd : src, imm: map });
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
    if (kfunc !== undefined) return settled({ ...insn, imm: kfunc.btfId, offset: kfunc.fdIndex ?? 0 });
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

/** An instruction whose name is resolved; itself when it had none. */
function settled(insn: Instruction): Instruction {
  return insn.meta?.reference === undefined ? insn : withMeta(insn, { reference: undefined });
}

/** The descriptor of a map is read now. Maps by index keep their index. */
function withMap(insn: Instruction, map: MapReference): Instruction {
  const { src } = insn;
  const byFd = src === PseudoSource.immediate || src === PseudoSource.mapFd || src === PseudoSource.mapValue;
  const source = src === PseudoSource.immediate ? PseudoSource.mapFd : src;
  const imm = byFd ? map.fd : insn.imm;
  const { reference, map: known } = insn.meta ?? {};
  if (imm === insn.imm && source === src && known === map && reference === undefined) return insn;
  return withMeta({ ...insn, src: source, imm }, { reference: undefined, map });
}

function didYouMean(name: string, candidates: Iterable<string>): string | undefined {
  const near = closest(name, candidates);
  return near === undefined ? undefined : `Did you mean "${near}"?`;
}
