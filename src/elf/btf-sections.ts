// Browser-safe.

import { elfError, sectionPath } from "./errors.ts";
import { sectionData } from "./read.ts";
import type { ElfFile, ElfSection } from "./types.ts";

/** Bytes of a section that belongs to BTF, in the form that `openBtf` takes as origin. */
export interface BtfSection {
  /** Name of the section, the start of paths in error messages. */
  readonly path: string;
  /** First byte in the file. */
  readonly offset: number;
  /** The bytes: a view on the file. */
  readonly bytes: Uint8Array;
}

/** The sections of a file that belong to BTF. */
export interface BtfSections {
  /** `.BTF`: types. */
  readonly btf: BtfSection | undefined;
  /** `.BTF.ext`: functions, lines and CO-RE relocations of a BPF object. */
  readonly btfExt: BtfSection | undefined;
  /** `.BTF.base`: what of the kernel's types the `.BTF` of a module goes on from. */
  readonly btfBase: BtfSection | undefined;
}

/**
 * Finds the sections of BTF in an object, a kernel or a module.
 *
 * @param elf the file
 * @throws ElfError when one of them is there twice, is compressed, or has no bytes in the file
 *
 * @example
 * ```ts no-run
 * import { readFileSync } from "node:fs";
 *
 * const { btf } = readBtfSections(readElf(readFileSync("program.bpf.o")));
 * if (btf !== undefined) openBtf(btf.bytes, btf);
 * ```
 */
export function readBtfSections(elf: ElfFile): BtfSections {
  return { btf: take(elf, ".BTF"), btfExt: take(elf, ".BTF.ext"), btfBase: take(elf, ".BTF.base") };
}

function take(elf: ElfFile, name: string): BtfSection | undefined {
  let found: ElfSection | undefined;
  for (const section of elf.sections) {
    if (section.name !== name) continue;
    if (found !== undefined) {
      throw elfError(
        "ERR_ELF_INVALID",
        `Second section of this name, the first is ${sectionPath(found)}`,
        sectionPath(section),
      );
    }
    found = section;
  }
  return found && { path: name, offset: found.offset, bytes: sectionData(elf, found) };
}
