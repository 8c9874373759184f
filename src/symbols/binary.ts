import { closest, encodeUtf8, toHex } from "../bytes/index.ts";
import { SectionFlag, SectionType, SegmentFlag, SegmentType, SymbolBinding } from "../elf/constants.ts";
import { elfError, sectionPath } from "../elf/errors.ts";
import { readSectionHeaders } from "../elf/read.ts";
import { fileOffset, readProgramHeaders } from "../elf/segments.ts";
import type { ElfSource } from "../elf/source.ts";
import type { ElfHeader, ElfSection, ElfSegment } from "../elf/types.ts";
import { BpfError } from "../errors.ts";
import { partialFile } from "./file.ts";
import { matchGlob } from "./glob.ts";
import { buildIdOf, type ElfNote, readNotes } from "./notes.ts";
import {
  type AddressIndex,
  addressAt,
  addressIndex,
  beginsWith,
  CodeKind,
  findName,
  nameReader,
  readSymbolTable,
  type SymbolTable,
} from "./symbol-table.ts";

/** A function of a program or library. */
export interface BinaryFunction {
  /** Its name, without version. */
  readonly name: string;
  /** Its version, for libraries that have them: `GLIBC_2.14`. */
  readonly version: string | undefined;
  /** Whether a program that is linked today gets this version (`name@@VERSION`). True without versions. */
  readonly isDefault: boolean;
  /** Address, as the file counts: a loader may move it. */
  readonly address: bigint;
  /** Place in the file, bytes: what a uprobe takes. */
  readonly offset: number;
  /** Bytes; 0 when unknown. */
  readonly size: number;
  /**
   * An indirect function (`STT_GNU_IFUNC`): what lies there runs once, when the program starts, and chooses the function
   * that runs instead.
   */
  readonly indirect: boolean;
}

/** Which function is meant. */
export interface FunctionOptions {
  /** Take the function that chooses, when the name is that of an indirect function. Default: that is an error. */
  readonly indirect?: boolean | undefined;
}

/** The function that a place belongs to. */
export interface BinarySymbol {
  /** Name of the function. */
  readonly name: string;
  /** Bytes from its start. */
  readonly offset: number;
}

/** A program or library, read as far as it is asked for. Owns nothing: the file is open only while something is read. */
export interface Binary {
  /** Path, as given. */
  readonly path: string;
  /** Device and inode, `dev:inode`: equal for all names of a file. */
  readonly key: string;
  readonly header: ElfHeader;
  readonly segments: readonly ElfSegment[];
  /** Section headers; none where the file has been stripped of them. */
  readonly sections: readonly ElfSection[];

  /**
   * A section by its name.
   *
   * @returns header and content, a copy (`undefined` for sections without bytes in the file); `undefined` when there is none
   * @throws ElfError when it is compressed
   */
  section(name: string): { readonly header: ElfSection; readonly content: Uint8Array | undefined } | undefined;
  /**
   * Notes of all sections, or of one.
   *
   * @param section name of a section. Default: all sections of notes, or segments where there are no sections
   */
  notes(section?: string): ElfNote[];
  /** The build id in hex, as `file` prints it; `undefined` when there is none. */
  buildId(): string | undefined;
  /**
   * The place in the file of an address.
   *
   * @param address as the file counts
   * @returns `undefined` when no part of the file is mapped there
   */
  fileOffset(address: bigint): number | undefined;
  /**
   * The address of a place in the file: the other way.
   *
   * @param offset bytes
   */
  addressOf(offset: number): bigint | undefined;
  /**
   * Finds a function: dynamic symbols first, then all.
   *
   * @param name `malloc`, or with a version `memcpy@GLIBC_2.2.5` (`@@` for the one that new programs get)
   * @param options whether an indirect function will do
   * @throws BpfError `ERR_SYMBOL_NOT_FOUND` with names that are near, `ERR_SYMBOL_AMBIGUOUS` when several places have
   *   that name (static functions do), `ERR_NOT_SUPPORTED` for an indirect function; ElfError
   */
  function(name: string, options?: FunctionOptions): BinaryFunction;
  /**
   * Offset in the file of a function: what a uprobe takes.
   *
   * @param name as for {@link Binary.function}
   * @param options whether an indirect function will do
   * @returns bytes
   */
  functionOffset(name: string, options?: FunctionOptions): number;
  /**
   * Functions whose names fit a pattern, once for each place.
   *
   * @param pattern `*` any text, `?` any character. Default all
   * @returns in the order of their places
   * @throws ElfError
   */
  functions(pattern?: string): BinaryFunction[];
  /**
   * The function that an address lies in.
   *
   * @param address as the file counts
   */
  symbolAt(address: bigint): BinarySymbol | undefined;
}

