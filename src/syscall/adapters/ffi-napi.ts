import { createRequire } from "node:module";
import { isMainThread } from "node:worker_threads";
import type { Architecture, BackendAdapter, SyscallBackend } from "../backend.ts";
import { syscallNumbers } from "../numbers.ts";
import { currentArchitecture, missingArchitecture } from "./architecture.ts";
import { settled } from "./guard.ts";
import { watchThroughUring } from "./uring-watch.ts";
import { createUvWatch, type UvPoll } from "./uv-poll.ts";

type NativeType = string;
/** The parts of `ffi-napi` and `ref-napi` that are used here. A native pointer is a `Buffer` at its target. */
interface FfiNapi {
  DynamicLibrary(path: null): { get(name: string): Buffer };
  CIF(result: NativeType, args: readonly NativeType[]): Buffer;
  Callback(result: NativeType, args: readonly NativeType[], callback: (...args: never[]) => void): Buffer;
}
interface Bindings {
  ffi_call(cif: Buffer, target: Buffer, result: Buffer, args: Buffer): void;
}
interface RefNapi {
  address(buffer: Buffer): number;
  readPointer(buffer: Buffer, offset: number, length: number): Buffer;
}
interface Packages {
  readonly ffi: FfiNapi;
  readonly ref: RefNapi;
  readonly bindings: Bindings;
}
/** Arguments and result are 64 bits wide and in memory that is written before and read after `invoke`. */
interface Prepared {
  readonly args: BigInt64Array;
  readonly result: BigInt64Array;
  invoke(): void;
}

const UV_READABLE = 1;
/** `UV_POLL` in libuv's `uv_handle_type`. */
const UV_POLL = 8;
/**
 * Bytes of every view: ref-napi makes none below 1 GiB less a byte, and a view must be a whole number of words for
 * typed arrays to be made over it.
 */
const VIEW_LENGTH = 0x4000_0000;

const pinned = new Set<unknown>();

/**
 * The adapter over `ffi-napi` with `ref-napi`: legacy, never chosen by itself. It no longer compiles against the
 * headers of Node 20, but its old prebuilt binary still loads. The memory it shows is longer than what was asked for.
 */
export const ffiNapiAdapter: BackendAdapter = {
  name: "ffi-napi",
  unavailable(): string | undefined {
    const versions = (globalThis as { process?: { versions?: Record<string, string | undefined> } }).process?.versions;
    if (versions?.node === undefined || versions.bun !== undefined || "Deno" in globalThis) return "needs Node";
    const wrong = missingArchitecture();
    if (wrong !== undefined) return wrong;
    try {
      const require = createRequire(import.meta.url);
      require.resolve("ffi-napi");
      require.resolve("ref-napi");
      return undefined;
    } catch {
      return 'needs the packages "ffi-napi" and "ref-napi"';
    }
  },
  open(): SyscallBackend {
    const require = createRequire(import.meta.url);
    const packages: Packages = {
      ffi: require("ffi-napi"),
      ref: require("ref-napi"),
      // ffi-napi's own front end marshals each argument by itself: some 30 us a call.
      bindings: require("ffi-napi/lib/bindings"),
    };
    return openFfiNapi(packages, currentArchitecture());
  },
};

function prepare(
  { ffi, ref, bindings }: Packages,
  name: string,
  resultType: NativeType,
  types: NativeType[],
): Prepared {
  const target = ffi.DynamicLibrary(null).get(name);
  const cif = ffi.CIF(resultType, types);
  const args = new BigInt64Array(new ArrayBuffer(Math.max(8, types.length * 8)));
  const result = new BigInt64Array(new ArrayBuffer(8));
  const argsAddress = ref.address(Buffer.from(args.buffer));
  // One pointer an argument, each to its 8 bytes (the low ones come first).
  const pointers = BigUint64Array.from({ length: Math.max(1, types.length) }, (_, i) => BigInt(argsAddress + i * 8));
  const list = Buffer.from(pointers.buffer);
  const into = Buffer.from(result.buffer);
  return { args, result, invoke: () => bindings.ffi_call(cif, target, into, list) };
}

