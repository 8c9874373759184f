// Browser-safe.

import { toHex } from "../../bytes/hex.ts";
import { distanceField } from "../distance.ts";
import { type Instruction, LD_IMM64, type SourceLine, slotsOf } from "../instruction.ts";
import { PseudoSource } from "../opcodes.ts";
import type { AssemblyStyle } from "../text/assembly.ts";
import { encodingFault } from "../validity.ts";
import { printKernel, printLlvm } from "./c-style.ts";
import { paint, paintInstruction } from "./color.ts";
import { bytesOf, type PrintContext, rawData } from "./common.ts";
import { type LabelPlan, labelText, planLabels } from "./labels.ts";
import { printMnemonic } from "./mnemonic.ts";

/** Options of {@link printInstruction}. */
export interface PrintInstructionOptions {
  /**
   * `llvm` (default): as `llvm-objdump`. `kernel`: as the verifier's log. `mnemonic`: as uBPF and the conformance suite.
   */
  readonly style?: AssemblyStyle | undefined;
  /** Names of helpers instead of their numbers. Default `true` in `kernel` style, else `false`. */
  readonly helpers?: boolean | undefined;
  /**
   * Numbers in hexadecimal, as `llvm-objdump` has them without `--no-print-imm-hex`. The kernel's style has no choice.
   * Default `false`.
   */
  readonly hex?: boolean | undefined;
  /** ANSI colors for a terminal. Default `false`. */
  readonly color?: boolean | undefined;
}

/** Options of {@link print}. */
export interface PrintOptions extends PrintInstructionOptions {
  /** The slot number before each instruction; in `kernel` style the opcode too: `0: (b7) r0 = 0`. Default `false`. */
  readonly numbers?: boolean | undefined;
  /** The bytes of each instruction in hexadecimal before it. Default `false`. */
  readonly raw?: boolean | undefined;
  /**
   * Labels instead of distances, made up where the program has none. Default: only where an instruction still refers to
   * a name.
   */
  readonly labels?: boolean | undefined;
  /** Source lines, as comments before the instructions they belong to. Default `false`. */
  readonly source?: boolean | undefined;
}

type Printer = (insn: Instruction, context: PrintContext) => string;

function printerOf(style: AssemblyStyle): Printer {
  switch (style) {
    case "kernel":
      return printKernel;
    case "llvm":
      return printLlvm;
    case "mnemonic":
      return printMnemonic;
    default:
      throw new RangeError(`Unknown style ${JSON.stringify(style satisfies never)}: must be kernel, llvm or mnemonic`);
  }
}

/**
 * Prints one instruction. What is no instruction (see `operation`) is printed as `.quad` with its bytes. The text
 * assembles to the same instruction, in the same style.
 *
 * @returns one line without a newline
 * @throws AsmError when a field of something that is no instruction does not fit its bits
 *
 * @example
 * ```ts
 * printInstruction(load("u64", r1, r6, 8)); // "r1 = *(u64 *)(r6 + 8)"
 * printInstruction(load("u64", r1, r6, 8), { style: "kernel" }); // "r1 = *(u64 *)(r6 +8)"
 * printInstruction(load("u64", r1, r6, 8), { style: "mnemonic" }); // "ldxdw %r1, [%r6+8]"
 * ```
 */
export function printInstruction(insn: Instruction, options: PrintInstructionOptions = {}): string {
  const style = options.style ?? "llvm";
  const reference = insn.meta?.reference;
  const target = reference === undefined ? mapName(insn) : labelText(reference);
  const text = printOne(insn, printerOf(style), {
    hex: options.hex ?? false,
    helpers: options.helpers ?? style === "kernel",
    target,
  });
  return options.color === true ? paintInstruction(text, target) : text;
}

function printOne(insn: Instruction, printer: Printer, context: PrintContext): string {
  const { opcode, dst, src, offset, imm, high, meta } = insn;
  // An instruction that still refers to a name may hold anything where the number will go.
  const fault = encodingFault(opcode, dst, src, offset, imm, high);
  return fault === undefined && meta?.secondSlot === undefined ? printer(insn, context) : rawData(insn);
}

/** The map of an instruction that is not linked yet: its descriptor is not read before. */
function mapName(insn: Instruction): string | undefined {
  const name = insn.meta?.map?.name;
  if (name === undefined || insn.imm !== 0 || insn.opcode !== LD_IMM64) return undefined;
  const { src } = insn;
  return src === PseudoSource.mapFd || src === PseudoSource.mapValue ? labelText(name) : undefined;
}

