// Browser-safe.

import { BpfError, type BpfErrorCode } from "../errors.ts";

/** One fault found in a program or in its text. */
export interface AsmProblem {
  /** Stable code. */
  readonly code: BpfErrorCode;
  /** What is wrong: sentence case, no final full stop, no position. */
  readonly message: string;
  /** Line in the text, counted from 1; 0 when there is no text. */
  readonly line: number;
  /** Column in that line, counted from 1 in UTF-16 units; 0 when there is no text. */
  readonly column: number;
  /** How many characters to underline; 0 when there is no text. */
  readonly length: number;
  /** What to do about it. */
  readonly hint?: string | undefined;
  /**
   * Where in the program: for decoding the slot (8 bytes each), for everything else the index into the instruction
   * array; both counted from 0.
   */
  readonly instruction?: number | undefined;
  /** Name of the file the text came from. */
  readonly file?: string | undefined;
  /** The line of text, without its newline; shown with `^~~~` under it. */
  readonly text?: string | undefined;
}

/** How many problems the message shows; `problems` has all of them. */
const SHOWN = 20;

/** Lines longer than this are cut around the fault, so that generated text does not flood a terminal. */
const WIDTH = 160;

/**
 * A fault in a program, in its encoding or in its text. One error may carry several faults: the assembler and `link`
 * report all they find.
 *
 * @example Report every fault of a program
 * ```ts
 * try {
 *   link([jeq(r1, 0, "out"), ja("nowhere"), exit()]);
 * } catch (error) {
 *   if (!(error instanceof AsmError)) throw error;
 *   for (const problem of error.problems) console.error(`${problem.line}:${problem.column} ${problem.message}`);
 * }
 * ```
 */
export class AsmError extends BpfError {
  /** Every fault, in order of position. Never empty. */
  readonly problems: readonly AsmProblem[];
  /** Line of the first fault, counted from 1; 0 when there is no text. */
  readonly line: number;
  /** Column of the first fault, counted from 1; 0 when there is no text. */
  readonly column: number;
  /** Place of the first fault in the program, see {@link AsmProblem.instruction}. */
  readonly instruction: number | undefined;

  /** @param problems at least one */
  constructor(problems: readonly AsmProblem[]) {
    const first = problems[0];
    if (first === undefined) throw new RangeError("An AsmError needs at least one problem");
    const single = problems.length === 1;
    super(first.code, single ? renderProblem(first) : renderAll(problems), { hint: single ? first.hint : undefined });
    this.problems = problems;
    this.line = first.line;
    this.column = first.column;
    this.instruction = first.instruction;
  }
}

/**
 * Makes an {@link AsmError} with one fault that has no place in a text.
 *
 * @param code stable code
 * @param message what is wrong
 * @param place hint, and the index of the instruction
 */
export function asmError(
  code: BpfErrorCode,
  message: string,
  place: { readonly hint?: string | undefined; readonly instruction?: number | undefined } = {},
): AsmError {
  return new AsmError([asmProblem(code, message, place)]);
}

/** One fault that has no place in a text; see {@link asmError}. */
export function asmProblem(
  code: BpfErrorCode,
  message: string,
  place: { readonly hint?: string | undefined; readonly instruction?: number | undefined } = {},
): AsmProblem {
  return { code, message, line: 0, column: 0, length: 0, hint: place.hint, instruction: place.instruction };
}

/**
 * Formats one fault: message and place, then the line of text with the fault underlined. Without its hint.
 *
 * @returns one or three lines, without a newline at the end
 */
export function renderProblem(problem: AsmProblem): string {
  const file = problem.file ?? "";
  let where = "";
  if (problem.line > 0) {
    where = ` at ${file === "" ? "line " : `${file}:`}${problem.line}${problem.column > 0 ? `:${problem.column}` : ""}`;
  } else if (problem.instruction !== undefined) {
    where = ` (instruction ${problem.instruction})`;
  }
  const head = `${problem.message}${where}`;
  if (problem.text === undefined || problem.text === "" || problem.column < 1) return head;

  const before = problem.column - 1;
  const start = problem.text.length <= WIDTH ? 0 : Math.max(0, Math.min(before - 40, problem.text.length - WIDTH));
  const shown = problem.text.slice(start, start + WIDTH);
  // Tabs stay tabs, so that the mark stands under the fault whatever their width.
  const indent = problem.text.slice(start, before).replace(/[^\t]/g, " ");
  const length = Math.max(1, Math.min(problem.length, WIDTH - (before - start)));
  return `${head}\n  ${shown}\n  ${indent}^${"~".repeat(length - 1)}`;
}

function renderAll(problems: readonly AsmProblem[]): string {
  const lines = [`${problems.length} problems`];
  for (const problem of problems.slice(0, SHOWN)) {
    lines.push(renderProblem(problem));
    if (problem.hint !== undefined) lines.push(`Hint: ${problem.hint}`);
  }
  if (problems.length > SHOWN) lines.push(`and ${problems.length - SHOWN} more`);
  return lines.join("\n");
}
