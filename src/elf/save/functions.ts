// Browser-safe.

import {
  CallSource,
  Class,
  encode,
  type Instruction,
  JumpOp,
  LD_IMM64,
  link,
  PseudoSource,
  slotsOf,
  withMeta,
} from "../../asm/index.ts";
import { type LineInfo, lineInfos, type TypeId } from "../../btf/index.ts";
import { ElfError } from "../../errors.ts";
import { elfError } from "../errors.ts";
import { findFunctions } from "../object/find-functions.ts";
import type { ObjectProgramSpec, ObjectSpec } from "../object/spec.ts";

const CALL = Class.jmp | JumpOp.call;
const SLOT_BYTES = 8;

/** What a relocation refers to. */
export type Target =
  | { readonly kind: "function"; readonly label: string }
  | { readonly kind: "map"; readonly name: string }
  /** A place in a section of variables, which is the map's. */
  | { readonly kind: "data"; readonly map: string; readonly offset: number }
  /** A symbol that is not in the object. */
  | { readonly kind: "extern"; readonly name: string; readonly offset: number }
  | { readonly kind: "table"; readonly name: string; readonly offset: number };

/** A function as it goes into a file. */
export interface SavedFunction {
  readonly label: string;
  readonly name: string;
  /** Whether it is the program itself. */
  readonly isMain: boolean;
  readonly type: TypeId | undefined;
  readonly bytes: Uint8Array;
  readonly relocations: readonly { readonly offset: number; readonly isCall: boolean; readonly target: Target }[];
  readonly lines: readonly LineInfo[];
  readonly cores: readonly { readonly insnOffset: number; readonly relocation: CoreQuestion }[];
  /** Offsets of labels inside of it that jump tables lead to. */
  readonly labels: ReadonlyMap<string, number>;
  /** The program that it was found in. */
  readonly program: ObjectProgramSpec;
}

/** What `coreRelocation` keeps. */
export interface CoreQuestion {
  readonly kind: string;
  readonly type: TypeId;
  readonly access: string;
}

/**
 * Takes a program apart into its functions: each ends where the next one begins.
 *
 * @throws ElfError for something that cannot be written to a file; AsmError for jumps that lead nowhere
 */
export function splitProgram(spec: ObjectSpec, program: ObjectProgramSpec): SavedFunction[] {
  const path = `program "${program.name}"`;
  if (program.instructions.length === 0) throw elfError("ERR_ELF_INVALID", "The program has no instructions", path);
  const { instructions, starts: order } = findFunctions(program);
  const labels = new Set(order.map(([, label]) => label));
  const byLabel = new Map(program.functions.map((each) => [each.label, each]));
  return order.map(([start, label], i) => {
    const end = order[i + 1]?.[0] ?? instructions.length;
    const known = byLabel.get(label);
    const name = known?.name ?? label;
    const saver = new FunctionSaver(spec, program, labels, `${path} function "${name}"`);
    return {
      label,
      name: i === 0 ? program.name : name,
      isMain: i === 0,
      type: known?.type,
      ...saver.save(instructions.slice(start, end), label),
    };
  });
}

class FunctionSaver {
  readonly #spec: ObjectSpec;
  readonly #program: ObjectProgramSpec;
  readonly #labels: ReadonlySet<string>;
  readonly #path: string;

  constructor(spec: ObjectSpec, program: ObjectProgramSpec, labels: ReadonlySet<string>, path: string) {
    this.#spec = spec;
    this.#program = program;
    this.#labels = labels;
    this.#path = path;
  }

