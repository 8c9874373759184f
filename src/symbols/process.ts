import { closeSync, openSync, readSync, statSync } from "node:fs";
import { BpfError } from "../errors.ts";
import { type Binary, binaryFromBytes, openBinary } from "./binary.ts";
import { type MemoryMapping, readProcessMaps } from "./maps.ts";
import { type PerfMap, readPerfMap } from "./perf-map.ts";

/** Where an address of a process lies. */
export interface ProcessPlace {
  /** Function; `undefined` when nothing tells its name. */
  readonly name: string | undefined;
  /** Bytes from the start of the function; without a name, the place in the file, or in the mapping where there is none. */
  readonly offset: number;
  /** File as the process sees it, `[vdso]`, or `[jit]` for functions of a JIT; `undefined` for memory that is none of these. */
  readonly module: string | undefined;
}

/**
 * Binaries that were opened before. Who keeps it decides how long their symbols stay in memory: `new Map()`.
 */
export type BinaryCache = Map<string, Binary | undefined>;

/** Options of {@link openProcessSymbols}. */
export interface ProcessSymbolsOptions {
  /** Shared among processes, which mostly have the same libraries mapped. Default: one of its own. */
  readonly cache?: BinaryCache | undefined;
}

/** Tells names of addresses of one process. */
export interface ProcessSymbols {
  readonly pid: number;
  /** What the process had mapped when it was last looked at. */
  readonly mappings: readonly MemoryMapping[];
  /**
   * Where an address lies. What was mapped, or compiled by a JIT, since the process was last looked at is found too; what
   * is gone is told from what was seen.
   *
   * @param address in the process
   * @returns a place without a name, or `undefined` for an address that nothing is mapped at
   */
  resolve(address: bigint): ProcessPlace | undefined;
  /** The binary that is mapped at an address; `undefined` when it is none. */
  binaryAt(address: bigint): Binary | undefined;
  /** Looks at the process again. */
  refresh(): void;
}

/** Addresses that nothing was found at: looking again for each of them would read `/proc` for every broken stack. */
const MOST_MISSES = 4096;

const LARGEST_VDSO = 1 << 20;

/**
 * Tells what functions the addresses of a process belong to, by its mappings, the symbols of the files behind them, and
 * the list of its JIT (`/tmp/perf-PID.map`). Files are read in the process's own view of the file system.
 *
 * @param pid process. Its mappings are read now: it may end afterwards
 * @param options cache
 * @throws BpfError `ERR_FILE_NOT_FOUND` when there is no such process, or it may not be looked at
 *
 * @example
 * ```ts
 * import { openProcessSymbols } from "rawbpf/symbols";
 *
 * const symbols = openProcessSymbols(process.pid);
 * const code = symbols.mappings.find((each) => each.executable && each.path.startsWith("/"))!;
 * console.log(symbols.resolve(code.start + 0x100n));
 * ```
 */
export function openProcessSymbols(pid: number, options: ProcessSymbolsOptions = {}): ProcessSymbols {
  const cache = options.cache ?? new Map<string, Binary | undefined>();
  const byMapping = new Map<MemoryMapping, Binary | undefined>();
  const misses = new Set<bigint>();
  let jit: { map: PerfMap; path: string; size: number } | undefined;
  let jitRead = false;
  let mappings = load();

  function load(): readonly MemoryMapping[] {
    try {
      return readProcessMaps(pid);
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      throw new BpfError("ERR_FILE_NOT_FOUND", `Cannot see what process ${pid} has mapped: ${code}`, { cause });
    }
  }

  /** Looks again; what a process had mapped stays known when it has ended. */
  function reload(): void {
    try {
      const now = load();
      if (now.length === 0) return;
      mappings = now;
      byMapping.clear();
    } catch {
      // The process has ended.
    }
  }

  function mappingAt(address: bigint): MemoryMapping | undefined {
    let from = 0;
    let to = mappings.length;
    while (from < to) {
      const middle = (from + to) >>> 1;
      if (mappings[middle]!.start <= address) from = middle + 1;
      else to = middle;
    }
    const mapping = mappings[from - 1];
    return mapping !== undefined && address < mapping.end ? mapping : undefined;
  }

  function binaryOf(mapping: MemoryMapping): Binary | undefined {
    if (!byMapping.has(mapping)) byMapping.set(mapping, openMapped(pid, mapping, cache));
    return byMapping.get(mapping);
  }

  function compiled(address: bigint): ProcessPlace | undefined {
    if (!jitRead) {
      jitRead = true;
      jit = readPerfMap(pid);
    } else if (jit !== undefined && jit.map.find(address) === undefined) {
      // It only grows: as long as it did not, there is nothing new in it.
      const now = sizeOf(jit.path);
      if (now !== undefined && now !== jit.size) jit = readPerfMap(pid) ?? jit;
    }
    const found = jit?.map.find(address);
    return found === undefined ? undefined : { ...found, module: "[jit]" };
  }

  return {
    pid,
    get mappings() {
      return mappings;
    },
    resolve(address) {
      let mapping = mappingAt(address);
      if (mapping === undefined && !misses.has(address >> 12n)) {
        reload();
        mapping = mappingAt(address);
        if (mapping === undefined && misses.size < MOST_MISSES) misses.add(address >> 12n);
      }
      if (mapping === undefined) return compiled(address);
      const binary = binaryOf(mapping);
      if (binary === undefined) {
        const found = compiled(address);
        if (found !== undefined) return found;
        const module = mapping.path === "" ? undefined : mapping.path;
        return { name: undefined, offset: Number(address - mapping.start + mapping.offset), module };
      }
      const offset = Number(address - mapping.start + mapping.offset);
      const at = binary.addressOf(offset);
      const found = at === undefined ? undefined : symbolOf(binary, at);
      return found === undefined
        ? { name: undefined, offset, module: mapping.path }
        : { ...found, module: mapping.path };
    },
    binaryAt(address) {
      const mapping = mappingAt(address);
      return mapping === undefined ? undefined : binaryOf(mapping);
    },
    refresh() {
      misses.clear();
      jitRead = false;
      reload();
    },
  };
}

