import { unlinkSync } from "node:fs";
import { decodeUtf8, encodeUtf8 } from "../bytes/index.ts";
import { BpfError } from "../errors.ts";
import { BpfCommand } from "../kernel-abi/index.ts";
import type { SyscallBackend } from "../syscall/backend.ts";
import { call } from "../syscall/call.ts";
import { closeDescriptor } from "../syscall/fd.ts";
import { syscallNumbers } from "../syscall/numbers.ts";

const SLOTS = 8192;
const TEXT_BYTES = 64 * 1024;
const FREE = 0;
const DESCRIPTOR = 1;
const MAPPING = 2;
const PIN = 3;
const F_DUPFD_CLOEXEC = 1030;

/** Commands whose result is a descriptor. */
const GIVES_DESCRIPTOR: ReadonlySet<number> = new Set([
  BpfCommand.BPF_MAP_CREATE,
  BpfCommand.BPF_PROG_LOAD,
  BpfCommand.BPF_OBJ_GET,
  BpfCommand.BPF_PROG_GET_FD_BY_ID,
  BpfCommand.BPF_MAP_GET_FD_BY_ID,
  BpfCommand.BPF_RAW_TRACEPOINT_OPEN,
  BpfCommand.BPF_BTF_LOAD,
  BpfCommand.BPF_BTF_GET_FD_BY_ID,
  BpfCommand.BPF_LINK_CREATE,
  BpfCommand.BPF_LINK_GET_FD_BY_ID,
  BpfCommand.BPF_ENABLE_STATS,
  BpfCommand.BPF_ITER_CREATE,
  BpfCommand.BPF_TOKEN_CREATE,
]);

/**
 * What a thread has opened and not closed, in memory that another thread sees: descriptors, mappings and pins belong to
 * the process, and stay when the thread that made them is ended.
 */
export class Ledger {
  /** What to hand to the other thread. */
  readonly memory: SharedArrayBuffer;
  readonly #slots: Float64Array;
  readonly #text: Uint8Array;
  readonly #cancelled: Int32Array;
  #textEnd = 0;

  /** @param memory that of another thread's ledger; default new */
  constructor(memory: SharedArrayBuffer = new SharedArrayBuffer(8 + SLOTS * 24 + TEXT_BYTES)) {
    this.memory = memory;
    this.#cancelled = new Int32Array(memory, 0, 1);
    this.#slots = new Float64Array(memory, 8, SLOTS * 3);
    this.#text = new Uint8Array(memory, 8 + SLOTS * 24);
  }

  /** Asks the thread to stop before its next `bpf` call. */
  cancel(): void {
    Atomics.store(this.#cancelled, 0, 1);
  }

  /** Whether that was asked for. */
  get cancelled(): boolean {
    return Atomics.load(this.#cancelled, 0) === 1;
  }

  /** Notes a file that pins something. */
  addPin(path: string): void {
    const bytes = encodeUtf8(path);
    if (this.#textEnd + bytes.length > TEXT_BYTES) throw full();
    this.#text.set(bytes, this.#textEnd);
    this.#add(PIN, this.#textEnd, bytes.length);
    this.#textEnd += bytes.length;
  }

  /** Strikes the pins out: they are gone. */
  forgetPins(): void {
    const slots = this.#slots;
    for (let at = 0; at < slots.length; at += 3) if (slots[at] === PIN) slots[at] = FREE;
  }

  /** The shim, keeping books. It throws before a `bpf` call once it is {@link cancelled}. */
  watch(inner: SyscallBackend): SyscallBackend {
    const numbers = syscallNumbers[inner.architecture];
    return {
      name: inner.name,
      architecture: inner.architecture,
      addressOf: (view) => inner.addressOf(view),
      viewMemory: (address, length) => inner.viewMemory(address, length),
      loadWord: (words, index, address) => inner.loadWord(words, index, address),
      watch: (descriptor, ready) => inner.watch(descriptor, ready),
      bpf: (command, attr, size) => {
        if (this.cancelled) throw new BpfError("ERR_CLOSED", "Loading was given up");
        const result = inner.bpf(command, attr, size);
        if (result >= 0 && GIVES_DESCRIPTOR.has(command)) this.#add(DESCRIPTOR, result, 0);
        return result;
      },
      syscall: (number, a = 0, b = 0, c = 0, d = 0, e = 0, f = 0) => {
        const result = inner.syscall(number, a, b, c, d, e, f);
        if (number === numbers.close) this.#remove(DESCRIPTOR, a);
        else if (number === numbers.munmap) this.#remove(MAPPING, a);
        else if (result < 0) return result;
        else if (number === numbers.fcntl && b === F_DUPFD_CLOEXEC) this.#add(DESCRIPTOR, result, 0);
        else if (number === numbers.mmap && e >= 0) this.#add(MAPPING, result, b);
        return result;
      },
    };
  }

  /** Closes all that is in it. For when its thread is gone, or has given up. */
  close(backend: SyscallBackend): void {
    const slots = this.#slots;
    for (let at = 0; at < slots.length; at += 3) {
      const kind = slots[at]!;
      const value = slots[at + 1]!;
      const length = slots[at + 2]!;
      slots[at] = FREE;
      if (kind === DESCRIPTOR) closeDescriptor(backend, value);
      else if (kind === MAPPING) call(backend, "munmap", [value, length], () => ({ addr: value, length }));
      else if (kind === PIN) {
        try {
          unlinkSync(decodeUtf8(this.#text.slice(value, value + length)));
        } catch {
          // It may never have come to be.
        }
      }
    }
  }

  #add(kind: number, value: number, length: number): void {
    const slots = this.#slots;
    for (let at = 0; at < slots.length; at += 3) {
      if (slots[at] !== FREE) continue;
      slots[at + 1] = value;
      slots[at + 2] = length;
      slots[at] = kind;
      return;
    }
    throw full();
  }

  #remove(kind: number, value: number): void {
    const slots = this.#slots;
    for (let at = 0; at < slots.length; at += 3) {
      if (slots[at] === kind && slots[at + 1] === value) {
        slots[at] = FREE;
        return;
      }
    }
  }
}

function full(): BpfError {
  return new BpfError("ERR_LIMIT", `Cannot load in another thread: it opens more than ${SLOTS} descriptors`);
}
