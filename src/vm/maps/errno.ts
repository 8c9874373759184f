// Browser-safe.

import { BpfError } from "../../errors.ts";

// Those that maps and helpers answer with; the shell has a table of all, which the core may not reach.
export const EPERM = 1;
export const ENOENT = 2;
export const E2BIG = 7;
export const EAGAIN = 11;
export const ENOMEM = 12;
export const EACCES = 13;
export const EFAULT = 14;
export const EBUSY = 16;
export const EEXIST = 17;
export const EINVAL = 22;
export const ENOSPC = 28;
export const ERANGE = 34;
export const EOPNOTSUPP = 95;
export const ENOTSUPP = 524;

const NAMES: Readonly<Record<number, string>> = {
  [EPERM]: "EPERM, operation not permitted",
  [ENOENT]: "ENOENT, no such entry",
  [E2BIG]: "E2BIG, too big",
  [EAGAIN]: "EAGAIN, try again",
  [ENOMEM]: "ENOMEM, out of memory",
  [EACCES]: "EACCES, permission denied",
  [EFAULT]: "EFAULT, bad address",
  [EBUSY]: "EBUSY, busy",
  [EEXIST]: "EEXIST, already exists",
  [EINVAL]: "EINVAL, invalid argument",
  [ENOSPC]: "ENOSPC, no space left",
  [ERANGE]: "ERANGE, out of range",
  [EOPNOTSUPP]: "EOPNOTSUPP, operation not supported",
  [ENOTSUPP]: "ENOTSUPP, operation not supported",
};

/**
 * The error of an operation on a map, with the name of the errno as `code`, as a map of the kernel would throw it.
 *
 * @param action what was tried
 * @param errno positive or negative
 * @param detail said in place of the errno's meaning
 */
export function errnoError(action: string, errno: number, detail?: string): BpfError {
  const text = NAMES[Math.abs(errno)] ?? `E${Math.abs(errno)}`;
  const code = text.split(",", 1)[0]!;
  return new BpfError(code, `${action}: ${detail === undefined ? text : `${code}, ${detail}`}`);
}
