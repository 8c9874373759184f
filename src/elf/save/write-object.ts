// Browser-safe.

import {
  type BtfExt,
  type CoreRelo,
  type ExtSection,
  encodeBtfExt,
  type FuncInfo,
  type LineInfo,
  layoutBtf,
  stringsOfExt,
} from "../../btf/index.ts";
import { encodeUtf8, Writer } from "../../bytes/index.ts";
import type { ElfError } from "../../errors.ts";
import { BpfRelocation, SectionFlag, SectionType, SymbolBinding, SymbolType } from "../constants.ts";
import { elfError } from "../errors.ts";
import type { JumpTableSpec, ObjectMapSpec, ObjectSpec } from "../object/spec.ts";
import { type ElfRelocationSpec, type ElfSectionSpec, type ElfSymbolSpec, writeElf } from "../write.ts";
import { type SavedFunction, splitProgram, type Target } from "./functions.ts";
import { SharingKeys } from "./sharing.ts";
import { SavedTypes, type SavedVariable } from "./types.ts";

const SLOT_BYTES = 8;
const POINTER_BYTES = 8;
const MAX_LICENSE = 127;

const CODE_FLAGS = SectionFlag.alloc | SectionFlag.execinstr;
const DATA_FLAGS = SectionFlag.alloc | SectionFlag.write;

/**
 * Writes a specification as a BPF object file, as clang would have made it: `parseObject`, `bpftool` and libbpf read it.
 * Functions that several programs share are written once, into `.text`.
 *
 * What came from a file and was not changed comes back the same, but for what a file cannot tell: a map of the section
 * `maps` is described by types from then on, functions that were hidden are static.
 *
 * @param spec programs, maps, variables, externs and types; not changed
 * @returns a new file
 * @throws ElfError `ERR_ELF_INVALID` for what only a running kernel has a meaning for: open maps, numbers of types;
 *   AsmError for a jump that leads nowhere
 *
 * @example
 * ```ts
 * import { exit, mov, program, r0 } from "rawbpf/asm";
 * import { createObjectSpec, parseObject, writeObject } from "rawbpf/elf";
 *
 * const instructions = program(mov(r0, 2), exit());
 * const bytes = writeObject(createObjectSpec({ license: "GPL", programs: { pass: { section: "xdp", instructions } } }));
 * console.log(parseObject(bytes).programs.pass?.type); // xdp
 * ```
 */
export function writeObject(spec: ObjectSpec): Uint8Array {
  return new ObjectWriter(spec).write();
}

/** A section that is being put together. */
interface Draft {
  readonly name: string;
  readonly index: number;
  readonly type: number;
  readonly flags: number;
  data: Uint8Array;
  /** Bytes; more than {@link data} has in a section of zeros. */
  size: number;
  readonly relocations: ElfRelocationSpec[];
}

interface PlacedFunction extends SavedFunction {
  readonly section: Draft;
  /** Offset in the section. */
  readonly offset: number;
  /** Position of its symbol; `undefined` for a static one, which is reached from the start of its section. */
  readonly symbol: number | undefined;
}

class ObjectWriter {
  readonly #spec: ObjectSpec;
  readonly #types: SavedTypes;
  readonly #sections: Draft[] = [];
  readonly #byName = new Map<string, Draft>();
  readonly #symbols: ElfSymbolSpec[] = [];
  readonly #sectionSymbols = new Map<Draft, number>();
  readonly #externSymbols = new Map<string, number>();
  readonly #mapSymbols = new Map<string, number>();
  readonly #tableSymbols = new Map<JumpTableSpec, number>();
  readonly #programs = new Map<string, PlacedFunction>();

  constructor(spec: ObjectSpec) {
    this.#spec = spec;
    this.#types = new SavedTypes(spec);
  }

