export { type ExplainedMessage, explainVerifierLog, VERIFIER_MESSAGES, type VerifierMessage } from "./explain.ts";
export { type ProgramBtf, type ProgramInfo, programInfo, sourceLines } from "./info.ts";
export { type LoadProgramOptions, loadProgram, type ProgramSpec } from "./load.ts";
export { Program, type RunOptions, type RunResult } from "./program.ts";
export { type LogSummary, summarizeLog, VerifierError, type VerifierErrorOptions } from "./verifier-error.ts";
