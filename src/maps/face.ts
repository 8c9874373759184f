import type { Codec } from "../bytes/index.ts";
import { BpfError } from "../errors.ts";
import type { PollHandler, PollSource } from "../syscall/poller.ts";
import { RecordIterator } from "./records.ts";

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
  readonly codec?: Codec<T, never> | undefined;
  /** Most records in a row before the event loop gets its turn. Default 1024. */
  readonly batch?: number | undefined;
}

/** A running `listen`. */
export interface Listening {
  /** Ends it. Idempotent. */
  close(): void;
  /** Ends it. */
  [Symbol.dispose](): void;
}

/** Any callback for records; some are told more than others. */
type AnyCallback = (view: DataView, offset: number, length: number, cpu: number) => void;

/** What can be read record by record. @internal */
export interface RecordStream<C extends AnyCallback> {
  /** What it is, for messages. */
  readonly label: string;
  /** Throws when it is closed. */
  check(): void;
  /** Takes records that are there. */
  consume(callback: C, limit: number): number;
  /** Whether there is a record to take, or something to report. Without a system call. */
  readable(): boolean;
  /** Bytes around the record that a callback was given last. */
  bytes(): Uint8Array;
  /** Waits for more. */
  poll(handler: PollHandler): readonly PollSource[];
}

/**
 * The two ways to wait for records, over any reader that can take those which are there.
 *
 * @internal
 */
export class RecordFace<C extends AnyCallback> {
  readonly #stream: RecordStream<C>;
  #sources: readonly PollSource[] | undefined;
  #iterator: RecordIterator<unknown> | undefined;
  #listener: (() => void) | undefined;

  constructor(stream: RecordStream<C>) {
    this.#stream = stream;
  }

  /** See `RingBuffer.records`. */
  records<T>(options: RecordsOptions<T>): RecordIterator<T | Uint8Array> {
    const stream = this.#stream;
    const { signal, codec, batch = DEFAULT_BATCH } = options;
    stream.check();
    signal?.throwIfAborted();
    this.#checkUnread();
    let value: T | Uint8Array | undefined;
    const decode: RecordCallback =
      codec === undefined
        ? (_, offset, length) => {
            value = stream.bytes().slice(offset, offset + length);
          }
        : (_, offset, length) => {
            value = decodeRecord(codec, stream.bytes(), offset, length);
          };
    const sources = this.#poll();
    const iterator = new RecordIterator<T | Uint8Array>({
      batch,
      signal,
      // One record at a time: what is not asked for stays in the ring, so that a loop may end without losing any.
      take: () =>
        stream.consume(decode as AnyCallback as C, 1) === 1 ? { value: value as T | Uint8Array } : undefined,
      wait: () => ref(sources),
      stopWaiting: () => unref(sources),
      end: () => {
        this.#iterator = undefined;
      },
    });
    this.#iterator = iterator as RecordIterator<unknown>;
    return iterator;
  }

  /** See `RingBuffer.listen`. */
  listen(callback: C, batch: number = DEFAULT_BATCH): Listening {
    const stream = this.#stream;
    stream.check();
    this.#checkUnread();
    const sources = this.#poll();
    const close = (): void => {
      if (this.#listener !== wake) return;
      this.#listener = undefined;
      unref(sources);
    };
    const wake = (): void => {
      if (this.#listener !== wake) return;
      try {
        stream.consume(callback, batch);
        // More came, or the batch was full: the edge has been seen, nobody else will call.
        if (stream.readable()) setImmediate(wake);
      } catch (error) {
        close();
        setImmediate(() => {
          throw error;
        });
      }
    };
    this.#listener = wake;
    ref(sources);
    setImmediate(wake);
    return { close, [Symbol.dispose]: close };
  }

  /** Like {@link listen}, with what a codec makes of each record; copies of their bytes without one. */
  listenDecoded<T>(
    codec: Codec<T, never> | undefined,
    callback: (record: T | Uint8Array) => void,
    batch?: number,
  ): Listening {
    const stream = this.#stream;
    const decode: RecordCallback =
      codec === undefined
        ? (_, offset, length) => callback(stream.bytes().slice(offset, offset + length))
        : (_, offset, length) => callback(decodeRecord(codec, stream.bytes(), offset, length));
    return this.listen(decode as AnyCallback as C, batch);
  }

  /** Stops waiting: no callback is called any more. */
  stop(): void {
    this.#listener = undefined;
    for (const source of this.#sources ?? []) source.close();
    this.#sources = undefined;
  }

  /** Ends an iteration that waits, once the stream's `check` throws. */
  end(): void {
    this.#iterator?.wake();
  }

  #poll(): readonly PollSource[] {
    this.#sources ??= this.#stream.poll({
      ready: () => (this.#listener === undefined ? this.#iterator?.wake() : this.#listener()),
      peek: () => this.#stream.readable(),
    });
    return this.#sources;
  }

  #checkUnread(): void {
    if (this.#iterator === undefined && this.#listener === undefined) return;
    throw new BpfError("ERR_TYPE_MISMATCH", `${this.#stream.label} is being read already`);
  }
}

function ref(sources: readonly PollSource[]): void {
  for (const source of sources) source.ref();
}

function unref(sources: readonly PollSource[]): void {
  for (const source of sources) source.unref();
}

function decodeRecord<T>(codec: Codec<T, never>, bytes: Uint8Array, offset: number, length: number): T {
  if (length < codec.size) {
    throw new BpfError("ERR_TYPE_MISMATCH", `A record of ${length} bytes is too short for a value of ${codec.size}`);
  }
  // A flexible array takes all the bytes that it is shown.
  if (codec.flexible === true && !(length >= codec.whole!))
    return codec.decode(bytes.subarray(offset, offset + length));
  return codec.decode(bytes, offset);
}
