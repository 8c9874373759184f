/** What Linux from 7.3 on puts behind the message: a report of its own. */
export interface VerifierReport {
  /** What kind of fault it is: `Register Type Safety: Invalid dereference`. */
  readonly title: string;
  /** What is wrong, in whole sentences. */
  readonly reason: string;
  /** What to do about it; empty when the kernel knows nothing. */
  readonly suggestion: string;
  /** Slot of the instruction at fault. */
  readonly instruction: number | undefined;
}

const START = "Verification failed: ";

/**
 * Takes a log apart: the lines that all kernels write, and the report that newer ones write behind them.
 *
 * @param log the kernel's log, or its end
 */
export function splitLog(log: string): { readonly lines: string; readonly report: VerifierReport | undefined } {
  const start = log.startsWith(START) ? 0 : log.lastIndexOf(`\n${START}`) + 1;
  if (start === 0 && !log.startsWith(START)) return { lines: log, report: undefined };
  const text = log.slice(start);
  const at = /(?:^|[ :])insn (\d+)/m.exec(section(text, "At"));
  const report = {
    title: text.slice(START.length).split("\n", 1)[0]!.trim(),
    reason: oneLine(section(text, "Reason")),
    suggestion: oneLine(section(text, "Suggestion")),
    instruction: at === null ? undefined : Number(at[1]),
  };
  return { lines: log.slice(0, start), report };
}

/** The indented lines below a heading. */
function section(text: string, heading: string): string {
  const start = text.indexOf(`\n${heading}:\n`);
  if (start < 0) return "";
  const body = text.slice(start + heading.length + 3);
  const end = body.search(/^\S/m);
  return end < 0 ? body : body.slice(0, end);
}

function oneLine(text: string): string {
  return text.trim().replace(/\s+/g, " ");
}
