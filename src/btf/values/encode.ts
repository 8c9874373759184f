// Browser-safe.

import { closest, encodeUtf8 } from "../../bytes/index.ts";
import { closureDecoder, type Decoder } from "./decode.ts";
import type { EnumNumber } from "./enum-table.ts";
import type {
  ArrayPlan,
  BitsPlan,
  BytesPlan,
  EnumPlan,
  FieldPlan,
  FloatPlan,
  Group,
  Plan,
  StructPlan,
  TextPlan,
} from "./plan.ts";
import { isFlexible } from "./plan.ts";
import { writeBits, writeFloat, writeInt } from "./scalars.ts";

/**
 * Writes a value into bytes that are zero there.
 *
 * @param end where a flexible array in it must end at the latest
 * @throws Fault
 */
export type Encoder = (value: unknown, bytes: Uint8Array, at: number, end: number) => void;

/** What encoders are made from, besides a plan. */
export interface EncodeOptions {
  readonly littleEndian: boolean;
  /** What is missing is zero. */
  readonly partial: boolean;
}

/** A value that does not fit, on its way to the caller: each struct and array that it passes adds its part of the path. */
export class Fault extends Error {
  /** Whether the value is of the wrong type, rather than out of range. */
  readonly wrongType: boolean;
  /** Path to the value, such as `.stats[3].rx`; empty for the outermost one. */
  path = "";

  constructor(wrongType: boolean, message: string) {
    super(message);
    this.wrongType = wrongType;
  }
}

/** Makes an encoder. */
export function makeEncoder(plan: Plan, options: EncodeOptions): Encoder {
  return new Encoders(options).of(plan);
}

/**
 * Bytes that a value takes, elements of a flexible array included. Looks no further into the value than it must;
 * what is not as it should be counts as nothing.
 */
export function measure(plan: Plan, value: unknown): number {
  switch (plan.kind) {
    case "text":
      // With a NUL behind it.
      return plan.rest && typeof value === "string" ? encodeUtf8(value).length + 1 : lengthOr(plan, value, 1);
    case "bytes":
      return lengthOr(plan, value, 1);
    case "array":
      return lengthOr(plan, value, plan.element.size);
    case "struct": {
      let size = plan.size;
      if (!isFlexible(plan) || !isObject(value)) return size;
      for (const { name, at, limit, plan: part } of plan.fields) {
        if (limit === undefined && isFlexible(part) && isGiven(value, name)) {
          size = Math.max(size, at + measure(part, value[name]));
        }
      }
      return size;
    }
    default:
      return plan.size;
  }
}

function lengthOr(plan: TextPlan | BytesPlan | ArrayPlan, value: unknown, stride: number): number {
  const length = (value as { readonly length?: unknown } | undefined | null)?.length;
  return plan.rest && typeof value === "object" && typeof length === "number" ? length * stride : plan.size;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

/** What a value is, for messages. */
function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  if (value instanceof Uint8Array) return "Uint8Array";
  return typeof value;
}

/** A value as a message shows it: short. */
function show(value: unknown): string {
  const text = typeof value === "string" ? JSON.stringify(value) : String(value);
  return text.length <= 60 ? text : `${text.slice(0, 57)}...`;
}

class Encoders {
  readonly #options: EncodeOptions;
  readonly #known = new Map<StructPlan["fields"], Encoder>();

  constructor(options: EncodeOptions) {
    this.#options = options;
  }

