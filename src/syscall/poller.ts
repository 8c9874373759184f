import type { DescriptorWatcher, SyscallBackend } from "./backend.ts";
import { call, keepAlive, kernelBuffer } from "./call.ts";
import { SyscallError } from "./errors.ts";
import { Fd } from "./fd.ts";

const EPOLL_CLOEXEC = 0x80000;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLLIN = 0x1;
const EPOLLOUT = 0x4;
const EPOLLET = 2 ** 31;
const BATCH = 64;

/** A descriptor being waited on. */
export interface PollSource {
  /** Lets this source keep the process running. Counts: one `unref` for each `ref`. */
  ref(): void;
  /** Takes one `ref` back. */
  unref(): void;
  /** Stops waiting. Idempotent. Call it before the descriptor is closed. */
  close(): void;
}

/** What a poller does with a descriptor. */
export interface PollHandler {
  /**
   * Called once for each time the kernel reports news (edge-triggered), and once at first when there is something to
   * read already.
   */
  ready(): void;
  /**
   * Looks, without a system call, whether there is something to read. With it a wake-up whose data is taken at once
   * costs no system call of its own.
   */
  peek?(): boolean;
  /** Waits for room to write, and not for something to read. */
  readonly writes?: boolean;
  /**
   * Whether the kernel forgets that the descriptor is readable once somebody has looked, as it does for perf events.
   * Beginning to wait is such a look: news that came just before would be lost. Needs `peek`.
   */
  readonly forgetful?: boolean;
}

/**
 * One epoll descriptor for all sources of a backend, under the event loop's own poll.
 *
 * Sources are edge-triggered: a source whose data stays unread (a slow consumer, or a ring buffer record that is still
 * being written) wakes nobody, so nothing ever spins. Who waits must therefore look for data once more before waiting.
 */
class Poller {
  readonly #backend: SyscallBackend;
  readonly #epoll: Fd;
  readonly #watcher: DescriptorWatcher;
  readonly #handlers = new Map<number, PollHandler>();
  readonly #events: Uint8Array;
  readonly #eventsView: DataView;
  readonly #eventsAddress: number;
  readonly #stride: number;
  readonly #dataOffset: number;
  #refs = 0;
  #looking = false;

  constructor(backend: SyscallBackend) {
    this.#backend = backend;
    // `struct epoll_event` is packed on x86-64 only.
    this.#stride = backend.architecture === "x64" ? 12 : 16;
    this.#dataOffset = this.#stride - 8;
    this.#events = kernelBuffer(this.#stride * BATCH);
    this.#eventsView = new DataView(this.#events.buffer);
    this.#eventsAddress = backend.addressOf(this.#events);
    const fd = call(backend, "epoll_create1", [EPOLL_CLOEXEC], () => ({ flags: "EPOLL_CLOEXEC" }));
    if (fd < 0) throw new SyscallError("Cannot wait for events", "epoll_create1", fd);
    this.#epoll = new Fd(backend, fd, "epoll");
    try {
      this.#watcher = backend.watch(this.#epoll.number, () => this.#wake());
    } catch (error) {
      this.#epoll.close();
      throw error;
    }
  }

