// Browser-safe.

import { type BpfErrorCode, BtfError } from "../../errors.ts";
import type { Btf } from "../btf.ts";
import type { BtfArray, BtfDatasec, BtfInt, BtfMember, BtfStruct, BtfType, BtfUnion, TypeId } from "../types.ts";
import { type EnumTable, enumTable } from "./enum-table.ts";
import type { ValueOptions } from "./options.ts";
import { uniqueName } from "./unique-name.ts";

// A plan is what is left of a type when names, qualifiers and anonymous members are gone: where each value lies and
// how it is read. Decoders, encoders, the printer of values and the TypeScript declarations are all made from it, so
// that they cannot disagree about the shape of a value.

interface PlanBase<K extends string> {
  readonly kind: K;
  /** The type as it was declared, names and qualifiers included. */
  readonly id: TypeId;
  /** Bytes, without elements of a flexible array. */
  readonly size: number;
  /** Values that one decoding reads, at most: bounds the work that a hostile type can cause. */
  readonly work: number;
}

/** An integer that fills its bytes: 1, 2, 4, 8 or 16 of them. */
export interface IntPlan extends PlanBase<"int"> {
  readonly signed: boolean;
  /** It is shown as a character. */
  readonly char: boolean;
}

/** A boolean. */
export interface BoolPlan extends PlanBase<"bool"> {}

/** Some bits. `size` counts the bytes that hold at least one of them. */
export interface BitsPlan extends PlanBase<"bits"> {
  /**
   * Bits before it in its first byte: less significant ones in little-endian, more significant ones in big-endian
   * order, as the kernel counts them.
   */
  readonly shift: number;
  /** Number of bits, 1 to 128. */
  readonly width: number;
  readonly signed: boolean;
  /** What the bits stand for. */
  readonly of: IntPlan | BoolPlan | EnumPlan;
}

/** A floating-point number of 4 or 8 bytes. */
export interface FloatPlan extends PlanBase<"float"> {}

/** A pointer. */
export interface PointerPlan extends PlanBase<"ptr"> {}

/** An enum of 1, 2, 4 or 8 bytes. */
export interface EnumPlan extends PlanBase<"enum"> {
  readonly signed: boolean;
  readonly table: EnumTable;
  /** Its values are arrays of names. */
  readonly flags: boolean;
}

/** An array of characters, as text. */
export interface TextPlan extends PlanBase<"text"> {
  /** It is flexible: takes what is left. */
  readonly rest: boolean;
}

/** Bytes as they are: arrays of unsigned bytes, and numbers for which JavaScript has no type. */
export interface BytesPlan extends PlanBase<"bytes"> {
  readonly rest: boolean;
}

/** An array of anything else. */
export interface ArrayPlan extends PlanBase<"array"> {
  readonly element: Plan;
  /** Number of elements; 0 when `rest`. */
  readonly length: number;
  readonly rest: boolean;
}

/** A struct, union or section. */
export interface StructPlan extends PlanBase<"struct"> {
  readonly union: boolean;
  /** It ends in a flexible array. */
  readonly flexible: boolean;
  /** Its named members, with those of anonymous members among them, each name once. */
  readonly fields: readonly FieldPlan[];
  /** Which fields go together and which exclude one another. */
  readonly group: Group;
}

/** A member of a {@link StructPlan}. */
export interface FieldPlan {
  /** Its name; one that occurs again because of anonymous members is given a number, as in `x___2`. */
  readonly name: string;
  /** Offset from the start of the struct, in bytes. */
  readonly at: number;
  /** The same in bits. */
  readonly bitOffset: number;
  /** Width in bits when it is a bit field, 0 when it is not. */
  readonly bitfieldSize: number;
  readonly plan: Plan;
  /** Bytes it owns, where something other than its type decides about that: a variable of a section. */
  readonly limit: number | undefined;
}

/**
 * What encoding needs of a struct (`all`: each part) and of a union (`one`: a single part). Anonymous members are
 * groups within groups.
 */
export type Group =
  | { readonly kind: "field"; readonly field: FieldPlan }
  | { readonly kind: "all" | "one"; readonly parts: readonly Group[] };

