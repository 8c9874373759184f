import type { DescriptorWatcher } from "../backend.ts";
import { type Hold, holdProcess, runReady } from "./guard.ts";

/** libuv's poll handles on the loop of this thread, as an adapter reaches them. Handles are addresses. */
export interface UvPoll {
  /** Bytes of a `uv_poll_t`. */
  readonly handleSize: number;
  /** `uv_poll_init` on the loop: 0 or a negative errno. */
  init(handle: number, descriptor: number): number;
  /** `uv_poll_start` for reading, with the callback that was connected. */
  start(handle: number): void;
  /** `uv_poll_stop`. */
  stop(handle: number): void;
  /** `uv_close` without a callback. */
  close(handle: number): void;
  /** `uv_unref`. */
  unref(handle: number): void;
}

interface Watch {
  readonly handle: number;
  readonly memory: Uint8Array;
  readonly ready: () => void;
  readonly hold: Hold;
  armed: boolean;
  polling: boolean;
}

// Memory that libuv points at.
const pinned = new Set<Watch>();

/**
 * Makes a `watch` out of libuv's poll handles under Node's own loop: nothing waits in a thread, nothing wakes twice.
 * For the main thread only: a worker thread that is terminated aborts the process over a handle it does not know.
 *
 * @param addressOf see `SyscallBackend`
 * @param connect gives libuv's functions; their callback is to call `onReadable` with the handle
 */
export function createUvWatch(
  addressOf: (view: ArrayBufferView) => number,
  connect: (onReadable: (handle: number) => void) => UvPoll,
): (descriptor: number, ready: () => void) => DescriptorWatcher {
  const open = new Map<number, Watch>();
  const uv = connect((handle) => {
    const watch = open.get(handle);
    if (watch === undefined) return;
    if (!watch.armed) {
      // Level-triggered: nobody wants the news yet, and libuv would repeat it in every turn of the loop.
      uv.stop(handle);
      watch.polling = false;
      return;
    }
    watch.armed = false;
    runReady(watch.ready);
    // Neither microtasks nor process.nextTick run after a native callback (node:ffi): this brings the loop round.
    setImmediate(nothing);
  });

  function end(watch: Watch): void {
    if (!open.delete(watch.handle)) return;
    watch.hold.unref();
    if (watch.polling) uv.stop(watch.handle);
    uv.close(watch.handle);
    // libuv lets go of the handle at the end of this turn of the loop, which is after its immediates.
    setImmediate(() => setImmediate(() => pinned.delete(watch)).unref()).unref();
  }
  // While Node tears down it still turns the loop, and aborts when that calls back into JavaScript.
  process.on("exit", () => {
    for (const watch of [...open.values()]) end(watch);
  });

  return (descriptor, ready) => {
    const memory = new Uint8Array(new ArrayBuffer(uv.handleSize));
    const handle = addressOf(memory);
    const failed = uv.init(handle, descriptor);
    if (failed < 0) throw new Error(`Cannot watch descriptor ${descriptor}: uv_poll_init gave ${failed}`);
    const watch: Watch = { handle, memory, ready, hold: holdProcess(), armed: true, polling: true };
    pinned.add(watch);
    open.set(handle, watch);
    uv.unref(handle);
    uv.start(handle);
    return {
      arm() {
        if (!open.has(handle)) return;
        watch.armed = true;
        if (watch.polling) return;
        watch.polling = true;
        uv.start(handle);
      },
      ref: () => void (open.has(handle) && watch.hold.ref()),
      unref: () => watch.hold.unref(),
      close: () => end(watch),
    };
  };
}

function nothing(): void {}
