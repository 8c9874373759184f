import type { Codec } from "../bytes/index.ts";
import { BpfError } from "../errors.ts";
import type { SyscallBackend } from "../syscall/backend.ts";
import { type MappedMemory, mapMemory, pageSize } from "../syscall/memory.ts";
import { type PollSource, pollDescriptor } from "../syscall/poller.ts";
import type { BpfMap } from "./map.ts";
import { RecordIterator } from "./records.ts";

const BUSY_BIT = 0x8000_0000 | 0;
const DISCARD_BIT = 0x4000_0000;
const LENGTH_MASK = 0x3fff_ffff;
const HEADER_SIZE = 8;
const DEFAULT_BATCH = 1024;

/**
 * Receives one record in place. The view is the ring itself: valid until the callback returns, and read-only memory:
 * writing to it ends the process.
 *
 * @param view the ring's data
 * @param offset first byte of the record
 * @param length bytes of the record
 */
export type RecordCallback = (view: DataView, offset: number, length: number) => void;

/** How to iterate over records. */
export interface RecordsOptions<T> {
  /** Ends the iteration: it throws the signal's reason, as Node's own iterators do. */
  readonly signal?: AbortSignal | undefined;
  /** Decodes each record; default: a copy of its bytes. */
  readonly codec?: Codec<T> | undefined;
  /** Most records in a row before the event loop gets its turn. Default 1024. */
  readonly batch?: number | undefined;
}

/**
 * Reader of one ring buffer map. There can be one at a time: positions are shared with the kernel.
 *
 * Records are taken in order. A record still being written stops the reader until it is finished (the ring is
 * ordered); discarded ones are passed over.
 */
export class RingBuffer {
  /** Bytes the ring can hold, headers of 8 bytes included. */
  readonly size: number;
  readonly #map: BpfMap<unknown, unknown>;
  readonly #backend: SyscallBackend;
  readonly #consumerMemory: MappedMemory;
  readonly #producerMemory: MappedMemory;
  readonly #consumer: Int32Array;
  readonly #consumer64: BigInt64Array;
  readonly #producer: Int32Array;
  readonly #data: DataView;
  readonly #bytes: Uint8Array;
  readonly #words: Int32Array;
  readonly #mask: number;
  readonly #ordered: boolean;
  // Position of the reader, as the kernel counts: a byte counter that never wraps to the ring. Two halves of 64 bits.
  #low: number;
  #high: number;
  #source: PollSource | undefined;
  #iterator: RecordIterator<unknown> | undefined;
  #listener: (() => void) | undefined;
  #consuming = false;
  #open = true;

  /** @internal use {@link openRingBuffer} */
  constructor(map: BpfMap<unknown, unknown>, backend: SyscallBackend) {
    const page = pageSize(backend.architecture);
    const size = map.description.maxEntries;
    const label = map.owner.label;
    this.#map = map;
    this.#backend = backend;
    this.size = size;
    this.#mask = size - 1;
    // x86-64 keeps loads in order, so headers may be read plainly (a tenth of the cost); arm64 needs acquire loads.
    this.#ordered = backend.architecture === "x64";
    this.#consumerMemory = mapMemory(backend, { fd: map.fd, length: page, access: "read-write", label });
    try {
      // Producer page and data, the data twice in a row: a record across the end is contiguous in memory.
      const length = page + 2 * size;
      this.#producerMemory = mapMemory(backend, { fd: map.fd, length, offset: page, access: "read", label });
    } catch (error) {
      this.#consumerMemory.close();
      throw error;
    }
    this.#consumer = new Int32Array(this.#consumerMemory.buffer, 0, 2);
    this.#consumer64 = new BigInt64Array(this.#consumerMemory.buffer, 0, 1);
    this.#producer = new Int32Array(this.#producerMemory.buffer, 0, 2);
    this.#data = new DataView(this.#producerMemory.buffer, page, 2 * size);
    this.#bytes = new Uint8Array(this.#producerMemory.buffer, page, 2 * size);
    this.#words = new Int32Array(this.#producerMemory.buffer, page, size / 2);
    this.#low = Atomics.load(this.#consumer, 0) >>> 0;
    this.#high = this.#consumer[1]! >>> 0;
  }

  /**
   * The ring's data as bytes, twice in a row, for decoding in place inside of a {@link consume} callback. Read-only.
   *
   * @throws BpfError `ERR_CLOSED`
   */
  get data(): Uint8Array {
    this.#check();
    return this.#bytes;
  }