/**
 * Prints a program. The text assembles to the same bytes, in the same style: with any of these options except `color`.
 *
 * @param instructions linked or not
 * @param options style and what to show
 * @returns lines separated by `\n`, without one at the end
 * @throws AsmError as {@link printInstruction}
 *
 * @example
 * ```ts
 * print([mov(r0, 0), exit()]); // "r0 = 0\nexit"
 * print([jeq(r1, 0, 1), mov(r0, 1), exit()], { labels: true }); // "  if r1 == 0 goto L1\n  r0 = 1\nL1:\n  exit"
 * ```
 */
export function print(instructions: readonly Instruction[], options: PrintOptions = {}): string {
  const style = options.style ?? "llvm";
  const printer = printerOf(style);
  const { numbers = false, raw = false, color = false, source = false } = options;
  const context = { hex: options.hex ?? false, helpers: options.helpers ?? style === "kernel", target: undefined };
  const plain = !numbers && !raw && !color && !source;
  const named = options.labels ?? instructions.some((insn) => insn.meta?.reference !== undefined && isPlace(insn));
  if (plain && !named) return printPlain(instructions, printer, context);
  const plan: LabelPlan = planLabels(instructions, options.labels ?? false);
  const lines: string[] = [];
  const gutter = `${Math.max(0, slotCount(instructions) - 1)}`.length;
  let slot = 0;
  let last = "";
  for (let i = 0; i < instructions.length; i++) {
    const insn = instructions[i]!;
    if (source && insn.meta?.source !== undefined) {
      const line = sourceComment(insn.meta.source, style);
      if (line !== last) lines.push(color ? paint(line, "comment") : line);
      last = line;
    }
    if (named) {
      for (const name of plan.at[i] ?? []) lines.push(`${color ? paint(name, "label") : name}:`);
    }
    const target = plan.targets[i] ?? mapName(insn);
    const text = printOne(insn, printer, target === undefined ? context : { ...context, target });
    const shown = color ? paintInstruction(text, target) : text;
    const before = prefix(insn, slot, style, numbers, raw, gutter);
    lines.push(`${before === "" && named ? "  " : color ? paint(before, "comment") : before}${shown}`);
    slot += slotsOf(insn);
  }
  return lines.join("\n");
}

/** The common case by itself: four times as fast. */
function printPlain(instructions: readonly Instruction[], printer: Printer, context: PrintContext): string {
  let text = "";
  for (let i = 0; i < instructions.length; i++) {
    const insn = instructions[i]!;
    const { meta } = insn;
    if (i > 0) text += "\n";
    if (meta === undefined) text += printOne(insn, printer, context);
    else {
      const target = meta.reference === undefined ? mapName(insn) : labelText(meta.reference);
      text += printOne(insn, printer, target === undefined ? context : { ...context, target });
    }
  }
  return text;
}

function isPlace(insn: Instruction): boolean {
  return distanceField(insn) !== "none";
}

function slotCount(instructions: readonly Instruction[]): number {
  let slots = 0;
  for (const insn of instructions) slots += slotsOf(insn);
  return slots;
}

function prefix(
  insn: Instruction,
  slot: number,
  style: AssemblyStyle,
  numbers: boolean,
  raw: boolean,
  gutter: number,
): string {
  if (!numbers && !raw) return "";
  const bytes = raw ? toHex(bytesOf(insn), " ") : "";
  if (style === "kernel") {
    const opcode = `(${toHex(Uint8Array.of(insn.opcode))}) `;
    const number = numbers ? `${`${slot}`.padStart(gutter)}: ` : "";
    return `${number}${raw ? `${bytes} ` : ""}${numbers ? opcode : ""}`;
  }
  // As llvm-objdump lays it out.
  return `${numbers ? `${`${slot}`.padStart(8)}:\t` : ""}${raw ? `${bytes}\t` : ""}`;
}

function sourceComment(source: SourceLine, style: AssemblyStyle): string {
  const text = source.text.replace(/[\r\n]+/g, " ").trim();
  const place = source.file === "" ? (source.line > 0 ? `line ${source.line}` : "") : `${source.file}:${source.line}`;
  return `${style === "mnemonic" ? "#" : ";"} ${text}${place === "" ? "" : ` @ ${place}`}`;
}
