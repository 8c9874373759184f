import { openBackend, type SyscallBackend } from "../../src/syscall/index.ts";

const GUARD = 64;
const MARK = 0xa5;

interface Shadow {
  readonly view: Uint8Array;
  readonly memory: Uint8Array;
  readonly address: number;
}

/** A shim that keeps watch over every buffer the kernel is pointed at. */
export interface GuardedBackend extends SyscallBackend {
  /** Buffers watched so far. */
  readonly buffers: number;
  /** Calls checked so far. */
  readonly calls: number;
}

/**
 * The real shim, with 64 guard bytes before and behind every buffer whose address is asked for: the kernel gets the
 * address of a copy between guards. After each call the guards are looked at, and the copies copied back. A byte that
 * the kernel writes outside of what the library thinks it writes throws.
 */
export function guardedBackend(): GuardedBackend {
  const real = openBackend();
  let shadows: Shadow[] = [];
  let buffers = 0;
  let calls = 0;
  const check = (what: string): void => {
    calls++;
    for (const { view, memory } of shadows) {
      const length = memory.length - 2 * GUARD;
      for (let i = 0; i < GUARD; i++) {
        if (memory[i] !== MARK) throw new Error(`${what} wrote ${GUARD - i} bytes before a buffer of ${length}`);
        if (memory[GUARD + length + i] !== MARK)
          throw new Error(`${what} wrote ${i + 1} bytes behind a buffer of ${length}`);
      }
      view.set(memory.subarray(GUARD, GUARD + length));
    }
  };
  const copyIn = (): void => {
    for (const { view, memory } of shadows) memory.set(view, GUARD);
  };
  const wrapped = <T>(what: string, run: () => T): T => {
    copyIn();
    const result = run();
    check(what);
    return result;
  };
  return {
    name: "guarded",
    architecture: real.architecture,
    get buffers() {
      return buffers;
    },
    get calls() {
      return calls;
    },
    addressOf(any) {
      const view = new Uint8Array(any.buffer, any.byteOffset, any.byteLength);
      const known = shadows.find(
        (shadow) =>
          shadow.view.buffer === view.buffer &&
          shadow.view.byteOffset === view.byteOffset &&
          shadow.view.length === view.length,
      );
      if (known !== undefined) return known.address;
      const memory = new Uint8Array(view.length + 2 * GUARD).fill(MARK);
      const address = real.addressOf(memory) + GUARD;
      buffers++;
      shadows.push({ view, memory, address });
      // Old ones belong to calls long gone, save those that a handle keeps: none of the tests has so many handles.
      if (shadows.length > 400) shadows = shadows.slice(200);
      return address;
    },
    syscall: (number, ...args) => wrapped(`System call ${number}`, () => real.syscall(number, ...args)),
    bpf: (command, attr, size) => wrapped(`bpf(${command})`, () => real.bpf(command, attr, size)),
    viewMemory: (address, length) => real.viewMemory(address, length),
    loadWord: (words, index, address) => real.loadWord(words, index, address),
    watch: (descriptor, ready) => real.watch(descriptor, ready),
  };
}
