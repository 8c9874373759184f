// Browser-safe.

import { layout } from "../distance.ts";
import { type Assembly, fail, type Label, throwProblems } from "./assembly.ts";
import { writeInteger } from "./data-section.ts";
import { shown } from "./expression.ts";
import type { ResolvedCode } from "./resolve.ts";
import { tokenLength } from "./scan.ts";

/**
 * Writes the distances that data asks for, such as `.long .Lend-.Lbegin`, which compilers emit in great numbers for
 * debuggers.
 *
 * @throws AsmError for a distance between things that stand in different sections or nowhere
 */
export function writeDifferences(s: Assembly, code: ResolvedCode): void {
  let offsets: Map<string, number> | undefined;
  for (const section of s.sections) {
    for (const { offset, size, symbol, addend, at, minus } of section.data.relocations) {
      if (minus === undefined) continue;
      offsets ??= byteOffsets(s, code);
      const a = s.labels.get(symbol);
      const b = s.labels.get(minus);
      if (a === undefined || b === undefined || a.section !== b.section) {
        const missing = a === undefined ? symbol : b === undefined ? minus : undefined;
        const message =
          missing === undefined
            ? `"${shown(symbol)}" and "${shown(minus)}" are in different sections`
            : `Unknown label "${shown(missing)}"`;
        fail(s, "ERR_ASM_LABEL", message, at, tokenLength(s, at));
        continue;
      }
      const value = BigInt(offsets.get(symbol)! - offsets.get(minus)!) + addend;
      writeInteger(section.data.bytes, offset, size, value);
    }
  }
  throwProblems(s);
}

/** Byte offset of every label in its section. */
function byteOffsets(s: Assembly, { instructions }: ResolvedCode): Map<string, number> {
  const { slots } = layout(instructions);
  const index = new Map<string, number>();
  instructions.forEach((insn, i) => {
    for (const name of insn.meta?.labels ?? []) index.set(name, i);
  });
  const ends = s.sections.map((_, i) => {
    const next = s.sections[i + 1];
    return next === undefined ? instructions.length : next.start;
  });
  const order = new Map(s.sections.map((section, i) => [section, i]));
  const place = ({ name, section, index: at }: Label): number => {
    if (section.kind === "data") return at;
    const i = index.get(name) ?? ends[order.get(section)!]!;
    return 8 * (slots[i]! - slots[section.start]!);
  };
  return new Map([...s.labels.values()].map((label) => [label.name, place(label)]));
}
