import { BpfError } from "../errors.ts";
import type { AttachType, ProgType } from "../kernel-abi/index.ts";
import type { Program } from "../programs/index.ts";
import { errnoName } from "../syscall/errno.ts";
import { Fd } from "../syscall/fd.ts";
import { linkError, requireType, tryCreateLink } from "./create.ts";
import { Link } from "./link.ts";
import { attachProgram } from "./prog-attach.ts";

/** Attach types of socket maps, by the type of program that has them. */
const SOCKMAP_ATTACH_TYPES: { readonly [T in ProgType]?: readonly AttachType[] } = {
  sk_skb: ["sk_skb_stream_parser", "sk_skb_stream_verdict", "sk_skb_verdict"],
  sk_msg: ["sk_msg_verdict"],
};

/** An open map. */
export interface HasMapOwner {
  /** Owner of its descriptor. */
  readonly owner: Fd;
}

/** How to attach to a map of sockets. */
export interface SockmapOptions {
  /** Attach type of a `sk_skb` program. Default: what the program was loaded for. */
  readonly attachType?:
    | "sk_skb_stream_parser"
    | "sk_skb_stream_verdict"
    | "sk_skb_verdict"
    | "sk_msg_verdict"
    | undefined;
  /**
   * `false` attaches without a `bpf_link`: the program stays in the map when the attachment is not closed, and replaces
   * one that is there. Default true.
   */
  readonly link?: boolean | undefined;
}

/**
 * Attaches a program to a `sockmap` or `sockhash`: it sees the data of all sockets that are in the map. A `bpf_link`
 * (Linux 6.10), before that with `BPF_PROG_ATTACH`, where the program stays in the map until the map ends.
 *
 * @param program open program of type `sk_skb` or `sk_msg`
 * @param map open map of type `sockmap` or `sockhash`
 * @param options attach type
 * @returns the attachment: close it to detach
 * @throws BpfError `ERR_TYPE_MISMATCH`; SyscallError `EBUSY` when the map has a program of that kind, `EOPNOTSUPP` for
 *   a map of another type
 */
export function attachSockmap(program: Program, map: HasMapOwner, options: SockmapOptions = {}): Link {
  requireType(program, map.owner.label, "sk_skb", "sk_msg");
  const possible = SOCKMAP_ATTACH_TYPES[program.type]!;
  const loaded = program.expectedAttachType;
  const attachType = options.attachType ?? loaded ?? (possible.length === 1 ? possible[0] : undefined);
  if (attachType === undefined) {
    throw new TypeError(`Attaching a ${program.type} program to a map needs an attach type: ${possible.join(", ")}`);
  }
  const label = `${attachType} of ${map.owner.label}`;
  if (!possible.includes(attachType) || (loaded !== undefined && loaded !== attachType)) {
    const why = possible.includes(attachType) ? `loaded for ${loaded}` : `of type ${program.type}`;
    throw new BpfError("ERR_TYPE_MISMATCH", `Cannot attach ${program.owner.label} to ${label}: it is ${why}`);
  }
  const { backend } = program.owner;
  if (options.link !== false) {
    const result = tryCreateLink(program, { target_fd: map.owner.number }, attachType);
    if (result >= 0) return new Link(label, { type: "sockmap", fd: new Fd(backend, result, label) });
    if (errnoName(result) !== "EINVAL") {
      throw linkError(program, result, {
        type: "sockmap",
        attachType,
        target: label,
        since: "6.10",
        meanings: MEANINGS,
      });
    }
  }
  const owner = map.owner.duplicate();
  try {
    return attachProgram(program, {
      attachType,
      label,
      target: { target_fd: owner.number },
      replaceAttr: () => ({}),
      owned: [owner],
      meanings: MEANINGS,
    });
  } catch (error) {
    owner.close();
    throw error;
  }
}

const MEANINGS: { readonly [errno: string]: string } = {
  EBUSY: "the map has such a program already",
  EOPNOTSUPP: "the map is no sockmap or sockhash, or has a program that excludes this one",
};
