import { createRequire } from "node:module";
import { isMainThread } from "node:worker_threads";
import type { Architecture, BackendAdapter, DescriptorWatcher, SyscallBackend } from "../backend.ts";
import { syscallNumbers } from "../numbers.ts";
import { currentArchitecture, missingArchitecture } from "./architecture.ts";
import { holdProcess, runReady, settled } from "./guard.ts";
import { watchThroughUring } from "./uring-watch.ts";

/** The part of koffi's interface that is used here. */
interface Koffi {
  load(path: string | null): { func(name: string, result: string, args: readonly string[]): NativeFunction };
  address(view: ArrayBufferView): bigint;
  view(address: number, length: number): ArrayBuffer;
  errno(): number;
  readonly node?: { poll?(fd: number, options: { readable: boolean }, callback: () => void): PollHandle };
}
type NativeFunction = (...args: number[]) => number | bigint;
interface PollHandle {
  start(options: { readable: boolean }, callback: () => void): void;
  stop(): void;
  close(): void;
  unref(): void;
}

// An unreferenced PollHandle is collected, and then polling stops without a word.
const pinned = new Set<PollHandle>();

function findKoffi(): Koffi {
  return createRequire(import.meta.url)("koffi") as Koffi;
}

/** The adapter over koffi: the main one on Node 20 to 24. koffi ships its binary inside its package. */
export const koffiAdapter: BackendAdapter = {
  name: "koffi",
  unavailable(): string | undefined {
    const process = (globalThis as { process?: { versions?: Record<string, string | undefined> } }).process;
    if (process?.versions?.node === undefined || process.versions.bun !== undefined || "Deno" in globalThis) {
      return "needs Node";
    }
    const wrong = missingArchitecture();
    if (wrong !== undefined) return wrong;
    try {
      createRequire(import.meta.url).resolve("koffi");
      return undefined;
    } catch {
      return 'needs the package "koffi" (npm install koffi)';
    }
  },
  open(): SyscallBackend {
    return openKoffi(findKoffi(), currentArchitecture());
  },
};

function openKoffi(koffi: Koffi, architecture: Architecture): SyscallBackend {
  // The process itself: libc's `syscall` is there under glibc and musl alike. Not declared variadic, which costs
  // 280 ns a call and means nothing in these calling conventions.
  const libc = koffi.load(null);
  const int64x7 = ["int64", "int64", "int64", "int64", "int64", "int64", "int64"];
  const syscall7 = libc.func("syscall", "int64", int64x7);
  const syscall4 = libc.func("syscall", "int", ["int", "int", "uint64", "uint32"]);
  const errno = koffi.errno;
  const bpfNumber = syscallNumbers[architecture].bpf;
  const backend: SyscallBackend = {
    name: "koffi",
    architecture,
    addressOf(view) {
      return Number(koffi.address(settled(view)));
    },
    syscall(number, a = 0, b = 0, c = 0, d = 0, e = 0, f = 0) {
      const result = syscall7(number, a, b, c, d, e, f);
      // errno is read in the same breath: any failing call of the runtime in between overwrites it.
      if (result === -1) return -errno();
      return Number(result);
    },
    bpf(command, attr, size) {
      const result = syscall4(bpfNumber, command, attr, size) as number;
      return result === -1 ? -errno() : result;
    },
    viewMemory(address, length) {
      return koffi.view(address, length);
    },
    loadWord(words, index) {
      return Atomics.load(words, index);
    },
    watch(descriptor, ready) {
      if (!isMainThread) {
        // A worker thread that is terminated still calls the callback, and that aborts the process.
        try {
          return watchThroughUring(backend, descriptor, ready);
        } catch {
          // No io_uring here: as good as it gets.
        }
      }
      return watchWithPoll(koffi, descriptor, ready);
    },
  };
  return backend;
}

/**
 * Watches through `koffi.node.poll`, a libuv poll handle under Node's own event loop. A closed PollHandle must not be
 * touched again: it dereferences null.
 */
function watchWithPoll(koffi: Koffi, descriptor: number, ready: () => void): DescriptorWatcher {
  if (koffi.node?.poll === undefined) throw new Error("This koffi has no node.poll: install koffi 3 or newer");
  if (pinned.size === 0) process.once("exit", closeAll);
  let armed = true;
  let polling = true;
  const onReadable = (): void => {
    if (!pinned.has(handle)) return;
    if (!armed) {
      // Level-triggered: nobody wants the news yet, and libuv would repeat it in every turn of the loop.
      polling = false;
      handle.stop();
      return;
    }
    armed = false;
    runReady(ready);
    // Microtasks do not run after a native callback (Node 26) or only late (Node 20): this brings the loop round.
    setImmediate(nothing);
  };
  const hold = holdProcess();
  const handle = koffi.node.poll(descriptor, { readable: true }, onReadable);
  handle.unref();
  pinned.add(handle);
  return {
    arm() {
      if (!pinned.has(handle)) return;
      armed = true;
      if (polling) return;
      polling = true;
      handle.start({ readable: true }, onReadable);
    },
    ref: () => void (pinned.has(handle) && hold.ref()),
    unref: () => hold.unref(),
    close() {
      if (!pinned.delete(handle)) return;
      if (pinned.size === 0) process.off("exit", closeAll);
      hold.unref();
      handle.close();
    },
  };
}

/** While Node tears down it still turns the loop, and aborts when that calls back into JavaScript. */
function closeAll(): void {
  for (const handle of pinned) handle.close();
  pinned.clear();
}

function nothing(): void {}
