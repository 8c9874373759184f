// Browser-safe.

import { Class, JumpOp } from "../../asm/index.ts";
import { SectionFlag, SectionType } from "../constants.ts";
import { sectionData } from "../read.ts";
import type { ElfSection } from "../types.ts";
import { type Input, isKept, linkError, placeOf } from "./input.ts";

const SLOT_BYTES = 8;
/** Types tell the size of a section in 32 bits; entries are no larger. */
const MAX_SIZE = 0xffffffff;
const GOTO = Class.jmp | JumpOp.ja;

/** A section of an object inside of the section of the result. */
export interface Part {
  readonly input: Input;
  readonly section: ElfSection;
  /** Where it begins, in bytes. */
  readonly offset: number;
}

/** A section of the result. */
export interface Merged {
  readonly name: string;
  /** Its place in the list. */
  readonly index: number;
  readonly type: number;
  readonly flags: number;
  readonly entrySize: number;
  alignment: number;
  size: number;
  readonly parts: Part[];
}

/** Sections of the result, and where those of the objects went. */
export interface MergedSections {
  readonly list: readonly Merged[];
  /** Where a section went; `undefined` for one that is not in the result. */
  find(input: Input, section: number): { readonly merged: Merged; readonly offset: number } | undefined;
}

/**
 * Puts sections of one name behind each other. `license` and `version` are taken once, and must be the same in all.
 *
 * @throws ElfError `ERR_ELF_LINK` for sections of one name that do not go together
 */
export function mergeSections(inputs: readonly Input[]): MergedSections {
  const list: Merged[] = [];
  const byName = new Map<string, Merged>();
  const places = new Map<Input, Map<number, { readonly merged: Merged; readonly offset: number }>>();
  for (const input of inputs) {
    const own = new Map<number, { readonly merged: Merged; readonly offset: number }>();
    places.set(input, own);
    for (const section of input.file.elf.sections) {
      if (!isKept(input, section)) continue;
      const { name, type, flags, entrySize } = section;
      let merged = byName.get(name);
      if (merged === undefined) {
        merged = { name, index: list.length, type, flags, entrySize, alignment: 1, size: 0, parts: [] };
        list.push(merged);
        byName.set(name, merged);
      } else if (name === "license" || name === "version") {
        checkSame(merged, input, section);
        continue;
      }
      const offset = append(merged, input, section);
      own.set(section.index, { merged, offset });
    }
  }
  return { list, find: (input, section) => places.get(input)?.get(section) };
}

function checkSame(merged: Merged, input: Input, section: ElfSection): void {
  const first = merged.parts[0]!;
  const [a, b] = [sectionData(first.input.file.elf, first.section), sectionData(input.file.elf, section)];
  if (a.length === b.length && a.every((byte, i) => byte === b[i])) return;
  throw linkError(
    input,
    `Differs from that of ${first.input.name}: all objects need the same ${section.name}`,
    placeOf(section),
  );
}

function append(merged: Merged, input: Input, section: ElfSection): number {
  for (const what of ["type", "flags", "entrySize"] as const) {
    if (merged[what] === section[what]) continue;
    const found = `${what === "entrySize" ? "entry size" : what} ${section[what]}`;
    throw linkError(
      input,
      `Has ${found}, that of ${merged.parts[0]!.input.name} has ${merged[what]}`,
      placeOf(section),
    );
  }
  if (section.entrySize > MAX_SIZE) {
    throw linkError(input, `Entry size is ${section.entrySize}, expected 32 bits`, placeOf(section));
  }
  const isCode = (section.flags & SectionFlag.execinstr) !== 0;
  const alignment = Math.max(section.alignment, 1, isCode ? SLOT_BYTES : 1);
  if (!Number.isInteger(Math.log2(alignment)) || alignment > 2 ** 30) {
    throw linkError(input, `Alignment is ${section.alignment}, expected a power of two`, placeOf(section));
  }
  if (isCode && section.size % SLOT_BYTES !== 0) {
    throw linkError(input, `Size ${section.size} is no multiple of an instruction's 8 bytes`, placeOf(section));
  }
  // Every part begins where the strictest one before it could, as bpftool has it.
  merged.alignment = Math.max(merged.alignment, alignment);
  const offset = Math.ceil(merged.size / merged.alignment) * merged.alignment;
  merged.size = offset + section.size;
  if (merged.size > MAX_SIZE) {
    throw linkError(input, `Ends at ${merged.size}, more than the ${MAX_SIZE} bytes of a section`, placeOf(section));
  }
  merged.parts.push({ input, section, offset });
  return offset;
}

/** The bytes of a section, its parts not yet relocated; what lies between parts of code are jumps to the next one. */
export function bytesOf(merged: Merged): Uint8Array | undefined {
  if (merged.type === SectionType.nobits) return undefined;
  const bytes = new Uint8Array(merged.size);
  let end = 0;
  for (const { input, section, offset } of merged.parts) {
    if ((merged.flags & SectionFlag.execinstr) !== 0) {
      for (; end < offset; end += SLOT_BYTES) bytes[end] = GOTO;
    }
    bytes.set(sectionData(input.file.elf, section), offset);
    end = offset + section.size;
  }
  return bytes;
}
