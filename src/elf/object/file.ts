// Browser-safe.

import { type Btf, type BtfDatasec, type BtfExt, openBtf, readBtfExt, validateBtf } from "../../btf/index.ts";
import { type BtfSection, readBtfSections } from "../btf-sections.ts";
import { BpfRelocation, named, SectionFlag, SectionType, SHN, SymbolBinding } from "../constants.ts";
import { elfError, sectionPath } from "../errors.ts";
import { readElf, requireBpf } from "../read.ts";
import { readRelocations, relocationSections } from "../relocations.ts";
import { readSymbols } from "../symbols.ts";
import type { ElfFile, ElfRelocation, ElfSection, ElfSymbol } from "../types.ts";

/** What a section of an object is for. */
export type SectionRole =
  | "code"
  | "data"
  | "rodata"
  | "bss"
  | "maps"
  | "legacy_maps"
  | "struct_ops"
  | "arena"
  | "jump_tables"
  | "license"
  | "version"
  | "other";

/** An object file with what the parts of the reader share: its tables, read and checked. */
export interface ObjectFile {
  readonly elf: ElfFile;
  readonly littleEndian: boolean;
  readonly symbols: readonly ElfSymbol[];
  /** Sections by name; of several of one name the first. */
  readonly sectionsByName: ReadonlyMap<string, ElfSection>;
  /** Symbols that lie in a section, by its number. */
  readonly symbolsIn: (section: number) => readonly ElfSymbol[];
  /** By number of the section. */
  readonly roles: readonly SectionRole[];
  /** Sections of relocations, by number of the section that they change. */
  readonly relocationsOf: (section: number) => readonly ElfSection[];
  /** What it says of types, as found; `undefined` when there is nothing. */
  readonly btf: Btf | undefined;
  /** Sections of variables in {@link btf}, by name. */
  readonly datasecs: ReadonlyMap<string, BtfDatasec>;
  /** What it says of instructions. */
  readonly ext: BtfExt;
  readonly warnings: string[];
}

const NO_EXT: BtfExt = { funcInfos: [], lineInfos: [], coreRelos: [] };

/**
 * Opens an object file.
 *
 * @throws ElfError, BtfError
 */
export function openObject(bytes: Uint8Array): ObjectFile {
  const elf = requireBpf(readElf(bytes));
  const symbols = readSymbols(elf);
  const sections = readBtfSections(elf);
  const btf = readTypes(sections.btf);
  const datasecs = new Map<string, BtfDatasec>();
  const warnings: string[] = [];
  let ext = NO_EXT;
  if (btf !== undefined) {
    for (const type of btf.types()) {
      if (type.kind === "datasec" && !datasecs.has(type.name)) datasecs.set(type.name, type);
    }
    if (sections.btfExt !== undefined) ext = readBtfExt(sections.btfExt.bytes, btf, sections.btfExt);
  }
  return {
    elf,
    littleEndian: elf.header.littleEndian,
    symbols,
    sectionsByName: new Map([...elf.sections].reverse().map((section) => [section.name, section])),
    symbolsIn: grouped(symbols, ({ section }) => (typeof section === "number" ? section : undefined)),
    relocationsOf: grouped(relocationSections(elf), ({ info }) => info),
    roles: elf.sections.map((section) => roleOf(section)),
    btf,
    datasecs,
    ext,
    warnings,
  };
}

/** Groups by a number: once, as there may be many of both. */
function grouped<T>(items: readonly T[], key: (item: T) => number | undefined): (key: number) => readonly T[] {
  const groups = new Map<number, T[]>();
  for (const item of items) {
    const number = key(item);
    if (number === undefined) continue;
    const group = groups.get(number);
    if (group === undefined) groups.set(number, [item]);
    else group.push(item);
  }
  return (number) => groups.get(number) ?? [];
}

function readTypes(section: BtfSection | undefined): Btf | undefined {
  if (section === undefined) return undefined;
  // Pointers of BPF always have 64 bits; without this, an object without the type `long` would be guessed at.
  const btf = openBtf(section.bytes, { path: section.path, offset: section.offset, pointerSize: 8 });
  validateBtf(btf);
  return btf;
}

