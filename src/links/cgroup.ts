import { BpfError } from "../errors.ts";
import {
  type AttachType,
  BPF_F_ALLOW_MULTI,
  BPF_F_ALLOW_OVERRIDE,
  BPF_F_PREORDER,
  BPF_F_REPLACE,
  type ProgType,
} from "../kernel-abi/index.ts";
import type { Program } from "../programs/index.ts";
import { errnoName } from "../syscall/errno.ts";
import { Fd } from "../syscall/fd.ts";
import { linkError, requireType, tryCreateLink } from "./create.ts";
import { type HasDescriptor, Link } from "./link.ts";
import { linkOrderAttr, ORDER_MEANINGS, type OrderOptions, orderAttr, progOrderAttr } from "./order.ts";
import { attachProgram } from "./prog-attach.ts";
import { openCgroup } from "./targets.ts";

/** Attach types of cgroups, by the type of program that has them. */
export const CGROUP_ATTACH_TYPES: { readonly [T in ProgType]?: readonly AttachType[] } = {
  cgroup_skb: ["cgroup_inet_ingress", "cgroup_inet_egress"],
  cgroup_sock: [
    "cgroup_inet_sock_create",
    "cgroup_inet_sock_release",
    "cgroup_inet4_post_bind",
    "cgroup_inet6_post_bind",
  ],
  cgroup_sock_addr: [
    "cgroup_inet4_bind",
    "cgroup_inet6_bind",
    "cgroup_inet4_connect",
    "cgroup_inet6_connect",
    "cgroup_unix_connect",
    "cgroup_udp4_sendmsg",
    "cgroup_udp6_sendmsg",
    "cgroup_unix_sendmsg",
    "cgroup_udp4_recvmsg",
    "cgroup_udp6_recvmsg",
    "cgroup_unix_recvmsg",
    "cgroup_inet4_getpeername",
    "cgroup_inet6_getpeername",
    "cgroup_unix_getpeername",
    "cgroup_inet4_getsockname",
    "cgroup_inet6_getsockname",
    "cgroup_unix_getsockname",
  ],
  cgroup_sockopt: ["cgroup_getsockopt", "cgroup_setsockopt"],
  cgroup_device: ["cgroup_device"],
  cgroup_sysctl: ["cgroup_sysctl"],
  sock_ops: ["cgroup_sock_ops"],
  lsm: ["lsm_cgroup"],
};

/** How to attach to a cgroup. */
export interface CgroupOptions extends OrderOptions {
  /** Attach type. Default: what the program was loaded for, or the only one that its type has. */
  readonly attachType?: AttachType | undefined;
  /**
   * What others may do: `multi` lets programs stand beside this one, here and in cgroups below; `override` lets a cgroup
   * below put its program in place of this one; `exclusive` allows none of both. All but `multi` are attachments without a
   * `bpf_link`. Default `multi`.
   */
  readonly sharing?: "multi" | "override" | "exclusive" | undefined;
  /** Run before the programs of cgroups below rather than after them (Linux 6.15). Default false. */
  readonly preorder?: boolean | undefined;
  /** A program attached without a `bpf_link`, in whose place this one is put, likewise without (Linux 5.5). */
  readonly expected?: HasDescriptor | undefined;
  /**
   * `false` attaches without a `bpf_link` although the kernel has them: the program stays when the process ends without
   * closing the attachment. Default true.
   */
  readonly link?: boolean | undefined;
}

/**
 * Attaches a program to a cgroup: it sees what the processes in it, and in those below, do. A `bpf_link` (Linux 5.7),
 * before that with `BPF_PROG_ATTACH`, where the program stays attached when the process ends without closing.
 *
 * @param program open program of a type for cgroups: `cgroup_skb`, `cgroup_sock`, `cgroup_sock_addr`, `cgroup_sockopt`,
 *   `cgroup_device`, `cgroup_sysctl`, `sock_ops`, or `lsm` loaded for `lsm_cgroup`
 * @param cgroup path of the cgroup's folder (version 2), or a descriptor of it
 * @param options attach type, sharing, order
 * @returns the attachment: close it to detach
 * @throws BpfError `ERR_ATTACH_TARGET` when it is no cgroup of version 2, `ERR_TYPE_MISMATCH` for programs or attach types
 *   that do not fit; SyscallError `EPERM` when a cgroup above, or a program here, allows no other one
 * @example Let no process of a cgroup connect
 * ```ts no-run
 * import { assemble, attachCgroup, loadProgram } from "rawbpf";
 *
 * using program = loadProgram({
 *   type: "cgroup_sock_addr",
 *   expectedAttachType: "cgroup_inet4_connect",
 *   instructions: assemble("r0 = 0\nexit"),
 * });
 * using link = attachCgroup(program, "/sys/fs/cgroup/system.slice/nginx.service");
 * ```
 */
