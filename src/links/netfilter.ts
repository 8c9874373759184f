import { BPF_F_NETFILTER_IP_DEFRAG } from "../kernel-abi/index.ts";
import type { Program } from "../programs/index.ts";
import { createLink, requireType } from "./create.ts";
import type { Link } from "./link.ts";

const FAMILIES = { ipv4: 2, ipv6: 10 } as const;
const HOOKS = { prerouting: 0, input: 1, forward: 2, output: 3, postrouting: 4 } as const;

/** Protocol family of packets in netfilter. */
export type NetfilterFamily = keyof typeof FAMILIES;
/** Place on the way of a packet through the network stack. */
export type NetfilterHook = keyof typeof HOOKS;

/** Where a program stands in netfilter. */
export interface NetfilterTarget {
  /** Protocol family. */
  readonly family: NetfilterFamily;
  /** Place on the way of a packet. */
  readonly hook: NetfilterHook;
  /**
   * Lower numbers run first. The kernel's own: -400 reassembly, -300 raw, -200 connection tracking, -150 mangle, -100
   * destination NAT, 0 filter, 100 source NAT. No two BPF programs can have the same one at a hook. Default 0.
   */
  readonly priority?: number | undefined;
  /** Show reassembled packets (Linux 6.6). Needs a priority above -400. Default false. */
  readonly defragment?: boolean | undefined;
}

const DEFRAGMENT_PRIORITY = -400;

/**
 * Attaches a program to a netfilter hook of this thread's network namespace: a `bpf_link` (Linux 6.4).
 *
 * @param program open program of type `netfilter`
 * @param target family, hook, priority
 * @returns the attachment: close it to detach
 * @throws NotSupportedError before Linux 6.4; BpfError `ERR_TYPE_MISMATCH`; RangeError for a priority that cannot be;
 *   SyscallError `EBUSY` when another BPF program has the same priority, `EPERM` without CAP_NET_ADMIN
 */
export function attachNetfilter(program: Program, target: NetfilterTarget): Link {
  const { family, hook, priority = 0, defragment = false } = target;
  const label = `netfilter ${family} ${hook} with priority ${priority}`;
  requireType(program, label, "netfilter");
  if (!Object.hasOwn(FAMILIES, family)) throw new TypeError(`${JSON.stringify(family)} is no family: ipv4, ipv6`);
  if (!Object.hasOwn(HOOKS, hook)) {
    throw new TypeError(`${JSON.stringify(hook)} is no hook: ${Object.keys(HOOKS).join(", ")}`);
  }
  // The first and the last place are the kernel's own.
  if (!Number.isInteger(priority) || priority <= -(2 ** 31) || priority >= 2 ** 31 - 1) {
    throw new RangeError(`The priority of a netfilter program is -2147483647 to 2147483646, found ${priority}`);
  }
  if (defragment && priority <= DEFRAGMENT_PRIORITY) {
    throw new RangeError(
      `Reassembled packets are seen with a priority above ${DEFRAGMENT_PRIORITY}, found ${priority}`,
    );
  }
  const attr = {
    "netfilter.pf": FAMILIES[family],
    "netfilter.hooknum": HOOKS[hook],
    "netfilter.priority": priority,
    "netfilter.flags": defragment ? BPF_F_NETFILTER_IP_DEFRAG : 0,
  };
  return createLink(program, attr, {
    type: "netfilter",
    attachType: "netfilter",
    target: label,
    since: defragment ? "6.6" : "6.4",
    meanings: {
      EBUSY: "another BPF program has this priority at this hook",
      EAFNOSUPPORT: `the kernel has no netfilter for ${family}`,
      EOPNOTSUPP: "the kernel was built without what reassembles packets",
    },
  });
}
