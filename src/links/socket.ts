import { readlinkSync } from "node:fs";
import type { Program } from "../programs/index.ts";
import type { SyscallBackend } from "../syscall/backend.ts";
import { call, keepAlive, kernelBuffer } from "../syscall/call.ts";
import { errnoName } from "../syscall/errno.ts";
import { SyscallError } from "../syscall/errors.ts";
import { requireType } from "./create.ts";
import { type HasDescriptor, Link } from "./link.ts";

const SOL_SOCKET = 1;
const SO_ATTACH_BPF = 50;
const SO_DETACH_FILTER = 27;
const SO_ATTACH_REUSEPORT_EBPF = 52;
const SO_DETACH_REUSEPORT_BPF = 68;

/**
 * A socket: the number of its descriptor, an object with a field `fd`, or one of Node's own (`net.Socket`, `net.Server`,
 * `dgram.Socket`), whose descriptor Node keeps in `_handle.fd`, or for `dgram` behind a symbol.
 */
export type SocketLike = number | object;

/**
 * The descriptor of a socket. Node has no public way to tell it: on Linux its handles carry it in `fd`, from when the
 * socket is bound or connected until it is closed.
 *
 * @param socket number, object with `fd`, or socket of Node
 * @returns number of the descriptor
 * @throws TypeError when there is none: not yet bound or connected, closed, or another runtime
 * @example
 * ```ts
 * import { createServer } from "node:net";
 *
 * const server = createServer().listen(0, () => {
 *   console.log(socketDescriptor(server) > 2); // true
 *   server.close();
 * });
 * ```
 */
export function socketDescriptor(socket: SocketLike): number {
  const number = typeof socket === "number" ? socket : (numberIn(socket) ?? -1);
  if (Number.isInteger(number) && number >= 0) return number;
  throw new TypeError("This socket has no descriptor: it is not open yet, closed, or none of Node's", {
    cause: socket,
  });
}

function numberIn(socket: object): number | undefined {
  const direct = fdOf(socket);
  if (direct !== undefined) return direct;
  // dgram keeps its handle in an object behind a symbol, and its `_handle` warns whoever looks.
  for (const symbol of Object.getOwnPropertySymbols(socket)) {
    const state = (socket as { readonly [key: symbol]: unknown })[symbol];
    if (typeof state !== "object" || state === null || !("handle" in state && "bindState" in state)) continue;
    return fdOf(state.handle);
  }
  return fdOf((socket as { readonly _handle?: unknown })._handle);
}

function fdOf(handle: unknown): number | undefined {
  if (typeof handle !== "object" || handle === null) return undefined;
  const { fd } = handle as { readonly fd?: unknown };
  return typeof fd === "number" && fd >= 0 ? fd : undefined;
}

/**
 * Attaches a program as the filter of one socket (`SO_ATTACH_BPF`): it says how many bytes of each packet the socket gets,
 * 0 for none. It ends with the socket; a process that has no CAP_NET_ADMIN can do this as well.
 *
 * @param program open program of type `socket_filter`
 * @param socket descriptor, or socket of Node
 * @returns the attachment: close it to remove the filter, whether or not the socket is closed by then
 * @throws BpfError `ERR_TYPE_MISMATCH`; TypeError for a socket without a descriptor; SyscallError `ENOTSOCK`, `EPERM` when
 *   the filter of the socket was locked
 */
export function attachSocketFilter(program: Program, socket: SocketLike): Link {
  requireType(program, "a socket", "socket_filter");
  return attachOption(program, socket, "SO_ATTACH_BPF", "SO_DETACH_FILTER", "filter");
}

/**
 * Attaches a program that chooses which socket of a `SO_REUSEPORT` group gets a packet or connection
 * (`SO_ATTACH_REUSEPORT_EBPF`). It is the program of the whole group, and ends with its last socket.
 *
 * @param program open program of type `sk_reuseport` (Linux 4.19) or `socket_filter`
 * @param socket descriptor, or socket of Node: any of the group
 * @returns the attachment: close it to remove the program, whether or not the socket is closed by then (Linux 5.3)
 * @throws BpfError `ERR_TYPE_MISMATCH`; TypeError for a socket without a descriptor; SyscallError `EINVAL` when the socket
 *   was opened without `SO_REUSEPORT`
 */
export function attachReuseport(program: Program, socket: SocketLike): Link {
  requireType(program, "a reuseport group", "sk_reuseport", "socket_filter");
  return attachOption(program, socket, "SO_ATTACH_REUSEPORT_EBPF", "SO_DETACH_REUSEPORT_BPF", "reuseport group");
}

const OPTIONS = { SO_ATTACH_BPF, SO_DETACH_FILTER, SO_ATTACH_REUSEPORT_EBPF, SO_DETACH_REUSEPORT_BPF } as const;
type OptionName = keyof typeof OPTIONS;

function attachOption(
  program: Program,
  socket: SocketLike,
  attach: OptionName,
  detach: OptionName,
  what: string,
): Link {
  const fd = socketDescriptor(socket);
  const { backend } = program.owner;
  const label = `${what} of socket ${fd}`;
  // Its number may be another socket when the attachment is closed.
  const identity = identityOf(fd);
  setOption(backend, fd, attach, program.fd, `Cannot attach ${program.owner.label} to ${label}`);
  const replace = (next: HasDescriptor): void => setOption(backend, fd, attach, next.fd, `Cannot update ${label}`);
  const undo = (): void => {
    if (identity !== identityOf(fd)) return;
    setOption(backend, fd, detach, 0, `Cannot detach ${label}`);
  };
  return new Link(label, { type: undefined, undo, replace });
}

function identityOf(fd: number): string | undefined {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return undefined;
  }
}

function setOption(backend: SyscallBackend, fd: number, option: OptionName, value: number, action: string): void {
  const bytes = kernelBuffer(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  const args = [fd, SOL_SOCKET, OPTIONS[option], backend.addressOf(bytes), bytes.length];
  const result = call(backend, "setsockopt", args, () => ({
    fd,
    level: "SOL_SOCKET",
    optname: option,
    optval: value,
  }));
  keepAlive(bytes);
  // ENOENT: somebody else has removed it.
  if (result >= 0 || (value === 0 && errnoName(result) === "ENOENT")) return;
  throw new SyscallError(action, "setsockopt", result, { detail: MEANINGS[option]?.[errnoName(result)] });
}

const MEANINGS: { readonly [O in OptionName]?: { readonly [errno: string]: string } } = {
  SO_ATTACH_BPF: { EPERM: "the filter of this socket was locked", ENOTSOCK: "this descriptor is no socket" },
  SO_ATTACH_REUSEPORT_EBPF: {
    EINVAL: "the socket was opened without SO_REUSEPORT, or is not bound",
    ENOTSOCK: "this descriptor is no socket",
  },
};