/** How a type is laid out and read. */
export type Plan =
  | IntPlan
  | BoolPlan
  | BitsPlan
  | FloatPlan
  | PointerPlan
  | EnumPlan
  | TextPlan
  | BytesPlan
  | ArrayPlan
  | StructPlan;

/** Types that may lie inside one another by value. C compilers promise 63. */
const MAX_DEPTH = 64;

/** Members that one plan may have, counted where they are flattened: a hostile type multiplies them. */
const MAX_FIELDS = 1 << 17;

/**
 * Works out the plan of a type.
 *
 * @param btf where the type is from
 * @param id its number
 * @param options decide what is text, bytes or flags
 * @throws BtfError when the type has no value, a member does not lie inside of its struct, or a limit is passed
 */
export function planOf(btf: Btf, id: number, options: ValueOptions = {}): Plan {
  return new Planner(btf, options).plan(id as TypeId, true);
}

/** Whether values are longer than the size of their plan, because of a flexible array at the end. */
export function isFlexible(plan: Plan): boolean {
  switch (plan.kind) {
    case "text":
    case "bytes":
    case "array":
      return plan.rest;
    case "struct":
      return plan.flexible;
    default:
      return false;
  }
}

/** The error of a type that has no value. */
export function noValue(btf: Btf, type: BtfType): BtfError {
  const name = type.name === "" ? "" : ` "${type.name}"`;
  const hint = type.kind === "fwd" ? `Only its declaration is in this BTF, no definition of ${type.target}${name}` : "";
  return fail(btf, type.id, "ERR_BTF_UNSIZED", `No values are of kind ${type.kind}${name}`, hint);
}

function fail(btf: Btf, id: number, code: BpfErrorCode, message: string, hint = ""): BtfError {
  return new BtfError(code, message, { path: `${btf.image.path} type[${id}]`, hint: hint === "" ? undefined : hint });
}

class Planner {
  readonly #btf: Btf;
  readonly #options: ValueOptions;
  /** Plans of structs, and of structs at the end of everything, where a flexible array takes the rest. */
  readonly #known: readonly [Map<number, StructPlan>, Map<number, StructPlan>] = [new Map(), new Map()];
  #depth = 0;
  #fields = 0;

  constructor(btf: Btf, options: ValueOptions) {
    this.#btf = btf;
    this.#options = options;
  }

