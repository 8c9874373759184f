// Browser-safe.

export * from "./builder.ts";
export { type DecodeOptions, decode } from "./decode.ts";
export { type ByteOrder, encode } from "./encode.ts";
export { AsmError, type AsmProblem, asmError, asmProblem, renderProblem } from "./errors.ts";
export { helperHint, helperNumber } from "./helpers.ts";
export {
  type Instruction,
  type InstructionMeta,
  type InstructionRelocation,
  instruction,
  LD_IMM64,
  type MapReference,
  type SourceLine,
  slotsOf,
  withMeta,
} from "./instruction.ts";
export { type Cpu, type KfuncReference, type Layout, type LinkOptions, layout, link } from "./link.ts";
export * from "./opcodes.ts";
export * from "./operation.ts";
export * from "./registers.ts";
