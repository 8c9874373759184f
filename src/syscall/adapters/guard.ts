/**
 * Calls `ready` on behalf of a watcher. What it throws becomes an uncaught exception of its own turn: an error that
 * unwinds through native code aborts the process on some runtimes and is swallowed on others.
 *
 * @param ready callback of a watch
 */
export function runReady(ready: () => void): void {
  try {
    ready();
  } catch (error) {
    setImmediate(() => {
      throw error;
    });
  }
}

/**
 * The off-heap memory behind a view. Small typed arrays live inside the garbage-collected heap, where they move (V8)
 * or are copied out later (JavaScriptCore), until somebody asks for their `buffer`.
 *
 * @param view memory whose address is wanted
 * @returns the same view
 * @throws TypeError for a length of 0, which has no address on some runtimes
 */
export function settled<T extends ArrayBufferView>(view: T): T {
  if (view.buffer.byteLength === 0 || view.byteLength === 0) throw new TypeError("An empty view has no address");
  return view;
}

/** File names of the C library: glibc's, then musl's. */
export function libcNames(architecture: "x64" | "arm64"): readonly string[] {
  return ["libc.so.6", `libc.musl-${architecture === "x64" ? "x86_64" : "aarch64"}.so.1`];
}

/** What `ref()` and `unref()` of a watch do: see {@link holdProcess}. */
export interface Hold {
  ref(): void;
  unref(): void;
}

/**
 * Keeps the process running by a timer of its own, so that it does not matter whether the wait behind a watch is
 * under way at the moment. Starts unreferenced.
 */
export function holdProcess(): Hold {
  let timer: ReturnType<typeof setInterval> | undefined;
  return {
    ref() {
      // The longest interval there is: 24 days.
      timer ??= setInterval(() => {}, 0x7fff_ffff);
    },
    unref() {
      clearInterval(timer);
      timer = undefined;
    },
  };
}
