// Browser-safe.

import { type Assembly, fail } from "./assembly.ts";
import { shown } from "./expression.ts";

/** Defines a label at the next instruction, or in data at the next byte. */
export function defineLabel(s: Assembly, name: string, at: number): void {
  const known = s.labels.size === 0 ? undefined : s.labels.get(name);
  const length = s.at - 1 - at;
  if (known !== undefined) {
    fail(s, "ERR_ASM_LABEL", `Label "${shown(name)}" is already defined${lineOf(s, known.at)}`, at, length);
    return;
  }
  if (s.constants.size > 0 && s.constants.has(name)) {
    fail(s, "ERR_ASM_LABEL", `"${shown(name)}" is already defined as a constant`, at, length);
    return;
  }
  const { section } = s;
  if (s.slow && (section.raw.length > 0 || s.code.at(-1)?.meta?.secondSlot === "missing")) {
    fail(s, "ERR_ASM_LABEL", `Label "${shown(name)}" stands inside raw bytes of an instruction`, at, length);
    return;
  }
  s.labels.set(name, { name, section, index: section.kind === "data" ? section.data.length : s.code.length, at });
}

/** Counted only for messages: each costs a pass over the text before it. */
function lineOf(s: Assembly, at: number): string {
  if (s.problems.length >= 50) return "";
  let line = 1;
  for (let next = s.text.indexOf("\n"); next >= 0 && next < at; next = s.text.indexOf("\n", next + 1)) line++;
  return ` in line ${line}`;
}
