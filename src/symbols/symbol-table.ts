import { SectionFlag, SectionType, SHN, SymbolBinding, SymbolType } from "../elf/constants.ts";
import { elfError, sectionPath } from "../elf/errors.ts";
import { LAYOUT } from "../elf/header.ts";
import type { ElfSource } from "../elf/source.ts";
import { checkEntries } from "../elf/symbols.ts";
import type { ElfHeader, ElfSection } from "../elf/types.ts";
import { readVersions } from "./versions.ts";

/** How often its own length the names read from one string table may add up to. */
const MOST_OVERLAP = 16;

const GNU_IFUNC = 10;

/** What a symbol says of code. */
export const CodeKind = { none: 0, function: 1, indirect: 2, untyped: 3 } as const;

/**
 * The symbols of one table that stand for code, in columns: a program has 100,000 of them, of which one or two are
 * asked for.
 */
export interface SymbolTable {
  /** Number of symbols. */
  readonly count: number;
  /** Address of each, upper and lower half. */
  readonly high: Uint32Array;
  readonly low: Uint32Array;
  /** Bytes of each; 0 when unknown, 2^32 - 1 when more. */
  readonly sizes: Uint32Array;
  /** One of {@link CodeKind} each. */
  readonly kinds: Uint8Array;
  /** One of `SymbolBinding` each. */
  readonly bindings: Uint8Array;
  /** Where its name begins. */
  readonly names: Uint32Array;
  /** The string table. */
  readonly strings: Uint8Array;
  /** Version of each dynamic symbol; hidden ones are not what a new program gets. */
  readonly versions: readonly ({ readonly name: string; readonly hidden: boolean } | undefined)[] | undefined;
}

/**
 * Reads a symbol table.
 *
 * @param source the file
 * @param elf its headers
 * @param section a section of type `symtab` or `dynsym`
 * @throws ElfError
 */
export function readSymbolTable(
  source: ElfSource,
  elf: { readonly header: ElfHeader; readonly sections: readonly ElfSection[] },
  section: ElfSection,
): SymbolTable {
  const { header, sections } = elf;
  const path = sectionPath(section);
  const entry = LAYOUT[header.class].symbol;
  checkEntries(section, entry);
  if ((section.flags & SectionFlag.compressed) !== 0) {
    throw elfError("ERR_UNSUPPORTED_FORMAT", "The section is compressed (SHF_COMPRESSED)", path, section.offset);
  }
  const linked = sections[section.link];
  if (linked === undefined || linked.type !== SectionType.strtab) {
    throw elfError("ERR_ELF_INVALID", `Links to section ${section.link}, which is no string table`, path);
  }
  const strings = source.read(linked.offset, linked.size);
  if (strings.length > 0 && strings[strings.length - 1] !== 0) {
    throw elfError("ERR_MALFORMED", "The last name has no terminating NUL", sectionPath(linked), linked.offset);
  }
  const bytes = source.read(section.offset, section.size);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const total = bytes.length / entry;
  const table = {
    count: 0,
    high: new Uint32Array(total),
    low: new Uint32Array(total),
    sizes: new Uint32Array(total),
    kinds: new Uint8Array(total),
    bindings: new Uint8Array(total),
    names: new Uint32Array(total),
    strings,
  };
  const executable = sections.map((each) => (each.flags & SectionFlag.execinstr) !== 0);
  const versionOf = section.type === SectionType.dynsym ? readVersions(source, elf, section) : undefined;
  const versions: ({ readonly name: string; readonly hidden: boolean } | undefined)[] = [];
  const le = header.littleEndian;
  const wide = header.class === 64;
  // One pass with a DataView: the section was checked to be whole entries.
  for (let index = 0; index < total; index++) {
    const at = index * entry;
    const info = view.getUint8(at + (wide ? 4 : 12));
    const shndx = view.getUint16(at + (wide ? 6 : 14), le);
    const type = info & 0xf;
    let kind: number = CodeKind.none;
    if (type === SymbolType.func) kind = CodeKind.function;
    else if (type === GNU_IFUNC) kind = CodeKind.indirect;
    else if (type === SymbolType.notype && executable[shndx] === true) kind = CodeKind.untyped;
    if (kind === CodeKind.none || shndx === SHN.undef || shndx === SHN.common) continue;
    const name = view.getUint32(at, le);
    if (name >= strings.length) {
      const message = `Name offset ${name} is outside of ${sectionPath(linked)}, which has ${strings.length} bytes`;
      throw elfError("ERR_OUT_OF_RANGE", message, `${path} symbol[${index}]`, section.offset + at);
    }
    // `$x` and its like mark where code and data of arm64 begin.
    if (strings[name] === 0 || (kind === CodeKind.untyped && strings[name] === 0x24)) continue;
    const here = table.count++;
    table.kinds[here] = kind;
    table.bindings[here] = info >>> 4;
    table.names[here] = name;
    if (wide) {
      table.low[here] = view.getUint32(at + (le ? 8 : 12), le);
      table.high[here] = view.getUint32(at + (le ? 12 : 8), le);
      const upper = view.getUint32(at + (le ? 20 : 16), le);
      table.sizes[here] = upper > 0 ? 0xffffffff : view.getUint32(at + (le ? 16 : 20), le);
    } else {
      table.low[here] = view.getUint32(at + 4, le);
      table.sizes[here] = view.getUint32(at + 8, le);
    }
    if (versionOf !== undefined) versions.push(versionOf(index));
  }
  return { ...table, versions: versionOf === undefined ? undefined : versions };
}

