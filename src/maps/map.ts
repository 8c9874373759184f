import { bytes as bytesCodec, type Codec } from "../bytes/index.ts";
import { BpfError } from "../errors.ts";
import { BpfCommand, mapElemAttr } from "../kernel-abi/index.ts";
import type { SyscallBackend } from "../syscall/backend.ts";
import { bpfError } from "../syscall/bpf.ts";
import { keepAlive, kernelBuffer } from "../syscall/call.ts";
import { errnoNumber } from "../syscall/errno.ts";
import type { Fd } from "../syscall/fd.ts";
import { emitTrace, isTracing } from "../syscall/trace.ts";

/** How an update treats an entry that exists already, or not yet. */
export type UpdateFlag = "any" | "noexist" | "exist";

const UPDATE_FLAGS: { readonly [F in UpdateFlag]: number } = { any: 0, noexist: 1, exist: 2 };

const ENOENT = errnoNumber("ENOENT");

/** What a map is, as it was created. */
export interface MapDescription {
  /** Map type in the kernel's lower-case spelling, for example `hash`. */
  readonly type: string;
  /** Name; empty when it has none. */
  readonly name: string;
  /** Bytes of a key. */
  readonly keySize: number;
  /** Bytes of a value. */
  readonly valueSize: number;
  /** Most entries it can hold. */
  readonly maxEntries: number;
  /** `BPF_F_*` flags it was created with. */
  readonly flags: number;
}

/**
 * An open map: feels like a `Map`, but every operation is a system call, and the kernel and other processes change
 * the entries meanwhile. Keys and values are what its codecs say, plain bytes without any.
 *
 * @typeParam K key
 * @typeParam V value
 */
export class BpfMap<K = Uint8Array, V = Uint8Array> {
  /** What the map is. */
  readonly description: MapDescription;
  /** Codec of keys. */
  readonly keyCodec: Codec<K>;
  /** Codec of values. */
  readonly valueCodec: Codec<V>;
  readonly #owner: Fd;
  readonly #backend: SyscallBackend;
  // One set of buffers for the map's life: allocating per call costs three times the call itself.
  readonly #attr: DataView;
  readonly #attrAddress: number;
  readonly #key: Uint8Array;
  readonly #value: Uint8Array;
  readonly #keyAddress: number;
  readonly #valueAddress: number;
  readonly #nextKey: Uint8Array;
  readonly #nextKeyAddress: number;
  #open = true;

  /** @internal use {@link createMap} */
  constructor(owner: Fd, description: MapDescription, keyCodec: Codec<K>, valueCodec: Codec<V>) {
    this.#owner = owner;
    this.#backend = owner.backend;
    this.description = description;
    this.keyCodec = keyCodec;
    this.valueCodec = valueCodec;
    const attr = kernelBuffer(mapElemAttr.size);
    this.#attr = new DataView(attr.buffer);
    this.#attrAddress = this.#backend.addressOf(attr);
    this.#key = kernelBuffer(description.keySize);
    this.#value = kernelBuffer(description.valueSize);
    this.#nextKey = kernelBuffer(description.keySize);
    this.#keyAddress = this.#backend.addressOf(this.#key);
    this.#valueAddress = this.#backend.addressOf(this.#value);
    this.#nextKeyAddress = this.#backend.addressOf(this.#nextKey);
    this.#attr.setUint32(mapElemAttr.fields.map_fd.offset, owner.number, true);
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
    return !this.#open;
  }