  add(fd: number, handler: PollHandler): PollSource {
    this.#control(EPOLL_CTL_ADD, fd, handler.writes === true);
    this.#handlers.set(fd, handler);
    this.#lookAgain();
    let refs = 0;
    let open = true;
    return {
      ref: () => {
        if (!open) return;
        refs++;
        if (++this.#refs === 1) this.#watcher.ref();
      },
      unref: () => {
        if (!open || refs === 0) return;
        refs--;
        if (--this.#refs === 0) this.#watcher.unref();
      },
      close: () => {
        if (!open) return;
        open = false;
        this.#refs -= refs;
        if (refs > 0 && this.#refs === 0) this.#watcher.unref();
        this.#handlers.delete(fd);
        this.#control(EPOLL_CTL_DEL, fd, false);
        if (this.#handlers.size === 0) this.discard();
      },
    };
  }

  #control(operation: number, fd: number, writes: boolean): void {
    const event = kernelBuffer(this.#stride);
    const view = new DataView(event.buffer);
    view.setUint32(0, ((writes ? EPOLLOUT : EPOLLIN) | EPOLLET) >>> 0, true);
    view.setInt32(this.#dataOffset, fd, true);
    const address = this.#backend.addressOf(event);
    const op = operation === EPOLL_CTL_ADD ? "EPOLL_CTL_ADD" : "EPOLL_CTL_DEL";
    const result = call(this.#backend, "epoll_ctl", [this.#epoll.number, operation, fd, address], () => ({
      epfd: this.#epoll.number,
      op,
      fd,
      events: writes ? "EPOLLOUT|EPOLLET" : "EPOLLIN|EPOLLET",
    }));
    keepAlive(event);
    if (result < 0 && operation === EPOLL_CTL_ADD) {
      throw new SyscallError(`Cannot wait on descriptor ${fd}`, "epoll_ctl", result);
    }
  }

  #wake(): void {
    if (this.#epoll.closed) return;
    try {
      if (!this.#handleAll()) this.#drain();
    } finally {
      // A handler that throws must not leave the others waiting for ever.
      if (!this.#epoll.closed) {
        this.#watcher.arm();
        this.#lookAgain();
      }
    }
  }

  /** Asks forgetful sources once more, when the event loop has begun to wait. */
  #lookAgain(): void {
    if (this.#looking) return;
    let forgetful = false;
    for (const handler of this.#handlers.values()) forgetful ||= handler.forgetful === true;
    if (!forgetful) return;
    this.#looking = true;
    setImmediate(() => {
      this.#looking = false;
      if (this.#epoll.closed) return;
      for (const handler of [...this.#handlers.values()]) {
        if (handler.forgetful === true && handler.peek?.() === true) handler.ready();
      }
    });
  }

  /**
   * Asks each source by itself, without a system call.
   *
   * @returns whether that was all: somebody had news, and nobody left any. The kernel then takes its sources off the
   *   ready list by itself, at the next look. Otherwise the edges have to be fetched, or the wake-up comes again.
   */
  #handleAll(): boolean {
    let handled = false;
    for (const handler of this.#handlers.values()) {
      if (handler.peek === undefined) return false;
    }
    for (const handler of [...this.#handlers.values()]) {
      if (!handler.peek!()) continue;
      handler.ready();
      if (handler.peek!()) return false;
      handled = true;
    }
    return handled;
  }

  #drain(): void {
    const args = [this.#epoll.number, this.#eventsAddress, BATCH, 0, 0, 8];
    let count: number;
    do {
      count = call(this.#backend, "epoll_pwait", args, () => ({ epfd: args[0], maxevents: BATCH, timeout: 0 }));
      const ready: number[] = [];
      for (let i = 0; i < count; i++) ready.push(this.#eventsView.getInt32(i * this.#stride + this.#dataOffset, true));
      for (const fd of ready) this.#handlers.get(fd)?.ready();
    } while (count === BATCH && !this.#epoll.closed);
  }

  discard(): void {
    pollers.delete(this.#backend);
    this.#watcher.close();
    this.#epoll.close();
  }
}

const pollers = new WeakMap<SyscallBackend, Poller>();

/**
 * Waits on a descriptor without blocking the event loop.
 *
 * @param backend shim
 * @param fd descriptor that supports epoll; stays the caller's
 * @param handler what to do when there is something to read
 * @returns the source; it does not keep the process running until `ref()`
 * @throws SyscallError `EPERM` when the descriptor cannot be waited on
 */
export function pollDescriptor(backend: SyscallBackend, fd: number, handler: PollHandler): PollSource {
  let poller = pollers.get(backend);
  const fresh = poller === undefined;
  if (poller === undefined) {
    poller = new Poller(backend);
    pollers.set(backend, poller);
  }
  try {
    return poller.add(fd, handler);
  } catch (error) {
    if (fresh) poller.discard();
    throw error;
  }
}
