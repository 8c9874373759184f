// Browser-safe.

export { applyFixup, applyFixups, CORE_POISON, coreRelocation, coreRelocationsOf } from "./apply.ts";
export { typesCompatible } from "./compatible.ts";
export { type ComputeFixupsOptions, computeFixups, formatRelocation } from "./compute.ts";
export type {
  CoreCandidate,
  CoreFixup,
  CoreInstructionRelocation,
  CoreMemory,
  CoreRelocation,
  CoreTarget,
} from "./types.ts";
