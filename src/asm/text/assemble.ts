// Browser-safe.

import type { Instruction, MapReference } from "../instruction.ts";
import type { KfuncReference } from "../link.ts";
import { CallSource, Class, JumpOp } from "../opcodes.ts";
import type { Cpu } from "../stretch.ts";
import { type Assembly, type AssemblyStyle, newAssembly, type Section } from "./assembly.ts";
import { usesMnemonics } from "./detect.ts";
import { writeDifferences } from "./differences.ts";
import { type ResolvedCode, resolve } from "./resolve.ts";
import { readStatements } from "./statements.ts";

export type { AssemblyStyle } from "./assembly.ts";

/** Options of {@link assemble} and {@link assembleFile}. */
export interface AssembleOptions {
  /**
   * How the text is written. `kernel` and `llvm` are read by one grammar and differ in one point: in `kernel` a
   * hexadecimal number assigned to a register makes an `ld_imm64`, as in the kernel's print, else it makes a `mov` where
   * it fits one. `auto` (default): the first statement that only one grammar can begin with decides between mnemonics
   * and the others; the text is `kernel` when it has something that only the kernel prints (`goto pc+3`, `(r6 +8)`,
   * `atomic64_xchg`, `(b7)` before an instruction) and nothing that only LLVM does.
   */
  readonly style?: AssemblyStyle | "auto" | undefined;
  /** Maps by the names that the text uses: handles, or descriptor numbers. */
  readonly maps?: Readonly<Record<string, MapReference | number>> | undefined;
  /** Kernel functions by name. */
  readonly kfuncs?: Readonly<Record<string, KfuncReference>> | undefined;
  /** Constants, as if the text began with `.equ` for each. */
  readonly constants?: Readonly<Record<string, number | bigint>> | undefined;
  /** Keep file, line, column and text of each instruction in `meta.source`. Default `false`. */
  readonly source?: boolean | undefined;
  /** File name for `source` and for messages. */
  readonly file?: string | undefined;
  /**
   * `true` (default): jumps and calls have their distances and no names, ready for `encode`. `false`: they also keep
   * the name in `meta.reference`, so that `link` sets the distance again after an edit.
   */
  readonly link?: boolean | undefined;
  /** Whether a jump that needs more than 16 bits may become `gotol`, as in `link`. Default `v4`. */
  readonly cpu?: Cpu | undefined;
  /**
   * Calls of names that neither the text nor the list of helpers defines are calls of kernel functions, as in the output
   * of a compiler; their names stay in `meta.reference`. Default `false`: only names declared with `.extern` are.
   */
  readonly allowUndefined?: boolean | undefined;
  /** Accept `r11` to `r15`, which do not exist, to test what refuses them. Mnemonic style only. Default `false`. */
  readonly allowBadRegisters?: boolean | undefined;
}

/** A section of an assembled file. */
export type AssembledSection = AssembledCode | AssembledData;

/** A section with instructions. */
export interface AssembledCode {
  readonly kind: "code";
  readonly name: string;
  /** Index of its first instruction in the file's `instructions`. */
  readonly start: number;
  /** Index behind its last instruction. */
  readonly end: number;
}

/** A section with data. */
export interface AssembledData {
  readonly kind: "data";
  readonly name: string;
  /** Its content, little-endian; zero where a relocation goes. */
  readonly bytes: Uint8Array;
  /** Byte offsets of its labels. */
  readonly labels: ReadonlyMap<string, number>;
  /** Fields that hold the address of a symbol. */
  readonly relocations: readonly AssembledRelocation[];
}

/** A field in data that holds the address of a symbol. */
export interface AssembledRelocation {
  /** Byte offset in the section. */
  readonly offset: number;
  /** Bytes of the field. */
  readonly size: 1 | 2 | 4 | 8;
  readonly symbol: string;
  /** Added to the address. */
  readonly addend: bigint;
}

/** A function of an assembled file: what is declared as one, called, or stands first in a section. */
export interface AssembledFunction {
  readonly name: string;
  /** Name of the section it is in. */
  readonly section: string;
  /** Whether it is visible to other files: `.globl` or `.weak`. */
  readonly binding: "local" | "global" | "weak";
  /** Index of its first instruction in the file's `instructions`. */
  readonly start: number;
  /** Index behind its last instruction: where the next function of the section begins. */
  readonly end: number;
}

/** What {@link assembleFile} finds in a text. */
export interface AssembledFile {
  /** The style given, or detected. */
  readonly style: AssemblyStyle;
  /** The instructions of all sections with code, one behind the other in the order in which the sections first appear. */
  readonly instructions: Instruction[];
  /** Sections that are not empty, in order of appearance. */
  readonly sections: readonly AssembledSection[];
  /** Functions in order of their instructions. */
  readonly functions: readonly AssembledFunction[];
  /** Constants defined by `.equ` or `NAME = value`, and those given. */
  readonly constants: ReadonlyMap<string, bigint>;
  /** Names declared with `.extern`. */
  readonly externs: readonly string[];
}

/**
 * Turns assembler text into instructions. Reads what the kernel prints (verifier log, `bpftool`), what LLVM reads and
 * prints, and mnemonics (uBPF, rbpf, conformance suite, GNU as); a text is in one style. Labels are kept in
 * `meta.labels`; distances are written. Sections of code follow one another; data is left out, see {@link assembleFile}.
 *
 * @param text the program; `\n` or `\r\n`
 * @param options style, maps, constants
 * @returns instructions in order; symbols that the text does not define stay in `meta.reference` of their `ld_imm64` or
 * kernel-function call, for `link` or a loader
 * @throws AsmError with every fault of the text, each with line, column and the line itself
 *
 * @example
 * ```ts
 * const instructions = assemble(`
 *     r2 = *(u32 *)(r1 + 0)      # length
 *     if r2 > 64 goto long
 *     r0 = 0
 *     exit
 *   long:
 *     r0 = 1
 *     exit
 * `);
 * encode(instructions).length; // 48
 * ```
 */