  /**
   * Bytes written and not read yet, headers and unfinished records included.
   *
   * @throws BpfError `ERR_CLOSED`
   */
  get available(): number {
    this.#check();
    return (this.#produced() - this.#low) >>> 0;
  }

  /** Whether `close()` was called. */
  get closed(): boolean {
    return !this.#open;
  }

  /**
   * Takes the records that are there, without waiting and without copying. The producer position is read once, so the
   * call ends even when records come faster than they are read.
   *
   * @param callback called for each record; when it throws, its record counts as read and the error is passed on
   * @param limit most records to take
   * @returns how many records were taken
   * @throws BpfError `ERR_RING_CORRUPT` when the ring makes no sense (the reader is closed), `ERR_CLOSED`
   */
  consume(callback: RecordCallback, limit: number = Number.POSITIVE_INFINITY): number {
    this.#check();
    if (this.#consuming) throw new BpfError("ERR_TYPE_MISMATCH", "Cannot consume a ring buffer from its own callback");
    const view = this.#data;
    const words = this.#words;
    const mask = this.#mask;
    const ordered = this.#ordered;
    const backend = this.#backend;
    const base = this.#producerMemory.address + view.byteOffset;
    let position = this.#low;
    let left = (this.#produced() - position) >>> 0;
    if (left > this.size) throw this.#corrupt(`${left} bytes are unread in a ring of ${this.size}`);
    let taken = 0;
    this.#consuming = true;
    try {
      while (left >= HEADER_SIZE && taken < limit) {
        const at = position & mask;
        const header = ordered ? words[at >> 2]! : backend.loadWord(words, at >> 2, base + at);
        if ((header & BUSY_BIT) !== 0) break;
        const length = header & LENGTH_MASK;
        const step = (length + HEADER_SIZE + 7) & ~7;
        if (step > left) throw this.#corrupt(`a record of ${length} bytes does not fit the ${left} bytes written`);
        // Counted as read before the callback runs: what it throws must not make it come again.
        position = (position + step) >>> 0;
        left -= step;
        if ((header & DISCARD_BIT) !== 0) continue;
        taken++;
        callback(view, at + HEADER_SIZE, length);
      }
    } finally {
      this.#consuming = false;
      this.#advance(position);
    }
    return taken;
  }

  /**
   * Iterates over records as they come. Waiting costs nothing and does not block; while it waits, it keeps the process
   * running like an open socket. A slow loop leaves the records in the ring: when that is full, the program's
   * reservations fail and the program must count them. Leaving the loop loses no record.
   *
   * @param options signal, codec, batch
   * @returns an iterator; its `next` rejects with `ERR_CLOSED` when the reader is closed meanwhile, and with the
   *   signal's reason
   * @throws BpfError `ERR_CLOSED`, `ERR_TYPE_MISMATCH` when somebody reads already; the signal's reason
   * @example
   * ```ts no-run
   * using map = createMap({ type: "ringbuf", maxEntries: 4096 });
   * using ring = openRingBuffer(map);
   * const event = struct({ pid: u32, comm: cstring(16) });
   * const signal = AbortSignal.timeout(10_000);
   * for await (const { pid, comm } of ring.records({ codec: event, signal })) console.log(pid, comm);
   * ```
   */
  records(options?: RecordsOptions<Uint8Array> & { readonly codec?: undefined }): RecordIterator<Uint8Array>;
  records<T>(options: RecordsOptions<T> & { readonly codec: Codec<T> }): RecordIterator<T>;
  records<T>(options: RecordsOptions<T> = {}): RecordIterator<T | Uint8Array> {
    const { signal, codec, batch = DEFAULT_BATCH } = options;
    this.#check();
    signal?.throwIfAborted();
    this.#checkUnread();
    const bytes = this.#bytes;
    let value: T | Uint8Array | undefined;
    const decode: RecordCallback =
      codec === undefined
        ? (_, offset, length) => {
            value = bytes.slice(offset, offset + length);
          }
        : (_, offset, length) => {
            value = decodeRecord(codec, bytes, offset, length);
          };
    const source = this.#poll();
    const iterator = new RecordIterator<T | Uint8Array>({
      batch,
      signal,
      // One record at a time: what is not asked for stays in the ring, so that a loop may end without losing any.
      take: () => (this.consume(decode, 1) === 1 ? { value: value as T | Uint8Array } : undefined),
      wait: () => source.ref(),
      stopWaiting: () => source.unref(),
      end: () => {
        this.#iterator = undefined;
      },
    });
    this.#iterator = iterator as RecordIterator<unknown>;
    return iterator;
  }

  /**
   * Calls back for each record as it comes, in place: the quickest way, with neither a promise nor a copy. Keeps the
   * process running until it is closed.
   *
   * @param callback called for each record; what it throws ends the listening and is reported as uncaught
   * @param batch most records in a row before the event loop gets its turn. Default 1024
   * @returns a handle that ends it
   * @throws BpfError `ERR_CLOSED`, `ERR_TYPE_MISMATCH` when somebody reads already
   */
  listen(callback: RecordCallback, batch: number = DEFAULT_BATCH): { close(): void; [Symbol.dispose](): void } {
    this.#check();
    this.#checkUnread();
    const source = this.#poll();
    const close = (): void => {
      if (this.#listener !== wake) return;
      this.#listener = undefined;
      source.unref();
    };
    const wake = (): void => {
      if (this.#listener !== wake) return;
      try {
        this.consume(callback, batch);
        // More came, or the batch was full: the edge has been seen, nobody else will call.
        if (this.#readable()) setImmediate(wake);
      } catch (error) {
        close();
        setImmediate(() => {
          throw error;
        });
      }
    };
    this.#listener = wake;
    source.ref();
    setImmediate(wake);
    return { close, [Symbol.dispose]: close };
  }

  /**
   * Closes the reader: a waiting iteration ends with `ERR_CLOSED`, the map stays open. Idempotent.
   */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    readers.delete(this.#map);
    this.#listener = undefined;
    this.#source?.close();
    this.#source = undefined;
    this.#consumerMemory.close();
    this.#producerMemory.close();
    this.#iterator?.wake();
  }

  /** Closes the reader. */
  [Symbol.dispose](): void {
    this.close();
  }

  #poll(): PollSource {
    this.#source ??= pollDescriptor(this.#backend, this.#map.fd, {
      ready: () => (this.#listener === undefined ? this.#iterator?.wake() : this.#listener()),
      peek: () => this.#readable(),
    });
    return this.#source;
  }

  #checkUnread(): void {
    if (this.#iterator === undefined && this.#listener === undefined) return;
    throw new BpfError("ERR_TYPE_MISMATCH", `${this.#map.owner.label} is being read already`);
  }

  #check(): void {
    if (!this.#open) throw new BpfError("ERR_CLOSED", `Cannot read ${this.#map.owner.label}: the reader is closed`);
  }

  #produced(): number {
    return this.#backend.loadWord(this.#producer, 0, this.#producerMemory.address) >>> 0;
  }

  /** Whether there is a finished record (or something corrupt to report). */
  #readable(): boolean {
    if (!this.#open) return false;
    if ((this.#produced() - this.#low) >>> 0 < HEADER_SIZE) return false;
    const at = this.#low & this.#mask;
    const address = this.#producerMemory.address + this.#data.byteOffset + at;
    // Through the shim: on one runtime an atomic load of read-only memory faults.
    return (this.#backend.loadWord(this.#words, at >> 2, address) & BUSY_BIT) === 0;
  }

  #advance(position: number): void {
    if (position === this.#low || !this.#open) return;
    if (position < this.#low) {
      this.#high = (this.#high + 1) >>> 0;
      this.#low = position;
      // The only time that both halves change: they must change together.
      Atomics.store(this.#consumer64, 0, BigInt.asIntN(64, (BigInt(this.#high) << 32n) | BigInt(position)));
      return;
    }
    this.#low = position;
    // A sequentially consistent store: the kernel must not see the old position once we have looked for more.
    Atomics.store(this.#consumer, 0, position | 0);
  }

  #corrupt(what: string): BpfError {
    this.close();
    return new BpfError("ERR_RING_CORRUPT", `The ring buffer ${this.#map.owner.label} is corrupt: ${what}`);
  }
}

function decodeRecord<T>(codec: Codec<T>, bytes: Uint8Array, offset: number, length: number): T {
  if (length < codec.size) {
    throw new BpfError("ERR_TYPE_MISMATCH", `A record of ${length} bytes is too short for a value of ${codec.size}`);
  }
  return codec.decode(bytes, offset);
}

const readers = new WeakMap<BpfMap<unknown, unknown>, RingBuffer>();

/**
 * Opens the reader of a ring buffer map.
 *
 * @param map open map of type `ringbuf`
 * @returns the reader: close it before the map
 * @throws BpfError `ERR_TYPE_MISMATCH` for a map of another type or one that has a reader; SyscallError of mmap
 */
export function openRingBuffer(map: BpfMap<unknown, unknown> | BpfMap): RingBuffer {
  const any = map as BpfMap<unknown, unknown>;
  if (any.description.type !== "ringbuf") {
    throw new BpfError(
      "ERR_TYPE_MISMATCH",
      `Cannot read ${any.owner.label} as a ring buffer: it is a ${any.description.type}`,
    );
  }
  if (readers.has(any)) throw new BpfError("ERR_TYPE_MISMATCH", `${any.owner.label} has a reader already`);
  const reader = new RingBuffer(any, any.owner.backend);
  readers.set(any, reader);
  return reader;
}
