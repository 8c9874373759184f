import type { Codec } from "../bytes/index.ts";
import { BpfError } from "../errors.ts";
import type { BpfCommand } from "../kernel-abi/index.ts";
import { mapElemAttr } from "../kernel-abi/index.ts";
import { bpf, bpfError } from "../syscall/bpf.ts";
import { errnoName, errnoNumber } from "../syscall/errno.ts";
import type { Fd } from "../syscall/fd.ts";
import { type Batch, type BatchOptions, BatchReader, type BulkShape } from "./batch.ts";
import { BulkWriter } from "./bulk-writer.ts";
import { ElementCalls } from "./calls.ts";
import { rawCodec, storedSize } from "./codecs.ts";
import { type MapDescription, type MapInfo, readMapInfo } from "./description.ts";
import { elementDetail, isAbsent } from "./failures.ts";
import { pinObject, unpin } from "./pin.ts";
import { isFilled } from "./traits.ts";

/**
 * How an update treats an entry that exists already, or not yet: `any`, `noexist` (only a new one), `exist` (only one
 * that is there). `lock` holds the `bpf_spin_lock` in the value meanwhile.
 */
export type UpdateFlag = "any" | "noexist" | "exist" | "lock" | "noexist|lock" | "exist|lock";

const UPDATE_FLAGS: { readonly [F in UpdateFlag]: number } = {
  any: 0,
  noexist: 1,
  exist: 2,
  lock: 4,
  "noexist|lock": 5,
  "exist|lock": 6,
};

const ENOENT = errnoNumber("ENOENT");
const EEXIST = errnoNumber("EEXIST");

/** Options of {@link BpfMap.setMany}. */
export interface SetManyOptions {
  /** As of `set`. Default `any`. */
  readonly flag?: UpdateFlag | undefined;
  /** Entries in one call. Default: as many as fit into a mebibyte, at most 65536. */
  readonly size?: number | undefined;
}

/**
 * An open map: feels like a `Map`, but every operation is a system call, and the kernel and other processes change
 * the entries meanwhile. Keys and values are what its codecs say, plain bytes without any; values of per-CPU maps are
 * arrays with a value for each possible CPU.
 *
 * Which operations there are depends on the type of the map; the kernel refuses the others with `ENOTSUPP` or
 * `EOPNOTSUPP`.
 *
 * @typeParam K key
 * @typeParam V value as it is read
 * @typeParam I value as it is written: for maps of programs, maps or sockets a descriptor
 */
export class BpfMap<K = Uint8Array, V = Uint8Array, I = V> {
  /** What the map is. */
  readonly description: MapDescription;
  /** Codec of keys. */
  readonly keyCodec: Codec<K>;
  /** Codec of values: of those of all CPUs together in per-CPU maps. */
  readonly valueCodec: Codec<V, I>;
  readonly #owner: Fd;
  readonly #calls: ElementCalls;
  readonly #key: Uint8Array;
  readonly #value: Uint8Array;
  readonly #valueBytes: number;
  readonly #pins = new Set<string>();

  /** @internal use `createMap`, `openMapById`, `openPinnedMap`, `mapFromFd` */
  constructor(owner: Fd, description: MapDescription, keyCodec: Codec<K>, valueCodec: Codec<V, I>) {
    this.#owner = owner;
    this.description = description;
    this.keyCodec = keyCodec;
    this.valueCodec = valueCodec;
    this.#valueBytes = storedSize(description);
    // The kernel writes that much without asking: a codec that knows of less room would be the end of the heap.
    if (valueCodec.size !== this.#valueBytes || keyCodec.size !== description.keySize) {
      throw new BpfError(
        "ERR_TYPE_MISMATCH",
        `The codecs of ${owner.label} do not have the sizes of its keys and values`,
      );
    }
    this.#calls = new ElementCalls(owner, description.keySize, this.#valueBytes);
    this.#key = this.#calls.key;
    this.#value = this.#calls.value;
  }

  /**
   * Descriptor number, for attributes of other calls and for `ld_imm64`.
   *
   * @throws BpfError `ERR_CLOSED`
   */
  get fd(): number {
    return this.#owner.number;
  }

