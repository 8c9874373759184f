import { type BpfCommand, mapBatchAttr } from "../kernel-abi/index.ts";
import { bpfError, rawBpf } from "../syscall/bpf.ts";
import { kernelBuffer } from "../syscall/call.ts";
import { errnoName } from "../syscall/errno.ts";
import type { BulkShape } from "./batch.ts";
import { ElementCalls } from "./calls.ts";
import type { MapDescription } from "./description.ts";
import { elementDetail, isAbsent } from "./failures.ts";

const MEBIBYTE = 1 << 20;
const MAX_BATCH = 65536;
const FIRST_BATCH = 256;
const MAX_INTERRUPTIONS = 30;
const COUNT = mapBatchAttr.fields.count.offset;

/**
 * Gathers entries, and writes or deletes them together: by batch commands where the kernel has them, else one by one.
 *
 * @internal
 */
export class BulkWriter {
  /** Keys gathered; the next one goes to `keyOffset`. */
  keys: Uint8Array;
  /** Values gathered; the next one goes to `valueOffset`. */
  values: Uint8Array;
  keyOffset = 0;
  valueOffset = 0;
  /** Entries written or deleted so far. */
  done = 0;
  readonly #map: BulkShape;
  readonly #description: MapDescription;
  readonly #limit: number;
  #capacity: number;
  #count = 0;
  #single: ElementCalls | undefined;

  constructor(map: BulkShape, description: MapDescription, size: number | undefined) {
    if (size !== undefined && !(Number.isInteger(size) && size >= 1)) {
      throw new RangeError(`A batch has at least 1 entry, not ${size}`);
    }
    this.#map = map;
    this.#description = description;
    const fitting = Math.floor(MEBIBYTE / Math.max(1, map.keySize + map.valueBytes));
    this.#limit = size ?? Math.max(1, Math.min(fitting, MAX_BATCH));
    // Buffers grow with what comes: most calls have a handful of entries.
    this.#capacity = Math.min(this.#limit, FIRST_BATCH);
    this.keys = kernelBuffer(this.#capacity * map.keySize);
    this.values = kernelBuffer(this.#capacity * map.valueBytes);
  }

  /**
   * Counts what was put at the offsets as an entry.
   *
   * @returns whether the batch is full
   */
  add(): boolean {
    const { keySize, valueBytes } = this.#map;
    this.#count++;
    this.keyOffset += keySize;
    this.valueOffset += valueBytes;
    if (this.#count < this.#capacity) return false;
    if (this.#capacity === this.#limit) return true;
    this.#capacity = Math.min(this.#limit, 4 * this.#capacity);
    const { keys, values } = this;
    this.keys = kernelBuffer(this.#capacity * keySize);
    this.values = kernelBuffer(this.#capacity * valueBytes);
    this.keys.set(keys.subarray(0, this.keyOffset));
    this.values.set(values.subarray(0, this.valueOffset));
    return false;
  }

  /** Writes what was gathered. */
  update(flags: number): void {
    this.#flush("BPF_MAP_UPDATE_BATCH", flags);
  }

  /** Deletes what was gathered; keys without an entry are passed over. */
  remove(): void {
    this.#flush("BPF_MAP_DELETE_BATCH", 0);
  }

  #flush(command: "BPF_MAP_UPDATE_BATCH" | "BPF_MAP_DELETE_BATCH", flags: number): void {
    const { owner, keySize, valueBytes } = this.#map;
    const total = this.#count;
    let at = 0;
    let interruptions = 0;
    while (at < total) {
      if (this.#single !== undefined) {
        this.#one(this.#single, command, flags, at++);
        continue;
      }
      const { result, attr } = rawBpf(owner.backend, command, mapBatchAttr, {
        keys: this.keys.subarray(at * keySize),
        values: command === "BPF_MAP_UPDATE_BATCH" ? this.values.subarray(at * valueBytes) : 0,
        count: total - at,
        map_fd: owner.number,
        elem_flags: flags,
      });
      if (result >= 0) {
        this.done += total - at;
        break;
      }
      const code = errnoName(result);
      // What fails before it begins leaves the count as it was.
      const written = attr.readU32(COUNT);
      const counted = written < total - at ? written : 0;
      const missing = code === "ENOTSUPP" || code === "EOPNOTSUPP" || code === "EINVAL";
      if (missing && counted === 0) {
        this.#single = new ElementCalls(owner, keySize, valueBytes);
        continue;
      }
      this.done += counted;
      at += counted;
      if (code === "ENOENT" && command === "BPF_MAP_DELETE_BATCH") {
        at++;
        continue;
      }
      if ((code === "EINTR" || code === "EAGAIN") && ++interruptions < MAX_INTERRUPTIONS) continue;
      throw this.#error(command, result);
    }
    this.#count = 0;
    this.keyOffset = 0;
    this.valueOffset = 0;
  }

  #one(calls: ElementCalls, command: BpfCommand, flags: number, at: number): void {
    const { keySize, valueBytes } = this.#map;
    calls.key.set(this.keys.subarray(at * keySize, (at + 1) * keySize));
    let result: number;
    if (command === "BPF_MAP_UPDATE_BATCH") {
      calls.value.set(this.values.subarray(at * valueBytes, (at + 1) * valueBytes));
      result = calls.update(flags);
    } else {
      result = calls.remove();
      if (result < 0 && isAbsent(this.#description.type, errnoName(result))) return;
    }
    if (result < 0) {
      throw this.#error(command === "BPF_MAP_UPDATE_BATCH" ? "BPF_MAP_UPDATE_ELEM" : "BPF_MAP_DELETE_ELEM", result);
    }
    this.done++;
  }

  #error(command: BpfCommand, errno: number): Error {
    const verb = command.startsWith("BPF_MAP_UPDATE") ? "update" : "delete from";
    const behind = this.done === 0 ? "" : ` after ${this.done} entries`;
    const detail = elementDetail(command, errnoName(errno), this.#description);
    return bpfError(command, errno, { action: `Cannot ${verb} ${this.#map.owner.label}${behind}`, detail });
  }
}
