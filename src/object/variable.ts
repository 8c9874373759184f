import type { Codec } from "../bytes/index.ts";
import type { VariableSpec } from "../elf/index.ts";

/** Where the bytes of variables are. */
export interface VariableStore {
  /**
   * The section as live memory, mapped when it is first asked for; `undefined` when the kernel does not let it be.
   *
   * @throws BpfError `ERR_CLOSED`
   */
  readonly view: () => Uint8Array | undefined;
  /** A copy of the section. */
  readonly read: () => Uint8Array;
  /** Writes the whole section. */
  readonly write: (section: Uint8Array) => void;
}

/**
 * A global variable of a loaded object, seen live: programs change it, and see what is written.
 *
 * Where the kernel lets the section be mapped (Linux 5.5, and the section has a variable that other files see), and in
 * arenas, only the variable's own bytes are read and written. Elsewhere a write reads the whole section and writes it
 * back, which may undo what a program has written to another variable in between.
 *
 * Only single words of up to 8 bytes are read and written whole; a program may change a larger one while it is read.
 *
 * @typeParam T what its type is in TypeScript
 */
export class Variable<T = unknown> {
  /** What it is. */
  readonly spec: VariableSpec;
  /** Codec of its type; of plain bytes when the object does not tell. */
  readonly codec: Codec<T>;
  /** Whether programs take it as fixed: only the specification can be changed, before loading. */
  readonly constant: boolean;
  readonly #store: VariableStore;

  /** @internal made by `loadObject` */
  constructor(spec: VariableSpec, codec: Codec<T>, store: VariableStore, constant: boolean) {
    this.spec = spec;
    this.codec = codec;
    this.constant = constant;
    this.#store = store;
  }

  /** Its name. */
  get name(): string {
    return this.spec.name;
  }

  /**
   * Reads it.
   *
   * @throws SyscallError, BpfError `ERR_CLOSED`
   */
  get(): T {
    return this.codec.decode(this.#store.view() ?? this.#store.read(), this.spec.offset);
  }

  /**
   * Writes it.
   *
   * @throws TypeError when it is constant or the value is of a wrong type, RangeError for a value that does not fit;
   *   SyscallError, BpfError `ERR_CLOSED`
   */
  set(value: T): void {
    if (this.constant) {
      const how =
        this.spec.section === ".kconfig"
          ? "it is configuration of the kernel, which option kconfig overrides"
          : "set it before the object is loaded, with option variables or setVariable";
      throw new TypeError(`Cannot set variable "${this.name}": it is constant; ${how}`);
    }
    const { offset, size } = this.spec;
    const bytes = new Uint8Array(size);
    encodeVariable(this.name, () => this.codec.encodeInto(value, bytes, 0));
    const view = this.#store.view();
    if (view === undefined) {
      const section = this.#store.read();
      section.set(bytes, offset);
      this.#store.write(section);
    } else store(view, offset, bytes);
  }

  /**
   * Its bytes as they are now: a copy.
   *
   * @throws SyscallError, BpfError `ERR_CLOSED`
   */
  bytes(): Uint8Array {
    const { offset, size } = this.spec;
    return (this.#store.view() ?? this.#store.read()).slice(offset, offset + size);
  }
}

/** Copies bytes; a word by a single store, so that no program sees half of it. */
function store(view: Uint8Array, offset: number, bytes: Uint8Array): void {
  const address = view.byteOffset + offset;
  if (bytes.length === 8 && address % 8 === 0) {
    new BigUint64Array(view.buffer, address, 1)[0] = new BigUint64Array(bytes.buffer)[0]!;
  } else if (bytes.length === 4 && address % 4 === 0) {
    new Uint32Array(view.buffer, address, 1)[0] = new Uint32Array(bytes.buffer)[0]!;
  } else if (bytes.length === 2 && address % 2 === 0) {
    new Uint16Array(view.buffer, address, 1)[0] = new Uint16Array(bytes.buffer)[0]!;
  } else view.set(bytes, offset);
}

/**
 * Names the variable in what a codec refuses.
 *
 * @throws TypeError, RangeError
 */
export function encodeVariable(name: string, encode: () => void): void {
  try {
    encode();
  } catch (cause) {
    const message = `Cannot set variable "${name}": ${(cause as Error).message}`;
    if (cause instanceof RangeError) throw new RangeError(message, { cause });
    if (cause instanceof TypeError) throw new TypeError(message, { cause });
    throw cause;
  }
}
