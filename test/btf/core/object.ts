import { decode, type Instruction, slotsOf, withMeta } from "../../../src/asm/index.ts";
import { type Btf, type CoreRelocation, coreRelocation, openBtf, readBtfExt } from "../../../src/btf/index.ts";
import {
  type ElfFile,
  readBtfSections,
  readElf,
  readSymbols,
  SymbolType,
  sectionData,
  symbolExtent,
} from "../../../src/elf/index.ts";

/** A program of an object, with its relocations on its instructions. */
export interface TestProgram {
  readonly name: string;
  readonly section: string;
  readonly instructions: readonly Instruction[];
}

/** As much of an object as these tests need. */
export interface TestObject {
  readonly elf: ElfFile;
  readonly btf: Btf;
  readonly programs: readonly TestProgram[];
  /** All relocations in the order of the file. */
  readonly relocations: readonly CoreRelocation[];
}

/** Opens the types of an object. */
export function objectBtf(elf: ElfFile): Btf {
  const { btf } = readBtfSections(elf);
  return openBtf(btf!.bytes, btf!);
}

/** Reads an object whose programs refer to nothing but types. */
export function openObject(bytes: Uint8Array): TestObject {
  const elf = readElf(bytes);
  const btf = objectBtf(elf);
  const { btfExt } = readBtfSections(elf);
  const { coreRelos } = readBtfExt(btfExt!.bytes, btf, btfExt!);
  const programs: TestProgram[] = [];
  for (const symbol of readSymbols(elf)) {
    if (symbol.type !== SymbolType.func || typeof symbol.section !== "number") continue;
    const { section, offset, size } = symbolExtent(elf, symbol);
    const code = sectionData(elf, section).subarray(offset, offset + size);
    const instructions = decode(code, { littleEndian: elf.header.littleEndian });
    const records = coreRelos.filter((list) => list.section === section.name).flatMap((list) => list.records);
    const byOffset = new Map(records.map((record) => [record.insnOffset, record]));
    let at = offset;
    programs.push({
      name: symbol.name,
      section: section.name,
      instructions: instructions.map((insn) => {
        const record = byOffset.get(at);
        at += 8 * slotsOf(insn);
        return record === undefined ? insn : withMeta(insn, { relocation: coreRelocation(record) });
      }),
    });
  }
  return { elf, btf, programs, relocations: coreRelos.flatMap((list) => list.records) };
}

/** The bytes of a variable, a copy. */
export function variable(elf: ElfFile, name: string): Uint8Array | undefined {
  const symbol = readSymbols(elf).find((each) => each.name === name && each.type === SymbolType.object);
  if (symbol === undefined) return undefined;
  const { section, offset, size } = symbolExtent(elf, symbol);
  return sectionData(elf, section).slice(offset, offset + size);
}

/** The value of a variable of type `long`. */
export function long(elf: ElfFile, name: string): bigint | undefined {
  const bytes = variable(elf, name);
  return bytes && new DataView(bytes.buffer).getBigInt64(0, elf.header.littleEndian);
}
