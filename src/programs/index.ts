export { type LoadProgramOptions, loadProgram, type ProgramSpec } from "./load.ts";
export { Program, type RunOptions, type RunResult } from "./program.ts";
export { type LogSummary, summarizeLog, VerifierError } from "./verifier-error.ts";
