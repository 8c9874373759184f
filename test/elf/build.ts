import { readFileSync } from "node:fs";
import { join } from "node:path";
import {
  type ElfFile,
  type ElfSpec,
  readRelocations,
  readSymbols,
  relocationSections,
  SectionType,
  sectionData,
} from "../../src/elf/index.ts";
import { repository } from "../support/harness.ts";

/** Bytes of `test/fixtures/NAME`, in a buffer of their own. */
export function fixture(name: string): Uint8Array {
  return new Uint8Array(readFileSync(join(repository, "test/fixtures", name)));
}

/** What `writeElf` needs to write an object like this one. */
export function respec(elf: ElfFile): ElfSpec {
  const made: readonly number[] = [
    SectionType.null,
    SectionType.symtab,
    SectionType.strtab,
    SectionType.rel,
    SectionType.rela,
    SectionType.llvm_addrsig,
  ];
  const kept = elf.sections.filter((section) => !made.includes(section.type));
  const places = new Map(kept.map((section, i) => [section.index, i]));
  return {
    littleEndian: elf.header.littleEndian,
    type: elf.header.type,
    machine: elf.header.machine,
    sections: kept.map((section) => ({
      name: section.name,
      type: section.type,
      flags: section.flags,
      alignment: section.alignment,
      entrySize: section.entrySize,
      ...(section.type === SectionType.nobits ? { size: section.size } : { data: sectionData(elf, section) }),
      relocations: relocationSections(elf, section).flatMap((table) =>
        readRelocations(elf, table).relocations.map(({ offset, type, symbol, addend }) => ({
          offset,
          type,
          symbol: symbol - 1,
          addend,
        })),
      ),
    })),
    symbols: readSymbols(elf)
      .slice(1)
      .map((symbol) => ({
        name: symbol.name,
        binding: symbol.binding,
        type: symbol.type,
        visibility: symbol.visibility,
        section: typeof symbol.section === "number" ? places.get(symbol.section)! : symbol.section,
        value: symbol.value,
        size: symbol.size,
      })),
  };
}
