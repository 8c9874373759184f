import { type BpfCommand, mapBatchAttr } from "../kernel-abi/index.ts";
import { bpfError, rawBpf } from "../syscall/bpf.ts";
import { kernelBuffer } from "../syscall/call.ts";
import { errnoName } from "../syscall/errno.ts";
import type { Fd } from "../syscall/fd.ts";
import { ElementCalls } from "./calls.ts";

/** Sizes of a map, as bulk calls need them. @internal */
export interface BulkShape {
  readonly owner: Fd;
  readonly keySize: number;
  /** Bytes that the kernel keeps for a key: the value, or the values of all possible CPUs. */
  readonly valueBytes: number;
  readonly maxEntries: number;
}

/** Entries that were read together. */
export interface Batch {
  /** Number of entries. */
  readonly count: number;
  /** Their keys one behind the other, `count * keySize` bytes, at the start of a buffer. Valid until the next batch. */
  readonly keys: Uint8Array;
  /**
   * Their values one behind the other, at the start of a buffer; those of a per-CPU map take
   * `round_up(valueSize, 8) * possible CPUs` bytes each. Valid until the next batch.
   */
  readonly values: Uint8Array;
}

/** How to read in batches. */
export interface BatchOptions {
  /** Entries to ask for at once. Default: as many as fit into a mebibyte, at most 65536. */
  readonly size?: number | undefined;
}

/** @internal */
interface ReaderOptions extends BatchOptions {
  readonly take?: boolean;
  readonly keysOnly?: boolean;
}

const MEBIBYTE = 1 << 20;
const MAX_BATCH = 65536;
/** Steps of a walk over a map that does not say how much it holds. */
const STEPS_WITHOUT_LIMIT = 1 << 20;
const MAX_INTERRUPTIONS = 30;
const LEAST_TOKEN = 4;
const COUNT = mapBatchAttr.fields.count.offset;

function defaultSize({ keySize, valueBytes, maxEntries }: BulkShape): number {
  const fitting = Math.floor(MEBIBYTE / Math.max(1, keySize + valueBytes));
  // One more than there can be: then the first call is the last.
  return Math.max(1, Math.min(fitting, MAX_BATCH, maxEntries + 1));
}

/** Whether a batch command is not there: for this type of map (ENOTSUPP), or at all (EINVAL, before Linux 5.6). */
function isMissing(result: number): boolean {
  return ["ENOTSUPP", "EOPNOTSUPP", "EINVAL"].includes(errnoName(result));
}

/**
 * Reads all entries of a map, many in each call where the kernel can do that, else key by key.
 *
 * @internal
 */
export class BatchReader {
  readonly #map: BulkShape;
  readonly #command: BpfCommand;
  readonly #take: boolean;
  readonly #keysOnly: boolean;
  // Where the kernel stands: a bucket number of 4 bytes for hashes, a key for all others.
  readonly #token: Uint8Array;
  #capacity: number;
  #keys: Uint8Array;
  #values: Uint8Array;
  #started = false;
  #ended = false;
  #walk: KeyWalk | undefined;

  /**
   * @param map its sizes
   * @param options size of a batch; `take` deletes what is read; `keysOnly` does without values where they cannot be read
   */
  constructor(map: BulkShape, options: ReaderOptions = {}) {
    const size = options.size ?? defaultSize(map);
    if (!(Number.isInteger(size) && size >= 1)) throw new RangeError(`A batch has at least 1 entry, not ${size}`);
    this.#map = map;
    this.#take = options.take === true;
    this.#keysOnly = options.keysOnly === true;
    this.#command = this.#take ? "BPF_MAP_LOOKUP_AND_DELETE_BATCH" : "BPF_MAP_LOOKUP_BATCH";
    this.#token = kernelBuffer(Math.max(LEAST_TOKEN, map.keySize));
    this.#capacity = size;
    this.#keys = kernelBuffer(size * map.keySize);
    this.#values = kernelBuffer(size * map.valueBytes);
  }

  /** Keys of the last batch, and room behind them. */
  get keys(): Uint8Array {
    return this.#keys;
  }

  /** Values of the last batch, and room behind them. */
  get values(): Uint8Array {
    return this.#values;
  }

  /**
   * Reads the next entries.
   *
   * @returns how many; 0 at the end
   * @throws SyscallError
   */
  read(): number {
    while (!this.#ended) {
      const count = this.#walk === undefined ? this.#readBatch() : this.#readByKey(this.#walk);
      if (count > 0) return count;
    }
    return 0;
  }

