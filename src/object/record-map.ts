import type { Btf, TypeId, ValueOptions } from "../btf/index.ts";
import type { Codec } from "../bytes/index.ts";
import {
  BpfMap,
  type Listening,
  openPerfBuffer,
  openRingBuffer,
  type PerfBuffer,
  type PerfBufferOptions,
  type RecordsOptions,
  type RingBuffer,
  type RingBufferOptions,
} from "../maps/index.ts";
import type { RecordIterator } from "../maps/records.ts";
import { recordCodec, typeByName } from "./codecs.ts";

/** What the records of a map of an object are. */
export interface RecordTypes {
  /** Types of the object. */
  readonly btf: Btf | undefined;
  /** Type of the records; 0 when the object does not tell. */
  readonly type: TypeId | 0;
  /** How values look. */
  readonly values: ValueOptions | undefined;
}

/** How to read the records of a {@link RecordMap}. */
export interface ObjectRecordsOptions<T> extends RecordsOptions<T> {
  /** Name of their type in the object's BTF: `event`, `struct event`. Default: see {@link RecordMap}. */
  readonly type?: string | undefined;
  /** `true`: copies of their bytes, whatever the object says of them. */
  readonly raw?: boolean | undefined;
  /** How the reader is opened: pages of a perf buffer, what to do about losses. Counts when it is not open yet. */
  readonly reader?: (RingBufferOptions & PerfBufferOptions) | undefined;
}

/**
 * A ring buffer or perf array of an object, which knows its records. Their type is, in this order:
 *
 * 1. what the caller says: a `codec`, the name of a `type` in the object, or `raw`;
 * 2. the struct or union of `__type(value, struct event)` in the definition of the map;
 * 3. the only struct or union that has the name of the map, in singular or plural, with or without `_t`: for a map
 *    `events`, `struct event`;
 *
 * and else none: records are bytes. A record may be shorter than its type by the end of the array that the type ends in:
 * what is missing reads as zeros.
 *
 * @typeParam T a record
 */
export class RecordMap<T = unknown> extends BpfMap<unknown, unknown> {
  readonly #types: RecordTypes;
  readonly #codecs = new Map<TypeId, Codec<unknown>>();
  #reader: RingBuffer | PerfBuffer | undefined;

  /** @internal made by `loadObject` */
  constructor(map: BpfMap<unknown, unknown>, types: RecordTypes) {
    super(map.owner, map.description, map.keyCodec, map.valueCodec);
    this.#types = types;
  }

  /** Name of the type of its records; `undefined` when the object does not tell. */
  get recordType(): string | undefined {
    const { btf, type } = this.#types;
    if (btf === undefined || type === 0) return undefined;
    return btf.nameOf(type) || btf.resolve(type).kind;
  }

  /** The reader that {@link records} uses: a `RingBuffer` or `PerfBuffer`, opened by the first look, closed with the map. */
  get reader(): RingBuffer | PerfBuffer {
    return this.#open({});
  }

  /**
   * Iterates over records as they come, decoded. Waiting does not block; leaving the loop loses no record.
   *
   * @param options signal, type
   * @returns an iterator, as that of `RingBuffer.records`
   * @throws BpfError `ERR_OBJECT` for a type that the object does not have; what `openRingBuffer`, `openPerfBuffer` and
   *   their `records` throw
   * @example
   * ```ts no-run
   * import { readFileSync } from "node:fs";
   *
   * using object = loadObject(readFileSync("execsnoop.bpf.o"));
   * using links = object.attach();
   * for await (const { pid, comm } of object.map("events").records({ type: "event" })) console.log(pid, comm);
   * ```
   */
  records(options: ObjectRecordsOptions<Uint8Array> & { readonly raw: true }): RecordIterator<Uint8Array>;
  records<R>(options: ObjectRecordsOptions<R> & { readonly codec: Codec<R> }): RecordIterator<R>;
  records<R = T>(options?: ObjectRecordsOptions<R>): RecordIterator<R>;
  records(options: ObjectRecordsOptions<unknown> = {}): RecordIterator<unknown> {
    const codec = this.#codecFor(options) as Codec<Uint8Array> | undefined;
    const { signal, batch } = options;
    return this.#open(options.reader ?? {}).records({ signal, batch, codec } as RecordsOptions<Uint8Array> & {
      readonly codec: Codec<Uint8Array>;
    });
  }

  /**
   * Calls back for each record as it comes, decoded: quicker than {@link records}, which makes a promise for each.
   * For records in place, without decoding, use `reader.listen`.
   *
   * @param callback called for each record; what it throws ends the listening and is reported as uncaught
   * @param options type
   * @returns a handle that ends it
   * @throws BpfError as of {@link records}
   */
  listen<R = T>(callback: (record: R) => void, options: Omit<ObjectRecordsOptions<R>, "signal"> = {}): Listening {
    const codec = this.#codecFor(options);
    return this.#open(options.reader ?? {}).listenDecoded(codec, callback as (record: unknown) => void, options.batch);
  }

  /** Closes the reader, and the descriptor. Idempotent. */
  override close(): void {
    this.#reader?.close();
    super.close();
  }

  #codecFor(options: Pick<ObjectRecordsOptions<unknown>, "codec" | "raw" | "type">): Codec<unknown> | undefined {
    if (options.codec !== undefined) return options.codec;
    if (options.raw === true) return undefined;
    const { btf, values } = this.#types;
    const type = options.type === undefined ? this.#types.type : typeByName(btf, options.type);
    if (btf === undefined || type === 0) return undefined;
    let codec = this.#codecs.get(type);
    if (codec === undefined) {
      codec = recordCodec(btf, type, values);
      this.#codecs.set(type, codec);
    }
    return codec;
  }

  #open(options: RingBufferOptions & PerfBufferOptions): RingBuffer | PerfBuffer {
    if (this.#reader === undefined || this.#reader.closed) {
      const perf = this.description.type === "perf_event_array";
      this.#reader = perf ? openPerfBuffer(this, options) : openRingBuffer(this, options);
    }
    return this.#reader;
  }
}
