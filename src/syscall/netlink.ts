import { Reader, Writer } from "../bytes/index.ts";
import {
  NLMSGERR_ATTR_MSG,
  NLMSGERR_ATTR_OFFS,
  nlAttr,
  nlMsgHdr,
  RTM_DELLINK,
  RTM_DELQDISC,
  RTM_DELROUTE,
  RTM_DELTFILTER,
  RTM_GETLINK,
  RTM_GETQDISC,
  RTM_GETROUTE,
  RTM_GETTFILTER,
  RTM_NEWLINK,
  RTM_NEWQDISC,
  RTM_NEWROUTE,
  RTM_NEWTFILTER,
  RTM_SETLINK,
  sockaddrNl,
} from "../kernel-abi/index.ts";
import { encodeStruct } from "../kernel-abi/layout.ts";
import { encodeAttributes, type NetlinkAttribute, NetlinkAttributes } from "./attributes.ts";
import type { SyscallBackend } from "./backend.ts";
import { call, keepAlive, kernelBuffer, toKernel } from "./call.ts";
import { errnoName, errnoNumber } from "./errno.ts";
import { SyscallError } from "./errors.ts";
import { Fd } from "./fd.ts";
import { permissionHint } from "./hints.ts";
import type { TraceValue } from "./trace.ts";

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0x80000;
const NETLINK_ROUTE = 0;
const SOL_SOCKET = 1;
const SO_RCVTIMEO = 20;
const SOL_NETLINK = 270;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;
const MSG_PEEK = 2;
const MSG_TRUNC = 0x20;

const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const NLMSG_MIN_TYPE = 16;
const NLM_F_REQUEST = 1;
const NLM_F_ACK = 4;
const NLM_F_ECHO = 8;
const NLM_F_DUMP_INTR = 0x10;
const NLM_F_CAPPED = 0x100;
const NLM_F_ACK_TLVS = 0x200;
const NLM_F_DUMP = 0x300;

/** What a request does with what is there already. */
export const NetlinkFlag = { replace: 0x100, exclusive: 0x200, create: 0x400, append: 0x800 } as const;
/** Name of an entry of {@link NetlinkFlag}. */
export type NetlinkFlag = keyof typeof NetlinkFlag;

/** The kernel answers at once: this only keeps a fault from waiting for ever. */
const TIMEOUT_SECONDS = 10n;
const MAX_DUMPS = 10;
const RECEIVE_ROOM = 32 * 1024;

/** Kinds of messages, for traces and errors. */
const MESSAGE_NAMES: ReadonlyMap<number, string> = /* @__PURE__ */ new Map([
  [RTM_NEWLINK, "RTM_NEWLINK"],
  [RTM_DELLINK, "RTM_DELLINK"],
  [RTM_GETLINK, "RTM_GETLINK"],
  [RTM_SETLINK, "RTM_SETLINK"],
  [RTM_NEWROUTE, "RTM_NEWROUTE"],
  [RTM_DELROUTE, "RTM_DELROUTE"],
  [RTM_GETROUTE, "RTM_GETROUTE"],
  [RTM_NEWQDISC, "RTM_NEWQDISC"],
  [RTM_DELQDISC, "RTM_DELQDISC"],
  [RTM_GETQDISC, "RTM_GETQDISC"],
  [RTM_NEWTFILTER, "RTM_NEWTFILTER"],
  [RTM_DELTFILTER, "RTM_DELTFILTER"],
  [RTM_GETTFILTER, "RTM_GETTFILTER"],
]);

/** A request. */
export interface NetlinkRequest {
  /** Kind of message: `RTM_*`. */
  readonly type: number;
  /** The struct in front of the attributes, `ifinfomsg` for example, as `encodeStruct` makes it. */
  readonly header: Uint8Array;
  /** Attributes. */
  readonly attributes?: readonly NetlinkAttribute[] | undefined;
  /** What to do with what is there already. */
  readonly flags?: readonly NetlinkFlag[] | undefined;
  /** Ask for the object as it was made (`NLM_F_ECHO`): its number may have been chosen by the kernel. */
  readonly echo?: boolean | undefined;
  /** What a failure says: `Cannot attach program "x" to eth0`. */
  readonly action: string;
  /** What an errno means here, for kernels that do not explain it themselves. */
  readonly meanings?: { readonly [errno: string]: string } | undefined;
}

