// Browser-safe.

export { type ContextFields, contextFields, type MachineInput } from "./context/build.ts";
export { type FaultAccess, type FaultPlace, MachineFault } from "./errors.ts";
export { Execution, type MachineRunResult, type Stop, type TraceEntry } from "./execution.ts";
export { type Helper, HelperCall } from "./helpers/call.ts";
export { machineHelpers } from "./helpers/index.ts";
export {
  createMachine,
  Machine,
  type MachineLimits,
  type MachineMapSpecs,
  type MachineMemory,
  type MachineOptions,
  MachineProgram,
  type MachineProgramSpec,
  type MachineRunOptions,
} from "./machine.ts";
export type { MachineHandle, MachineMapOf, MachineMapSpec, MachineMapType } from "./maps/create.ts";
export {
  MachineBloomFilter,
  MachineMap,
  MachineQueue,
  MachineRingBuffer,
  type MachineUpdateFlag,
} from "./maps/machine-map.ts";
export type { MachineMapDescription } from "./maps/program-map.ts";
export type { Redirect } from "./run-state.ts";
export type { PerfEvent, Task } from "./world.ts";
