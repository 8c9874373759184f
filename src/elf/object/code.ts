// Browser-safe.

import { decode, type Instruction, type Layout, layout, withMeta } from "../../asm/index.ts";
import { coreRelocation, type TypeId } from "../../btf/index.ts";
import { BpfError, BtfError } from "../../errors.ts";
import { SectionType, SymbolBinding, SymbolType } from "../constants.ts";
import { elfError, sectionPath } from "../errors.ts";
import { sectionData } from "../read.ts";
import { symbolExtent } from "../symbols.ts";
import type { ElfSection, ElfSymbol } from "../types.ts";
import { NamePool, type ObjectFile, symbolName } from "./file.ts";

const SLOT_BYTES = 8;

/** The path of a CO-RE relocation: as long as libbpf takes it. */
const ACCESS = /^\d{1,10}(:\d{1,10}){0,63}$/;

/** Functions may share code, as aliases do; this often at most, before it is taken for an attack. */
const MOST_OVERLAP = 8;

/** A function of the object. */
export interface CodeFunction {
  readonly symbol: ElfSymbol;
  readonly name: string;
  /** Its name, with a number behind it where another function has the same. */
  readonly label: string;
  readonly code: CodeSection;
  /** Offset in its section, in bytes. */
  readonly offset: number;
  /** First instruction in {@link CodeSection.instructions}. */
  readonly start: number;
  /** One behind its last instruction. */
  readonly end: number;
  /** Its type in BTF. */
  type: TypeId | undefined;
  /** Whether another function refers to it. */
  used: boolean;
}

/** A section of instructions. */
export interface CodeSection {
  readonly section: ElfSection;
  /** All of them; relocations are put into them. */
  readonly instructions: Instruction[];
  /** Slots and indices of instructions. */
  readonly layout: Layout;
  /** Functions in the order of their places. */
  readonly functions: readonly CodeFunction[];
  /** Which of {@link functions} an instruction belongs to, -1 for none; of several the first. */
  readonly owners: Int32Array;
  /** Functions by offset; of several at one place the first. */
  readonly byOffset: ReadonlyMap<number, CodeFunction>;
  /** Functions that instructions refer to, by index of the instruction. */
  readonly references: Map<number, CodeFunction>;
}

/** All sections of instructions, by number of the section. */
export type Code = ReadonlyMap<number, CodeSection>;

/**
 * Reads the instructions of an object, finds its functions, and gives each instruction its source line and CO-RE
 * relocation.
 *
 * @throws ElfError for a section that is no code, or a function that is not in it; BtfError for `.BTF.ext` that goes
 *   beyond its section
 */
export function readCode(file: ObjectFile): Code {
  const code = new Map<number, CodeSection>();
  const names = new NamePool();
  // Functions that others see keep their names, wherever they stand.
  for (const symbol of file.symbols) {
    if (symbol.type !== SymbolType.func || typeof symbol.section !== "number") continue;
    if (symbol.binding !== SymbolBinding.local && names.take(symbol.name) !== symbol.name) {
      throw elfError("ERR_ELF_INVALID", `Second function called "${symbol.name}"`, symbolName(symbol));
    }
  }
  for (const section of file.elf.sections) {
    if (file.roles[section.index] !== "code") continue;
    code.set(section.index, readSection(file, section, names));
  }
  addExt(file, code);
  return code;
}

function readSection(file: ObjectFile, section: ElfSection, names: NamePool): CodeSection {
  const path = sectionPath(section);
  if (section.type === SectionType.nobits) {
    throw elfError("ERR_ELF_INVALID", "Type is 8 (nobits): the section has no instructions in the file", path);
  }
  const data = sectionData(file.elf, section);
  let instructions: Instruction[];
  try {
    // What is no instruction is left to the kernel, which may know more of them.
    instructions = decode(data, { littleEndian: file.littleEndian, strict: false });
  } catch (cause) {
    if (!(cause instanceof BpfError)) throw cause;
    throw elfError("ERR_ELF_INVALID", `Size ${data.length} is no multiple of an instruction's 8 bytes`, path);
  }
  const place = layout(instructions);
  const functions: CodeFunction[] = [];
  const byOffset = new Map<number, CodeFunction>();
  const owners = new Int32Array(instructions.length).fill(-1);
  const code: CodeSection = {
    section,
    instructions,
    layout: place,
    functions,
    owners,
    byOffset,
    references: new Map(),
  };
  const symbols = file.symbolsIn(section.index).filter(({ type }) => type === SymbolType.func);
  const sorted = symbols.sort((a, b) => Number(a.value - b.value) || b.binding - a.binding || a.index - b.index);
  let total = 0;
  for (const symbol of sorted) {
    const func = readFunction(file, code, symbol, names);
    total += func.end - func.start;
    if (total > MOST_OVERLAP * instructions.length) {
      throw elfError("ERR_LIMIT", `Functions overlap: they add up to ${MOST_OVERLAP} times their section`, path);
    }
    for (let i = func.start; i < func.end; i++) if (owners[i] === -1) owners[i] = functions.length;
    functions.push(func);
    if (!byOffset.has(func.offset)) byOffset.set(func.offset, func);
  }
  return code;
}

