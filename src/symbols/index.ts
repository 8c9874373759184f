export {
  type Binary,
  type BinaryFunction,
  type BinarySymbol,
  binaryFromBytes,
  type FunctionOptions,
  openBinary,
} from "./binary.ts";
export { type BuildIdSymbols, openBuildIdSymbols, type StackPlace } from "./build-id.ts";
export { type FindBinaryOptions, findBinary } from "./find.ts";
export { isGlob, matchGlob } from "./glob.ts";
export {
  findKernelSymbols,
  type KernelPlace,
  type KernelSymbol,
  type KernelSymbolEntry,
  type KernelSymbols,
  readKernelSymbols,
} from "./kallsyms.ts";
export { type CachedLibrary, readLibraryCache } from "./library-cache.ts";
export { type MemoryMapping, parseProcessMaps, readProcessMaps } from "./maps.ts";
export { type ElfNote, readNotes } from "./notes.ts";
export { type PerfMap, parsePerfMap, readPerfMap } from "./perf-map.ts";
export {
  type BinaryCache,
  openProcessSymbols,
  type ProcessPlace,
  type ProcessSymbols,
  type ProcessSymbolsOptions,
} from "./process.ts";
export { type UsdtProbe, usdtProbes } from "./usdt.ts";
export {
  encodeUsdtSpec,
  MAX_USDT_ARGUMENTS,
  parseUsdtArguments,
  USDT_SPEC_SIZES,
  type UsdtArchitecture,
  type UsdtArgument,
} from "./usdt-arguments.ts";
