// Browser-safe.

import { type Label, type ProgramItem, program } from "../builder/program.ts";
import type { Instruction, MapReference } from "../instruction.ts";
import type { AnyRegister } from "../registers.ts";
import { type AssembleOptions, run } from "./assemble.ts";

/** What may stand in `${...}` of a {@link bpf} template. */
export type Interpolation =
  /** A number, as it is written in the text. */
  | number
  | bigint
  /** A piece of text: the name of a label, a helper, a register. */
  | string
  /** A register. */
  | AnyRegister
  /** The name of a label. */
  | Label
  /** A map: `r1 = ${map} ll`. */
  | MapReference
  /** Instructions, in place of a statement. */
  | Instruction
  | readonly ProgramItem[];

/** Assembles a template literal. */
export interface BpfTemplate {
  (strings: TemplateStringsArray, ...values: readonly Interpolation[]): Instruction[];
  /** The same with options: `` bpf.with({ style: "mnemonic" })`...` `` */
  with(options: AssembleOptions): (strings: TemplateStringsArray, ...values: readonly Interpolation[]) => Instruction[];
}

function isMap(value: object): value is MapReference {
  return "fd" in value;
}

/** Everything a template's values become besides text. */
interface Parts {
  readonly maps: Record<string, MapReference | number>;
  readonly inserts: (readonly Instruction[])[];
}

function textOf(value: Interpolation, position: number, parts: Parts): string {
  switch (typeof value) {
    case "bigint":
    case "string":
      return `${value}`;
    case "number":
      if (Number.isSafeInteger(value)) return `${value}`;
      throw new TypeError(`Value ${position} of the template must be a whole number, not ${value}`);
    case "object":
      if (value === null) break;
      if (Array.isArray(value) || "opcode" in value) {
        parts.inserts.push(program(value as ProgramItem));
        return `.insert ${parts.inserts.length - 1}`;
      }
      if ("kind" in value && value.kind === "register") return `${value.width === 64 ? "r" : "w"}${value.number}`;
      if ("kind" in value && value.kind === "label") return value.name;
      if (isMap(value)) return mapText(value, parts);
  }
  const message = `Value ${position} of the template must be a number, text, a register, a label, a map or instructions`;
  throw new TypeError(`${message}, not ${value === null ? "null" : typeof value}`);
}

/** Under its own name where that is free, so that an error shows it. */
function mapText(map: MapReference, { maps }: Parts): string {
  const wanted = /^[A-Za-z_]\w*$/.test(map.name ?? "") ? map.name! : "map";
  let name = `$${wanted}`;
  for (let number = 2; Object.hasOwn(maps, name) && maps[name] !== map; number++) name = `$${wanted}_${number}`;
  maps[name] = map;
  return name;
}

function assembleTemplate(
  options: AssembleOptions,
  strings: TemplateStringsArray,
  values: readonly Interpolation[],
): Instruction[] {
  const parts: Parts = { maps: { ...options.maps }, inserts: [] };
  let text = "";
  // The text as written: a backslash in it is the assembler's.
  strings.raw.forEach((piece, i) => {
    text += piece;
    const value = values[i];
    if (i < values.length) text += textOf(value as Interpolation, i + 1, parts);
  });
  return run(text, { ...options, maps: parts.maps }, parts.inserts).code.instructions;
}

/**
 * Assembles the text of a template literal, as `assemble` does. Maps, numbers, registers, labels and whole lists of
 * instructions can be put in with `${...}`.
 *
 * @throws AsmError with every fault of the text; `TypeError` for a value of another kind
 *
 * @example
 * ```ts
 * const counts = { fd: 7, name: "counts" }; // or an open map
 * const limit = 64;
 * const drop = [mov(w0, 1), exit()];
 * const instructions = bpf`
 *     r1 = ${counts} ll
 *     r2 = r10
 *     r2 += -4
 *     *(u32 *)(r10 - 4) = 0
 *     call bpf_map_lookup_elem
 *     if r0 == 0 goto out
 *     r0 = *(u64 *)(r0 + 0)
 *     if r0 < ${limit} goto out
 *     ${drop}
 *   out:
 *     r0 = 0
 *     exit
 * `;
 * ```
 */
export const bpf: BpfTemplate = /* @__PURE__ */ Object.assign(
  (strings: TemplateStringsArray, ...values: readonly Interpolation[]): Instruction[] =>
    assembleTemplate({}, strings, values),
  {
    with:
      (options: AssembleOptions) =>
      (strings: TemplateStringsArray, ...values: readonly Interpolation[]): Instruction[] =>
        assembleTemplate(options, strings, values),
  },
);
