// Browser-safe.

import type { Codec } from "../../bytes/index.ts";
import type { MapType } from "../../kernel-abi/index.ts";
import type { Region } from "../memory.ts";
import { EEXIST, EINVAL, ENOENT, ENOTSUPP, EOPNOTSUPP, errnoError } from "./errno.ts";
import type { MachineMapDescription, ProgramMap } from "./program-map.ts";
import type { BloomMap, QueueMap } from "./queue.ts";
import type { RingMap } from "./ringbuf.ts";

/** How an update treats an entry that is there already, or not yet, as with maps of the kernel. */
export type MachineUpdateFlag = "any" | "noexist" | "exist" | "lock" | "noexist|lock" | "exist|lock";

const UPDATE_FLAGS: { readonly [F in MachineUpdateFlag]: number } = {
  any: 0,
  noexist: 1,
  exist: 2,
  lock: 4,
  "noexist|lock": 5,
  "exist|lock": 6,
};

/** Types that a test may not read entries of by key, or not at all. */
const NO_KEYS: ReadonlySet<MapType> = /* @__PURE__ */ new Set<MapType>(["queue", "stack", "bloom_filter", "ringbuf"]);

/**
 * A map in the memory of a machine. It answers as a map of the kernel does, and has the same methods, so that a test can
 * put one in the other's place. Values that a program holds pointers to are the same bytes.
 *
 * Errors are `BpfError`s with the name of the errno as `code`.
 *
 * @typeParam K key
 * @typeParam V value as it is read: an array with one for each processor in per-CPU maps
 * @typeParam I value as it is written
 */
export class MachineMap<K = Uint8Array, V = Uint8Array, I = V> {
  /** Codec of keys. */
  readonly keyCodec: Codec<K>;
  /** Codec of values: of those of all processors together in per-CPU maps. */
  readonly valueCodec: Codec<V, I>;
  /** @internal What programs see of it. */
  readonly inside: ProgramMap;
  #scratch: Region | undefined;

  /** @internal use `createMachine` */
  constructor(inside: ProgramMap, keyCodec: Codec<K>, valueCodec: Codec<V, I>) {
    this.inside = inside;
    this.keyCodec = keyCodec;
    this.valueCodec = valueCodec;
  }

  /** What the map is. */
  get description(): MachineMapDescription {
    return this.inside.description;
  }

  /** Number in the machine, by which instructions and maps of maps refer to it. */
  get fd(): number {
    return this.inside.fd;
  }

  /** Name; empty when it has none. */
  get name(): string {
    return this.inside.name;
  }

  /** Number of entries where the type always has all of them; see {@link count}. */
  get size(): number | undefined {
    const { type, maxEntries } = this.description;
    return type === "array" || type === "percpu_array" ? maxEntries : undefined;
  }