  #readBatch(): number {
    const { owner, keySize } = this.#map;
    for (let interruptions = 0; ; ) {
      const { result, attr } = rawBpf(owner.backend, this.#command, mapBatchAttr, {
        in_batch: this.#started ? this.#token : 0,
        out_batch: this.#token,
        keys: keySize === 0 ? 0 : this.#keys,
        values: this.#values,
        count: this.#capacity,
        map_fd: owner.number,
      });
      const count = attr.readU32(COUNT);
      if (result >= 0) {
        this.#started = true;
        return count;
      }
      switch (errnoName(result)) {
        case "ENOENT":
          // The end: what was found on the way there is counted all the same.
          this.#ended = true;
          return Math.min(count, this.#capacity);
        case "ENOSPC":
          this.#grow(result);
          continue;
        case "EINTR":
        case "EAGAIN":
          if (++interruptions < MAX_INTERRUPTIONS) continue;
          break;
        default:
          if (this.#started || !isMissing(result)) break;
          this.#walk = new KeyWalk(this.#map);
          return 0;
      }
      throw bpfError(this.#command, result, { action: `Cannot read ${owner.label}` });
    }
  }

  /** A bucket of the hash holds more entries than were asked for. */
  #grow(errno: number): void {
    const { owner, keySize, valueBytes, maxEntries } = this.#map;
    // No bucket holds more than the map; maps without preallocation may run over by a few while they are written.
    const most = 2 * maxEntries + 64;
    if (this.#capacity >= most) {
      const detail = `one bucket has more than ${this.#capacity} entries`;
      throw bpfError(this.#command, errno, { action: `Cannot read ${owner.label}`, detail });
    }
    this.#capacity = Math.min(most, 2 * this.#capacity);
    this.#keys = kernelBuffer(this.#capacity * keySize);
    this.#values = kernelBuffer(this.#capacity * valueBytes);
  }

  #readByKey(walk: KeyWalk): number {
    const { owner, keySize, valueBytes } = this.#map;
    const { calls } = walk;
    let count = 0;
    while (count < this.#capacity) {
      if (!walk.next()) {
        this.#ended = true;
        break;
      }
      const result = this.#take ? this.#takeOne(calls) : calls.lookup(0);
      if (result < 0) {
        // Gone since, or an empty place of an array.
        const code = errnoName(result);
        if (code === "ENOENT") continue;
        const hidden = code === "ENOTSUPP" || code === "EOPNOTSUPP" || code === "ENOSPC";
        if (!(this.#keysOnly && hidden)) {
          throw bpfError("BPF_MAP_LOOKUP_ELEM", result, { action: `Cannot read ${owner.label}` });
        }
      }
      this.#keys.set(calls.key.subarray(0, keySize), count * keySize);
      this.#values.set(calls.value.subarray(0, valueBytes), count * valueBytes);
      count++;
    }
    return count;
  }

  #takeOne(calls: ElementCalls): number {
    const result = calls.take(0);
    if (result >= 0 || !isMissing(result)) return result;
    const found = calls.lookup(0);
    if (found < 0) return found;
    const removed = calls.remove();
    return removed < 0 && errnoName(removed) !== "ENOENT" ? removed : found;
  }
}

/**
 * Walks from key to key. The key after the one in hand is asked for before anything is done with that one: when it is
 * deleted, the kernel starts again from the first. Others may delete it all the same, so the steps are bounded.
 *
 * @internal
 */
export class KeyWalk {
  /** Calls; `key` is the key in hand. */
  readonly calls: ElementCalls;
  readonly #map: BulkShape;
  readonly #next: Uint8Array;
  #steps: number;
  #started = false;
  #found = false;

  constructor(map: BulkShape) {
    this.#map = map;
    this.calls = new ElementCalls(map.owner, map.keySize, map.valueBytes);
    this.#next = new Uint8Array(map.keySize);
    this.#steps = map.maxEntries === 0 ? STEPS_WITHOUT_LIMIT : 2 * map.maxEntries;
  }

  /**
   * Goes to the next key.
   *
   * @returns `false` at the end
   * @throws SyscallError
   */
  next(): boolean {
    if (!this.#started) {
      this.#started = true;
      this.#ask(true);
    }
    if (!this.#found || this.#steps-- <= 0) return false;
    this.calls.key.set(this.#next);
    this.#ask(false);
    return true;
  }

  #ask(first: boolean): void {
    const result = this.calls.next(first);
    this.#found = result >= 0;
    if (this.#found) this.#next.set(this.calls.nextKey.subarray(0, this.#map.keySize));
    else if (errnoName(result) !== "ENOENT") {
      throw bpfError("BPF_MAP_GET_NEXT_KEY", result, { action: `Cannot walk ${this.#map.owner.label}` });
    }
  }
}
