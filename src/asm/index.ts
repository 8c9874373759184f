// Browser-safe.

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