  of(plan: Plan): Encoder {
    const { littleEndian } = this.#options;
    switch (plan.kind) {
      case "int": {
        const { size } = plan;
        const check = integerCheck(8 * size, plan.signed);
        return (value, bytes, at) => writeInt(bytes, at, size, check(value), littleEndian);
      }
      case "ptr": {
        const { size } = plan;
        const check = integerCheck(8 * size, false, "a pointer");
        return (value, bytes, at) => writeInt(bytes, at, size, check(value), littleEndian);
      }
      case "bool": {
        const { size } = plan;
        return (value, bytes, at) => writeInt(bytes, at, size, checkBoolean(value), littleEndian);
      }
      case "float":
        return (value, bytes, at) => writeFloat(bytes, at, plan.size, checkFloat(plan, value), littleEndian);
      case "enum": {
        const { size } = plan;
        const check = enumCheck(plan, 8 * size, plan.signed);
        return (value, bytes, at) => writeInt(bytes, at, size, check(value), littleEndian);
      }
      case "bits": {
        const { shift, width } = plan;
        const check = bitsCheck(plan);
        return (value, bytes, at) => writeBits(bytes, at, shift, width, check(value), littleEndian);
      }
      case "text":
        return (value, bytes, at, end) => encodeText(plan, value, bytes, at, end);
      case "bytes":
        return this.#bytes(plan);
      case "array":
        return this.#array(plan);
      case "struct": {
        let encoder = this.#known.get(plan.fields);
        if (encoder === undefined) {
          encoder = this.#struct(plan);
          this.#known.set(plan.fields, encoder);
        }
        return encoder;
      }
      default:
        return plan satisfies never;
    }
  }

  #bytes(plan: BytesPlan): Encoder {
    const { size, rest } = plan;
    const { partial } = this.#options;
    const check = integerCheck(8, false);
    return (value, bytes, at, end) => {
      if (!(value instanceof Uint8Array || Array.isArray(value))) throw wrongType("a Uint8Array", value);
      checkLength(value.length, rest ? end - at : size, "bytes", rest || partial);
      if (value instanceof Uint8Array) bytes.set(value, at);
      else each(value.length, indexPath, (i) => writeInt(bytes, at + i, 1, check(value[i]), true));
    };
  }

  #array({ element: { size, kind }, element, length, rest }: ArrayPlan): Encoder {
    const encode = this.of(element);
    const { partial } = this.#options;
    return (value, bytes, at, end) => {
      // Typed arrays will do for arrays of numbers.
      if (!Array.isArray(value) && !(ArrayBuffer.isView(value) && "length" in value && kind !== "struct")) {
        throw wrongType("an array", value);
      }
      const list = value as ArrayLike<unknown>;
      checkLength(list.length, rest ? Math.floor((end - at) / size) : length, "elements", rest || partial);
      each(list.length, indexPath, (i) => encode(list[i], bytes, at + i * size, at + (i + 1) * size));
    };
  }

  #struct(plan: StructPlan): Encoder {
    const names = new Set(plan.fields.map((field) => field.name));
    const { write } = this.#group(plan.group, plan);
    return (value, bytes, at, end) => {
      if (!isObject(value) || Array.isArray(value) || ArrayBuffer.isView(value)) throw wrongType("an object", value);
      for (const name of Object.keys(value)) {
        if (!names.has(name)) throw new Fault(true, `unknown member ${JSON.stringify(name)}${didYouMean(name, names)}`);
      }
      write(value, bytes, at, end);
    };
  }

  #group(group: Group, plan: StructPlan): GroupEncoder {
    if (group.kind === "field") return this.#field(group.field);
    const parts = group.parts.map((part) => this.#group(part, plan));
    const given = (value: Members): boolean => parts.some((part) => part.given(value));
    if (group.kind === "all") {
      const write: GroupEncoder["write"] = (value, bytes, at, end) => {
        for (const part of parts) part.write(value, bytes, at, end);
      };
      return { given, write };
    }
    const names = namesIn(group);
    const { partial, littleEndian } = this.#options;
    let decode: Decoder | undefined;
    return {
      given,
      write(value, bytes, at, end) {
        const views = parts.flatMap((encoder, i) =>
          encoder.given(value) ? [{ encoder, group: group.parts[i]! }] : [],
        );
        if (views.length === 1) views[0]!.encoder.write(value, bytes, at, end);
        else if (views.length > 1) {
          decode ??= closureDecoder(plan, { littleEndian, safe: false });
          writeViews(views, value, { bytes, at, end }, measure(plan, value), decode, littleEndian);
        } else if (!partial && names.length > 0) {
          throw new Fault(true, `no member of the union is given, expected one of ${names.slice(0, 8).join(", ")}`);
        }
      },
    };
  }

  #field(field: FieldPlan): GroupEncoder {
    const { name, at: distance, limit } = field;
    const encode = this.of(field.plan);
    const { partial } = this.#options;
    return {
      given: (value) => isGiven(value, name),
      write(value, bytes, at, end) {
        try {
          if (isGiven(value, name)) {
            encode(value[name], bytes, at + distance, limit === undefined ? end : at + distance + limit);
          } else if (!partial) throw new Fault(true, "missing");
        } catch (error) {
          throw inPath(memberPath(name), error);
        }
      },
    };
  }
}

