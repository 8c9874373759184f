// Browser-safe.

import { closest } from "../../bytes/closest.ts";
import type { BpfErrorCode } from "../../errors.ts";
import { AsmError, type AsmProblem } from "../errors.ts";
import {
  type Instruction,
  type InstructionMeta,
  LD_IMM64,
  type MapReference,
  type SourceLine,
} from "../instruction.ts";
import type { LinkOptions } from "../link.ts";
import { isBlank } from "./characters.ts";
import { type DataSection, dataSection } from "./data-section.ts";

/** How a file is written: as the kernel prints, as LLVM prints, or in mnemonics. */
export type AssemblyStyle = "kernel" | "llvm" | "mnemonic";

/** A part of the file with a name of its own. */
export interface Section {
  readonly name: string;
  /** `undefined` until its first content decides. */
  kind: "code" | "data" | undefined;
  readonly code: Instruction[];
  /** Where in the text each instruction of `code` begins. */
  readonly positions: number[];
  readonly data: DataSection;
  /** Index of its first instruction among those of all sections, known once everything is read. */
  start: number;
  /** Slots of the first instructions, counted as far as somebody asked. */
  readonly slots: number[];
  /** Raw bytes of code that do not yet make a slot. */
  raw: number[];
}

/** A name for a place. */
export interface Label {
  readonly name: string;
  readonly section: Section;
  /** Index of the instruction, or in data byte offset from the start of the section. */
  readonly index: number;
  /** Where in the text it is defined. */
  readonly at: number;
}

/** An instruction that names what it jumps to, calls or points at. */
export interface Fixup {
  readonly section: Section;
  /** Index of the instruction in its section. */
  readonly index: number;
  readonly name: string;
  /** Where in the text the name stands, and how many characters it has. */
  readonly at: number;
  readonly length: number;
  /** What the name may mean. */
  readonly kind: "jump" | "call" | "local-call" | "address";
}

/** An instruction that jumps to a numeric label such as `1f`. */
export interface LocalJump {
  readonly section: Section;
  readonly index: number;
  readonly at: number;
  /** Index of the instruction jumped to; -1 until the label is found. */
  target: number;
}

/** What directives said of a name. */
export interface SymbolInfo {
  global: boolean;
  weak: boolean;
  external: boolean;
  type: "function" | "object" | undefined;
}

interface Problem {
  readonly code: BpfErrorCode;
  readonly message: string;
  readonly at: number;
  readonly length: number;
  readonly hint: string | undefined;
}

/** Kinds of constant, which decide the range an immediate allows. */
export const DECIMAL = 0;
/** Hexadecimal, octal or binary: may be meant as a pattern of bits. */
export const PATTERN = 1;
/** The result of an expression. */
export const COMPUTED = 2;

/** Everything known while one text is assembled. One mutable object, because the hot path passes it everywhere. */
export interface Assembly {
  /** The input, and behind it two line ends and a NUL, so that looking ahead needs no check of bounds. */
  readonly text: string;
  /** Length of the input. */
  readonly end: number;
  /** Next character to read. */
  at: number;
  /** Where the statement being read begins. */
  start: number;

  readonly mnemonic: boolean;
  /** Whether `r1 = 0x5` is an `ld_imm64`, as in the kernel's print; `undefined`: to be detected. */
  hexIsWide: boolean | undefined;
  sawKernelStyle: boolean;
  sawLlvmStyle: boolean;
  /** Instructions that are `mov` or `ld_imm64` depending on what is detected. */
  readonly hexMoves: { readonly section: Section; readonly index: number }[];
  readonly highestRegister: number;
  /** Whether calls may go to names that nobody defines. */
  readonly allowUndefined: boolean;
  readonly maps: Readonly<Record<string, MapReference | number>> | undefined;
  readonly kfuncs: LinkOptions["kfuncs"];
  readonly file: string;
  readonly keepSource: boolean;
  /** Lists of instructions that a template put in, by number. */
  readonly inserts: readonly (readonly Instruction[])[];

  readonly sections: Section[];
  readonly sectionNames: Map<string, Section>;
  section: Section;
  previousSection: Section;
  readonly sectionStack: Section[];
  code: Instruction[];
  positions: number[];
  /** Whether the next instruction needs more than being appended. */
  slow: boolean;

