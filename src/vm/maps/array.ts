// Browser-safe.

import { MAP_POINTER_STRIDE, MAP_POINTERS, type Region } from "../memory.ts";
import { E2BIG, EEXIST, EINVAL, ENOENT } from "./errno.ts";
import { flagsFault, type MapMaking, ProgramMap, withoutLock } from "./program-map.ts";

const NOEXIST = 1;
/** Bytes between two values, so that one cannot be reached from another: the verifier does not let that through. */
const GAP = 8;

/** What entries of an array are. */
export type ArrayKind =
  /** Values, all there from the start. */
  | "values"
  /** Numbers of maps, which programs see as pointers. */
  | "maps"
  /** Numbers of programs and the like, which programs do not see, and which may be missing. */
  | "handles";

/** Arrays: of values, for each processor, of programs, of maps. */
export class ArrayMap extends ProgramMap {
  readonly #values: Region;
  readonly #kind: ArrayKind;
  readonly #distance: number;
  #keys: Region | undefined;
  /** Which entries are there, where they may be missing. */
  #present: Uint8Array | undefined;

  constructor(making: MapMaking, kind: ArrayKind, perCpu: boolean) {
    super(making, perCpu);
    this.#kind = kind;
    const { maxEntries, stride, copies, valueSize } = this;
    this.#distance = stride * copies + (kind === "values" && maxEntries > 1 ? GAP : 0);
    this.#values = this.memory.allocate({
      kind: "map-value",
      name: `the value of ${this.label}`,
      size: maxEntries * this.#distance,
      permission: 0,
      stride: this.#distance,
      length: valueSize,
    });
    if (kind === "values" && this.#distance === valueSize) {
      this.memory.protect(this.#values.start, this.#values.size, this.access);
    } else if (kind === "values") {
      for (let i = 0; i < maxEntries; i++) {
        for (let cpu = 0; cpu < copies; cpu++) {
          this.memory.protect(this.#address(i) + cpu * stride, valueSize, this.access);
        }
      }
    }
    if (kind !== "values") this.#present = new Uint8Array(maxEntries);
  }

  #index(key: number): number {
    return this.memory.view.getUint32(key, true);
  }

  #address(index: number): number {
    return this.#values.start + index * this.#distance;
  }

  override lookup(key: number, cpu: number): number {
    const index = this.#index(key);
    if (index >= this.maxEntries) return 0;
    const at = this.#address(index);
    if (this.#kind === "values") return at + (this.copies === 1 ? 0 : cpu * this.stride);
    if (this.#kind === "handles" || this.#present![index] === 0) return 0;
    return MAP_POINTERS + this.memory.view.getUint32(at, true) * MAP_POINTER_STRIDE;
  }

  override find(key: number): number {
    const index = this.#index(key);
    if (index >= this.maxEntries || this.#present?.[index] === 0) return 0;
    return this.#address(index);
  }

  override update(key: number, value: number, flags: number, cpu: number): number {
    return this.#put(key, value, flags, cpu * this.stride * (this.copies === 1 ? 0 : 1), this.valueSize);
  }

  override store(key: number, value: number, flags: number): number {
    return this.#put(key, value, flags, 0, this.storedSize);
  }

  #put(key: number, value: number, flags: number, offset: number, size: number): number {
    const index = this.#index(key);
    const fault = flagsFault(flags);
    if (fault < 0) return fault;
    if (index >= this.maxEntries) return -E2BIG;
    const present = this.#present;
    if (present === undefined) {
      if (withoutLock(flags) === NOEXIST) return -EEXIST;
    } else {
      // Arrays of handles know no flags.
      if (flags !== 0) return -EINVAL;
      present[index] = 1;
    }
    this.copy(this.#address(index) + offset, value, size);
    return 0;
  }

  override remove(key: number): number {
    const present = this.#present;
    if (present === undefined) return -EINVAL;
    const index = this.#index(key);
    if (index >= this.maxEntries) return -E2BIG;
    if (present[index] === 0) return -ENOENT;
    present[index] = 0;
    return 0;
  }

  /** Number that an entry holds; `undefined` when it is empty. */
  handleAt(index: number): number | undefined {
    if (index >= this.maxEntries || this.#present?.[index] === 0) return undefined;
    return this.memory.view.getUint32(this.#address(index), true);
  }

  override keys(): readonly number[] {
    // The keys are numbers that only lie in memory because somebody wants to see them there.
    const { maxEntries, memory } = this;
    if (this.#keys === undefined) {
      const size = 4 * maxEntries;
      this.#keys = memory.allocate({
        kind: "map-key",
        name: `the key of ${this.label}`,
        size,
        permission: 1,
        stride: 4,
      });
      for (let i = 0; i < maxEntries; i++) memory.view.setUint32(this.#keys.start + 4 * i, i, true);
    }
    const found: number[] = [];
    for (let i = 0; i < maxEntries; i++) if (this.#present?.[i] !== 0) found.push(this.#keys.start + 4 * i);
    return found;
  }

  override get walkable(): boolean {
    return this.#kind === "values";
  }

  override get direct(): number | undefined {
    return this.#kind === "values" && this.copies === 1 && this.maxEntries === 1 ? this.#values.start : undefined;
  }

  override save(): () => void {
    const present = this.#present?.slice();
    const keys = this.#keys;
    return () => {
      this.#present = present?.slice();
      this.#keys = keys;
    };
  }
}
