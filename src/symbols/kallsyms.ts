import { readFileSync } from "node:fs";
import { BpfError } from "../errors.ts";
import { matchGlob } from "./glob.ts";

/** Address of a symbol of the kernel. */
export interface KernelSymbol {
  /** Where it is; 0 when the kernel does not tell. */
  readonly address: bigint;
  /** Other places that symbols of the same name are at. */
  readonly others: readonly bigint[];
}

/**
 * Looks symbols up in the kernel's list of them. Clang adds `.llvm.` and a number to static variables: those are found
 * under their own names.
 *
 * @param names names to look for
 * @param read gives the list. Default: `/proc/kallsyms`
 * @returns what was found
 */
export function findKernelSymbols(
  names: ReadonlySet<string>,
  read: () => Uint8Array = () => readFileSync("/proc/kallsyms"),
): Map<string, KernelSymbol> {
  const found = new Map<string, { address: bigint; others: bigint[] }>();
  if (names.size === 0) return found;
  const text = new TextDecoder("latin1").decode(read());
  const add = (name: string, address: bigint): void => {
    const before = found.get(name);
    if (before === undefined) found.set(name, { address, others: [] });
    else if (before.address !== address && !before.others.includes(address)) before.others.push(address);
  };
  // A line is `ffffffff81000000 T name`, with `[module]` behind the names of modules' symbols.
  for (let at = 0; at < text.length; ) {
    let end = text.indexOf("\n", at);
    if (end < 0) end = text.length;
    const space = text.indexOf(" ", at);
    if (space > at && space + 3 < end) {
      let stop = space + 3;
      while (stop < end && text.charCodeAt(stop) > 0x20) stop++;
      let name = text.slice(space + 3, stop);
      if (!names.has(name) && text[space + 1] === "d") {
        const suffix = name.indexOf(".llvm.");
        if (suffix > 0) name = name.slice(0, suffix);
      }
      if (names.has(name)) add(name, BigInt(`0x${text.slice(at, space)}`));
    }
    at = end + 1;
  }
  return found;
}

/** A symbol of the running kernel. */
export interface KernelSymbolEntry {
  readonly name: string;
  /** Where it is; 0 when the kernel hides that. */
  readonly address: bigint;
  /** Letter of its kind, as `nm` prints it: `T` and `t` are functions, capital letters are seen everywhere. */
  readonly type: string;
  /** Module that it is from (`bpf` for loaded programs); `undefined` for the kernel itself. */
  readonly module: string | undefined;
}

/** Where in the kernel an address lies. */
export interface KernelPlace {
  readonly name: string;
  /** Bytes from the start of the function. */
  readonly offset: number;
  readonly module: string | undefined;
}

/** The kernel's list of symbols, as it was read. */
export interface KernelSymbols {
  /** Number of symbols. */
  readonly count: number;
  /** The kernel hides addresses from this process: all are 0. */
  readonly hidden: boolean;
  /**
   * Symbols of a name: static functions may have several.
   *
   * @returns none when there is no such symbol; addresses are 0 when they are hidden
   */
  find(name: string): KernelSymbolEntry[];
  /**
   * Addresses of a symbol.
   *
   * @param name symbol
   * @param module only in this module
   * @throws BpfError `ERR_SYMBOLS_HIDDEN`
   */
  addresses(name: string, module?: string): bigint[];
  /**
   * The function that an address lies in: the last one that begins before it.
   *
   * @returns `undefined` for addresses of no function
   * @throws BpfError `ERR_SYMBOLS_HIDDEN`
   */
  resolve(address: bigint): KernelPlace | undefined;
  /**
   * Functions whose names fit a pattern.
   *
   * @param pattern `*` any text, `?` any character
   */
  functions(pattern: string): KernelSymbolEntry[];
}

/** A kernel function is not larger: what lies further behind the last symbol is none. */
const LARGEST_FUNCTION = 1 << 20;

/**
 * Reads the kernel's list of symbols, which tells names from addresses and addresses from names. It has 100,000 to
 * 200,000 lines, and takes 10 to 20 MB as long as the result is held: nothing is kept behind the caller's back. Functions
 * of modules and BPF programs that are loaded later are not in it.
 *
 * @param read gives the list. Default: `/proc/kallsyms`
 *
 * @example
 * ```ts
 * import { readKernelSymbols } from "rawbpf/symbols";
 *
 * const kernel = readKernelSymbols();
 * if (!kernel.hidden) {
 *   const [address] = kernel.addresses("schedule");
 *   console.log(kernel.resolve(address! + 4n));
 * }
 * ```
 */
