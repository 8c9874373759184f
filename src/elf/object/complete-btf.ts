// Browser-safe.

import { type Btf, type BtfDatasec, type BtfSecinfo, openBtf, type TypeId } from "../../btf/index.ts";
import { KIND } from "../../btf/kinds.ts";
import { Writer } from "../../bytes/index.ts";
import type { ElfError } from "../../errors.ts";
import { SymbolBinding, SymbolType, SymbolVisibility } from "../constants.ts";
import { elfError, sectionPath } from "../errors.ts";
import type { ElfSection, ElfSymbol } from "../types.ts";
import { isExtern, type ObjectFile } from "./file.ts";
import type { ExternSpec } from "./spec.ts";

const LINKAGE_STATIC = 0;
const LINKAGE_GLOBAL = 1;

/** Name of what stands for functions in `.ksyms`, and of parameters without a name. */
const DUMMY = "dummy_ksym";

/**
 * Completes the types of an object for the kernel, as libbpf does. Compilers leave to the loader what only the symbols
 * tell; and some of what they write no kernel takes.
 *
 * - Sections of variables get their size, and variables their place, in ascending order.
 * - Variables and functions that are hidden from other files, programs excepted, become static: the verifier checks
 *   such a function where it is called.
 * - Variables taken from the kernel become ordinary ones: those of `.kconfig` have their place in its map, those of
 *   `.ksyms` are integers, whatever they were declared as.
 * - Functions taken from the kernel become global, their parameters get names, and in `.ksyms` a variable stands for
 *   them.
 *
 * Types keep their numbers; up to two are added.
 *
 * @param externs as `readExterns` gives them
 * @param programs names of functions that are programs of their own
 * @throws ElfError when a section of variables is not in the file
 */
export function completeBtf(
  file: ObjectFile,
  btf: Btf,
  externs: Readonly<Record<string, ExternSpec>>,
  isProgram: (symbol: ElfSymbol) => boolean,
): Btf {
  const patch = new Patch(btf);
  const bySection = symbolsBySection(file);
  for (const datasec of file.datasecs.values()) {
    if (datasec.name === ".kconfig") completeKconfig(patch, datasec.id, externs);
    else if (datasec.name === ".ksyms") completeKsyms(patch, datasec.id);
    else {
      const section = requireSection(file, btf, datasec);
      const symbols = bySection(section.index);
      for (const { type } of datasec.vars) {
        if (isDeclaration(btf, type)) throw undefinedVariable(btf.nameOf(type), datasec.name);
        const symbol = symbols.get(btf.nameOf(type));
        if (symbol !== undefined && isHidden(symbol) && isGlobalVariable(btf, type)) {
          patch.setLinkage(type, LINKAGE_STATIC);
        }
      }
      const entries = placeVariables(btf, datasec, section, symbols);
      patch.setDatasec(datasec.id, section.size, entries);
    }
  }
  // Of one name there may be many symbols, and many functions.
  const done = new Set<string>();
  for (const symbol of file.symbols) {
    if (done.has(symbol.name)) continue;
    if (isExtern(symbol)) {
      if (externs[symbol.name]?.kind !== "kfunc") continue;
      done.add(symbol.name);
      completeKfunc(patch, symbol.name);
    } else if (symbol.type === SymbolType.func && isHidden(symbol) && !isProgram(symbol)) {
      done.add(symbol.name);
      for (const id of btf.idsByName(symbol.name, "func")) patch.setLinkage(id, LINKAGE_STATIC);
    }
  }
  return patch.finish();
}

/** Whether a symbol is kept from other files, although it is not local. */
function isHidden({ binding, visibility }: ElfSymbol): boolean {
  if (binding === SymbolBinding.local) return false;
  return visibility === SymbolVisibility.hidden || visibility === SymbolVisibility.internal;
}

function requireSection(file: ObjectFile, btf: Btf, { name, vars }: BtfDatasec): ElfSection {
  const section = file.sectionsByName.get(name);
  if (section !== undefined) return section;
  const declared = vars.find(({ type }) => isDeclaration(btf, type));
  if (declared !== undefined) throw undefinedVariable(btf.nameOf(declared.type), name);
  throw elfError("ERR_ELF_INVALID", `There is no section "${name}", whose variables .BTF describes`, ".BTF");
}