function readFunction(file: ObjectFile, code: CodeSection, symbol: ElfSymbol, names: NamePool): CodeFunction {
  const { offset, size } = symbolExtent(file.elf, symbol);
  const path = `${sectionPath(code.section)} ${symbolName(symbol)}`;
  if (symbol.name === "") throw elfError("ERR_ELF_INVALID", "Function without a name", path);
  if (offset % SLOT_BYTES !== 0 || size % SLOT_BYTES !== 0 || size === 0) {
    const found = `offset ${offset} and size ${size}`;
    throw elfError("ERR_ELF_INVALID", `Function has ${found}, expected multiples of an instruction's 8 bytes`, path);
  }
  const start = code.layout.indices[offset / SLOT_BYTES]!;
  const endSlot = (offset + size) / SLOT_BYTES;
  const end = endSlot === code.layout.indices.length ? code.instructions.length : code.layout.indices[endSlot]!;
  if (start < 0 || end < 0 || code.instructions[end - 1]?.meta?.secondSlot === "missing") {
    throw elfError("ERR_ELF_INVALID", `Function ${start < 0 ? "begins" : "ends"} inside of an ld_imm64`, path);
  }
  const { name } = symbol;
  const label = symbol.binding === SymbolBinding.local ? names.take(name) : name;
  return { symbol, name, label, code, offset, start, end, type: undefined, used: false };
}

/** Index of the instruction at an offset; -1 inside of one, and `undefined` behind the end. */
export function instructionAt(code: CodeSection, offset: number): number | undefined {
  return code.layout.indices[offset / SLOT_BYTES];
}

function addExt(file: ObjectFile, code: Code): void {
  const byName = new Map<string, CodeSection>();
  for (const section of code.values()) {
    if (!byName.has(section.section.name)) byName.set(section.section.name, section);
  }
  // Records of sections that are not there belong to functions that were removed.
  for (const { section, records } of file.ext.funcInfos) {
    const found = byName.get(section);
    if (found === undefined) continue;
    for (const record of records) {
      checkInside(found, record.insnOffset, "func_info");
      const func = found.byOffset.get(record.insnOffset);
      if (func !== undefined) func.type ??= record.type;
    }
  }
  for (const func of functionsOf(code)) func.type ??= func.code.byOffset.get(func.offset)?.type;
  for (const { section, records } of file.ext.lineInfos) {
    const found = byName.get(section);
    if (found === undefined) continue;
    addLines(found, records);
  }
  let order = 0;
  for (const { section, records } of file.ext.coreRelos) {
    const found = byName.get(section);
    if (found === undefined) continue;
    for (const record of records) {
      const index = checkInside(found, record.insnOffset, "core_relo");
      if (!ACCESS.test(record.access)) {
        const access = JSON.stringify(record.access.slice(0, 100));
        const message = `Access ${access} at offset ${record.insnOffset} is no list of at most 64 numbers`;
        throw extError(found, "core_relo", message);
      }
      const insn = found.instructions[index]!;
      if (insn.meta?.relocation !== undefined) {
        throw extError(found, "core_relo", `Second relocation of the instruction at offset ${record.insnOffset}`);
      }
      found.instructions[index] = withMeta(insn, { relocation: coreRelocation({ ...record, order: order++ }) });
    }
  }
}

function extError(code: CodeSection, what: string, message: string): BtfError {
  return new BtfError("ERR_BTF_INVALID", message, { path: `.BTF.ext ${what} ${JSON.stringify(code.section.name)}` });
}

function checkInside(code: CodeSection, offset: number, what: string): number {
  const index = instructionAt(code, offset);
  if (index === undefined) {
    throw extError(code, what, `Offset ${offset} is behind the section of ${code.section.size} bytes`);
  }
  if (index < 0) throw extError(code, what, `Offset ${offset} lies inside of an ld_imm64`);
  return index;
}

function addLines(
  code: CodeSection,
  records: readonly {
    readonly insnOffset: number;
    readonly fileName: string;
    readonly line: string;
    readonly lineNumber: number;
    readonly column: number;
  }[],
): void {
  // A line holds until the next one; each has one object, which its instructions share, so that lines can be told
  // apart even where they say the same.
  const starts = new Map<number, InstructionSource>();
  for (const { insnOffset, fileName, line, lineNumber, column } of records) {
    const index = checkInside(code, insnOffset, "line_info");
    starts.set(index, { source: { file: fileName, line: lineNumber, column, text: line } });
  }
  const functionStarts = new Set(code.functions.map((func) => func.start));
  let meta: InstructionSource | undefined;
  for (const [index, insn] of code.instructions.entries()) {
    if (functionStarts.has(index)) meta = undefined;
    meta = starts.get(index) ?? meta;
    if (meta === undefined) continue;
    code.instructions[index] = insn.meta === undefined ? { ...insn, meta } : withMeta(insn, meta);
  }
}

type InstructionSource = { readonly source: NonNullable<NonNullable<Instruction["meta"]>["source"]> };

/** All functions of an object, by section and place. */
export function* functionsOf(code: Code): IterableIterator<CodeFunction> {
  for (const section of code.values()) yield* section.functions;
}
