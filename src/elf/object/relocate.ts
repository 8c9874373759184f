// Browser-safe.

import { CallSource, Class, type Instruction, JumpOp, LD_IMM64, PseudoSource, withMeta } from "../../asm/index.ts";
import type { ElfError } from "../../errors.ts";
import { BpfRelocation, SymbolBinding } from "../constants.ts";
import { elfError, sectionPath } from "../errors.ts";
import type { ElfSection } from "../types.ts";
import { type Code, type CodeFunction, type CodeSection, instructionAt } from "./code.ts";
import { type ObjectFile, type ResolvedRelocation, relocationsOf, sectionOf, symbolName } from "./file.ts";
import type { JumpTables } from "./jump-tables.ts";
import { type Maps, mapAt } from "./maps.ts";
import type { ExternSpec } from "./spec.ts";

const CALL = Class.jmp | JumpOp.call;
const SLOT_BYTES = 8;

const CODE_RELOCATIONS = [BpfRelocation["64_64"], BpfRelocation["64_32"]];

/** What instructions may refer to. */
export interface Targets {
  readonly code: Code;
  readonly maps: Maps;
  /** Symbols that are nowhere described are added. */
  readonly externs: Record<string, ExternSpec>;
  readonly jumpTables: JumpTables;
}

/**
 * Turns the relocations of all code into references by name, and finds which function each call and address means.
 *
 * @throws ElfError with section, relocation, symbol and instruction
 */
export function relocateCode(file: ObjectFile, targets: Targets): void {
  for (const code of targets.code.values()) {
    for (const relocation of relocationsOf(file, code.section, CODE_RELOCATIONS)) {
      new Relocator(file, targets, code, relocation).apply();
    }
    referToNeighbours(code);
  }
}

class Relocator {
  readonly #file: ObjectFile;
  readonly #targets: Targets;
  readonly #code: CodeSection;
  readonly #relocation: ResolvedRelocation;

  constructor(file: ObjectFile, targets: Targets, code: CodeSection, relocation: ResolvedRelocation) {
    this.#file = file;
    this.#targets = targets;
    this.#code = code;
    this.#relocation = relocation;
  }

