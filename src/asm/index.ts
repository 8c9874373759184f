// Browser-safe.

export { HELPERS, type Helper, type HelperArgument, type HelperName } from "../kernel-abi/helpers.generated.ts";
export { findHelper } from "../kernel-abi/helpers.ts";
export * from "./builder/arithmetic.ts";
export * from "./builder/jumps.ts";
export * from "./builder/memory.ts";
export type { Operand, Target } from "./builder/operands.ts";
export * from "./builder/program.ts";
export * from "./builder/wide.ts";
export { type DecodeOptions, decode } from "./decode.ts";
export { type DistanceField, distanceField, type Layout, layout } from "./distance.ts";
export * from "./edit.ts";
export { type ByteOrder, encode } from "./encode.ts";
export { AsmError, type AsmProblem, asmError, asmProblem, renderProblem } from "./errors.ts";
export { callGroups, recursiveFunctions } from "./flow/calls.ts";
export { type Dominators, dominates, dominators } from "./flow/dominators.ts";
export {
  type BasicBlock,
  type CallEdge,
  type ControlFlow,
  type ControlFlowOptions,
  controlFlow,
  type Edge,
  type FunctionFlow,
} from "./flow/graph.ts";
export { findLoops, type IrreducibleEdge, type Loop, type LoopForest, loopBlocks } from "./flow/loops.ts";
export { type RenderOptions, toDot, toMermaid } from "./flow/render.ts";
export { type FrameUse, type StackUse, stackUse } from "./flow/stack.ts";
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
export { type KfuncReference, type LinkOptions, link } from "./link.ts";
export * from "./opcodes.ts";
export * from "./operation.ts";
export { type PrintInstructionOptions, type PrintOptions, print, printInstruction } from "./print/print.ts";
export * from "./registers.ts";
export type { Cpu } from "./stretch.ts";
export {
  type AssembledCode,
  type AssembledData,
  type AssembledFile,
  type AssembledFunction,
  type AssembledRelocation,
  type AssembledSection,
  type AssembleOptions,
  type AssemblyStyle,
  assemble,
  assembleFile,
} from "./text/assemble.ts";
export { type BpfTemplate, bpf, type Interpolation } from "./text/template.ts";
export { encodingFault, secondSlotFault } from "./validity.ts";
