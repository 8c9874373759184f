// Browser-safe.

import type { ArrayPlan, BitsPlan, EnumPlan, IntPlan, Plan, StructPlan } from "./plan.ts";
import { anyBit, bigEndianReaders, enumValue, flagsValue, littleEndianReaders, type Readers, text } from "./scalars.ts";

/**
 * Reads a value.
 *
 * @param bytes hold all that the plan's size asks for: not checked here
 * @param at where the value starts
 * @param end where a flexible array in it ends
 * @param view the same bytes, up to the end of their buffer, for decoders that want it
 */
export type Decoder = (bytes: Uint8Array, at: number, end: number, view?: DataView) => unknown;

/** What decoders are made from, besides a plan. */
export interface DecodeOptions {
  readonly littleEndian: boolean;
  /** 64-bit integers are numbers where those are exact. */
  readonly safe: boolean;
}

/** Name of the function among {@link Readers} for an integer of 1 to 8 bytes, or 16. */
export function readerOf(size: number, signed: boolean, safe: boolean): keyof Readers {
  if (size === 8 && safe) return signed ? "safeS64" : "safeU64";
  return `${signed ? "s" : "u"}${8 * size}` as keyof Readers;
}

/**
 * Makes a decoder of closures: slower than a compiled one, but works where code may not be generated.
 *
 * @param plan what to decode
 */
export function closureDecoder(plan: Plan, options: DecodeOptions): Decoder {
  return makeDecoder(plan, {
    readers: options.littleEndian ? littleEndianReaders : bigEndianReaders,
    safe: options.safe,
    known: new Map(),
  });
}

interface Context {
  readonly readers: Readers;
  readonly safe: boolean;
  /** Decoders by the fields of their struct, so that a struct which occurs often is made once. */
  readonly known: Map<StructPlan["fields"], Decoder>;
}

function makeDecoder(plan: Plan, context: Context): Decoder {
  const { readers } = context;
  switch (plan.kind) {
    case "int":
      return intDecoder(plan, context);
    case "bool": {
      const { size } = plan;
      return size === 1 ? (bytes, at) => bytes[at] !== 0 : (bytes, at) => anyBit(bytes, at, size);
    }
    case "bits":
      return bitsDecoder(plan, context);
    case "float":
      return plan.size === 4 ? (bytes, at) => readers.f32(bytes, at) : (bytes, at) => readers.f64(bytes, at);
    case "ptr":
      return plan.size === 8 ? readers.u64 : (bytes, at) => BigInt(readers.u32(bytes, at));
    case "enum":
      return enumDecoder(plan, intDecoder(plan, { ...context, safe: false }));
    case "text": {
      const { size, rest } = plan;
      return rest ? text : (bytes, at) => text(bytes, at, at + size);
    }
    case "bytes": {
      const { size, rest } = plan;
      return rest ? (bytes, at, end) => bytes.slice(at, Math.max(at, end)) : (bytes, at) => bytes.slice(at, at + size);
    }
    case "array":
      return arrayDecoder(plan, makeDecoder(plan.element, context));
    case "struct": {
      let decoder = context.known.get(plan.fields);
      if (decoder === undefined) {
        decoder = structDecoder(plan, context);
        context.known.set(plan.fields, decoder);
      }
      return decoder;
    }
    default:
      return plan satisfies never;
  }
}

function intDecoder(plan: IntPlan | EnumPlan, context: Context): Decoder {
  return context.readers[readerOf(plan.size, plan.signed, context.safe)] as Decoder;
}

function enumDecoder({ table, flags, size }: EnumPlan, number: Decoder): Decoder {
  return flags
    ? (bytes, at, end) => flagsValue(table, number(bytes, at, end) as number, size)
    : (bytes, at, end) => enumValue(table, number(bytes, at, end) as number);
}

function bitsDecoder({ shift, width, signed, of }: BitsPlan, { readers, safe }: Context): Decoder {
  let number: Decoder;
  if (width <= 32) number = (bytes, at) => readers.bits(bytes, at, shift, width, signed);
  else if (safe && width <= 53) number = (bytes, at) => Number(readers.wideBits(bytes, at, shift, width, signed));
  else if (safe && width <= 64) number = (bytes, at) => narrowed(readers.wideBits(bytes, at, shift, width, signed));
  else number = (bytes, at) => readers.wideBits(bytes, at, shift, width, signed);
  switch (of.kind) {
    case "int":
      return number;
    case "bool":
      return (bytes, at, end) => Boolean(number(bytes, at, end));
    case "enum": {
      const convert = enumBits(of, width);
      if (width <= 32) return (bytes, at) => convert(readers.bits(bytes, at, shift, width, signed));
      return (bytes, at) => convert(readers.wideBits(bytes, at, shift, width, signed));
    }
    default:
      return of satisfies never;
  }
}

/** A 64-bit value in the form that option `bigint: "safe"` asks for. */
export function narrowed(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

/** Turns the number that a bit field holds into a value of its enum. */
export function enumBits({ table, flags, size }: EnumPlan, width: number): (value: number | bigint) => unknown {
  const fit = size === 8 ? BigInt : width <= 32 ? (value: number | bigint) => value : Number;
  return flags ? (value) => flagsValue(table, fit(value), size) : (value) => enumValue(table, fit(value));
}

function arrayDecoder({ element: { size }, length, rest }: ArrayPlan, element: Decoder): Decoder {
  return (bytes, at, end) => {
    const count = rest ? Math.max(0, Math.floor((end - at) / size)) : length;
    const list: unknown[] = [];
    for (let i = 0; i < count; i++, at += size) list.push(element(bytes, at, end));
    return list;
  };
}

function structDecoder(plan: StructPlan, context: Context): Decoder {
  const names = plan.fields.map((field) => field.name);
  const parts = plan.fields.map(({ plan, at, limit }): Decoder => {
    const decoder = makeDecoder(plan, context);
    if (limit !== undefined) return (bytes, start) => decoder(bytes, start + at, start + at + limit);
    return (bytes, start, end) => decoder(bytes, start + at, end);
  });
  // Assigning in a loop costs 40 ns a member; a literal with computed names is five times as fast for the first struct
  // that uses it and five times as slow for all others, and defineProperty is slower still.
  const special = names.indexOf("__proto__");
  return (bytes, start, end) => {
    const value: Record<string, unknown> = {};
    for (let i = 0; i < names.length; i++) {
      const part = parts[i]!(bytes, start, end);
      if (i !== special) value[names[i]!] = part;
      else
        Object.defineProperty(value, "__proto__", {
          value: part,
          writable: true,
          enumerable: true,
          configurable: true,
        });
    }
    return value;
  };
}
