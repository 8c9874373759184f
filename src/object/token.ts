import type { SyscallBackend } from "../syscall/backend.ts";
import { call, keepAlive } from "../syscall/call.ts";
import { tokenCreate } from "../syscall/commands.ts";
import { SyscallError } from "../syscall/errors.ts";
import { Fd } from "../syscall/fd.ts";
import { readText } from "../syscall/host.ts";
import { kernelString } from "../syscall/mount.ts";
import type { Cleanup } from "./cleanup.ts";

/**
 * Which BPF token is used: the descriptor of one; the path of a BPF file system that delegates; `false` for none.
 */
export type TokenOption = number | string | false | undefined;

const DEFAULT_PATH = "/sys/fs/bpf";
const AT_FDCWD = -100;
const O_DIRECTORY_CLOEXEC = { x64: 0o2200000, arm64: 0o2040000 } as const;

/**
 * Finds the BPF token that an object is loaded with, as libbpf does: that of the option; else of the path in the
 * environment variable `LIBBPF_BPF_TOKEN_PATH`, where an empty one means none; else, in a user namespace, of
 * `/sys/fs/bpf`, if that delegates anything.
 *
 * @param backend shim
 * @param option what was asked for
 * @param cleanup owner of a token that is made here
 * @param environment in place of the process's own
 * @returns its descriptor, to be closed when it was made here; `undefined` for none
 * @throws SyscallError when a token was asked for and cannot be made
 */
export function findToken(
  backend: SyscallBackend,
  option: TokenOption,
  cleanup: Cleanup,
  environment: { readonly [name: string]: string | undefined } = process.env,
): number | Fd | undefined {
  if (typeof option === "number") return option;
  const path = option ?? environment.LIBBPF_BPF_TOKEN_PATH;
  if (path === false || path === "") return undefined;
  if (path !== undefined) return cleanup.add(makeToken(backend, path));
  // Outside of user namespaces there are no tokens: the kernel answers EOPNOTSUPP, and is not asked.
  if (!inUserNamespace()) return undefined;
  try {
    return cleanup.add(makeToken(backend, DEFAULT_PATH));
  } catch (error) {
    // Nothing is delegated here, or the kernel is older than 6.9.
    if (error instanceof SyscallError) return undefined;
    throw error;
  }
}

function makeToken(backend: SyscallBackend, path: string): Fd {
  const name = kernelString(path);
  const flags = O_DIRECTORY_CLOEXEC[backend.architecture];
  const opened = call(backend, "openat", [AT_FDCWD, backend.addressOf(name), flags, 0], () => ({
    dirfd: "AT_FDCWD",
    pathname: path,
    flags: "O_RDONLY|O_DIRECTORY|O_CLOEXEC",
  }));
  keepAlive(name);
  if (opened < 0) throw new SyscallError(`Cannot open the BPF file system ${path} for a token`, "openat", opened);
  const folder = new Fd(backend, opened, path);
  try {
    return tokenCreate(folder);
  } finally {
    folder.close();
  }
}

/** Whether users of this process are not those of the machine. */
function inUserNamespace(): boolean {
  const map = readText("/proc/self/uid_map");
  return map !== undefined && !/^\s*0\s+0\s+4294967295$/.test(map);
}