/** A message of the kernel: its struct and attributes together, without the netlink header. */
export interface NetlinkMessage {
  /** Kind of message: `RTM_*`. */
  readonly type: number;
  /** Struct and attributes. */
  readonly payload: Uint8Array;
}

/** What a successful request gave. */
export interface NetlinkReply {
  /** Messages before the acknowledgement: what `echo` or a `RTM_GET*` asked for. */
  readonly messages: readonly NetlinkMessage[];
  /** What the kernel had to say although it did it. */
  readonly warning: string | undefined;
}

/**
 * Reads the attributes behind the struct of a message.
 *
 * @param message of the kernel
 * @param headerSize bytes of its struct
 * @throws ParseError
 */
export function attributesOf(message: NetlinkMessage, headerSize: number): NetlinkAttributes {
  return new NetlinkAttributes(message.payload.subarray((headerSize + 3) & ~3));
}

/**
 * A socket on which the kernel is asked about, and told to change, interfaces, traffic control and routes. It belongs to
 * the network namespace in which its thread was when it was opened.
 */
export class NetlinkSocket {
  readonly #owner: Fd;
  #sequence = 1;

  /** @internal use {@link openNetlink} */
  constructor(owner: Fd) {
    this.#owner = owner;
  }

  /**
   * Sends a request, and waits for its acknowledgement.
   *
   * @param request what to do
   * @throws SyscallError with the kernel's own explanation where it gives one
   */
  request(request: NetlinkRequest): NetlinkReply {
    const flags = (request.flags ?? []).reduce((bits, flag) => bits | NetlinkFlag[flag], 0);
    return this.#exchange(request, flags | NLM_F_ACK | (request.echo === true ? NLM_F_ECHO : 0));
  }

  /**
   * Asks for a list. One that changed while it was sent is asked for again.
   *
   * @param request what to list
   * @throws SyscallError
   */
  dump(request: NetlinkRequest): readonly NetlinkMessage[] {
    for (let round = 1; ; round++) {
      const reply = this.#exchange(request, NLM_F_DUMP, round < MAX_DUMPS);
      if (reply !== undefined) return reply.messages;
    }
  }

