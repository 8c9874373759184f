// Browser-safe.

import { encodeUtf8 } from "../../bytes/text.ts";
import { distanceField } from "../distance.ts";
import { type Instruction, LD_IMM64, slotsOf } from "../instruction.ts";
import { JumpOp, PseudoSource } from "../opcodes.ts";
import {
  type Assembly,
  emitInstruction,
  enterSection,
  type Fixup,
  fail,
  type Label,
  newSection,
  type Section,
  type SymbolInfo,
  suggest,
  symbolInfo,
} from "./assembly.ts";
import { AT, COMMA, isDigit, LINE_FEED, MINUS, PERCENT, PLUS, QUOTE, startsWord } from "./characters.ts";
import { type DataRelocation, grow, MAX_DATA, writeInteger } from "./data-section.ts";
import { expression, shown } from "./expression.ts";
import { accept, expect, expectName, peek, readName, readString, skipLine, unexpected } from "./scan.ts";

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

/** Where data bytes go: to the section, or in code to raw instructions. @returns whether this is data */
function inData(s: Assembly): boolean {
  if (s.section.kind === undefined) s.section.kind = "data";
  return s.section.kind === "data";
}

function rawBytes(s: Assembly, bytes: Iterable<number>): boolean {
  const { section } = s;
  for (const byte of bytes) {
    section.raw.push(byte);
    if (section.raw.length === 8) {
      const slot = section.raw;
      section.raw = [];
      rawSlot(s, Uint8Array.from(slot));
    }
  }
  s.slow = true;
  return true;
}

/** Appends 8 bytes as they are. */
function rawSlot(s: Assembly, slot: Uint8Array): void {
  const view = new DataView(slot.buffer);
  const opcode = slot[0]!;
  const registers = slot[1]!;
  const offset = view.getInt16(2, true);
  const imm = view.getInt32(4, true);
  const last = s.code.at(-1);
  if (last !== undefined && last.meta?.secondSlot === "missing") {
    // This is the second half of what was begun by raw bytes right before.
    const secondSlot = (opcode | registers | offset) === 0 ? undefined : { opcode, registers, offset };
    s.code[s.code.length - 1] = { ...last, high: imm, meta: withoutMissing(last, secondSlot) };
    return;
  }
  const meta = opcode === LD_IMM64 ? ({ secondSlot: "missing" } as const) : undefined;
  emitInstruction(s, { opcode, dst: registers & 15, src: registers >> 4, offset, imm, high: 0, meta });
}

function withoutMissing(
  insn: Instruction,
  secondSlot: { readonly opcode: number; readonly registers: number; readonly offset: number } | undefined,
): Instruction["meta"] {
  const source = insn.meta?.source;
  if (secondSlot !== undefined) return source === undefined ? { secondSlot } : { source, secondSlot };
  return source === undefined ? undefined : { source };
}

/** `.long 1, 2, symbol + 4, a - b` */
function integers(s: Assembly, size: 1 | 2 | 4 | 8): boolean {
  do {
    peek(s);
    const at = s.at;
    const symbolic = symbolOperand(s);
    if (symbolic === undefined) return false;
    const { value } = symbolic;
    if (value > (1n << BigInt(8 * size)) - 1n || value < -(1n << BigInt(8 * size - 1))) {
      return fail(
        s,
        "ERR_ASM_RANGE",
        `Value ${value} does not fit ${size === 1 ? "a byte" : `${size} bytes`}`,
        at,
        s.at - at,
      );
    }
    if (inData(s)) {
      const { data } = s.section;
      const offset = grow(data, size);
      if (offset < 0) return tooLarge(s);
      if (symbolic.symbol === undefined) writeInteger(data.bytes, offset, size, value);
      else {
        const { symbol, minus } = symbolic;
        data.relocations.push({ offset, size, symbol, addend: value, at, minus });
      }
    } else {
      if (symbolic.symbol !== undefined) {
        return fail(s, "ERR_ASM_OPERAND", "Raw code cannot refer to a symbol", at, s.at - at);
      }
      const bytes = new Uint8Array(size);
      writeInteger(bytes, 0, size, value);
      rawBytes(s, bytes);
    }
  } while (accept(s, COMMA));
  return true;
}