export function readKernelSymbols(read: () => Uint8Array = () => readFileSync("/proc/kallsyms")): KernelSymbols {
  const bytes = read();
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  let room = 1 << 14;
  let high = new Uint32Array(room);
  let low = new Uint32Array(room);
  let starts = new Uint32Array(room);
  let count = 0;
  let hidden = true;
  const length = bytes.length;
  // A plain pass over the bytes: 120,000 lines in some 30 ms, where splitting them took 150.
  for (let at = 0; at < length; ) {
    let upper = 0;
    let lower = 0;
    let digit = at;
    for (; digit < length; digit++) {
      const value = HEX[bytes[digit]!]!;
      if (value === 255) break;
      upper = ((upper << 4) | (lower >>> 28)) >>> 0;
      lower = ((lower << 4) | value) >>> 0;
    }
    let end = bytes.indexOf(0x0a, digit);
    if (end < 0) end = length;
    if (digit > at && digit - at <= 16 && bytes[digit] === 0x20 && bytes[digit + 2] === 0x20 && digit + 3 < end) {
      if (count === room) {
        room *= 2;
        high = grown(high, room);
        low = grown(low, room);
        starts = grown(starts, room);
      }
      high[count] = upper;
      low[count] = lower;
      starts[count] = digit + 1;
      if (upper !== 0 || lower !== 0) hidden = false;
      count++;
    }
    at = end + 1;
  }
  const nameEnd = (index: number): number => {
    let end = starts[index]! + 2;
    while (end < length && bytes[end]! > 0x20) end++;
    return end;
  };
  const addressOf = (index: number): bigint => (BigInt(high[index]!) << 32n) | BigInt(low[index]!);
  const entry = (index: number): KernelSymbolEntry => {
    const end = nameEnd(index);
    const name = buffer.toString("latin1", starts[index]! + 2, end);
    const type = String.fromCharCode(bytes[starts[index]!]!);
    let module: string | undefined;
    if (bytes[end] === 0x09 && bytes[end + 1] === 0x5b) {
      const close = bytes.indexOf(0x5d, end);
      if (close > 0) module = buffer.toString("latin1", end + 2, close);
    }
    return { name, address: addressOf(index), type, module };
  };
  const isText = (index: number): boolean => {
    const type = bytes[starts[index]!]! | 0x20;
    return type === 0x74 || type === 0x77;
  };
  const visible = (): void => {
    if (!hidden) return;
    throw new BpfError("ERR_SYMBOLS_HIDDEN", "The kernel hides the addresses of its symbols from this process", {
      hint: "needs kernel.kptr_restrict 0, or 1 with CAP_SYSLOG",
    });
  };
  let names: Names | undefined;
  let order: Uint32Array | undefined;

  const symbols: KernelSymbols = {
    count,
    hidden: count > 0 && hidden,
    find(name) {
      names ??= hashNames(bytes, starts, count);
      const wanted = Buffer.from(name, "latin1");
      const found: KernelSymbolEntry[] = [];
      for (let next = names.heads[hash(wanted, 0, wanted.length) & names.mask]!; next !== 0; next = names.next[next]!) {
        const index = next - 1;
        const end = nameEnd(index);
        const start = starts[index]! + 2;
        if (end - start === wanted.length && buffer.compare(wanted, 0, wanted.length, start, end) === 0) {
          found.push(entry(index));
        }
      }
      return found.reverse();
    },
    addresses(name, module) {
      visible();
      const found = symbols.find(name).filter((each) => module === undefined || each.module === module);
      return [...new Set(found.map((each) => each.address))];
    },
    resolve(address) {
      visible();
      if (order === undefined) {
        const text: number[] = [];
        for (let index = 0; index < count; index++) if (isText(index)) text.push(index);
        order = Uint32Array.from(text);
        // Of several names of one place the first in the list wins, as in the kernel's own traces.
        order.sort((a, b) => high[a]! - high[b]! || low[a]! - low[b]! || b - a);
      }
      const wantedHigh = Number((address >> 32n) & 0xffffffffn);
      const wantedLow = Number(address & 0xffffffffn);
      let from = 0;
      let to = order.length;
      while (from < to) {
        const middle = (from + to) >>> 1;
        const at = order[middle]!;
        if (high[at]! < wantedHigh || (high[at] === wantedHigh && low[at]! <= wantedLow)) from = middle + 1;
        else to = middle;
      }
      if (from === 0) return undefined;
      const index = order[from - 1]!;
      const offset = (wantedHigh - high[index]!) * 2 ** 32 + (wantedLow - low[index]!);
      if (offset >= LARGEST_FUNCTION) return undefined;
      const { name, module } = entry(index);
      return { name, offset, module };
    },
    functions(pattern) {
      const found: KernelSymbolEntry[] = [];
      const fixed = Buffer.from(/^[^*?]*/.exec(pattern)![0], "latin1");
      for (let index = 0; index < count; index++) {
        if (!isText(index)) continue;
        const start = starts[index]! + 2;
        if (buffer.compare(fixed, 0, fixed.length, start, Math.min(start + fixed.length, length)) !== 0) continue;
        const each = entry(index);
        if (matchGlob(pattern, each.name)) found.push(each);
      }
      return found;
    },
  };
  return symbols;
}

/** Value of each byte as a hexadecimal digit; 255 for others. */
const HEX: Uint8Array = /* @__PURE__ */ (() => {
  const values = new Uint8Array(256).fill(255);
  for (const [value, digit] of [..."0123456789abcdef"].entries()) {
    values[digit.charCodeAt(0)] = value;
    values[digit.toUpperCase().charCodeAt(0)] = value;
  }
  return values;
})();

interface Names {
  /** Number of a symbol plus 1, by hash; 0 for none. */
  readonly heads: Uint32Array;
  /** The next one with the same hash. */
  readonly next: Uint32Array;
  readonly mask: number;
}

function hashNames(bytes: Uint8Array, starts: Uint32Array, count: number): Names {
  let size = 1024;
  while (size < count) size *= 2;
  const heads = new Uint32Array(size);
  const next = new Uint32Array(count + 1);
  const mask = size - 1;
  for (let index = 0; index < count; index++) {
    const start = starts[index]! + 2;
    let end = start;
    while (end < bytes.length && bytes[end]! > 0x20) end++;
    const slot = hash(bytes, start, end) & mask;
    next[index + 1] = heads[slot]!;
    heads[slot] = index + 1;
  }
  return { heads, next, mask };
}

/** FNV-1a. */
function hash(bytes: Uint8Array, start: number, end: number): number {
  let value = 0x811c9dc5;
  for (let i = start; i < end; i++) value = Math.imul(value ^ bytes[i]!, 0x01000193);
  return value >>> 0;
}

function grown(array: Uint32Array<ArrayBuffer>, length: number): Uint32Array<ArrayBuffer> {
  const larger = new Uint32Array(length);
  larger.set(array);
  return larger;
}
