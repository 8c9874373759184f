// Browser-safe.

import { type Btf, essentialName, type TypeId } from "../../btf/index.ts";
import { BPF_F_LINK, BPF_F_RDONLY_PROG } from "../../kernel-abi/index.ts";
import { SymbolBinding, SymbolType } from "../constants.ts";
import { elfError, elfReader, sectionPath } from "../errors.ts";
import { sectionData } from "../read.ts";
import { symbolExtent } from "../symbols.ts";
import type { ElfSection, ElfSymbol } from "../types.ts";
import { emptyRecord, NamePool, type ObjectFile, symbolName } from "./file.ts";
import { emptyMap, mapTypeName, readMapDefinition } from "./map-definition.ts";
import type { ExternSpec, ObjectMapSpec, VariableSpec } from "./spec.ts";

/** Where in the file a map comes from. */
export interface MapPlace {
  readonly map: ObjectMapSpec;
  /** Offset of its definition in the section, in bytes. */
  readonly offset: number;
  /** Bytes of its definition. */
  readonly size: number;
  /** Offset of the member `values` in the definition. */
  readonly valuesOffset: number | undefined;
}

/** The maps of an object, and how instructions find them. */
export interface Maps {
  readonly byName: Record<string, ObjectMapSpec>;
  readonly variables: Record<string, VariableSpec>;
  /** Maps that are defined one by one: by section, then by offset. */
  readonly places: ReadonlyMap<number, ReadonlyMap<number, MapPlace>>;
  /** Maps that hold all of a section's variables, by section. */
  readonly wholeSections: ReadonlyMap<number, ObjectMapSpec>;
}

/** Larger values no kernel takes; and no memory is taken by a number that was only read. */
const MAX_DATA = 2 ** 30;

/**
 * Finds all maps of an object.
 *
 * @param btf the completed types
 * @throws ElfError, BtfError
 */
export function readMaps(file: ObjectFile, btf: Btf | undefined, externs: Readonly<Record<string, ExternSpec>>): Maps {
  const byName = emptyRecord<ObjectMapSpec>();
  const places = new Map<number, Map<number, MapPlace>>();
  const wholeSections = new Map<number, ObjectMapSpec>();
  const add = (map: ObjectMapSpec, path: string): void => {
    if (map.name in byName) throw elfError("ERR_ELF_INVALID", `Second map called "${map.name}"`, path);
    byName[map.name] = map;
  };
  for (const section of file.elf.sections) {
    const path = sectionPath(section);
    switch (file.roles[section.index]) {
      case "maps":
      case "legacy_maps":
      case "struct_ops": {
        const found =
          file.roles[section.index] === "maps"
            ? readDefinitions(btf, section)
            : file.roles[section.index] === "legacy_maps"
              ? readLegacyMaps(file, section)
              : readStructOps(file, btf, section);
        for (const { map } of found) add(map, path);
        places.set(section.index, new Map(found.map((place) => [place.offset, place])));
        break;
      }
      case "data":
      case "rodata":
      case "bss": {
        const map = dataMap(file, btf, section);
        add(map, path);
        wholeSections.set(section.index, map);
        break;
      }
      default:
        break;
    }
  }
  const kconfig = kconfigMap(btf, externs);
  if (kconfig !== undefined) add(kconfig, ".kconfig");
  placeArena(file, byName, wholeSections);
  const variables = readVariables(file, btf, wholeSections);
  return { byName, variables, places, wholeSections };
}

/** The section of variables in the types that describes a section of the file. */
function datasecOf(btf: Btf | undefined, name: string): ReturnType<typeof findDatasec> {
  return btf === undefined ? undefined : findDatasec(btf, name);
}

function findDatasec(btf: Btf, name: string) {
  return btf.typesByName(name, "datasec")[0];
}

function readDefinitions(btf: Btf | undefined, section: ElfSection): MapPlace[] {
  if (section.size === 0) return [];
  const path = sectionPath(section);
  const datasec = datasecOf(btf, section.name);
  if (btf === undefined || datasec === undefined) {
    const what = btf === undefined ? "there is no .BTF" : `.BTF has no section "${section.name}"`;
    throw elfError("ERR_ELF_INVALID", `Maps cannot be read: ${what}`, path, undefined, "Compile with clang -g");
  }
  const found: MapPlace[] = [];
  for (const { type: id, offset, size } of datasec.vars) {
    const variable = btf.typeById(id);
    if (variable.kind !== "var")
      throw elfError("ERR_ELF_INVALID", `Holds ${variable.kind} "${variable.name}", expected variables`, path);
    const { map, valuesOffset } = readMapDefinition(btf, variable.name, variable.type);
    map.tags = tagsOf(btf, id);
    found.push({ map, offset, size, valuesOffset });
  }
  for (let i = 1; i < found.length; i++) {
    const { map, offset } = found[i]!;
    const before = found[i - 1]!;
    if (offset < before.offset + before.size) {
      throw elfError("ERR_ELF_INVALID", `Maps "${before.map.name}" and "${map.name}" overlap`, path);
    }
  }
  return found;
}

