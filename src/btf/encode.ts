// Browser-safe.

import type { Btf } from "./btf.ts";
import { MACHINE_LITTLE_ENDIAN } from "./image.ts";
import { BTF_MAGIC, ELEMENT_WORDS, INFO_WORDS, KIND } from "./kinds.ts";
import { type BtfTypeSpec, specName } from "./spec.ts";
import { StringWriter } from "./string-writer.ts";
import type { BtfLinkage } from "./types.ts";

/** Options of {@link encodeBtf}. */
export interface EncodeBtfOptions {
  /** What it goes on from: numbers of types start behind the base's, and its strings are used. Default none. */
  readonly base?: Btf | undefined;
  /** Byte order. Default the base's, else little-endian. */
  readonly littleEndian?: boolean | undefined;
  /** Whether a string may lie at the end of another one. Default `false`, as other writers do. */
  readonly shareSuffixes?: boolean | undefined;
  /** Whether to describe the kinds in a layout section, which Linux 7.1 and newer read. Default `false`. */
  readonly layout?: boolean | undefined;
}

/** Options of {@link layoutBtf}. */
export interface LayoutBtfOptions extends EncodeBtfOptions {
  /** More strings to put into the string section: those of `.BTF.ext` and of line information. */
  readonly strings?: Iterable<string> | undefined;
}

/** BTF as written, and where its strings lie. */
export interface EncodedBtf {
  /** The BTF: a new array. */
  readonly bytes: Uint8Array;
  /**
   * Offset of a string that was written.
   *
   * @throws RangeError for any other
   */
  readonly offsetOf: (text: string) => number;
}

const LINKAGES: Readonly<Record<BtfLinkage, number>> = { static: 0, global: 1, extern: 2 };

/**
 * Writes BTF.
 *
 * @param types the types, in the order of their numbers: the first is 1, or that behind the last of the base
 * @param options base, byte order, and how to store strings
 * @returns a new array
 * @throws RangeError when a number does not fit its field, a type refers to one that does not exist, or a name has a
 *   NUL in it; the message says in which type
 *
 * @example
 * ```ts
 * import { encodeBtf, openBtf } from "rawbpf/btf";
 *
 * const bytes = encodeBtf([
 *   { kind: "int", name: "int", size: 4, signed: true },
 *   { kind: "struct", name: "point", size: 8, members: [
 *     { name: "x", type: 1 },
 *     { name: "y", type: 1, bitOffset: 32 },
 *   ] },
 * ]);
 * console.log(openBtf(bytes).typeByName("point").id); // 2
 * ```
 */
export function encodeBtf(types: Iterable<BtfTypeSpec>, options: EncodeBtfOptions = {}): Uint8Array {
  return layoutBtf(types, options).bytes;
}

/**
 * Writes BTF together with strings that others refer to by offset; see {@link encodeBtf}.
 *
 * @param types the types, in the order of their numbers
 * @param options as of {@link encodeBtf}, and the strings
 * @throws RangeError as {@link encodeBtf}
 */
export function layoutBtf(types: Iterable<BtfTypeSpec>, options: LayoutBtfOptions = {}): EncodedBtf {
  const { base } = options;
  const list = [...types];
  const firstId = base?.endId ?? 1;
  const strings = new StringWriter(base?.strings, options.shareSuffixes ?? false);
  let count = 0;
  for (const [i, type] of list.entries()) {
    try {
      addNames(strings, type);
    } catch (error) {
      throw inType(firstId + i, error);
    }
    count += sizeInWords(type);
  }
  for (const text of options.strings ?? []) strings.add(text);
  const { section, offsetOf } = strings.finish();
  const out: Output = { words: new Uint32Array(count), at: 0, endId: firstId + list.length, offsetOf };
  for (const [i, type] of list.entries()) {
    try {
      writeType(out, type);
    } catch (error) {
      throw inType(firstId + i, error);
    }
  }
  const littleEndian = options.littleEndian ?? base?.littleEndian ?? true;
  return { bytes: assemble(out.words, section, littleEndian, options.layout ?? false), offsetOf };
}

