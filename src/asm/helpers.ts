// Browser-safe.

import { closest } from "../bytes/index.ts";
import { HELPERS, type HelperName } from "../kernel-abi/helpers.generated.ts";
import { findHelper } from "../kernel-abi/helpers.ts";
import { asmError } from "./errors.ts";

/**
 * Number of a helper, for the immediate of a call.
 *
 * @param name with or without `bpf_`
 * @throws AsmError `ERR_ASM_UNKNOWN_HELPER`, with the nearest name as hint
 */
export function helperNumber(name: HelperName | (string & {})): number {
  const helper = findHelper(name);
  if (helper !== undefined) return helper.number;
  throw asmError("ERR_ASM_UNKNOWN_HELPER", `Unknown helper "${name}"`, { hint: helperHint(name) });
}

/**
 * A sentence that suggests the helper that was meant.
 *
 * @returns `undefined` when no name is near
 */
export function helperHint(name: string): string | undefined {
  const bare = name.startsWith("bpf_") ? name.slice(4) : name;
  const near = closest(
    bare,
    HELPERS.map((helper) => helper.name),
  );
  return near === undefined ? undefined : `Did you mean "${near}"?`;
}
