// Browser-safe.

import type { BtfEnum, BtfEnum64 } from "../types.ts";

/** A value of an enum as it is read from its bytes: `bigint` when those are 8. */
export type EnumNumber = number | bigint;

/** Names and values of an enum. */
export interface EnumTable {
  /** Name of a value, the first one of several; `undefined` when it has none. */
  nameOf(value: EnumNumber): string | undefined;
  /** Values by name. */
  readonly values: ReadonlyMap<string, EnumNumber>;
  /** Values of a single bit, with their names. */
  readonly bits: readonly (readonly [EnumNumber, string])[];
  /** There are two values of a single bit or more, and all others are made of those. */
  readonly looksLikeFlags: boolean;
}

/**
 * Makes the table of an enum. Values are taken modulo the size, as compilers before kind `enum64` wrote -1 of an
 * unsigned-looking enum of one byte as 0xffffffff.
 */
export function enumTable(type: BtfEnum | BtfEnum64): EnumTable {
  const bitsOf = 8 * type.size;
  const normal = (value: EnumNumber): EnumNumber => {
    const wide = type.signed ? BigInt.asIntN(bitsOf, BigInt(value)) : BigInt.asUintN(bitsOf, BigInt(value));
    return type.size === 8 ? wide : Number(wide);
  };
  const names = new Map<EnumNumber, string>();
  const values = new Map<string, EnumNumber>();
  for (const enumerator of type.values) {
    const value = normal(enumerator.value);
    if (!names.has(value)) names.set(value, enumerator.name);
    if (!values.has(enumerator.name)) values.set(enumerator.name, value);
  }
  const bits: [EnumNumber, string][] = [];
  let mask = 0n;
  for (const [value, name] of names) {
    const raw = BigInt.asUintN(bitsOf, BigInt(value));
    if (raw !== 0n && (raw & (raw - 1n)) === 0n) {
      bits.push([value, name]);
      mask |= raw;
    }
  }
  const looksLikeFlags =
    bits.length >= 2 && [...names.keys()].every((value) => (BigInt.asUintN(bitsOf, BigInt(value)) & ~mask) === 0n);
  return { nameOf: lookup(names), values, bits, looksLikeFlags };
}

/** Most enums count from 0: an array is three times as fast as a map. */
function lookup(names: ReadonlyMap<EnumNumber, string>): (value: EnumNumber) => string | undefined {
  const limit = 4 * names.size + 16;
  for (const value of names.keys()) {
    if (typeof value === "bigint" || value < 0 || value >= limit) return (wanted) => names.get(wanted);
  }
  const list: (string | undefined)[] = [];
  for (const [value, name] of names) list[value as number] = name;
  return (wanted) => list[wanted as number];
}