/** A function of up to six small arguments; its result as a number. */
function bind(
  packages: Packages,
  name: string,
  result: NativeType,
  types: NativeType[],
): (...args: number[]) => number {
  const prepared = prepare(packages, name, result, types);
  return (...args) => {
    for (let i = 0; i < args.length; i++) prepared.args[i] = BigInt(args[i]!);
    prepared.invoke();
    return Number(prepared.result[0]!);
  };
}

function openFfiNapi(packages: Packages, architecture: Architecture): SyscallBackend {
  const { ref } = packages;
  const pointer = new BigUint64Array(new ArrayBuffer(8));
  const pointerBytes = Buffer.from(pointer.buffer);
  const viewMemory = (address: number): ArrayBuffer => {
    pointer[0] = BigInt(address);
    return ref.readPointer(pointerBytes, 0, VIEW_LENGTH).buffer as ArrayBuffer;
  };
  // libffi keeps an integer register: the 32-bit arguments of bpf need no types of their own.
  const { args, result, invoke } = prepare(packages, "syscall", "int64", Array(7).fill("int64"));
  const words = new Int32Array(result.buffer);
  // errno of this thread, live.
  const errno = new Int32Array(viewMemory(bind(packages, "__errno_location", "int64", [])()), 0, 1);
  const bpfNumber = BigInt(syscallNumbers[architecture].bpf);
  let uvWatch: SyscallBackend["watch"] | undefined;
  const backend: SyscallBackend = {
    name: "ffi-napi",
    architecture,
    addressOf(view) {
      settled(view);
      return ref.address(Buffer.from(view.buffer as ArrayBuffer, view.byteOffset, view.byteLength));
    },
    syscall(number, a = 0, b = 0, c = 0, d = 0, e = 0, f = 0) {
      args[0] = BigInt(number);
      args[1] = BigInt(a);
      args[2] = BigInt(b);
      args[3] = BigInt(c);
      args[4] = BigInt(d);
      args[5] = BigInt(e);
      args[6] = BigInt(f);
      invoke();
      const value = Number(result[0]!);
      return value === -1 ? -errno[0]! : value;
    },
    bpf(command, attr, size) {
      args[0] = bpfNumber;
      args[1] = BigInt(command);
      args[2] = BigInt(attr);
      args[3] = BigInt(size);
      invoke();
      const value = words[0]!;
      return value === -1 ? -errno[0]! : value;
    },
    viewMemory,
    loadWord(words, index) {
      return Atomics.load(words, index);
    },
    watch(descriptor, ready) {
      try {
        return watchThroughUring(backend, descriptor, ready);
      } catch (error) {
        if (!isMainThread) throw error;
      }
      // Each callback wraps two pointers into views of 1 GiB, and so collects garbage: 0.5 ms a wake-up, at times 8.
      uvWatch ??= createUvWatch(backend.addressOf, (onReadable) => connectUv(packages, onReadable));
      return uvWatch(descriptor, ready);
    },
  };
  return backend;
}

function connectUv(packages: Packages, onReadable: (handle: number) => void): UvPoll {
  const { ffi, ref } = packages;
  const callback = ffi.Callback("void", ["int64", "int", "int"], onReadable);
  pinned.add(callback).add(onReadable);
  const callbackAddress = ref.address(callback);
  const loop = bind(packages, "uv_default_loop", "int64", [])();
  const init = bind(packages, "uv_poll_init", "int64", ["int64", "int64", "int64"]);
  const start = bind(packages, "uv_poll_start", "int64", ["int64", "int64", "int64"]);
  const stop = bind(packages, "uv_poll_stop", "int64", ["int64"]);
  const close = bind(packages, "uv_close", "int64", ["int64", "int64"]);
  const unref = bind(packages, "uv_unref", "int64", ["int64"]);
  return {
    handleSize: bind(packages, "uv_handle_size", "int64", ["int64"])(UV_POLL),
    // Declared 64 bits wide, an int result has undefined upper bits.
    init: (handle, descriptor) => init(loop, handle, descriptor) | 0,
    start: (handle) => void start(handle, UV_READABLE, callbackAddress),
    stop: (handle) => void stop(handle),
    close: (handle) => void close(handle, 0),
    unref: (handle) => void unref(handle),
  };
}
