// Browser-safe.

import { Class, JumpOp, LD_IMM64 } from "../../asm/index.ts";
import { Writer } from "../../bytes/index.ts";
import { SectionFlag, SectionType, SymbolBinding, SymbolType } from "../constants.ts";
import { elfReader } from "../errors.ts";
import { symbolName } from "../object/file.ts";
import { readRelocations } from "../relocations.ts";
import { symbolExtent } from "../symbols.ts";
import type { ElfSymbol } from "../types.ts";
import { type ElfRelocationSpec, type ElfSectionSpec, type ElfSymbolSpec, writeElf } from "../write.ts";
import { globalName, type Input, type LinkInput, linkError, openInputs, placeOf } from "./input.ts";
import { bytesOf, type Merged, type MergedSections, mergeSections, type Part } from "./sections.ts";
import { checkSymbol, type Global, resolveGlobals } from "./symbols.ts";
import { mergeTypes } from "./types.ts";

const SLOT_BYTES = 8;
const CALL = Class.jmp | JumpOp.call;

/**
 * Links objects to one, as `bpftool gen object` does. Sections of one name follow each other, a name that several
 * objects share means the same in all of them, equal types become one. What no object defines stays open: it may come
 * from the kernel, or from another object that the result is linked with.
 *
 * - Of several definitions one may be strong, the others have to be weak. Without a strong one the first counts.
 * - Definitions of a map, and types of functions and variables, must agree.
 * - `license` and `version` must be the same everywhere they occur.
 *
 * @param objects in the order of their code and data in the result; names are for error messages
 * @returns a new object
 * @throws ElfError `ERR_ELF_LINK` for objects that do not go together; ElfError, BtfError for one that is malformed
 *
 * @example
 * ```ts no-run
 * import { linkObjects, parseObject } from "rawbpf/elf";
 *
 * declare const main: Uint8Array;
 * declare const library: Uint8Array;
 * const spec = parseObject(linkObjects([{ name: "main.o", bytes: main }, { name: "library.o", bytes: library }]));
 * ```
 */
export function linkObjects(objects: readonly (Uint8Array | LinkInput)[]): Uint8Array {
  const inputs = openInputs(objects);
  const sections = mergeSections(inputs);
  const isSkipped = (input: Input, { section }: ElfSymbol): boolean =>
    typeof section === "number" && sections.find(input, section) === undefined;
  const globals = resolveGlobals(inputs, isSkipped);
  const symbols = new SymbolList(sections, globals);
  for (const input of inputs) symbols.addLocals(input);
  symbols.addGlobals();
  const relocator = new Relocator(sections, symbols);
  const specs = sections.list.map((merged): ElfSectionSpec => {
    const data = bytesOf(merged);
    const relocations =
      data === undefined ? [] : merged.parts.flatMap((part) => relocator.relocate(merged, part, data));
    return {
      name: merged.name,
      type: merged.type,
      flags: merged.flags,
      alignment: merged.alignment,
      entrySize: merged.entrySize,
      ...(merged.type === SectionType.nobits ? { size: merged.size } : { data }),
      relocations,
    };
  });
  relocator.finish(specs);
  const types = mergeTypes(inputs, sections, globals);
  if (types !== undefined) {
    specs.push({ name: ".BTF", alignment: 4, data: types.btf });
    if (types.ext !== undefined) specs.push({ name: ".BTF.ext", alignment: 4, data: types.ext });
  }
  return writeElf({ littleEndian: inputs[0]!.file.littleEndian, sections: specs, symbols: symbols.list });
}

/** The symbols of the result, and where those of the objects went. */
class SymbolList {
  readonly list: ElfSymbolSpec[] = [];
  readonly #sections: MergedSections;
  readonly #globals: ReadonlyMap<string, Global>;
  readonly #ofSections = new Map<Merged, number>();
  readonly #locals = new Map<Input, Map<number, number>>();
  readonly #shared = new Map<string, number>();

  constructor(sections: MergedSections, globals: ReadonlyMap<string, Global>) {
    this.#sections = sections;
    this.#globals = globals;
  }

  addLocals(input: Input): void {
    const own = new Map<number, number>();
    this.#locals.set(input, own);
    for (const symbol of input.file.symbols) {
      if (symbol.index === 0 || symbol.type === SymbolType.file || globalName(input, symbol) !== undefined) continue;
      if (typeof symbol.section !== "number") {
        checkSymbol(input, symbol);
        continue;
      }
      const place = this.#sections.find(input, symbol.section);
      if (place === undefined) continue;
      checkSymbol(input, symbol);
      if (symbol.type === SymbolType.section) own.set(symbol.index, this.#sectionSymbol(place.merged));
      else {
        symbolExtent(input.file.elf, symbol);
        const { name, type, size, value } = symbol;
        const at = value + BigInt(place.offset);
        const spec = { name, binding: SymbolBinding.local, type, section: place.merged.index, value: at, size };
        own.set(symbol.index, this.list.push(spec) - 1);
      }
    }
  }

  #sectionSymbol(merged: Merged): number {
    let index = this.#ofSections.get(merged);
    if (index === undefined) {
      const spec = { binding: SymbolBinding.local, type: SymbolType.section, section: merged.index };
      index = this.list.push(spec) - 1;
      this.#ofSections.set(merged, index);
    }
    return index;
  }