function tagsOf(btf: Btf, id: number): string[] {
  return btf.declTags(id, -1).map((tag) => tag.name);
}

/** Definitions without BTF: `struct bpf_map_def`, five numbers and whatever else a loader made of it. */
function readLegacyMaps(file: ObjectFile, section: ElfSection): MapPlace[] {
  const path = sectionPath(section);
  if (section.size === 0) return [];
  const symbols = file
    .symbolsIn(section.index)
    .filter(({ type }) => type !== SymbolType.section && type !== SymbolType.file)
    .sort((a, b) => Number(a.value - b.value));
  if (symbols.length === 0) throw elfError("ERR_ELF_INVALID", "There is no symbol for the maps in it", path);
  const data = sectionData(file.elf, section);
  return symbols.map((symbol, i) => {
    const { offset } = symbolExtent(file.elf, symbol);
    const next = symbols[i + 1];
    const end = next === undefined ? section.size : Math.min(section.size, Number(next.value));
    const reader = elfReader(data, file.littleEndian, `${path} map "${symbol.name}"`, section.offset).sub(
      offset,
      end - offset,
    );
    const number = reader.u32();
    const type = mapTypeName(number);
    if (type === undefined || type === "unspec") throw reader.fail(`Unknown map type ${number}`, 0);
    const map = emptyMap(symbol.name, "map", type);
    map.keySize = reader.u32();
    map.valueSize = reader.u32();
    map.maxEntries = reader.u32();
    map.flags = reader.u32();
    if (reader.remaining > 0) map.extra = reader.take(reader.remaining).slice();
    return { map, offset, size: end - offset, valuesOffset: undefined };
  });
}

/** The bytes of a section, without those that are zero anyway. */
function contentsOf(file: ObjectFile, section: ElfSection, role: "bss" | "data"): Uint8Array {
  if (section.size > MAX_DATA) {
    const message = `Variables take ${section.size} bytes, more than the ${MAX_DATA} that a map can hold`;
    throw elfError("ERR_LIMIT", message, sectionPath(section));
  }
  return role === "bss" ? new Uint8Array(0) : sectionData(file.elf, section).slice();
}

function dataMap(file: ObjectFile, btf: Btf | undefined, section: ElfSection): ObjectMapSpec {
  const role = file.roles[section.index];
  const map = emptyMap(section.name, "data", "array");
  const datasec = datasecOf(btf, section.name);
  map.keySize = 4;
  map.valueSize = section.size;
  map.maxEntries = 1;
  map.valueType = datasec?.id ?? (0 as TypeId);
  map.contents = contentsOf(file, section, role === "bss" ? "bss" : "data");
  // Without a variable that others see, nobody would know what to do with the memory.
  map.mmapable = datasec?.vars.some(({ type }) => isGlobal(btf!, type)) ?? false;
  if (role === "rodata") {
    map.flags = BPF_F_RDONLY_PROG;
    map.frozen = true;
  }
  return map;
}

function isGlobal(btf: Btf, id: TypeId): boolean {
  const type = btf.typeById(id);
  return type.kind === "var" && type.linkage !== "static";
}

function kconfigMap(btf: Btf | undefined, externs: Readonly<Record<string, ExternSpec>>): ObjectMapSpec | undefined {
  const values = Object.values(externs).filter((extern) => extern.kind === "kconfig");
  if (values.length === 0) return undefined;
  const map = emptyMap(".kconfig", "kconfig", "array");
  map.keySize = 4;
  map.valueSize = values.reduce((end, { offset, size }) => Math.max(end, offset + size), 0);
  map.maxEntries = 1;
  map.valueType = datasecOf(btf, ".kconfig")?.id ?? (0 as TypeId);
  map.flags = BPF_F_RDONLY_PROG;
  map.frozen = true;
  map.mmapable = true;
  return map;
}