  write(): Uint8Array {
    const placed = this.#placeFunctions();
    this.#writeData();
    this.#writeMaps();
    this.#writeStructOps();
    this.#writeTables(placed.keys());
    this.#types.addExterns(Object.values(this.#spec.externs));
    for (const [func, siblings] of placed) this.#relocate(func, siblings);
    for (const name of Object.keys(this.#spec.externs)) this.#extern(name);
    this.#writeStrings();
    const sections = this.#sections.map(
      ({ name, type, flags, data, size, relocations }): ElfSectionSpec => ({
        name,
        type,
        flags,
        alignment: name === "license" ? 1 : SLOT_BYTES,
        ...(type === SectionType.nobits ? { size } : { data }),
        relocations,
      }),
    );
    sections.push(...this.#writeTypes([...placed.keys()]));
    return writeElf({ littleEndian: this.#spec.littleEndian, sections, symbols: this.#symbols });
  }

  #section(name: string, flags: number, type: number = SectionType.progbits): Draft {
    let section = this.#byName.get(name);
    if (section === undefined) {
      const index = this.#sections.length;
      section = { name, index, type, flags, data: new Uint8Array(0), size: 0, relocations: [] };
      this.#sections.push(section);
      this.#byName.set(name, section);
    }
    return section;
  }

  /** Appends to a section. */
  #append(section: Draft, bytes: Uint8Array): number {
    const offset = section.data.length;
    const end = offset + bytes.length;
    let memory = new Uint8Array(section.data.buffer as ArrayBuffer);
    if (memory.length < end) {
      // Twice as much as is needed, so that many small functions are not copied each time.
      memory = new Uint8Array(offset === 0 ? end : 2 * end);
      memory.set(section.data);
    }
    memory.set(bytes, offset);
    section.data = memory.subarray(0, end);
    section.size = end;
    return offset;
  }

  #sectionSymbol(section: Draft): number {
    let symbol = this.#sectionSymbols.get(section);
    if (symbol === undefined) {
      const spec = { binding: SymbolBinding.local, type: SymbolType.section, section: section.index };
      symbol = this.#symbols.push(spec) - 1;
      this.#sectionSymbols.set(section, symbol);
    }
    return symbol;
  }

  /**
   * Gives each function its place: programs in their sections, all others in `.text`, each once.
   *
   * @returns each function with those of its program, by label
   */
  #placeFunctions(): Map<PlacedFunction, ReadonlyMap<string, PlacedFunction>> {
    const all = new Map<PlacedFunction, ReadonlyMap<string, PlacedFunction>>();
    const shared = new Map<number, PlacedFunction>();
    const sharing = new SharingKeys();
    const globals = new Set(Object.keys(this.#spec.programs));
    const split = Object.values(this.#spec.programs).map((program) => splitProgram(this.#spec, program));
    for (const functions of split) {
      const keys = sharing.keysOf(functions);
      const own = new Map<string, PlacedFunction>();
      for (const func of functions) {
        const key = keys.get(func.label)!;
        let placed = shared.get(key);
        if (placed === undefined || func.isMain) {
          placed = this.#place(func, globals);
          shared.set(key, placed);
          all.set(placed, own);
        }
        own.set(func.label, placed);
      }
    }
    return all;
  }

  #place(func: SavedFunction, globals: Set<string>): PlacedFunction {
    const { name, bytes, isMain, program } = func;
    const sectionName = isMain ? `${program.autoload ? "" : "?"}${program.sectionName}` : ".text";
    if (sectionName === "" || sectionName === "?") {
      throw elfError("ERR_ELF_INVALID", "The program has no section", `program "${program.name}"`);
    }
    const section = this.#section(sectionName, CODE_FLAGS);
    const offset = this.#append(section, bytes);
    // Two functions may have one name only when nobody else sees them.
    const isStatic = !isMain && (globals.has(name) || !this.#isGlobal(func));
    if (!isStatic) globals.add(name);
    const binding = isStatic ? SymbolBinding.local : SymbolBinding.global;
    const index =
      this.#symbols.push({
        name,
        binding,
        type: SymbolType.func,
        section: section.index,
        value: offset,
        size: bytes.length,
      }) - 1;
    const placed = { ...func, section, offset, symbol: isStatic ? undefined : index };
    if (isMain) this.#programs.set(program.name, placed);
    return placed;
  }

  #isGlobal({ type }: SavedFunction): boolean {
    const func = type === undefined ? undefined : this.#spec.btf?.typeById(type);
    return func?.kind === "func" && func.linkage !== "static";
  }

