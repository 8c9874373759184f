import type { Fd } from "../syscall/fd.ts";

/**
 * An attachment. Closing it detaches the program; so does the end of the process, however it ends.
 */
export class Link {
  /** What is attached where, for people: `tracepoint sched:sched_process_exec`. */
  readonly target: string;
  readonly #owned: readonly Fd[];

  /** @internal made by the `attach` functions. Descriptors are closed in this order. */
  constructor(target: string, owned: readonly Fd[]) {
    this.target = target;
    this.#owned = owned;
  }

  /**
   * Descriptor of the attachment: a `bpf_link`, or the perf event on kernels without links for it.
   *
   * @throws BpfError `ERR_CLOSED`
   */
  get fd(): number {
    return this.#owned[0]!.number;
  }

  /** Whether `close()` was called. */
  get closed(): boolean {
    return this.#owned[0]!.closed;
  }

  /** Detaches. Idempotent. */
  close(): void {
    for (const owned of this.#owned) owned.close();
  }

  /** Detaches. */
  [Symbol.dispose](): void {
    this.close();
  }
}