type Members = Record<string, unknown>;

/** Writes the members of a group out of those of the whole struct. */
interface GroupEncoder {
  /** Whether the value has any member of the group. */
  given(value: Members): boolean;
  write(value: Members, bytes: Uint8Array, at: number, end: number): void;
}

/** A member of its own that is not `undefined`. */
function isGiven(value: Members, name: string): boolean {
  return Object.hasOwn(value, name) && value[name] !== undefined;
}

function namesIn(group: Group): string[] {
  return group.kind === "field" ? [group.field.name] : group.parts.flatMap(namesIn);
}

/** One of several members of a union that are given. */
interface View {
  readonly encoder: GroupEncoder;
  readonly group: Group;
}

/** Bits that a view says something about. */
interface Cover {
  readonly mask: Uint8Array;
  /** Bits of booleans that are `true`, any of which may be set. */
  readonly truth: Uint8Array;
  readonly littleEndian: boolean;
  /** A value in it stands for several patterns of bits: `true`, not a number, text with malformed UTF-8 in it. */
  vague: boolean;
}

/**
 * Writes several members of a union, which a decoded value has all of. Each is written by itself; where two of them
 * say something about the same bit, they must say the same.
 *
 * @param decode reads the struct that has the union
 * @param size bytes of that struct
 */
function writeViews(
  views: readonly View[],
  value: Members,
  target: { readonly bytes: Uint8Array; readonly at: number; readonly end: number },
  size: number,
  decode: Decoder,
  littleEndian: boolean,
): void {
  const { bytes, at, end } = target;
  const room = Math.min(size, end - at);
  const all = new Uint8Array(size);
  const known = new Uint8Array(size);
  const write = ({ encoder }: View, from: Members): Uint8Array => {
    const one = new Uint8Array(size);
    encoder.write(from, one, 0, room);
    return one;
  };
  const written = views.map((view) => write(view, value));
  const covers: Cover[] = [];
  let vague = false;
  for (const [index, view] of views.entries()) {
    const cover: Cover = { mask: new Uint8Array(size), truth: new Uint8Array(size), littleEndian, vague: false };
    covers.push(cover);
    coverGroup(view.group, value, cover, 0);
    vague ||= cover.vague;
    const one = written[index]!;
    for (let i = 0; i < size; i++) {
      const own = cover.mask[i]!;
      if (((one[i]! ^ all[i]!) & own & known[i]!) !== 0) throw disagreement(views, index);
      all[i]! |= one[i]! & own;
      known[i]! |= own;
    }
  }
  /** The first view that would not read as it was given, or -1. */
  const misread = (): number => {
    const read = decode(all, 0, room) as Members;
    return views.findIndex((view, index) => !write(view, read).every((byte, i) => byte === written[index]![i]));
  };
  const tries = views.map(() => 0);
  for (let index = vague ? misread() : -1; index >= 0; index = misread()) {
    const again = tries[index]!++;
    const cover = covers[index]!;
    // What the others leave open is taken from its vague values; `true` is in any bit that is left.
    if (again === 0) for (let i = 0; i < size; i++) all[i]! |= written[index]![i]! & ~known[i]!;
    else if (again > 8 * size || !setOpenBit(all, known, cover.truth)) throw disagreement(views, index);
  }
  for (let i = 0; i < size; i++) bytes[at + i]! |= all[i]!;
}

