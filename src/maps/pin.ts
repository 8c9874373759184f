import { mkdirSync, unlinkSync } from "node:fs";
import { encodeUtf8 } from "../bytes/index.ts";
import { BpfError } from "../errors.ts";
import type { SyscallBackend } from "../syscall/backend.ts";
import { call, keepAlive, kernelBuffer } from "../syscall/call.ts";
import { objGet, objPin } from "../syscall/commands.ts";
import { errnoName } from "../syscall/errno.ts";
import type { Fd } from "../syscall/fd.ts";
import { kernelString } from "../syscall/mount.ts";
import { type BackendOption, backendOf } from "../syscall/select.ts";

const BPF_FS_MAGIC = 0xcafe4a11;
/** `struct statfs` has 120 bytes on x86-64 and arm64; its first word is the magic number. */
const STATFS_ROOM = 256;
const MAX_NAME = 255;

/**
 * Checks a name that is to be the last part of a pin's path, for example one taken from an object file: no path may
 * come out of a name.
 *
 * @param name such as `counts`
 * @returns the name
 * @throws BpfError `ERR_PIN` for an empty name, one with `/`, `.` (the kernel keeps those for itself) or NUL, or one
 *   that is longer than 255 bytes
 */
export function checkPinName(name: string): string {
  const fault =
    name === ""
      ? "a name is empty"
      : name.includes("/")
        ? 'it has a "/"'
        : name.includes(".")
          ? 'it has a ".", which the kernel refuses'
          : name.includes("\0")
            ? "it has a NUL"
            : encodeUtf8(name).length > MAX_NAME
              ? `it is longer than ${MAX_NAME} bytes`
              : undefined;
  if (fault === undefined) return name;
  throw new BpfError("ERR_PIN", `Cannot pin as ${JSON.stringify(name)}: ${fault}`);
}

/**
 * Checks the path of a pin: absolute, without empty parts, `.` and `..`, and with a last part that
 * {@link checkPinName} takes.
 *
 * @param path such as `/sys/fs/bpf/app/counts`
 * @returns the path
 * @throws BpfError `ERR_PIN`
 */
export function checkPinPath(path: string): string {
  const parts = path.split("/");
  const fail = (why: string): never => {
    throw new BpfError("ERR_PIN", `Cannot pin at ${JSON.stringify(path)}: ${why}`);
  };
  if (parts[0] !== "" || parts.length < 3) fail("the path is not absolute, or has no folder");
  if (parts.slice(1).includes("")) fail("the path has an empty part");
  if (parts.includes(".") || parts.includes("..")) fail('the path has "." or ".."');
  if (path.includes("\0")) fail("the path has a NUL");
  checkPinName(parts.at(-1)!);
  return path;
}

function folderOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/")) || "/";
}

/** What stands at a path: `bpf` for a BPF file system, `other`, an errno name, or `unknown` where it cannot be asked. */
function fileSystemOf(backend: SyscallBackend, path: string): "bpf" | "other" | "missing" | "unknown" {
  const name = kernelString(path);
  const room = kernelBuffer(STATFS_ROOM);
  const args = [backend.addressOf(name), backend.addressOf(room)];
  const result = call(backend, "statfs", args, () => ({ path }));
  keepAlive(name);
  if (result < 0) return errnoName(result) === "ENOENT" ? "missing" : "unknown";
  return new DataView(room.buffer).getUint32(0, true) === BPF_FS_MAGIC ? "bpf" : "other";
}

/**
 * Pins a kernel object: gives it a name in the BPF file system, which keeps it alive when all descriptors are closed.
 * When only the folder is missing, it is made with mode 0700; the pin itself has mode 0600.
 *
 * @param object descriptor of a map, program, link or BTF
 * @param path absolute path on a BPF file system
 * @throws BpfError `ERR_PIN` for a path that cannot be; SyscallError `EEXIST` when it is taken, and others
 */
export function pinObject(object: Fd, path: string): void {
  const { backend } = object;
  checkPinPath(path);
  const folder = folderOf(path);
  const place = fileSystemOf(backend, folder);
  const above = folderOf(folder);
  if (place === "other" || (place === "missing" && fileSystemOf(backend, above) !== "bpf")) {
    const why = place === "other" ? `${folder} is not on a BPF file system` : `${folder} is not there`;
    throw new BpfError("ERR_PIN", `Cannot pin ${object.label} at ${path}: ${why}`, {
      hint: "the usual place is /sys/fs/bpf; mount one with: mount -t bpf bpf /sys/fs/bpf",
    });
  }
  if (place === "missing") {
    try {
      mkdirSync(folder, { mode: 0o700 });
    } catch (cause) {
      // Somebody else may have made it just now.
      if ((cause as { code?: string }).code !== "EEXIST") {
        throw new BpfError("ERR_PIN", `Cannot make ${folder}: ${(cause as Error).message}`, { cause });
      }
    }
  }
  objPin(object, path);
}

/**
 * Removes a pin. The object lives on while a descriptor, a program or another pin holds it.
 *
 * @param path as given to {@link pinObject}
 * @param options shim
 * @returns whether there was one
 * @throws BpfError `ERR_PIN` for a path that cannot be, that is on another file system, or that cannot be removed
 */
export function unpin(path: string, options: BackendOption = {}): boolean {
  checkPinPath(path);
  const place = fileSystemOf(backendOf(options), path);
  if (place === "missing") return false;
  if (place === "other") throw new BpfError("ERR_PIN", `Cannot unpin ${path}: it is not on a BPF file system`);
  try {
    unlinkSync(path);
    return true;
  } catch (cause) {
    if ((cause as { code?: string }).code === "ENOENT") return false;
    throw new BpfError("ERR_PIN", `Cannot unpin ${path}: ${(cause as Error).message}`, { cause });
  }
}

/**
 * Opens what is pinned at a path.
 *
 * @param backend shim
 * @param path path of a pin
 * @param flags `BPF_F_RDONLY`, `BPF_F_WRONLY` or 0
 * @returns a descriptor, or `undefined` when nothing is there
 * @throws SyscallError
 */
export function openPin(backend: SyscallBackend, path: string, flags: number): Fd | undefined {
  try {
    return objGet(backend, path, flags);
  } catch (error) {
    if ((error as BpfError).code === "ENOENT") return undefined;
    throw error;
  }
}
