// Browser-safe.

import type { Btf, BtfMember } from "../../btf/index.ts";
import { elfError, elfReader, sectionPath } from "../errors.ts";
import { sectionData } from "../read.ts";
import type { ElfSection } from "../types.ts";
import type { Code } from "./code.ts";
import { DATA_RELOCATIONS, type ObjectFile, type ResolvedRelocation, relocationsOf, sectionOf } from "./file.ts";
import { type MapPlace, type Maps, mapAt } from "./maps.ts";
import type { ObjectProgramSpec } from "./spec.ts";

const POINTER_BYTES = 8;

/**
 * Finds the maps and programs that maps hold at first, and the programs in tables of `struct_ops`: pointers that
 * relocations put into their definitions.
 *
 * @throws ElfError with the relocation at fault
 */
export function readInitialValues(
  file: ObjectFile,
  btf: Btf | undefined,
  maps: Maps,
  code: Code,
  programs: Readonly<Record<string, ObjectProgramSpec>>,
): void {
  for (const section of file.elf.sections) {
    const role = file.roles[section.index];
    if (role !== "maps" && role !== "struct_ops") continue;
    const places = [...(maps.places.get(section.index)?.values() ?? [])].sort((a, b) => a.offset - b.offset);
    const pointers = new PointerReader(file, section, code, programs);
    let next = 0;
    for (const relocation of relocationsOf(file, section, DATA_RELOCATIONS)) {
      // Both are in the order of their places.
      while (next < places.length && places[next]!.offset + places[next]!.size <= relocation.offset) next++;
      const place = places[next];
      if (place === undefined || place.offset > relocation.offset) {
        throw elfError("ERR_ELF_INVALID", `Offset ${relocation.offset} lies in no definition`, relocation.path);
      }
      if (role === "maps") addValue(file, maps, place, relocation, pointers);
      else addFunction(btf, place, relocation, pointers);
    }
  }
}

/** What stands at the place of a relocation. */
class PointerReader {
  readonly #file: ObjectFile;
  readonly #section: ElfSection;
  readonly #code: Code;
  readonly #programs: Readonly<Record<string, ObjectProgramSpec>>;

  constructor(
    file: ObjectFile,
    section: ElfSection,
    code: Code,
    programs: Readonly<Record<string, ObjectProgramSpec>>,
  ) {
    this.#file = file;
    this.#section = section;
    this.#code = code;
    this.#programs = programs;
  }

  /** What is added to the symbol's value: it stands in the data. */
  addend(relocation: ResolvedRelocation): number {
    const data = sectionData(this.#file.elf, this.#section);
    const reader = elfReader(data, this.#file.littleEndian, relocation.path, this.#section.offset);
    const addend = reader.seek(relocation.offset).i64();
    if (addend < -0x80000000n || addend > 0x7fffffffn)
      throw reader.fail(`Addend ${addend} is too large`, relocation.offset);
    return Number(addend);
  }

  /** Name of the program that a relocation means. */
  program(relocation: ResolvedRelocation): string {
    const { target, path } = relocation;
    const section = sectionOf(this.#file, target);
    const at = Number(target.value) + this.addend(relocation);
    const code = section === undefined ? undefined : this.#code.get(section.index);
    const func = code?.byOffset.get(at);
    if (func !== undefined && this.#programs[func.name] !== undefined) return func.name;
    const place = section === undefined ? `symbol "${target.name}"` : `offset ${at} of ${sectionPath(section)}`;
    throw elfError("ERR_ELF_INVALID", `Refers to ${place}, where no program begins`, path);
  }
}

function addValue(
  file: ObjectFile,
  maps: Maps,
  place: MapPlace,
  relocation: ResolvedRelocation,
  pointers: PointerReader,
): void {
  const { map, offset, valuesOffset } = place;
  const at = relocation.offset - offset - (valuesOffset ?? 0);
  const path = `${relocation.path} of map "${map.name}"`;
  if (valuesOffset === undefined || at < 0) {
    throw elfError("ERR_ELF_INVALID", "The map has no member values at this place", path);
  }
  if (at % POINTER_BYTES !== 0) throw elfError("ERR_ELF_INVALID", `Offset ${at} in values is no multiple of 8`, path);
  const key = at / POINTER_BYTES;
  if (map.type === "prog_array") {
    map.values.push({ key, name: pointers.program(relocation) });
    return;
  }
  if (map.keySize !== 4)
    throw elfError("ERR_ELF_INVALID", `Size of keys is ${map.keySize}, expected 4 for initial values`, path);
  const section = sectionOf(file, relocation.target);
  if (section === undefined || file.roles[section.index] !== "maps") {
    throw elfError("ERR_ELF_INVALID", `Refers to "${relocation.target.name}", which is no map`, path);
  }
  const { map: value } = mapAt(maps, section, relocation.target, pointers.addend(relocation));
  map.values.push({ key, name: value.name });
}

function addFunction(
  btf: Btf | undefined,
  place: MapPlace,
  relocation: ResolvedRelocation,
  pointers: PointerReader,
): void {
  const { structOps } = place.map;
  const type = btf === undefined || structOps === undefined ? undefined : btf.typeById(structOps.type);
  if (btf === undefined || structOps === undefined || type?.kind !== "struct") return;
  const path = `${relocation.path} of struct_ops "${place.map.name}"`;
  const at = 8 * (relocation.offset - place.offset);
  const member: BtfMember | undefined = type.members.find(({ bitOffset }) => bitOffset === at);
  if (member === undefined || member.name === "") {
    throw elfError("ERR_ELF_INVALID", `No member of struct ${type.name} begins at byte ${at / 8}`, path);
  }
  const pointer = btf.resolve(member.type);
  if (pointer.kind !== "ptr" || btf.resolve(pointer.type).kind !== "func_proto") {
    throw elfError(
      "ERR_ELF_INVALID",
      `Member "${member.name}" of struct ${type.name} is no pointer to a function`,
      path,
    );
  }
  structOps.functions[member.name] = pointers.program(relocation);
}
