import { BpfError } from "../errors.ts";
import type { Program } from "../programs/index.ts";
import { errnoName } from "../syscall/errno.ts";
import { Fd } from "../syscall/fd.ts";
import { linkError, requireType, tryCreateLink } from "./create.ts";
import { Link } from "./link.ts";
import { attachProgram } from "./prog-attach.ts";
import { type NetworkNamespace, namespaceLabel, openNetworkNamespace } from "./targets.ts";

/** How to attach to a network namespace. */
export interface NetnsOptions {
  /**
   * `false` attaches without a `bpf_link`, which only `flow_dissector` programs and this thread's own namespace allow: the
   * program stays when the process ends without closing the attachment. Default true.
   */
  readonly link?: boolean | undefined;
}

/**
 * Attaches a `flow_dissector` or `sk_lookup` program to a network namespace: a `bpf_link` (Linux 5.8, `sk_lookup` 5.9);
 * before that a `flow_dissector` with `BPF_PROG_ATTACH`, to this thread's own namespace, where the program stays attached
 * when the process ends without closing.
 *
 * @param program open program
 * @param target network namespace. Default: this thread's own
 * @param options link or not
 * @returns the attachment: close it to detach
 * @throws BpfError `ERR_ATTACH_TARGET` when it is no network namespace, `ERR_TYPE_MISMATCH`; SyscallError `EEXIST` or
 *   `E2BIG` when the namespace, or the first one, has a flow dissector already, `E2BIG` above 64 `sk_lookup` programs
 */
export function attachNetns(program: Program, target: NetworkNamespace = "own", options: NetnsOptions = {}): Link {
  const place = namespaceLabel(target);
  requireType(program, place, "flow_dissector", "sk_lookup");
  const attachType = program.type === "sk_lookup" ? "sk_lookup" : "flow_dissector";
  const label = `${attachType} of ${place}`;
  const { backend } = program.owner;
  const meanings = meaningsOf(attachType);
  const mayDoWithout = attachType === "flow_dissector" && target === "own";
  if (options.link !== false) {
    const owner = openNetworkNamespace(backend, target);
    let result: number;
    try {
      result = tryCreateLink(program, { target_fd: owner.number }, attachType);
    } finally {
      owner.close();
    }
    if (result >= 0) return new Link(label, { type: "netns", fd: new Fd(backend, result, label) });
    if (errnoName(result) !== "EINVAL" || !mayDoWithout) {
      const since = attachType === "sk_lookup" ? "5.9" : "5.8";
      throw linkError(program, result, { type: "netns", attachType, target: label, since, meanings });
    }
  } else if (!mayDoWithout) {
    throw new BpfError("ERR_ATTACH_TARGET", `Cannot attach ${program.owner.label} to ${label} without a link`, {
      hint: "only a flow_dissector and this thread's own namespace allow that",
    });
  }
  // The kernel takes the caller's namespace, and wants no descriptor of it.
  return attachProgram(program, {
    attachType,
    label,
    target: {},
    replaceAttr: () => ({}),
    meanings,
  });
}

const OCCUPIED = "this namespace, or the first one for all of them, has a flow dissector already";

/** What errnos mean. Of flow dissectors the kernel takes one. */
function meaningsOf(attachType: "flow_dissector" | "sk_lookup"): { readonly [errno: string]: string } {
  const full = "the namespace has as many programs as the kernel takes";
  return { EEXIST: OCCUPIED, E2BIG: attachType === "flow_dissector" ? OCCUPIED : full };
}
