import type { Codec } from "../bytes/index.ts";
import { BpfError } from "../errors.ts";
import { isErrno, SyscallError } from "../syscall/errors.ts";
import type { Fd } from "../syscall/fd.ts";
import { type MappedMemory, mapMemory, pageSize } from "../syscall/memory.ts";
import { MapFlag } from "./flags.ts";
import type { BpfMap } from "./map.ts";

/** How to map an array. */
export interface MapArrayOptions {
  /** `read` for a map that is frozen. Default `read-write`. */
  readonly access?: "read" | "read-write" | undefined;
}

/** A typed array that can be laid over memory. */
export interface ViewConstructor<A> {
  readonly BYTES_PER_ELEMENT: number;
  new (buffer: ArrayBuffer, byteOffset: number, length: number): A;
}

/**
 * An array map in this process's own memory: reading and writing costs no system call, and programs see it at once.
 *
 * Only single words of up to 8 bytes, aligned, are read and written whole; a program may change a larger value while it
 * is being read.
 */
export class MappedArray<V, I = V> {
  /** Number of entries. */
  readonly length: number;
  /** Bytes from one entry to the next: the size of a value, rounded up to a multiple of 8. */
  readonly stride: number;
  /** Whether it may be written to. */
  readonly writable: boolean;
  readonly #memory: MappedMemory;
  readonly #bytes: Uint8Array;
  readonly #codec: Codec<V, I>;
  readonly #label: string;

  /** @internal use {@link mapArray} */
  constructor(memory: MappedMemory, codec: Codec<V, I>, length: number, writable: boolean, label: string) {
    this.#memory = memory;
    this.#codec = codec;
    this.#label = label;
    this.length = length;
    this.stride = Math.ceil(codec.size / 8) * 8;
    this.writable = writable;
    this.#bytes = new Uint8Array(memory.buffer, 0, length * this.stride);
  }

  /**
   * Reads an entry.
   *
   * @param index from 0 on
   * @throws RangeError for an index outside of the map; BpfError `ERR_CLOSED`
   */
  get(index: number): V {
    return this.#codec.decode(this.#bytes, this.#place(index));
  }

  /**
   * Writes an entry.
   *
   * @param index from 0 on
   * @param value value
   * @throws RangeError for an index outside of the map or a value that does not fit; BpfError `ERR_CLOSED`,
   *   `ERR_NOT_SUPPORTED` when it is mapped for reading
   */
  set(index: number, value: I): this {
    const place = this.#place(index);
    this.#checkWritable();
    this.#codec.encodeInto(value, this.#bytes, place);
    return this;
  }

  /**
   * The whole map as live bytes. They stay readable after `close()`, as zeros, and lead nowhere then.
   *
   * @throws BpfError `ERR_CLOSED`; `ERR_NOT_SUPPORTED` when it is mapped for reading: a write would end the process
   */
  get bytes(): Uint8Array {
    this.#check();
    this.#checkWritable();
    return this.#bytes;
  }

  /**
   * The whole map as a live typed array.
   *
   * @param View such as `BigUint64Array`; for values that are smaller than a place, there are gaps
   * @throws BpfError as of {@link bytes}
   * @example
   * ```ts
   * using map = createMap({ type: "array", value: u64, maxEntries: 4, flags: ["mmapable"] });
   * using mapped = mapArray(map);
   * const counters = mapped.as(BigUint64Array);
   * counters[2] = 5n;
   * map.get(2); // 5n
   * ```
   */
  as<A>(View: ViewConstructor<A>): A {
    const { bytes } = this;
    return new View(bytes.buffer as ArrayBuffer, bytes.byteOffset, Math.floor(bytes.length / View.BYTES_PER_ELEMENT));
  }