  addGlobals(): void {
    for (const { name, input, symbol, weak, visibility } of this.#globals.values()) {
      const { type, size, value, section } = symbol;
      const place = typeof section === "number" ? this.#sections.find(input, section) : undefined;
      if (place !== undefined) symbolExtent(input.file.elf, symbol);
      const index = this.list.push({
        name,
        binding: weak ? SymbolBinding.weak : SymbolBinding.global,
        type,
        visibility,
        ...(place === undefined
          ? { section: "undefined" }
          : { section: place.merged.index, value: value + BigInt(place.offset), size }),
      });
      this.#shared.set(name, index - 1);
    }
  }

  /** Where a symbol of an object went; `undefined` when it is not in the result. */
  find(input: Input, symbol: ElfSymbol): number | undefined {
    const name = globalName(input, symbol);
    return name === undefined ? this.#locals.get(input)?.get(symbol.index) : this.#shared.get(name);
  }
}

/** Moves relocations to where their places went. */
class Relocator {
  readonly #sections: MergedSections;
  readonly #symbols: SymbolList;
  /** Jump tables whose entries have to grow, by how much: their entries are places in a section of code. */
  readonly #tables = new Map<Input, Map<number, number>>();

  constructor(sections: MergedSections, symbols: SymbolList) {
    this.#sections = sections;
    this.#symbols = symbols;
  }

  /**
   * The relocations of one part. What they add stands in the data, and is changed where it counts from the start of a
   * section.
   */
  relocate(merged: Merged, part: Part, data: Uint8Array): ElfRelocationSpec[] {
    const { input, section, offset } = part;
    const { file } = input;
    return file.relocationsOf(section.index).flatMap((table) => {
      if (table.type === SectionType.rela) {
        throw linkError(input, "Relocations have addends (rela), those of BPF have none (rel)", placeOf(table));
      }
      return readRelocations(file.elf, table).relocations.map((relocation): ElfRelocationSpec => {
        const path = `${placeOf(table)} relocation[${relocation.index}]`;
        const target = file.symbols[relocation.symbol];
        const symbol = target === undefined ? undefined : this.#symbols.find(input, target);
        if (target === undefined || symbol === undefined) {
          const what = target === undefined ? `symbol ${relocation.symbol}` : symbolName(target);
          throw linkError(input, `Refers to ${what}, which is not part of what is linked`, path);
        }
        const place = typeof target.section === "number" ? this.#sections.find(input, target.section) : undefined;
        if (target.type === SymbolType.section && place !== undefined && place.offset !== 0) {
          this.#addToPlace(input, path, merged, data, offset + relocation.offset, place.offset);
        }
        if (typeof target.section === "number" && file.roles[target.section] === "jump_tables" && offset !== 0) {
          this.#noteTable(input, target, offset);
        }
        return { offset: offset + relocation.offset, type: relocation.type, symbol };
      });
    });
  }

  #addToPlace(input: Input, path: string, merged: Merged, data: Uint8Array, at: number, by: number): void {
    const { littleEndian } = input.file;
    const reader = elfReader(data, littleEndian, path);
    if ((merged.flags & SectionFlag.execinstr) === 0) {
      reader.check(at, SLOT_BYTES);
      data.set(new Writer({ littleEndian }).u64(BigInt.asUintN(64, reader.seek(at).u64() + BigInt(by))).finish(), at);
      return;
    }
    reader.check(at, SLOT_BYTES);
    const opcode = data[at];
    if (opcode !== CALL && opcode !== LD_IMM64) {
      throw linkError(input, "Instruction takes no relocation, only call and ld_imm64 do", path);
    }
    const imm = reader.seek(at + 4).i32() + (opcode === CALL ? by / SLOT_BYTES : by);
    if (imm > 0x7fffffff) throw linkError(input, `Offset ${imm} does not fit 32 bits`, path);
    data.set(new Writer({ littleEndian }).u32(imm >>> 0).finish(), at + 4);
  }

  #noteTable(input: Input, symbol: ElfSymbol, by: number): void {
    let tables = this.#tables.get(input);
    if (tables === undefined) {
      tables = new Map();
      this.#tables.set(input, tables);
    }
    tables.set(symbol.index, by);
  }

  /** Writes the jump tables anew, once all that refers to them is known. */
  finish(specs: readonly ElfSectionSpec[]): void {
    for (const [input, tables] of this.#tables) {
      for (const [index, by] of tables) {
        const symbol = input.file.symbols[index]!;
        const { section, offset, size } = symbolExtent(input.file.elf, symbol);
        const place = this.#sections.find(input, section.index);
        const data = place && specs[place.merged.index]?.data;
        if (place === undefined || data === undefined) continue;
        const { littleEndian } = input.file;
        const reader = elfReader(data, littleEndian, placeOf(section)).seek(place.offset + offset);
        const writer = new Writer({ littleEndian, capacity: size });
        for (let i = 0; i + SLOT_BYTES <= size; i += SLOT_BYTES) {
          writer.u64(BigInt.asUintN(64, reader.u64() + BigInt(by)));
        }
        data.set(writer.finish(), place.offset + offset);
      }
    }
  }
}