  /** @param last nothing lies behind it, so that a flexible array in it may take the rest */
  plan(id: TypeId, last: boolean): Plan {
    const type = this.#btf.resolve(id);
    switch (type.kind) {
      case "int":
        return intPlan(this.#btf, id, type);
      case "ptr":
        return { kind: "ptr", id, size: this.#btf.pointerSize, work: 1 };
      case "float":
        if (type.size === 4 || type.size === 8) return { kind: "float", id, size: type.size, work: 1 };
        return { kind: "bytes", id, size: type.size, work: 1, rest: false };
      case "enum":
      case "enum64": {
        if (type.size !== 1 && type.size !== 2 && type.size !== 4 && type.size !== 8) {
          throw fail(this.#btf, type.id, "ERR_BTF_INVALID", `An enum of ${type.size} bytes, expected 1, 2, 4 or 8`);
        }
        const table = enumTable(type);
        const flags = isFlags(this.#options.flags, table, [type.name, this.#btf.nameOf(id)]);
        return { kind: "enum", id, size: type.size, work: 1, signed: type.signed, table, flags };
      }
      case "array":
        return this.#deeper(id, () => this.#array(id, type, last));
      case "struct":
      case "union": {
        const known = this.#known[last ? 1 : 0];
        const plan = known.get(type.id) ?? this.#deeper(id, () => this.#struct(type, last));
        known.set(type.id, plan);
        return plan.id === id ? plan : { ...plan, id };
      }
      case "datasec":
        return this.#deeper(id, () => this.#section(type));
      case "var":
        return this.#deeper(id, () => this.plan(type.type, last));
      default:
        throw noValue(this.#btf, type);
    }
  }

  #deeper<T>(id: TypeId, run: () => T): T {
    if (this.#depth === MAX_DEPTH) {
      throw fail(this.#btf, id, "ERR_LIMIT", `More than ${MAX_DEPTH} types inside one another`);
    }
    this.#depth++;
    const plan = run();
    this.#depth--;
    return plan;
  }

  #array(id: TypeId, type: BtfArray, last: boolean): Plan {
    const size = this.#btf.sizeOf(type.id);
    const rest = last && type.length === 0;
    const of = this.#btf.resolve(type.type);
    if (of.kind === "int" && isCharacter(of)) {
      const kind = this.#options.chars === "bytes" ? "bytes" : "text";
      return { kind, id, size, work: 1 + size / 16, rest };
    }
    if (of.kind === "int" && of.size === 1 && of.bits === 8 && !of.bool && !of.signed) {
      return { kind: "bytes", id, size, work: 1 + size / 16, rest };
    }
    const element = this.plan(type.type, false);
    // Elements without a size would never end.
    const flexible = rest && element.size > 0;
    const { length } = type;
    return { kind: "array", id, size, work: 1 + Math.max(1, length) * element.work, element, length, rest: flexible };
  }

  #struct(type: BtfStruct | BtfUnion, last: boolean): StructPlan {
    const fields: FieldPlan[] = [];
    const names = new Map<string, number>();
    const group = this.#members(type, 0, 8 * type.size, last, fields, names);
    const work = fields.reduce((sum, field) => sum + field.plan.work, 1);
    const flexible = fields.some((field) => isFlexible(field.plan));
    return {
      kind: "struct",
      id: type.id,
      size: type.size,
      work,
      union: type.kind === "union",
      flexible,
      fields,
      group,
    };
  }

  /** Adds the members of a struct, and of the anonymous ones in it, which start at bit `base` of the outermost. */
  #members(
    type: BtfStruct | BtfUnion,
    base: number,
    end: number,
    last: boolean,
    fields: FieldPlan[],
    names: Map<string, number>,
  ): Group {
    const union = type.kind === "union";
    const parts: Group[] = [];
    for (const [index, member] of type.members.entries()) {
      if (++this.#fields > MAX_FIELDS) throw fail(this.#btf, type.id, "ERR_LIMIT", `More than ${MAX_FIELDS} members`);
      const lastMember = last && (union || index === type.members.length - 1);
      const bitOffset = base + member.bitOffset;
      if (member.name === "") {
        const of = this.#btf.resolve(member.type);
        // What has neither a name nor named members of its own is padding.
        if (of.kind !== "struct" && of.kind !== "union") continue;
        this.#checkPlace(type, index, bitOffset, 8 * of.size, end);
        parts.push(
          this.#deeper(type.id, () => this.#members(of, bitOffset, bitOffset + 8 * of.size, lastMember, fields, names)),
        );
        continue;
      }
      const field = this.#member(type, index, member, bitOffset, end, lastMember, uniqueName(member.name, names));
      fields.push(field);
      parts.push({ kind: "field", field });
    }
    return { kind: union ? "one" : "all", parts };
  }

  #member(
    type: BtfStruct | BtfUnion,
    index: number,
    member: BtfMember,
    bitOffset: number,
    end: number,
    last: boolean,
    name: string,
  ): FieldPlan {
    let plan = this.plan(member.type, last);
    let first = bitOffset;
    let width = member.bitfieldSize;
    // The old encoding has width and distance in the integer instead.
    if (plan.kind === "bits") {
      first += plan.shift;
      width = width === 0 ? plan.width : width;
      plan = plan.of;
    } else if (width === 0 && first % 8 !== 0 && plan.kind === "int") {
      width = 8 * plan.size;
    }
    if (width === 0) {
      if (first % 8 !== 0) {
        throw this.#badMember(type, index, `Bit offset ${first} of a member that is no bit field is no multiple of 8`);
      }
      this.#checkPlace(type, index, first, 8 * plan.size, end);
      return { name, at: first / 8, bitOffset: first, bitfieldSize: 0, plan, limit: undefined };
    }
    if (plan.kind !== "int" && plan.kind !== "bool" && plan.kind !== "enum") {
      throw this.#badMember(type, index, `A bit field of kind ${this.#btf.resolve(member.type).kind}`);
    }
    if (width > 8 * plan.size) {
      throw this.#badMember(type, index, `${width} bits do not fit into ${plan.size} bytes`);
    }
    this.#checkPlace(type, index, first, width, end);
    return {
      name,
      at: Math.floor(first / 8),
      bitOffset: first,
      bitfieldSize: width,
      plan: bitsPlan(plan, first % 8, width),
      limit: undefined,
    };
  }

  #checkPlace(type: BtfType, index: number, bitOffset: number, bits: number, end: number): void {
    if (bitOffset + bits > end) {
      const place = `Bits ${bitOffset} to ${bitOffset + bits} of the member end behind the ${end} bits it may use`;
      throw this.#badMember(type, index, place);
    }
  }

  #badMember(type: BtfType, index: number, message: string): BtfError {
    const path = `${this.#btf.image.path} type[${type.id}].${type.kind === "datasec" ? "var" : "member"}[${index}]`;
    return new BtfError("ERR_BTF_INVALID", message, { path });
  }