  #exchange(request: NetlinkRequest, flags: number): NetlinkReply;
  #exchange(request: NetlinkRequest, flags: number, mayRepeat: boolean): NetlinkReply | undefined;
  #exchange(request: NetlinkRequest, flags: number, mayRepeat = false): NetlinkReply | undefined {
    const sequence = this.#sequence++;
    this.#send(request, flags, sequence);
    const messages: NetlinkMessage[] = [];
    let interrupted = false;
    for (;;) {
      const received = this.#receive();
      // What was lost of a list can be asked for again.
      if (typeof received === "number") {
        if (mayRepeat && errnoName(received) === "ENOBUFS") {
          this.#forget();
          return undefined;
        }
        throw netlinkError(request, "recvfrom", received, LOST[errnoName(received)]);
      }
      for (const message of splitMessages(received)) {
        if (message.sequence !== sequence) continue;
        if ((message.flags & NLM_F_DUMP_INTR) !== 0) interrupted = true;
        if (message.type === NLMSG_ERROR || message.type === NLMSG_DONE) {
          const outcome = readOutcome(message);
          if (outcome.errno < 0) {
            const detail = outcome.text === undefined ? undefined : outcome.text + placeOf(outcome.offset);
            throw netlinkError(request, "sendto", outcome.errno, detail);
          }
          return interrupted && mayRepeat ? undefined : { messages, warning: outcome.text };
        }
        if (message.type >= NLMSG_MIN_TYPE) messages.push({ type: message.type, payload: message.payload });
      }
    }
  }

  #send(request: NetlinkRequest, flags: number, sequence: number): void {
    const writer = new Writer();
    writer.bytes(new Uint8Array(nlMsgHdr.size)).bytes(request.header).align(4);
    writer.bytes(encodeAttributes(request.attributes ?? []));
    const bytes = toKernel(writer.finish());
    const header = { nlmsg_len: bytes.length, nlmsg_type: request.type, nlmsg_seq: sequence };
    bytes.set(encodeStruct(nlMsgHdr, { ...header, nlmsg_flags: flags | NLM_F_REQUEST }));
    const { backend, number: fd } = this.#owner;
    const args = [fd, backend.addressOf(bytes), bytes.length, 0, 0, 0];
    const sent = repeat(backend, "sendto", args, () => ({ fd, type: nameOf(request.type), message: bytes }));
    keepAlive(bytes);
    if (sent < 0) throw netlinkError(request, "sendto", sent);
  }

  /** One datagram of the kernel, whole, or `-errno`. Others can send to the socket as well: they are not heard. */
  #receive(): Uint8Array | number {
    const { backend, number: fd } = this.#owner;
    const address = kernelBuffer(sockaddrNl.size);
    const addressLength = kernelBuffer(4);
    for (let room = RECEIVE_ROOM; ; ) {
      const bytes = kernelBuffer(room);
      const receive = (flags: number): number => {
        new DataView(addressLength.buffer).setUint32(0, address.length, true);
        const args = [fd, backend.addressOf(bytes), room, flags, ...[address, addressLength].map(backend.addressOf)];
        const result = repeat(backend, "recvfrom", args, () => ({ fd, length: room, flags }));
        keepAlive([bytes, address, addressLength]);
        return result;
      };
      const length = receive(MSG_PEEK | MSG_TRUNC);
      if (length < 0) return length;
      if (length > room) {
        room = length;
        continue;
      }
      const taken = receive(MSG_TRUNC);
      if (taken < 0) return taken;
      if (taken > room) return -errnoNumber("ENOBUFS");
      const sender = new DataView(address.buffer).getUint32(sockaddrNl.fields.nl_pid.offset, true);
      if (sender === 0) return bytes.subarray(0, taken);
    }
  }

  /** Throws away what is left of a list that lost a part: the socket would answer `EBUSY` to the next one. */
  #forget(): void {
    for (let tries = 0; tries < 1000; tries++) {
      const received = this.#receive();
      if (typeof received === "number") {
        if (errnoName(received) === "ENOBUFS") continue;
        return;
      }
      if (splitMessages(received).some(({ type }) => type === NLMSG_DONE || type === NLMSG_ERROR)) return;
    }
  }

  /** Closes the socket. Idempotent. */
  close(): void {
    this.#owner.close();
  }

  /** Closes the socket. */
  [Symbol.dispose](): void {
    this.close();
  }
}

const LOST: { readonly [errno: string]: string | undefined } = {
  ENOBUFS: "the kernel's answer was lost, so it is not known whether it was done",
  EAGAIN: "the kernel did not answer",
};

/**
 * Opens a socket to the kernel's routing tables, close-on-exec, in the network namespace of this thread.
 *
 * @param backend shim
 * @throws SyscallError
 */
export function openNetlink(backend: SyscallBackend): NetlinkSocket {
  const action = "Cannot open a netlink socket";
  const number = call(backend, "socket", [AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE], () => ({
    domain: "AF_NETLINK",
    type: "SOCK_RAW|SOCK_CLOEXEC",
    protocol: "NETLINK_ROUTE",
  }));
  if (number < 0) throw new SyscallError(action, "socket", number);
  const owner = new Fd(backend, number, "netlink socket");
  try {
    // Explanations (Linux 4.12), and lists of what was asked for only (4.20): both do without on older kernels.
    setOption(owner, SOL_NETLINK, NETLINK_EXT_ACK, u32(1));
    setOption(owner, SOL_NETLINK, NETLINK_CAP_ACK, u32(1));
    setOption(owner, SOL_NETLINK, NETLINK_GET_STRICT_CHK, u32(1));
    setOption(owner, SOL_SOCKET, SO_RCVTIMEO, new Writer({ capacity: 16 }).u64(TIMEOUT_SECONDS).u64(0).finish());
    const address = toKernel(encodeStruct(sockaddrNl, { nl_family: AF_NETLINK }));
    const args = [owner.number, backend.addressOf(address), address.length];
    const bound = call(backend, "bind", args, () => ({ fd: owner.number, family: "AF_NETLINK" }));
    keepAlive(address);
    if (bound < 0) throw new SyscallError(action, "bind", bound);
    return new NetlinkSocket(owner);
  } catch (error) {
    owner.close();
    throw error;
  }
}

