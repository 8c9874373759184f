// Browser-safe.

import { distanceField } from "../distance.ts";
import { type Instruction, LD_IMM64 } from "../instruction.ts";
import { JumpOp, PseudoSource } from "../opcodes.ts";
import {
  type Assembly,
  emitInstruction,
  enterSection,
  type Fixup,
  fail,
  newSection,
  type Section,
  type SymbolInfo,
  suggest,
  symbolInfo,
} from "./assembly.ts";
import { AT, COMMA, PERCENT, QUOTE } from "./characters.ts";
import { align, count, fill, integers, leb128, strings, tooLarge, zeros } from "./data-directives.ts";
import { grow } from "./data-section.ts";
import { expression, shown } from "./expression.ts";
import { accept, expect, expectName, peek, readString, skipLine, unexpected } from "./scan.ts";

type Directive = (s: Assembly) => boolean;

const SIZES = {
  byte: 1,
  "2byte": 2,
  short: 2,
  hword: 2,
  half: 2,
  "4byte": 4,
  word: 4,
  long: 4,
  int: 4,
  "8byte": 8,
  quad: 8,
  dword: 8,
  xword: 8,
} as const;

/** What compilers write for debuggers and linkers, and what says nothing about the program. */
const IGNORED = [
  "addrsig",
  "addrsig_sym",
  "cfi_endproc",
  "cfi_sections",
  "cfi_startproc",
  "cfi_def_cfa_offset",
  "cfi_offset",
  "file",
  "hidden",
  "ident",
  "internal",
  "loc",
  "protected",
  "size",
  "version",
];

const DIRECTIVES: ReadonlyMap<string, Directive> = new Map<string, Directive>([
  ...IGNORED.map((name): [string, Directive] => [name, ignore]),
  ...Object.entries(SIZES).map(([name, size]): [string, Directive] => [name, (s) => integers(s, size)]),
  ["text", (s) => goTo(s, ".text", "code")],
  ["data", (s) => goTo(s, ".data", "data")],
  ["bss", (s) => goTo(s, ".bss", "data")],
  ["rodata", (s) => goTo(s, ".rodata", "data")],
  ["section", section],
  ["pushsection", (s) => push(s)],
  ["popsection", pop],
  ["previous", (s) => back(s)],
  ["globl", (s) => names(s, { global: true })],
  ["global", (s) => names(s, { global: true })],
  ["weak", (s) => names(s, { weak: true })],
  ["local", (s) => names(s, { global: false })],
  ["extern", (s) => names(s, { external: true })],
  ["type", type],
  ["func", func],
  ["endfunc", ignore],
  ["equ", (s) => assign(s, false)],
  ["set", (s) => assign(s, true)],
  ["equiv", (s) => assign(s, false)],
  ["ascii", (s) => strings(s, false)],
  ["asciz", (s) => strings(s, true)],
  ["string", (s) => strings(s, true)],
  ["zero", zeros],
  ["skip", zeros],
  ["space", zeros],
  ["fill", fill],
  ["align", (s) => align(s, false)],
  ["balign", (s) => align(s, false)],
  ["p2align", (s) => align(s, true)],
  ["uleb128", (s) => leb128(s, false)],
  ["sleb128", (s) => leb128(s, true)],
  ["comm", common],
  ["lcomm", common],
  ["insert", insert],
]);

/** Reads the directive whose name, with its dot, was read last. */
export function directive(s: Assembly): boolean {
  const word = s.text.slice(s.nameAt + 1, Math.min(s.at, s.nameAt + 65));
  const read = DIRECTIVES.get(word);
  if (read !== undefined) return read(s);
  const near = suggest(s, word, DIRECTIVES.keys());
  const hint = near?.replace('"', '".');
  return fail(s, "ERR_ASM_UNKNOWN_MNEMONIC", `Unknown directive ".${shown(word)}"`, s.nameAt, s.at - s.nameAt, hint);
}

function ignore(s: Assembly): boolean {
  skipLine(s);
  return true;
}

function names(s: Assembly, said: Partial<SymbolInfo>): boolean {
  do {
    if (!expectName(s, "a name")) return false;
    Object.assign(symbolInfo(s, s.name), said);
  } while (accept(s, COMMA));
  return true;
}