/** Address of a symbol. */
export function addressAt(table: SymbolTable, index: number): bigint {
  return (BigInt(table.high[index]!) << 32n) | BigInt(table.low[index]!);
}

/** Decodes names, and stops when they add up to more than a string table can hold honestly. */
export function nameReader(table: SymbolTable): (index: number) => string {
  const { strings } = table;
  const buffer = Buffer.from(strings.buffer, strings.byteOffset, strings.length);
  let budget = MOST_OVERLAP * strings.length;
  return (index) => {
    const start = table.names[index]!;
    const end = strings.indexOf(0, start);
    budget -= end - start;
    if (budget < 0) {
      const message = `Names of symbols overlap: they add up to ${MOST_OVERLAP} times the length of their table`;
      throw elfError("ERR_LIMIT", message, "symbols");
    }
    return buffer.toString("utf8", start, end);
  };
}

/**
 * Symbols whose name is `wanted`, or `wanted` with a version behind it (`@VERSION` or `@@VERSION`), as linkers write
 * them in tables that have no versions of their own.
 *
 * @param table where to look
 * @param wanted bytes of the name
 */
export function findName(table: SymbolTable, wanted: Uint8Array): number[] {
  const { strings, names } = table;
  const length = wanted.length;
  const first = wanted[0];
  const found: number[] = [];
  for (let index = 0; index < table.count; index++) {
    const start = names[index]!;
    if (strings[start] !== first) continue;
    const behind = strings[start + length];
    if (behind !== 0 && behind !== 0x40) continue;
    let at = 1;
    while (at < length && strings[start + at] === wanted[at]) at++;
    if (at === length) found.push(index);
  }
  return found;
}

/** Whether the name of a symbol begins with some bytes. */
export function beginsWith(table: SymbolTable, index: number, prefix: Uint8Array): boolean {
  const start = table.names[index]!;
  let at = 0;
  while (at < prefix.length && table.strings[start + at] === prefix[at]) at++;
  return at === prefix.length;
}

/** Symbols in the order of their addresses, one for each address: what finds the function that code belongs to. */
export interface AddressIndex {
  /** Finds the symbol that an address lies in. */
  find(address: bigint): { readonly table: SymbolTable; readonly index: number } | undefined;
}

/** How many symbols that begin before an address may end before it too: parts of one function, labels inside of it. */
const MOST_NESTED = 64;

/**
 * Sorts the symbols of some tables.
 *
 * @param tables in which later ones only add to the earlier ones
 */
export function addressIndex(tables: readonly SymbolTable[]): AddressIndex {
  let total = 0;
  for (const table of tables) total += table.count;
  const high = new Uint32Array(total);
  const low = new Uint32Array(total);
  const owner = new Uint32Array(total);
  const place = new Uint32Array(total);
  let count = 0;
  for (const [number, table] of tables.entries()) {
    for (let index = 0; index < table.count; index++) {
      high[count] = table.high[index]!;
      low[count] = table.low[index]!;
      owner[count] = number;
      place[count] = index;
      count++;
    }
  }
  const order = Uint32Array.from({ length: total }, (_, i) => i);
  order.sort((a, b) => high[a]! - high[b]! || low[a]! - low[b]! || a - b);
  const better = (a: number, b: number): boolean => {
    const one = tables[owner[a]!]!;
    const other = tables[owner[b]!]!;
    const difference = rank(one, place[a]!) - rank(other, place[b]!);
    return difference < 0;
  };
  let kept = 0;
  for (let i = 0; i < total; i++) {
    const candidate = order[i]!;
    const last = kept === 0 ? -1 : order[kept - 1]!;
    if (last >= 0 && high[last] === high[candidate] && low[last] === low[candidate]) {
      if (better(candidate, last)) order[kept - 1] = candidate;
    } else {
      order[kept++] = candidate;
    }
  }
  return {
    find(address) {
      const wantedHigh = Number((address >> 32n) & 0xffffffffn);
      const wantedLow = Number(address & 0xffffffffn);
      let from = 0;
      let to = kept;
      while (from < to) {
        const middle = (from + to) >>> 1;
        const at = order[middle]!;
        if (high[at]! < wantedHigh || (high[at] === wantedHigh && low[at]! <= wantedLow)) from = middle + 1;
        else to = middle;
      }
      for (let tries = 0; tries < MOST_NESTED && from > 0; tries++) {
        from--;
        const at = order[from]!;
        const table = tables[owner[at]!]!;
        const index = place[at]!;
        const distance = (wantedHigh - high[at]!) * 2 ** 32 + (wantedLow - low[at]!);
        const size = table.sizes[index]!;
        // One without a size reaches to the next symbol, and only the nearest one can be meant.
        if (distance < size || (size === 0 && tries === 0)) return { table, index };
      }
      return undefined;
    },
  };
}

/** Which of several names for one address is shown: the lowest. Functions first, then names that are meant for people. */
function rank(table: SymbolTable, index: number): number {
  const start = table.names[index]!;
  let underscores = 0;
  while (underscores < 3 && table.strings[start + underscores] === 0x5f) underscores++;
  const binding = table.bindings[index]!;
  const weight = binding === SymbolBinding.global ? 0 : binding === SymbolBinding.weak ? 1 : 2;
  return (
    (table.kinds[index] === CodeKind.untyped ? 100 : 0) + (table.sizes[index] === 0 ? 50 : 0) + underscores * 4 + weight
  );
}
