import { BpfCommand, mapElemAttr } from "../kernel-abi/index.ts";
import { encodeAttr } from "../syscall/attr.ts";
import type { SyscallBackend } from "../syscall/backend.ts";
import { kernelBuffer } from "../syscall/call.ts";
import type { Fd } from "../syscall/fd.ts";
import { emitTrace, isTracing, type TraceValue } from "../syscall/trace.ts";

/** Commands on one entry. */
type ElementCommand =
  | "BPF_MAP_LOOKUP_ELEM"
  | "BPF_MAP_UPDATE_ELEM"
  | "BPF_MAP_DELETE_ELEM"
  | "BPF_MAP_LOOKUP_AND_DELETE_ELEM"
  | "BPF_MAP_GET_NEXT_KEY";

const FLAGS = mapElemAttr.fields.flags.offset;
const SIZE = mapElemAttr.size;

/** Attributes of one operation, with the buffers they point at. */
interface ElementAttr {
  readonly command: ElementCommand;
  readonly number: number;
  readonly view: DataView;
  readonly address: number;
  readonly key: Uint8Array | undefined;
  readonly value: Uint8Array | undefined;
  /** Flags that are in the attributes. */
  flags: number;
  /** Result of the last call. Written after it, which keeps the buffers alive until then. */
  result: number;
}

/**
 * The commands on single entries of one map.
 *
 * One set of buffers for the map's life, and for each operation attributes that point at them already: allocating per
 * call costs three times the call itself, filling in addresses a tenth of it.
 *
 * @internal
 */
export class ElementCalls {
  /** Where a key is put before a call. */
  readonly key: Uint8Array;
  /** Where a value is put before, or found after a call. All possible CPUs' for per-CPU maps. */
  readonly value: Uint8Array;
  /** Where `next` puts the key it found. */
  readonly nextKey: Uint8Array;
  readonly #owner: Fd;
  readonly #backend: SyscallBackend;
  readonly #keyed: Uint8Array | undefined;
  readonly #lookup: ElementAttr;
  readonly #update: ElementAttr;
  readonly #delete: ElementAttr;
  // Made when first used: most maps never need them.
  #take: ElementAttr | undefined;
  #first: ElementAttr | undefined;
  #next: ElementAttr | undefined;

  /**
   * @param owner descriptor
   * @param keySize bytes of a key; 0 makes calls without one
   * @param valueBytes bytes that the kernel writes for a value
   */
  constructor(owner: Fd, keySize: number, valueBytes: number) {
    this.#owner = owner;
    this.#backend = owner.backend;
    this.key = kernelBuffer(keySize);
    this.value = kernelBuffer(valueBytes);
    this.nextKey = kernelBuffer(keySize);
    this.#keyed = keySize === 0 ? undefined : this.key;
    this.#lookup = this.#attr("BPF_MAP_LOOKUP_ELEM", this.#keyed, this.value);
    this.#update = this.#attr("BPF_MAP_UPDATE_ELEM", this.#keyed, this.value);
    this.#delete = this.#attr("BPF_MAP_DELETE_ELEM", this.#keyed, undefined);
  }

  /** Looks `key` up into `value`. Result or `-errno`, as all of these. */
  lookup(flags: number): number {
    return this.#call(this.#lookup, flags);
  }

  /** Writes `value` at `key`. */
  update(flags: number): number {
    return this.#call(this.#update, flags);
  }

  /** Deletes the entry at `key`. */
  remove(): number {
    return this.#call(this.#delete, 0);
  }

  /** Looks `key` up into `value` and deletes it. */
  take(flags: number): number {
    this.#take ??= this.#attr("BPF_MAP_LOOKUP_AND_DELETE_ELEM", this.#keyed, this.value);
    return this.#call(this.#take, flags);
  }

  /**
   * Finds the key behind `key`.
   *
   * @param first find the first key of all
   */
  next(first: boolean): number {
    if (first) {
      this.#first ??= this.#attr("BPF_MAP_GET_NEXT_KEY", undefined, this.nextKey);
      return this.#call(this.#first, 0);
    }
    this.#next ??= this.#attr("BPF_MAP_GET_NEXT_KEY", this.#keyed, this.nextKey);
    return this.#call(this.#next, 0);
  }

  #attr(command: ElementCommand, key: Uint8Array | undefined, value: Uint8Array | undefined): ElementAttr {
    const buffer = encodeAttr(this.#backend, mapElemAttr, { map_fd: this.#owner.number, key, value });
    const view = new DataView(buffer.bytes.buffer);
    return { command, number: BpfCommand[command], view, address: buffer.address, key, value, flags: 0, result: 0 };
  }

  #call(attr: ElementAttr, flags: number): number {
    if (flags !== attr.flags) {
      attr.view.setUint32(FLAGS, flags, true);
      attr.flags = flags;
    }
    if (isTracing()) return this.#traced(attr, flags);
    const result = this.#backend.bpf(attr.number, attr.address, SIZE);
    attr.result = result;
    return result;
  }

  #traced(attr: ElementAttr, flags: number): number {
    const { command, key, value } = attr;
    const values: Record<string, TraceValue> = { map_fd: this.#owner.number, key: key?.slice() ?? 0 };
    if (command === "BPF_MAP_UPDATE_ELEM") values.value = value?.slice();
    const started = performance.now();
    const result = this.#backend.bpf(attr.number, attr.address, mapElemAttr.size);
    const nanoseconds = Math.round((performance.now() - started) * 1e6);
    if (result === 0 && command === "BPF_MAP_GET_NEXT_KEY") values.next_key = value?.slice();
    else if (result === 0 && command.startsWith("BPF_MAP_LOOKUP")) values.value = value?.slice();
    emitTrace("bpf", command, { ...values, flags }, result, nanoseconds);
    return result;
  }
}
