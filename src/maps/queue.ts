import type { Codec } from "../bytes/index.ts";
import { errnoNumber } from "../syscall/errno.ts";
import type { Fd } from "../syscall/fd.ts";
import { rawCodec } from "./codecs.ts";
import type { MapDescription } from "./description.ts";
import { BpfMap } from "./map.ts";

const ENOENT = errnoNumber("ENOENT");
const E2BIG = errnoNumber("E2BIG");
const BPF_EXIST = 2;

/**
 * An open `queue` (first in, first out) or `stack` (last in, first out). It has no keys: the operations with keys are
 * refused.
 */
export class BpfQueue<V = Uint8Array, I = V> extends BpfMap<Uint8Array, V, I> {
  /** @internal use `createMap` */
  constructor(owner: Fd, description: MapDescription, valueCodec: Codec<V, I>) {
    super(owner, description, rawCodec(0), valueCodec);
  }

  /**
   * Adds a value.
   *
   * @param value value
   * @param options `replace`: when it is full, the oldest value makes room
   * @returns `false` when it is full
   * @throws SyscallError, BpfError `ERR_CLOSED`
   * @example
   * ```ts
   * using jobs = createMap({ type: "queue", value: u32, maxEntries: 2 });
   * jobs.push(1);
   * jobs.push(2);
   * jobs.push(3); // false
   * jobs.push(3, { replace: true }); // true
   * jobs.pop(); // 2
   * ```
   */
  push(value: I, options: { readonly replace?: boolean } = {}): boolean {
    const { calls } = this;
    this.valueCodec.encodeInto(value, calls.value, 0);
    const result = calls.update(options.replace === true ? BPF_EXIST : 0);
    if (result === -E2BIG) return false;
    if (result < 0) throw this.failure("BPF_MAP_UPDATE_ELEM", result, "push to");
    return true;
  }

  /**
   * Takes the next value out.
   *
   * @returns `undefined` when it is empty
   * @throws SyscallError, BpfError `ERR_CLOSED`
   */
  pop(): V | undefined {
    const { calls } = this;
    const result = calls.take(0);
    if (result === -ENOENT) return undefined;
    if (result < 0) throw this.failure("BPF_MAP_LOOKUP_AND_DELETE_ELEM", result, "pop from");
    return this.valueCodec.decode(calls.value, 0);
  }

  /**
   * Looks at the next value and leaves it there.
   *
   * @returns `undefined` when it is empty
   * @throws SyscallError, BpfError `ERR_CLOSED`
   */
  peek(): V | undefined {
    const { calls } = this;
    const result = calls.lookup(0);
    if (result === -ENOENT) return undefined;
    if (result < 0) throw this.failure("BPF_MAP_LOOKUP_ELEM", result, "peek into");
    return this.valueCodec.decode(calls.value, 0);
  }

  /** Takes all values out, at most as many as there is room for: others may be adding. */
  override clear(): void {
    const { calls } = this;
    for (let i = 0; i < this.description.maxEntries; i++) {
      const result = calls.take(0);
      if (result === -ENOENT) return;
      if (result < 0) throw this.failure("BPF_MAP_LOOKUP_AND_DELETE_ELEM", result, "clear");
    }
  }
}

/**
 * An open `bloom_filter`: says for certain that a value was never added, or that it probably was. Nothing can be
 * removed.
 */
export class BpfBloomFilter<V = Uint8Array, I = V> extends BpfMap<Uint8Array, V, I> {
  /** @internal use `createMap` */
  constructor(owner: Fd, description: MapDescription, valueCodec: Codec<V, I>) {
    super(owner, description, rawCodec(0), valueCodec);
  }

  /**
   * Adds a value.
   *
   * @throws SyscallError, BpfError `ERR_CLOSED`
   * @example
   * ```ts
   * using seen = createMap({ type: "bloom_filter", value: u32, maxEntries: 1000 });
   * seen.add(42);
   * seen.mayContain(42); // true
   * ```
   */
  add(value: I): this {
    const { calls } = this;
    this.valueCodec.encodeInto(value, calls.value, 0);
    const result = calls.update(0);
    if (result < 0) throw this.failure("BPF_MAP_UPDATE_ELEM", result, "add to");
    return this;
  }

  /**
   * Whether a value may have been added.
   *
   * @returns `false`: certainly not; `true`: probably
   * @throws SyscallError, BpfError `ERR_CLOSED`
   */
  mayContain(value: I): boolean {
    const { calls } = this;
    this.valueCodec.encodeInto(value, calls.value, 0);
    const result = calls.lookup(0);
    if (result === -ENOENT) return false;
    if (result < 0) throw this.failure("BPF_MAP_LOOKUP_ELEM", result, "look up in");
    return true;
  }
}