/** Sections that hold no code, whatever their flags. */
const DATA_NAMES =
  /^(?:\.data|\.rodata|\.bss|\.maps|maps|license|version|\.ksyms|\.kconfig|\.struct_ops|\.BTF|\.debug|\.eh_frame|\.note|\.comment|\.llvm|\.rel|\.strtab|\.symtab|\.shstrtab|\.addrsig|\.jumptables|\.ARM|\.group)(?:$|[._])/;

function findSection(s: Assembly, name: string, kind: Section["kind"]): Section {
  const known = s.sectionNames.get(name);
  if (known !== undefined) return known;
  const made = newSection(name, kind ?? (DATA_NAMES.test(name) ? "data" : undefined));
  s.sections.push(made);
  s.sectionNames.set(name, made);
  return made;
}

function goTo(s: Assembly, name: string, kind: "code" | "data"): boolean {
  return enter(s, findSection(s, name, kind));
}

function enter(s: Assembly, section: Section): boolean {
  const left = s.section;
  enterSection(s, section);
  return closeRaw(s, left);
}

/** Notes raw bytes of code that do not fill a slot. */
export function closeRaw(s: Assembly, section: Section): boolean {
  if (section.raw.length === 0) return true;
  const message = `Raw bytes do not fill a slot of 8 bytes (${section.raw.length})`;
  section.raw = [];
  return fail(s, "ERR_ASM_ENCODING", message, s.start, Math.max(1, s.at - s.start));
}

/** `.section name, "flags", @type` */
function section(s: Assembly): boolean {
  const found = sectionOperands(s);
  return found !== undefined && enter(s, found);
}

