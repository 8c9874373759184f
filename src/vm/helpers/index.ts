// Browser-safe.

import { BpfError } from "../../errors.ts";
import { findHelper, type HelperName } from "../../kernel-abi/index.ts";
import type { Helper, HelperTable } from "./call.ts";
import { FLOW_HELPERS } from "./flow.ts";
import { MAP_HELPERS } from "./maps.ts";
import { PACKET_HELPERS } from "./packet.ts";
import { PROBE_HELPERS } from "./probe.ts";
import { TASK_HELPERS } from "./task.ts";
import { TEXT_HELPERS } from "./text.ts";

const BUILT_IN: readonly Readonly<Record<string, Helper>>[] = [
  MAP_HELPERS,
  TASK_HELPERS,
  FLOW_HELPERS,
  TEXT_HELPERS,
  PROBE_HELPERS,
  PACKET_HELPERS,
];

/**
 * Names of the helpers that every machine has.
 *
 * @example
 * ```ts
 * machineHelpers().includes("map_lookup_elem"); // true
 * ```
 */
export function machineHelpers(): HelperName[] {
  return BUILT_IN.flatMap((group) => Object.keys(group) as HelperName[]);
}

/**
 * The helpers of a machine: its own, and in their place or besides them those of the user.
 *
 * @throws BpfError `ERR_VM_HELPER` for a name that no helper has
 */
export function helperTable(own: Readonly<Record<string, Helper | undefined>>): HelperTable {
  const table = new Map<number, { readonly name: string; readonly call: Helper }>();
  for (const group of [...BUILT_IN, own]) {
    for (const [name, call] of Object.entries(group)) {
      const helper = findHelper(name);
      if (helper === undefined) throw new BpfError("ERR_VM_HELPER", `No helper is called "${name}"`);
      if (call !== undefined) table.set(helper.number, { name: helper.name, call });
    }
  }
  return table;
}
