// Browser-safe.

import type { ElfError } from "../../errors.ts";
import { SectionFlag, SectionType } from "../constants.ts";
import { elfError, sectionPath } from "../errors.ts";
import { type ObjectFile, openObject } from "../object/file.ts";
import type { ElfSection, ElfSymbol } from "../types.ts";

/** An object to link. */
export interface LinkInput {
  /** What it is called in error messages. */
  readonly name: string;
  /** The whole file. */
  readonly bytes: Uint8Array;
}

/** An object to link, opened. */
export interface Input {
  /** Its place in the list. */
  readonly index: number;
  readonly name: string;
  readonly file: ObjectFile;
}

/** Opens the objects, and checks that they go together. */
export function openInputs(objects: readonly (Uint8Array | LinkInput)[]): Input[] {
  if (objects.length === 0) throw new RangeError("No objects to link, need at least one");
  const inputs = objects.map((object, index): Input => {
    const isBytes = object instanceof Uint8Array;
    const name = isBytes ? `object[${index}]` : object.name;
    return { index, name, file: openObject(isBytes ? object : object.bytes) };
  });
  const first = inputs[0]!;
  for (const input of inputs) {
    if (input.file.littleEndian !== first.file.littleEndian) {
      const order = (each: Input): string => (each.file.littleEndian ? "little" : "big");
      throw linkError(input, `Byte order is ${order(input)}-endian, that of ${first.name} is ${order(first)}-endian`);
    }
  }
  return inputs;
}

/** An error of one of the objects. */
export function linkError(input: Input, message: string, place = "", hint?: string): ElfError {
  return elfError("ERR_ELF_LINK", message, place === "" ? input.name : `${input.name} ${place}`, undefined, hint);
}

/** How a section of an object is called in errors. */
export function placeOf(section: ElfSection): string {
  return sectionPath(section);
}

const MADE: readonly number[] = [
  SectionType.null,
  SectionType.symtab,
  SectionType.strtab,
  SectionType.symtab_shndx,
  SectionType.rel,
  SectionType.rela,
  SectionType.llvm_addrsig,
];

/**
 * Whether a section goes into the result as it is. Tables are made anew, types are merged, and what debuggers want is
 * left out, as everything is that is not loaded.
 */
export function isKept(input: Input, section: ElfSection): boolean {
  const { name, type, size, flags } = section;
  if (MADE.includes(type) || name.startsWith(".debug") || /^\.BTF(\.ext|\.base)?$/.test(name)) return false;
  if (type === SectionType.progbits && size === 0 && (flags & SectionFlag.execinstr) !== 0) return false;
  if (type !== SectionType.progbits && type !== SectionType.nobits) {
    if ((flags & SectionFlag.alloc) === 0) return false;
    throw linkError(input, `Type ${type} is none that can be linked`, placeOf(section));
  }
  return true;
}

/** Name of a symbol that other objects can see; `undefined` for a local one. */
export function globalName(input: Input, symbol: ElfSymbol): string | undefined {
  if (symbol.index === 0 || symbol.binding === 0) return undefined;
  // Every object numbers its jump tables from 0: nobody means those of another one.
  if (typeof symbol.section === "number" && input.file.roles[symbol.section] === "jump_tables") return undefined;
  return symbol.name;
}