  /**
   * Copies entries out as bytes.
   *
   * @param into gets the bytes
   * @param first first entry. Default 0
   * @returns number of whole entries copied
   * @throws RangeError for an index outside of the map; BpfError `ERR_CLOSED`
   */
  copyInto(into: Uint8Array, first = 0): number {
    this.#check();
    if (!(Number.isInteger(first) && first >= 0 && first <= this.length)) throw this.#outside(first);
    const count = Math.min(this.length - first, Math.floor(into.length / this.stride));
    into.set(this.#bytes.subarray(first * this.stride, (first + count) * this.stride));
    return count;
  }

  /** Whether `close()` was called. */
  get closed(): boolean {
    return this.#memory.closed;
  }

  /** Gives the memory back: every use throws from now on. The map stays open. Idempotent. */
  close(): void {
    this.#memory.close();
  }

  /** Gives the memory back. */
  [Symbol.dispose](): void {
    this.close();
  }

  #place(index: number): number {
    this.#check();
    if (!(Number.isInteger(index) && index >= 0 && index < this.length)) throw this.#outside(index);
    return index * this.stride;
  }

  #outside(index: number): RangeError {
    return new RangeError(`Index ${index} is outside of the ${this.length} entries of ${this.#label}`);
  }

  #check(): void {
    if (this.#memory.closed) throw new BpfError("ERR_CLOSED", `Cannot use the memory of ${this.#label}: it is closed`);
  }

  #checkWritable(): void {
    if (this.writable) return;
    throw new BpfError("ERR_NOT_SUPPORTED", `Cannot write to the memory of ${this.#label}: it is mapped for reading`, {
      hint: "use get and copyInto, or map it with access read-write",
    });
  }
}

/**
 * Maps an array into memory. The array must have been created with the flag `mmapable` (Linux 5.5).
 *
 * While it is mapped for writing, the map cannot be frozen: write, close, then freeze.
 *
 * @param map open map of type `array`
 * @param options access
 * @returns the memory: close it
 * @throws BpfError `ERR_TYPE_MISMATCH` for a map that cannot be mapped; SyscallError `EPERM` for one that is frozen,
 *   `EACCES` or `EINVAL` for one that was opened for reading or writing only: the kernel maps neither
 * @example
 * ```ts
 * using map = createMap({ type: "array", value: u32, maxEntries: 8, flags: ["mmapable"] });
 * using mapped = mapArray(map);
 * mapped.set(3, 42);
 * map.get(3); // 42
 * ```
 */
export function mapArray<V, I>(map: BpfMap<number, V, I>, options: MapArrayOptions = {}): MappedArray<V, I> {
  const { type, valueSize, maxEntries, flags } = map.description;
  const { label, backend } = map.owner;
  if (type !== "array" || (flags & MapFlag.mmapable) === 0) {
    const what = type === "array" ? "it was created without the flag BPF_F_MMAPABLE" : `it is a ${type}`;
    throw new BpfError("ERR_TYPE_MISMATCH", `Cannot map ${label} into memory: ${what}`);
  }
  const { access = "read-write" } = options;
  const page = pageSize(backend.architecture);
  const length = Math.ceil((Math.ceil(valueSize / 8) * 8 * maxEntries) / page) * page;
  let memory: MappedMemory;
  try {
    memory = mapMemory(backend, { fd: map.fd, length, access, label });
  } catch (error) {
    if (!isErrno(error, "EINVAL", "EACCES", "EPERM")) throw error;
    // Reading through a descriptor that was opened for reading is refused as well: the kernel takes that for private.
    const detail = isErrno(error, "EPERM")
      ? "it is frozen: map it with access read"
      : "its descriptor was opened for reading or writing only";
    throw new SyscallError(`Cannot map ${label} into memory`, "mmap", error.errno, { detail });
  }
  return new MappedArray(memory, map.valueCodec, maxEntries, access === "read-write", label);
}

/**
 * An arena: memory that programs and this process share, at addresses that both understand.
 *
 * Pages come into being when they are first touched, here or in a program, or when a program allocates them.
 */
export class MappedArena {
  /** Address of the first byte, in this process and in the pointers of programs. */
  readonly address: bigint;
  /** Bytes. */
  readonly length: number;
  readonly #memory: MappedMemory;
  readonly #bytes: Uint8Array;
  readonly #label: string;
  readonly #closed: () => void;

  /** @internal use {@link mapArena} */
  constructor(memory: MappedMemory, label: string, closed: () => void) {
    this.#memory = memory;
    this.#label = label;
    this.#closed = closed;
    this.address = BigInt(memory.address);
    this.length = memory.length;
    this.#bytes = new Uint8Array(memory.buffer, 0, memory.length);
  }