function inType(id: number, error: unknown): unknown {
  return error instanceof RangeError ? new RangeError(`Cannot write type[${id}]: ${error.message}`) : error;
}

interface Output {
  readonly words: Uint32Array;
  at: number;
  readonly endId: number;
  readonly offsetOf: (text: string) => number;
}

function addNames(strings: StringWriter, type: BtfTypeSpec): void {
  strings.add(specName(type));
  if (type.kind === "struct" || type.kind === "union") for (const { name } of type.members) strings.add(name ?? "");
  else if (type.kind === "enum" || type.kind === "enum64") for (const { name } of type.values) strings.add(name);
  else if (type.kind === "func_proto") for (const { name } of type.params) strings.add(name ?? "");
}

/** Elements that follow a type. Of a function the linkage stands in their place. */
function vlenOf(type: BtfTypeSpec): number {
  switch (type.kind) {
    case "struct":
    case "union":
      return type.members.length;
    case "enum":
    case "enum64":
      return type.values.length;
    case "func_proto":
      return type.params.length + (type.variadic === true ? 1 : 0);
    case "datasec":
      return type.vars.length;
    case "func":
      return LINKAGES[type.linkage ?? "global"];
    default:
      return 0;
  }
}

function sizeInWords(type: BtfTypeSpec): number {
  return 3 + INFO_WORDS[KIND[type.kind]]! + ELEMENT_WORDS[KIND[type.kind]]! * vlenOf(type);
}

function put(out: Output, value: number): void {
  out.words[out.at] = value;
  out.at++;
}

function u32(value: number, what: string): number {
  return within(value, 0, 0xffffffff, what);
}

function within(value: number, low: number, high: number, what: string): number {
  if (!(Number.isInteger(value) && value >= low && value <= high)) {
    throw new RangeError(`${what} is ${value}, expected ${low} to ${high}`);
  }
  return value;
}

function reference(out: Output, id: number, what: string): number {
  return within(id, 0, out.endId - 1, what);
}

function writeType(out: Output, type: BtfTypeSpec): void {
  const vlen = within(vlenOf(type), 0, 0xffffff, "Number of elements");
  put(out, out.offsetOf(specName(type)));
  put(out, (flagOf(type) ? 0x80000000 : 0) + KIND[type.kind] * 0x1000000 + vlen);
  switch (type.kind) {
    case "int": {
      const bits = within(type.bits ?? 8 * type.size, 0, 255, "Width in bits");
      const bitOffset = within(type.bitOffset ?? 0, 0, 255, "Bit offset");
      const encoding = (type.signed ? 1 : 0) + (type.char ? 2 : 0) + (type.bool ? 4 : 0);
      put(out, u32(type.size, "Size"));
      put(out, encoding * 0x1000000 + bitOffset * 0x10000 + bits);
      break;
    }
    case "float":
      put(out, u32(type.size, "Size"));
      break;
    case "fwd":
      put(out, 0);
      break;
    case "array":
      put(out, 0);
      put(out, reference(out, type.type, "Element type"));
      put(out, reference(out, type.indexType, "Index type"));
      put(out, u32(type.length, "Length"));
      break;
    case "struct":
    case "union":
      writeMembers(out, type);
      break;
    case "enum": {
      put(out, u32(type.size ?? 4, "Size"));
      const [low, high] = type.signed === true ? [-0x80000000, 0x7fffffff] : [0, 0xffffffff];
      for (const [i, { name, value }] of type.values.entries()) {
        put(out, out.offsetOf(name));
        put(out, within(value, low, high, `Value of value[${i}]`));
      }
      break;
    }
    case "enum64": {
      put(out, u32(type.size ?? 8, "Size"));
      for (const [i, { name, value }] of type.values.entries()) {
        const fits = type.signed === true ? BigInt.asIntN(64, value) : BigInt.asUintN(64, value);
        if (fits !== value) throw new RangeError(`Value of value[${i}] is ${value}, which does not fit 64 bits`);
        put(out, out.offsetOf(name));
        put(out, Number(value & 0xffffffffn));
        put(out, Number((value >> 32n) & 0xffffffffn));
      }
      break;
    }
    case "func_proto": {
      put(out, reference(out, type.returnType ?? 0, "Return type"));
      for (const [i, param] of type.params.entries()) {
        put(out, out.offsetOf(param.name ?? ""));
        put(out, reference(out, param.type, `Type of param[${i}]`));
      }
      if (type.variadic === true) {
        put(out, 0);
        put(out, 0);
      }
      break;
    }
    case "var":
      put(out, reference(out, type.type, "Type"));
      put(out, LINKAGES[type.linkage ?? "global"]);
      break;
    case "datasec":
      put(out, u32(type.size ?? 0, "Size"));
      for (const [i, entry] of type.vars.entries()) {
        put(out, reference(out, entry.type, `Type of var[${i}]`));
        put(out, u32(entry.offset, `Offset of var[${i}]`));
        put(out, u32(entry.size, `Size of var[${i}]`));
      }
      break;
    case "decl_tag":
      put(out, reference(out, type.type, "Type"));
      put(out, within(type.componentIndex ?? -1, -1, 0x7fffffff, "Component index"));
      break;
    default:
      put(out, reference(out, type.type, "Type"));
  }
}