export function attachCgroup(program: Program, cgroup: string | number, options: CgroupOptions = {}): Link {
  const shown = typeof cgroup === "number" ? `descriptor ${cgroup}` : cgroup;
  const attachType = cgroupAttachType(program, shown, options.attachType);
  const { sharing = "multi", expected } = options;
  if (sharing !== "multi" && (options.order !== undefined || options.expectedRevision !== undefined)) {
    throw new TypeError(`Programs in a cgroup have an order only when they share it, not when it is ${sharing}`);
  }
  const { backend } = program.owner;
  const label = `${attachType} of cgroup ${shown}`;
  const order = orderAttr(options);
  const preorder = options.preorder === true ? BPF_F_PREORDER : 0;
  const owner = openCgroup(backend, cgroup);
  try {
    if (options.link !== false && sharing === "multi" && expected === undefined) {
      const orderAttributes = linkOrderAttr({ ...order, flags: order.flags | preorder }, "cgroup");
      const result = tryCreateLink(program, { target_fd: owner.number, ...orderAttributes }, attachType);
      if (result >= 0) {
        owner.close();
        return new Link(label, { type: "cgroup", fd: new Fd(backend, result, label) });
      }
      // EINVAL: no links of cgroups before 5.7; an order is younger than they are.
      const plain = order.flags === 0 && preorder === 0 && order.expectedRevision === undefined;
      if (errnoName(result) !== "EINVAL" || !plain) {
        const since = plain ? "5.7" : preorder !== 0 && order.flags === 0 ? "6.15" : "6.16";
        throw linkError(program, result, { type: "cgroup", attachType, target: label, since, meanings: MEANINGS });
      }
    }
    const mode = sharing === "multi" ? BPF_F_ALLOW_MULTI : sharing === "override" ? BPF_F_ALLOW_OVERRIDE : 0;
    const progOrder = progOrderAttr({ ...order, flags: order.flags | mode | preorder });
    const replaceAttr = (current: number): { readonly [name: string]: number } =>
      sharing === "multi"
        ? { attach_flags: mode | preorder | BPF_F_REPLACE, replace_bpf_fd: current }
        : { attach_flags: mode };
    return attachProgram(program, {
      attachType,
      label,
      target: { target_fd: owner.number },
      attr: expected === undefined ? progOrder : replaceAttr(expected.fd),
      replaceAttr,
      owned: [owner],
      meanings: MEANINGS,
    });
  } catch (error) {
    owner.close();
    throw error;
  }
}

const MEANINGS: { readonly [errno: string]: string } = {
  ...ORDER_MEANINGS,
  EPERM: "operation not permitted, or a program here or in a cgroup above allows no other one",
  EBADF: "it is no cgroup of version 2",
  E2BIG: "the cgroup has as many programs as the kernel takes",
};

function cgroupAttachType(program: Program, shown: string, wanted: AttachType | undefined): AttachType {
  const target = `cgroup ${shown}`;
  requireType(program, target, ...(Object.keys(CGROUP_ATTACH_TYPES) as ProgType[]));
  const possible = CGROUP_ATTACH_TYPES[program.type] ?? [];
  const attachType = wanted ?? program.expectedAttachType ?? (possible.length === 1 ? possible[0] : undefined);
  if (attachType === undefined) {
    throw new TypeError(`Attaching a ${program.type} program to a cgroup needs an attach type: ${possible.join(", ")}`);
  }
  // The kernel compares as well, save for `cgroup_skb` programs that were loaded for none.
  const loaded = program.expectedAttachType;
  const fits = possible.includes(attachType) && (loaded === undefined || loaded === attachType);
  if (fits) return attachType;
  const why = possible.includes(attachType) ? `loaded for ${loaded}` : `of type ${program.type}`;
  const message = `Cannot attach ${program.owner.label} to ${target} as ${attachType}: it is ${why}`;
  throw new BpfError("ERR_TYPE_MISMATCH", message, {
    hint: possible.includes(attachType) ? undefined : `programs of that type attach as ${possible.join(", ")}`,
  });
}