/** Sets the first bit of a mask that is neither known nor set. */
function setOpenBit(all: Uint8Array, known: Uint8Array, mask: Uint8Array): boolean {
  for (let i = 0; i < mask.length; i++) {
    const open = mask[i]! & ~known[i]! & ~all[i]!;
    if (open === 0) continue;
    all[i]! |= open & -open;
    return true;
  }
  return false;
}

function disagreement(views: readonly View[], index: number): Fault {
  const [former, latter] = [views[index === 0 ? 1 : index - 1]!, views[index]!].map(({ group }) => namesIn(group)[0]);
  return new Fault(false, `members of the union disagree (${former}, ${latter}): give only one of them`);
}

function coverGroup(group: Group, value: Members, cover: Cover, at: number): void {
  if (group.kind !== "field") {
    for (const part of group.parts) coverGroup(part, value, cover, at);
  } else if (isGiven(value, group.field.name)) {
    coverValue(group.field.plan, value[group.field.name], cover, at + group.field.at);
  }
}

function allOnes(width: number): bigint {
  return (1n << BigInt(width)) - 1n;
}

function coverValue(plan: Plan, value: unknown, cover: Cover, at: number): void {
  const { mask, littleEndian } = cover;
  const vague =
    (value === true && !(plan.kind === "bits" && plan.width === 1)) ||
    (typeof value === "number" && Number.isNaN(value)) ||
    (plan.kind === "text" && typeof value === "string" && value.includes("\ufffd"));
  if (vague) {
    cover.vague = true;
    if (plan.kind === "bool") cover.truth.fill(0xff, at, at + plan.size);
    if (plan.kind === "bits") writeBits(cover.truth, at, plan.shift, plan.width, allOnes(plan.width), littleEndian);
    return;
  }
  switch (plan.kind) {
    case "bits":
      writeBits(mask, at, plan.shift, plan.width, allOnes(plan.width), littleEndian);
      break;
    case "text": {
      // Up to its NUL: what is behind it is not part of the text.
      const length = typeof value === "string" ? encodeUtf8(value).length + 1 : measure(plan, value);
      mask.fill(0xff, at, at + (plan.rest ? length : Math.min(plan.size, length)));
      break;
    }
    case "array": {
      const list = value as ArrayLike<unknown>;
      for (let i = 0; i < list.length; i++) coverValue(plan.element, list[i], cover, at + i * plan.element.size);
      break;
    }
    case "struct":
      coverGroup(plan.group, value as Members, cover, at);
      break;
    case "bytes":
      mask.fill(0xff, at, at + (value as ArrayLike<unknown>).length);
      break;
    default:
      mask.fill(0xff, at, at + plan.size);
  }
}

function inPath(part: string, error: unknown): unknown {
  if (error instanceof Fault) error.path = part + error.path;
  return error;
}

function memberPath(name: string): string {
  return /^[\w$]+$/.test(name) ? `.${name}` : `[${JSON.stringify(name)}]`;
}

function indexPath(index: number): string {
  return `[${index}]`;
}

function each(count: number, pathOf: (index: number) => string, run: (index: number) => void): void {
  let i = 0;
  try {
    for (; i < count; i++) run(i);
  } catch (error) {
    throw inPath(pathOf(i), error);
  }
}

function wrongType(wanted: string, value: unknown): Fault {
  return new Fault(true, `expected ${wanted}, not ${kindOf(value)}`);
}

function didYouMean(name: string, names: Iterable<string>): string {
  // Of one or two letters any others are near.
  const near = name.length < 3 ? undefined : closest(name, names);
  return near === undefined ? "" : `, did you mean ${JSON.stringify(near)}?`;
}

function checkLength(length: number, room: number, unit: string, fewer: boolean): void {
  if (length > room || (length < room && !fewer)) {
    throw new Fault(false, `${length} ${unit}, expected ${fewer ? "at most " : ""}${Math.max(0, room)}`);
  }
}

