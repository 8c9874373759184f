// Browser-safe.

const reversed = /* @__PURE__ */ new WeakMap<object, Map<number, string>>();

/**
 * Finds the name of a number in one of the tables of this folder: the reverse of `MapType.hash`.
 *
 * @param table for example `MapType`
 * @param value the number
 * @returns the name, the first of several, or `undefined`
 *
 * @example
 * ```ts
 * import { MapType, nameOfValue } from "rawbpf/kernel-abi";
 *
 * nameOfValue(MapType, 27); // "ringbuf"
 * nameOfValue(MapType, 9999); // undefined
 * ```
 */
export function nameOfValue<T extends { readonly [name: string]: number }>(
  table: T,
  value: number,
): (keyof T & string) | undefined {
  let names = reversed.get(table);
  if (names === undefined) {
    names = new Map();
    for (const [name, number] of Object.entries(table)) if (!names.has(number)) names.set(number, name);
    reversed.set(table, names);
  }
  return names.get(value);
}
