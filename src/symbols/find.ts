import { accessSync, closeSync, constants, openSync, readdirSync, readFileSync, readSync, statSync } from "node:fs";
import { delimiter, isAbsolute, join, resolve } from "node:path";
import { closest } from "../bytes/index.ts";
import { BpfError } from "../errors.ts";
import { type CachedLibrary, readLibraryCache } from "./library-cache.ts";
import { readProcessMaps } from "./maps.ts";

/** Where to look for a program or library. */
export interface FindBinaryOptions {
  /** Look at what this process has mapped, in its own view of the file system. Default: at this machine. */
  readonly pid?: number | undefined;
  /** Folders of programs, as in `PATH`. Default: the environment's, then the usual ones. */
  readonly path?: string | undefined;
  /** Root of the file system to look in. Default `/`. */
  readonly root?: string | undefined;
}

const PROGRAMS = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/** Folders of libraries by processor: what a machine without a cache has (Alpine, Nix). */
const LIBRARIES: Readonly<Record<string, readonly string[]>> = {
  x64: ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu"],
  arm64: ["/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu"],
};
const COMMON_LIBRARIES = ["/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib", "/run/current-system/sw/lib"];

/** `flags` of a library of this processor in the cache: its machine, and that it is for glibc. */
const MACHINES: Readonly<Record<string, number>> = { x64: 0x0303, arm64: 0x0a03 };

/**
 * Finds a program or library by its name, as people write it in a probe: a path; the name of a program in `PATH`; that
 * of a library, `libssl.so.3`, or short, `ssl` or `c`, through the dynamic linker's cache and the usual folders.
 *
 * @param name path, program or library
 * @param options a process to look into, other folders
 * @returns a path that can be opened from here (through `/proc/PID/root` for another process)
 * @throws BpfError `ERR_FILE_NOT_FOUND`, with a name that is near
 *
 * @example
 * ```ts
 * import { findBinary } from "rawbpf/symbols";
 *
 * console.log(findBinary("sh"), findBinary("c"));
 * ```
 */
export function findBinary(name: string, options: FindBinaryOptions = {}): string {
  if (name === "" || name.includes("\0")) throw new BpfError("ERR_FILE_NOT_FOUND", `"${name}" names no file`);
  const root = options.pid === undefined ? (options.root ?? "/") : `/proc/${options.pid}/root`;
  if (name.includes("/")) {
    const path = root === "/" ? resolve(name) : join(root, isAbsolute(name) ? name : resolve(name));
    if (!isFile(path)) throw notFound(name, path);
    return path;
  }
  const known = new Set<string>();
  if (options.pid !== undefined) {
    const mapped = mappedBinary(name, options.pid, known);
    if (mapped !== undefined) return mapped;
  }
  const library = /\.so(\.|$)/.test(name);
  if (!library) {
    const found = programs(options, root).find((path) => isProgram(join(path, name)));
    if (found !== undefined) return join(found, name);
  }
  const cached = readCache(root);
  for (const each of cached) known.add(each.name);
  const fit = pick(cached, name, library);
  for (const candidate of fit) {
    const path = join(root, candidate);
    if (isElf(path)) return path;
  }
  for (const folder of [...(LIBRARIES[process.arch] ?? []), ...COMMON_LIBRARIES]) {
    const path = searchFolder(join(root, folder), name, library);
    if (path !== undefined) return path;
  }
  throw new BpfError("ERR_FILE_NOT_FOUND", `No program or library "${name}" found`, { hint: nearest(name, known) });
}

function nearest(name: string, known: Iterable<string>): string {
  const names = new Map<string, string>();
  for (const each of known) {
    names.set(each, each);
    names.set(each.replace(/^lib/, "").replace(/\.so.*$/, ""), each);
  }
  const near = closest(name, names.keys());
  return near === undefined ? "give its path" : `did you mean ${names.get(near)}?`;
}

function notFound(name: string, path: string): BpfError {
  const shown = path === name ? name : `${name} (${path})`;
  return new BpfError("ERR_FILE_NOT_FOUND", `${shown} is no file`);
}

function programs(options: FindBinaryOptions, root: string): string[] {
  const path = options.path ?? (root === "/" ? process.env.PATH : undefined) ?? "";
  const folders = [...path.split(delimiter).filter((each) => isAbsolute(each)), ...PROGRAMS];
  return folders.map((folder) => join(root, folder));
}

