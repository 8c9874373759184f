// Browser-safe.

import { HELPERS, type Helper, type HelperName } from "./helpers.generated.ts";

let byName: Map<string, Helper> | undefined;

/**
 * Looks a helper up by number or by name.
 *
 * @param key number in `enum bpf_func_id`, or name with or without `bpf_`
 * @returns the helper, or `undefined` when this library does not know it
 *
 * @example
 * ```ts
 * findHelper("bpf_map_lookup_elem")?.number; // 1
 * findHelper(5)?.name; // "ktime_get_ns"
 * ```
 */
export function findHelper(key: number | HelperName | (string & {})): Helper | undefined {
  if (typeof key === "number") {
    // Numbers are dense from 1, which a test pins.
    return HELPERS[key - 1];
  }
  // Both forms are keys: cutting a name in two makes a string, and its hash, at every call.
  byName ??= new Map(
    HELPERS.flatMap((helper) => [[helper.name, helper] as const, [`bpf_${helper.name}`, helper] as const]),
  );
  return byName.get(key);
}
