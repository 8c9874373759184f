import type { SourceLine } from "../asm/index.ts";
import type { BpfErrorOptions } from "../errors.ts";
import { SyscallError } from "../syscall/errors.ts";
import { explainVerifierLog } from "./explain.ts";
import { splitLog } from "./verifier-report.ts";

/** What a {@link VerifierError} is made with. */
export interface VerifierErrorOptions extends BpfErrorOptions {
  /** Whether the log is cut. Default `false`. */
  readonly truncated?: boolean | undefined;
  /** Source line of the instruction in a slot. */
  readonly lines?: ((slot: number) => SourceLine | undefined) | undefined;
}

/** A program the verifier rejected. The message is short; {@link log} is everything the kernel said. */
export class VerifierError extends SyscallError {
  /** Name of the program. */
  readonly program: string;
  /** The kernel's log, as text: all of it, or its end. Kernel addresses may be in it: mind where it goes. */
  readonly log: string;
  /** Index of the instruction (in 8-byte slots) the verifier stopped at, where the log says. */
  readonly instruction: number | undefined;
  /** Line of the source that {@link instruction} was made from, where the program has line information. */
  readonly source: SourceLine | undefined;
  /**
   * What the message means, and what to do about it, in plain language; `undefined` for messages that are not known. On
   * kernels that give a reason themselves (7.3) it begins with that.
   */
  readonly explanation: string | undefined;
  /** Whether the log is cut: the kernel had more to say than 16 MiB, or than fits the largest buffer it accepts. */
  readonly truncated: boolean;

  /**
   * @param program name of the program
   * @param errno error number of the load
   * @param log the kernel's log
   * @param options hint, cause, whether the log is cut, source lines
   */
  constructor(program: string, errno: number, log: string, options: VerifierErrorOptions = {}) {
    const summary = summarizeLog(log);
    const source = summary.instruction === undefined ? undefined : options.lines?.(summary.instruction);
    const place = source === undefined || source.file === "" ? "" : ` at ${source.file}:${source.line}`;
    super(`Cannot load program "${program}"`, "bpf", errno, {
      ...options,
      command: "BPF_PROG_LOAD",
      detail: `${summary.message}${place}`,
    });
    this.program = program;
    this.log = log;
    this.instruction = summary.instruction;
    this.source = source;
    this.explanation = explainVerifierLog(log, summary.message)?.text ?? explainByKernel(log);
    this.truncated = options.truncated ?? false;
    // `console.log(error)` prints the whole log, on Node, Bun and Deno.
    Object.defineProperty(this, Symbol.for("nodejs.util.inspect.custom"), {
      enumerable: false,
      value: () =>
        `${this.stack ?? this.message}\n${this.explanation === undefined ? "" : `  ${this.explanation}\n`}  verifier log:\n${log.trimEnd().replace(/^/gm, "    ")}\n`,
    });
  }
}

/** What the kernel itself explains, where no message is known. */
function explainByKernel(log: string): string | undefined {
  const { report } = splitLog(log.slice(-TAIL));
  return report && `${report.reason} ${report.suggestion}`.trim();
}

/** What a verifier log comes to. */
export interface LogSummary {
  /** The last line that says something, with the one before when it makes no sense alone, and how much was left out. */
  readonly message: string;
  /** Slot index of the last instruction in the log. */
  readonly instruction: number | undefined;
}

/**
 * Shortens a verifier log to a message. The statistics at the end are passed over; a last line that only makes sense
 * with the one before it (a register's state, an indented detail) takes that one along.
 *
 * @param log the kernel's log
 */
export function summarizeLog(log: string): LogSummary {
  // The end says what is wrong; logs of a million lines are not taken apart.
  const tail = log.length > TAIL ? log.slice(log.indexOf("\n", log.length - TAIL) + 1) : log;
  const { lines: before, report } = splitLog(tail);
  const lines = before.split("\n").filter((line) => line.trim() !== "");
  let end = lines.length;
  while (end > 0 && BEHIND.test(lines[end - 1]!)) end--;
  const last = lines[end - 1];
  if (report !== undefined && (last === undefined || INSTRUCTION.test(last) || last.startsWith("; "))) {
    const count = countLines(log, log.length);
    return {
      message: `${report.title}: ${report.reason} (${count} lines in the log)`,
      instruction: report.instruction ?? instructionAt(lines, end, ""),
    };
  }
  if (last === undefined) return { message: "the verifier gave no reason", instruction: undefined };
  const first = DEPENDENT.test(last) && end > 1 && !INSTRUCTION.test(lines[end - 2]!) ? end - 2 : end - 1;
  const text = lines
    .slice(first, end)
    .map((line) => line.trim())
    .join(": ");
  const elsewhere = countLines(log, log.length - tail.length) + countLines(tail.slice(before.length), Infinity);
  const left = elsewhere + lines.length - (end - first);
  return {
    message: left > 0 ? `${text} (${left} more line${left === 1 ? "" : "s"} in the log)` : text,
    instruction: report?.instruction ?? instructionAt(lines, end, text),
  };
}

const TAIL = 64 * 1024;

/** Statistics, and the states behind the message about a loop. */
const BEHIND =
  /^(processed \d+ insns|verification time |stack depth |insns processed |max_states_per_insn |(cur|old) state: )/;

/** Lines that make no sense without the one before. */
const DEPENDENT = /^(\t|\s{2,}|R\d+ (offset|min value|max value|unbounded)|\S+ instruction .* would lead to )/;

const INSTRUCTION = /^(\d+): (?:\([0-9a-f]{2}\)|<invalid )/;

/** What the verifier says of an instruction that it has not come to: it looks at jumps and opcodes before it begins. */
const NAMED =
  /^(?:jump out of range from insn|unreachable insn|back-edge from insn|infinite loop detected at insn) (\d+)/;

function instructionAt(lines: readonly string[], end: number, message: string): number | undefined {
  const named = NAMED.exec(message);
  if (named !== null) return Number(named[1]);
  for (let i = end - 1; i >= 0; i--) {
    const match = INSTRUCTION.exec(lines[i]!);
    if (match !== null) return Number(match[1]);
  }
  return undefined;
}

function countLines(text: string, length: number): number {
  let count = 0;
  for (let at = text.indexOf("\n"); at >= 0 && at < length; at = text.indexOf("\n", at + 1)) count++;
  return count;
}