/**
 * Opens an executable or a shared object for its symbols. Headers are read now, tables when they are asked for, the rest
 * never: a program of 100 MB costs as much as its symbol table.
 *
 * @param path of the file
 * @throws BpfError `ERR_FILE_NOT_FOUND`; ElfError when it is no ELF file or a malformed one
 *
 * @example
 * ```ts
 * import { findBinary, openBinary } from "rawbpf/symbols";
 *
 * const libc = openBinary(findBinary("c"));
 * console.log(libc.buildId(), libc.functionOffset("malloc"));
 * ```
 */
export function openBinary(path: string): Binary {
  const file = partialFile(path);
  return makeBinary(path, file.key, (use) => file.with(use));
}

/**
 * The same for a file that is in memory, as the vDSO is.
 *
 * @param path what it is called
 * @param bytes the file, kept by reference
 * @throws ElfError
 */
export function binaryFromBytes(path: string, bytes: Uint8Array): Binary {
  const read = (offset: number, length: number): Uint8Array => bytes.slice(offset, offset + length);
  return makeBinary(path, `memory:${path}`, (use) => use({ length: bytes.length, read }));
}

function makeBinary(path: string, key: string, open: <T>(use: (source: ElfSource) => T) => T): Binary {
  const { header, sections, segments } = open((source) => {
    const headers = readSectionHeaders(source);
    return { ...headers, segments: readProgramHeaders(source, headers.header) };
  });
  const elf = { header, sections };
  const tables: { symtab?: SymbolTable | undefined; dynsym?: SymbolTable | undefined } = {};
  const table = (type: "symtab" | "dynsym"): SymbolTable | undefined => {
    if (!(type in tables)) {
      const section = sections.find((each) => each.type === SectionType[type]);
      tables[type] = section === undefined ? undefined : open((source) => readSymbolTable(source, elf, section));
    }
    return tables[type];
  };
  const offsetOf = (address: bigint): number | undefined => {
    if (segments.some((segment) => segment.type === SegmentType.load)) return fileOffset(segments, address);
    // An object file has no segments; its symbols count from the start of their sections, so there is no answer.
    return undefined;
  };
  const content = (section: ElfSection): Uint8Array | undefined => {
    if (section.type === SectionType.nobits || section.type === SectionType.null) return undefined;
    if ((section.flags & SectionFlag.compressed) !== 0) {
      const message = "The section is compressed (SHF_COMPRESSED)";
      throw elfError("ERR_UNSUPPORTED_FORMAT", message, sectionPath(section), section.offset);
    }
    return open((source) => source.read(section.offset, section.size));
  };
  const describe = (from: SymbolTable, index: number, nameOf: (index: number) => string): Found => {
    const raw = nameOf(index);
    const { name, version, isDefault } = splitVersion(raw);
    const own = from.versions?.[index];
    const address = addressAt(from, index);
    return {
      name,
      version: own?.name ?? version,
      isDefault: own === undefined ? isDefault : !own.hidden,
      address,
      offset: offsetOf(address),
      size: from.sizes[index]!,
      indirect: from.kinds[index] === CodeKind.indirect,
      weak: from.bindings[index] === SymbolBinding.weak,
      untyped: from.kinds[index] === CodeKind.untyped,
    };
  };
  const lookUp = (name: string): Found[] => {
    const wanted = splitVersion(name);
    // A symbol may have an @ of its own; then its whole name is meant.
    for (const text of wanted.version === undefined ? [name] : [wanted.name, name]) {
      const bytes = encodeUtf8(text);
      if (bytes.length === 0) continue;
      for (const type of ["dynsym", "symtab"] as const) {
        const from = table(type);
        if (from === undefined) continue;
        const nameOf = nameReader(from);
        let found = findName(from, bytes).map((index) => describe(from, index, nameOf));
        found = found.filter((each) => each.offset !== undefined);
        if (text !== name || wanted.version === undefined) {
          if (wanted.version !== undefined) {
            found = found.filter((each) => each.version === wanted.version && (!wanted.strict || each.isDefault));
          }
        }
        const typed = found.filter((each) => !each.untyped);
        if (typed.length > 0) return typed;
        if (found.length > 0) return found;
      }
    }
    return [];
  };
  let index: AddressIndex | undefined;

  const binary: Binary = {
    path,
    key,
    header,
    segments,
    sections,
    section(name) {
      const found = sections.find((each) => each.name === name && each.type !== SectionType.null);
      return found === undefined ? undefined : { header: found, content: content(found) };
    },
    notes(name) {
      const littleEndian = header.littleEndian;
      const chosen = sections.filter(
        (each) => each.type === SectionType.note && (name === undefined || each.name === name),
      );
      if (chosen.length > 0 || name !== undefined) {
        return chosen.flatMap((each) => {
          const options = { littleEndian, path: sectionPath(each), base: each.offset, alignment: each.alignment };
          return readNotes(content(each)!, options);
        });
      }
      return segments
        .filter((segment) => segment.type === SegmentType.note)
        .flatMap((segment) => {
          const options = { littleEndian, path: `segment[${segment.index}]`, base: segment.offset };
          return open((source) => {
            if (segment.offset > source.length || segment.fileSize > source.length - segment.offset) {
              throw elfError("ERR_TRUNCATED", "The segment lies outside of the file", options.path);
            }
            return readNotes(source.read(segment.offset, segment.fileSize), options);
          });
        });
    },
    buildId() {
      const content = buildIdOf(binary.notes());
      return content === undefined ? undefined : toHex(content);
    },
    fileOffset: offsetOf,
    addressOf(offset) {
      // Segments share pages at their borders; code is what is asked for.
      const holds = (each: ElfSegment): boolean =>
        each.type === SegmentType.load && offset >= each.offset && offset < each.offset + each.fileSize;
      const segment =
        segments.find((each) => holds(each) && (each.flags & SegmentFlag.execute) !== 0) ?? segments.find(holds);
      return segment === undefined ? undefined : segment.address + BigInt(offset - segment.offset);
    },
    function(name, options = {}) {
      const found = lookUp(name);
      if (found.length === 0) throw notFound(binary, name, table);
      const chosen = choose(found);
      if (chosen === undefined) throw ambiguous(binary, name, found);
      if (chosen.indirect && options.indirect !== true) throw indirect(binary, name);
      return plain(chosen);
    },
    functionOffset: (name, options) => binary.function(name, options).offset,
    functions(pattern = "*") {
      const byPlace = new Map<string, BinaryFunction>();
      for (const type of ["dynsym", "symtab"] as const) {
        const from = table(type);
        if (from === undefined) continue;
        const nameOf = nameReader(from);
        const fixed = encodeUtf8(/^[^*?]*/.exec(pattern)![0]);
        for (let i = 0; i < from.count; i++) {
          if (from.kinds[i] === CodeKind.untyped || !beginsWith(from, i, fixed)) continue;
          const raw = nameOf(i);
          if (!matchGlob(pattern, splitVersion(raw).name)) continue;
          const found = describe(from, i, () => raw);
          if (found.offset === undefined) continue;
          const place = `${found.offset} ${found.name}`;
          if (!byPlace.has(place)) byPlace.set(place, plain(found));
        }
      }
      return [...byPlace.values()].sort((a, b) => a.offset - b.offset || (a.name < b.name ? -1 : 1));
    },
    symbolAt(address) {
      if (index === undefined) {
        const known = [table("symtab"), table("dynsym")].filter((each) => each !== undefined);
        index = addressIndex(known);
      }
      const found = index.find(address);
      if (found === undefined) return undefined;
      const { name } = splitVersion(nameReader(found.table)(found.index));
      return { name, offset: Number(address - addressAt(found.table, found.index)) };
    },
  };
  return binary;
}