function roleOf(section: ElfSection): SectionRole {
  const { name, type, size } = section;
  if (type === SectionType.nobits) {
    if ((section.flags & SectionFlag.execinstr) !== 0 && size > 0) return "code";
    return name === ".bss" || name.startsWith(".bss.") ? "bss" : "other";
  }
  if (type !== SectionType.progbits) return "other";
  if (name === "license") return "license";
  if (name === "version") return "version";
  // As libbpf had it until 1.0, gobpf (`maps/NAME`) and ir-keytable (`lirc_mode2/maps`).
  if (name === "maps" || name.startsWith("maps/") || name.endsWith("/maps")) return "legacy_maps";
  if (name === ".maps") return "maps";
  if (size === 0) return "other";
  if ((section.flags & SectionFlag.execinstr) !== 0) return "code";
  if (name === ".data" || name.startsWith(".data.")) return "data";
  if (name === ".rodata" || name.startsWith(".rodata.")) return "rodata";
  if (/^\??\.struct_ops(\.link)?$/.test(name)) return "struct_ops";
  if (name === ".addr_space.1") return "arena";
  if (name === ".jumptables") return "jump_tables";
  return "other";
}

/** How a symbol is called in paths and messages. */
export function symbolName(symbol: ElfSymbol): string {
  return symbol.name === "" ? `symbol[${symbol.index}]` : `symbol[${symbol.index}] "${symbol.name}"`;
}

/** A relocation with the symbol it refers to. */
export interface ResolvedRelocation extends ElfRelocation {
  /** The symbol; a section symbol has the name of its section. */
  readonly target: ElfSymbol;
  /** For error messages: relocation section and number. */
  readonly path: string;
}

/** Relocation types that fit data: 64 bits, under both of their names. */
export const DATA_RELOCATIONS: readonly number[] = [BpfRelocation["64_64"], BpfRelocation["64_abs64"]];

/**
 * The relocations of a section, by offset.
 *
 * @param types which ones may occur
 * @throws ElfError for one of another type, one with an addend of its own, two of the same place, or one without a
 *   symbol
 */
export function relocationsOf(file: ObjectFile, section: ElfSection, types: readonly number[]): ResolvedRelocation[] {
  const found: ResolvedRelocation[] = [];
  for (const table of file.relocationsOf(section.index)) {
    const path = sectionPath(table);
    if (table.type === SectionType.rela) {
      throw elfError("ERR_UNSUPPORTED_FORMAT", "Relocations have addends (rela), those of BPF have none (rel)", path);
    }
    for (const relocation of readRelocations(file.elf, table).relocations) {
      const where = `${path} relocation[${relocation.index}]`;
      const { type, offset } = relocation;
      if (type === BpfRelocation.none) continue;
      if (!types.includes(type)) {
        const wanted = types.map((number) => named(BpfRelocation, number)).join(" or ");
        throw elfError("ERR_ELF_INVALID", `Type is ${named(BpfRelocation, type)}, expected ${wanted}`, where);
      }
      const target = file.symbols[relocation.symbol];
      if (target === undefined || relocation.symbol === 0) {
        throw elfError("ERR_ELF_INVALID", `Refers to symbol ${relocation.symbol}, which is none`, where);
      }
      if (offset % 8 !== 0) throw elfError("ERR_ELF_INVALID", `Offset ${offset} is no multiple of 8`, where);
      found.push({ ...relocation, target, path: where });
    }
  }
  found.sort((a, b) => a.offset - b.offset);
  for (let i = 1; i < found.length; i++) {
    const { offset, path } = found[i]!;
    if (offset === found[i - 1]!.offset) {
      throw elfError(
        "ERR_ELF_INVALID",
        `Second relocation of offset ${offset}, the first is ${found[i - 1]!.path}`,
        path,
      );
    }
  }
  return found;
}

/** Whether a symbol is taken from elsewhere. */
export function isExtern(symbol: ElfSymbol): boolean {
  return symbol.section === "undefined" && symbol.index !== SHN.undef && symbol.binding !== SymbolBinding.local;
}

/** The section of a symbol; `undefined` when it lies in none. */
export function sectionOf(file: ObjectFile, symbol: ElfSymbol): ElfSection | undefined {
  return typeof symbol.section === "number" ? file.elf.sections[symbol.section] : undefined;
}

/** An object for named things which has no names of its own, so that `__proto__` is a name like others. */
export function emptyRecord<T>(): Record<string, T> {
  return Object.create(null) as Record<string, T>;
}

/** Names that differ: one that is taken gets a number behind it. */
export class NamePool {
  readonly #taken = new Set<string>();
  readonly #next = new Map<string, number>();

  take(name: string): string {
    let free = name;
    let number = this.#next.get(name) ?? 2;
    while (this.#taken.has(free)) free = `${name}.${number++}`;
    this.#next.set(name, number);
    this.#taken.add(free);
    return free;
  }
}