/**
 * Opens a netlink socket, uses it, and closes it.
 *
 * @param backend shim
 * @param use what to do with it
 * @throws SyscallError
 */
export function withNetlink<T>(backend: SyscallBackend, use: (socket: NetlinkSocket) => T): T {
  const socket = openNetlink(backend);
  try {
    return use(socket);
  } finally {
    socket.close();
  }
}

function u32(value: number): Uint8Array {
  return new Writer({ capacity: 4 }).u32(value).finish();
}

function setOption(socket: Fd, level: number, option: number, value: Uint8Array): void {
  const bytes = toKernel(value);
  const args = [socket.number, level, option, socket.backend.addressOf(bytes), bytes.length];
  call(socket.backend, "setsockopt", args, () => ({ fd: socket.number, level, optname: option, value: bytes }));
  keepAlive(bytes);
}

/** Makes a call again when a signal came in between. */
function repeat(
  backend: SyscallBackend,
  name: "sendto" | "recvfrom",
  args: readonly number[],
  describe: () => { readonly [name: string]: TraceValue },
): number {
  for (;;) {
    const result = call(backend, name, args, describe);
    if (result >= 0 || errnoName(result) !== "EINTR") return result;
  }
}

function nameOf(type: number): string {
  return MESSAGE_NAMES.get(type) ?? `netlink message ${type}`;
}

function netlinkError(
  request: NetlinkRequest,
  syscall: "sendto" | "recvfrom",
  errno: number,
  explanation?: string,
): SyscallError {
  const command = nameOf(request.type);
  const detail = explanation ?? request.meanings?.[errnoName(errno)];
  const hint = permissionHint("netlink", errno, { command });
  return new SyscallError(request.action, syscall, errno, { command, detail, hint });
}

interface RawMessage {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly payload: Uint8Array;
}

/**
 * Splits a datagram into messages.
 *
 * @internal
 * @throws ParseError
 */
export function splitMessages(bytes: Uint8Array): readonly RawMessage[] {
  const messages: RawMessage[] = [];
  const reader = new Reader(bytes, { path: "netlink message" });
  while (reader.remaining >= nlMsgHdr.size) {
    const start = reader.position;
    const length = reader.u32();
    const type = reader.u16();
    const flags = reader.u16();
    const sequence = reader.u32();
    reader.skip(4);
    if (length < nlMsgHdr.size) throw reader.fail(`length is ${length}, expected at least ${nlMsgHdr.size}`, start);
    messages.push({ type, flags, sequence, payload: reader.take(length - nlMsgHdr.size) });
    reader.skip(Math.min(-length & 3, reader.remaining));
  }
  return messages;
}

/** What an acknowledgement says: an errno, the kernel's words, and the byte of the request that they are about. */
function readOutcome(message: RawMessage): { errno: number; text: string | undefined; offset: number | undefined } {
  const { payload, flags } = message;
  // Some kernels end a list without an errno.
  if (payload.length < 4) return { errno: 0, text: undefined, offset: undefined };
  const reader = new Reader(payload, { path: "netlink acknowledgement" });
  const errno = reader.i32();
  if ((flags & NLM_F_ACK_TLVS) === 0) return { errno, text: undefined, offset: undefined };
  if (message.type === NLMSG_ERROR) {
    // The header of the request follows, and without NLM_F_CAPPED the whole of it.
    const length = reader.u32();
    const rest = (flags & NLM_F_CAPPED) !== 0 ? nlMsgHdr.size : (length + 3) & ~3;
    reader.skip(Math.min(rest - 4, reader.remaining));
  }
  const attributes = new NetlinkAttributes(reader.take(reader.remaining));
  return { errno, text: attributes.text(NLMSGERR_ATTR_MSG), offset: attributes.number(NLMSGERR_ATTR_OFFS) };
}

function placeOf(offset: number | undefined): string {
  return offset === undefined || offset < nlAttr.size ? "" : ` (at byte ${offset} of the request)`;
}