  /** The descriptor's owner. */
  get owner(): Fd {
    return this.#owner;
  }

  /** Name; empty when it has none. */
  get name(): string {
    return this.description.name;
  }

  /** Whether `close()` was called. */
  get closed(): boolean {
    return this.#owner.closed;
  }

  /**
   * Number of entries, where the kernel knows: arrays always have all of theirs. A hash keeps no count that can be
   * asked for: see {@link count}.
   */
  get size(): number | undefined {
    return isFilled(this.description.type) ? this.description.maxEntries : undefined;
  }

  /**
   * The same map, seen as plain bytes. Values of per-CPU maps take `round_up(valueSize, 8)` bytes for each possible
   * CPU. It has the same descriptor: closing one closes both.
   */
  get raw(): BpfMap<Uint8Array, Uint8Array> {
    const { keySize } = this.description;
    return new BpfMap(this.#owner, this.description, rawCodec(keySize), rawCodec(this.#valueBytes));
  }

  /**
   * Looks an entry up.
   *
   * @param key key
   * @param flag `lock`: reads the value under its `bpf_spin_lock`
   * @returns the value, or `undefined` when there is none
   * @throws SyscallError, BpfError `ERR_CLOSED`
   */
  get(key: K, flag?: "lock"): V | undefined {
    this.#check();
    this.keyCodec.encodeInto(key, this.#key, 0);
    const result = this.#calls.lookup(flag === undefined ? 0 : lockOnly(flag));
    if (result < 0) {
      if (result === -ENOENT) return undefined;
      throw this.#error("BPF_MAP_LOOKUP_ELEM", result, "look up in");
    }
    return this.valueCodec.decode(this.#value, 0);
  }

  /**
   * Looks an entry up without making anything: the bytes of the value are copied to where the caller wants them.
   *
   * @param key key
   * @param into gets the value's bytes
   * @param offset where in `into`. Default 0
   * @returns whether there was an entry; `into` is left alone when not
   * @throws RangeError when the value does not fit; SyscallError, BpfError `ERR_CLOSED`
   * @example
   * ```ts
   * using counts = createMap({ type: "array", value: u64, maxEntries: 4 });
   * counts.set(2, 7n);
   * const total = new BigUint64Array(1);
   * const bytes = new Uint8Array(total.buffer);
   * counts.getInto(2, bytes); // true
   * total[0]; // 7n
   * ```
   */
  getInto(key: K, into: Uint8Array, offset = 0): boolean {
    this.#check();
    const value = this.#value;
    const size = this.#valueBytes;
    if (!(offset >= 0 && offset + size <= into.length)) {
      throw new RangeError(`Need ${size} bytes at offset ${offset} for the value, there are ${into.length}`);
    }
    this.keyCodec.encodeInto(key, this.#key, 0);
    const result = this.#calls.lookup(0);
    if (result < 0) {
      if (result === -ENOENT) return false;
      throw this.#error("BPF_MAP_LOOKUP_ELEM", result, "look up in");
    }
    // For a few bytes a loop is quicker than set(), which has to make sure that the two do not overlap.
    if (size <= 64) for (let i = 0; i < size; i++) into[offset + i] = value[i]!;
    else into.set(value, offset);
    return true;
  }

  /** Whether there is an entry for a key. A lookup: an LRU map counts it as use. */
  has(key: K): boolean {
    this.#check();
    this.keyCodec.encodeInto(key, this.#key, 0);
    const result = this.#calls.lookup(0);
    if (result < 0) {
      if (result === -ENOENT) return false;
      throw this.#error("BPF_MAP_LOOKUP_ELEM", result, "look up in");
    }
    return true;
  }

  /**
   * Writes an entry.
   *
   * @param key key
   * @param value value
   * @param flag `any` (default), `noexist` (fail with EEXIST when there is one), `exist` (fail with ENOENT when not),
   *   `lock`
   * @throws SyscallError `E2BIG` when the map is full, `EEXIST`, `ENOENT`
   */
  set(key: K, value: I, flag: UpdateFlag = "any"): this {
    const result = this.#write(key, value, flag);
    if (result < 0) throw this.#error("BPF_MAP_UPDATE_ELEM", result, "update");
    return this;
  }

  /**
   * Writes an entry, and tells whether the flag let it: `noexist` refuses an entry that is there, `exist` one that is
   * not. Both are decided by the kernel, atomically.
   *
   * @param key key
   * @param value value
   * @param flag as of {@link set}
   * @returns `false` when the flag refused
   * @throws SyscallError `E2BIG` when the map is full, and others
   * @example
   * ```ts
   * using owners = createMap({ type: "hash", key: u32, value: u32, maxEntries: 8 });
   * owners.update(1, 100, "noexist"); // true
   * owners.update(1, 200, "noexist"); // false
   * owners.get(1); // 100
   * ```
   */
  update(key: K, value: I, flag: UpdateFlag = "any"): boolean {
    const result = this.#write(key, value, flag);
    if (result >= 0) return true;
    if (result === -EEXIST && flag.startsWith("noexist")) return false;
    if (result === -ENOENT && flag.startsWith("exist")) return false;
    throw this.#error("BPF_MAP_UPDATE_ELEM", result, "update");
  }

  #write(key: K, value: I, flag: UpdateFlag): number {
    this.#check();
    const flags = flag === "any" ? 0 : updateBits(flag);
    this.keyCodec.encodeInto(key, this.#key, 0);
    this.valueCodec.encodeInto(value, this.#value, 0);
    return this.#calls.update(flags);
  }

  /**
   * Deletes an entry. An array's entries always exist: the kernel refuses with EINVAL.
   *
   * @returns whether there was one
   * @throws SyscallError
   */
  delete(key: K): boolean {
    this.#check();
    this.keyCodec.encodeInto(key, this.#key, 0);
    const result = this.#calls.remove();
    if (result < 0) {
      if (isAbsent(this.description.type, errnoName(result))) return false;
      throw this.#error("BPF_MAP_DELETE_ELEM", result, "delete from");
    }
    return true;
  }

  /**
   * Looks an entry up and deletes it, in one step: no change by others comes between. Hashes have it since Linux 5.14.
   *
   * @param key key
   * @param flag `lock`: reads the value under its `bpf_spin_lock`
   * @returns the value, or `undefined` when there was none
   * @throws SyscallError `ENOTSUPP` for types that do not have it
   */
  take(key: K, flag?: "lock"): V | undefined {
    this.#check();
    this.keyCodec.encodeInto(key, this.#key, 0);
    const result = this.#calls.take(flag === undefined ? 0 : lockOnly(flag));
    if (result < 0) {
      if (result === -ENOENT) return undefined;
      throw this.#error("BPF_MAP_LOOKUP_AND_DELETE_ELEM", result, "take from");
    }
    return this.valueCodec.decode(this.#value, 0);
  }

  /**
   * The key after a key, in the kernel's order.
   *
   * @param key `undefined` for the first one; a key that is not in the map (any more) gives the first one too
   * @returns `undefined` after the last
   * @throws SyscallError
   */
  nextKey(key?: K): K | undefined {
    this.#check();
    if (key !== undefined) this.keyCodec.encodeInto(key, this.#key, 0);
    const result = this.#calls.next(key === undefined);
    if (result < 0) {
      if (result === -ENOENT) return undefined;
      throw this.#error("BPF_MAP_GET_NEXT_KEY", result, "walk");
    }
    return this.keyCodec.decode(this.#calls.nextKey, 0);
  }

  /**
   * Walks over the keys. See {@link entries}.
   *
   * @throws SyscallError, BpfError `ERR_CLOSED`
   */
  *keys(): Generator<K, void, undefined> {
    this.#check();
    const reader = new BatchReader(this.#bulk(), { keysOnly: true });
    const { keySize } = this.description;
    for (let count = reader.read(); count > 0; count = this.#readMore(reader)) {
      for (let i = 0; i < count; i++) yield this.keyCodec.decode(reader.keys, i * keySize);
    }
  }

  /**
   * Walks over the values. See {@link entries}.
   *
   * @throws SyscallError, BpfError `ERR_CLOSED`
   */
  *values(): Generator<V, void, undefined> {
    this.#check();
    const reader = new BatchReader(this.#bulk());
    for (let count = reader.read(); count > 0; count = this.#readMore(reader)) {
      for (let i = 0; i < count; i++) yield this.valueCodec.decode(reader.values, i * this.#valueBytes);
    }
  }

  /**
   * Walks over keys and values. Entries are read many at a time where the kernel can (hashes, arrays and tries; since
   * Linux 5.6), and each of them as it was at that moment.
   *
   * While others change the map: an entry that is there all the time comes exactly once from hashes that are read in
   * batches, one that comes or goes meanwhile may be missed. Where the kernel has no batches the walk goes from key to
   * key; when the key in hand is deleted by someone else the kernel starts again, so keys may come twice, and the walk
   * ends after twice `maxEntries` steps at the latest. Deleting entries in the loop is fine either way.
   *
   * @throws SyscallError, BpfError `ERR_CLOSED`
   */
  *entries(): Generator<[K, V], void, undefined> {
    this.#check();
    const reader = new BatchReader(this.#bulk());
    const { keySize } = this.description;
    for (let count = reader.read(); count > 0; count = this.#readMore(reader)) {
      for (let i = 0; i < count; i++) {
        yield [
          this.keyCodec.decode(reader.keys, i * keySize),
          this.valueCodec.decode(reader.values, i * this.#valueBytes),
        ];
      }
    }
  }

  /** Walks over keys and values. See {@link entries}. */
  [Symbol.iterator](): Generator<[K, V], void, undefined> {
    return this.entries();
  }

  /**
   * Calls back for each entry: quicker than a loop over {@link entries}, which makes an array for each.
   *
   * @param callback called with value and key, as by `Map.prototype.forEach`
   * @param options size of a batch
   * @throws SyscallError, BpfError `ERR_CLOSED`, and what the callback throws
   */
  forEach(callback: (value: V, key: K) => void, options: BatchOptions = {}): void {
    this.#check();
    const reader = new BatchReader(this.#bulk(), options);
    const { keySize } = this.description;
    const { keyCodec, valueCodec } = this;
    const valueBytes = this.#valueBytes;
    for (let count = reader.read(); count > 0; count = this.#readMore(reader)) {
      const { keys, values } = reader;
      for (let i = 0; i < count; i++) {
        callback(valueCodec.decode(values, i * valueBytes), keyCodec.decode(keys, i * keySize));
      }
    }
  }

  /**
   * Reads all entries as bytes, many at a time, into the same buffers again and again: the quickest way through a large
   * map. Typed arrays can be laid over `keys.buffer` and `values.buffer`.
   *
   * @param options size of a batch
   * @returns batches with at least one entry each; `keys` and `values` are valid until the next one
   * @throws SyscallError, BpfError `ERR_CLOSED`
   * @example
   * ```ts
   * using bytes = createMap({ type: "hash", key: u32, value: u64, maxEntries: 100 });
   * bytes.setMany([[1, 10n], [2, 20n]]);
   * let sum = 0n;
   * for (const { count, values } of bytes.batches()) {
   *   const numbers = new BigUint64Array(values.buffer, 0, count);
   *   for (const number of numbers) sum += number;
   * }
   * sum; // 30n
   * ```
   */
  *batches(options: BatchOptions = {}): Generator<Batch, void, undefined> {
    this.#check();
    const reader = new BatchReader(this.#bulk(), options);
    for (let count = reader.read(); count > 0; count = this.#readMore(reader)) yield this.#batch(reader, count);
  }

  /**
   * Takes all entries out: reads and deletes them, many at a time. What the loop was given is deleted already; leaving
   * it early loses the rest of the batch in hand. Hashes do both in one step for each bucket (Linux 5.6); for other
   * types each entry is looked up and then deleted, and a change in between is lost.
   *
   * @param options size of a batch
   * @throws SyscallError, BpfError `ERR_CLOSED`
   * @example
   * ```ts
   * using counts = createMap({ type: "hash", key: u32, value: u64, maxEntries: 100 });
   * counts.setMany([[1, 10n], [2, 20n]]);
   * let sum = 0n;
   * for (const [, value] of counts.drain()) sum += value;
   * sum; // 30n
   * counts.count(); // 0
   * ```
   */
  *drain(options: BatchOptions = {}): Generator<[K, V], void, undefined> {
    this.#check();
    const reader = new BatchReader(this.#bulk(), { ...options, take: true });
    const { keySize } = this.description;
    for (let count = reader.read(); count > 0; count = this.#readMore(reader)) {
      for (let i = 0; i < count; i++) {
        yield [
          this.keyCodec.decode(reader.keys, i * keySize),
          this.valueCodec.decode(reader.values, i * this.#valueBytes),
        ];
      }
    }
  }

  /**
   * Counts the entries by walking over them: as much work as reading them all.
   *
   * @throws SyscallError, BpfError `ERR_CLOSED`
   */
  count(): number {
    this.#check();
    let total = 0;
    const reader = new BatchReader(this.#bulk(), { keysOnly: true });
    for (let count = reader.read(); count > 0; count = reader.read()) total += count;
    return total;
  }

  /**
   * Writes many entries, many in each call where the kernel can (Linux 5.6).
   *
   * @param entries keys and values
   * @param options flag, size of a batch
   * @returns how many were written
   * @throws SyscallError as of {@link set}; its message says how many were written before
   * @example
   * ```ts
   * using squares = createMap({ type: "hash", key: u32, value: u64, maxEntries: 1000 });
   * squares.setMany(Array.from({ length: 1000 }, (_, i) => [i, BigInt(i * i)] as const)); // 1000
   * squares.get(30); // 900n
   * squares.deleteMany([1, 2, 5000]); // 2
   * ```
   */
  setMany(entries: Iterable<readonly [K, I]>, options: SetManyOptions = {}): number {
    this.#check();
    const writer = new BulkWriter(this.#bulk(), this.description, options.size);
    const flags = updateBits(options.flag ?? "any");
    for (const [key, value] of entries) {
      this.keyCodec.encodeInto(key, writer.keys, writer.keyOffset);
      this.valueCodec.encodeInto(value, writer.values, writer.valueOffset);
      if (writer.add()) writer.update(flags);
    }
    writer.update(flags);
    return writer.done;
  }

  /**
   * Deletes many entries, many in each call where the kernel can (Linux 5.6).
   *
   * @param keys keys; those without an entry are passed over
   * @param options size of a batch
   * @returns how many entries there were
   * @throws SyscallError
   */
  deleteMany(keys: Iterable<K>, options: BatchOptions = {}): number {
    this.#check();
    const writer = new BulkWriter(this.#bulk(), this.description, options.size);
    for (const key of keys) {
      this.keyCodec.encodeInto(key, writer.keys, writer.keyOffset);
      if (writer.add()) writer.remove();
    }
    writer.remove();
    return writer.done;
  }

  /**
   * Deletes all entries; those of an array become zeros. Entries that others add meanwhile may stay.
   *
   * @throws SyscallError, BpfError `ERR_CLOSED`
   */
  clear(): void {
    this.#check();
    const bulk = this.#bulk();
    const { keySize } = this.description;
    const writer = new BulkWriter(bulk, this.description, undefined);
    const zero = isFilled(this.description.type);
    const put = (key: Uint8Array): void => {
      writer.keys.set(key, writer.keyOffset);
      if (!writer.add()) return;
      if (zero) writer.update(0);
      else writer.remove();
    };
    if (zero) {
      // All keys are known; the values in the writer's buffer are zeros.
      const key = new Uint8Array(4);
      const view = new DataView(key.buffer);
      for (let i = 0; i < this.description.maxEntries; i++) {
        view.setUint32(0, i, true);
        put(key);
      }
      writer.update(0);
      return;
    }
    const reader = new BatchReader(bulk, { keysOnly: true });
    for (let count = reader.read(); count > 0; count = reader.read()) {
      for (let i = 0; i < count; i++) put(reader.keys.subarray(i * keySize, (i + 1) * keySize));
    }
    writer.remove();
  }

  /**
   * Makes the map read-only for user space, for good (Linux 5.2); programs may write to it unless it was created with
   * `rdonly_prog`. A mapping that can be written to must be closed first.
   *
   * @throws SyscallError `EBUSY` while it is mapped writable, `EPERM` when it is frozen already
   */
  freeze(): void {
    this.#check();
    const action = `Cannot freeze ${this.#owner.label}`;
    try {
      bpf(this.#owner.backend, "BPF_MAP_FREEZE", mapElemAttr, { map_fd: this.fd }, { action });
    } catch (error) {
      const code = (error as BpfError).code;
      const detail =
        code === "EBUSY"
          ? "it is mapped writable, or being written to: close the mapping first"
          : code === "EPERM"
            ? "it is frozen already, or this process may not"
            : undefined;
      if (detail === undefined) throw error;
      throw bpfError("BPF_MAP_FREEZE", errnoNumber(code), { action, detail });
    }
  }

  /**
   * Asks the kernel what the map is now.
   *
   * @throws SyscallError, BpfError `ERR_CLOSED`
   */
  info(): MapInfo {
    this.#check();
    return readMapInfo(this.#owner);
  }

  /**
   * Gives the map a name in the BPF file system, which keeps it alive. The folder is made, with mode 0700, when only
   * that is missing.
   *
   * @param path absolute path on a BPF file system, such as `/sys/fs/bpf/app/counts`
   * @throws BpfError `ERR_PIN` for a path that cannot be; SyscallError `EEXIST` when it is taken
   */
  pin(path: string): void {
    this.#check();
    pinObject(this.#owner, path);
    this.#pins.add(path);
  }

  /**
   * Takes names away that {@link pin} gave.
   *
   * @param path which; default: all that this handle gave
   * @throws BpfError `ERR_PIN`
   */
  unpin(path?: string): void {
    for (const one of path === undefined ? [...this.#pins] : [path]) {
      unpin(one);
      this.#pins.delete(one);
    }
  }

  /** Names that {@link pin} gave and {@link unpin} did not take away. */
  get pins(): readonly string[] {
    return [...this.#pins];
  }

  /** Closes the descriptor. The kernel frees the map when no program, pin or other descriptor holds it. Idempotent. */
  close(): void {
    this.#owner.close();
  }

  /** Closes the descriptor. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** The calls on single entries, for kinds of maps with operations of their own. @internal */
  protected get calls(): ElementCalls {
    this.#check();
    return this.#calls;
  }

  /** @internal */
  protected failure(command: BpfCommand, errno: number, verb: string): Error {
    return this.#error(command, errno, verb);
  }

  #bulk(): BulkShape {
    const { keySize, maxEntries } = this.description;
    return { owner: this.#owner, keySize, valueBytes: this.#valueBytes, maxEntries };
  }

  #batch(reader: BatchReader, count: number): Batch {
    return {
      count,
      keys: reader.keys.subarray(0, count * this.description.keySize),
      values: reader.values.subarray(0, count * this.#valueBytes),
    };
  }

  /** The caller may have closed the map in the loop. */
  #readMore(reader: BatchReader): number {
    this.#check();
    return reader.read();
  }

  #check(): void {
    if (this.#owner.closed) throw new BpfError("ERR_CLOSED", `Cannot use ${this.#owner.label}: it is closed`);
  }

  #error(command: BpfCommand, errno: number, verb: string): Error {
    const detail = elementDetail(command, errnoName(errno), this.description);
    return bpfError(command, errno, { action: `Cannot ${verb} ${this.#owner.label}`, detail });
  }
}

function updateBits(flag: UpdateFlag): number {
  const flags = UPDATE_FLAGS[flag];
  if (flags === undefined) throw new TypeError(`"${flag}" is no update flag: use any, noexist, exist or lock`);
  return flags;
}

function lockOnly(flag: "lock"): number {
  if (flag !== "lock") throw new TypeError(`"${flag}" is no lookup flag: use lock`);
  return UPDATE_FLAGS.lock;
}
