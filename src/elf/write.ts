// Browser-safe.

import { encodeUtf8, Writer } from "../bytes/index.ts";
import { ElfMachine, ElfType, SectionFlag, SectionType, SHN, SymbolBinding } from "./constants.ts";
import { elfError } from "./errors.ts";
import { LAYOUT } from "./header.ts";
import type { SpecialSection } from "./types.ts";

/** A relocation to write. */
export interface ElfRelocationSpec {
  /** Offset inside the section, in bytes. */
  readonly offset: number;
  /** Depends on the machine: one of `BpfRelocation`, say. */
  readonly type: number;
  /** Name of a symbol that is there once, or its position in {@link ElfSpec.symbols}. */
  readonly symbol: string | number;
  /** What is added to the symbol's value. All relocations of a section have one (`rela`), or none has (`rel`). */
  readonly addend?: bigint | undefined;
}

/** A section to write. */
export interface ElfSectionSpec {
  /** Its name. */
  readonly name: string;
  /** One of `SectionType`. Default `progbits`. */
  readonly type?: number | undefined;
  /** Bits of `SectionFlag`. Default none. */
  readonly flags?: number | undefined;
  /** Its bytes; none for `nobits`. */
  readonly data?: Uint8Array | undefined;
  /** Bytes that a section of type `nobits` takes in memory. */
  readonly size?: number | undefined;
  /** Alignment in bytes, a power of two. Default 1. */
  readonly alignment?: number | undefined;
  /** Bytes of one entry, in sections of equal entries. Default 0. */
  readonly entrySize?: number | undefined;
  /** Name or position of the section it goes with. Default none. */
  readonly link?: string | number | undefined;
  /** Depends on the type. Default 0. */
  readonly info?: number | undefined;
  /** Relocations of this section; they are put into a section of their own. */
  readonly relocations?: readonly ElfRelocationSpec[] | undefined;
}

/** A symbol to write. */
export interface ElfSymbolSpec {
  /** Its name. Default empty. */
  readonly name?: string | undefined;
  /** One of `SymbolBinding`. Default `global`. */
  readonly binding?: number | undefined;
  /** One of `SymbolType`. Default `notype`. */
  readonly type?: number | undefined;
  /** One of `SymbolVisibility`. Default `default`. */
  readonly visibility?: number | undefined;
  /** Position of its section in {@link ElfSpec.sections}, or why it is in none. Default `undefined`: from elsewhere. */
  readonly section?: number | SpecialSection | undefined;
  /** Offset inside the section. Default 0. */
  readonly value?: bigint | number | undefined;
  /** Bytes. Default 0. */
  readonly size?: bigint | number | undefined;
}

/** What {@link writeElf} writes. */
export interface ElfSpec {
  /** Byte order. Default `true`. */
  readonly littleEndian?: boolean | undefined;
  /** One of `ElfType`. Default `rel`: an object. */
  readonly type?: number | undefined;
  /** One of `ElfMachine`. Default `bpf`. */
  readonly machine?: number | undefined;
  /** Flags that belong to the processor. Default 0. */
  readonly flags?: number | undefined;
  /** Sections, without those for names, symbols and relocations: these are made. */
  readonly sections: readonly ElfSectionSpec[];
  /** Symbols, without the empty first one; local ones are moved to the front, as the format wants. */
  readonly symbols?: readonly ElfSymbolSpec[] | undefined;
}

interface Row {
  readonly name: string;
  readonly type: number;
  readonly flags: number;
  readonly data: Uint8Array;
  readonly size: number;
  readonly link: number;
  readonly info: number;
  readonly alignment: number;
  readonly entrySize: number;
}

/**
 * Writes an ELF object of 64 bits: sections in the order given, then one with relocations for each section that has
 * some, the symbols, and the strings.
 *
 * @param spec what to write
 * @returns the whole file
 * @throws ElfError when a name is ambiguous or leads nowhere, or a place lies outside of its section; RangeError when a
 *   number does not fit its field
 *
 * @example
 * ```ts
 * const bytes = writeElf({
 *   sections: [
 *     { name: "socket", flags: SectionFlag.alloc | SectionFlag.execinstr, alignment: 8, data: encode([mov(r0, 0), exit()]) },
 *     { name: "license", flags: SectionFlag.alloc | SectionFlag.write, data: encodeUtf8("GPL\0") },
 *   ],
 *   symbols: [{ name: "main", type: SymbolType.func, section: 0, size: 16 }],
 * });
 * ```
 */