  apply(): void {
    const { offset } = this.#relocation;
    const index = instructionAt(this.#code, offset);
    if (index === undefined) throw this.#fail(`Offset ${offset} is behind the last instruction`);
    if (index < 0) throw this.#fail(`Offset ${offset} is the second half of an ld_imm64`);
    // Of a function that lost against another one of its name nothing is left but its code.
    if (this.#code.owners[index] === -1) return;
    const insn = this.#code.instructions[index]!;
    if (insn.opcode === CALL) this.#code.instructions[index] = this.#call(insn, index);
    else if (insn.opcode === LD_IMM64) this.#code.instructions[index] = this.#wide(insn, index);
    else {
      const opcode = `0x${insn.opcode.toString(16).padStart(2, "0")}`;
      throw this.#fail(`Instruction ${index} with opcode ${opcode} takes no relocation, only call and ld_imm64 do`);
    }
  }

  #call(insn: Instruction, index: number): Instruction {
    const { target } = this.#relocation;
    if (insn.src !== CallSource.local) {
      throw this.#fail(`Call at instruction ${index} has source ${insn.src}, expected 1 for a function of the object`);
    }
    const section = sectionOf(this.#file, target);
    if (section === undefined) {
      const { kind, name } = this.#extern();
      if (kind === "undefined") return withMeta({ ...insn, imm: 0 }, { reference: name, relocation: { kind, name } });
      if (kind !== "kfunc") throw this.#fail(`Instruction ${index} calls ${kind} "${name}", which is no function`);
      return withMeta(
        { ...insn, src: CallSource.kfunc, imm: 0 },
        { reference: name, relocation: { kind: "kfunc", name } },
      );
    }
    // The immediate counts from the next instruction, in slots: -1 for a function's own symbol.
    return this.#refer(insn, index, section, Number(target.value) + (insn.imm + 1) * SLOT_BYTES);
  }

  #wide(insn: Instruction, index: number): Instruction {
    const { target } = this.#relocation;
    if (insn.src !== PseudoSource.immediate && insn.src !== PseudoSource.function) {
      throw this.#fail(`ld_imm64 at instruction ${index} has source ${insn.src}, expected 0`);
    }
    const section = sectionOf(this.#file, target);
    if (section === undefined) return this.#externAddress(insn, index);
    switch (this.#file.roles[section.index]) {
      case "code": {
        const found = this.#refer(insn, index, section, Number(target.value) + insn.imm);
        return { ...found, src: PseudoSource.function };
      }
      case "maps":
      case "legacy_maps": {
        const { map } = mapAt(this.#targets.maps, section, target, insn.imm);
        return withMeta({ ...insn, src: PseudoSource.mapFd, imm: 0, high: 0 }, { reference: map.name });
      }
      case "data":
      case "rodata":
      case "bss":
      case "arena": {
        const map = this.#targets.maps.wholeSections.get(section.index)!;
        const meta = { reference: map.name, ...(map.type === "arena" ? { relocation: { kind: "arena" } } : {}) };
        return withMeta({ ...insn, src: PseudoSource.mapValue, imm: 0, high: this.#offset(insn) }, meta);
      }
      case "jump_tables": {
        const func = this.#code.functions[this.#code.owners[index]!]!;
        const { name } = this.#targets.jumpTables.get(section, target, func);
        // Reading the table may have given this very instruction a label.
        const labelled = this.#code.instructions[index]!;
        return withMeta({ ...labelled, src: PseudoSource.mapValue, imm: 0, high: insn.imm }, { reference: name });
      }
      default:
        throw this.#fail(
          `Instruction ${index} refers to ${sectionPath(section)}, whose contents are no variables`,
          "Names of sections for variables begin with .data, .rodata or .bss",
        );
    }
  }

  /** Place in a section of variables: what is added stands in the instruction. */
  #offset(insn: Instruction): number {
    const offset = Number(this.#relocation.target.value) + insn.imm;
    if (offset < -0x80000000 || offset > 0x7fffffff) throw this.#fail(`Offset ${offset} does not fit 32 bits`);
    return offset;
  }

  #externAddress(insn: Instruction, index: number): Instruction {
    const extern = this.#extern();
    if (insn.imm !== 0 && extern.kind !== "kconfig") {
      throw this.#fail(
        `Instruction ${index} adds ${insn.imm} to the address of "${extern.name}", which only the kernel knows`,
      );
    }
    if (extern.kind === "kconfig") {
      const high = extern.offset + insn.imm;
      return withMeta({ ...insn, src: PseudoSource.mapValue, imm: 0, high }, { reference: ".kconfig" });
    }
    if (extern.kind === "undefined") {
      const { kind, name } = extern;
      return withMeta({ ...insn, imm: 0, high: 0 }, { reference: name, relocation: { kind, name } });
    }
    const src = extern.kind === "kfunc" || extern.type !== 0 ? PseudoSource.btfId : PseudoSource.immediate;
    const relocation = { kind: "ksym", name: extern.name };
    return withMeta({ ...insn, src, imm: 0, high: 0 }, { reference: extern.name, relocation });
  }

  #extern(): ExternSpec {
    const { target } = this.#relocation;
    if (target.section !== "undefined")
      throw this.#fail(`${symbolName(target)} lies in no section: it is ${target.section}`);
    const { name } = target;
    if (name === "") throw this.#fail("Refers to an undefined symbol without a name");
    const { externs } = this.#targets;
    externs[name] ??= { kind: "undefined", name, weak: target.binding === SymbolBinding.weak };
    return externs[name];
  }

  #refer(insn: Instruction, index: number, section: ElfSection, offset: number): Instruction {
    const target = this.#targets.code.get(section.index)?.byOffset.get(offset);
    if (target === undefined) {
      throw this.#fail(
        `Instruction ${index} refers to offset ${offset} of ${sectionPath(section)}, where no function begins`,
      );
    }
    return refer(this.#code, insn, index, target);
  }

  #fail(message: string, hint?: string): ElfError {
    const { path, target } = this.#relocation;
    return elfError(
      "ERR_ELF_INVALID",
      message,
      `${path} of ${sectionPath(this.#code.section)}, ${symbolName(target)}`,
      undefined,
      hint,
    );
  }
}

function refer(code: CodeSection, insn: Instruction, index: number, target: CodeFunction): Instruction {
  code.references.set(index, target);
  return withMeta({ ...insn, imm: 0 }, { reference: target.label });
}

/** Calls inside of a section need no relocation: the compiler knows the distance. */
function referToNeighbours(code: CodeSection): void {
  const { instructions, layout } = code;
  for (const func of code.functions) {
    for (let index = func.start; index < func.end; index++) {
      const insn = instructions[index]!;
      const isCall = insn.opcode === CALL && insn.src === CallSource.local;
      const isAddress = insn.opcode === LD_IMM64 && insn.src === PseudoSource.function;
      if (!(isCall || isAddress) || code.references.has(index) || insn.meta?.reference !== undefined) continue;
      const offset = (layout.slots[index]! + 1 + insn.imm) * SLOT_BYTES;
      const target = code.byOffset.get(offset);
      if (target === undefined) {
        const message = `Instruction ${index} ${isCall ? "calls" : "refers to"} offset ${offset}, where no function begins`;
        throw elfError("ERR_ELF_INVALID", message, `${sectionPath(code.section)} ${symbolName(func.symbol)}`);
      }
      instructions[index] = refer(code, insn, index, target);
    }
  }
  for (const [index, target] of code.references) {
    const inside = index >= target.start && index < target.end && target.code === code;
    if (!inside) target.used = true;
  }
}
