import { encodeUtf8 } from "../bytes/index.ts";
import type { SyscallBackend } from "./backend.ts";
import { call, keepAlive, kernelBuffer } from "./call.ts";
import { SyscallError } from "./errors.ts";
import { Fd } from "./fd.ts";
import { permissionHint } from "./hints.ts";

const FSOPEN_CLOEXEC = 1;
const FSMOUNT_CLOEXEC = 1;
const FSCONFIG_CMD_CREATE = 6;

/**
 * Text as the kernel takes it: UTF-8 with a NUL behind, in memory of its own.
 *
 * @throws TypeError when the text has a NUL inside
 */
export function kernelString(text: string): Uint8Array {
  if (text.includes("\0")) throw new TypeError(`Text for the kernel may not contain NUL: ${JSON.stringify(text)}`);
  const bytes = encodeUtf8(text);
  const buffer = kernelBuffer(bytes.length + 1);
  buffer.set(bytes);
  return buffer;
}

/**
 * Makes an instance of a file system that is mounted nowhere: it is reached through `/proc/self/fd/N/...` and
 * vanishes when its descriptor is closed, even when the process is killed. Needs Linux 5.2 and CAP_SYS_ADMIN.
 *
 * @param backend shim
 * @param type file system, for example `tracefs` or `bpf`
 * @returns the descriptor of its root
 * @throws SyscallError `EPERM`, or `ENODEV` when the kernel lacks that file system
 */
export function mountDetached(backend: SyscallBackend, type: string): Fd {
  const action = `Cannot reach ${type} without a mount`;
  const name = kernelString(type);
  const context = call(backend, "fsopen", [backend.addressOf(name), FSOPEN_CLOEXEC], () => ({
    fsname: type,
    flags: "FSOPEN_CLOEXEC",
  }));
  keepAlive(name);
  if (context < 0) throw new SyscallError(action, "fsopen", context, { hint: permissionHint("mount", context) });
  const owner = new Fd(backend, context, `${type} context`);
  try {
    const fd = owner.number;
    const made = call(backend, "fsconfig", [fd, FSCONFIG_CMD_CREATE], () => ({ fd, cmd: "FSCONFIG_CMD_CREATE" }));
    if (made < 0) throw new SyscallError(action, "fsconfig", made, { hint: permissionHint("mount", made) });
    const root = call(backend, "fsmount", [fd, FSMOUNT_CLOEXEC], () => ({ fs_fd: fd, flags: "FSMOUNT_CLOEXEC" }));
    if (root < 0) throw new SyscallError(action, "fsmount", root, { hint: permissionHint("mount", root) });
    return new Fd(backend, root, type);
  } finally {
    owner.close();
  }
}