/** A malformed file has no names: a stack is shown all the same. */
function symbolOf(binary: Binary, address: bigint): { readonly name: string; readonly offset: number } | undefined {
  try {
    return binary.symbolAt(address);
  } catch (error) {
    if (error instanceof BpfError) return undefined;
    throw error;
  }
}

function openMapped(pid: number, mapping: MemoryMapping, cache: BinaryCache): Binary | undefined {
  if (mapping.path === "[vdso]") return openVdso(pid, mapping, cache);
  if (!mapping.path.startsWith("/")) return undefined;
  const range = `${mapping.start.toString(16)}-${mapping.end.toString(16)}`;
  // The first one is the file itself, even if its name is gone or means another one now; it takes privileges.
  const paths = [`/proc/${pid}/map_files/${range}`];
  if (!mapping.deleted) paths.push(`/proc/${pid}/root${mapping.path}`);
  for (const path of paths) {
    let key: string;
    try {
      const stat = statSync(path);
      if (!stat.isFile()) continue;
      key = `${stat.dev}:${stat.ino}:${stat.size}:${stat.mtimeMs}`;
    } catch {
      continue;
    }
    if (cache.has(key)) return cache.get(key);
    try {
      const binary = openBinary(path);
      // Names are read now: the path ends with the process.
      binary.symbolAt(0n);
      cache.set(key, binary);
      return binary;
    } catch (error) {
      if (!(error instanceof BpfError)) throw error;
      // Not an ELF file, or a malformed one: that does not change. That it could not be opened may.
      if (error.code === "ERR_FILE_NOT_FOUND" || error.code === "ERR_FILE_CHANGED") continue;
      cache.set(key, undefined);
      return undefined;
    }
  }
  return undefined;
}

/** The vDSO is in no file, but the same in all processes: its own memory, or this process's copy. */
function openVdso(pid: number, mapping: MemoryMapping, cache: BinaryCache): Binary | undefined {
  const known = cache.get("[vdso]");
  if (known !== undefined) return known;
  const size = mapping.end - mapping.start;
  const own = readProcessMaps("self").find((each) => each.path === "[vdso]" && each.end - each.start === size);
  for (const [process, place] of [
    [String(pid), mapping],
    ["self", own],
  ] as const) {
    const bytes = place === undefined ? undefined : readMemory(process, place);
    if (bytes === undefined) continue;
    try {
      const binary = binaryFromBytes("[vdso]", bytes);
      cache.set("[vdso]", binary);
      return binary;
    } catch (error) {
      if (!(error instanceof BpfError)) throw error;
    }
  }
  return undefined;
}

function readMemory(process: string, mapping: MemoryMapping): Uint8Array | undefined {
  const size = Number(mapping.end - mapping.start);
  if (size > LARGEST_VDSO) return undefined;
  try {
    const fd = openSync(`/proc/${process}/mem`, "r");
    try {
      const bytes = new Uint8Array(size);
      return readSync(fd, bytes, 0, size, mapping.start as never) === size ? bytes : undefined;
    } finally {
      closeSync(fd);
    }
  } catch {
    return undefined;
  }
}

function sizeOf(path: string): number | undefined {
  try {
    return statSync(path).size;
  } catch {
    return undefined;
  }
}