interface Found extends Omit<BinaryFunction, "offset"> {
  readonly offset: number | undefined;
  readonly weak: boolean;
  readonly untyped: boolean;
}

function plain(found: Found): BinaryFunction {
  const { name, version, isDefault, address, offset, size, indirect } = found;
  return { name, version, isDefault, address, offset: offset!, size, indirect };
}

function splitVersion(text: string): {
  readonly name: string;
  readonly version: string | undefined;
  readonly isDefault: boolean;
  readonly strict: boolean;
} {
  const match = /^([^@]+)(@@?)([^@]+)$/.exec(text);
  if (match === null) return { name: text, version: undefined, isDefault: true, strict: false };
  const strict = match[2] === "@@";
  return { name: match[1]!, version: match[3]!, isDefault: strict, strict };
}

/**
 * Several symbols of one name at one place are one function, and weak ones give way to others, as in libbpf. Unlike
 * there, the version that new programs get is taken when none is asked for.
 */
function choose(found: readonly Found[]): Found | undefined {
  const places = (list: readonly Found[]): number => new Set(list.map((each) => each.offset)).size;
  if (places(found) === 1) return found[0];
  const current = found.filter((each) => each.isDefault);
  if (current.length > 0 && current.length < found.length && places(current) === 1) return current[0];
  const strong = (current.length > 0 ? current : found).filter((each) => !each.weak);
  return places(strong) === 1 ? strong[0] : undefined;
}

