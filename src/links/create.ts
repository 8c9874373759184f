import { BpfError, NotSupportedError } from "../errors.ts";
import { AttachType, type LinkType, linkCreateAttr, type ProgType } from "../kernel-abi/index.ts";
import type { Program } from "../programs/index.ts";
import type { AttrValues } from "../syscall/attr.ts";
import { bpfError, rawBpf } from "../syscall/bpf.ts";
import { errnoName } from "../syscall/errno.ts";
import { Fd } from "../syscall/fd.ts";
import { kernelOlderThan } from "../syscall/host.ts";
import { Link } from "./link.ts";

/** What a link is made of. */
export interface CreateLinkOptions {
  /** Kind of link. */
  readonly type: LinkType;
  /** Where it attaches. */
  readonly attachType: AttachType;
  /** What is attached where, for people: `xdp on lo`. */
  readonly target: string;
  /** First release of Linux with links of this kind. */
  readonly since: string;
  /** What an errno means here, where the general meaning does not help. */
  readonly meanings?: { readonly [errno: string]: string } | undefined;
}

/**
 * Makes a `bpf_link` for a program.
 *
 * @param program open program
 * @param attr attributes besides program and attach type
 * @param options kind, place, words for failures
 * @throws SyscallError; NotSupportedError where the kernel is older than links of this kind
 */
export function createLink(
  program: Program,
  attr: AttrValues<typeof linkCreateAttr>,
  options: CreateLinkOptions,
): Link {
  const { type, attachType, target } = options;
  const result = tryCreateLink(program, attr, attachType);
  if (result >= 0) return new Link(target, { type, fd: new Fd(program.owner.backend, result, target) });
  throw linkError(program, result, options);
}

/**
 * `BPF_LINK_CREATE`, once: for callers with a fall-back.
 *
 * @returns descriptor, or `-errno`
 */
export function tryCreateLink(
  program: Program,
  attr: AttrValues<typeof linkCreateAttr>,
  attachType: AttachType,
): number {
  const values = { prog_fd: program.fd, ...attr, attach_type: AttachType[attachType] };
  const trace = { attach_type: attachType };
  return rawBpf(program.owner.backend, "BPF_LINK_CREATE", linkCreateAttr, values, trace).result;
}

/** The error of a link that was not made. */
export function linkError(program: Program, errno: number, options: CreateLinkOptions): BpfError {
  const name = errnoName(errno);
  const action = `Cannot attach ${program.owner.label} to ${options.target}`;
  const [major, minor] = options.since.split(".").map(Number);
  const failed = bpfError("BPF_LINK_CREATE", errno, {
    action,
    detail: options.meanings?.[name],
    attachType: options.attachType,
  });
  // The kernel answers EINVAL both to what it does not know and to what it does not like.
  if ((name === "EINVAL" || name === "EOPNOTSUPP") && kernelOlderThan(major!, minor!)) {
    const feature = `Attaching to ${options.target} (${options.type} link)`;
    return new NotSupportedError(feature, { minimumKernel: options.since, cause: failed });
  }
  return failed;
}

/**
 * Refuses programs that cannot be attached in a way.
 *
 * @param program open program
 * @param target where to, for the message
 * @param types program types that can be
 * @throws BpfError `ERR_TYPE_MISMATCH`
 */
export function requireType(program: Program, target: string, ...types: readonly ProgType[]): void {
  if (types.includes(program.type)) return;
  throw new BpfError(
    "ERR_TYPE_MISMATCH",
    `Cannot attach ${program.owner.label} to ${target}: it is a ${program.type} program, wanted ${types.join(" or ")}`,
  );
}
