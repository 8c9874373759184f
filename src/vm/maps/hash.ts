// Browser-safe.

import { MAP_POINTER_STRIDE, MAP_POINTERS } from "../memory.ts";
import { Entries, keyOf } from "./entries.ts";
import { E2BIG, EEXIST, ENOENT } from "./errno.ts";
import { flagsFault, type MapMaking, ProgramMap, withoutLock } from "./program-map.ts";

const NOEXIST = 1;
const EXIST = 2;

/** How a hash behaves besides being one. */
export interface HashKind {
  /** Drops the entry that was not used for the longest time when it is full. */
  readonly lru?: boolean;
  /** Values are numbers of maps, which programs see as pointers. */
  readonly maps?: boolean;
  /** Programs do not see values. */
  readonly handles?: boolean;
}

/** Hashes: of values, for each processor, least recently used, of maps. */
export class HashMap extends ProgramMap {
  readonly #kind: HashKind;
  readonly #entries: Entries;
  /** Entry by key. In the order of use where that counts: a `Map` keeps the order of insertion. */
  #ids = new Map<number | string, number>();

  constructor(making: MapMaking, kind: HashKind, perCpu: boolean) {
    super(making, perCpu);
    this.#kind = kind;
    // One more than fits: an update puts a new entry in the place of the old one, to which pointers may still lead.
    this.#entries = new Entries(this, this.maxEntries + 1);
  }

  override lookup(key: number, cpu: number): number {
    const name = keyOf(this.memory, key, this.keySize);
    const id = this.#ids.get(name);
    if (id === undefined || this.#kind.handles === true) return 0;
    if (this.#kind.lru === true) this.#use(name, id);
    const at = this.#entries.value(id);
    if (this.#kind.maps === true) return MAP_POINTERS + this.memory.view.getUint32(at, true) * MAP_POINTER_STRIDE;
    return at + (this.copies === 1 ? 0 : cpu * this.stride);
  }

  #use(name: number | string, id: number): void {
    this.#ids.delete(name);
    this.#ids.set(name, id);
  }

  override find(key: number): number {
    const id = this.#ids.get(keyOf(this.memory, key, this.keySize));
    return id === undefined ? 0 : this.#entries.value(id);
  }

  override update(key: number, value: number, flags: number, cpu: number): number {
    return this.#put(key, value, flags, this.copies === 1 ? -1 : cpu);
  }

  override store(key: number, value: number, flags: number): number {
    return this.#put(key, value, flags, -1);
  }

  /** @param cpu processor whose value it is; -1 for all there are */
  #put(key: number, value: number, flags: number, cpu: number): number {
    const fault = flagsFault(flags);
    if (fault < 0) return fault;
    const wanted = withoutLock(flags);
    const name = keyOf(this.memory, key, this.keySize);
    const old = this.#ids.get(name);
    if (old === undefined && wanted === EXIST) return -ENOENT;
    if (old !== undefined && wanted === NOEXIST) return -EEXIST;
    if (old !== undefined && (this.type.includes("percpu") || (flags & 4) !== 0)) {
      this.#fill(old, value, cpu);
      if (this.#kind.lru === true) this.#use(name, old);
      return 0;
    }
    if (old === undefined && this.#ids.size >= this.maxEntries) {
      if (this.#kind.lru !== true) return -E2BIG;
      const [oldest, id] = this.#ids.entries().next().value!;
      this.#ids.delete(oldest);
      this.#entries.give(id);
    }
    // The key may lie in the memory of an entry that moves with the array below.
    const id = this.#entries.take();
    if (id < 0) return -E2BIG;
    this.copy(this.#entries.key(id), key, this.keySize);
    this.memory.bytes.fill(0, this.#entries.value(id), this.#entries.value(id) + this.stride * this.copies);
    this.#fill(id, value, cpu);
    if (old !== undefined) {
      this.#entries.give(old);
      if (this.#kind.lru === true) this.#ids.delete(name);
    }
    this.#ids.set(name, id);
    return 0;
  }

  #fill(id: number, value: number, cpu: number): void {
    const at = this.#entries.value(id);
    if (cpu < 0) this.copy(at, value, this.storedSize);
    else this.copy(at + cpu * this.stride, value, this.valueSize);
  }

  override remove(key: number): number {
    const name = keyOf(this.memory, key, this.keySize);
    const id = this.#ids.get(name);
    if (id === undefined) return -ENOENT;
    this.#ids.delete(name);
    this.#entries.give(id);
    return 0;
  }

  override keys(): readonly number[] {
    return Array.from(this.#ids.values(), (id) => this.#entries.key(id));
  }

  override get walkable(): boolean {
    return this.#kind.maps !== true && this.#kind.handles !== true;
  }

  override save(): () => void {
    const ids = new Map(this.#ids);
    const entries = this.#entries.save();
    return () => {
      this.#ids = new Map(ids);
      entries();
    };
  }
}