function notFound(
  binary: Binary,
  name: string,
  table: (type: "symtab" | "dynsym") => SymbolTable | undefined,
): BpfError {
  const names = new Set<string>();
  for (const type of ["dynsym", "symtab"] as const) {
    const from = table(type);
    if (from === undefined) continue;
    const nameOf = nameReader(from);
    for (let i = 0; i < from.count; i++) if (from.kinds[i] !== CodeKind.untyped) names.add(nameOf(i));
  }
  const { name: bare } = splitVersion(name);
  const variants = [...names].filter((each) => each.startsWith(`${bare}.`) || each.startsWith(`${bare}@`)).slice(0, 3);
  const near = variants.length > 0 ? undefined : closest(bare, names);
  let hint: string | undefined;
  if (variants.length > 0) hint = `there is ${variants.map((each) => `"${each}"`).join(", ")}`;
  else if (near !== undefined) hint = `did you mean "${near}"?`;
  else if (names.size === 0) hint = "it has no symbols of functions: stripped? Give the offset instead";
  else if (table("symtab") === undefined) hint = "it is stripped: only what it exports has a name";
  return new BpfError("ERR_SYMBOL_NOT_FOUND", `No function "${name}" in ${binary.path}`, { hint });
}

function ambiguous(binary: Binary, name: string, found: readonly Found[]): BpfError {
  const places = [...new Set(found.map((each) => `0x${each.offset!.toString(16)}`))];
  const shown = places.slice(0, 4).join(", ") + (places.length > 4 ? ", ..." : "");
  const versions = found.flatMap((each) => (each.version === undefined ? [] : [`${each.name}@${each.version}`]));
  return new BpfError(
    "ERR_SYMBOL_AMBIGUOUS",
    `${places.length} functions are called "${name}" in ${binary.path}: at ${shown}`,
    { hint: versions.length > 1 ? `name one of ${versions.slice(0, 4).join(", ")}` : "give the offset of one of them" },
  );
}

function indirect(binary: Binary, name: string): BpfError {
  const bare = splitVersion(name).name;
  const variants = binary
    .functions(`__${bare}_*`)
    .filter((each) => !each.indirect)
    .map((each) => each.name);
  const shown = [...new Set(variants)].slice(0, 4).join(", ");
  return new BpfError(
    "ERR_NOT_SUPPORTED",
    `"${name}" of ${binary.path} is an indirect function: what lies there chooses, when a program starts, which one runs`,
    {
      hint:
        shown === ""
          ? "give the offset of the function that it chooses"
          : `probe one of those that it may choose: ${shown}`,
    },
  );
}