/** Checks that a value is an integer of some width. */
function integerCheck(bits: number, signed: boolean, what?: string): (value: unknown) => EnumNumber {
  const low = signed ? -(1n << BigInt(bits - 1)) : 0n;
  const high = (1n << BigInt(signed ? bits - 1 : bits)) - 1n;
  // Exact, as a number that is no safe integer is refused before.
  const lowNumber = Number(low);
  const highNumber = Number(high);
  const name = what ?? `${signed ? "a signed" : "an unsigned"} integer of ${bits} bit${bits === 1 ? "" : "s"}`;
  return (value) => {
    if (typeof value === "number") {
      if (!Number.isInteger(value)) throw new Fault(false, `value ${value} is no integer`);
      if (!Number.isSafeInteger(value)) throw new Fault(false, `value ${value} is not exact, expected a bigint`);
      if (value >= lowNumber && value <= highNumber) return value;
    } else if (typeof value === "bigint") {
      if (value >= low && value <= high) return value;
    } else throw wrongType("an integer", value);
    throw new Fault(false, `value ${show(value)} does not fit ${name} (${low} to ${high})`);
  };
}

function checkBoolean(value: unknown): number {
  if (typeof value !== "boolean") throw wrongType("a boolean", value);
  return value ? 1 : 0;
}

function checkFloat({ size }: FloatPlan, value: unknown): number {
  if (typeof value !== "number") throw wrongType("a number", value);
  if (size === 4 && Number.isFinite(value) && !Number.isFinite(Math.fround(value))) {
    throw new Fault(false, `value ${value} does not fit a float of 32 bits`);
  }
  return value;
}

function enumCheck({ table, flags }: EnumPlan, bits: number, signed: boolean): (value: unknown) => EnumNumber {
  const check = integerCheck(bits, signed);
  const one = (value: unknown): EnumNumber => {
    if (typeof value !== "string") {
      if (typeof value === "number" || typeof value === "bigint") return check(value);
      throw wrongType(flags ? "an array of names" : "the name of an enumerator or its number", value);
    }
    const number = table.values.get(value);
    if (number === undefined) {
      throw new Fault(false, `no enumerator ${show(value)}${didYouMean(value, table.values.keys())}`);
    }
    return check(number);
  };
  if (!flags) return one;
  return (value) => {
    if (!Array.isArray(value)) return one(value);
    let all = 0n;
    each(value.length, indexPath, (i) => {
      // Bits that have no name are decoded as an unsigned number.
      const part = value[i];
      all |= BigInt.asUintN(bits, BigInt(typeof part === "string" ? one(part) : unsignedOrSigned(part, bits)));
    });
    return signed ? BigInt.asIntN(bits, all) : all;
  };
}

function unsignedOrSigned(value: unknown, bits: number): EnumNumber {
  const negative = (typeof value === "number" || typeof value === "bigint") && value < 0;
  return integerCheck(bits, negative)(value);
}

function bitsCheck({ of, width, signed }: BitsPlan): (value: unknown) => EnumNumber {
  switch (of.kind) {
    case "int":
      return integerCheck(width, signed);
    case "bool":
      return checkBoolean;
    case "enum":
      return enumCheck(of, width, signed);
    default:
      return of satisfies never;
  }
}

function encodeText(plan: TextPlan, value: unknown, bytes: Uint8Array, at: number, end: number): void {
  const room = plan.rest ? end - at : plan.size;
  if (value instanceof Uint8Array) {
    checkLength(value.length, room, "bytes", true);
    bytes.set(value, at);
    return;
  }
  if (typeof value !== "string") throw wrongType("a string", value);
  if (value.includes("\0")) throw new Fault(false, `text ${show(value)} has a NUL in it`);
  const text = encodeUtf8(value);
  if (text.length > room)
    throw new Fault(false, `text of ${text.length} bytes does not fit char[${Math.max(0, room)}]`);
  bytes.set(text, at);
}