export function writeElf(spec: ElfSpec): Uint8Array {
  const littleEndian = spec.littleEndian ?? true;
  const strings = new StringPool();
  const symbols = layOutSymbols(spec.symbols ?? []);
  // 0 is the empty section; ours follow it in their order.
  const rows: Row[] = spec.sections.map((section, i) => ownRow(spec, section, i));
  const symtabIndex =
    1 + rows.length + spec.sections.filter((section) => (section.relocations?.length ?? 0) > 0).length;
  for (const [i, section] of spec.sections.entries()) {
    if (section.relocations === undefined || section.relocations.length === 0) continue;
    rows.push(relocationRow(section, i, section.relocations, symbols, symtabIndex, littleEndian));
  }
  // Section numbers that do not fit 16 bits stand in a table beside the symbols.
  const extended = symbols.ordered.some(
    (symbol) => typeof symbol.section === "number" && symbol.section + 1 >= SHN.loreserve,
  );
  const strtabIndex = symtabIndex + (extended ? 2 : 1);
  rows.push(symbolRow(spec, symbols, strings, strtabIndex, littleEndian));
  if (extended) rows.push(extendedRow(symbols, symtabIndex, littleEndian));
  for (const row of rows) strings.add(row.name);
  strings.add(".strtab");
  rows.push(plainRow(".strtab", SectionType.strtab, strings.bytes(), 1));
  return assemble(spec, rows, strings, strtabIndex, littleEndian);
}

function ownRow(spec: ElfSpec, section: ElfSectionSpec, index: number): Row {
  const path = specPath(section, index);
  const type = section.type ?? SectionType.progbits;
  const nobits = type === SectionType.nobits;
  if (type === SectionType.symtab || type === SectionType.rel || type === SectionType.rela) {
    throw elfError("ERR_ELF_INVALID", `Type is ${type}: give symbols and relocations by their own fields`, path);
  }
  if (nobits && section.data !== undefined)
    throw elfError("ERR_ELF_INVALID", "Type is 8 (nobits), but has bytes", path);
  if (!nobits && section.size !== undefined && section.size !== section.data?.length) {
    throw elfError("ERR_ELF_INVALID", `Size is ${section.size}, but has ${section.data?.length ?? 0} bytes`, path);
  }
  const alignment = section.alignment ?? 1;
  if (!(Number.isInteger(alignment) && alignment > 0 && Number.isInteger(Math.log2(alignment)))) {
    throw elfError("ERR_ELF_INVALID", `Alignment is ${alignment}, expected a power of two`, path);
  }
  const data = section.data ?? new Uint8Array(0);
  return {
    name: section.name,
    type,
    flags: section.flags ?? 0,
    data,
    size: nobits ? (section.size ?? 0) : data.length,
    link: section.link === undefined ? 0 : sectionNumber(spec, section.link, path),
    info: section.info ?? 0,
    alignment,
    entrySize: section.entrySize ?? 0,
  };
}

function plainRow(name: string, type: number, data: Uint8Array, alignment: number): Row {
  return { name, type, flags: 0, data, size: data.length, link: 0, info: 0, alignment, entrySize: 0 };
}

function sectionNumber(spec: ElfSpec, reference: string | number, path: string): number {
  const index =
    typeof reference === "number" ? reference : spec.sections.findIndex((section) => section.name === reference);
  if (!(index >= 0 && index < spec.sections.length)) {
    throw elfError("ERR_ELF_INVALID", `Names section ${reference}, which does not exist`, path);
  }
  return index + 1;
}