function undefinedVariable(name: string, section: string): ElfError {
  const message = `"${name}" of section "${section}" is declared here and defined in another object`;
  return elfError("ERR_ELF_INVALID", message, ".BTF", undefined, "Link both objects to one");
}

/** Symbols that other files see, by section and name. */
export function symbolsBySection(file: ObjectFile): (section: number) => ReadonlyMap<string, ElfSymbol> {
  const all = new Map<number, Map<string, ElfSymbol>>();
  for (const symbol of file.symbols) {
    if (typeof symbol.section !== "number" || symbol.binding === SymbolBinding.local) continue;
    let names = all.get(symbol.section);
    if (names === undefined) {
      names = new Map();
      all.set(symbol.section, names);
    }
    names.set(symbol.name, symbol);
  }
  return (section) => all.get(section) ?? new Map();
}

/** Whether a variable is defined in another object. */
function isDeclaration(btf: Btf, id: TypeId): boolean {
  const type = btf.typeById(id);
  return type.kind === "var" && type.linkage === "extern";
}

function isGlobalVariable(btf: Btf, id: TypeId): boolean {
  const type = btf.typeById(id);
  return type.kind === "var" && type.linkage !== "static";
}

/**
 * The variables of a section where they are: compilers leave the place of one that other files see to its symbol. What
 * is only declared is left out.
 *
 * @param symbols symbols of the section that other files see
 * @throws ElfError for a variable that reaches beyond the section
 */
export function placeVariables(
  btf: Btf,
  datasec: BtfDatasec,
  section: ElfSection,
  symbols: ReadonlyMap<string, ElfSymbol>,
): BtfSecinfo[] {
  const defined = datasec.vars.filter(({ type }) => !isDeclaration(btf, type));
  return defined.map((entry) => {
    const { type, size } = entry;
    const symbol = isGlobalVariable(btf, type) ? symbols.get(btf.nameOf(type)) : undefined;
    const offset = symbol === undefined ? entry.offset : Number(symbol.value);
    if (offset + size > section.size) {
      const found = `Variable "${btf.nameOf(type)}" of ${size} bytes at offset ${offset}`;
      throw elfError("ERR_OUT_OF_RANGE", `${found} crosses the end at ${section.size}`, sectionPath(section));
    }
    return { type, offset, size };
  });
}

function completeKconfig(patch: Patch, id: TypeId, externs: Readonly<Record<string, ExternSpec>>): void {
  const { btf } = patch;
  const datasec = btf.typeById(id);
  if (datasec.kind !== "datasec") return;
  let size = 0;
  const entries = datasec.vars.map((entry) => {
    const extern = externs[btf.nameOf(entry.type)];
    if (extern?.kind !== "kconfig") return entry;
    size = Math.max(size, extern.offset + extern.size);
    if (btf.kindOf(entry.type) === "var") patch.setLinkage(entry.type, LINKAGE_GLOBAL);
    return { type: entry.type, offset: extern.offset, size: extern.size };
  });
  patch.setDatasec(id, size, entries);
}

function completeKsyms(patch: Patch, id: TypeId): void {
  const { btf } = patch;
  const datasec = btf.typeById(id);
  if (datasec.kind !== "datasec") return;
  const entries = datasec.vars.map((entry, i) => {
    let { type } = entry;
    if (btf.kindOf(type) === "var") {
      patch.setLinkage(type, LINKAGE_GLOBAL);
      patch.setType(type, patch.intType());
    } else {
      patch.setLinkage(type, LINKAGE_GLOBAL);
      type = patch.dummyVariable();
    }
    return { type, offset: 4 * i, size: 4 };
  });
  patch.setDatasec(id, 4 * entries.length, entries);
}

function completeKfunc(patch: Patch, name: string): void {
  const { btf } = patch;
  for (const func of btf.typesByName(name, "func")) {
    patch.setLinkage(func.id, LINKAGE_GLOBAL);
    const proto = btf.typeById(func.type);
    if (proto.kind !== "func_proto") continue;
    for (const [i, param] of proto.params.entries()) {
      if (param.name === "" && param.type !== 0) patch.nameParam(func.type, i);
    }
  }
}