function readStructOps(file: ObjectFile, btf: Btf | undefined, section: ElfSection): MapPlace[] {
  const path = sectionPath(section);
  const datasec = datasecOf(btf, section.name);
  if (btf === undefined || datasec === undefined) {
    throw elfError("ERR_ELF_INVALID", "struct_ops cannot be read without types: .BTF does not describe it", path);
  }
  const data = sectionData(file.elf, section);
  const link = section.name.endsWith(".link");
  return datasec.vars.map(({ type: id, offset, size }) => {
    const variable = btf.typeById(id);
    const type = btf.resolve(variable.kind === "var" ? variable.type : id);
    if (variable.kind !== "var" || type.kind !== "struct" || type.name === "") {
      throw elfError(
        "ERR_ELF_INVALID",
        `"${variable.name}" is of kind ${type.kind}, expected a struct with a name`,
        path,
      );
    }
    const map = emptyMap(variable.name, "struct_ops", "struct_ops");
    map.keySize = 4;
    map.maxEntries = 1;
    map.flags = link ? BPF_F_LINK : 0;
    map.autocreate = !section.name.startsWith("?");
    map.contents = data.slice(offset, offset + size);
    map.tags = tagsOf(btf, id);
    map.structOps = { typeName: essentialName(type.name), type: type.id, link, functions: emptyRecord() };
    return { map, offset, size, valuesOffset: undefined };
  });
}

/** Gives the variables of an arena to the arena. */
function placeArena(
  file: ObjectFile,
  byName: Readonly<Record<string, ObjectMapSpec>>,
  wholeSections: Map<number, ObjectMapSpec>,
): void {
  const arenas = Object.values(byName).filter((map) => map.type === "arena");
  if (arenas.length > 1) {
    throw elfError(
      "ERR_ELF_INVALID",
      `There are ${arenas.length} arenas, a program can use one`,
      `map "${arenas[1]!.name}"`,
    );
  }
  for (const section of file.elf.sections) {
    if (file.roles[section.index] !== "arena") continue;
    const arena = arenas[0];
    if (arena === undefined) {
      throw elfError(
        "ERR_ELF_INVALID",
        "There are variables for an arena, but no map of type arena",
        sectionPath(section),
      );
    }
    arena.contents = contentsOf(file, section, "data");
    wholeSections.set(section.index, arena);
  }
}

/** The variables of all sections that are maps: by BTF, or by symbol where there is no BTF. */
function readVariables(
  file: ObjectFile,
  btf: Btf | undefined,
  wholeSections: ReadonlyMap<number, ObjectMapSpec>,
): Record<string, VariableSpec> {
  const found: VariableSpec[] = [];
  for (const [index, map] of wholeSections) {
    const section = file.elf.sections[index]!;
    const datasec = datasecOf(btf, section.name);
    const common = { map: map.name, section: section.name };
    if (btf !== undefined && datasec !== undefined) {
      for (const { type: id, offset, size } of datasec.vars) {
        const variable = btf.typeById(id);
        if (variable.kind !== "var") continue;
        const { name, type } = variable;
        const linkage = variable.linkage === "static" ? "static" : "global";
        found.push({ name, ...common, offset, size, type, linkage, tags: tagsOf(btf, id) });
      }
      continue;
    }
    for (const symbol of file.symbolsIn(index)) {
      if (symbol.type !== SymbolType.object || symbol.name === "") continue;
      const { offset, size } = symbolExtent(file.elf, symbol);
      const linkage = symbol.binding === SymbolBinding.local ? "static" : "global";
      found.push({ name: symbol.name, ...common, offset, size, type: 0 as TypeId, linkage, tags: [] });
    }
  }
  const variables = emptyRecord<VariableSpec>();
  const names = new NamePool();
  // A name that others see goes to the variable that they see; those of the same name get a number.
  for (const linkage of ["global", "static"] as const) {
    for (const variable of found) {
      if (variable.linkage === linkage) variables[names.take(variable.name)] = variable;
    }
  }
  return variables;
}

/**
 * The map at a place that a symbol stands for.
 *
 * @param addend added to the symbol's value
 */
export function mapAt(maps: Maps, section: ElfSection, symbol: ElfSymbol, addend: number): MapPlace {
  const at = Number(symbol.value) + addend;
  const place = maps.places.get(section.index)?.get(at);
  if (place !== undefined) return place;
  throw elfError("ERR_ELF_INVALID", `No map begins at offset ${at} of ${sectionPath(section)}`, symbolName(symbol));
}
