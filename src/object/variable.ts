import type { Codec } from "../bytes/index.ts";
import type { VariableSpec } from "../elf/index.ts";
import { mapLookup, mapUpdate } from "../syscall/commands.ts";
import type { MappedMemory } from "../syscall/memory.ts";
import type { ObjectMap } from "./maps.ts";

/** Memory of a map with variables, where the kernel lets it be mapped. */
export interface VariableStore {
  /** The map. */
  readonly map: ObjectMap;
  /** Bytes of its value. */
  readonly size: number;
  /** Its memory, mapped when it is first asked for; `undefined` when it cannot be. */
  readonly memory: () => MappedMemory | undefined;
}

/**
 * A global variable of a loaded object, seen live: programs change it, and see what is written.
 *
 * Where the kernel lets the section be mapped (Linux 5.5, and the section has a variable that other files see), only the
 * variable's own bytes are read and written. Elsewhere a write reads the whole section and writes it back, which may undo
 * what a program has written to another variable in between.
 *
 * @typeParam T what its type is in TypeScript
 */
export class Variable<T = unknown> {
  /** What it is. */
  readonly spec: VariableSpec;
  /** Codec of its type; of plain bytes when the object does not tell. */
  readonly codec: Codec<T>;
  readonly #store: VariableStore;
  readonly #constant: boolean;

  /** @internal made by `loadObject` */
  constructor(spec: VariableSpec, codec: Codec<T>, store: VariableStore, constant: boolean) {
    this.spec = spec;
    this.codec = codec;
    this.#store = store;
    this.#constant = constant;
  }

  /** Its name. */
  get name(): string {
    return this.spec.name;
  }

  /** Whether it was frozen when the object was loaded: only its specification can be changed, before that. */
  get constant(): boolean {
    return this.#constant;
  }

  /**
   * Reads it.
   *
   * @throws SyscallError, BpfError `ERR_CLOSED`
   */
  get(): T {
    return this.codec.decode(this.bytes(), 0);
  }

  /**
   * Writes it.
   *
   * @throws TypeError when it is constant; BpfError, RangeError for a value that its type cannot hold; SyscallError
   */
  set(value: T): void {
    if (this.#constant) {
      throw new TypeError(`Variable "${this.name}" is constant: set it in the specification before it is loaded`);
    }
    const bytes = new Uint8Array(this.spec.size);
    this.codec.encodeInto(value, bytes, 0);
    const { offset, size } = this.spec;
    const memory = this.#store.memory();
    if (memory !== undefined) {
      new Uint8Array(memory.buffer, offset, size).set(bytes);
      return;
    }
    const all = this.#read();
    all.set(bytes, offset);
    mapUpdate(this.#store.map.owner, new Uint8Array(4), all);
  }

  /**
   * Its bytes as they are now: a copy.
   *
   * @throws SyscallError, BpfError `ERR_CLOSED`
   */
  bytes(): Uint8Array {
    const { offset, size } = this.spec;
    const memory = this.#store.memory();
    if (memory !== undefined) return new Uint8Array(memory.buffer, offset, size).slice();
    return this.#read().slice(offset, offset + size);
  }

  #read(): Uint8Array {
    const all = new Uint8Array(this.#store.size);
    mapLookup(this.#store.map.owner, new Uint8Array(4), all);
    return all;
  }
}