export function assemble(text: string, options: AssembleOptions = {}): Instruction[] {
  return run(text, options, []).code.instructions;
}

/**
 * As {@link assemble}, and tells of sections, functions, data and constants.
 *
 * @throws AsmError as {@link assemble}
 *
 * @example
 * ```ts
 * const file = assembleFile(`
 *   .section xdp,"ax",@progbits
 *   .globl pass
 *   pass:
 *     w0 = 2
 *     exit
 *   .section license,"aw",@progbits
 *   .asciz "GPL"
 * `);
 * file.functions[0]; // { name: "pass", section: "xdp", binding: "global", start: 0, end: 2 }
 * ```
 */
export function assembleFile(text: string, options: AssembleOptions = {}): AssembledFile {
  const { s, code } = run(text, options, []);
  const { instructions } = code;
  const detected = s.sawKernelStyle && !s.sawLlvmStyle ? "kernel" : "llvm";
  const style = options.style ?? "auto";
  return {
    style: style !== "auto" ? style : s.mnemonic ? "mnemonic" : detected,
    instructions,
    sections: sectionsOf(s, code),
    functions: functionsOf(s, instructions),
    constants: s.constants,
    externs: [...s.symbols].filter(([, info]) => info.external).map(([name]) => name),
  };
}

/** The assembler proper. `inserts` are the lists that a template's text refers to by number. */
export function run(
  text: string,
  options: AssembleOptions,
  inserts: readonly (readonly Instruction[])[],
): { readonly s: Assembly; readonly code: ResolvedCode } {
  if (typeof text !== "string") throw new TypeError(`Text must be a string, not ${typeof text}`);
  const style = options.style ?? "auto";
  if (style !== "auto" && style !== "kernel" && style !== "llvm" && style !== "mnemonic") {
    throw new RangeError(`Unknown style ${JSON.stringify(style)}: must be auto, kernel, llvm or mnemonic`);
  }
  const mnemonic = style === "auto" ? usesMnemonics(text) : style === "mnemonic";
  const s = newAssembly(text, {
    mnemonic,
    hexIsWide: style === "auto" ? undefined : style === "kernel",
    allowAnyRegister: mnemonic && options.allowBadRegisters === true,
    allowUndefined: options.allowUndefined === true,
    maps: options.maps,
    kfuncs: options.kfuncs,
    file: options.file ?? "",
    keepSource: options.source === true,
    constants: Object.entries(options.constants ?? {}).map(([name, value]) => [name, BigInt(value)] as const),
    inserts,
  });
  // A byte-order mark is no part of the text.
  if (text.charCodeAt(0) === 0xfeff) s.at = 1;
  readStatements(s);
  const code = resolve(s, options.link === false, options.cpu);
  writeDifferences(s, code);
  return { s, code };
}

function sectionsOf(s: Assembly, { instructions }: ResolvedCode): AssembledSection[] {
  const found: AssembledSection[] = [];
  s.sections.forEach((section, i) => {
    const { name } = section;
    if (section.code.length > 0) {
      const next = s.sections[i + 1];
      const end = next === undefined ? instructions.length : next.start;
      found.push({ kind: "code", name, start: section.start, end });
    } else if (section.data.length > 0) {
      const labels = new Map<string, number>();
      for (const label of s.labels.values()) if (label.section === section) labels.set(label.name, label.index);
      const bytes = section.data.bytes.slice(0, section.data.length);
      const relocations = section.data.relocations
        .filter((relocation) => relocation.minus === undefined)
        .map(({ offset, size, symbol, addend }) => ({ offset, size, symbol, addend }));
      found.push({ kind: "data", name, bytes, labels, relocations });
    }
  });
  return found;
}

function functionsOf(s: Assembly, instructions: readonly Instruction[]): AssembledFunction[] {
  const places = new Map<string, number>();
  instructions.forEach((insn, i) => {
    for (const name of insn.meta?.labels ?? []) places.set(name, i);
  });
  const called = new Set<string>();
  for (const { name, kind, section, index } of s.fixups) {
    const insn = section.code[index]!;
    const isCall = insn.opcode === (Class.jmp | JumpOp.call) && insn.src === CallSource.local;
    if (isCall || kind === "address") called.add(name);
  }
  const found: { name: string; section: Section; start: number }[] = [];
  const firsts = new Set<Section>();
  for (const { name, section } of s.labels.values()) {
    const start = places.get(name);
    if (start === undefined || section.kind === "data") continue;
    const info = s.symbols.get(name);
    const first = start === section.start && !firsts.has(section) && info?.type !== "object";
    if (!(first || info?.type === "function" || info?.global === true || info?.weak === true || called.has(name)))
      continue;
    if (first) firsts.add(section);
    found.push({ name, section, start });
  }
  found.sort((a, b) => a.start - b.start);
  const order = new Map(s.sections.map((section, i) => [section, i]));
  return found.map(({ name, section, start }, i) => {
    const info = s.symbols.get(name);
    let end = instructions.length;
    for (let k = i + 1; k < found.length; k++) {
      if (found[k]!.start === start) continue;
      end = found[k]!.start;
      break;
    }
    const next = s.sections[order.get(section)! + 1];
    if (next !== undefined) end = Math.min(end, next.start);
    const binding = info?.weak === true ? "weak" : info?.global === true ? "global" : "local";
    return { name, section: section.name, binding, start, end };
  });
}
