import { isBuiltin } from "node:module";
import { isMainThread } from "node:worker_threads";
import type { Architecture, BackendAdapter, DescriptorWatcher, SyscallBackend } from "../backend.ts";
import { syscallNumbers } from "../numbers.ts";
import { currentArchitecture, missingArchitecture } from "./architecture.ts";
import { settled } from "./guard.ts";
import { watchThroughUring } from "./uring-watch.ts";
import { createUvWatch, type UvPoll } from "./uv-poll.ts";

/** The part of `node:ffi` that is used here. 64-bit values are `bigint` in both directions. */
interface NodeFfi {
  readonly DynamicLibrary: new (path: string | null) => Library;
  getRawPointer(view: ArrayBufferView | ArrayBuffer): bigint;
  toArrayBuffer(address: bigint, length: number, copy: boolean): ArrayBuffer;
  getCurrentEventLoop?(): bigint;
}
interface Library {
  getFunction<T>(name: string, signature: Signature): T;
  registerCallback(signature: Signature, callback: (...args: never[]) => void): bigint;
}
interface Signature {
  readonly arguments: readonly string[];
  readonly return: string;
}
type Bind = <T>(name: string, args: readonly string[], result: string) => T;
type Call<A extends unknown[], R> = (...args: A) => R;

/** `(uint64_t)-1`, what the C library's `syscall` returns when `errno` is set. */
const FAILED = 0xffff_ffff_ffff_ffffn;
const UV_READABLE = 1;
/** `UV_POLL` in libuv's `uv_handle_type`. */
const UV_POLL = 8;

// Callbacks and library objects that native code points at.
const pinned = new Set<unknown>();

/** The adapter over Node's own `node:ffi`. */
export const nodeFfiAdapter: BackendAdapter = {
  name: "node:ffi",
  unavailable(): string | undefined {
    const versions = (globalThis as { process?: { versions?: Record<string, string | undefined> } }).process?.versions;
    if (versions?.node === undefined || versions.bun !== undefined || "Deno" in globalThis) return "needs Node";
    const wrong = missingArchitecture();
    if (wrong !== undefined) return wrong;
    // Asked of the list of modules: loading it prints a warning.
    if (!isBuiltin("node:ffi")) {
      return `needs Node 26 or newer with node:ffi switched on (--experimental-ffi), this is ${versions.node}`;
    }
    const permission = (process as { permission?: { has(scope: string): boolean } }).permission;
    if (permission !== undefined && !permission.has("ffi")) return "needs the permission --allow-ffi";
    return undefined;
  },
  open(): SyscallBackend {
    const load = (process as { getBuiltinModule?(name: string): unknown }).getBuiltinModule;
    const ffi = load?.("node:ffi") as NodeFfi | undefined;
    if (ffi === undefined) throw new Error("This Node has no node:ffi");
    return openNodeFfi(ffi, currentArchitecture());
  },
};

function openNodeFfi(ffi: NodeFfi, architecture: Architecture): SyscallBackend {
  // One library object for each: a library remembers one signature a symbol.
  const bind: Bind = <T>(name: string, args: readonly string[], result: string): T => {
    const library = new ffi.DynamicLibrary(null);
    pinned.add(library);
    return library.getFunction<T>(name, { arguments: args, return: result });
  };
  const int64x7 = ["i64", "i64", "i64", "i64", "i64", "i64", "i64"];
  const syscall7 = bind<Call<bigint[], bigint>>("syscall", int64x7, "i64");
  // The kind of pointer that is declared as the result decides how the call is made: four arguments and a plain
  // integer go through a rest-parameter wrapper (690-790 ns for getpid), "function" selects one made for four
  // arguments (570-650 ns). Either way it is 64 bits of register.
  const syscall4 = bind<Call<[number, number, bigint, number], bigint>>(
    "syscall",
    ["i32", "i32", "u64", "u32"],
    "function",
  );
  const errnoAddress = bind<Call<[], bigint>>("__errno_location", [], "u64")();
  // errno of this thread, live: any call of the runtime's own could overwrite it before a second FFI call reads it.
  const errno = new Int32Array(ffi.toArrayBuffer(errnoAddress, 4, false));
  const bpfNumber = syscallNumbers[architecture].bpf;
  // Attributes live in few long-lived buffers: the address seldom changes from one call to the next.
  let lastAttr = 0;
  let lastAttrBig = 0n;
  const backend: SyscallBackend = {
    name: "node:ffi",
    architecture,
    addressOf(view) {
      return Number(ffi.getRawPointer(settled(view)));
    },
    syscall(number, a = 0, b = 0, c = 0, d = 0, e = 0, f = 0) {
      const result = Number(syscall7(BigInt(number), BigInt(a), BigInt(b), BigInt(c), BigInt(d), BigInt(e), BigInt(f)));
      return result === -1 ? -errno[0]! : result;
    },
    bpf(command, attr, size) {
      if (attr !== lastAttr) {
        lastAttrBig = BigInt(attr);
        lastAttr = attr;
      }
      const result = syscall4(bpfNumber, command, lastAttrBig, size);
      return result === FAILED ? -errno[0]! : Number(result);
    },
    viewMemory(address, length) {
      return ffi.toArrayBuffer(BigInt(address), length, false);
    },
    loadWord(words, index) {
      return Atomics.load(words, index);
    },
    watch(descriptor, ready) {
      // In a worker thread a libuv handle of ours would outlive the thread: terminating it aborts the process.
      return isMainThread && ffi.getCurrentEventLoop !== undefined
        ? watchWithUv(descriptor, ready)
        : watchThroughUring(backend, descriptor, ready);
    },
  };

  let uvWatch: SyscallBackend["watch"] | undefined;
  function watchWithUv(descriptor: number, ready: () => void): DescriptorWatcher {
    uvWatch ??= createUvWatch(backend.addressOf, (onReadable) => connectUv(ffi, bind, onReadable));
    return uvWatch(descriptor, ready);
  }
  return backend;
}

function connectUv(ffi: NodeFfi, bind: Bind, onReadable: (handle: number) => void): UvPoll {
  const loop = ffi.getCurrentEventLoop!();
  const init = bind<Call<[bigint, bigint, number], number>>("uv_poll_init", ["u64", "u64", "i32"], "i32");
  const start = bind<Call<[bigint, number, bigint], number>>("uv_poll_start", ["u64", "i32", "u64"], "i32");
  const stop = bind<Call<[bigint], number>>("uv_poll_stop", ["u64"], "i32");
  const close = bind<Call<[bigint, bigint], void>>("uv_close", ["u64", "u64"], "void");
  const unref = bind<Call<[bigint], void>>("uv_unref", ["u64"], "void");
  const owner = new ffi.DynamicLibrary(null);
  const onPoll = (handle: bigint): void => onReadable(Number(handle));
  const callback = owner.registerCallback({ arguments: ["u64", "i32", "i32"], return: "void" }, onPoll);
  pinned.add(owner).add(onPoll);
  return {
    handleSize: Number(bind<Call<[number], bigint>>("uv_handle_size", ["i32"], "u64")(UV_POLL)),
    init: (handle, descriptor) => init(loop, BigInt(handle), descriptor),
    start: (handle) => void start(BigInt(handle), UV_READABLE, callback),
    stop: (handle) => void stop(BigInt(handle)),
    close: (handle) => close(BigInt(handle), 0n),
    unref: (handle) => unref(BigInt(handle)),
  };
}
