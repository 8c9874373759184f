// Browser-safe.

import { BtfError } from "../../errors.ts";
import type { Btf } from "../btf.ts";
import type { BtfMember, BtfStruct, BtfUnion } from "../types.ts";

// What a C compiler makes of the declarations that are printed, and what to print so that it makes what the BTF says:
// the rules of the System V ABIs for members and bit fields, which gcc and clang follow on every machine that Linux
// runs on. BTF keeps none of the attributes that led to a layout, so they are found out from it.

/** What the declaration of a struct or union needs besides its members. */
export interface Shape {
  /** Members lie where their types do not allow it. */
  readonly packed: boolean;
  /** Alignment to ask for, in bytes; 0 for none. */
  readonly aligned: number;
  /** Alignment that the compiler gives to what is declared, in bytes. */
  readonly alignment: number;
  /** Members such as `long: 64` that go in front of each member, and behind the last one. */
  readonly padding: readonly (readonly string[])[];
}

/** A type of unnamed bit fields. */
interface Unit {
  readonly type: string;
  readonly bits: number;
}

/** Where a member lies, in bits from the start of its struct. */
export interface Place {
  readonly offset: number;
  /** Width of a bit field; 0 when it is none. */
  readonly width: number;
}

/**
 * Where a member lies.
 *
 * @param btf where it is from
 * @param member also of the old encoding, which has width and distance of a bit field in its integer
 */
export function placeOf(btf: Btf, member: BtfMember): Place {
  if (member.bitfieldSize !== 0) return { offset: member.bitOffset, width: member.bitfieldSize };
  const type = btf.resolve(member.type);
  const whole = type.kind === "int" && type.bits === 8 * type.size;
  if (type.kind === "int" && (!whole || member.bitOffset % 8 !== 0) && !type.name.includes("_BitInt")) {
    return { offset: member.bitOffset + type.bitOffset, width: type.bits };
  }
  return { offset: member.bitOffset, width: 0 };
}

/** Anonymous structs and arrays inside one another. Named ones are known before those that hold them. */
const MAX_DEPTH = 64;

/**
 * Unnamed bit fields in a row. A hole that needs more, which only a struct stripped of its members has, or a damaged
 * one, is filled with an array.
 */
const MAX_PADDING = 4096;

/** A member as the compiler sees it, in bits. */
interface Part extends Place {
  readonly size: number;
  readonly alignment: number;
}

/** Works out shapes, each once. */
export class Shapes {
  readonly #btf: Btf;
  readonly #known = new Map<number, Shape>();
  #depth = 0;

  constructor(btf: Btf) {
    this.#btf = btf;
  }

  /**
   * The shape of a struct or union.
   *
   * @throws BtfError `ERR_LIMIT` when it holds itself, or too many others inside one another
   */
  of(type: BtfStruct | BtfUnion): Shape {
    let shape = this.#known.get(type.id);
    if (shape === undefined) {
      if (this.#depth === MAX_DEPTH) {
        const path = `${this.#btf.image.path} type[${type.id}]`;
        throw new BtfError("ERR_LIMIT", `More than ${MAX_DEPTH} structs inside one another`, { path });
      }
      this.#depth++;
      const parts = type.members.map((member) => this.#part(member));
      shape = type.kind === "struct" ? this.#struct(type, parts) : unionShape(type, parts);
      this.#depth--;
      this.#known.set(type.id, shape);
    }
    return shape;
  }

  #part(member: BtfMember): Part {
    const { offset, width } = placeOf(this.#btf, member);
    return { offset, width, size: 8 * this.#sizeOf(member.type), alignment: 8 * this.#alignmentOf(member.type) };
  }

  #sizeOf(id: number): number {
    // A member of a type without a size cannot come from a compiler; printing goes on all the same.
    return this.#hasSize(id) ? this.#btf.sizeOf(id) : 0;
  }

  #hasSize(id: number): boolean {
    let type = this.#btf.resolve(id);
    for (let i = 0; type.kind === "array" && i < MAX_DEPTH; i++) type = this.#btf.resolve(type.type);
    return type.kind !== "void" && type.kind !== "fwd" && type.kind !== "func" && type.kind !== "func_proto";
  }