/** A file that a process has mapped, by the name of a library. */
function mappedBinary(name: string, pid: number, known: Set<string>): string | undefined {
  let maps: ReturnType<typeof readProcessMaps>;
  try {
    maps = readProcessMaps(pid);
  } catch (cause) {
    throw new BpfError("ERR_FILE_NOT_FOUND", `Cannot see what process ${pid} has mapped`, { cause });
  }
  const paths = new Set<string>();
  for (const each of maps) if (each.executable && each.path.startsWith("/") && !each.deleted) paths.add(each.path);
  for (const path of paths) {
    const base = path.slice(path.lastIndexOf("/") + 1);
    known.add(base);
    if (fits(base, name)) return join(`/proc/${pid}/root`, path);
  }
  return undefined;
}

/** Whether a file of a library, `libc.so.6` or `libc-2.31.so`, is what was named. */
function fits(file: string, name: string): boolean {
  if (file === name) return true;
  if (/\.so(\.|$)/.test(name)) return file.startsWith(`${name}.`);
  for (const stem of [`lib${name}`, name]) {
    const rest = file.startsWith(stem) ? file.slice(stem.length) : undefined;
    if (rest !== undefined && /^(-[\d.]+)?\.so(\.[\d.]+)?$/.test(rest)) return true;
  }
  return false;
}

function readCache(root: string): CachedLibrary[] {
  try {
    return readLibraryCache(readFileSync(join(root, "etc/ld.so.cache")));
  } catch {
    // None (musl has none), or one that cannot be read: the folders are still there.
    return [];
  }
}

/** Paths in the cache that fit, best first: for this processor, then the builds that it can run, then the newest. */
function pick(cached: readonly CachedLibrary[], name: string, exact: boolean): string[] {
  const machine = MACHINES[process.arch];
  const level = processorLevel();
  const weight = (library: CachedLibrary): number => {
    if (library.processors === undefined) return 0;
    const wanted = /^x86-64-v([234])$/.exec(library.processors);
    return wanted !== null && Number(wanted[1]) <= level ? Number(wanted[1]) : -1;
  };
  return cached
    .filter((each) => (machine === undefined || each.flags === machine) && weight(each) >= 0)
    .filter((each) => (exact ? each.name === name || each.name.startsWith(`${name}.`) : fits(each.name, name)))
    .sort((a, b) => (a.name === b.name ? weight(b) - weight(a) : byVersion(b.name, a.name)))
    .map((each) => each.path);
}

/** The highest of the x86-64 levels that this processor has, which the dynamic linker chooses builds by; else 1. */
function processorLevel(): number {
  if (process.arch !== "x64") return 1;
  let text: string;
  try {
    text = readFileSync("/proc/cpuinfo", "utf8");
  } catch {
    return 1;
  }
  const flags = new Set((/^flags\s*:(.*)$/m.exec(text)?.[1] ?? "").split(" "));
  const has = (list: string): boolean => list.split(" ").every((each) => flags.has(each));
  if (!has("cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3")) return 1;
  if (!has("avx avx2 bmi1 bmi2 f16c fma abm movbe xsave")) return 2;
  return has("avx512f avx512bw avx512cd avx512dq avx512vl") ? 4 : 3;
}

/** Compares the numbers in two names. */
function byVersion(a: string, b: string): number {
  return a.localeCompare(b, "en", { numeric: true });
}

function searchFolder(folder: string, name: string, exact: boolean): string | undefined {
  let files: string[];
  try {
    files = readdirSync(folder);
  } catch {
    return undefined;
  }
  const found = files.filter((each) => (exact ? each === name || each.startsWith(`${name}.`) : fits(each, name)));
  return found
    .sort((a, b) => byVersion(b, a))
    .map((each) => join(folder, each))
    .find(isElf);
}

function isFile(path: string): boolean {
  try {
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
  } catch {
    return false;
  }
  return isFile(path);
}

/** `libc.so` is often a script for the linker. */
function isElf(path: string): boolean {
  if (!isFile(path)) return false;
  try {
    const fd = openSync(path, "r");
    try {
      const bytes = new Uint8Array(4);
      return readSync(fd, bytes, 0, 4, 0) === 4 && bytes[0] === 0x7f && bytes[1] === 0x45 && bytes[2] === 0x4c;
    } finally {
      closeSync(fd);
    }
  } catch {
    return false;
  }
}
