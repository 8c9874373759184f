// Browser-safe.

export * from "./attr.generated.ts";
export * from "./constants.ts";
export * from "./contexts.generated.ts";
export * from "./flags.generated.ts";
export { HELPERS, type Helper, type HelperArgument, type HelperName } from "./helpers.generated.ts";
export { findHelper } from "./helpers.ts";
export * from "./info.generated.ts";
export {
  decodeStruct,
  encodeStruct,
  endOfField,
  type FieldInput,
  type FieldLayout,
  type FieldOutput,
  type FieldType,
  type StructInput,
  type StructLayout,
  type StructOutput,
} from "./layout.ts";
export { nameOfValue } from "./lookup.ts";
export * from "./netlink.generated.ts";
export * from "./perf.generated.ts";
export * from "./structs.generated.ts";
export * from "./types.generated.ts";
