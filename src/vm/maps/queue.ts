// Browser-safe.

import type { Region } from "../memory.ts";
import { E2BIG, EINVAL, ENOENT, EOPNOTSUPP } from "./errno.ts";
import { type MapMaking, ProgramMap } from "./program-map.ts";

const EXIST = 2;

/** Queues and stacks: a ring of values, of which one takes the oldest and the other the newest. */
export class QueueMap extends ProgramMap {
  readonly #values: Region;
  readonly #newest: boolean;
  #first = 0;
  #count = 0;

  constructor(making: MapMaking) {
    super(making, false);
    this.#newest = this.type === "stack";
    const size = this.maxEntries * this.stride;
    this.#values = this.memory.allocate({ kind: "memory", name: this.label, size, permission: 0 });
  }

  /** Number of values. */
  get count(): number {
    return this.#count;
  }

  #address(place: number): number {
    return this.#values.start + (place % this.maxEntries) * this.stride;
  }

  override push(value: number, flags: number): number {
    if (flags !== 0 && flags !== EXIST) return -EINVAL;
    if (this.#count === this.maxEntries) {
      if (flags !== EXIST) return -E2BIG;
      this.#first = (this.#first + 1) % this.maxEntries;
      this.#count--;
    }
    this.copy(this.#address(this.#first + this.#count), value, this.valueSize);
    this.#count++;
    return 0;
  }

  override peek(value: number): number {
    // The kernel clears what it was to fill: a program could read rubbish otherwise.
    this.memory.bytes.fill(0, value, value + this.valueSize);
    if (this.#count === 0) return -ENOENT;
    const place = this.#newest ? this.#first + this.#count - 1 : this.#first;
    this.copy(value, this.#address(place), this.valueSize);
    return 0;
  }

  override pop(value: number): number {
    const result = this.peek(value);
    if (result < 0) return result;
    if (!this.#newest) this.#first = (this.#first + 1) % this.maxEntries;
    this.#count--;
    return 0;
  }

  override lookup(): number {
    return 0;
  }

  override find(): number {
    return 0;
  }

  override update(): number {
    return -EINVAL;
  }

  override store(_key: number, value: number, flags: number): number {
    return this.push(value, flags);
  }

  override remove(): number {
    return -EINVAL;
  }

  override keys(): readonly number[] {
    return [];
  }

  override save(): () => void {
    const first = this.#first;
    const count = this.#count;
    return () => {
      this.#first = first;
      this.#count = count;
    };
  }
}

/** A Bloom filter: values that were added are found, and a few others. */
export class BloomMap extends ProgramMap {
  readonly #hashes: number;
  readonly #mask: number;
  readonly #bits: Region;

  constructor(making: MapMaking) {
    super(making, false);
    this.#hashes = Number(making.description.mapExtra) || 5;
    // As the kernel sizes it: bits for each entry and hash, divided by the natural logarithm of 2.
    const wanted = Math.min(2 ** 31, Math.ceil((this.maxEntries * this.#hashes * 7) / 5));
    let size = 64;
    while (size < wanted) size *= 2;
    this.#mask = size - 1;
    this.#bits = this.memory.allocate({ kind: "memory", name: this.label, size: size / 8, permission: 0 });
  }

  /** FNV-1a, mixed once more: which bits they are is nobody's business but ours. */
  #hash(value: number, seed: number): number {
    const { bytes } = this.memory;
    let hash = 0x811c_9dc5 ^ Math.imul(seed + 1, 0x9e37_79b1);
    for (let i = value; i < value + this.valueSize; i++) hash = Math.imul(hash ^ bytes[i]!, 0x0100_0193);
    hash = Math.imul(hash ^ (hash >>> 16), 0x85eb_ca6b);
    return ((hash ^ (hash >>> 13)) >>> 0) & this.#mask;
  }

  override push(value: number, flags: number): number {
    if (flags !== 0) return -EINVAL;
    for (let i = 0; i < this.#hashes; i++) {
      const bit = this.#hash(value, i);
      const at = this.#bits.start + (bit >>> 3);
      this.memory.bytes[at] = this.memory.bytes[at]! | (1 << (bit & 7));
    }
    return 0;
  }

  override peek(value: number): number {
    for (let i = 0; i < this.#hashes; i++) {
      const bit = this.#hash(value, i);
      if ((this.memory.bytes[this.#bits.start + (bit >>> 3)]! & (1 << (bit & 7))) === 0) return -ENOENT;
    }
    return 0;
  }

  override lookup(): number {
    return 0;
  }

  override find(): number {
    return 0;
  }

  override update(): number {
    return -EINVAL;
  }

  override store(_key: number, value: number, flags: number): number {
    return this.push(value, flags);
  }

  override remove(): number {
    return -EOPNOTSUPP;
  }

  override keys(): readonly number[] {
    return [];
  }

  override save(): () => void {
    return () => {};
  }
}