  #section(type: BtfDatasec): StructPlan {
    const fields: FieldPlan[] = [];
    const names = new Map<string, number>();
    let end = type.size;
    if (end === 0) {
      for (const { offset, size } of type.vars) end = Math.max(end, offset + size);
      if (type.vars.length > 1 && type.vars.every(({ offset }) => offset === 0)) {
        throw fail(
          this.#btf,
          type.id,
          "ERR_BTF_UNSIZED",
          `Section "${type.name}" has no size yet, and its variables no offsets`,
          "A compiler leaves them to the linker or loader: take the BTF that these have completed",
        );
      }
    }
    for (const [index, { type: id, offset, size }] of type.vars.entries()) {
      const variable = this.#btf.typeById(id);
      if (variable.kind !== "var") throw noValue(this.#btf, variable);
      const plan = this.plan(variable.type, true);
      if (plan.size > size) {
        throw this.#badMember(type, index, `Variable "${variable.name}" of ${plan.size} bytes has a place of ${size}`);
      }
      this.#checkPlace(type, index, 8 * offset, 8 * size, 8 * end);
      const name = uniqueName(variable.name, names);
      fields.push({ name, at: offset, bitOffset: 8 * offset, bitfieldSize: 0, plan, limit: size });
    }
    const work = fields.reduce((sum, field) => sum + field.plan.work, 1);
    const parts = fields.map((field): Group => ({ kind: "field", field }));
    const group: Group = { kind: "all", parts };
    return { kind: "struct", id: type.id, size: end, work, union: false, flexible: false, fields, group };
  }
}

function intPlan(btf: Btf, id: TypeId, type: BtfInt): IntPlan | BoolPlan | BitsPlan {
  const { size, bits, signed } = type;
  if (bits === 0 || size > 16) {
    throw fail(btf, type.id, "ERR_BTF_INVALID", `An integer of ${bits} bits in ${size} bytes`);
  }
  const whole: IntPlan | BoolPlan = type.bool
    ? { kind: "bool", id, size, work: 1 }
    : { kind: "int", id, size, work: 1, signed, char: size === 1 && isCharacter(type) };
  const even = size === 1 || size === 2 || size === 4 || size === 8 || size === 16;
  if (type.bitOffset === 0 && bits === 8 * size && even) return whole;
  // A place in the middle of its bytes; its own bytes are all there is to read.
  return { ...bitsPlan(whole, type.bitOffset, bits), size };
}

function bitsPlan(of: IntPlan | BoolPlan | EnumPlan, shift: number, width: number): BitsPlan {
  const size = Math.ceil((shift + width) / 8);
  return { kind: "bits", id: of.id, size, work: 1, shift, width, signed: of.kind !== "bool" && of.signed, of };
}

/** Whether an integer is `char`: by its name, because compilers rarely set the flag, and then for `u8` as well. */
function isCharacter(type: BtfInt): boolean {
  if (type.size !== 1 || type.bits !== 8 || type.bool) return false;
  return type.name === "char" || (type.char && type.name !== "unsigned char" && type.name !== "signed char");
}

function isFlags(wanted: ValueOptions["flags"], table: EnumTable, names: readonly string[]): boolean {
  if (wanted === undefined || wanted === false) return false;
  return wanted === true ? table.looksLikeFlags : names.some((name) => name !== "" && wanted.includes(name));
}
