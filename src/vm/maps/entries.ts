// Browser-safe.

import { type Memory, Permission, type Region } from "../memory.ts";
import type { ProgramMap } from "./program-map.ts";

/** Entries that are made together. */
const CHUNK = 64;
/** Bytes between key and value, and between entries, so that one cannot be reached from the other. */
const GAP = 8;

/**
 * Places for keys and values in memory. They are made as they are needed, because what a map may hold says nothing of
 * what it will.
 */
export class Entries {
  readonly #map: ProgramMap;
  readonly #memory: Memory;
  readonly #keyStride: number;
  readonly #stride: number;
  readonly #most: number;
  #chunks: Region[] = [];
  #free: number[] = [];
  #made = 0;

  /**
   * @param map whose entries they are
   * @param most entries at once
   */
  constructor(map: ProgramMap, most: number) {
    this.#map = map;
    this.#memory = map.memory;
    this.#keyStride = Math.ceil(map.keySize / 8) * 8 + GAP;
    this.#stride = this.#keyStride + map.stride * map.copies + GAP;
    this.#most = most;
  }

  /** A free entry; -1 when there is none. */
  take(): number {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    if (this.#made >= this.#most) return -1;
    const id = this.#made++;
    if (id % CHUNK === 0) this.#makeChunk(Math.min(CHUNK, this.#most - id));
    return id;
  }

  /** Gives an entry back: the next one to be taken. */
  give(id: number): void {
    this.#free.push(id);
  }

  #makeChunk(count: number): void {
    const map = this.#map;
    const region = this.#memory.allocate({
      kind: "map-value",
      name: `the value of ${map.label}`,
      size: count * this.#stride,
      permission: 0,
      stride: this.#stride,
      length: map.valueSize,
    });
    region.base += this.#keyStride;
    for (let i = 0; i < count; i++) {
      const start = region.start + i * this.#stride;
      this.#memory.protect(start, map.keySize, Permission.read);
      for (let cpu = 0; cpu < map.copies; cpu++) {
        this.#memory.protect(start + this.#keyStride + cpu * map.stride, map.valueSize, map.access);
      }
    }
    this.#chunks.push(region);
  }

  /** Address of the key of an entry. */
  key(id: number): number {
    return this.#chunks[(id / CHUNK) | 0]!.start + (id % CHUNK) * this.#stride;
  }

  /** Address of the first value of an entry. */
  value(id: number): number {
    return this.key(id) + this.#keyStride;
  }

  /** Keeps the state, and gives a function that brings it back. */
  save(): () => void {
    const chunks = this.#chunks.slice();
    const free = this.#free.slice();
    const made = this.#made;
    return () => {
      this.#chunks = chunks.slice();
      this.#free = free.slice();
      this.#made = made;
    };
  }
}

/**
 * Bytes as something a `Map` can have as key: a number for the short ones, which is several times quicker.
 *
 * @param memory where they are
 * @param at address
 * @param size bytes
 */
export function keyOf(memory: Memory, at: number, size: number): number | string {
  const { bytes, view } = memory;
  if (size === 4) return view.getUint32(at, true);
  if (size === 8) {
    const high = view.getUint32(at + 4, true);
    // As long as a double holds all of it.
    if (high < 0x20_0000) return high * 0x1_0000_0000 + view.getUint32(at, true);
  }
  let text = "";
  for (let i = at; i < at + size; i++) text += String.fromCharCode(bytes[i]!);
  return text;
}
