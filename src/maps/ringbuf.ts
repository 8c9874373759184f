import type { Codec } from "../bytes/index.ts";
import { BpfError } from "../errors.ts";
import type { SyscallBackend } from "../syscall/backend.ts";
import type { Fd } from "../syscall/fd.ts";
import { type MappedMemory, mapMemory, pageSize } from "../syscall/memory.ts";
import { pollDescriptor } from "../syscall/poller.ts";
import { type Listening, type RecordCallback, RecordFace, type RecordsOptions } from "./face.ts";
import { MapFlag } from "./flags.ts";
import type { BpfMap } from "./map.ts";
import type { RecordIterator } from "./records.ts";

const BUSY_BIT = 0x8000_0000 | 0;
const LENGTH_MASK = 0x3fff_ffff;
const HEADER_SIZE = 8;

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
  readonly #drops: DropCounter | undefined;
  readonly #face: RecordFace<RecordCallback>;
  #consuming = false;
  #open = true;

  /** @internal use {@link openRingBuffer} */
  constructor(map: BpfMap<unknown, unknown>, backend: SyscallBackend, drops: DropCounter | undefined) {
    this.#drops = drops;
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
    this.#face = new RecordFace<RecordCallback>({
      label,
      check: () => this.#check(),
      consume: (callback, limit) => this.consume(callback, limit),
      readable: () => this.#readable(),
      bytes: () => this.#bytes,
      poll: (handler) => [pollDescriptor(backend, map.fd, handler)],
    });
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

  /**
   * Records that programs could not write because the ring was full, as counted by `drops`; `undefined` without it.
   * The kernel keeps no count: a program must do so where `ringbuf_reserve` or `ringbuf_output` fails.
   *
   * @throws SyscallError
   */
  get lost(): bigint | undefined {
    return this.#drops === undefined ? undefined : sumOf(this.#drops);
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
    // Signed 32 bits throughout, so that the engine keeps all of it in plain registers: a ring has at most 2 GiB.
    const most = Math.min(limit, 0x7fff_ffff);
    let position = this.#low | 0;
    let left = (this.#produced() - position) | 0;
    if (left < 0 || left > this.size) throw this.#corrupt(`${left >>> 0} bytes are unread in a ring of ${this.size}`);
    let taken = 0;
    this.#consuming = true;
    try {
      while (left >= HEADER_SIZE && taken < most) {
        const at = position & mask;
        const header = ordered ? words[at >> 2]! : backend.loadWord(words, at >> 2, base + at) | 0;
        // The busy bit is the sign.
        if (header < 0) break;
        const length = header & LENGTH_MASK;
        const step = (length + HEADER_SIZE + 7) & ~7;
        if (step > left) throw this.#corrupt(`a record of ${length} bytes does not fit the ${left} bytes written`);
        // Counted as read before the callback runs: what it throws must not make it come again.
        position = (position + step) | 0;
        left = (left - step) | 0;
        if (header > LENGTH_MASK) continue;
        taken = (taken + 1) | 0;
        callback(view, at + HEADER_SIZE, length);
      }
    } finally {
      this.#consuming = false;
      this.#advance(position >>> 0);
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
  records<T>(options: RecordsOptions<T> & { readonly codec: Codec<T, never> }): RecordIterator<T>;
  records<T>(options: RecordsOptions<T> = {}): RecordIterator<T | Uint8Array> {
    return this.#face.records(options) as RecordIterator<T | Uint8Array>;
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
  listen(callback: RecordCallback, batch?: number): Listening {
    return this.#face.listen(callback, batch);
  }

  /** What the maps of an object listen with. @internal */
  listenDecoded<T>(
    codec: Codec<T, never> | undefined,
    callback: (record: T | Uint8Array) => void,
    batch?: number,
  ): Listening {
    return this.#face.listenDecoded(codec, callback, batch);
  }

  /**
   * Closes the reader: a waiting iteration ends with `ERR_CLOSED`, the map stays open. Idempotent.
   */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    readers.delete(this.#map.owner);
    this.#face.stop();
    this.#consumerMemory.close();
    this.#producerMemory.close();
    this.#face.end();
  }

  /** Closes the reader. */
  [Symbol.dispose](): void {
    this.close();
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

/** Descriptors that have a reader: a map and its `raw` view share theirs. */
const readers = new WeakSet<Fd>();

/** Where programs count the records that did not fit. */
export interface DropCounter {
  /** A map whose values are 64-bit counters: per CPU, so that no two programs write one place, or one for all. */
  readonly map: BpfMap<number, bigint> | BpfMap<number, bigint[], readonly bigint[]>;
  /** Entry that is counted in. Default 0. */
  readonly key?: number | undefined;
}

function sumOf({ map, key = 0 }: DropCounter): bigint {
  const value = (map as BpfMap<number, bigint | bigint[]>).get(key);
  if (value === undefined) return 0n;
  return typeof value === "bigint" ? value : value.reduce((sum, one) => sum + one, 0n);
}

/** How to read a ring buffer. */
export interface RingBufferOptions {
  /** Where programs count the records that did not fit, for {@link RingBuffer.lost}. */
  readonly drops?: DropCounter | undefined;
}

/**
 * Opens the reader of a ring buffer map.
 *
 * @param map open map of type `ringbuf`
 * @param options where losses are counted
 * @returns the reader: close it before the map
 * @throws BpfError `ERR_TYPE_MISMATCH` for a map of another type or one that has a reader, `ERR_NOT_SUPPORTED` for one
 *   with the flag `rb_overwrite`; SyscallError of mmap
 * @example A program that counts what it cannot write
 * ```ts
 * using events = createMap({ type: "ringbuf", maxEntries: 4096 });
 * using drops = createMap({ type: "percpu_array", value: u64, maxEntries: 1 });
 * using producer = loadProgram({
 *   type: "socket_filter",
 *   license: "GPL",
 *   instructions: program(
 *     store("u64", r10, -8, 42),
 *     ldMap(r1, events),
 *     mov(r2, r10),
 *     add(r2, -8),
 *     mov(r3, 8),
 *     mov(r4, 0),
 *     call("ringbuf_output"),
 *     jeq(r0, 0, "written"),
 *     store("u32", r10, -12, 0),
 *     ldMap(r1, drops),
 *     mov(r2, r10),
 *     add(r2, -12),
 *     call("map_lookup_elem"),
 *     jeq(r0, 0, "written"),
 *     load("u64", r1, r0, 0),
 *     add(r1, 1),
 *     store("u64", r0, 0, r1),
 *     label("written"),
 *     mov(r0, 0),
 *     exit(),
 *   ),
 * });
 * using ring = openRingBuffer(events, { drops: { map: drops } });
 * producer.run({ data: new Uint8Array(64), repeat: 1000 });
 * const values: bigint[] = [];
 * ring.consume((view, offset) => values.push(view.getBigUint64(offset, true)));
 * values.length; // 255
 * ring.lost; // 745n
 * ```
 */
export function openRingBuffer(map: BpfMap<unknown, unknown> | BpfMap, options: RingBufferOptions = {}): RingBuffer {
  const any = map as BpfMap<unknown, unknown>;
  const { type, flags } = any.description;
  const { label } = any.owner;
  if (type !== "ringbuf") {
    throw new BpfError("ERR_TYPE_MISMATCH", `Cannot read ${label} as a ring buffer: it is a ${type}`);
  }
  if ((flags & MapFlag.rb_overwrite) !== 0) {
    const message = `Cannot read ${label}: with BPF_F_RB_OVERWRITE the kernel overwrites records while they are read`;
    throw new BpfError("ERR_NOT_SUPPORTED", message);
  }
  if (readers.has(any.owner)) throw new BpfError("ERR_TYPE_MISMATCH", `${label} has a reader already`);
  const reader = new RingBuffer(any, any.owner.backend, options.drops);
  readers.add(any.owner);
  return reader;
}
