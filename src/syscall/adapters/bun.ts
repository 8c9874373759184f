import { createRequire } from "node:module";
import type { Architecture, BackendAdapter, DescriptorWatcher, SyscallBackend } from "../backend.ts";
import { syscallNumbers } from "../numbers.ts";
import { currentArchitecture, missingArchitecture } from "./architecture.ts";
import { libcNames, runReady, settled } from "./guard.ts";

/** The part of `bun:ffi` that is used here. */
interface BunFfi {
  dlopen(
    path: string,
    functions: Readonly<Record<string, { readonly args: readonly string[]; readonly returns: string }>>,
  ): { readonly symbols: Readonly<Record<string, (...args: number[]) => number | bigint>> };
  ptr(view: ArrayBufferView): number;
  toArrayBuffer(address: number, offset: number, length: number): ArrayBuffer;
  readonly read: { i32(address: number): number };
}
/** Bun's `Worker`, which can be started unreferenced. */
interface BunWorker {
  onmessage: (() => void) | null;
  onerror: ((event: { readonly message: string }) => void) | null;
  ref(): void;
  unref(): void;
}
interface BunWorkerOptions {
  readonly ref: boolean;
  readonly smol: boolean;
  /** Appended to the worker's `process.argv`. */
  readonly argv: readonly string[];
}
type BunWorkerConstructor = new (url: string, options: BunWorkerOptions) => BunWorker;

const EPOLL_CLOEXEC = 0x80000;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLL_CTL_MOD = 3;
const EPOLLIN = 0x1;
const EPOLLONESHOT = 0x4000_0000;
const EFD_CLOEXEC = 0x80000;

// A worker that nothing refers to could be collected together with its listener.
const pinned = new Set<BunWorker>();

/** The adapter over `bun:ffi`. */
export const bunAdapter: BackendAdapter = {
  name: "bun:ffi",
  unavailable(): string | undefined {
    const process = (globalThis as { process?: { versions?: Record<string, string | undefined> } }).process;
    return process?.versions?.bun === undefined ? "needs Bun" : missingArchitecture();
  },
  open(): SyscallBackend {
    return openBun(createRequire(import.meta.url)("bun:ffi") as BunFfi, currentArchitecture());
  },
};

function openBun(ffi: BunFfi, architecture: Architecture): SyscallBackend {
  const libc = findLibc(ffi, architecture);
  const bind = (name: string, args: readonly string[], returns: string): ((...args: number[]) => number | bigint) =>
    ffi.dlopen(libc, { [name]: { args, returns } }).symbols[name]!;
  // "fast": a number below 2^53, a bigint above.
  const int64x7 = ["i64_fast", "i64_fast", "i64_fast", "i64_fast", "i64_fast", "i64_fast", "i64_fast"];
  const syscall7 = bind("syscall", int64x7, "i64_fast");
  const syscall4 = bind("syscall", ["i32", "i32", "ptr", "u32"], "i32") as (...args: number[]) => number;
  const errnoAddress = bind("__errno_location", [], "ptr")() as number;
  // errno of this thread, live.
  const errno = new Int32Array(ffi.toArrayBuffer(errnoAddress, 0, 4));
  const bpfNumber = syscallNumbers[architecture].bpf;
  const readWord = ffi.read.i32;
  const fence = new Int32Array(1);
  const backend: SyscallBackend = {
    name: "bun:ffi",
    architecture,
    addressOf(view) {
      return ffi.ptr(settled(view));
    },
    syscall(number, a = 0, b = 0, c = 0, d = 0, e = 0, f = 0) {
      const result = Number(syscall7(number, a, b, c, d, e, f));
      return result === -1 ? -errno[0]! : result;
    },
    bpf(command, attr, size) {
      const result = syscall4(bpfNumber, command, attr, size);
      return result === -1 ? -errno[0]! : result;
    },
    viewMemory(address, length) {
      return ffi.toArrayBuffer(address, 0, length);
    },
    // Compiled code faults on Atomics.load of read-only memory (it seems to become a locked read-modify-write).
    loadWord:
      architecture === "x64"
        ? (_words, _index, address) => readWord(address)
        : (_words, _index, address) => {
            const word = readWord(address);
            // An atomic with acquire and release semantics keeps the loads after it behind the one before it.
            Atomics.add(fence, 0, 0);
            return word;
          },
    watch(descriptor, ready) {
      return watchFromWorker(backend, libc, descriptor, ready);
    },
  };
  return backend;
}

function findLibc(ffi: BunFfi, architecture: Architecture): string {
  let failure: unknown;
  for (const name of libcNames(architecture)) {
    try {
      ffi.dlopen(name, { getpid: { args: [], returns: "i32" } });
      return name;
    } catch (error) {
      failure ??= error;
    }
  }
  throw failure;
}

