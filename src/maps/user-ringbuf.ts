import type { Codec } from "../bytes/index.ts";
import { BpfError } from "../errors.ts";
import type { SyscallBackend } from "../syscall/backend.ts";
import type { Fd } from "../syscall/fd.ts";
import { type MappedMemory, mapMemory, pageSize } from "../syscall/memory.ts";
import { type PollSource, pollDescriptor } from "../syscall/poller.ts";
import { rawCodec } from "./codecs.ts";
import type { BpfMap } from "./map.ts";

const BUSY_BIT = 0x8000_0000 | 0;
const DISCARD_BIT = 0x4000_0000;
const HEADER_SIZE = 8;

/** A place in a user ring buffer that is being written. Records behind it wait until it is submitted or discarded. */
export interface UserRecord {
  /** The place itself, in place: zeros or what was there before. Not to be used after submitting or discarding. */
  readonly bytes: Uint8Array;
  /**
   * Hands it to the program.
   *
   * @throws BpfError `ERR_TYPE_MISMATCH` when that was done, or it was discarded; `ERR_CLOSED`
   */
  submit(): void;
  /**
   * Has the program pass over it.
   *
   * @throws BpfError as of `submit`
   */
  discard(): void;
}

interface Waiting {
  readonly size: number;
  readonly signal: AbortSignal | undefined;
  resolve(record: UserRecord): void;
  reject(error: unknown): void;
}

/**
 * Producer of a user ring buffer (Linux 6.1): records go from here to a program, which takes them with
 * `user_ringbuf_drain`. There can be one producer at a time.
 *
 * @typeParam I what {@link push} takes
 */
export class UserRingBuffer<I = Uint8Array> {
  /** Bytes the ring can hold, headers of 8 bytes included. */
  readonly size: number;
  readonly #map: BpfMap<unknown, unknown>;
  readonly #backend: SyscallBackend;
  readonly #codec: Codec<unknown, I> | undefined;
  readonly #consumerMemory: MappedMemory;
  readonly #producerMemory: MappedMemory;
  readonly #consumer: Int32Array;
  readonly #producer64: BigInt64Array;
  readonly #words: Int32Array;
  readonly #page: number;
  readonly #mask: number;
  readonly #waiting: Waiting[] = [];
  /** Sizes of the records that are neither submitted nor discarded, by the index of their header. */
  readonly #unfinished = new Map<number, number>();
  // Position of the producer, two halves of 64 bits.
  #low: number;
  #high: number;
  #source: PollSource | undefined;
  #open = true;

