import { bytes as bytesCodec, type Codec } from "../bytes/index.ts";
import { BpfError } from "../errors.ts";
import { BpfCommand, mapElemAttr } from "../kernel-abi/index.ts";
import { encodeAttr } from "../syscall/attr.ts";
import type { SyscallBackend } from "../syscall/backend.ts";
import { bpfError } from "../syscall/bpf.ts";
import { keepAlive, kernelBuffer } from "../syscall/call.ts";
import { errnoNumber } from "../syscall/errno.ts";
import type { Fd } from "../syscall/fd.ts";
import { emitTrace, isTracing, type TraceValue } from "../syscall/trace.ts";

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
  // One set of buffers for the map's life, and for each operation attributes that point at them already: allocating
  // per call costs three times the call itself, filling in addresses a tenth of it.
  readonly #key: Uint8Array;
  readonly #value: Uint8Array;
  readonly #nextKey: Uint8Array;
  readonly #lookup: ElementAttr;
  readonly #update: ElementAttr;
  readonly #delete: ElementAttr;
  readonly #first: ElementAttr;
  readonly #next: ElementAttr;
  #open = true;

  /** @internal use {@link createMap} */
  constructor(owner: Fd, description: MapDescription, keyCodec: Codec<K>, valueCodec: Codec<V>) {
    this.#owner = owner;
    this.#backend = owner.backend;
    this.description = description;
    this.keyCodec = keyCodec;
    this.valueCodec = valueCodec;
    const fd = owner.number;
    this.#key = kernelBuffer(description.keySize);
    this.#value = kernelBuffer(description.valueSize);
    this.#nextKey = kernelBuffer(description.keySize);
    const attr = (command: ElementCommand, key: Uint8Array | undefined, value: Uint8Array | undefined): ElementAttr => {
      const buffer = encodeAttr(this.#backend, mapElemAttr, { map_fd: fd, key, value });
      const view = new DataView(buffer.bytes.buffer);
      return { command, number: BpfCommand[command], view, address: buffer.address, key, value };
    };
    this.#lookup = attr("BPF_MAP_LOOKUP_ELEM", this.#key, this.#value);
    this.#update = attr("BPF_MAP_UPDATE_ELEM", this.#key, this.#value);
    this.#delete = attr("BPF_MAP_DELETE_ELEM", this.#key, undefined);
    this.#first = attr("BPF_MAP_GET_NEXT_KEY", undefined, this.#nextKey);
    this.#next = attr("BPF_MAP_GET_NEXT_KEY", this.#key, this.#nextKey);
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
    const result = this.#element(this.#lookup);
    if (result === -ENOENT) return undefined;
    if (result < 0) throw this.#error("BPF_MAP_LOOKUP_ELEM", result, "look up in");
    return this.valueCodec.decode(this.#value, 0);
  }

  /** Whether there is an entry for a key. A lookup: an LRU map counts it as use. */
  has(key: K): boolean {
    this.#check();
    this.keyCodec.encodeInto(key, this.#key, 0);
    const result = this.#element(this.#lookup);
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
    this.#update.view.setUint32(FLAGS, flags, true);
    const result = this.#element(this.#update);
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
    const result = this.#element(this.#delete);
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
    const result = this.#element(key === undefined ? this.#first : this.#next);
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

  #element(attr: ElementAttr): number {
    if (isTracing()) return this.#tracedElement(attr);
    const result = this.#backend.bpf(attr.number, attr.address, mapElemAttr.size);
    keepAlive(this);
    return result;
  }

  #tracedElement(attr: ElementAttr): number {
    const { command, key, value } = attr;
    const input: Record<string, TraceValue> = { map_fd: this.#owner.number, key: key?.slice() ?? 0 };
    if (command === "BPF_MAP_UPDATE_ELEM") input.value = value?.slice();
    const started = performance.now();
    const result = this.#backend.bpf(attr.number, attr.address, mapElemAttr.size);
    const nanoseconds = Math.round((performance.now() - started) * 1e6);
    if (result === 0 && command === "BPF_MAP_LOOKUP_ELEM") input.value = value?.slice();
    if (result === 0 && command === "BPF_MAP_GET_NEXT_KEY") input.next_key = value?.slice();
    const flags = attr.view.getUint32(FLAGS, true);
    emitTrace("bpf", command, { ...input, flags }, result, nanoseconds);
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

/** Attributes of one operation, with the buffers they point at. */
interface ElementAttr {
  readonly command: ElementCommand;
  readonly number: number;
  readonly view: DataView;
  readonly address: number;
  readonly key: Uint8Array | undefined;
  readonly value: Uint8Array | undefined;
}

const FLAGS = mapElemAttr.fields.flags.offset;

/** Codec of plain bytes, for maps without a schema. @internal */
export function rawCodec(size: number): Codec<Uint8Array> {
  return bytesCodec(size);
}
