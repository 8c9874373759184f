// Browser-safe.

import type { Btf } from "../btf.ts";
import { codec } from "../values/codec.ts";
import { type ArrayPlan, type Plan, planOf, type StructPlan } from "../values/plan.ts";
import { typeText } from "./c-text.ts";

/** Options of {@link format}. */
export interface FormatOptions {
  /** Everything on one line. Default `false`. */
  readonly compact?: boolean | undefined;
  /** What one level is indented by. Default two spaces. */
  readonly indent?: string | undefined;
  /** Leave out members that are zero or empty, of which kernel structs have many. Default `false`. */
  readonly omitZeros?: boolean | undefined;
  /** Put the type in front, as in a C cast. Default `true`. */
  readonly typeName?: boolean | undefined;
}

/**
 * A value for people, in the manner of a C initialiser: names of enumerators, hexadecimal pointers and bytes, strings
 * in quotes. Four or more equal elements are drawn together, as in `[0 ... 15] = 0`. Of a union every member is shown
 * that the value has: all of them when it comes from bytes.
 *
 * @param btf where the type is from
 * @param typeId number of the type
 * @param value as its codec decodes it, with any options, members left out or not; or its bytes
 * @param options one line or many
 * @returns text without a newline at the end
 * @throws BtfError when the type has no value
 * @throws RangeError when bytes are given and there are too few
 *
 * @example
 * ```ts
 * import { encodeBtf, format, openBtf } from "rawbpf/btf";
 *
 * const btf = openBtf(
 *   encodeBtf([
 *     { kind: "int", name: "int", size: 4, signed: true },
 *     { kind: "enum", name: "state", values: [{ name: "IDLE", value: 0 }, { name: "BUSY", value: 1 }] },
 *     { kind: "struct", name: "job", size: 8, members: [
 *       { name: "id", type: 1 },
 *       { name: "state", type: 2, bitOffset: 32 },
 *     ] },
 *   ]),
 * );
 * format(btf, 3, { id: 42, state: "BUSY" }, { compact: true }); // "(struct job) { .id = 42, .state = BUSY }"
 * ```
 */
export function format(btf: Btf, typeId: number, value: unknown, options: FormatOptions = {}): string {
  const shown = value instanceof Uint8Array ? codec(btf, typeId).decode(value) : value;
  const how: Style = {
    compact: options.compact === true,
    indent: options.indent ?? "  ",
    omitZeros: options.omitZeros === true,
  };
  const text = print(planOf(btf, typeId), shown, how, 0);
  return options.typeName === false ? text : `(${typeText(btf, typeId)}) ${text}`;
}

interface Style {
  readonly compact: boolean;
  readonly indent: string;
  readonly omitZeros: boolean;
}

/** Columns that a line may have, as far as there is a choice. */
const WIDTH = 100;

/** Equal elements that are drawn together. */
const LEAST_RUN = 4;

function print(plan: Plan, value: unknown, style: Style, depth: number): string {
  if (typeof value === "string") {
    const text = plan.kind === "text" || plan.kind === "bytes" || plan.kind === "array";
    return text ? quote(value, '"') : value;
  }
  if (plan.kind === "struct" && typeof value === "object" && value !== null) {
    return printStruct(plan, value as Record<string, unknown>, style, depth);
  }
  const of = plan.kind === "bits" ? plan.of : plan;
  if (typeof value === "number" || typeof value === "bigint") {
    if (of.kind === "ptr") return `0x${value.toString(16)}`;
    if (of.kind === "int" && of.char && value >= 0x20 && value < 0x7f) {
      return quote(String.fromCharCode(Number(value)), "'");
    }
    return Object.is(value, -0) ? "-0" : String(value);
  }
  if (of.kind === "enum" && Array.isArray(value)) {
    return value.length === 0
      ? "0"
      : value.map((part) => (typeof part === "string" ? part : `0x${part.toString(16)}`)).join(" | ");
  }
  if (value instanceof Uint8Array) {
    const bytes = Array.from(value, (byte) => `0x${byte.toString(16).padStart(2, "0")}`);
    return braces(drawTogether(bytes), style, depth, false);
  }
  if (plan.kind === "array" && typeof value === "object" && value !== null && "length" in value) {
    return printArray(plan, value as ArrayLike<unknown>, style, depth);
  }
  return String(value);
}