  #room(): Region {
    this.#scratch ??= this.inside.memory.allocate({
      kind: "memory",
      name: "room of the machine",
      size: Math.ceil(this.keyCodec.size / 8) * 8 + this.valueCodec.size,
      permission: 0,
    });
    return this.#scratch;
  }

  /** Address of a key, put where the map can see it. */
  #keyAt(key: K): number {
    const at = this.#room().start;
    const { memory } = this.inside;
    this.keyCodec.encodeInto(key, memory.bytes, at);
    return at;
  }

  /** @internal Address of a value, put where the map can see it. */
  protected valueAt(value: I): number {
    const at = this.#room().start + Math.ceil(this.keyCodec.size / 8) * 8;
    this.valueCodec.encodeInto(value, this.inside.memory.bytes, at);
    return at;
  }

  /** @internal Room for a value. */
  protected valueRoom(): number {
    return this.#room().start + Math.ceil(this.keyCodec.size / 8) * 8;
  }

  /** @internal The value at an address. */
  protected valueFrom(at: number): V {
    return this.valueCodec.decode(this.inside.memory.bytes, at);
  }

  #find(key: K): number {
    if (NO_KEYS.has(this.inside.type)) throw this.failure("look up in", -EOPNOTSUPP);
    return this.inside.find(this.#keyAt(key));
  }

  /**
   * Looks an entry up.
   *
   * @param key key
   * @returns the value, or `undefined` when there is none
   */
  get(key: K): V | undefined {
    const at = this.#find(key);
    return at === 0 ? undefined : this.valueFrom(at);
  }

  /**
   * Looks an entry up, and copies the bytes of its value.
   *
   * @param key key
   * @param into gets the bytes
   * @param offset where in `into`. Default 0
   * @returns whether there was an entry; `into` is left alone when not
   * @throws RangeError when the value does not fit
   */
  getInto(key: K, into: Uint8Array, offset = 0): boolean {
    const { size } = this.valueCodec;
    if (!(offset >= 0 && offset + size <= into.length)) {
      throw new RangeError(`Need ${size} bytes at offset ${offset} for the value, there are ${into.length}`);
    }
    const at = this.#find(key);
    if (at !== 0) into.set(this.inside.memory.range(at, size), offset);
    return at !== 0;
  }

  /** Whether there is an entry for a key. */
  has(key: K): boolean {
    return this.#find(key) !== 0;
  }

  /**
   * Writes an entry.
   *
   * @param key key
   * @param value value
   * @param flag `any` (default), `noexist` (fail with `EEXIST` when there is one), `exist` (fail with `ENOENT` when not)
   * @throws BpfError `E2BIG` when the map is full, `EEXIST`, `ENOENT`
   */
  set(key: K, value: I, flag: MachineUpdateFlag = "any"): this {
    const result = this.#write(key, value, flag);
    if (result < 0) throw this.failure("update", result);
    return this;
  }

  /**
   * Writes an entry, and tells whether the flag let it.
   *
   * @returns `false` when `noexist` found an entry, or `exist` none
   * @throws BpfError `E2BIG` when the map is full, and others
   */
  update(key: K, value: I, flag: MachineUpdateFlag = "any"): boolean {
    const result = this.#write(key, value, flag);
    if (result >= 0) return true;
    if (result === -EEXIST && flag.startsWith("noexist")) return false;
    if (result === -ENOENT && flag.startsWith("exist")) return false;
    throw this.failure("update", result);
  }

  #write(key: K, value: I, flag: MachineUpdateFlag): number {
    const flags = UPDATE_FLAGS[flag];
    if (flags === undefined) throw new TypeError(`"${String(flag)}" is no update flag`);
    const at = this.#keyAt(key);
    return this.inside.store(at, this.valueAt(value), flags);
  }

  /**
   * Deletes an entry. An array's entries always exist: `EINVAL`.
   *
   * @returns whether there was one
   */
  delete(key: K): boolean {
    const result = this.inside.remove(this.#keyAt(key));
    if (result === -ENOENT) return false;
    if (result < 0) throw this.failure("delete from", result);
    return true;
  }

  /**
   * Looks an entry up and deletes it.
   *
   * @returns the value, or `undefined` when there was none
   * @throws BpfError `ENOTSUPP` for types that do not have it
   */
  take(key: K): V | undefined {
    if (!this.inside.type.includes("hash") || this.inside.type === "hash_of_maps") {
      throw this.failure("take from", -ENOTSUPP);
    }
    const at = this.#find(key);
    if (at === 0) return undefined;
    const value = this.valueFrom(at);
    this.inside.remove(this.#keyAt(key));
    return value;
  }

  /** Walks over the keys that are there when it begins. */
  *keys(): Generator<K, void, undefined> {
    const { memory } = this.inside;
    // Decoded at once: an entry that is deleted in the loop gives its place to another.
    const found = this.inside.keys().map((at) => this.keyCodec.decode(memory.bytes, at));
    yield* found;
  }

  /** Walks over the values. */
  *values(): Generator<V, void, undefined> {
    for (const [, value] of this.entries()) yield value;
  }

  /** Walks over keys and values; those that are deleted in the loop do not come any more. */
  *entries(): Generator<[K, V], void, undefined> {
    for (const key of this.keys()) {
      const at = this.inside.find(this.#keyAt(key));
      if (at !== 0) yield [key, this.valueFrom(at)];
    }
  }

  /** Walks over keys and values. */
  [Symbol.iterator](): Generator<[K, V], void, undefined> {
    return this.entries();
  }

  /** Calls back for each entry. */
  forEach(callback: (value: V, key: K) => void): void {
    for (const [key, value] of this.entries()) callback(value, key);
  }

  /** Number of entries. */
  count(): number {
    return this.inside.keys().length;
  }

  /**
   * Writes many entries.
   *
   * @returns how many
   */
  setMany(entries: Iterable<readonly [K, I]>): number {
    let count = 0;
    for (const [key, value] of entries) {
      this.set(key, value);
      count++;
    }
    return count;
  }

  /** Deletes all entries; in arrays, whose entries always exist, sets them to zero. */
  clear(): void {
    const { inside } = this;
    const filled = this.size !== undefined;
    for (const at of inside.keys()) {
      if (filled) inside.memory.bytes.fill(0, inside.find(at), inside.find(at) + inside.storedSize);
      else inside.remove(at);
    }
  }

  /** @internal */
  protected failure(verb: string, errno: number): Error {
    const detail = errno === -EINVAL && verb === "delete from" ? "entries of an array cannot be deleted" : undefined;
    return errnoError(`Cannot ${verb} ${this.inside.label}`, errno, this.size === undefined ? undefined : detail);
  }
}

/** A queue or a stack of a machine. */
export class MachineQueue<V = Uint8Array, I = V> extends MachineMap<Uint8Array, V, I> {
  /**
   * Adds a value.
   *
   * @param value value
   * @param options `replace`: when it is full, the oldest goes
   * @returns `false` when it is full
   */
  push(value: I, options: { readonly replace?: boolean } = {}): boolean {
    return this.inside.push(this.valueAt(value), options.replace === true ? 2 : 0) >= 0;
  }

  /** Takes the next value out; `undefined` when there is none. */
  pop(): V | undefined {
    const at = this.valueRoom();
    return this.inside.pop(at) < 0 ? undefined : this.valueFrom(at);
  }

  /** The next value, which stays; `undefined` when there is none. */
  peek(): V | undefined {
    const at = this.valueRoom();
    return this.inside.peek(at) < 0 ? undefined : this.valueFrom(at);
  }

  /** Number of values. */
  override count(): number {
    return (this.inside as QueueMap).count;
  }

  /** Takes all values out. */
  override clear(): void {
    const at = this.valueRoom();
    while (this.inside.pop(at) >= 0);
  }
}

/** A Bloom filter of a machine. */
export class MachineBloomFilter<V = Uint8Array, I = V> extends MachineMap<Uint8Array, V, I> {
  /** Adds a value. */
  add(value: I): this {
    (this.inside as BloomMap).push(this.valueAt(value), 0);
    return this;
  }

  /** Whether a value was added; now and then `true` for one that was not. */
  mayContain(value: I): boolean {
    return (this.inside as BloomMap).peek(this.valueAt(value)) >= 0;
  }
}

/** A ring buffer of a machine, and the records in it. */
export class MachineRingBuffer<V = Uint8Array, I = V> extends MachineMap<Uint8Array, V, I> {
  readonly #record: Codec<V> | undefined;

  /** @internal use `createMachine` */
  constructor(inside: ProgramMap, none: Codec<Uint8Array>, record: Codec<V> | undefined) {
    super(inside, none, none as unknown as Codec<V, I>);
    this.#record = record;
  }

  /**
   * Takes out the records that were submitted, oldest first.
   *
   * @param callback gets each record: what its codec makes of it, else its bytes
   * @returns how many there were
   */
  consume(callback: (record: V) => void): number {
    let count = 0;
    for (;;) {
      const bytes = (this.inside as RingMap).shift();
      if (bytes === undefined) return count;
      count++;
      callback(this.#record === undefined ? (bytes as V) : this.#record.decode(bytes, 0));
    }
  }

  /** Takes out the records that were submitted, oldest first. */
  drainRecords(): V[] {
    const found: V[] = [];
    this.consume((record) => found.push(record));
    return found;
  }

  /** Bytes that wait, headers included. */
  get available(): number {
    return (this.inside as RingMap).available;
  }

  /** Records that were reserved and neither submitted nor discarded. */
  get busy(): number {
    return (this.inside as RingMap).busy;
  }
}
