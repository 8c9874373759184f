// Browser-safe.

import { Entries } from "./entries.ts";
import { EEXIST, EINVAL, ENOENT, ENOSPC } from "./errno.ts";
import { flagsFault, type MapMaking, ProgramMap, withoutLock } from "./program-map.ts";

const NOEXIST = 1;
const EXIST = 2;
const LENGTH_BYTES = 4;

/** A trie of prefixes, of which a lookup finds the longest that fits: one table for each length. */
export class LpmMap extends ProgramMap {
  readonly #entries: Entries;
  readonly #bits: number;
  #tables = new Map<number, Map<string, number>>();
  #count = 0;

  constructor(making: MapMaking) {
    super(making, false);
    this.#entries = new Entries(this, this.maxEntries + 1);
    this.#bits = 8 * (this.keySize - LENGTH_BYTES);
  }

  #length(key: number): number {
    return this.memory.view.getUint32(key, true);
  }

  /** The first bits of a key as text. */
  #prefix(key: number, bits: number): string {
    const { bytes } = this.memory;
    const whole = bits >> 3;
    const data = key + LENGTH_BYTES;
    let text = "";
    for (let i = 0; i < whole; i++) text += String.fromCharCode(bytes[data + i]!);
    const rest = bits & 7;
    if (rest > 0) text += String.fromCharCode(bytes[data + whole]! & (0xff00 >> rest) & 0xff);
    return text;
  }

  override lookup(key: number): number {
    const wanted = this.#length(key);
    if (wanted > this.#bits) return 0;
    let best = -1;
    let found = -1;
    for (const [length, table] of this.#tables) {
      if (length > wanted || length <= best) continue;
      const id = table.get(this.#prefix(key, length));
      if (id !== undefined) {
        best = length;
        found = id;
      }
    }
    return found < 0 ? 0 : this.#entries.value(found);
  }

  override find(key: number): number {
    return this.lookup(key);
  }

  override update(key: number, value: number, flags: number): number {
    const fault = flagsFault(flags);
    if (fault < 0 || withoutLock(flags) !== flags) return -EINVAL;
    const length = this.#length(key);
    if (length > this.#bits) return -EINVAL;
    const prefix = this.#prefix(key, length);
    let table = this.#tables.get(length);
    const old = table?.get(prefix);
    if (old === undefined && flags === EXIST) return -ENOENT;
    if (old !== undefined && flags === NOEXIST) return -EEXIST;
    if (old === undefined && this.#count >= this.maxEntries) return -ENOSPC;
    const id = this.#entries.take();
    if (id < 0) return -ENOSPC;
    this.copy(this.#entries.key(id), key, this.keySize);
    this.copy(this.#entries.value(id), value, this.valueSize);
    if (table === undefined) {
      table = new Map();
      this.#tables.set(length, table);
    }
    table.set(prefix, id);
    if (old === undefined) this.#count++;
    else this.#entries.give(old);
    return 0;
  }

  override store(key: number, value: number, flags: number): number {
    return this.update(key, value, flags);
  }

  override remove(key: number): number {
    const length = this.#length(key);
    if (length > this.#bits) return -EINVAL;
    const prefix = this.#prefix(key, length);
    const table = this.#tables.get(length);
    const id = table?.get(prefix);
    if (table === undefined || id === undefined) return -ENOENT;
    table.delete(prefix);
    this.#count--;
    this.#entries.give(id);
    return 0;
  }

  override keys(): readonly number[] {
    return [...this.#tables.values()].flatMap((table) => Array.from(table.values(), (id) => this.#entries.key(id)));
  }

  override save(): () => void {
    const tables = new Map([...this.#tables].map(([length, table]) => [length, new Map(table)]));
    const count = this.#count;
    const entries = this.#entries.save();
    return () => {
      this.#tables = new Map([...tables].map(([length, table]) => [length, new Map(table)]));
      this.#count = count;
      entries();
    };
  }
}
