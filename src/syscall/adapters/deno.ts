import type { Architecture, BackendAdapter, DescriptorWatcher, SyscallBackend } from "../backend.ts";
import { syscallNumbers } from "../numbers.ts";
import { currentArchitecture, missingArchitecture } from "./architecture.ts";
import { holdProcess, libcNames, runReady, settled } from "./guard.ts";

declare const pointerBrand: unique symbol;
interface Pointer {
  readonly [pointerBrand]: never;
}
interface ForeignFunction {
  readonly name?: string;
  readonly parameters: readonly string[];
  readonly result: string;
  readonly nonblocking?: boolean;
}
/** The part of `Deno` that is used here. 64-bit results are `bigint`. */
interface DenoFfi {
  dlopen(path: string, symbols: Readonly<Record<string, ForeignFunction>>): { readonly symbols: unknown };
  readonly UnsafePointer: {
    of(view: ArrayBufferView): Pointer;
    value(pointer: Pointer): bigint | number;
    create(address: bigint): Pointer;
  };
  readonly UnsafePointerView: { getArrayBuffer(pointer: Pointer, length: number): ArrayBuffer };
  readonly permissions?: { querySync?(descriptor: { name: string }): { readonly state: string } };
  readonly internal?: symbol;
}
interface Libc {
  readonly syscall: (...args: bigint[]) => bigint | number;
  readonly bpf: (number: number, command: number, attr: bigint, size: number) => number;
  readonly poll: (descriptors: Uint8Array, count: bigint, timeout: number) => Promise<number>;
  readonly errnoLocation: () => Pointer;
}

const POLLIN = 1;
const EFD_CLOEXEC = 0x80000;

// Watches whose thread may still be looking at their memory.
const pinned = new Set<unknown>();

function findDeno(): DenoFfi | undefined {
  return (globalThis as { Deno?: DenoFfi }).Deno;
}

/** The adapter over `Deno.dlopen`. */
export const denoAdapter: BackendAdapter = {
  name: "deno",
  unavailable(): string | undefined {
    const deno = findDeno();
    if (deno === undefined) return "needs Deno";
    const wrong = missingArchitecture();
    if (wrong !== undefined) return wrong;
    if (deno.dlopen === undefined) return "needs Deno 2 or newer";
    const state = deno.permissions?.querySync?.({ name: "ffi" }).state;
    return state === "granted" || state === undefined ? undefined : "needs the permission --allow-ffi";
  },
  open(): SyscallBackend {
    const deno = findDeno();
    if (deno === undefined) throw new Error("This is not Deno");
    return openDeno(deno, currentArchitecture());
  },
};

function openDeno(deno: DenoFfi, architecture: Architecture): SyscallBackend {
  const libc = openLibc(deno, architecture);
  // errno of this thread, live.
  const errno = new Int32Array(deno.UnsafePointerView.getArrayBuffer(libc.errnoLocation(), 4));
  const { syscall, bpf } = libc;
  const bpfNumber = syscallNumbers[architecture].bpf;
  // A 64-bit argument given as a number leaves the fast path (some 250 ns a call), and attributes live in few
  // long-lived buffers, so their address seldom changes from one call to the next.
  let lastAttr = 0;
  let lastAttrBig = 0n;
  const backend: SyscallBackend = {
    name: "deno",
    architecture,
    addressOf(view) {
      return Number(deno.UnsafePointer.value(deno.UnsafePointer.of(settled(view))));
    },
    syscall(number, a = 0, b = 0, c = 0, d = 0, e = 0, f = 0) {
      const result = Number(syscall(BigInt(number), BigInt(a), BigInt(b), BigInt(c), BigInt(d), BigInt(e), BigInt(f)));
      return result === -1 ? -errno[0]! : result;
    },
    bpf(command, attr, size) {
      if (attr !== lastAttr) {
        lastAttrBig = BigInt(attr);
        lastAttr = attr;
      }
      const result = bpf(bpfNumber, command, lastAttrBig, size);
      return result === -1 ? -errno[0]! : result;
    },
    viewMemory(address, length) {
      return deno.UnsafePointerView.getArrayBuffer(deno.UnsafePointer.create(BigInt(address)), length);
    },
    loadWord(words, index) {
      return Atomics.load(words, index);
    },
    watch(descriptor, ready) {
      return watchWithPoll(deno, libc, backend, descriptor, ready);
    },
  };
  return backend;
}

