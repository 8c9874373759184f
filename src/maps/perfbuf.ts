import type { Codec } from "../bytes/index.ts";
import { BpfError } from "../errors.ts";
import { PERF_COUNT_SW_BPF_OUTPUT } from "../kernel-abi/index.ts";
import type { SyscallBackend } from "../syscall/backend.ts";
import { mapDelete, mapUpdate } from "../syscall/commands.ts";
import { isErrno } from "../syscall/errors.ts";
import type { Fd } from "../syscall/fd.ts";
import { onlineCpus } from "../syscall/host.ts";
import { pageSize } from "../syscall/memory.ts";
import { perfEventOpen, perfIoctl } from "../syscall/perf.ts";
import { pollDescriptor } from "../syscall/poller.ts";
import { type Listening, RecordFace, type RecordsOptions } from "./face.ts";
import type { BpfMap } from "./map.ts";
import { PerfRing, type PerfSink } from "./perf-ring.ts";
import type { RecordIterator } from "./records.ts";

/**
 * Receives one sample in place. The view is valid until the callback returns.
 *
 * @param view memory that holds the sample
 * @param offset first byte of the sample
 * @param length bytes of the sample: up to 7 more than the program wrote, since the kernel pads it
 * @param cpu id of the CPU that the program ran on
 */
export type PerfCallback = (view: DataView, offset: number, length: number, cpu: number) => void;

/** How to read a perf buffer. */
export interface PerfBufferOptions {
  /** Pages of memory for each CPU, rounded up to a power of two. Default 8. */
  readonly pages?: number | undefined;
  /** Wakes the reader after so many samples of one CPU. Default 1. */
  readonly wakeupEvents?: number | undefined;
  /** Wakes the reader when so many bytes of one CPU are unread, in place of {@link wakeupEvents}. */
  readonly watermark?: number | undefined;
  /** Called when samples were lost on a CPU because its ring was full. */
  readonly onLost?: ((count: bigint, cpu: number) => void) | undefined;
  /**
   * New samples overwrite old ones, whether read or not: a flight recorder. It is read with `snapshot`. Default `false`.
   */
  readonly overwritable?: boolean | undefined;
}

const PERF_TYPE_SOFTWARE = 1;
const PERF_SAMPLE_RAW = 0x400;
const DEFAULT_PAGES = 8;

/**
 * Reader of a `perf_event_array`: a ring for each CPU that was online when it was opened. Samples of one CPU come in
 * order, those of several in no order that means anything.
 *
 * CPUs that come online later are not read, and what programs write there is lost: open it again.
 */
export class PerfBuffer {
  /** Ids of the CPUs that are read. */
  readonly cpus: readonly number[];
  readonly #map: BpfMap<unknown, unknown>;
  readonly #rings: readonly PerfRing[];
  readonly #overwritable: boolean;
  readonly #onLost: ((count: bigint, cpu: number) => void) | undefined;
  readonly #face: RecordFace<PerfCallback>;
  readonly #lost = new Map<number, bigint>();
  #first = 0;
  #bytes: Uint8Array = new Uint8Array(0);
  #consuming = false;
  #paused = false;
  #open = true;

