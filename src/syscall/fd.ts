import { readlinkSync } from "node:fs";
import { BpfError } from "../errors.ts";
import type { SyscallBackend } from "./backend.ts";
import { call } from "./call.ts";
import { SyscallError } from "./errors.ts";

const F_DUPFD_CLOEXEC = 1030;

/**
 * Owner of a file descriptor. Close it, or hold it in `using`: the collector does not.
 *
 * All descriptors made here are close-on-exec.
 */
export class Fd {
  /** The shim it was made with. */
  readonly backend: SyscallBackend;
  /** What it is, for messages: `map "events"`. */
  readonly label: string;
  #number: number;

  /**
   * @param backend shim it was made with
   * @param number open descriptor; this object closes it
   * @param label what it is, for messages
   */
  constructor(backend: SyscallBackend, number: number, label = "descriptor") {
    this.backend = backend;
    this.label = label;
    // `bpf_attr` takes 0 for "no descriptor", so 0 to 2 are moved away, as libbpf does.
    this.#number = number > 2 ? number : moveAway(backend, number);
  }

  /**
   * The descriptor number.
   *
   * @throws BpfError `ERR_CLOSED` after `close()`: the number may already be another file
   */
  get number(): number {
    if (this.#number < 0) throw new BpfError("ERR_CLOSED", `Cannot use ${this.label}: it is closed`);
    return this.#number;
  }

  /** Whether `close()` was called. */
  get closed(): boolean {
    return this.#number < 0;
  }

  /**
   * A second descriptor for the same kernel object, to pass to another owner.
   *
   * @throws SyscallError `EMFILE`; BpfError `ERR_CLOSED`
   */
  duplicate(): Fd {
    return duplicateDescriptor(this.backend, this.number, this.label);
  }

  /**
   * Gives the descriptor to another owner: this one is closed afterwards, the descriptor is not.
   *
   * @returns its number
   * @throws BpfError `ERR_CLOSED`
   */
  release(): number {
    const number = this.number;
    this.#number = -1;
    return number;
  }

  /** Closes the descriptor. Idempotent. */
  close(): void {
    const number = this.#number;
    if (number < 0) return;
    this.#number = -1;
    closeDescriptor(this.backend, number);
  }

  /** Closes the descriptor. */
  [Symbol.dispose](): void {
    this.close();
  }
}

/**
 * A descriptor of one's own for what another owner has open.
 *
 * @internal
 * @param backend shim
 * @param number open descriptor, which stays open
 * @param label what it is, for messages
 * @throws SyscallError `EMFILE`, `EBADF`
 */
export function duplicateDescriptor(backend: SyscallBackend, number: number, label: string): Fd {
  const describe = (): { readonly [name: string]: number | string } => ({
    fd: number,
    cmd: "F_DUPFD_CLOEXEC",
    arg: 3,
  });
  const copy = call(backend, "fcntl", [number, F_DUPFD_CLOEXEC, 3], describe);
  if (copy < 0) throw new SyscallError(`Cannot duplicate ${label}`, "fcntl", copy);
  return new Fd(backend, copy, label);
}

/**
 * Closes a descriptor by number. EINTR is not retried: on Linux the descriptor is gone all the same.
 *
 * @internal
 */
export function closeDescriptor(backend: SyscallBackend, number: number): void {
  call(backend, "close", [number], () => ({ fd: number }));
}

/**
 * What kind of BPF object a descriptor is, by the name the kernel gives to its file.
 *
 * @param owner open descriptor
 * @returns `program`, `map`, `link`, `BTF`, or `undefined` where that cannot be told
 */
export function objectKind(owner: Fd): "program" | "map" | "link" | "BTF" | undefined {
  let name: string;
  try {
    name = readlinkSync(`/proc/self/fd/${owner.number}`);
  } catch {
    return undefined;
  }
  switch (name.replace(/^anon_inode:\[?/, "").replace(/\]$/, "")) {
    case "bpf-prog":
      return "program";
    case "bpf-map":
      return "map";
    case "bpf_link":
    case "bpf-link":
      return "link";
    case "btf":
      return "BTF";
    default:
      return undefined;
  }
}

function moveAway(backend: SyscallBackend, number: number): number {
  const moved = call(backend, "fcntl", [number, F_DUPFD_CLOEXEC, 3], () => ({
    fd: number,
    cmd: "F_DUPFD_CLOEXEC",
    arg: 3,
  }));
  closeDescriptor(backend, number);
  if (moved < 0) throw new SyscallError("Cannot move a descriptor away from the standard streams", "fcntl", moved);
  return moved;
}