/** Symbols in the order of the file, and where each went. */
interface SymbolLayout {
  readonly ordered: readonly ElfSymbolSpec[];
  readonly localCount: number;
  /** Number in the file by position in the spec. */
  readonly numbers: readonly number[];
  /** Position in the spec by name; -1 when there are several. */
  readonly byName: ReadonlyMap<string, number>;
}

function layOutSymbols(symbols: readonly ElfSymbolSpec[]): SymbolLayout {
  const positions = symbols.map((_, i) => i);
  const local = positions.filter((i) => symbols[i]!.binding === SymbolBinding.local);
  const order = [...local, ...positions.filter((i) => symbols[i]!.binding !== SymbolBinding.local)];
  const numbers: number[] = [];
  for (const [place, position] of order.entries()) numbers[position] = place + 1;
  const byName = new Map<string, number>();
  for (const [i, { name }] of symbols.entries()) {
    if (name !== undefined && name !== "") byName.set(name, byName.has(name) ? -1 : i);
  }
  return { ordered: order.map((i) => symbols[i]!), localCount: local.length, numbers, byName };
}

function relocationRow(
  section: ElfSectionSpec,
  index: number,
  relocations: readonly ElfRelocationSpec[],
  symbols: SymbolLayout,
  symtab: number,
  littleEndian: boolean,
): Row {
  const writer = new Writer({ littleEndian, capacity: 24 * relocations.length });
  const withAddend = relocations[0]!.addend !== undefined;
  const size = section.data?.length ?? 0;
  for (const [i, { offset, type, symbol, addend }] of relocations.entries()) {
    const path = `${specPath(section, index)} relocation[${i}]`;
    if ((addend !== undefined) !== withAddend) {
      throw elfError("ERR_ELF_INVALID", "Some relocations of the section have an addend, others have none", path);
    }
    if (!(Number.isInteger(offset) && offset >= 0 && offset < size)) {
      throw elfError("ERR_OUT_OF_RANGE", `Offset ${offset} is outside of ${size} bytes`, path);
    }
    const number = symbolNumber(symbols, symbol, path);
    writer.u64(offset);
    if (littleEndian) writer.u32(type).u32(number);
    else writer.u32(number).u32(type);
    if (addend !== undefined) writer.u64(BigInt.asUintN(64, addend));
  }
  const data = writer.finish();
  return {
    name: `${withAddend ? ".rela" : ".rel"}${section.name}`,
    type: withAddend ? SectionType.rela : SectionType.rel,
    flags: SectionFlag.info_link,
    data,
    size: data.length,
    link: symtab,
    info: index + 1,
    alignment: 8,
    entrySize: withAddend ? LAYOUT[64].rela : LAYOUT[64].rel,
  };
}

function symbolNumber(symbols: SymbolLayout, reference: string | number, path: string): number {
  const position = typeof reference === "number" ? reference : symbols.byName.get(reference);
  if (position === -1 && typeof reference === "string") {
    throw elfError("ERR_ELF_INVALID", `Several symbols are called "${reference}": give the position`, path);
  }
  const number = position === undefined ? undefined : symbols.numbers[position];
  if (number === undefined) throw elfError("ERR_ELF_INVALID", `Names symbol ${reference}, which does not exist`, path);
  return number;
}

const SPECIAL: Readonly<Record<SpecialSection, number | undefined>> = {
  undefined: SHN.undef,
  absolute: SHN.abs,
  common: SHN.common,
  reserved: undefined,
};

