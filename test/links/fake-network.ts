import {
  IFLA_IFNAME,
  IFLA_INFO_KIND,
  IFLA_LINKINFO,
  IFLA_XDP,
  IFLA_XDP_ATTACHED,
  IFLA_XDP_PROG_ID,
  ifInfoMsg,
  nlMsgHdr,
  RTM_GETLINK,
  RTM_NEWLINK,
} from "../../src/kernel-abi/index.ts";
import { decodeStruct, encodeStruct } from "../../src/kernel-abi/layout.ts";
import { encodeAttributes, errnoNumber, type FakeKernel, type NetlinkAttribute } from "../../src/syscall/index.ts";

const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const NLM_F_DUMP = 0x300;
const NLM_F_MULTI = 2;
const NLM_F_CAPPED = 0x100;
const NLM_F_ACK_TLVS = 0x200;
const MSG_PEEK = 2;
const NLMSGERR_ATTR_MSG = 1;

/** A request as it was sent. */
export interface Sent {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  /** Struct and attributes. */
  readonly payload: Uint8Array;
}

/** A message to answer with. */
export interface Answer {
  readonly type: number;
  readonly flags?: number;
  /** Default: that of the request. */
  readonly sequence?: number;
  readonly payload: Uint8Array;
}

/** One datagram; an errno name in its place lets `recvfrom` fail. */
export type Datagram = { readonly messages: readonly Answer[]; readonly sender?: number } | string;

function encodeMessage(answer: Answer, sequence: number): Uint8Array {
  const { type, flags = 0, payload } = answer;
  const length = nlMsgHdr.size + payload.length;
  const bytes = new Uint8Array((length + 3) & ~3);
  const seq = answer.sequence ?? sequence;
  bytes.set(encodeStruct(nlMsgHdr, { nlmsg_len: length, nlmsg_type: type, nlmsg_flags: flags, nlmsg_seq: seq }));
  bytes.set(payload, nlMsgHdr.size);
  return bytes;
}

/** An acknowledgement, with the kernel's words. */
export function acknowledge(error?: string, text?: string): Answer {
  const errno = error === undefined ? 0 : -errnoNumber(error);
  const head = new Uint8Array(4 + nlMsgHdr.size);
  new DataView(head.buffer).setInt32(0, errno, true);
  const words = text === undefined ? new Uint8Array(0) : encodeAttributes([[NLMSGERR_ATTR_MSG, text]]);
  const payload = new Uint8Array(head.length + words.length);
  payload.set(head);
  payload.set(words, head.length);
  const flags = NLM_F_CAPPED | (text === undefined ? 0 : NLM_F_ACK_TLVS);
  return { type: NLMSG_ERROR, flags, payload };
}

/** End of a list. */
export const done: Answer = { type: NLMSG_DONE, flags: NLM_F_MULTI, payload: new Uint8Array(4) };

/** An interface, as the kernel lists it. */
export function interfaceMessage(
  index: number,
  name: string,
  options: { kind?: string; program?: number } = {},
): Answer {
  const header = encodeStruct(ifInfoMsg, { ifi_index: index, ifi_flags: 1 });
  const attributes: NetlinkAttribute[] = [
    [IFLA_IFNAME, name],
    [IFLA_LINKINFO, options.kind === undefined ? undefined : [[IFLA_INFO_KIND, options.kind]]],
    [
      IFLA_XDP,
      [
        [IFLA_XDP_ATTACHED, Uint8Array.of(options.program === undefined ? 0 : 1)],
        [IFLA_XDP_PROG_ID, options.program],
      ],
    ],
  ];
  const encoded = encodeAttributes(attributes);
  const payload = new Uint8Array(header.length + encoded.length);
  payload.set(header);
  payload.set(encoded, header.length);
  return { type: RTM_NEWLINK, flags: NLM_F_MULTI, payload };
}

/**
 * Lets a fake kernel speak netlink. It has the interfaces `lo` (1), `eth0` (2) and, when wanted, more; other requests are
 * answered by `answer`, by default with success.
 *
 * @returns requests as they come, lists of interfaces left out
 */
export function speakNetlink(
  kernel: FakeKernel,
  options: {
    readonly answer?: (sent: Sent) => readonly Datagram[] | undefined;
    readonly interfaces?: readonly Answer[];
  } = {},
): Sent[] {
  const requests: Sent[] = [];
  const waiting: ({ readonly sender: number; readonly bytes: Uint8Array } | string)[] = [];
  const put = (datagrams: readonly Datagram[], sequence: number): void => {
    for (const datagram of datagrams) {
      if (typeof datagram === "string") {
        waiting.push(datagram);
        continue;
      }
      const parts = datagram.messages.map((message) => encodeMessage(message, sequence));
      const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
      let at = 0;
      for (const part of parts) {
        bytes.set(part, at);
        at += part.length;
      }
      waiting.push({ sender: datagram.sender ?? 0, bytes });
    }
  };
  kernel.onCall("socket", () => kernel.addDescriptor());
  kernel.onCall("bind", () => 0);
  kernel.onCall("setsockopt", () => 0);
  kernel.onCall("sendto", ({ args, memory }) => {
    const bytes = memory(args[1]!, args[2]!).slice();
    const header = decodeStruct(nlMsgHdr, bytes);
    const sent: Sent = {
      type: header.nlmsg_type!,
      flags: header.nlmsg_flags!,
      sequence: header.nlmsg_seq!,
      payload: bytes.subarray(nlMsgHdr.size),
    };
    const answer = options.answer?.(sent);
    if (answer !== undefined) {
      requests.push(sent);
      put(answer, sent.sequence);
    } else if (sent.type === RTM_GETLINK && (sent.flags & NLM_F_DUMP) === NLM_F_DUMP) {
      const all = [interfaceMessage(1, "lo"), interfaceMessage(2, "eth0"), ...(options.interfaces ?? [])];
      put([{ messages: all }, { messages: [done] }], sent.sequence);
    } else {
      requests.push(sent);
      put([{ messages: [(sent.flags & NLM_F_DUMP) === NLM_F_DUMP ? done : acknowledge()] }], sent.sequence);
    }
    return bytes.length;
  });
  kernel.onCall("recvfrom", ({ args, memory }) => {
    const [, address = 0, room = 0, flags = 0, from = 0] = args;
    const next = waiting[0];
    if (next === undefined) return "EAGAIN";
    if (typeof next === "string") {
      waiting.shift();
      return next;
    }
    memory(address, Math.min(room, next.bytes.length)).set(next.bytes.subarray(0, room));
    const sender = memory(from, 12);
    new DataView(sender.buffer, sender.byteOffset).setUint32(4, next.sender, true);
    if ((flags & MSG_PEEK) === 0) waiting.shift();
    return next.bytes.length;
  });
  return requests;
}