  /** @internal use {@link openUserRingBuffer} */
  constructor(map: BpfMap<unknown, unknown>, codec: Codec<unknown, I> | undefined) {
    const { backend, label } = map.owner;
    const page = pageSize(backend.architecture);
    const size = map.description.maxEntries;
    this.#map = map;
    this.#backend = backend;
    this.#codec = codec;
    this.#page = page;
    this.#mask = size - 1;
    this.size = size;
    this.#consumerMemory = mapMemory(backend, { fd: map.fd, length: page, access: "read", label });
    try {
      // Producer page and data, the data twice in a row: a record across the end is contiguous in memory.
      const length = page + 2 * size;
      this.#producerMemory = mapMemory(backend, { fd: map.fd, length, offset: page, access: "read-write", label });
    } catch (error) {
      this.#consumerMemory.close();
      throw error;
    }
    this.#consumer = new Int32Array(this.#consumerMemory.buffer, 0, 2);
    this.#producer64 = new BigInt64Array(this.#producerMemory.buffer, 0, 1);
    this.#words = new Int32Array(this.#producerMemory.buffer, page, size / 2);
    const position = BigInt.asUintN(64, Atomics.load(this.#producer64, 0));
    this.#low = Number(position & 0xffffffffn);
    this.#high = Number(position >> 32n);
  }

  /**
   * Bytes that are free for records and their headers.
   *
   * @throws BpfError `ERR_CLOSED`
   */
  get free(): number {
    this.#check();
    return this.size - this.#used();
  }

  /** Whether `close()` was called. */
  get closed(): boolean {
    return !this.#open;
  }

  /**
   * Takes a place for a record, without waiting.
   *
   * @param size bytes of the record
   * @returns `undefined` when the ring is full
   * @throws RangeError for a record that the ring could never hold; BpfError `ERR_CLOSED`
   * @example
   * ```ts no-run
   * using map = createMap({ type: "user_ringbuf", maxEntries: 4096 });
   * using ring = openUserRingBuffer(map);
   * const record = ring.reserve(8);
   * if (record === undefined) throw new Error("The program does not keep up");
   * record.bytes[0] = 1;
   * record.submit();
   * ```
   */
  reserve(size: number): UserRecord | undefined {
    this.#check();
    const step = this.#stepOf(size);
    // Whoever waits comes first.
    if (this.#waiting.length > 0 || step > this.size - this.#used()) return undefined;
    return this.#take(size, step);
  }

  /**
   * Takes a place for a record, and waits for one while the ring is full. Places are given in the order in which they
   * were asked for. Waiting keeps the process running.
   *
   * @param size bytes of the record
   * @param options signal that ends the waiting
   * @returns rejects with the signal's reason, and with `ERR_CLOSED` when the producer is closed meanwhile
   * @throws RangeError for a record that the ring could never hold; BpfError `ERR_CLOSED`; the signal's reason
   */
  async reserveWhenFree(size: number, options: { readonly signal?: AbortSignal } = {}): Promise<UserRecord> {
    const { signal } = options;
    signal?.throwIfAborted();
    const record = this.reserve(size);
    if (record !== undefined) return record;
    return new Promise<UserRecord>((resolve, reject) => {
      const onAbort = (): void => {
        const at = this.#waiting.indexOf(waiting);
        if (at < 0) return;
        this.#waiting.splice(at, 1);
        source.unref();
        reject(signal?.reason);
        this.#serve();
      };
      const settle = (): void => {
        signal?.removeEventListener("abort", onAbort);
        source.unref();
      };
      const waiting: Waiting = {
        size,
        signal,
        resolve: (found) => {
          settle();
          resolve(found);
        },
        reject: (error) => {
          settle();
          reject(error);
        },
      };
      const source = this.#poll();
      source.ref();
      signal?.addEventListener("abort", onAbort);
      this.#waiting.push(waiting);
      // Room that came before the waiting began is told to nobody.
      this.#serve();
    });
  }

  /**
   * Writes a whole record, without waiting.
   *
   * @param value bytes, or what the codec takes
   * @returns `false` when the ring is full
   * @throws RangeError or TypeError when the value does not fit; BpfError `ERR_CLOSED`
   */
  push(value: I): boolean {
    const codec = this.#codec ?? (rawCodec((value as Uint8Array).length) as unknown as Codec<unknown, I>);
    const record = this.reserve(codec.size);
    if (record === undefined) return false;
    try {
      codec.encodeInto(value, record.bytes, 0);
    } catch (error) {
      record.discard();
      throw error;
    }
    record.submit();
    return true;
  }

  /**
   * Closes the producer: whoever waits gets `ERR_CLOSED`, records that were not submitted are discarded (they would hold
   * up all that come after them), the map stays open. Idempotent.
   */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    producers.delete(this.#map.owner);
    for (const [index, size] of this.#unfinished) Atomics.store(this.#words, index, size | DISCARD_BIT);
    this.#unfinished.clear();
    const error = this.#closedError();
    for (const waiting of this.#waiting.splice(0)) waiting.reject(error);
    this.#source?.close();
    this.#source = undefined;
    this.#consumerMemory.close();
    this.#producerMemory.close();
  }

  /** Closes the producer. */
  [Symbol.dispose](): void {
    this.close();
  }

  #stepOf(size: number): number {
    const step = Math.ceil((size + HEADER_SIZE) / 8) * 8;
    if (!(Number.isInteger(size) && size >= 0 && step <= this.size)) {
      throw new RangeError(`A record of ${size} bytes does not fit a ring of ${this.size}`);
    }
    return step;
  }

  #used(): number {
    // Through the shim: on one runtime an atomic load of read-only memory faults.
    const consumed = this.#backend.loadWord(this.#consumer, 0, this.#consumerMemory.address) >>> 0;
    return (this.#low - consumed) >>> 0;
  }

  #take(size: number, step: number): UserRecord {
    const at = this.#low & this.#mask;
    const index = at >> 2;
    // The header must be there before the kernel can see the place.
    Atomics.store(this.#words, index + 1, 0);
    Atomics.store(this.#words, index, size | BUSY_BIT);
    const low = (this.#low + step) >>> 0;
    if (low < this.#low) this.#high = (this.#high + 1) >>> 0;
    this.#low = low;
    Atomics.store(this.#producer64, 0, BigInt.asIntN(64, (BigInt(this.#high) << 32n) | BigInt(low)));
    const bytes = new Uint8Array(this.#producerMemory.buffer, this.#page + at + HEADER_SIZE, size);
    this.#unfinished.set(index, size);
    let done = false;
    const finish = (header: number): void => {
      this.#check();
      if (done) throw new BpfError("ERR_TYPE_MISMATCH", "A record is submitted or discarded once");
      done = true;
      this.#unfinished.delete(index);
      Atomics.store(this.#words, index, header);
    };
    return { bytes, submit: () => finish(size), discard: () => finish(size | DISCARD_BIT) };
  }

  #serve(): void {
    while (this.#open && this.#waiting.length > 0) {
      const { size } = this.#waiting[0]!;
      const step = this.#stepOf(size);
      if (step > this.size - this.#used()) return;
      this.#waiting.shift()!.resolve(this.#take(size, step));
    }
  }

  #poll(): PollSource {
    this.#source ??= pollDescriptor(this.#backend, this.#map.fd, {
      writes: true,
      ready: () => this.#serve(),
      peek: () => {
        const next = this.#waiting[0];
        return this.#open && next !== undefined && this.#stepOf(next.size) <= this.size - this.#used();
      },
    });
    return this.#source;
  }

  #check(): void {
    if (!this.#open) throw this.#closedError();
  }

  #closedError(): BpfError {
    return new BpfError("ERR_CLOSED", `Cannot write to ${this.#map.owner.label}: the producer is closed`);
  }
}

/** Descriptors that have a producer: a map and its `raw` view share theirs. */
const producers = new WeakSet<Fd>();

/**
 * Opens the producer of a user ring buffer.
 *
 * @param map open map of type `user_ringbuf`
 * @param options codec of what `push` takes; default: bytes
 * @returns the producer: close it before the map
 * @throws BpfError `ERR_TYPE_MISMATCH` for a map of another type or one that has a producer; SyscallError of mmap
 * @example
 * ```ts
 * using orders = createMap({ type: "user_ringbuf", maxEntries: 4096 });
 * using producer = openUserRingBuffer(orders, { codec: u64 });
 * producer.push(42n); // true
 * producer.free; // 4080
 * ```
 */
export function openUserRingBuffer<I = Uint8Array>(
  map: BpfMap<unknown, unknown> | BpfMap,
  options: { readonly codec?: Codec<unknown, I> | undefined } = {},
): UserRingBuffer<I> {
  const any = map as BpfMap<unknown, unknown>;
  const { label } = any.owner;
  if (any.description.type !== "user_ringbuf") {
    const message = `Cannot write to ${label} as a user ring buffer: it is a ${any.description.type}`;
    throw new BpfError("ERR_TYPE_MISMATCH", message);
  }
  if (producers.has(any.owner)) throw new BpfError("ERR_TYPE_MISMATCH", `${label} has a producer already`);
  const ring = new UserRingBuffer<I>(any, options.codec);
  producers.add(any.owner);
  return ring;
}