function flagOf(type: BtfTypeSpec): boolean {
  switch (type.kind) {
    case "struct":
    case "union":
      return type.members.some((member) => (member.bitfieldSize ?? 0) > 0);
    case "enum":
    case "enum64":
      return type.signed ?? false;
    case "fwd":
      return type.target === "union";
    case "decl_tag":
    case "type_tag":
      return type.attribute ?? false;
    default:
      return false;
  }
}

function writeMembers(out: Output, type: Extract<BtfTypeSpec, { readonly kind: "struct" | "union" }>): void {
  put(out, u32(type.size, "Size"));
  // One bit field, and the upper byte of every offset becomes a width.
  const bitfields = flagOf(type);
  for (const [i, member] of type.members.entries()) {
    const width = within(member.bitfieldSize ?? 0, 0, 255, `Width of member[${i}]`);
    const offset = within(member.bitOffset ?? 0, 0, bitfields ? 0xffffff : 0xffffffff, `Bit offset of member[${i}]`);
    put(out, out.offsetOf(member.name ?? ""));
    put(out, reference(out, member.type, `Type of member[${i}]`));
    put(out, width * 0x1000000 + offset);
  }
}

function assemble(words: Uint32Array, strings: Uint8Array, littleEndian: boolean, layout: boolean): Uint8Array {
  const headerLength = layout ? 32 : 24;
  const typesLength = 4 * words.length;
  const layoutLength = layout ? 4 * INFO_WORDS.length : 0;
  const total = headerLength + typesLength + layoutLength + strings.length;
  if (total > 0xffffffff) throw new RangeError(`BTF of ${total} bytes is too large`);
  const bytes = new Uint8Array(total);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, BTF_MAGIC, littleEndian);
  view.setUint8(2, 1);
  const fields = [headerLength, 0, typesLength, typesLength + layoutLength, strings.length];
  if (layout) fields.push(typesLength, layoutLength);
  for (const [i, field] of fields.entries()) view.setUint32(4 + 4 * i, field, littleEndian);
  if (littleEndian === MACHINE_LITTLE_ENDIAN) new Uint32Array(bytes.buffer, headerLength, words.length).set(words);
  else for (let i = 0; i < words.length; i++) view.setUint32(headerLength + 4 * i, words[i]!, littleEndian);
  for (let kind = 0; 4 * kind < layoutLength; kind++) {
    bytes[headerLength + typesLength + 4 * kind] = 4 * INFO_WORDS[kind]!;
    bytes[headerLength + typesLength + 4 * kind + 1] = 4 * ELEMENT_WORDS[kind]!;
  }
  bytes.set(strings, headerLength + typesLength + layoutLength);
  return bytes;
}