  #relocate(func: PlacedFunction, siblings: ReadonlyMap<string, PlacedFunction>): void {
    for (const { offset, isCall, target } of func.relocations) {
      const at = func.offset + offset;
      const { symbol, addend } = this.#resolve(target, func, siblings);
      // A call counts in slots, from the next instruction.
      const imm = isCall ? addend / SLOT_BYTES - 1 : addend;
      const { littleEndian } = this.#spec;
      func.section.data.set(new Writer({ littleEndian }).u32(imm >>> 0).finish(), at + 4);
      func.section.relocations.push({ offset: at, type: BpfRelocation[isCall ? "64_32" : "64_64"], symbol });
    }
  }

  #resolve(
    target: Target,
    func: PlacedFunction,
    siblings: ReadonlyMap<string, PlacedFunction>,
  ): { readonly symbol: number; readonly addend: number } {
    switch (target.kind) {
      case "function": {
        const callee = siblings.get(target.label)!;
        if (callee.symbol !== undefined) return { symbol: callee.symbol, addend: 0 };
        return { symbol: this.#sectionSymbol(callee.section), addend: callee.offset };
      }
      case "map": {
        const symbol = this.#mapSymbols.get(target.name);
        if (symbol === undefined) throw this.#missing(func, `Map "${target.name}" is not one that code can refer to`);
        return { symbol, addend: 0 };
      }
      case "data": {
        const name = sectionNameOf(this.#spec.maps[target.map]!);
        const section = name === undefined ? undefined : this.#byName.get(name);
        if (section === undefined) throw this.#missing(func, `Map "${target.map}" holds no variables`);
        return { symbol: this.#sectionSymbol(section), addend: target.offset };
      }
      case "table":
        return { symbol: this.#tableSymbols.get(func.program.jumpTables[target.name]!)!, addend: target.offset };
      default:
        return { symbol: this.#extern(target.name), addend: target.offset };
    }
  }

  #missing({ program }: PlacedFunction, message: string): ElfError {
    return elfError("ERR_ELF_INVALID", message, `program "${program.name}"`);
  }

  #extern(name: string): number {
    let symbol = this.#externSymbols.get(name);
    if (symbol === undefined) {
      const weak = this.#spec.externs[name]?.weak ?? false;
      symbol = this.#symbols.push({ name, binding: weak ? SymbolBinding.weak : SymbolBinding.global }) - 1;
      this.#externSymbols.set(name, symbol);
    }
    return symbol;
  }

  /** Sections of variables, those of an arena too. */
  #writeData(): void {
    const bySection = new Map<string, SavedVariable[]>();
    for (const variable of Object.values(this.#spec.variables)) {
      const list = bySection.get(variable.section);
      const saved = this.#types.addVariable(variable);
      if (list === undefined) bySection.set(variable.section, [saved]);
      else list.push(saved);
    }
    for (const map of Object.values(this.#spec.maps)) {
      const name = sectionNameOf(map);
      if (name === undefined) continue;
      const isZero = name === ".bss" || name.startsWith(".bss.");
      const flags = name.startsWith(".rodata") ? SectionFlag.alloc : DATA_FLAGS;
      const section = this.#section(name, flags, isZero ? SectionType.nobits : SectionType.progbits);
      if (isZero) section.size = map.valueSize;
      else {
        const contents = new Uint8Array(Math.max(map.kind === "data" ? map.valueSize : 0, map.contents.length));
        contents.set(map.contents);
        this.#append(section, contents);
      }
      if (isZero && map.contents.some((byte) => byte !== 0)) {
        throw elfError(
          "ERR_ELF_INVALID",
          `Variables of "${name}" have first values, which a file cannot hold`,
          `map "${name}"`,
        );
      }
      const variables = bySection.get(name) ?? [];
      for (const variable of variables) this.#variableSymbol(section, variable);
      this.#types.addSection(name, section.size, variables);
    }
  }

  #variableSymbol(section: Draft, { name, offset, size, isStatic }: SavedVariable): number {
    const binding = isStatic ? SymbolBinding.local : SymbolBinding.global;
    return (
      this.#symbols.push({ name, binding, type: SymbolType.object, section: section.index, value: offset, size }) - 1
    );
  }

  #writeMaps(): void {
    const maps = Object.values(this.#spec.maps).filter(({ kind }) => kind === "map");
    if (maps.length === 0) return;
    const section = this.#section(".maps", DATA_FLAGS);
    const saved = maps.map((map) => {
      const variable = this.#types.addMap(map, section.data.length);
      this.#append(section, new Uint8Array(variable.size));
      this.#mapSymbols.set(map.name, this.#variableSymbol(section, variable));
      return variable;
    });
    this.#types.addSection(".maps", section.size, saved);
    for (const [i, map] of maps.entries()) {
      const { offset, valuesOffset } = saved[i]!;
      for (const { key, name } of map.values) {
        const symbol = map.type === "prog_array" ? this.#programSymbol(name, map) : this.#mapSymbols.get(name);
        if (symbol === undefined) {
          throw elfError("ERR_ELF_INVALID", `Holds map "${name}", which is not in the object`, `map "${map.name}"`);
        }
        const at = offset + valuesOffset + POINTER_BYTES * key;
        section.relocations.push({ offset: at, type: BpfRelocation["64_abs64"], symbol });
      }
    }
  }

  #programSymbol(name: string, map: ObjectMapSpec): number {
    const symbol = this.#programs.get(name)?.symbol;
    if (symbol !== undefined) return symbol;
    throw elfError("ERR_ELF_INVALID", `Refers to program "${name}", which is not in the object`, `map "${map.name}"`);
  }

  #writeStructOps(): void {
    const bySection = new Map<Draft, SavedVariable[]>();
    for (const map of Object.values(this.#spec.maps)) {
      const { structOps } = map;
      if (map.kind !== "struct_ops" || structOps === undefined) continue;
      const name = `${map.autocreate ? "" : "?"}.struct_ops${structOps.link ? ".link" : ""}`;
      const section = this.#section(name, DATA_FLAGS);
      this.#append(section, new Uint8Array(-section.data.length & (POINTER_BYTES - 1)));
      const offset = this.#append(section, map.contents);
      const variable = this.#types.addStructOps(map, offset);
      this.#variableSymbol(section, variable);
      const list = bySection.get(section);
      if (list === undefined) bySection.set(section, [variable]);
      else list.push(variable);
      const type = this.#spec.btf?.typeById(structOps.type);
      for (const [member, program] of Object.entries(structOps.functions)) {
        const found = type?.kind === "struct" ? type.members.find((each) => each.name === member) : undefined;
        if (found === undefined) {
          const message = `struct ${structOps.typeName} has no member "${member}"`;
          throw elfError("ERR_ELF_INVALID", message, `map "${map.name}"`);
        }
        section.relocations.push({
          offset: offset + found.bitOffset / 8,
          type: BpfRelocation["64_abs64"],
          symbol: this.#programSymbol(program, map),
        });
      }
    }
    for (const [section, variables] of bySection) this.#types.addSection(section.name, section.size, variables);
  }

  /** Jump tables: places of instructions in the section of the function that they belong to. */
  #writeTables(placed: Iterable<PlacedFunction>): void {
    for (const func of placed) {
      for (const { target } of func.relocations) {
        if (target.kind !== "table") continue;
        const table = func.program.jumpTables[target.name]!;
        if (this.#tableSymbols.has(table)) continue;
        const section = this.#section(".jumptables", 0);
        const writer = new Writer({ littleEndian: this.#spec.littleEndian });
        for (const label of table.targets) {
          const place = func.labels.get(label);
          if (place === undefined) {
            throw this.#missing(func, `Jump table "${table.name}" leads to "${label}", which is not in its function`);
          }
          writer.u64(func.offset + place);
        }
        const data = writer.finish();
        const offset = this.#append(section, data);
        const variable = { name: table.name, offset, size: data.length, id: 0 as never, isStatic: false };
        this.#tableSymbols.set(table, this.#variableSymbol(section, variable));
      }
    }
  }

  #writeStrings(): void {
    const { license, version, littleEndian } = this.#spec;
    if (license !== "") {
      const text = encodeUtf8(license);
      if (text.length > MAX_LICENSE || text.includes(0)) {
        throw elfError("ERR_LIMIT", `License has ${text.length} bytes, at most ${MAX_LICENSE} are possible`, "license");
      }
      const section = this.#section("license", DATA_FLAGS);
      this.#append(section, text);
      this.#append(section, new Uint8Array(1));
    }
    if (version !== 0)
      this.#append(this.#section("version", DATA_FLAGS), new Writer({ littleEndian }).u32(version).finish());
  }

  #writeTypes(functions: readonly PlacedFunction[]): ElfSectionSpec[] {
    if (this.#types.isEmpty) return [];
    const funcInfos: ExtSection<FuncInfo>[] = [];
    const lineInfos: ExtSection<LineInfo>[] = [];
    const coreRelos: ExtSection<CoreRelo>[] = [];
    const hasTypes = this.#spec.btf !== undefined;
    for (const section of hasTypes ? this.#sections : []) {
      const own = functions.filter((each) => each.section === section);
      const { name } = section;
      const funcs = own.flatMap(({ type, offset }) =>
        type === undefined ? [] : [{ insnOffset: offset, type: this.#types.idOf(type) }],
      );
      const lines = own.flatMap(({ lines, offset }) =>
        lines.map((line) => ({ ...line, insnOffset: line.insnOffset + offset })),
      );
      const cores = own.flatMap(({ cores, offset }) =>
        cores.map(({ insnOffset, relocation }) => ({
          ...(relocation as Omit<CoreRelo, "insnOffset">),
          type: this.#types.idOf(relocation.type),
          insnOffset: insnOffset + offset,
        })),
      );
      if (funcs.length > 0) funcInfos.push({ section: name, records: funcs });
      if (lines.length > 0) lineInfos.push({ section: name, records: lines });
      if (cores.length > 0) coreRelos.push({ section: name, records: cores });
    }
    const ext: BtfExt = { funcInfos, lineInfos, coreRelos };
    const { littleEndian } = this.#spec;
    const { bytes, offsetOf } = layoutBtf(this.#types.builder.types, { littleEndian, strings: stringsOfExt(ext) });
    const made: ElfSectionSpec[] = [{ name: ".BTF", alignment: 4, data: bytes }];
    if (funcInfos.length + lineInfos.length + coreRelos.length > 0) {
      made.push({ name: ".BTF.ext", alignment: 4, data: encodeBtfExt(ext, offsetOf, littleEndian) });
    }
    return made;
  }
}

/** The section that holds the variables of a map; `undefined` when it holds none. */
function sectionNameOf(map: ObjectMapSpec): string | undefined {
  if (map.kind === "data") return map.name;
  return map.type === "arena" && map.contents.length > 0 ? ".addr_space.1" : undefined;
}
