// Browser-safe.

import { ElfMachine, ElfType, named, SectionFlag, SectionType } from "./constants.ts";
import { checkInside, elfError, elfReader, sectionPath } from "./errors.ts";
import { LAYOUT, readHeader } from "./header.ts";
import { type ElfSource, memorySource } from "./source.ts";
import { type StringLookup, stringTable } from "./strings.ts";
import type { ElfFile, ElfHeader, ElfSection } from "./types.ts";

/** How often the length of the file its sections may add up to, when they overlap. */
const MOST_OVERLAP = 8;

/**
 * Reads an ELF file: its header and section headers. What the sections hold is read on demand, by {@link sectionData},
 * `readSymbols`, `readRelocations` and `readSegments`. Takes objects, programs and libraries for any machine, in both
 * byte orders; {@link requireBpf} tells whether it is a BPF object.
 *
 * Safe for files from anywhere: every number is checked before it is used, nothing is allocated by a number that was
 * only read, and sections may overlap.
 *
 * @param bytes the whole file; kept by reference and must not change
 * @throws ElfError which names the field or section at fault, its byte, and what was found and expected
 *
 * @example
 * ```ts
 * import { readFileSync } from "node:fs";
 * import { readElf } from "rawbpf/elf";
 *
 * const elf = readElf(readFileSync(process.execPath));
 * for (const section of elf.sections) console.log(section.name, section.size);
 * ```
 */
export function readElf(bytes: Uint8Array): ElfFile {
  return { bytes, ...readSectionHeaders(memorySource(bytes)) };
}

/**
 * Reads header and section headers of a file that need not be in memory.
 *
 * @param source the file; only its header, section headers and names of sections are read
 * @throws ElfError
 */
export function readSectionHeaders(source: ElfSource): Pick<ElfFile, "header" | "sections"> {
  const header = readHeader(source);
  const { sectionNames, sectionCount } = header;
  const table = source.read(header.sectionOffset, sectionCount * LAYOUT[header.class].section);
  let names: StringLookup = () => "";
  if (sectionNames !== 0) {
    const section = readSection(source.length, table, header, sectionNames, undefined);
    const path = sectionPath(section);
    if (section.type !== SectionType.strtab) {
      const found = named(SectionType, section.type);
      throw elfError("ERR_ELF_INVALID", `Type is ${found}, expected 3 (strtab) for the names of sections`, path);
    }
    names = stringTable(source.read(section.offset, section.size), path);
  }
  const sections: ElfSection[] = [];
  let total = 0;
  for (let index = 0; index < sectionCount; index++) {
    const section = readSection(source.length, table, header, index, names);
    if (hasBytes(section)) total += section.size;
    if (total > MOST_OVERLAP * source.length) {
      const message = `Sections overlap: they add up to ${MOST_OVERLAP} times the ${source.length} bytes of the file`;
      throw elfError("ERR_LIMIT", message, sectionPath(section));
    }
    sections.push(section);
  }
  return { header, sections };
}

function hasBytes(section: ElfSection): boolean {
  return section.type !== SectionType.null && section.type !== SectionType.nobits;
}

function readSection(
  total: number,
  table: Uint8Array,
  header: ElfHeader,
  index: number,
  names: StringLookup | undefined,
): ElfSection {
  const wide = header.class === 64;
  const base = header.sectionOffset;
  const start = index * LAYOUT[header.class].section;
  const at = base + start;
  const reader = elfReader(table, header.littleEndian, `section[${index}]`, base).seek(start);
  const word = (): bigint => (wide ? reader.u64() : BigInt(reader.u32()));
  const nameOffset = reader.u32();
  const name = names === undefined ? "" : names(nameOffset, `section[${index}]`, at);
  const path = sectionPath({ index, name });
  const type = reader.u32();
  const flags = word();
  const address = word();
  const offsetAt = base + reader.position;
  const offset = word();
  const size = word();
  const link = reader.u32();
  const info = reader.u32();
  const alignment = word();
  const entrySize = word();
  if (flags > 0xffffffffn) {
    throw elfError("ERR_ELF_INVALID", `Flags are 0x${flags.toString(16)}, expected 32 bits`, path, at + 8);
  }
  if (type === SectionType.nobits) {
    if (size > BigInt(Number.MAX_SAFE_INTEGER)) {
      throw elfError("ERR_OUT_OF_RANGE", `Size is ${size}, expected at most 2^53 - 1`, path, offsetAt);
    }
  } else if (type !== SectionType.null) {
    checkInside(total, offset, size, path, offsetAt, "the section");
  }
  return {
    index,
    name,
    type,
    flags: Number(flags),
    address,
    offset: Number(offset),
    size: Number(size),
    link,
    info,
    alignment: Number(alignment),
    entrySize: Number(entrySize),
  };
}

/**
 * Bytes of a section.
 *
 * @param elf the file
 * @param section one of its sections
 * @returns a view on the file, not a copy
 * @throws ElfError when the section has no bytes in the file (`nobits`) or is compressed
 */
export function sectionData(elf: ElfFile, section: ElfSection): Uint8Array {
  if (!hasBytes(section)) {
    const found = named(SectionType, section.type);
    throw elfError("ERR_ELF_INVALID", `Type is ${found}: the section has no bytes in the file`, sectionPath(section));
  }
  if ((section.flags & SectionFlag.compressed) !== 0) {
    throw elfError(
      "ERR_UNSUPPORTED_FORMAT",
      "The section is compressed (SHF_COMPRESSED)",
      sectionPath(section),
      section.offset,
      "Decompress it: objcopy --decompress-debug-sections",
    );
  }
  return elf.bytes.subarray(section.offset, section.offset + section.size);
}

/**
 * The first section of a name.
 *
 * @returns `undefined` when there is none
 */
export function findSection(elf: ElfFile, name: string): ElfSection | undefined {
  return elf.sections.find((section) => section.name === name);
}

/**
 * Checks that a file is a BPF object: 64-bit, relocatable, for BPF. As libbpf, takes machine 0 for BPF too, which old
 * compilers wrote.
 *
 * @param elf the file
 * @returns the same file
 * @throws ElfError which tells what it is instead
 */
export function requireBpf(elf: ElfFile): ElfFile {
  const { header } = elf;
  const not = (field: string, found: string, wanted: string, at: number): Error =>
    elfError("ERR_ELF_INVALID", `Not a BPF object: ${field} is ${found}, expected ${wanted}`, "header", at);
  if (header.machine !== ElfMachine.bpf && header.machine !== ElfMachine.none) {
    throw not("e_machine", named(ElfMachine, header.machine), "247 (bpf)", 18);
  }
  if (header.class !== 64) throw not("EI_CLASS", "1 (32 bits)", "2 (64 bits)", 4);
  if (header.type !== ElfType.rel) throw not("e_type", named(ElfType, header.type), "1 (rel)", 16);
  if (header.sectionCount === 0) throw not("e_shoff", "0", "the offset of section headers", 40);
  if (header.sectionNames === 0) throw not("e_shstrndx", "0", "the section with the names of sections", 62);
  return elf;
}