function printStruct(plan: StructPlan, value: Record<string, unknown>, style: Style, depth: number): string {
  const parts: string[] = [];
  for (const { name, plan: part } of plan.fields) {
    const member = Object.hasOwn(value, name) ? value[name] : undefined;
    if (member === undefined || (style.omitZeros && isZero(part, member))) continue;
    const designator = /^[A-Za-z_]\w*$/.test(name) ? `.${name}` : `.${JSON.stringify(name)}`;
    parts.push(`${designator} = ${print(part, member, style, depth + 1)}`);
  }
  return braces(parts, style, depth, true);
}

function printArray(plan: ArrayPlan, value: ArrayLike<unknown>, style: Style, depth: number): string {
  const parts = Array.from(value, (element) => print(plan.element, element, style, depth + 1));
  return braces(drawTogether(parts), style, depth, plan.element.kind === "struct");
}

/** Runs of equal elements as designated ranges. */
function drawTogether(parts: readonly string[]): string[] {
  const list: string[] = [];
  for (let i = 0; i < parts.length; ) {
    let end = i + 1;
    while (end < parts.length && parts[end] === parts[i]) end++;
    if (end - i >= LEAST_RUN) list.push(`[${i} ... ${end - 1}] = ${parts[i]}`);
    else list.push(...parts.slice(i, end));
    i = end;
  }
  return list;
}

/**
 * Puts parts between braces: on one line where they fit, else one a line, or as many as fit.
 *
 * @param each whether each has a line of its own
 */
function braces(parts: readonly string[], style: Style, depth: number, each: boolean): string {
  if (parts.length === 0) return "{}";
  const line = `{ ${parts.join(", ")} }`;
  // The outermost struct is spread out even when it is small.
  if (style.compact || (line.length <= WIDTH - 20 && !line.includes("\n") && !(each && depth === 0))) return line;
  const indent = style.indent.repeat(depth + 1);
  const lines: string[] = [];
  for (const part of parts) {
    const last = lines.at(-1);
    if (each || last === undefined || last.length + part.length + 2 > WIDTH || last.includes("\n")) {
      lines.push(`${indent}${part},`);
    } else lines[lines.length - 1] = `${last} ${part},`;
  }
  return `{\n${lines.join("\n")}\n${style.indent.repeat(depth)}}`;
}

function isZero(plan: Plan, value: unknown): boolean {
  switch (typeof value) {
    case "number":
      return value === 0;
    case "bigint":
      return value === 0n;
    case "boolean":
      return !value;
    case "string":
      // The enumerator of zero.
      return plan.kind === "enum" ? Number(plan.table.values.get(value) ?? 1) === 0 : value === "";
    default:
      break;
  }
  if (value instanceof Uint8Array) return value.every((byte) => byte === 0);
  if (plan.kind === "array" || Array.isArray(value)) {
    const element = plan.kind === "array" ? plan.element : plan;
    return Array.from(value as ArrayLike<unknown>).every((part) => isZero(element, part));
  }
  if (plan.kind !== "struct" || value === null) return false;
  const members = value as Record<string, unknown>;
  return plan.fields.every(({ name, plan: part }) => !Object.hasOwn(members, name) || isZero(part, members[name]));
}

const ESCAPES: Readonly<Record<string, string>> = { "\t": "\\t", "\n": "\\n", "\r": "\\r", "\\": "\\\\" };

function quote(value: string, mark: '"' | "'"): string {
  let text = "";
  for (const char of value) {
    const point = char.codePointAt(0)!;
    if (char === mark) text += `\\${char}`;
    else if (point >= 0x20 && point !== 0x7f && char !== "\\") text += char;
    else text += ESCAPES[char] ?? `\\${point.toString(8).padStart(3, "0")}`;
  }
  return `${mark}${text}${mark}`;
}