  /**
   * Looks an entry up.
   *
   * @param key key
   * @returns the value, or `undefined` when there is none
   * @throws SyscallError, BpfError `ERR_CLOSED`
   */
  get(key: K): V | undefined {
    this.#check();
    this.keyCodec.encodeInto(key, this.#key, 0);
    const result = this.#element("BPF_MAP_LOOKUP_ELEM", this.#keyAddress, this.#valueAddress, 0);
    if (result === -ENOENT) return undefined;
    if (result < 0) throw this.#error("BPF_MAP_LOOKUP_ELEM", result, "look up in");
    return this.valueCodec.decode(this.#value, 0);
  }

  /** Whether there is an entry for a key. A lookup: an LRU map counts it as use. */
  has(key: K): boolean {
    this.#check();
    this.keyCodec.encodeInto(key, this.#key, 0);
    const result = this.#element("BPF_MAP_LOOKUP_ELEM", this.#keyAddress, this.#valueAddress, 0);
    if (result === -ENOENT) return false;
    if (result < 0) throw this.#error("BPF_MAP_LOOKUP_ELEM", result, "look up in");
    return true;
  }

  /**
   * Writes an entry.
   *
   * @param key key
   * @param value value
   * @param flag `any` (default), `noexist` (fail with EEXIST when there is one), `exist` (fail with ENOENT when not)
   * @throws SyscallError `E2BIG` when the map is full, `EEXIST`, `ENOENT`
   */
  set(key: K, value: V, flag: UpdateFlag = "any"): this {
    this.#check();
    const flags = UPDATE_FLAGS[flag];
    if (flags === undefined) throw new TypeError(`"${flag}" is no update flag: use any, noexist or exist`);
    this.keyCodec.encodeInto(key, this.#key, 0);
    this.valueCodec.encodeInto(value, this.#value, 0);
    const result = this.#element("BPF_MAP_UPDATE_ELEM", this.#keyAddress, this.#valueAddress, flags);
    if (result < 0) throw this.#error("BPF_MAP_UPDATE_ELEM", result, "update");
    return this;
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
    const result = this.#element("BPF_MAP_DELETE_ELEM", this.#keyAddress, 0, 0);
    if (result === -ENOENT) return false;
    if (result < 0) throw this.#error("BPF_MAP_DELETE_ELEM", result, "delete from");
    return true;
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
    const from = key === undefined ? 0 : this.#keyAddress;
    const result = this.#element("BPF_MAP_GET_NEXT_KEY", from, this.#nextKeyAddress, 0);
    if (result === -ENOENT) return undefined;
    if (result < 0) throw this.#error("BPF_MAP_GET_NEXT_KEY", result, "walk");
    return this.keyCodec.decode(this.#nextKey, 0);
  }

  /**
   * Walks over the keys. An entry deleted by someone else meanwhile makes the kernel start again, so a key may come
   * twice; the walk ends after twice `maxEntries` steps at the latest.
   */
  *keys(): Generator<K, void, undefined> {
    const limit = 2 * this.description.maxEntries;
    let key = this.nextKey();
    for (let steps = 0; key !== undefined && steps < limit; steps++) {
      const current = key;
      // Asked for before the caller has a chance to delete the current one, which would start the walk again.
      key = this.nextKey(current);
      yield current;
    }
  }

  /** Walks over keys and values; entries that vanish between the two calls are passed over. See {@link keys}. */
  *entries(): Generator<[K, V], void, undefined> {
    for (const key of this.keys()) {
      const value = this.get(key);
      if (value !== undefined) yield [key, value];
    }
  }

  /** Walks over keys and values. */
  [Symbol.iterator](): Generator<[K, V], void, undefined> {
    return this.entries();
  }

  /** Closes the descriptor. The kernel frees the map when no program, pin or other descriptor holds it. Idempotent. */
  close(): void {
    this.#open = false;
    this.#owner.close();
  }

  /** Closes the descriptor. */
  [Symbol.dispose](): void {
    this.close();
  }

  #check(): void {
    if (!this.#open) throw new BpfError("ERR_CLOSED", `Cannot use ${this.#owner.label}: it is closed`);
  }

  #element(command: ElementCommand, key: number, value: number, flags: number): number {
    const attr = this.#attr;
    setAddress(attr, KEY, key);
    setAddress(attr, VALUE, value);
    attr.setUint32(FLAGS, flags, true);
    if (isTracing()) return this.#tracedElement(command, key, value, flags);
    const result = this.#backend.bpf(BpfCommand[command], this.#attrAddress, mapElemAttr.size);
    keepAlive(this);
    return result;
  }

  #tracedElement(command: ElementCommand, key: number, value: number, flags: number): number {
    const before = { map_fd: this.#owner.number, key: key === 0 ? 0 : this.#key.slice() };
    const written = command === "BPF_MAP_UPDATE_ELEM" ? { value: this.#value.slice() } : {};
    const started = performance.now();
    const result = this.#backend.bpf(BpfCommand[command], this.#attrAddress, mapElemAttr.size);
    const nanoseconds = Math.round((performance.now() - started) * 1e6);
    const read =
      result < 0 || value === 0 || command === "BPF_MAP_UPDATE_ELEM"
        ? {}
        : command === "BPF_MAP_GET_NEXT_KEY"
          ? { next_key: this.#nextKey.slice() }
          : { value: this.#value.slice() };
    emitTrace("bpf", command, { ...before, ...written, ...read, flags }, result, nanoseconds);
    return result;
  }

  #error(command: BpfCommand, errno: number, verb: string): Error {
    const full = errno === -errnoNumber("E2BIG") && command === "BPF_MAP_UPDATE_ELEM";
    const array = this.description.type.includes("array");
    const detail = !full
      ? undefined
      : array
        ? `index outside of ${this.description.maxEntries} entries`
        : `the map is full (${this.description.maxEntries} entries)`;
    return bpfError(command, errno, { action: `Cannot ${verb} ${this.#owner.label}`, detail });
  }
}

type ElementCommand = "BPF_MAP_LOOKUP_ELEM" | "BPF_MAP_UPDATE_ELEM" | "BPF_MAP_DELETE_ELEM" | "BPF_MAP_GET_NEXT_KEY";

const KEY = mapElemAttr.fields.key.offset;
const VALUE = mapElemAttr.fields.value.offset;
const FLAGS = mapElemAttr.fields.flags.offset;

/** Addresses are below 2^53: two 32-bit writes, no BigInt. */
function setAddress(attr: DataView, offset: number, address: number): void {
  attr.setUint32(offset, address >>> 0, true);
  attr.setUint32(offset + 4, (address / 0x1_0000_0000) >>> 0, true);
}

/** Codec of plain bytes, for maps without a schema. @internal */
export function rawCodec(size: number): Codec<Uint8Array> {
  return bytesCodec(size);
}
