import { BpfError } from "../errors.ts";
import type { SyscallBackend } from "../syscall/backend.ts";
import type { Fd } from "../syscall/fd.ts";
import { type MappedMemory, mapMemory, pageSize } from "../syscall/memory.ts";

/** Offsets in `struct perf_event_mmap_page`. */
const DATA_HEAD = 1024;
const DATA_TAIL = 1032;

const PERF_RECORD_LOST = 2;
const PERF_RECORD_SAMPLE = 9;
const HEADER_SIZE = 8;
/** Header of a sample, and the length of its data. */
const SAMPLE_HEADER = HEADER_SIZE + 4;
/** Header of a notice of loss, an id, a count. */
const LOST_SIZE = HEADER_SIZE + 16;

/** What a ring found. */
export interface PerfSink {
  /** A sample: `length` bytes at `offset` of the view; `bytes` are the same memory. */
  sample(view: DataView, bytes: Uint8Array, offset: number, length: number): void;
  /** Samples that did not fit. */
  lost(count: bigint): void;
}

/**
 * The ring of one CPU: memory of a perf event, a page of positions and a power of two of pages of records.
 *
 * @internal
 */
export class PerfRing {
  /** CPU it belongs to. */
  readonly cpu: number;
  /** Open perf event. */
  readonly event: Fd;
  readonly #backend: SyscallBackend;
  readonly #memory: MappedMemory;
  readonly #words: Int32Array;
  readonly #tail64: BigInt64Array;
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #size: number;
  readonly #overwritable: boolean;
  // Position of the reader, two halves of 64 bits.
  #low: number;
  #high: number;
  // A record across the end is put together here.
  #joined: Uint8Array | undefined;
  #joinedView: DataView | undefined;

  /**
   * @param event open perf event; closed with the ring
   * @param cpu its CPU
   * @param pages pages of records, a power of two
   * @param overwritable the kernel overwrites what was not read, backwards
   */
  constructor(event: Fd, cpu: number, pages: number, overwritable: boolean) {
    const { backend } = event;
    const page = pageSize(backend.architecture);
    this.cpu = cpu;
    this.event = event;
    this.#backend = backend;
    this.#overwritable = overwritable;
    this.#size = pages * page;
    // A mapping that cannot be written to is what tells the kernel to overwrite.
    const access = overwritable ? "read" : "read-write";
    this.#memory = mapMemory(backend, { fd: event.number, length: page + this.#size, access, label: event.label });
    const { buffer } = this.#memory;
    this.#words = new Int32Array(buffer, 0, page / 4);
    this.#tail64 = new BigInt64Array(buffer, DATA_TAIL, 1);
    this.#view = new DataView(buffer, page, this.#size);
    this.#bytes = new Uint8Array(buffer, page, this.#size);
    const tail = BigInt.asUintN(64, this.#tail64[0]!);
    this.#low = Number(tail & 0xffffffffn);
    this.#high = Number(tail >> 32n);
  }

  /** Bytes that were written and not read. */
  get available(): number {
    return this.#overwritable ? 0 : (this.#head() - this.#low) >>> 0;
  }

  #head(): number {
    return this.#backend.loadWord(this.#words, DATA_HEAD / 4, this.#memory.address + DATA_HEAD) >>> 0;
  }

  /**
   * Takes records that are there. The head is read once.
   *
   * @param sink what to do with them; what it throws ends the reading, behind the record in hand
   * @param limit most samples to take
   * @returns how many samples were taken
   * @throws BpfError `ERR_RING_CORRUPT`
   */
  consume(sink: PerfSink, limit: number): number {
    let position = this.#low;
    let left = (this.#head() - position) >>> 0;
    if (left > this.#size) throw this.#corrupt(`${left} bytes are unread in a ring of ${this.#size}`);
    let taken = 0;
    try {
      while (left >= HEADER_SIZE && taken < limit) {
        const at = position & (this.#size - 1);
        const size = this.#view.getUint16(at + 6, true);
        if (size < HEADER_SIZE || size > left) {
          throw this.#corrupt(`a record of ${size} bytes does not fit the ${left} bytes written`);
        }
        position = (position + size) >>> 0;
        left -= size;
        if (this.#record(at, size, sink)) taken++;
      }
    } finally {
      this.#advance(position);
    }
    return taken;
  }

  /**
   * Reads an overwritable ring from the newest record back to the oldest that is whole. It must be paused.
   *
   * @returns how many samples there were
   */
  readBackwards(sink: PerfSink): number {
    let at = this.#head() & (this.#size - 1);
    let taken = 0;
    for (let seen = 0; seen + HEADER_SIZE <= this.#size; ) {
      const size = this.#view.getUint16(at + 6, true);
      // Nothing was ever written there, or the rest of it was overwritten since.
      if (size < HEADER_SIZE || seen + size > this.#size) break;
      if (this.#record(at, size, sink)) taken++;
      seen += size;
      at = (at + size) & (this.#size - 1);
    }
    return taken;
  }

  /** Gives memory and perf event back. */
  close(): void {
    this.#memory.close();
    this.event.close();
  }

  /** @returns whether it was a sample */
  #record(at: number, size: number, sink: PerfSink): boolean {
    let view = this.#view;
    let bytes = this.#bytes;
    let start = at;
    // Headers are never torn: records begin at multiples of 8 bytes.
    const type = view.getUint32(at, true);
    if (at + size > this.#size) {
      bytes = this.#join(at, size);
      view = this.#joinedView!;
      start = 0;
    }
    if (type === PERF_RECORD_LOST && size >= LOST_SIZE) {
      sink.lost(view.getBigUint64(start + HEADER_SIZE + 8, true));
      return false;
    }
    if (type !== PERF_RECORD_SAMPLE) return false;
    const length = size >= SAMPLE_HEADER ? view.getUint32(start + HEADER_SIZE, true) : -1;
    if (length < 0 || SAMPLE_HEADER + length > size) {
      throw this.#corrupt(`a sample of ${length} bytes does not fit its record of ${size}`);
    }
    sink.sample(view, bytes, start + SAMPLE_HEADER, length);
    return true;
  }

  #join(at: number, size: number): Uint8Array {
    if (this.#joined === undefined) {
      // No record is longer than 16 bits can say.
      this.#joined = new Uint8Array(65536);
      this.#joinedView = new DataView(this.#joined.buffer);
    }
    const first = this.#size - at;
    this.#joined.set(this.#bytes.subarray(at, this.#size), 0);
    this.#joined.set(this.#bytes.subarray(0, size - first), first);
    return this.#joined;
  }

  #advance(position: number): void {
    if (position === this.#low || this.#memory.closed) return;
    if (position < this.#low) this.#high = (this.#high + 1) >>> 0;
    this.#low = position;
    Atomics.store(this.#tail64, 0, BigInt.asIntN(64, (BigInt(this.#high) << 32n) | BigInt(position)));
  }

  #corrupt(what: string): BpfError {
    return new BpfError("ERR_RING_CORRUPT", `The perf buffer of CPU ${this.cpu} is corrupt: ${what}`);
  }
}