type SymbolOperand = { value: bigint; symbol: string | undefined; minus: DataRelocation["minus"] };

/** A constant, or a symbol with something added or another symbol subtracted. */
function symbolOperand(s: Assembly): SymbolOperand | undefined {
  const c = peek(s);
  const start = s.at;
  if ((startsWord(c) || c === QUOTE) && readName(s) && (c === QUOTE || !s.constants.has(s.name))) {
    const symbol = s.name;
    let minus: string | undefined;
    const sign = peek(s);
    if (sign === MINUS) {
      const at = s.at;
      s.at++;
      if (startsWord(peek(s)) && readName(s) && !s.constants.has(s.name)) minus = s.name;
      else s.at = at;
    }
    const next = peek(s);
    const value = next === PLUS || next === MINUS ? expression(s) : 0n;
    return value === undefined ? undefined : { value, symbol, minus };
  }
  s.at = start;
  const value = expression(s);
  return value === undefined ? undefined : { value, symbol: undefined, minus: undefined };
}

function tooLarge(s: Assembly): boolean {
  return fail(s, "ERR_LIMIT", `Section "${s.section.name}" exceeds ${MAX_DATA} bytes`, s.start, s.at - s.start);
}

function strings(s: Assembly, terminated: boolean): boolean {
  if (!inData(s)) return fail(s, "ERR_ASM_SYNTAX", "Text in a code section", s.start, s.at - s.start);
  do {
    if (peek(s) !== QUOTE) return unexpected(s, "a string in double quotes");
    const start = s.at;
    const value = readString(s);
    if (value === undefined) return false;
    const bytes = stringBytes(s, value, start);
    const at = grow(s.section.data, bytes.length + (terminated ? 1 : 0));
    if (at < 0) return tooLarge(s);
    s.section.data.bytes.set(bytes, at);
  } while (accept(s, COMMA));
  return true;
}

/** Escaped numbers are bytes; characters beyond ASCII that stand for themselves are UTF-8. */
function stringBytes(s: Assembly, value: string, start: number): Uint8Array {
  const written = s.text.slice(start, s.at);
  if (!/\\[0-7x]/.test(written)) return encodeUtf8(value);
  // Mixed text and bytes: a written character beyond ASCII is encoded, an escape is not, and both are below U+0100 in
  // `value` only when escaped; the two cannot meet in output of a compiler, which escapes all bytes.
  const bytes: number[] = [];
  for (const char of value) {
    const code = char.codePointAt(0)!;
    if (code < 0x100) bytes.push(code);
    else bytes.push(...encodeUtf8(char));
  }
  return Uint8Array.from(bytes);
}

function count(s: Assembly, what: string): number {
  peek(s);
  const at = s.at;
  const value = expression(s);
  if (value === undefined) return -1;
  if (value >= 0n && value <= BigInt(MAX_DATA)) return Number(value);
  fail(s, "ERR_ASM_RANGE", `${what} must be 0 to ${MAX_DATA}`, at, s.at - at);
  return -1;
}

/** `.zero 16`, `.zero 16, 0xff` */
function zeros(s: Assembly): boolean {
  const size = count(s, "Number of bytes");
  if (size < 0) return false;
  let value = 0n;
  if (accept(s, COMMA)) {
    const given = expression(s);
    if (given === undefined) return false;
    value = given;
  }
  return repeat(s, size, Number(value & 0xffn));
}

function repeat(s: Assembly, size: number, value: number): boolean {
  if (!inData(s)) {
    if (size > 1 << 20) return tooLarge(s);
    return rawBytes(s, new Uint8Array(size).fill(value));
  }
  const at = grow(s.section.data, size);
  if (at < 0) return tooLarge(s);
  s.section.data.bytes.fill(value, at, at + size);
  return true;
}

