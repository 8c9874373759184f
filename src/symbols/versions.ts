import { decodeUtf8 } from "../bytes/index.ts";
import { elfError, elfReader, sectionPath } from "../elf/errors.ts";
import type { ElfSource } from "../elf/source.ts";
import type { ElfHeader, ElfSection } from "../elf/types.ts";

const VERSION_DEFINITIONS = 0x6ffffffd;
const VERSION_TABLE = 0x6fffffff;
const HIDDEN = 0x8000;

/** The version of a symbol. */
export interface SymbolVersion {
  readonly name: string;
  /** Only programs that ask for this version get it: `name@VERSION` and not `name@@VERSION`. */
  readonly hidden: boolean;
}

/**
 * Reads the versions of dynamic symbols that a library defines (`.gnu.version` and `.gnu.version_d`).
 *
 * @param source the file
 * @param elf its headers
 * @param dynsym section of the dynamic symbols
 * @returns version by number of the symbol; `undefined` when the file has none
 * @throws ElfError
 */
export function readVersions(
  source: ElfSource,
  elf: { readonly header: ElfHeader; readonly sections: readonly ElfSection[] },
  dynsym: ElfSection,
): ((index: number) => SymbolVersion | undefined) | undefined {
  const { header, sections } = elf;
  const table = sections.find((each) => each.type === VERSION_TABLE && each.link === dynsym.index);
  const definitions = sections.find((each) => each.type === VERSION_DEFINITIONS);
  if (table === undefined || definitions === undefined) return undefined;
  const names = definedVersions(source, header, sections, definitions);
  const bytes = source.read(table.offset, table.size);
  const numbers = elfReader(bytes, header.littleEndian, sectionPath(table), table.offset);
  return (index) => {
    if (2 * index + 2 > bytes.length) return undefined;
    const number = numbers.seek(2 * index).u16();
    const name = names.get(number & ~HIDDEN);
    return name === undefined ? undefined : { name, hidden: (number & HIDDEN) !== 0 };
  };
}

function definedVersions(
  source: ElfSource,
  header: ElfHeader,
  sections: readonly ElfSection[],
  section: ElfSection,
): Map<number, string> {
  const path = sectionPath(section);
  const linked = sections[section.link];
  if (linked === undefined || linked.type !== 3) {
    throw elfError("ERR_ELF_INVALID", `Links to section ${section.link}, which is no string table`, path);
  }
  const strings = source.read(linked.offset, linked.size);
  const bytes = source.read(section.offset, section.size);
  const reader = elfReader(bytes, header.littleEndian, path, section.offset);
  const names = new Map<number, string>();
  // Each record says how far away the next one is: as many as fit are more than enough for a ring of them.
  for (let at = 0, left = Math.floor(bytes.length / 20); left > 0; left--) {
    reader.seek(at).skip(4);
    const number = reader.u16();
    reader.skip(6);
    const auxiliary = reader.u32();
    const next = reader.u32();
    const nameOffset = reader.seek(at + auxiliary).u32();
    const end = strings.indexOf(0, nameOffset);
    if (nameOffset >= strings.length || end < 0 || end - nameOffset > 1024) {
      throw elfError("ERR_OUT_OF_RANGE", `Name offset ${nameOffset} leads to no name in ${sectionPath(linked)}`, path);
    }
    names.set(number, decodeUtf8(strings.subarray(nameOffset, end)));
    if (next === 0) break;
    at += next;
  }
  return names;
}
