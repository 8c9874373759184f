/** Names of the adapters, as `RAWBPF_FFI` and the `backend` option spell them. */
export type BackendName = "koffi" | "node:ffi" | "bun:ffi" | "deno" | "ffi-napi";

/** Processor architectures whose syscall numbers and memory model are known. */
export type Architecture = "x64" | "arm64";

/**
 * The thin shim under everything: calls the kernel with integers and addresses, shows memory, and says when a
 * descriptor is readable. All that knows BPF lies above it.
 *
 * Addresses are plain numbers: user space ends far below 2^53 on both architectures.
 */
export interface SyscallBackend {
  /** Which adapter this is; a fake backend has a name of its own. */
  readonly name: BackendName | (string & {});
  /** Architecture of the process. */
  readonly architecture: Architecture;

  /**
   * Address of the first byte of a view. The address does not keep the memory alive: the caller holds `view` as
   * long as the kernel may use the address (raw addresses were seen collected in every runtime).
   *
   * @throws TypeError for a length of 0, which has no address on some runtimes
   */
  addressOf(view: ArrayBufferView): number;

  /**
   * Issues a system call. Each argument is an integer of at most 53 bits, sign-extended to 64.
   *
   * @returns the result, or `-errno`
   */
  syscall(number: number, a?: number, b?: number, c?: number, d?: number, e?: number, f?: number): number;

  /**
   * Issues `bpf(command, attr, size)`: the hot path.
   *
   * @param command `BPF_*` command number
   * @param attr address of the attributes
   * @param size bytes of attributes
   * @returns the result, or `-errno`
   */
  bpf(command: number, attr: number, size: number): number;

  /**
   * A live view of memory: reads and writes go to the memory itself. The memory must stay mapped (see
   * `MappedMemory`, which never unmaps a range, only replaces it).
   *
   * @param address first byte
   * @param length bytes, above 0
   * @returns a buffer that begins at `address`; it may be longer than `length` (with ffi-napi it is), so bound what is
   *   laid over it
   */
  viewMemory(address: number, length: number): ArrayBuffer;

  /**
   * Reads a 32-bit word with acquire order, afresh each time (a JIT may hoist a plain load out of a loop).
   *
   * @param words live view
   * @param index word index
   * @param address address of that word, for runtimes where an atomic load of read-only memory faults
   */
  loadWord(words: Int32Array, index: number, address: number): number;

  /**
   * Watches one descriptor, made for the purpose (an epoll descriptor): nothing else may close it first.
   *
   * `ready` runs on the event loop, outside of any user code, once for each `arm` after which the descriptor is or
   * becomes readable. An exception in `ready` never reaches native code: adapters report it as an uncaught exception.
   * Promise continuations scheduled by `ready` run soon after it.
   *
   * A watch that is still armed when the process, or the thread, ends does no harm.
   */
  watch(descriptor: number, ready: () => void): DescriptorWatcher;
}

/** A watch on a descriptor. Starts armed and unreferenced. */
export interface DescriptorWatcher {
  /** Asks for (another) call of `ready`. */
  arm(): void;
  /** Lets the watch keep the process running, as an open socket does. */
  ref(): void;
  /** Lets the process exit although the watch is open. */
  unref(): void;
  /** Ends the watch: `ready` is not called again. Does not close the descriptor. Idempotent. */
  close(): void;
}

/** One way to reach the kernel: knows whether it can be used here, and opens it. */
export interface BackendAdapter {
  /** Its name. */
  readonly name: BackendName;
  /**
   * Looks, without side effects, whether this adapter can be used in this process.
   *
   * @returns `undefined` when it can, else why not, as one clause (`needs Node 26.2 or newer with --experimental-ffi`)
   */
  unavailable(): string | undefined;
  /**
   * Opens it.
   *
   * @throws Error of the underlying package when it fails after all
   */
  open(): SyscallBackend;
}