/** `.fill repeat, size, value` */
function fill(s: Assembly): boolean {
  const times = count(s, "Number of repetitions");
  if (times < 0) return false;
  let size = 1;
  let value = 0n;
  if (accept(s, COMMA)) {
    size = count(s, "Size");
    if (size < 0) return false;
    if (accept(s, COMMA)) {
      const given = expression(s);
      if (given === undefined) return false;
      value = given;
    }
  }
  if (size > 8) size = 8;
  if (!inData(s)) return fail(s, "ERR_ASM_SYNTAX", "Fill in a code section", s.start, s.at - s.start);
  const at = grow(s.section.data, times * size);
  if (at < 0) return tooLarge(s);
  for (let i = 0; i < times; i++) writeInteger(s.section.data.bytes, at + i * size, size, value);
  return true;
}

/** `.align 8` and `.p2align 3`. Code is always aligned. */
function align(s: Assembly, power: boolean): boolean {
  peek(s);
  const at = s.at;
  const given = count(s, "Alignment");
  if (given < 0) return false;
  const alignment = power ? 2 ** given : given;
  if (!(alignment >= 1 && alignment <= 65536 && Number.isInteger(Math.log2(alignment)))) {
    return fail(s, "ERR_ASM_RANGE", "Alignment must be a power of two up to 65536", at, s.at - at);
  }
  let value = 0n;
  if (accept(s, COMMA) && (isDigit(peek(s)) || startsWord(peek(s)))) {
    const filler = expression(s);
    if (filler === undefined) return false;
    value = filler;
  }
  if (peek(s) !== LINE_FEED) skipLine(s);
  if (s.section.kind === "code") {
    if (alignment <= 8) return true;
    return fail(s, "ERR_ASM_RANGE", "Code cannot be aligned to more than 8 bytes", at, s.at - at);
  }
  if (s.section.kind === undefined) return true;
  const rest = s.section.data.length % alignment;
  return rest === 0 || repeat(s, alignment - rest, Number(value & 0xffn));
}

/** `.uleb128 300`, `.sleb128 -2`, and what compilers write for debuggers: `.uleb128 .Lend-.Lbegin` */
function leb128(s: Assembly, signed: boolean): boolean {
  if (!inData(s)) return fail(s, "ERR_ASM_SYNTAX", "Data in a code section", s.start, s.at - s.start);
  do {
    peek(s);
    const at = s.at;
    const operand = symbolOperand(s);
    if (operand === undefined) return false;
    const distance = operand.symbol === undefined ? 0n : knownDistance(s, operand.symbol, operand.minus, at);
    if (distance === undefined) return false;
    let value = operand.value + distance;
    if (!signed && value < 0n) return fail(s, "ERR_ASM_RANGE", `Value ${value} is negative`, at, s.at - at);
    for (let more = true; more; ) {
      const byte = Number(value & 0x7fn);
      value >>= 7n;
      more = signed ? !((value === 0n && byte < 64) || (value === -1n && byte >= 64)) : value !== 0n;
      const place = grow(s.section.data, 1);
      if (place < 0) return tooLarge(s);
      s.section.data.bytes[place] = more ? byte | 0x80 : byte;
    }
  } while (accept(s, COMMA));
  return true;
}

/** How far two labels that stand above are apart, in bytes: the length of what is written depends on it. */
function knownDistance(s: Assembly, symbol: string, minus: string | undefined, at: number): bigint | undefined {
  const a = s.labels.get(symbol);
  const b = minus === undefined ? undefined : s.labels.get(minus);
  if (a === undefined || b === undefined || a.section !== b.section) {
    fail(
      s,
      "ERR_ASM_LABEL",
      "Expected a number, or the distance of two labels of one section further up",
      at,
      s.at - at,
    );
    return undefined;
  }
  return BigInt(byteOffset(a) - byteOffset(b));
}

function byteOffset({ section, index }: Label): number {
  if (section.kind === "data") return index;
  const { slots, code } = section;
  for (let i = slots.length; i <= index; i++) slots.push(i === 0 ? 0 : slots[i - 1]! + slotsOf(code[i - 1]!));
  return 8 * slots[index]!;
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
