// Browser-safe.

import { decodeCString } from "../../bytes/index.ts";
import { elfError, elfReader, sectionPath } from "../errors.ts";
import { sectionData } from "../read.ts";
import { readCode } from "./code.ts";
import { completeBtf } from "./complete-btf.ts";
import { readExterns } from "./externs.ts";
import { type ObjectFile, openObject } from "./file.ts";
import { readInitialValues } from "./initial-values.ts";
import { JumpTables } from "./jump-tables.ts";
import { readMaps } from "./maps.ts";
import { isProgram, readPrograms } from "./programs.ts";
import { relocateCode } from "./relocate.ts";
import type { SectionRule } from "./sections.ts";
import type { ObjectSpec } from "./spec.ts";

/** Options of {@link parseObject}. */
export interface ParseObjectOptions {
  /** Name of the object; the kernel's names of its data maps begin with it. Default empty. */
  readonly name?: string | undefined;
  /** Rules for names of sections that go before the known ones. */
  readonly sections?: readonly SectionRule[] | undefined;
}

/** The kernel takes a licence of 128 bytes, its NUL included. */
const MAX_LICENSE = 127;

/**
 * Reads a BPF object file, as clang makes it: programs, maps, variables, types, and what is taken from the kernel. Takes
 * both byte orders, and files from anywhere: every fault is found here, with the section, symbol and instruction, and
 * neither time nor memory grow with a number that was only read.
 *
 * Nothing depends on the machine or its kernel: the same bytes give the same specification.
 *
 * @param bytes the whole file; not kept
 * @param options name of the object, further rules for names of sections
 * @throws ElfError, BtfError
 *
 * @example
 * ```ts no-run
 * import { parseObject } from "rawbpf/elf";
 *
 * declare const bytes: Uint8Array;
 * const spec = parseObject(bytes);
 * for (const program of Object.values(spec.programs)) console.log(program.name, program.type, program.instructions.length);
 * ```
 */
export function parseObject(bytes: Uint8Array, options: ParseObjectOptions = {}): ObjectSpec {
  const file = openObject(bytes);
  const license = readLicense(file);
  const version = readVersion(file);
  const externs = readExterns(file);
  const btf = file.btf && completeBtf(file, file.btf, externs, (symbol) => isProgram(file, symbol));
  const maps = readMaps(file, btf, externs);
  const code = readCode(file);
  const jumpTables = new JumpTables(file, Object.keys(maps.byName));
  relocateCode(file, { code, maps, externs, jumpTables });
  const programs = readPrograms(btf, code, jumpTables, options.sections ?? []);
  readInitialValues(file, btf, maps, code, programs);
  return {
    name: options.name ?? "",
    littleEndian: file.littleEndian,
    license,
    version,
    programs,
    maps: maps.byName,
    variables: maps.variables,
    externs,
    btf,
    warnings: file.warnings,
  };
}

function readLicense(file: ObjectFile): string {
  const section = file.elf.sections.find((each) => file.roles[each.index] === "license");
  if (section === undefined) {
    file.warnings.push("No license section: the kernel will refuse helpers that are for GPL programs only");
    return "";
  }
  const text = decodeCString(sectionData(file.elf, section));
  if (text === "")
    file.warnings.push("The license is empty: the kernel will refuse helpers that are for GPL programs only");
  const bytes = sectionData(file.elf, section).indexOf(0);
  const length = bytes < 0 ? section.size : bytes;
  if (length > MAX_LICENSE) {
    throw elfError(
      "ERR_LIMIT",
      `License has ${length} bytes, at most ${MAX_LICENSE} are possible`,
      sectionPath(section),
    );
  }
  return text;
}

function readVersion(file: ObjectFile): number {
  const section = file.elf.sections.find((each) => file.roles[each.index] === "version");
  if (section === undefined) return 0;
  const path = sectionPath(section);
  if (section.size !== 4) throw elfError("ERR_ELF_INVALID", `Size of the version is ${section.size}, expected 4`, path);
  return elfReader(sectionData(file.elf, section), file.littleEndian, path, section.offset).u32();
}