  readonly labels: Map<string, Label>;
  readonly symbols: Map<string, SymbolInfo>;
  readonly constants: Map<string, bigint>;
  readonly functions: Set<string>;
  readonly fixups: Fixup[];
  readonly localJumps: LocalJump[];
  /** Last definition of each numeric label. */
  readonly localLabels: Map<number, { readonly section: Section; readonly index: number }>;
  readonly localPending: Map<number, LocalJump[]>;

  /** The constant read last where it is no safe integer. */
  big: bigint;
  /** `DECIMAL`, `PATTERN` or `COMPUTED`: what the constant read last was. */
  form: number;
  /** The name read last by a function that says so. */
  name: string;
  nameAt: number;
  nameLength: number;
  /** Register and offset of the address read last. */
  base: number;
  offset: number;

  readonly problems: Problem[];
  hintsLeft: number;
  /** Line of `lineStart`, counted from 1, for `source`. */
  line: number;
  lineStart: number;
}

/** What {@link newAssembly} must be told. */
export interface AssemblySettings {
  readonly mnemonic: boolean;
  readonly hexIsWide: boolean | undefined;
  readonly allowAnyRegister: boolean;
  readonly allowUndefined: boolean;
  readonly maps: Readonly<Record<string, MapReference | number>> | undefined;
  readonly kfuncs: LinkOptions["kfuncs"];
  readonly file: string;
  readonly keepSource: boolean;
  readonly constants: Iterable<readonly [string, bigint]>;
  readonly inserts: readonly (readonly Instruction[])[];
}

/** A fresh state at the start of a text. */
export function newAssembly(text: string, settings: AssemblySettings): Assembly {
  const section = newSection(".text", "code");
  return {
    // Not a template: that makes a pair of strings, and reading a character of a pair costs half as much again.
    text: [text, "\n\n\0"].join(""),
    end: text.length,
    at: 0,
    start: 0,
    mnemonic: settings.mnemonic,
    hexIsWide: settings.hexIsWide,
    sawKernelStyle: false,
    sawLlvmStyle: false,
    hexMoves: [],
    highestRegister: settings.allowAnyRegister ? 15 : 10,
    allowUndefined: settings.allowUndefined,
    maps: settings.maps,
    kfuncs: settings.kfuncs,
    file: settings.file,
    keepSource: settings.keepSource,
    inserts: settings.inserts,
    sections: [section],
    sectionNames: new Map([[section.name, section]]),
    section,
    previousSection: section,
    sectionStack: [],
    code: section.code,
    positions: section.positions,
    slow: settings.keepSource,
    labels: new Map(),
    symbols: new Map(),
    constants: new Map(settings.constants),
    functions: new Set(),
    fixups: [],
    localJumps: [],
    localLabels: new Map(),
    localPending: new Map(),
    big: 0n,
    form: DECIMAL,
    name: "",
    nameAt: 0,
    nameLength: 0,
    base: 0,
    offset: 0,
    problems: [],
    hintsLeft: 50,
    line: 1,
    lineStart: 0,
  };
}

/** An empty section. */
export function newSection(name: string, kind: "code" | "data" | undefined): Section {
  return { name, kind, code: [], positions: [], data: dataSection(), start: 0, slots: [], raw: [] };
}

/** Notes a problem. @returns `false`, so that a parser can return it */
export function fail(
  s: Assembly,
  code: BpfErrorCode,
  message: string,
  at: number,
  length: number,
  hint?: string | undefined,
): false {
  // Blanks behind the last thing read are no part of it.
  let end = at + length;
  while (end > at + 1 && isBlank(s.text.charCodeAt(end - 1))) end--;
  s.problems.push({ code, message, at, length: end - at, hint });
  return false;
}

/**
 * "Did you mean", where a name is near. Looking for one costs time in proportion to the number of candidates, so a
 * text full of faults gets it for the first ones only.
 */
export function suggest(s: Assembly, word: string, candidates: Iterable<string>): string | undefined {
  if (s.hintsLeft <= 0 || word.length > 64) return undefined;
  s.hintsLeft--;
  const near = closest(word, limited(candidates));
  return near === undefined || near === word ? undefined : `Did you mean "${near}"?`;
}

function* limited(candidates: Iterable<string>): Iterable<string> {
  let left = 10_000;
  for (const candidate of candidates) {
    if (left-- === 0) return;
    yield candidate;
  }
}