  #alignmentOf(id: number): number {
    let type = this.#btf.resolve(id);
    for (let i = 0; type.kind === "array" && i < MAX_DEPTH; i++) type = this.#btf.resolve(type.type);
    switch (type.kind) {
      case "struct":
      case "union":
        return this.of(type).alignment;
      case "int":
      case "ptr":
      case "float":
      case "enum":
      case "enum64": {
        const alignment = this.#btf.alignOf(type.id);
        return (alignment & (alignment - 1)) === 0 ? alignment : 1;
      }
      default:
        return 1;
    }
  }

  #struct(type: BtfStruct, parts: readonly Part[]): Shape {
    const widest = parts.reduce((most, part) => Math.max(most, part.alignment), 8);
    const size = 8 * type.size;
    const packed = size % widest !== 0 || parts.some((part) => lands(part.offset, part, false) !== part.offset);
    const alignment = packed ? 8 : widest;
    const padding: string[][] = [];
    let at = 0;
    let bits = false;
    for (const part of parts) {
      const isBits = part.width !== 0;
      // Between bit fields the compiler is not left to find out that the second does not fit beside the first.
      const exact = bits && isBits;
      const next = (from: number): number => (exact && from !== part.offset ? from : lands(from, part, packed));
      padding.push(this.#fill(at, part.offset, packed || exact, next));
      at = part.offset + (isBits ? part.width : part.size);
      bits = isBits;
    }
    padding.push(this.#fill(at, size, packed, (from) => roundUp(from, alignment)));
    return { packed, aligned: 0, alignment: alignment / 8, padding };
  }

  /**
   * What must stand between two members.
   *
   * @param at end of the former, in bits
   * @param target start of the latter
   * @param exact whether widths must add up; otherwise unnamed bit fields may rely on their own alignment
   * @param next where the compiler puts the latter when it is free from a place on
   */
  #fill(at: number, target: number, exact: boolean, next: (from: number) => number): string[] {
    if (at >= target || next(at) === target) return [];
    const units = this.#units();
    // The widest type that gets to its own alignment within the hole, and goes on from there.
    const unit = units.find(({ bits }) => roundUp(at, bits) <= target) ?? units.at(-1)!;
    const start = roundUp(at, unit.bits);
    const rest: Unit[] = [];
    let from = start <= target ? start : at;
    const list: string[] = [];
    const count = Math.floor((target - from) / unit.bits);
    if (count <= MAX_PADDING) for (let i = 0; i < count; i++) rest.push(unit);
    from += count * unit.bits;
    if (target > from) {
      const bits = target - from;
      const narrowest = units.reduce((least, wider) => (wider.bits >= bits ? wider : least));
      rest.push({ type: narrowest.type, bits });
    }
    if (start > at && start <= target) {
      if (exact || count > MAX_PADDING) list.push(`${unit.type}: ${start - at}`);
      else {
        const first = rest[0];
        const width = units.find(({ type }) => type === first?.type)?.bits ?? 0;
        const moves = first === undefined ? next(at) : (at % width) + first.bits > width ? roundUp(at, width) : at;
        if (moves !== start) list.push(`${unit.type}: 0`);
      }
    }
    if (count > MAX_PADDING) list.push(`char _padding_${start / 8}[${(count * unit.bits) / 8}]`);
    return [...list, ...rest.map(({ type, bits }) => `${type}: ${bits}`)];
  }

  #units(): readonly Unit[] {
    // `long` is as wide as a pointer, but perhaps not where the header of a 32-bit kernel is compiled.
    return this.#btf.pointerSize === 8 ? UNITS : UNITS.slice(1);
  }
}

const UNITS: readonly Unit[] = [
  { type: "long", bits: 64 },
  { type: "int", bits: 32 },
  { type: "short", bits: 16 },
  { type: "char", bits: 8 },
];

function roundUp(at: number, unit: number): number {
  return Math.ceil(at / unit) * unit;
}

/** Where the compiler puts a member that may start at `at`. */
function lands(at: number, { width, size, alignment }: Part, packed: boolean): number {
  if (width === 0) return roundUp(at, packed ? 8 : alignment);
  // A bit field goes on in the same unit of its type as long as it fits there.
  return !packed && (at % alignment) + width > size ? roundUp(at, alignment) : at;
}

function unionShape(type: BtfUnion, parts: readonly Part[]): Shape {
  const widest = parts.reduce((most, part) => Math.max(most, part.alignment), 8);
  const size = 8 * type.size;
  const packed = size % widest !== 0;
  const alignment = packed ? 8 : widest;
  const largest = parts.reduce((most, part) => Math.max(most, part.width === 0 ? part.size : part.width), 0);
  const shape = { packed, aligned: 0, alignment: alignment / 8, padding: [] };
  if (roundUp(largest, alignment) >= size) return shape;
  // Nothing but a demanded alignment makes a union larger than its members, unless those were left out of the BTF.
  for (const unit of [undefined, ...UNITS]) {
    if (unit !== undefined && unit.bits > size) continue;
    const from = Math.max(largest, unit?.bits ?? 0);
    const padding = unit === undefined ? [] : [[`${unit.type}: ${unit.bits}`]];
    if (roundUp(from, alignment) === size) return { ...shape, padding };
    for (let wanted = 2 * alignment; wanted <= size; wanted *= 2) {
      if (roundUp(from, wanted) === size) return { packed, aligned: wanted / 8, alignment: wanted / 8, padding };
    }
  }
  return shape;
}
