import { readFileSync } from "node:fs";

/** A part of a process's memory. */
export interface MemoryMapping {
  /** First address. */
  readonly start: bigint;
  /** First address behind it. */
  readonly end: bigint;
  /** Where in the file it begins, bytes. */
  readonly offset: bigint;
  readonly executable: boolean;
  /** Device as the kernel writes it, `fe:01`. */
  readonly device: string;
  readonly inode: number;
  /** File as the process sees it; `[vdso]`, `[heap]` and their like; empty for anonymous memory. */
  readonly path: string;
  /** The file was removed, or replaced by another one, after it was mapped. */
  readonly deleted: boolean;
}

/**
 * Reads a list of memory mappings of the form of `/proc/PID/maps`. Lines of another form are passed over.
 *
 * @param text the list
 * @returns in the order of the list, which is that of their addresses
 */
export function parseProcessMaps(text: string): MemoryMapping[] {
  const mappings: MemoryMapping[] = [];
  const line = /^([0-9a-f]{1,16})-([0-9a-f]{1,16}) (\S{4}) ([0-9a-f]{1,16}) (\S+) (\d+) *(.*)$/gm;
  for (const match of text.matchAll(line)) {
    const [, start, end, flags, offset, device, inode, name] = match as unknown as string[];
    const deleted = name!.endsWith(" (deleted)");
    mappings.push({
      start: BigInt(`0x${start}`),
      end: BigInt(`0x${end}`),
      offset: BigInt(`0x${offset}`),
      executable: flags![2] === "x",
      device: device!,
      inode: Number(inode),
      path: plainName(deleted ? name!.slice(0, -" (deleted)".length) : name!),
      deleted,
    });
  }
  return mappings;
}

/** The kernel writes a newline in a name as `\012`. */
function plainName(name: string): string {
  return name.replaceAll("\\012", "\n");
}

/**
 * What a process has mapped into its memory.
 *
 * @param pid process. Default this one
 * @throws Error of `node:fs`: `ENOENT` when there is none, `EACCES` for another user's
 *
 * @example
 * ```ts
 * import { readProcessMaps } from "rawbpf/symbols";
 *
 * const libraries = new Set(readProcessMaps().filter((each) => each.executable).map((each) => each.path));
 * console.log(libraries);
 * ```
 */
export function readProcessMaps(pid: number | "self" = "self"): MemoryMapping[] {
  return parseProcessMaps(readFileSync(`/proc/${pid}/maps`, "utf8"));
}
