import { readFileSync, statSync } from "node:fs";

/** Functions that a JIT compiler has made, as it writes them to `/tmp/perf-PID.map`. */
export interface PerfMap {
  /** Number of functions. */
  readonly count: number;
  /**
   * The function that an address lies in: the one that was written last, as memory is used again.
   *
   * @param address in the process
   */
  find(address: bigint): { readonly name: string; readonly offset: number } | undefined;
}

/** How many functions that begin before an address are looked at: old ones may overlap. */
const MOST_OVERLAPPING = 16;

/** A file of a runaway process is not read. */
const LARGEST = 256 * 1024 * 1024;

/**
 * Reads a list of a JIT's functions: lines of address, size and name, both numbers in hexadecimal. `node
 * --perf-basic-prof` writes one, as do Java agents and .NET. Lines of another form (a torn last one) are passed over.
 *
 * @param text the list
 */
export function parsePerfMap(text: string): PerfMap {
  const entries: { start: bigint; size: bigint; name: string; order: number }[] = [];
  for (const match of text.matchAll(/^(?:0x)?([0-9a-fA-F]{1,16}) (?:0x)?([0-9a-fA-F]{1,16}) ([^\n]+)\n/gm)) {
    entries.push({
      start: BigInt(`0x${match[1]}`),
      size: BigInt(`0x${match[2]}`),
      name: match[3]!,
      order: entries.length,
    });
  }
  entries.sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : a.order - b.order));
  return {
    count: entries.length,
    find(address) {
      let from = 0;
      let to = entries.length;
      while (from < to) {
        const middle = (from + to) >>> 1;
        if (entries[middle]!.start <= address) from = middle + 1;
        else to = middle;
      }
      let best: (typeof entries)[number] | undefined;
      for (let tries = 0; tries < MOST_OVERLAPPING && from > 0; tries++) {
        const each = entries[--from]!;
        if (address - each.start < each.size && (best === undefined || each.order > best.order)) best = each;
      }
      return best === undefined ? undefined : { name: best.name, offset: Number(address - best.start) };
    },
  };
}

/**
 * Reads the list that a process's JIT writes, in the process's own `/tmp` and under the number it has there.
 *
 * @param pid process
 * @returns `undefined` when it writes none
 */
export function readPerfMap(
  pid: number,
): { readonly map: PerfMap; readonly path: string; readonly size: number } | undefined {
  let status = "";
  try {
    status = readFileSync(`/proc/${pid}/status`, "utf8");
  } catch {
    return undefined;
  }
  const inner = /^NSpid:.*?(\d+)$/m.exec(status)?.[1] ?? String(pid);
  for (const path of [`/proc/${pid}/root/tmp/perf-${inner}.map`, `/proc/${pid}/root/tmp/perf-${pid}.map`]) {
    try {
      const { size } = statSync(path);
      if (size > LARGEST) continue;
      return { map: parsePerfMap(readFileSync(path, "utf8")), path, size };
    } catch {
      // Not this one.
    }
  }
  return undefined;
}