/** A section name may hold characters that no other name does: `.section tracepoint/syscalls/sys_enter_open`. */
function sectionName(s: Assembly): string | undefined {
  const c = peek(s);
  if (c === QUOTE) return readString(s);
  const start = s.at;
  let at = start;
  const { text } = s;
  while (/[^\s,;#"]/.test(text[at]!)) at++;
  if (at === start) {
    unexpected(s, "the name of a section");
    return undefined;
  }
  s.at = at;
  return text.slice(start, at);
}

function sectionOperands(s: Assembly): Section | undefined {
  const name = sectionName(s);
  if (name === undefined) return undefined;
  let kind: Section["kind"];
  if (accept(s, COMMA) && peek(s) === QUOTE) {
    const flags = readString(s);
    if (flags === undefined) return undefined;
    kind = flags.includes("x") ? "code" : "data";
    // Type, entry size, group: nothing that matters here.
    skipLine(s);
  }
  return findSection(s, name, kind);
}

function push(s: Assembly): boolean {
  const found = sectionOperands(s);
  if (found === undefined) return false;
  s.sectionStack.push(s.section);
  return enter(s, found);
}

function pop(s: Assembly): boolean {
  const found = s.sectionStack.pop();
  if (found === undefined) return fail(s, "ERR_ASM_SYNTAX", "No section was pushed", s.start, s.at - s.start);
  return enter(s, found);
}

function back(s: Assembly): boolean {
  return enter(s, s.previousSection);
}

/** `.type name, @function` */
function type(s: Assembly): boolean {
  if (!expectName(s, "a name")) return false;
  const { name } = s;
  if (!expect(s, COMMA, "behind the name")) return false;
  const c = peek(s);
  if (c === AT || c === PERCENT) s.at++;
  if (!expectName(s, "@function or @object")) return false;
  const kind = s.name.toLowerCase();
  if (kind === "function" || kind === "stt_func") symbolInfo(s, name).type = "function";
  else if (kind === "object" || kind === "stt_object") symbolInfo(s, name).type = "object";
  return true;
}

function func(s: Assembly): boolean {
  if (!expectName(s, "the name of a function")) return false;
  symbolInfo(s, s.name).type = "function";
  if (peek(s) === COMMA) skipLine(s);
  return true;
}

/** `.equ NAME, expression`, and `.set`, which may give a name another value. */
function assign(s: Assembly, again: boolean): boolean {
  if (!expectName(s, "a name")) return false;
  const { name, nameAt } = s;
  if (!expect(s, COMMA, "behind the name")) return false;
  if (again) s.constants.delete(name);
  return define(s, name, nameAt);
}

/** Reads the value of a constant, behind `=` or a comma. */
export function define(s: Assembly, name: string, at: number): boolean {
  const value = expression(s);
  if (value === undefined) return false;
  const known = s.constants.get(name);
  if (known !== undefined && known !== value) {
    return fail(s, "ERR_ASM_LABEL", `Constant "${shown(name)}" is already defined as ${known}`, at, name.length);
  }
  if (s.labels.has(name)) {
    return fail(s, "ERR_ASM_LABEL", `"${shown(name)}" is already defined as a label`, at, name.length);
  }
  s.constants.set(name, value);
  return true;
}

/** `.comm name, size, alignment`: zeroed data in `.bss`. */
function common(s: Assembly): boolean {
  if (!expectName(s, "a name")) return false;
  const { name, nameAt } = s;
  if (!expect(s, COMMA, "behind the name")) return false;
  const size = count(s, "Size");
  if (size < 0) return false;
  let alignment = 8;
  if (accept(s, COMMA)) alignment = count(s, "Alignment");
  if (alignment < 0) return false;
  const section = findSection(s, ".bss", "data");
  const rest = alignment > 1 ? section.data.length % alignment : 0;
  const index = section.data.length + (rest === 0 ? 0 : alignment - rest);
  if (grow(section.data, index - section.data.length + size) < 0) return tooLarge(s);
  if (s.labels.has(name))
    return fail(s, "ERR_ASM_LABEL", `Label "${shown(name)}" is already defined`, nameAt, name.length);
  s.labels.set(name, { name, section, index, at: nameAt });
  symbolInfo(s, name).type = "object";
  return true;
}

/** What a template puts for a list of instructions: `.insert 0`. */
function insert(s: Assembly): boolean {
  const at = s.at;
  const number = expression(s);
  const list = number === undefined ? undefined : s.inserts[Number(number)];
  if (list === undefined) {
    return number === undefined
      ? false
      : fail(s, "ERR_ASM_UNKNOWN_MNEMONIC", 'Unknown directive ".insert"', s.start, at - s.start);
  }
  for (const insn of list) {
    const labels = insn.meta?.labels;
    if (labels !== undefined) {
      for (const name of labels) {
        if (s.labels.has(name))
          return fail(s, "ERR_ASM_LABEL", `Label "${shown(name)}" is already defined`, s.start, s.at - s.start);
        s.labels.set(name, { name, section: s.section, index: s.code.length, at: s.start });
      }
    }
    const { reference } = insn.meta ?? {};
    const kind = reference === undefined ? undefined : referenceKind(insn);
    const meta = labels === undefined && kind === undefined ? insn.meta : without(insn, kind !== undefined);
    if (!emitInstruction(s, { ...insn, meta })) return false;
    if (reference !== undefined && kind !== undefined) {
      const index = s.code.length - 1;
      const { section } = s;
      s.fixups.push({ section, index, name: reference, at: s.start, length: s.at - s.start, kind });
    }
  }
  return true;
}

/** What the reference of an instruction made elsewhere means; `undefined`: something that this text cannot define. */
function referenceKind(insn: Instruction): Fixup["kind"] | undefined {
  if (insn.opcode === LD_IMM64) {
    const symbolic = insn.src === PseudoSource.immediate || insn.src === PseudoSource.function;
    return symbolic ? "address" : undefined;
  }
  switch (distanceField(insn)) {
    case "offset":
      return "jump";
    case "imm":
      return (insn.opcode & 0xf0) === JumpOp.call ? "local-call" : "jump";
    default:
      return undefined;
  }
}

function without(insn: Instruction, reference: boolean): Instruction["meta"] {
  const { labels: _labels, ...rest } = insn.meta ?? {};
  const meta = reference ? { ...rest, reference: undefined } : rest;
  return Object.values(meta).every((value) => value === undefined) ? undefined : meta;
}
