// Browser-safe.

import type { Reader } from "../bytes/index.ts";
import { named, SectionType, SHN } from "./constants.ts";
import { elfError, elfReader, sectionPath } from "./errors.ts";
import { LAYOUT } from "./header.ts";
import { sectionData } from "./read.ts";
import { linkedStrings } from "./strings.ts";
import type { ElfFile, ElfSection, ElfSymbol, SpecialSection } from "./types.ts";

/**
 * The symbol table of a file.
 *
 * @param elf the file
 * @param type `symtab` (default), or `dynsym`, which stripped programs and libraries still have
 * @returns its section; `undefined` when there is none
 * @throws ElfError when there are several
 */
export function findSymbolTable(elf: ElfFile, type: "symtab" | "dynsym" = "symtab"): ElfSection | undefined {
  const tables = elf.sections.filter((section) => section.type === SectionType[type]);
  if (tables.length > 1) {
    throw elfError(
      "ERR_ELF_INVALID",
      `Second symbol table, the first is ${sectionPath(tables[0]!)}`,
      sectionPath(tables[1]!),
    );
  }
  return tables[0];
}

/**
 * Reads a symbol table.
 *
 * @param elf the file
 * @param table default: the only one of type `symtab`
 * @returns all symbols by number, the empty first one included
 * @throws ElfError when there is no table, or it is malformed: a size that is no multiple of an entry, a link that
 *   leads to no string table, a name or section that does not exist
 */
export function readSymbols(elf: ElfFile, table?: ElfSection): ElfSymbol[] {
  const section = table ?? findSymbolTable(elf);
  if (section === undefined) {
    throw elfError("ERR_ELF_INVALID", "No symbol table", "", undefined, "Was the object stripped of its symbols?");
  }
  const { header } = elf;
  const path = sectionPath(section);
  if (section.type !== SectionType.symtab && section.type !== SectionType.dynsym) {
    const found = named(SectionType, section.type);
    throw elfError("ERR_ELF_INVALID", `Type is ${found}, expected 2 (symtab) or 11 (dynsym)`, path);
  }
  const entry = LAYOUT[header.class].symbol;
  checkEntries(section, entry);
  const data = sectionData(elf, section);
  const names = linkedStrings(elf, section);
  const extended = extendedIndexes(elf, section);
  const count = data.length / entry;
  const reader = elfReader(data, header.littleEndian, path, section.offset);
  const symbols: ElfSymbol[] = [];
  for (let index = 0; index < count; index++) {
    const start = reader.position;
    const nameOffset = reader.u32();
    let info: number;
    let other: number;
    let shndx: number;
    let value: bigint;
    let size: bigint;
    if (header.class === 64) {
      info = reader.u8();
      other = reader.u8();
      shndx = reader.u16();
      value = reader.u64();
      size = reader.u64();
    } else {
      value = BigInt(reader.u32());
      size = BigInt(reader.u32());
      info = reader.u8();
      other = reader.u8();
      shndx = reader.u16();
    }
    const at = section.offset + start;
    const where = `${path} symbol[${index}]`;
    symbols.push({
      index,
      name: names(nameOffset, where, at),
      binding: info >>> 4,
      type: info & 0xf,
      visibility: other & 3,
      section: sectionOf(elf, shndx, extended, index, where, at),
      value,
      size,
    });
  }
  return symbols;
}

/**
 * Checks that a section is made of entries of one size.
 *
 * @throws ElfError
 */
export function checkEntries(section: ElfSection, entry: number): void {
  const path = sectionPath(section);
  if (section.entrySize !== entry) {
    throw elfError("ERR_ELF_INVALID", `Entry size is ${section.entrySize}, expected ${entry}`, path);
  }
  if (section.size % entry !== 0) {
    throw elfError("ERR_ELF_INVALID", `Size ${section.size} is no multiple of the entry size ${entry}`, path);
  }
}

/** The table of section numbers that do not fit 16 bits, which goes with a symbol table. */
function extendedIndexes(elf: ElfFile, table: ElfSection): Reader | undefined {
  const section = elf.sections.find(
    (each) => each.type === SectionType.symtab_shndx && each.link === table.index && each.index !== table.index,
  );
  if (section === undefined) return undefined;
  return elfReader(sectionData(elf, section), elf.header.littleEndian, sectionPath(section), section.offset);
}

function sectionOf(
  elf: ElfFile,
  shndx: number,
  extended: Reader | undefined,
  index: number,
  path: string,
  at: number,
): number | SpecialSection {
  let section = shndx;
  if (shndx === SHN.undef) return "undefined";
  if (shndx === SHN.xindex) {
    if (extended === undefined || 4 * index + 4 > extended.length) {
      throw elfError("ERR_ELF_INVALID", "Section number is in a table of extended numbers that lacks it", path, at);
    }
    section = extended.seek(4 * index).u32();
  } else if (shndx >= SHN.loreserve) {
    return shndx === SHN.abs ? "absolute" : shndx === SHN.common ? "common" : "reserved";
  }
  if (section >= elf.sections.length) {
    const range = `there are ${elf.sections.length}`;
    throw elfError("ERR_OUT_OF_RANGE", `Lies in section ${section}, ${range}`, path, at);
  }
  return section;
}

/**
 * Where in the bytes of its section a symbol of an object lies.
 *
 * @param elf an object, not a program
 * @param symbol one of its symbols
 * @returns section, and offset and size in bytes
 * @throws ElfError when it lies in no section, or reaches past its end
 */
export function symbolExtent(
  elf: ElfFile,
  symbol: ElfSymbol,
): { readonly section: ElfSection; readonly offset: number; readonly size: number } {
  const path = `symbol[${symbol.index}] "${symbol.name}"`;
  const section = typeof symbol.section === "number" ? elf.sections[symbol.section] : undefined;
  if (section === undefined) throw elfError("ERR_ELF_INVALID", `Lies in no section: ${symbol.section}`, path);
  const { value, size } = symbol;
  if (value > section.size || size > BigInt(section.size) - value) {
    const found = `${size} bytes at offset ${value}`;
    throw elfError("ERR_OUT_OF_RANGE", `${found} cross the end of ${sectionPath(section)} at ${section.size}`, path);
  }
  return { section, offset: Number(value), size: Number(size) };
}