/** Throws what was noted, in order of position; does nothing when nothing was. */
export function throwProblems(s: Assembly): void {
  if (s.problems.length === 0) return;
  const sorted = [...s.problems].sort((a, b) => a.at - b.at);
  const problems: AsmProblem[] = [];
  let line = 1;
  let lineStart = 0;
  let lineEnd = nextLineEnd(s, 0);
  for (const { code, message, at, length, hint } of sorted) {
    while (lineEnd < at) {
      line++;
      lineStart = lineEnd + 1;
      lineEnd = nextLineEnd(s, lineStart);
    }
    problems.push({
      code,
      message,
      line,
      column: at - lineStart + 1,
      // What goes on in the next line, such as a comment without end, is underlined in its first line only.
      length: Math.max(1, Math.min(length, lineEnd - at)),
      hint,
      file: s.file === "" ? undefined : s.file,
      text: withoutCarriageReturn(s.text.slice(lineStart, lineEnd)),
    });
  }
  throw new AsmError(problems);
}

function nextLineEnd(s: Assembly, from: number): number {
  const found = s.text.indexOf("\n", from);
  return found < 0 || found > s.end ? s.end : found;
}

function withoutCarriageReturn(line: string): string {
  return line.endsWith("\r") ? line.slice(0, -1) : line;
}

/** Appends an instruction. @returns whether it may stand here, so that a parser can return it */
export function emit(s: Assembly, opcode: number, dst: number, src: number, offset: number, imm: number): boolean {
  let meta: InstructionMeta | undefined;
  if (s.slow) {
    if (!beginInstruction(s)) return false;
    if (s.keepSource) meta = { source: sourceLine(s) };
  }
  s.code.push({ opcode, dst, src, offset, imm, high: 0, meta });
  s.positions.push(s.start);
  return true;
}

/** Appends an `ld_imm64`. */
export function emitWide(
  s: Assembly,
  dst: number,
  src: number,
  low: number,
  high: number,
  more?: InstructionMeta | undefined,
): boolean {
  return emitInstruction(s, { opcode: LD_IMM64, dst, src, offset: 0, imm: low, high, meta: more });
}

/** Appends an instruction with what travels with it. */
export function emitInstruction(s: Assembly, insn: Instruction): boolean {
  let { meta } = insn;
  if (s.slow) {
    if (!beginInstruction(s)) return false;
    if (s.keepSource && meta?.source === undefined) meta = { ...meta, source: sourceLine(s) };
  }
  const { opcode, dst, src, offset, imm, high } = insn;
  s.code.push({ opcode, dst, src, offset, imm, high, meta });
  s.positions.push(s.start);
  return true;
}

function beginInstruction(s: Assembly): boolean {
  const { section } = s;
  if (section.kind === "data") {
    return fail(s, "ERR_ASM_SYNTAX", `Instruction in data section "${section.name}"`, s.start, s.at - s.start);
  }
  section.kind = "code";
  if (section.raw.length > 0) {
    const message = `Raw bytes before this instruction do not fill a slot of 8 bytes (${section.raw.length})`;
    section.raw = [];
    return fail(s, "ERR_ASM_ENCODING", message, s.start, s.at - s.start);
  }
  s.slow = s.keepSource;
  return true;
}

/** The line of the statement being read. Statements come in order, so counting goes on where it stopped. */
function sourceLine(s: Assembly): SourceLine {
  let next = s.text.indexOf("\n", s.lineStart);
  while (next < s.start) {
    s.line++;
    s.lineStart = next + 1;
    next = s.text.indexOf("\n", s.lineStart);
  }
  return {
    file: s.file,
    line: s.line,
    column: s.start - s.lineStart + 1,
    text: withoutCarriageReturn(s.text.slice(s.lineStart, next)),
  };
}

/** Goes on in another section. */
export function enterSection(s: Assembly, section: Section): void {
  s.previousSection = s.section;
  s.section = section;
  s.code = section.code;
  s.positions = section.positions;
  s.slow = true;
  s.localLabels.clear();
}

/** What is known of a name, made when it is not there. */
export function symbolInfo(s: Assembly, name: string): SymbolInfo {
  let info = s.symbols.get(name);
  if (info === undefined) {
    info = { global: false, weak: false, external: false, type: undefined };
    s.symbols.set(name, info);
  }
  return info;
}
