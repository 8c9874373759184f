import { BpfError, type BpfErrorOptions } from "../errors.ts";
import { errnoMeaning, errnoName } from "./errno.ts";

/** What a failed call was about. */
export interface SyscallErrorOptions extends BpfErrorOptions {
  /** For `bpf`: the command, for example `BPF_PROG_LOAD`. */
  readonly command?: string | undefined;
  /** More about it, put behind the errno's meaning. */
  readonly detail?: string | undefined;
}

/**
 * A system call that failed, in Node's style: `code` is the errno name, `errno` is negative.
 *
 * @example
 * ```ts
 * using map = createMap({ type: "hash", key: u32, value: u64, maxEntries: 100 });
 * try {
 *   map.set(1, 2n, "noexist");
 * } catch (error) {
 *   if (!(error instanceof SyscallError && error.code === "EEXIST")) throw error;
 * }
 * ```
 */
export class SyscallError extends BpfError {
  /** Negative error number, for example `-1` for EPERM. */
  readonly errno: number;
  /** The system call, for example `bpf`. */
  readonly syscall: string;
  /** For `bpf`: the command, for example `BPF_PROG_LOAD`. */
  readonly command: string | undefined;

  /**
   * @param action what was tried: `Cannot create map "events"`
   * @param syscall system call
   * @param errno positive or negative error number
   * @param options command, hint, cause
   */
  constructor(action: string, syscall: string, errno: number, options: SyscallErrorOptions = {}) {
    const name = errnoName(errno);
    const meaning = options.detail ?? errnoMeaning(name);
    super(name, `${action}: ${name}${meaning === undefined ? "" : `, ${meaning}`}`, options);
    this.errno = -Math.abs(errno);
    this.syscall = syscall;
    this.command = options.command;
  }
}

/**
 * Whether an error is a failed system call with one of these errno names.
 *
 * @param error anything thrown
 * @param names for example `"ENOENT"`
 */
export function isErrno(error: unknown, ...names: readonly string[]): error is SyscallError {
  return error instanceof SyscallError && names.includes(error.code);
}
