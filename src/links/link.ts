import { BpfError, NotSupportedError } from "../errors.ts";
import type { LinkType } from "../kernel-abi/index.ts";
import { pinObject, unpin } from "../maps/pin.ts";
import { linkDetach, linkUpdate } from "../syscall/commands.ts";
import { isErrno } from "../syscall/errors.ts";
import type { Fd } from "../syscall/fd.ts";
import { type LinkInfo, readLinkInfo } from "./info.ts";

/** Anything with a descriptor: a program, or a map of struct_ops. */
export interface HasDescriptor {
  /** Open descriptor. */
  readonly fd: number;
}

/** How to replace what a link runs. */
export interface UpdateLinkOptions {
  /** What must be attached now; else the kernel answers `EPERM` and changes nothing (`BPF_F_REPLACE`). */
  readonly expected?: HasDescriptor | undefined;
}

/** @internal What an attachment consists of. */
export interface LinkParts {
  /** Kind of its `bpf_link`; `undefined` for attachments of the time before links. */
  readonly type: LinkType | undefined;
  /** The `bpf_link`, or the descriptor that stands for the attachment. */
  readonly fd?: Fd | undefined;
  /** What else is closed after it, in this order. */
  readonly others?: readonly { close(): void }[] | undefined;
  /** Takes back what no descriptor holds. Runs once, before anything is closed. */
  readonly undo?: (() => void) | undefined;
  /** Replaces the program where there is no `bpf_link` to update. */
  readonly replace?: ((next: HasDescriptor, expected: HasDescriptor | undefined) => void) | undefined;
}

/**
 * An attachment. Closing it detaches the program.
 *
 * Most attachments are `bpf_link`s: they also end with the process, however it ends, unless they are pinned. Those that
 * are not ({@link Link.type} is `undefined`) and have no descriptor stay when the process ends without closing them; the
 * functions that make such attachments say so.
 */
export class Link {
  /** What is attached where, for people: `tracepoint sched:sched_process_exec`. */
  readonly target: string;
  /** Kind of the `bpf_link`; `undefined` for an attachment that is none (a bare perf event, a filter of `tc`). */
  readonly type: LinkType | undefined;
  readonly #parts: LinkParts;
  readonly #pins = new Set<string>();
  #closed = false;

  /** @internal made by the `attach` functions */
  constructor(target: string, parts: LinkParts) {
    this.target = target;
    this.type = parts.type;
    this.#parts = parts;
  }

  /**
   * Descriptor of the attachment: of the `bpf_link`, or of the perf event on kernels without links for it.
   *
   * @throws BpfError `ERR_CLOSED`; NotSupportedError when no descriptor stands for this attachment
   */
  get fd(): number {
    return this.owner.number;
  }

  /**
   * Owner of the descriptor.
   *
   * @throws NotSupportedError when no descriptor stands for this attachment
   */
  get owner(): Fd {
    const { fd } = this.#parts;
    if (fd === undefined) throw new NotSupportedError(`A descriptor of the attachment to ${this.target}`);
    return fd;
  }

  /** Whether `close()` was called. */
  get closed(): boolean {
    return this.#closed;
  }

  #link(action: string): Fd {
    if (this.#closed) throw new BpfError("ERR_CLOSED", `Cannot ${action} ${this.target}: the link is closed`);
    const { fd, type } = this.#parts;
    if (fd === undefined || type === undefined) {
      throw new NotSupportedError(`To ${action} ${this.target}`, { hint: "this attachment is no bpf_link" });
    }
    return fd;
  }

  /**
   * What the kernel says of the link: its id, that of the program, and the target, by kind.
   *
   * @throws NotSupportedError when it is no `bpf_link`; SyscallError
   */
  info(): LinkInfo {
    return readLinkInfo(this.#link("ask about"));
  }

  /** Number of the link, unique while it exists. */
  get id(): number {
    return this.info().id;
  }

  /**
   * Replaces the program (for struct_ops: the map) without a moment in which nothing is attached.
   *
   * @param next the new program, or map
   * @param options what must be attached now
   * @throws NotSupportedError for kinds of links that the kernel cannot update; SyscallError `EPERM` when
   *   `expected` is not what is attached, `EINVAL` for a program of another type
   */
  update(next: HasDescriptor, options: UpdateLinkOptions = {}): void {
    const { type, replace } = this.#parts;
    if (replace !== undefined) {
      if (this.#closed) throw new BpfError("ERR_CLOSED", `Cannot update ${this.target}: the link is closed`);
      replace(next, options.expected);
      return;
    }
    const fd = this.#link("update");
    if (!UPDATABLE.has(type!)) {
      throw new NotSupportedError(`Updating a ${type} link`, { hint: "attach the new program, then close this link" });
    }
    linkUpdate(fd, next.fd, options.expected?.fd);
  }

  /**
   * Detaches now, although pins or other descriptors of the link exist: they stay, without effect (`BPF_LINK_DETACH`,
   * Linux 5.9). `close()` is enough where there are none.
   *
   * @throws NotSupportedError for kinds of links that only end with their last descriptor; SyscallError
   */
  detach(): void {
    if (this.#closed) return;
    if (this.#parts.undo !== undefined) {
      this.close();
      return;
    }
    const fd = this.#link("detach");
    try {
      linkDetach(fd);
    } catch (cause) {
      if (!isErrno(cause, "EOPNOTSUPP")) throw cause;
      throw new NotSupportedError(`Detaching a ${this.type} link before its last descriptor is closed`, {
        cause,
        hint: this.#pins.size > 0 ? "unpin it and close it" : "close it",
      });
    }
  }

  /**
   * Pins the link, so that the attachment outlives the process.
   *
   * @param path absolute path on a BPF file system
   * @throws NotSupportedError when it is no `bpf_link`; BpfError `ERR_PIN`; SyscallError `EEXIST`
   */
  pin(path: string): void {
    pinObject(this.#link("pin"), path);
    this.#pins.add(path);
  }

  /**
   * Takes names away that {@link pin} gave.
   *
   * @param path one of them; default: all
   * @throws BpfError `ERR_PIN`
   */
  unpin(path?: string): void {
    for (const one of path === undefined ? [...this.#pins] : [path]) {
      unpin(one);
      this.#pins.delete(one);
    }
  }

  /** Names that {@link pin} gave and {@link unpin} did not take away. */
  get pins(): readonly string[] {
    return [...this.#pins];
  }

  /**
   * Detaches, unless the link is pinned. Idempotent; everything is given back even when one part fails.
   *
   * @throws SyscallError when an attachment without a descriptor cannot be taken back
   */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const { undo, fd, others = [] } = this.#parts;
    try {
      undo?.();
    } finally {
      fd?.close();
      for (const other of others) other.close();
    }
  }

  /** Detaches. */
  [Symbol.dispose](): void {
    this.close();
  }
}

/** Kinds whose program, or map, the kernel can replace. */
const UPDATABLE: ReadonlySet<LinkType> = /* @__PURE__ */ new Set<LinkType>([
  "cgroup",
  "iter",
  "netns",
  "xdp",
  "struct_ops",
  "tcx",
  "netkit",
  "sockmap",
]);
