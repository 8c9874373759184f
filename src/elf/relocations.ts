// Browser-safe.

import { ElfType, named, SectionType } from "./constants.ts";
import { elfError, elfReader, sectionPath } from "./errors.ts";
import { LAYOUT } from "./header.ts";
import { sectionData } from "./read.ts";
import { checkEntries } from "./symbols.ts";
import type { ElfFile, ElfRelocation, ElfSection } from "./types.ts";

/** The relocations of one section. */
export interface RelocationTable {
  /** The section that holds them. */
  readonly section: ElfSection;
  /** The section they change. */
  readonly target: ElfSection;
  /** The symbol table they refer to; `undefined` when they refer to none. */
  readonly symbols: ElfSection | undefined;
  /** Relocations by number. */
  readonly relocations: readonly ElfRelocation[];
}

/**
 * The relocation sections of an object: those of type `rel` and `rela`.
 *
 * @param elf the file
 * @param target only those that change this section
 */
export function relocationSections(elf: ElfFile, target?: ElfSection): ElfSection[] {
  return elf.sections.filter(
    (section) =>
      (section.type === SectionType.rel || section.type === SectionType.rela) &&
      (target === undefined || section.info === target.index),
  );
}

/**
 * Reads a relocation section.
 *
 * @param elf the file
 * @param section one of its sections, of type `rel` or `rela`
 * @throws ElfError when it links to no symbol table, changes a section that does not exist, or one of its entries names
 *   a symbol that does not exist or, in an object, a place outside of the section
 */
export function readRelocations(elf: ElfFile, section: ElfSection): RelocationTable {
  const { header } = elf;
  const path = sectionPath(section);
  if (section.type !== SectionType.rel && section.type !== SectionType.rela) {
    const found = named(SectionType, section.type);
    throw elfError("ERR_ELF_INVALID", `Type is ${found}, expected 9 (rel) or 4 (rela)`, path);
  }
  const withAddend = section.type === SectionType.rela;
  checkEntries(section, LAYOUT[header.class][withAddend ? "rela" : "rel"]);
  const target = elf.sections[section.info];
  if (target === undefined) {
    throw elfError("ERR_OUT_OF_RANGE", `Changes section ${section.info}, there are ${elf.sections.length}`, path);
  }
  const isObject = header.type === ElfType.rel;
  if (isObject && target.type === SectionType.null) {
    throw elfError("ERR_ELF_INVALID", `Changes section ${section.info}, which is empty`, path);
  }
  const symbols = symbolsOf(elf, section);
  const symbolCount = symbols === undefined ? 1 : Math.floor(symbols.size / LAYOUT[header.class].symbol);
  const data = sectionData(elf, section);
  const reader = elfReader(data, header.littleEndian, path, section.offset);
  const relocations: ElfRelocation[] = [];
  while (reader.remaining > 0) {
    const index = relocations.length;
    const at = section.offset + reader.position;
    reader.path = `${path} relocation[${index}]`;
    let offset: number;
    let type: number;
    let symbol: number;
    let addend: bigint | undefined;
    if (header.class === 64) {
      offset = reader.size64();
      // The high half of a 64-bit number is the symbol.
      const first = reader.u32();
      const second = reader.u32();
      type = header.littleEndian ? first : second;
      symbol = header.littleEndian ? second : first;
      if (withAddend) addend = reader.i64();
    } else {
      offset = reader.u32();
      const info = reader.u32();
      type = info & 0xff;
      symbol = info >>> 8;
      if (withAddend) addend = BigInt(reader.i32());
    }
    if (symbol >= symbolCount) {
      throw elfError("ERR_OUT_OF_RANGE", `Names symbol ${symbol}, there are ${symbolCount}`, reader.path, at);
    }
    if (isObject && offset >= target.size) {
      const where = `${sectionPath(target)} of ${target.size} bytes`;
      throw elfError("ERR_OUT_OF_RANGE", `Offset ${offset} is outside of ${where}`, reader.path, at);
    }
    relocations.push({ index, offset, type, symbol, addend });
  }
  return { section, target, symbols, relocations };
}

function symbolsOf(elf: ElfFile, section: ElfSection): ElfSection | undefined {
  const symbols = elf.sections[section.link];
  const path = sectionPath(section);
  if (symbols === undefined) {
    throw elfError("ERR_OUT_OF_RANGE", `Links to section ${section.link}, there are ${elf.sections.length}`, path);
  }
  // Relocations of a program without symbols link to section 0.
  if (symbols.type === SectionType.null) return undefined;
  if (symbols.type !== SectionType.symtab && symbols.type !== SectionType.dynsym) {
    const found = `${sectionPath(symbols)} of type ${named(SectionType, symbols.type)}`;
    throw elfError("ERR_ELF_INVALID", `Links to ${found}, expected a symbol table`, path);
  }
  return symbols;
}