  save(
    body: readonly Instruction[],
    label: string,
  ): Pick<SavedFunction, "bytes" | "relocations" | "lines" | "cores" | "labels" | "program"> {
    const targets = new Map<Instruction, Target>();
    const plain = body.map((insn) => {
      const target = this.#targetOf(insn);
      if (target === undefined) return insn;
      // The numbers that a compiler writes, until it is known where the target lies.
      const imm = "offset" in target ? target.offset : 0;
      const made = withMeta(
        { ...insn, src: insn.opcode === CALL ? CallSource.local : 0, imm, high: 0 },
        {
          reference: undefined,
          map: undefined,
          relocation: { kind: "saved", target },
        },
      );
      targets.set(made, target);
      return made;
    });
    // A relocated call leads nowhere yet: linking must not look at its distance.
    const linked = link(plain.map((insn) => (targets.has(insn) && insn.opcode === CALL ? { ...insn, src: 0 } : insn)));
    const relocations: { offset: number; isCall: boolean; target: Target }[] = [];
    const cores: { insnOffset: number; relocation: CoreQuestion }[] = [];
    const labels = new Map<string, number>();
    let offset = 0;
    const final = linked.map((insn) => {
      const { meta } = insn;
      for (const each of meta?.labels ?? []) labels.set(each, offset);
      const relocation = meta?.relocation;
      let result = insn;
      if (relocation?.kind === "saved") {
        const isCall = insn.opcode === CALL;
        relocations.push({ offset, isCall, target: relocation.target as Target });
        if (isCall) result = { ...insn, src: CallSource.local, imm: -1 };
      } else if (relocation?.kind === "core") {
        cores.push({ insnOffset: offset, relocation: relocation.relocation as CoreQuestion });
      }
      offset += slotsOf(insn) * SLOT_BYTES;
      return result;
    });
    const functions = [{ label, name: label, type: undefined }];
    const named = final.map((insn, i) =>
      i === 0 ? withMeta(insn, { labels: [...(insn.meta?.labels ?? []), label] }) : insn,
    );
    return {
      bytes: encode(final, { littleEndian: this.#spec.littleEndian }),
      relocations,
      lines: lineInfos({ instructions: named, functions }),
      cores,
      labels,
      program: this.#program,
    };
  }

  /** What an instruction refers to outside of its function; `undefined` for jumps and instructions without a reference. */
  #targetOf(insn: Instruction): Target | undefined {
    const { opcode, src, meta } = insn;
    const isCall = opcode === CALL && src !== CallSource.helper;
    if (meta?.map !== undefined && meta.reference === undefined && opcode === LD_IMM64) {
      throw this.#fail("An open map cannot be written to a file", "Refer to the map by its name");
    }
    const name = meta?.reference;
    if (!isCall && opcode !== LD_IMM64) return undefined;
    if (name === undefined) {
      if (isCall || src !== PseudoSource.immediate) {
        throw this.#fail(
          `A number of the running kernel cannot be written to a file: source ${src} of an ${isCall ? "call" : "ld_imm64"}`,
        );
      }
      return undefined;
    }
    if (isCall) {
      const isLocal = src === CallSource.local && this.#labels.has(name);
      return isLocal ? { kind: "function", label: name } : { kind: "extern", name, offset: 0 };
    }
    return this.#addressOf(insn, name);
  }

  #addressOf(insn: Instruction, name: string): Target {
    const { src } = insn;
    if (name in this.#program.jumpTables) return { kind: "table", name, offset: insn.high };
    const map = this.#spec.maps[name];
    if (map !== undefined && src !== PseudoSource.function && src !== PseudoSource.btfId) {
      if (map.kind === "kconfig") return this.#kconfigAt(insn.high);
      const holdsVariables = map.kind === "data" || insn.meta?.relocation?.kind === "arena";
      if (src === PseudoSource.mapValue && holdsVariables) return { kind: "data", map: name, offset: insn.high };
      if (src === PseudoSource.mapValue || holdsVariables) {
        const what = src === PseudoSource.mapValue ? "the value" : "the map itself";
        throw this.#fail(`A reference to ${what} of "${name}" cannot be written to a file`);
      }
      return { kind: "map", name };
    }
    if (this.#labels.has(name) && src !== PseudoSource.btfId) return { kind: "function", label: name };
    return { kind: "extern", name, offset: 0 };
  }

  #kconfigAt(offset: number): Target {
    for (const extern of Object.values(this.#spec.externs)) {
      if (extern.kind !== "kconfig" || offset < extern.offset || offset >= extern.offset + extern.size) continue;
      return { kind: "extern", name: extern.name, offset: offset - extern.offset };
    }
    throw this.#fail(`No value of the kernel configuration lies at offset ${offset} of .kconfig`);
  }

  #fail(message: string, hint?: string): ElfError {
    return new ElfError("ERR_ELF_INVALID", message, { path: this.#path, hint });
  }
}