function symbolRow(
  spec: ElfSpec,
  symbols: SymbolLayout,
  strings: StringPool,
  strtab: number,
  littleEndian: boolean,
): Row {
  const { ordered } = symbols;
  const writer = new Writer({ littleEndian, capacity: LAYOUT[64].symbol * (ordered.length + 1) });
  writer.bytes(new Uint8Array(LAYOUT[64].symbol));
  for (const symbol of ordered) {
    const path = `symbol "${symbol.name ?? ""}"`;
    const { section = "undefined", visibility = 0, binding = SymbolBinding.global, type = 0 } = symbol;
    const number = typeof section === "number" ? sectionNumber(spec, section, path) : SPECIAL[section];
    if (number === undefined) throw elfError("ERR_ELF_INVALID", `Section "${section}" cannot be written`, path);
    if (binding >>> 0 > 15 || type >>> 0 > 15)
      throw new RangeError(`Binding ${binding} or type ${type} does not fit 4 bits`);
    writer.u32(strings.add(symbol.name ?? "")).u8((binding << 4) | type);
    writer.u8(visibility).u16(typeof section === "number" && number >= SHN.loreserve ? SHN.xindex : number);
    writer.u64(symbol.value ?? 0).u64(symbol.size ?? 0);
  }
  const data = writer.finish();
  return {
    ...plainRow(".symtab", SectionType.symtab, data, 8),
    link: strtab,
    info: symbols.localCount + 1,
    entrySize: LAYOUT[64].symbol,
  };
}

function extendedRow(symbols: SymbolLayout, symtab: number, littleEndian: boolean): Row {
  const writer = new Writer({ littleEndian, capacity: 4 * (symbols.ordered.length + 1) }).u32(0);
  for (const { section } of symbols.ordered) {
    writer.u32(typeof section === "number" && section + 1 >= SHN.loreserve ? section + 1 : 0);
  }
  const row = plainRow(".symtab_shndx", SectionType.symtab_shndx, writer.finish(), 4);
  return { ...row, link: symtab, entrySize: 4 };
}

function assemble(
  spec: ElfSpec,
  rows: readonly Row[],
  strings: StringPool,
  strtab: number,
  little: boolean,
): Uint8Array {
  const writer = new Writer({ littleEndian: little, capacity: 4096 });
  writer.bytes(new Uint8Array(LAYOUT[64].header));
  const offsets: number[] = [];
  for (const row of rows) {
    writer.align(row.alignment);
    offsets.push(writer.length);
    writer.bytes(row.data);
  }
  writer.align(8);
  const headersAt = writer.length;
  const count = rows.length + 1;
  const many = count >= SHN.loreserve;
  const manyNames = strtab >= SHN.loreserve;
  // Section 0 takes the numbers that do not fit the header.
  writer
    .bytes(new Uint8Array(32))
    .u64(many ? count : 0)
    .u32(manyNames ? strtab : 0)
    .u32(0)
    .u64(0)
    .u64(0);
  for (const [i, row] of rows.entries()) {
    writer.u32(strings.add(row.name)).u32(row.type).u64(row.flags).u64(0).u64(offsets[i]!).u64(row.size);
    writer.u32(row.link).u32(row.info).u64(row.alignment).u64(row.entrySize);
  }
  const bytes = writer.finish();
  const header = new Writer({ littleEndian: little, capacity: LAYOUT[64].header });
  header.bytes(Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 2, little ? 1 : 2, 1, 0)).bytes(new Uint8Array(8));
  header
    .u16(spec.type ?? ElfType.rel)
    .u16(spec.machine ?? ElfMachine.bpf)
    .u32(1)
    .u64(0)
    .u64(0)
    .u64(headersAt);
  header
    .u32(spec.flags ?? 0)
    .u16(LAYOUT[64].header)
    .u16(0)
    .u16(0)
    .u16(LAYOUT[64].section);
  header.u16(many ? 0 : count).u16(manyNames ? SHN.xindex : strtab);
  bytes.set(header.finish());
  return bytes;
}

function specPath(section: ElfSectionSpec, index: number): string {
  return `section[${index + 1}] "${section.name}"`;
}

/** Strings of a string table, each written once. */
class StringPool {
  readonly #offsets = new Map<string, number>([["", 0]]);
  readonly #writer = new Writer().u8(0);

  add(text: string): number {
    const known = this.#offsets.get(text);
    if (known !== undefined) return known;
    if (text.includes("\0")) throw elfError("ERR_ELF_INVALID", `Name ${JSON.stringify(text)} has a NUL`, "");
    const offset = this.#writer.length;
    this.#writer.bytes(encodeUtf8(text)).u8(0);
    this.#offsets.set(text, offset);
    return offset;
  }

  bytes(): Uint8Array {
    return this.#writer.finish();
  }
}
