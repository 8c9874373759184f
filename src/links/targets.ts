import { BpfError } from "../errors.ts";
import type { SyscallBackend } from "../syscall/backend.ts";
import { call, keepAlive, kernelBuffer } from "../syscall/call.ts";
import { errnoName } from "../syscall/errno.ts";
import { SyscallError } from "../syscall/errors.ts";
import { duplicateDescriptor, Fd } from "../syscall/fd.ts";
import { readText } from "../syscall/host.ts";
import { kernelString } from "../syscall/mount.ts";

const AT_FDCWD = -100;
const O_RDONLY = 0;
const O_CLOEXEC = 0x80000;
const CGROUP2_SUPER_MAGIC = 0x63677270;
const CGROUP_SUPER_MAGIC = 0x27e0eb;
/** `struct statfs` has 120 bytes on x86-64 and arm64; its first word is the magic number. */
const STATFS_ROOM = 256;
/** `_IO(0xb7, 3)`: which kind of namespace a descriptor is. */
const NS_GET_NSTYPE = 0xb703;
const CLONE_NEWNET = 0x40000000;

/**
 * Opens a file for reading, by path; or makes a descriptor of one's own for one that is open.
 *
 * @internal
 * @param what it is, for messages: `cgroup`
 * @throws BpfError `ERR_ATTACH_TARGET` when nothing is there; SyscallError
 */
export function openTarget(backend: SyscallBackend, target: string | number, what: string): Fd {
  if (typeof target === "number") return duplicateDescriptor(backend, target, `${what} descriptor ${target}`);
  const name = kernelString(target);
  const flags = O_RDONLY | O_CLOEXEC;
  const number = call(backend, "openat", [AT_FDCWD, backend.addressOf(name), flags, 0], () => ({
    dirfd: "AT_FDCWD",
    pathname: target,
    flags: "O_RDONLY|O_CLOEXEC",
  }));
  keepAlive(name);
  if (number >= 0) return new Fd(backend, number, `${what} ${target}`);
  const cause = new SyscallError(`Cannot open ${what} ${target}`, "openat", number);
  if (errnoName(number) !== "ENOENT" && errnoName(number) !== "ENOTDIR") throw cause;
  throw new BpfError("ERR_ATTACH_TARGET", `There is no ${what} ${target}`, { cause });
}

/**
 * Opens a cgroup.
 *
 * @internal
 * @param target path of its folder, or a descriptor of it
 * @throws BpfError `ERR_ATTACH_TARGET` when it is none of version 2; SyscallError
 */
export function openCgroup(backend: SyscallBackend, target: string | number): Fd {
  const owner = openTarget(backend, target, "cgroup");
  try {
    const path = typeof target === "number" ? `/proc/self/fd/${owner.number}` : target;
    const magic = magicOf(backend, path);
    // Where it cannot be asked, the kernel will say EBADF.
    if (magic === undefined || magic === CGROUP2_SUPER_MAGIC) return owner;
    const shown = typeof target === "number" ? `descriptor ${target}` : target;
    const what = magic === CGROUP_SUPER_MAGIC ? "is a cgroup of version 1" : "is no cgroup";
    throw new BpfError("ERR_ATTACH_TARGET", `Cannot attach to ${shown}: it ${what}, wanted one of version 2`, {
      hint: cgroup2Hint(),
    });
  } catch (error) {
    owner.close();
    throw error;
  }
}

function magicOf(backend: SyscallBackend, path: string): number | undefined {
  const name = kernelString(path);
  const room = kernelBuffer(STATFS_ROOM);
  const args = [backend.addressOf(name), backend.addressOf(room)];
  const result = call(backend, "statfs", args, () => ({ path }));
  keepAlive(name);
  return result < 0 ? undefined : new DataView(room.buffer).getUint32(0, true);
}

function cgroup2Hint(): string {
  const line = (readText("/proc/self/mounts") ?? "").split("\n").find((entry) => entry.split(" ")[2] === "cgroup2");
  const place = line?.split(" ")[1];
  return place === undefined
    ? "mount one: mount -t cgroup2 none /sys/fs/cgroup"
    : `those of version 2 are under ${place}`;
}

/** A network namespace: a path such as `/run/netns/blue`, a descriptor, a process, or that of this thread. */
export type NetworkNamespace = "own" | { readonly path: string } | { readonly fd: number } | { readonly pid: number };

/** What a namespace is called in messages. @internal */
export function namespaceLabel(target: NetworkNamespace): string {
  if (target === "own") return "this network namespace";
  if ("path" in target) return `network namespace ${target.path}`;
  return "fd" in target ? `network namespace of descriptor ${target.fd}` : `network namespace of process ${target.pid}`;
}

/**
 * Opens a network namespace.
 *
 * @internal
 * @throws BpfError `ERR_ATTACH_TARGET` when it is none; SyscallError
 */
export function openNetworkNamespace(backend: SyscallBackend, target: NetworkNamespace): Fd {
  const place =
    target === "own"
      ? "/proc/thread-self/ns/net"
      : "path" in target
        ? target.path
        : "fd" in target
          ? target.fd
          : `/proc/${target.pid}/ns/net`;
  const owner = openTarget(backend, place, "network namespace");
  const kind = call(backend, "ioctl", [owner.number, NS_GET_NSTYPE, 0], () => ({
    fd: owner.number,
    request: "NS_GET_NSTYPE",
  }));
  // Before Linux 4.11 it cannot be asked.
  if (kind === CLONE_NEWNET || (kind < 0 && errnoName(kind) !== "ENOTTY")) return owner;
  owner.close();
  throw new BpfError("ERR_ATTACH_TARGET", `Cannot attach to ${namespaceLabel(target)}: it is no network namespace`);
}