interface Entry {
  readonly type: TypeId;
  readonly offset: number;
  readonly size: number;
}

/** Changes to a BTF that keep each type where it is: words are replaced, types and strings are added at the end. */
class Patch {
  readonly btf: Btf;
  /** Words by their index in the type section. */
  readonly #words = new Map<number, number>();
  readonly #added: number[] = [];
  #nextId: number;
  #int: TypeId | undefined;
  #dummy: TypeId | undefined;
  #addedStrings = "";

  constructor(btf: Btf) {
    this.btf = btf;
    this.#nextId = btf.endId;
  }

  setDatasec(id: number, size: number, entries: readonly Entry[]): void {
    const at = this.#start(id);
    this.#set(at + 2, size);
    const sorted = [...entries].sort((a, b) => a.offset - b.offset);
    for (const [i, entry] of sorted.entries()) {
      this.#set(at + 3 + 3 * i, entry.type);
      this.#set(at + 4 + 3 * i, entry.offset);
      this.#set(at + 5 + 3 * i, entry.size);
    }
  }

  /** Linkage of a function or variable. */
  setLinkage(id: number, linkage: number): void {
    const at = this.#start(id);
    if (this.btf.kindOf(id) === "func") this.#set(at + 1, (KIND.func << 24) | linkage);
    else this.#set(at + 3, linkage);
  }

  setType(id: number, type: TypeId): void {
    this.#set(this.#start(id) + 2, type);
  }

  nameParam(proto: number, index: number): void {
    this.#set(this.#start(proto) + 3 + 2 * index, this.#dummyName());
  }

  /** An integer of 4 bytes: one that is there, else a new one. */
  intType(): TypeId {
    if (this.#int !== undefined) return this.#int;
    for (const type of this.btf.types()) {
      if (type.kind === "int" && type.size === 4 && type.bits === 32 && type.bitOffset === 0) {
        this.#int = type.id;
        return type.id;
      }
    }
    const name = this.#addString("int");
    this.#int = this.#add(name, KIND.int << 24, 4, (1 << 24) | 32);
    return this.#int;
  }

  dummyVariable(): TypeId {
    this.#dummy ??= this.#add(this.#dummyName(), KIND.var << 24, this.intType(), LINKAGE_GLOBAL);
    return this.#dummy;
  }

  finish(): Btf {
    const { btf } = this;
    const { header, words, strings, path, offset } = btf.image;
    if (this.#words.size === 0 && this.#added.length === 0) return btf;
    const types = words.slice();
    for (const [at, value] of this.#words) types[at] = value;
    const writer = new Writer({
      littleEndian: header.littleEndian,
      capacity: 24 + 4 * (types.length + this.#added.length) + strings.length + this.#addedStrings.length,
    });
    const typeBytes = 4 * (types.length + this.#added.length);
    writer.u16(0xeb9f).u8(1).u8(0).u32(24);
    writer.u32(0).u32(typeBytes).u32(typeBytes);
    writer.u32(strings.length + this.#addedStrings.length);
    for (const word of types) writer.u32(word);
    for (const word of this.#added) writer.u32(word);
    writer.bytes(strings);
    for (let i = 0; i < this.#addedStrings.length; i++) writer.u8(this.#addedStrings.charCodeAt(i));
    return openBtf(writer.finish(), { path, offset, pointerSize: btf.pointerSize });
  }

  #start(id: number): number {
    return this.btf.image.starts[id - this.btf.firstId]!;
  }

  #set(at: number, value: number): void {
    if (this.btf.image.words[at] !== value >>> 0) this.#words.set(at, value >>> 0);
    else this.#words.delete(at);
  }

  #add(...words: number[]): TypeId {
    this.#added.push(...words);
    return this.#nextId++ as TypeId;
  }

  #dummyName(): number {
    const known = this.#addedStrings.indexOf(`${DUMMY}\0`);
    return known >= 0 ? this.btf.image.strings.length + known : this.#addString(DUMMY);
  }

  #addString(text: string): number {
    const at = this.btf.image.strings.length + this.#addedStrings.length;
    this.#addedStrings += `${text}\0`;
    return at;
  }
}