/**
 * The life of the waiting thread: sleeps in `epoll_wait`, says so when the watched descriptor is readable, ends when
 * the control descriptor is. Its source text is what the worker runs, so it may use nothing from around it: that
 * way there is no file to find, whatever bundler the package went through.
 */
function waitLoop(ffi: BunFfi, argv: readonly string[]): void {
  const libcName = argv.at(-5)!;
  const [epoll, control, words, tokenWord] = argv.slice(-4).map(Number) as [number, number, number, number];
  const libc = ffi.dlopen(libcName, {
    epoll_wait: { args: ["i32", "ptr", "i32", "i32"], returns: "i32" },
    close: { args: ["i32"], returns: "i32" },
  }).symbols;
  const events = new Int32Array(new ArrayBuffer(words * 4 * 2));
  const address = ffi.ptr(events);
  for (;;) {
    const count = Number(libc.epoll_wait!(epoll, address, 2, -1));
    // A signal came. Bun sends them to end this thread, and optimised code notices that only inside of a function of
    // the engine's own: without one, whoever terminates the worker around this one waits for ever.
    if (count < 0) JSON.parse("[1]");
    let readable = false;
    for (let i = 0; i < count; i++) {
      if (events[i * words + tokenWord] === 1) readable = true;
      else {
        libc.close!(epoll);
        libc.close!(control);
        return;
      }
    }
    if (readable) (globalThis as unknown as { postMessage(value: number): void }).postMessage(1);
  }
}

let url: string | undefined;

/** Where the waiting thread's program is to be had. */
function waiterUrl(): string {
  const source = `import * as ffi from "bun:ffi";\n(${waitLoop})(ffi, process.argv);\n`;
  url ??= URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  return url;
}

/**
 * Watches from a thread that sleeps in `epoll_wait`: Bun offers no way to add a descriptor to its own loop. The watch
 * is one-shot in the kernel, so arming it is one `epoll_ctl` here and the thread needs no word from us.
 */
function watchFromWorker(
  backend: SyscallBackend,
  libc: string,
  descriptor: number,
  ready: () => void,
): DescriptorWatcher {
  const numbers = syscallNumbers[backend.architecture];
  // `struct epoll_event` is packed on x86-64 only.
  const words = backend.architecture === "x64" ? 3 : 4;
  const tokenWord = words - 2;
  const event = new Int32Array(new ArrayBuffer(words * 4));
  const eventAddress = backend.addressOf(event);
  const count = new BigUint64Array(new ArrayBuffer(8)).fill(1n);
  const countAddress = backend.addressOf(count);

  const epoll = check("epoll_create1", backend.syscall(numbers.epoll_create1, EPOLL_CLOEXEC));
  const opened = [epoll];
  const control = (operation: number, fd: number, events: number, token: number): number => {
    event[0] = events;
    event[tokenWord] = token;
    return backend.syscall(numbers.epoll_ctl, epoll, operation, fd, eventAddress);
  };
  let end: number;
  let worker: BunWorker;
  try {
    end = check("eventfd2", backend.syscall(numbers.eventfd2, 0, EFD_CLOEXEC));
    opened.push(end);
    check("epoll_ctl", control(EPOLL_CTL_ADD, end, EPOLLIN, 0));
    check("epoll_ctl", control(EPOLL_CTL_ADD, descriptor, EPOLLIN | EPOLLONESHOT, 1));
    const Worker = (globalThis as unknown as { Worker: BunWorkerConstructor }).Worker;
    const argv = [libc, ...[epoll, end, words, tokenWord].map(String)];
    worker = new Worker(waiterUrl(), { ref: false, smol: true, argv });
  } catch (error) {
    for (const fd of opened) backend.syscall(numbers.close, fd);
    throw error;
  }
  pinned.add(worker);
  let open = true;
  worker.onmessage = () => {
    if (open) runReady(ready);
  };
  worker.onerror = ({ message }) => {
    runReady(() => {
      throw new Error(`The thread that waits for events failed: ${message}`);
    });
  };
  return {
    arm() {
      if (open) control(EPOLL_CTL_MOD, descriptor, EPOLLIN | EPOLLONESHOT, 1);
    },
    ref: () => void (open && worker.ref()),
    unref: () => void (open && worker.unref()),
    close() {
      if (!open) return;
      open = false;
      worker.unref();
      control(EPOLL_CTL_DEL, descriptor, 0, 1);
      // The thread closes both descriptors: only it knows when it has stopped using them.
      backend.syscall(numbers.write, end, countAddress, 8);
      pinned.delete(worker);
    },
  };
}

function check(name: string, result: number): number {
  if (result < 0) throw new Error(`Cannot wait for events: ${name} gave ${result}`);
  return result;
}
