import { progInfo } from "../kernel-abi/index.ts";
import { decodeStruct } from "../kernel-abi/layout.ts";
import type { SyscallBackend } from "../syscall/backend.ts";
import { objectById, objInfo } from "../syscall/commands.ts";
import { isErrno } from "../syscall/errors.ts";
import type { Fd } from "../syscall/fd.ts";

/**
 * Number of a program.
 *
 * @internal
 * @throws SyscallError
 */
export function programId(program: Fd): number {
  return decodeStruct(progInfo, objInfo(program, progInfo.size)).id ?? 0;
}

/**
 * A program of the system in words, for errors that say who is in the way: `program 12 "firewall"`.
 *
 * @internal
 */
export function describeProgram(backend: SyscallBackend, id: number): string {
  let owner: Fd;
  try {
    owner = objectById(backend, "prog", id);
  } catch (error) {
    // Without CAP_SYS_ADMIN its number has to do.
    if (isErrno(error, "EPERM", "ENOENT", "EINVAL")) return `program ${id}`;
    throw error;
  }
  try {
    const name = decodeStruct(progInfo, objInfo(owner, progInfo.size)).name ?? "";
    return name === "" ? `program ${id}` : `program ${id} "${name}"`;
  } finally {
    owner.close();
  }
}