  /**
   * The memory as live bytes. They stay readable after `close()`, as zeros, and lead nowhere then.
   *
   * @throws BpfError `ERR_CLOSED`
   */
  get bytes(): Uint8Array {
    this.#check();
    return this.#bytes;
  }

  /**
   * Where a pointer that a program made leads.
   *
   * @param pointer as found in the arena or in a map; programs keep the lower 32 bits of it, or all
   * @returns offset in {@link bytes}
   * @throws RangeError when it leads out of the arena; BpfError `ERR_CLOSED`
   */
  offsetOf(pointer: bigint): number {
    this.#check();
    const offset = Number(BigInt.asUintN(32, pointer) - BigInt.asUintN(32, this.address));
    const whole = pointer <= 0xffffffffn || pointer - this.address === BigInt(offset);
    if (whole && offset >= 0 && offset < this.length) return offset;
    throw new RangeError(`Pointer 0x${pointer.toString(16)} leads out of ${this.#label}`);
  }

  /**
   * A pointer for programs.
   *
   * @param offset offset in {@link bytes}
   * @throws RangeError for an offset outside of the arena
   */
  pointerTo(offset: number): bigint {
    if (Number.isInteger(offset) && offset >= 0 && offset < this.length) return this.address + BigInt(offset);
    throw new RangeError(`Offset ${offset} is outside of the ${this.length} bytes of ${this.#label}`);
  }

  /** Whether `close()` was called. */
  get closed(): boolean {
    return this.#memory.closed;
  }

  /** Gives the memory back. What it holds stays in the map. Idempotent. */
  close(): void {
    if (this.closed) return;
    this.#memory.close();
    this.#closed();
  }

  /** Gives the memory back. */
  [Symbol.dispose](): void {
    this.close();
  }

  #check(): void {
    if (this.closed) throw new BpfError("ERR_CLOSED", `Cannot use the memory of ${this.#label}: it is closed`);
  }
}

/** Where each arena is, or was: the kernel knows it at that place only. */
const places = new WeakMap<Fd, { readonly address: number; open: boolean }>();

/**
 * Maps an arena into memory (Linux 6.9). A program that uses it can only be loaded afterwards, unless the arena was
 * created with an address (`mapExtra`).
 *
 * @param map open map of type `arena`
 * @returns the memory: close it
 * @throws BpfError `ERR_TYPE_MISMATCH` for a map of another type or one that is mapped already; `ERR_NOT_SUPPORTED` for
 *   one with the flag `segv_on_fault`: reading a page that is not there would end the process; SyscallError
 * @example
 * ```ts
 * using map = createMap({ type: "arena", maxEntries: 16, flags: ["mmapable"] });
 * using arena = mapArena(map);
 * arena.bytes[100] = 7;
 * arena.offsetOf(arena.pointerTo(100)); // 100
 * ```
 */
export function mapArena(map: BpfMap<unknown, unknown> | BpfMap): MappedArena {
  const { type, maxEntries, mapExtra, flags } = map.description;
  const { owner } = map;
  const { label, backend } = owner;
  if (type !== "arena") throw new BpfError("ERR_TYPE_MISMATCH", `Cannot map ${label} as an arena: it is a ${type}`);
  if ((flags & MapFlag.segv_on_fault) !== 0) {
    const message = `Cannot map ${label}: with BPF_F_SEGV_ON_FAULT, reading a page that is not there ends the process`;
    throw new BpfError("ERR_NOT_SUPPORTED", message);
  }
  const before = places.get(owner);
  if (before?.open === true) throw new BpfError("ERR_TYPE_MISMATCH", `${label} is mapped already`);
  const length = maxEntries * pageSize(backend.architecture);
  const address = before?.address ?? Number(mapExtra);
  // Since it was closed the place has been filled with memory of ours, which may be replaced.
  const replace = before !== undefined;
  const memory = mapMemory(backend, { fd: map.fd, length, access: "read-write", label, address, replace });
  const place = { address: memory.address, open: true };
  places.set(owner, place);
  try {
    return new MappedArena(memory, label, () => {
      place.open = false;
    });
  } catch (error) {
    memory.close();
    place.open = false;
    throw error;
  }
}