  /** @internal use {@link openPerfBuffer} */
  constructor(map: BpfMap<unknown, unknown>, rings: readonly PerfRing[], options: PerfBufferOptions) {
    const { backend, label } = map.owner;
    this.#map = map;
    this.#rings = rings;
    this.#overwritable = options.overwritable === true;
    this.#onLost = options.onLost;
    this.cpus = rings.map(({ cpu }) => cpu);
    this.#face = new RecordFace<PerfCallback>({
      label,
      check: () => this.#checkOrdered(),
      consume: (callback, limit) => this.consume(callback, limit),
      readable: () => this.#open && rings.some((ring) => ring.available > 0),
      bytes: () => this.#bytes,
      poll: (handler) =>
        rings.map(({ event }) => pollDescriptor(backend, event.number, { ...handler, forgetful: true })),
    });
  }

  /** Samples that were lost so far because a ring was full, on all CPUs together. Known once the reader gets there. */
  get lost(): bigint {
    let sum = 0n;
    for (const count of this.#lost.values()) sum += count;
    return sum;
  }

  /** Samples that were lost so far, by the id of the CPU; CPUs that lost none are not in it. A copy. */
  get lostByCpu(): ReadonlyMap<number, bigint> {
    return new Map(this.#lost);
  }

  /**
   * Bytes written and not read yet, on all CPUs together.
   *
   * @throws BpfError `ERR_CLOSED`
   */
  get available(): number {
    this.#check();
    return this.#rings.reduce((sum, ring) => sum + ring.available, 0);
  }

  /** Whether `close()` was called. */
  get closed(): boolean {
    return !this.#open;
  }

  /**
   * Takes the samples that are there, without waiting. Each CPU's position is read once, so the call ends even when
   * samples come faster than they are read; with a limit, each call begins at another CPU.
   *
   * @param callback called for each sample; when it throws, its sample counts as read and the error is passed on
   * @param limit most samples to take
   * @returns how many samples were taken
   * @throws BpfError `ERR_RING_CORRUPT` when a ring makes no sense (the reader is closed), `ERR_CLOSED`,
   *   `ERR_NOT_SUPPORTED` for an overwritable one
   */
  consume(callback: PerfCallback, limit: number = Number.POSITIVE_INFINITY): number {
    this.#checkOrdered();
    if (this.#consuming) throw new BpfError("ERR_TYPE_MISMATCH", "Cannot consume a perf buffer from its own callback");
    this.#consuming = true;
    const count = this.#rings.length;
    let taken = 0;
    try {
      for (let i = 0; i < count && taken < limit && this.#open; i++) {
        const ring = this.#rings[(this.#first + i) % count]!;
        taken += ring.consume(this.#sink(callback, ring.cpu), limit - taken);
      }
      if (count > 0) this.#first = (this.#first + 1) % count;
      return taken;
    } catch (error) {
      if ((error as BpfError).code === "ERR_RING_CORRUPT") this.close();
      throw error;
    } finally {
      this.#consuming = false;
    }
  }

  /**
   * Reads an overwritable buffer: stops the writers, gives what each CPU wrote last, newest first, and lets them go on
   * (unless {@link pause} stopped them before). What they write meanwhile is lost. The samples stay where they are.
   *
   * @param callback called for each sample
   * @returns how many samples there were
   * @throws BpfError `ERR_NOT_SUPPORTED` for one that is not overwritable, `ERR_CLOSED`; SyscallError
   */
  snapshot(callback: PerfCallback): number {
    this.#check();
    if (!this.#overwritable) {
      throw new BpfError(
        "ERR_NOT_SUPPORTED",
        `Cannot take a snapshot of ${this.#map.owner.label}: it is not overwritable`,
      );
    }
    let taken = 0;
    for (const ring of this.#rings) {
      perfIoctl(ring.event, "PAUSE_OUTPUT", 1);
      try {
        taken += ring.readBackwards(this.#sink(callback, ring.cpu));
      } finally {
        if (this.#open && !this.#paused) perfIoctl(ring.event, "PAUSE_OUTPUT", 0);
      }
      if (!this.#open) break;
    }
    return taken;
  }

  /**
   * Stops the writers: what programs write while it is paused is lost and not counted (Linux 4.7).
   *
   * @throws SyscallError, BpfError `ERR_CLOSED`
   */
  pause(): void {
    this.#check();
    for (const { event } of this.#rings) perfIoctl(event, "PAUSE_OUTPUT", 1);
    this.#paused = true;
  }

  /**
   * Lets the writers go on after {@link pause}.
   *
   * @throws SyscallError, BpfError `ERR_CLOSED`
   */
  resume(): void {
    this.#check();
    for (const { event } of this.#rings) perfIoctl(event, "PAUSE_OUTPUT", 0);
    this.#paused = false;
  }

  /**
   * Iterates over samples as they come, as `RingBuffer.records` does.
   *
   * @param options signal, codec, batch
   * @returns an iterator; its `next` rejects with `ERR_CLOSED` when the reader is closed meanwhile, and with the
   *   signal's reason
   * @throws BpfError `ERR_CLOSED`, `ERR_TYPE_MISMATCH` when somebody reads already, `ERR_NOT_SUPPORTED` for an
   *   overwritable one; the signal's reason
   * @example
   * ```ts no-run
   * using map = createMap({ type: "perf_event_array" });
   * using buffer = openPerfBuffer(map, { onLost: (count, cpu) => console.warn(`lost ${count} on CPU ${cpu}`) });
   * for await (const time of buffer.records({ codec: u64 })) console.log(time);
   * ```
   */
  records(options?: RecordsOptions<Uint8Array> & { readonly codec?: undefined }): RecordIterator<Uint8Array>;
  records<T>(
    options: RecordsOptions<T> & { readonly codec: NonNullable<RecordsOptions<T>["codec"]> },
  ): RecordIterator<T>;
  records<T>(options: RecordsOptions<T> = {}): RecordIterator<T | Uint8Array> {
    return this.#face.records(options);
  }

  /**
   * Calls back for each sample as it comes, in place. Keeps the process running until it is closed.
   *
   * @param callback called for each sample; what it throws ends the listening and is reported as uncaught
   * @param batch most samples in a row before the event loop gets its turn. Default 1024
   * @returns a handle that ends it
   * @throws BpfError as of {@link records}
   */
  listen(callback: PerfCallback, batch?: number): Listening {
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

  /** Closes the reader: takes the events out of the map, which stays open. Idempotent. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    readers.delete(this.#map.owner);
    this.#face.stop();
    for (const ring of this.#rings) {
      if (!this.#map.closed) removeEvent(this.#map.owner, ring.cpu);
      ring.close();
    }
    this.#face.end();
  }

  /** Closes the reader. */
  [Symbol.dispose](): void {
    this.close();
  }

  #sink(callback: PerfCallback, cpu: number): PerfSink {
    return {
      sample: (view, bytes, offset, length) => {
        this.#bytes = bytes;
        callback(view, offset, length, cpu);
      },
      lost: (count) => {
        this.#lost.set(cpu, (this.#lost.get(cpu) ?? 0n) + count);
        this.#onLost?.(count, cpu);
      },
    };
  }

  #checkOrdered(): void {
    this.#check();
    if (!this.#overwritable) return;
    throw new BpfError("ERR_NOT_SUPPORTED", `Cannot read ${this.#map.owner.label} in order: it is overwritable`, {
      hint: "use snapshot",
    });
  }

  #check(): void {
    if (!this.#open) throw new BpfError("ERR_CLOSED", `Cannot read ${this.#map.owner.label}: the reader is closed`);
  }
}

/** Descriptors that have a reader: a map and its `raw` view share theirs. */
const readers = new WeakSet<Fd>();

/**
 * Opens the reader of a `perf_event_array`: a perf event and its ring on each CPU that is online, put into the map at the
 * CPU's id, where `perf_event_output` with `BPF_F_CURRENT_CPU` looks for it.
 *
 * New programs rather use a `ringbuf` (Linux 5.8): one ring for all CPUs, in order, without copying.
 *
 * @param map open map of type `perf_event_array`; CPUs whose id is beyond its size are not read
 * @param options size, when to wake, what to do about losses
 * @returns the reader: close it before the map
 * @throws BpfError `ERR_TYPE_MISMATCH` for a map of another type or one that has a reader; SyscallError `EACCES` without CAP_PERFMON, `ENOMEM` or
 *   `EPERM` when the pages are too many
 * @example
 * ```ts
 * using samples = createMap({ type: "perf_event_array" });
 * using producer = loadProgram({
 *   type: "socket_filter",
 *   license: "GPL",
 *   instructions: program(
 *     store("u64", r10, -8, 42),
 *     ldMap(r2, samples),
 *     ldImm64(r3, 0xffffffff), // BPF_F_CURRENT_CPU
 *     mov(r4, r10),
 *     add(r4, -8),
 *     mov(r5, 8),
 *     call("perf_event_output"),
 *     mov(r0, 0),
 *     exit(),
 *   ),
 * });
 * using buffer = openPerfBuffer(samples);
 * producer.run({ data: new Uint8Array(64) });
 * const values: bigint[] = [];
 * buffer.consume((view, offset) => values.push(view.getBigUint64(offset, true)));
 * values[0]; // 42n
 * ```
 */
export function openPerfBuffer(
  map: BpfMap<never, never> | BpfMap<unknown, unknown> | BpfMap,
  options: PerfBufferOptions = {},
): PerfBuffer {
  const any = map as BpfMap<unknown, unknown>;
  const { owner } = any;
  const { type, maxEntries } = any.description;
  if (type !== "perf_event_array") {
    throw new BpfError("ERR_TYPE_MISMATCH", `Cannot read ${owner.label} as a perf buffer: it is a ${type}`);
  }
  const pages = powerOfTwo(options.pages ?? DEFAULT_PAGES);
  const attr = eventAttr(options, pages * pageSize(owner.backend.architecture));
  if (readers.has(owner)) throw new BpfError("ERR_TYPE_MISMATCH", `${owner.label} has a reader already`);
  const rings: PerfRing[] = [];
  try {
    for (const cpu of onlineCpus()) {
      if (cpu >= maxEntries) continue;
      const ring = openRing(owner.backend, attr, cpu, pages, options.overwritable === true);
      if (ring === undefined) continue;
      rings.push(ring);
      mapUpdate(owner, wordOf(cpu), wordOf(ring.event.number));
      perfIoctl(ring.event, "ENABLE");
    }
    const buffer = new PerfBuffer(any, rings, options);
    readers.add(owner);
    return buffer;
  } catch (error) {
    for (const ring of rings) {
      removeEvent(owner, ring.cpu);
      ring.close();
    }
    throw error;
  }
}

function openRing(
  backend: SyscallBackend,
  attr: ReturnType<typeof eventAttr>,
  cpu: number,
  pages: number,
  overwritable: boolean,
): PerfRing | undefined {
  let event: Fd;
  try {
    event = perfEventOpen(backend, { attr, cpu, label: `perf buffer of CPU ${cpu}` });
  } catch (error) {
    // It went offline just now.
    if (isErrno(error, "ENODEV")) return undefined;
    throw error;
  }
  try {
    return new PerfRing(event, cpu, pages, overwritable);
  } catch (error) {
    event.close();
    throw error;
  }
}

function eventAttr(options: PerfBufferOptions, size: number): Parameters<typeof perfEventOpen>[1]["attr"] {
  const { watermark, wakeupEvents = 1 } = options;
  if (watermark !== undefined && !(Number.isInteger(watermark) && watermark > 0 && watermark < size)) {
    throw new RangeError(`The watermark is 1 to ${size - 1} bytes, not ${watermark}`);
  }
  if (!(Number.isInteger(wakeupEvents) && wakeupEvents > 0 && wakeupEvents <= 0xffffffff)) {
    throw new RangeError(`The reader is woken after 1 sample or more, not ${wakeupEvents}`);
  }
  return {
    type: PERF_TYPE_SOFTWARE,
    config: PERF_COUNT_SW_BPF_OUTPUT,
    sample_type: PERF_SAMPLE_RAW,
    sample_period: 1,
    ...(watermark === undefined ? { wakeup_events: wakeupEvents } : { watermark: 1, wakeup_watermark: watermark }),
    ...(options.overwritable === true ? { write_backward: 1 } : {}),
  };
}

function powerOfTwo(pages: number): number {
  if (!(Number.isInteger(pages) && pages > 0 && pages <= 2 ** 18)) {
    throw new RangeError(`A perf buffer has 1 to ${2 ** 18} pages for each CPU, not ${pages}`);
  }
  return 2 ** Math.ceil(Math.log2(pages));
}

function wordOf(value: number): Uint8Array {
  const bytes = new Uint8Array(new ArrayBuffer(4));
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

function removeEvent(owner: Fd, cpu: number): void {
  try {
    mapDelete(owner, wordOf(cpu));
  } catch {
    // It was never put in, or somebody put another one there and took it out.
  }
}