function openLibc(deno: DenoFfi, architecture: Architecture): Libc {
  const symbols: Record<string, ForeignFunction> = {
    syscall: { parameters: ["i64", "i64", "i64", "i64", "i64", "i64", "i64"], result: "i64" },
    bpf: { name: "syscall", parameters: ["i32", "i32", "u64", "u32"], result: "i32" },
    poll: { parameters: ["buffer", "u64", "i32"], result: "i32", nonblocking: true },
    errnoLocation: { name: "__errno_location", parameters: [], result: "pointer" },
  };
  let failure: unknown;
  for (const name of libcNames(architecture)) {
    try {
      return deno.dlopen(name, symbols).symbols as Libc;
    } catch (error) {
      failure ??= error;
    }
  }
  throw failure;
}

/**
 * Takes away a pending call's hold on the process. Deno's own switch for that is not documented: where it is missing,
 * the call keeps the process running until it ends.
 */
function unrefCall(deno: DenoFfi, call: Promise<unknown>): void {
  const internals =
    deno.internal === undefined ? undefined : (deno as unknown as Record<symbol, unknown>)[deno.internal];
  const core = (internals as { core?: { unrefOpPromise?(promise: Promise<unknown>): void } } | undefined)?.core;
  core?.unrefOpPromise?.(call);
}

/**
 * Watches with a `poll` that Deno runs in a thread of its pool, one for each time the watch is armed. An event
 * descriptor beside the watched one ends it. On a Deno without `unrefOpPromise` an armed watch keeps the process
 * running until it is closed.
 */
function watchWithPoll(
  deno: DenoFfi,
  libc: Libc,
  backend: SyscallBackend,
  descriptor: number,
  ready: () => void,
): DescriptorWatcher {
  const numbers = syscallNumbers[backend.architecture];
  const hold = holdProcess();
  const end = backend.syscall(numbers.eventfd2, 0, EFD_CLOEXEC);
  if (end < 0) throw new Error(`Cannot wait for events: eventfd2 gave ${end}`);
  // Two `struct pollfd`: descriptor, then events and revents in the halves of one word.
  const descriptors = Int32Array.of(descriptor, POLLIN, end, POLLIN);
  const bytes = new Uint8Array(descriptors.buffer);
  const count = new BigUint64Array(new ArrayBuffer(8)).fill(1n);
  const watch = { descriptors, count };
  let open = true;
  let armed = true;
  let pending = false;

  function wait(): void {
    descriptors[1] = POLLIN;
    descriptors[3] = POLLIN;
    pinned.add(watch);
    pending = true;
    const call = libc.poll(bytes, 2n, -1);
    unrefCall(deno, call);
    call.then(wake);
  }
  function wake(): void {
    pending = false;
    if (!open) {
      release();
    } else if (descriptors[1]! >>> 16 !== 0) {
      armed = false;
      runReady(ready);
    } else if (armed) {
      wait(); // a signal handler ran
    }
  }
  function release(): void {
    backend.syscall(numbers.close, end);
    pinned.delete(watch);
  }
  wait();
  return {
    arm() {
      if (!open) return;
      armed = true;
      if (!pending) wait();
    },
    ref: () => void (open && hold.ref()),
    unref: () => hold.unref(),
    close() {
      if (!open) return;
      open = false;
      hold.unref();
      if (!pending) release();
      else backend.syscall(numbers.write, end, backend.addressOf(count), 8);
    },
  };
}
