// Browser-safe.

import { type Instruction, layout, withMeta } from "../../asm/index.ts";
import type { Reader } from "../../bytes/index.ts";
import { BpfError } from "../../errors.ts";
import { elfError, elfReader, sectionPath } from "../errors.ts";
import { sectionData } from "../read.ts";
import { symbolExtent } from "../symbols.ts";
import type { ElfSection, ElfSymbol } from "../types.ts";
import { type CodeFunction, instructionAt } from "./code.ts";
import { NamePool, type ObjectFile, symbolName } from "./file.ts";
import type { JumpTableSpec } from "./spec.ts";

const ENTRY_BYTES = 8;

/**
 * The tables of `gotox` in section `.jumptables`: for each entry the offset of an instruction in the section of code
 * that refers to the table.
 */
export class JumpTables {
  readonly #file: ObjectFile;
  readonly #names = new NamePool();
  /** By function and number of the symbol. */
  readonly #tables = new Map<CodeFunction, Map<number, JumpTableSpec>>();
  #reader: Reader | undefined;

  /** @param taken names that tables may not have, as instructions refer to them by name */
  constructor(file: ObjectFile, taken: Iterable<string>) {
    this.#file = file;
    for (const name of taken) this.#names.take(name);
  }

  /**
   * The table that an instruction refers to. Its targets get labels.
   *
   * @param section section of the tables
   * @param symbol the table
   * @param func function of the instruction
   * @throws ElfError when the table is malformed, or leads out of the function
   */
  get(section: ElfSection, symbol: ElfSymbol, func: CodeFunction): JumpTableSpec {
    let tables = this.#tables.get(func);
    if (tables === undefined) {
      tables = new Map();
      this.#tables.set(func, tables);
    }
    let table = tables.get(symbol.index);
    if (table === undefined) {
      table = this.#read(section, symbol, func);
      tables.set(symbol.index, table);
    }
    return table;
  }

  /** Tables that instructions of a function refer to. */
  of(func: CodeFunction): Iterable<JumpTableSpec> {
    return this.#tables.get(func)?.values() ?? [];
  }

  #read(section: ElfSection, symbol: ElfSymbol, func: CodeFunction): JumpTableSpec {
    const path = `${sectionPath(section)} ${symbolName(symbol)}`;
    const { offset, size } = symbolExtent(this.#file.elf, symbol);
    if (size === 0 || size % ENTRY_BYTES !== 0) {
      throw elfError("ERR_ELF_INVALID", `Size of the jump table is ${size}, expected a multiple of 8`, path);
    }
    this.#reader ??= elfReader(
      sectionData(this.#file.elf, section),
      this.#file.littleEndian,
      sectionPath(section),
      section.offset,
    );
    const reader = this.#reader.sub(offset, size, path);
    const targets: string[] = [];
    while (reader.remaining > 0) {
      const place = reader.size64();
      const index = place % 8 === 0 ? instructionAt(func.code, place) : undefined;
      if (index === undefined || index < func.start || index >= func.end) {
        throw reader.fail(
          `Entry ${targets.length} leads to offset ${place}, which is no instruction of "${func.name}"`,
        );
      }
      const label = `${func.label}+${place - func.offset}`;
      const { instructions } = func.code;
      instructions[index] = labelled(instructions[index]!, label);
      targets.push(label);
    }
    return { name: this.#names.take(symbol.name === "" ? ".jumptables" : symbol.name), targets };
  }
}

/** The instruction with one more label. */
export function labelled(insn: Instruction, label: string): Instruction {
  const labels = insn.meta?.labels ?? [];
  return labels.includes(label) ? insn : withMeta(insn, { labels: [...labels, label] });
}

/**
 * Where a jump table leads in a program, for the map that it becomes: of type `insn_array`, with keys of 4 bytes and
 * values of 16, whose first word is this number. It has to be filled and frozen before the program is loaded.
 *
 * @param instructions those of the program, with all of its functions, as they will be loaded
 * @param table one of its `jumpTables`
 * @returns for each entry the place of its instruction, in slots of 8 bytes from the start of the program
 * @throws BpfError `ERR_ASM_LABEL` when the program has lost an instruction that the table leads to
 */
export function jumpTableOffsets(instructions: readonly Instruction[], table: JumpTableSpec): number[] {
  const { slots } = layout(instructions);
  const places = new Map<string, number>();
  for (const [index, { meta }] of instructions.entries()) {
    for (const label of meta?.labels ?? []) places.set(label, slots[index]!);
  }
  return table.targets.map((label, i) => {
    const place = places.get(label);
    if (place !== undefined) return place;
    const message = `Entry ${i} of jump table "${table.name}" leads to "${label}", which is not in the program`;
    throw new BpfError("ERR_ASM_LABEL", message);
  });
}
