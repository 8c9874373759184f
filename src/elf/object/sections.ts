// Browser-safe.

import { closest } from "../../bytes/index.ts";
import type { AttachType, ProgType } from "../../kernel-abi/index.ts";

/** What the name of a section says of the programs in it. */
export interface SectionRule {
  /** Name of the section: `kprobe`. With {@link target}, `kprobe/do_exit` follows the rule too. */
  readonly name: string;
  /** Whether `/` and the target of the program may follow the name. Default `false`. */
  readonly target?: boolean | undefined;
  /** Program type. */
  readonly type: ProgType;
  /** Attach type it is loaded for. Default none. */
  readonly attachType?: AttachType | undefined;
  /** Whether a kernel that does not know the attach type for this program type may be given none. Default `false`. */
  readonly attachTypeOptional?: boolean | undefined;
  /** Whether the target is looked for in BTF. Default `false`. */
  readonly attachBtf?: boolean | undefined;
  /** Whether the program may sleep. Default `false`. */
  readonly sleepable?: boolean | undefined;
  /** Further `BPF_F_*` flags of loading. Default 0. */
  readonly flags?: number | undefined;
}

const XDP_HAS_FRAGS = 0x20;

const target = true;
const sleepable = true;
const attachBtf = true;
const optional = { attachTypeOptional: true };

function tracing(name: string, attachType: AttachType): SectionRule[] {
  const rule: SectionRule = { name, target, type: "tracing", attachType, attachBtf };
  return [rule, { ...rule, name: `${name}.s`, sleepable }];
}

function sockAddr(name: string, attachType: AttachType): SectionRule {
  return { name: `cgroup/${name}`, type: "cgroup_sock_addr", attachType };
}

/** The rules for names of sections, those of libbpf: a name follows the one rule that has it, or has its first part. */
export const SECTION_RULES: readonly SectionRule[] = /* @__PURE__ */ (() => [
  { name: "socket", type: "socket_filter" },
  { name: "sk_reuseport/migrate", type: "sk_reuseport", attachType: "sk_reuseport_select_or_migrate" },
  { name: "sk_reuseport", type: "sk_reuseport", attachType: "sk_reuseport_select" },
  { name: "kprobe", target, type: "kprobe" },
  { name: "uprobe", target, type: "kprobe" },
  { name: "uprobe.s", target, type: "kprobe", sleepable },
  { name: "kretprobe", target, type: "kprobe" },
  { name: "uretprobe", target, type: "kprobe" },
  { name: "uretprobe.s", target, type: "kprobe", sleepable },
  { name: "kprobe.multi", target, type: "kprobe", attachType: "trace_kprobe_multi" },
  { name: "kretprobe.multi", target, type: "kprobe", attachType: "trace_kprobe_multi" },
  { name: "kprobe.session", target, type: "kprobe", attachType: "trace_kprobe_session" },
  { name: "uprobe.multi", target, type: "kprobe", attachType: "trace_uprobe_multi" },
  { name: "uretprobe.multi", target, type: "kprobe", attachType: "trace_uprobe_multi" },
  { name: "uprobe.session", target, type: "kprobe", attachType: "trace_uprobe_session" },
  { name: "uprobe.multi.s", target, type: "kprobe", attachType: "trace_uprobe_multi", sleepable },
  { name: "uretprobe.multi.s", target, type: "kprobe", attachType: "trace_uprobe_multi", sleepable },
  { name: "uprobe.session.s", target, type: "kprobe", attachType: "trace_uprobe_session", sleepable },
  { name: "ksyscall", target, type: "kprobe" },
  { name: "kretsyscall", target, type: "kprobe" },
  { name: "usdt", target, type: "kprobe" },
  { name: "usdt.s", target, type: "kprobe", sleepable },
  { name: "tc/ingress", type: "sched_cls", attachType: "tcx_ingress" },
  { name: "tc/egress", type: "sched_cls", attachType: "tcx_egress" },
  { name: "tcx/ingress", type: "sched_cls", attachType: "tcx_ingress" },
  { name: "tcx/egress", type: "sched_cls", attachType: "tcx_egress" },
  { name: "tc", type: "sched_cls" },
  { name: "classifier", type: "sched_cls" },
  { name: "action", type: "sched_act" },
  { name: "netkit/primary", type: "sched_cls", attachType: "netkit_primary" },
  { name: "netkit/peer", type: "sched_cls", attachType: "netkit_peer" },
  { name: "tracepoint", target, type: "tracepoint" },
  { name: "tp", target, type: "tracepoint" },
  { name: "tracepoint.s", target, type: "tracepoint", sleepable },
  { name: "tp.s", target, type: "tracepoint", sleepable },
  { name: "raw_tracepoint", target, type: "raw_tracepoint" },
  { name: "raw_tp", target, type: "raw_tracepoint" },
  { name: "raw_tracepoint.s", target, type: "raw_tracepoint", sleepable },
  { name: "raw_tp.s", target, type: "raw_tracepoint", sleepable },
  { name: "raw_tracepoint.w", target, type: "raw_tracepoint_writable" },
  { name: "raw_tp.w", target, type: "raw_tracepoint_writable" },
  ...tracing("tp_btf", "trace_raw_tp"),
  ...tracing("fentry", "trace_fentry"),
  ...tracing("fmod_ret", "modify_return"),
  ...tracing("fexit", "trace_fexit"),
  ...tracing("fsession", "trace_fsession"),
  { name: "fentry.multi", target, type: "tracing", attachType: "trace_fentry_multi" },
  { name: "fexit.multi", target, type: "tracing", attachType: "trace_fexit_multi" },
  { name: "fsession.multi", target, type: "tracing", attachType: "trace_fsession_multi" },
  { name: "fentry.multi.s", target, type: "tracing", attachType: "trace_fentry_multi", sleepable },
  { name: "fexit.multi.s", target, type: "tracing", attachType: "trace_fexit_multi", sleepable },
  { name: "fsession.multi.s", target, type: "tracing", attachType: "trace_fsession_multi", sleepable },
  { name: "freplace", target, type: "ext", attachBtf },
  { name: "lsm", target, type: "lsm", attachType: "lsm_mac", attachBtf },
  { name: "lsm.s", target, type: "lsm", attachType: "lsm_mac", attachBtf, sleepable },
  { name: "lsm_cgroup", target, type: "lsm", attachType: "lsm_cgroup", attachBtf },
  ...tracing("iter", "trace_iter"),
  { name: "syscall", type: "syscall", sleepable },
  { name: "xdp.frags/devmap", type: "xdp", attachType: "xdp_devmap", flags: XDP_HAS_FRAGS },
  { name: "xdp/devmap", type: "xdp", attachType: "xdp_devmap" },
  { name: "xdp.frags/cpumap", type: "xdp", attachType: "xdp_cpumap", flags: XDP_HAS_FRAGS },
  { name: "xdp/cpumap", type: "xdp", attachType: "xdp_cpumap" },
  { name: "xdp.frags", type: "xdp", attachType: "xdp", flags: XDP_HAS_FRAGS },
  { name: "xdp", type: "xdp", attachType: "xdp", ...optional },
  { name: "perf_event", type: "perf_event" },
  { name: "lwt_in", type: "lwt_in" },
  { name: "lwt_out", type: "lwt_out" },
  { name: "lwt_xmit", type: "lwt_xmit" },
  { name: "lwt_seg6local", type: "lwt_seg6local" },
  { name: "sockops", type: "sock_ops", attachType: "cgroup_sock_ops", ...optional },
  { name: "sk_skb/stream_parser", type: "sk_skb", attachType: "sk_skb_stream_parser", ...optional },
  { name: "sk_skb/stream_verdict", type: "sk_skb", attachType: "sk_skb_stream_verdict", ...optional },
  { name: "sk_skb/verdict", type: "sk_skb", attachType: "sk_skb_verdict", ...optional },
  { name: "sk_skb", type: "sk_skb" },
  { name: "sk_msg", type: "sk_msg", attachType: "sk_msg_verdict", ...optional },
  { name: "lirc_mode2", type: "lirc_mode2", attachType: "lirc_mode2", ...optional },
  { name: "flow_dissector", type: "flow_dissector", attachType: "flow_dissector", ...optional },
  { name: "cgroup_skb/ingress", type: "cgroup_skb", attachType: "cgroup_inet_ingress", ...optional },
  { name: "cgroup_skb/egress", type: "cgroup_skb", attachType: "cgroup_inet_egress", ...optional },
  { name: "cgroup/skb", type: "cgroup_skb" },
  { name: "cgroup/sock_create", type: "cgroup_sock", attachType: "cgroup_inet_sock_create" },
  { name: "cgroup/sock_release", type: "cgroup_sock", attachType: "cgroup_inet_sock_release" },
  { name: "cgroup/sock", type: "cgroup_sock", attachType: "cgroup_inet_sock_create", ...optional },
  { name: "cgroup/post_bind4", type: "cgroup_sock", attachType: "cgroup_inet4_post_bind" },
  { name: "cgroup/post_bind6", type: "cgroup_sock", attachType: "cgroup_inet6_post_bind" },
  sockAddr("bind4", "cgroup_inet4_bind"),
  sockAddr("bind6", "cgroup_inet6_bind"),
  sockAddr("connect4", "cgroup_inet4_connect"),
  sockAddr("connect6", "cgroup_inet6_connect"),
  sockAddr("connect_unix", "cgroup_unix_connect"),
  sockAddr("sendmsg4", "cgroup_udp4_sendmsg"),
  sockAddr("sendmsg6", "cgroup_udp6_sendmsg"),
  sockAddr("sendmsg_unix", "cgroup_unix_sendmsg"),
  sockAddr("recvmsg4", "cgroup_udp4_recvmsg"),
  sockAddr("recvmsg6", "cgroup_udp6_recvmsg"),
  sockAddr("recvmsg_unix", "cgroup_unix_recvmsg"),
  sockAddr("getpeername4", "cgroup_inet4_getpeername"),
  sockAddr("getpeername6", "cgroup_inet6_getpeername"),
  sockAddr("getpeername_unix", "cgroup_unix_getpeername"),
  sockAddr("getsockname4", "cgroup_inet4_getsockname"),
  sockAddr("getsockname6", "cgroup_inet6_getsockname"),
  sockAddr("getsockname_unix", "cgroup_unix_getsockname"),
  { name: "cgroup/sysctl", type: "cgroup_sysctl", attachType: "cgroup_sysctl" },
  { name: "cgroup/getsockopt", type: "cgroup_sockopt", attachType: "cgroup_getsockopt" },
  { name: "cgroup/setsockopt", type: "cgroup_sockopt", attachType: "cgroup_setsockopt" },
  { name: "cgroup/dev", type: "cgroup_device", attachType: "cgroup_device", ...optional },
  { name: "struct_ops", target, type: "struct_ops" },
  { name: "struct_ops.s", target, type: "struct_ops", sleepable },
  { name: "sk_lookup", type: "sk_lookup", attachType: "sk_lookup" },
  { name: "netfilter", type: "netfilter", attachType: "netfilter" },
])();

/** The name of a program's section, taken apart. */
export interface SectionMatch {
  /** The name without a leading `?`. */
  readonly name: string;
  /** The rule it follows; `undefined` when there is none. */
  readonly rule: SectionRule | undefined;
  /** What follows the first `/` behind the rule's name; `undefined` when nothing does. */
  readonly target: string | undefined;
  /** Whether the name does not begin with `?`, which keeps a program from being loaded unasked. */
  readonly autoload: boolean;
}

/**
 * Finds what the name of a section says of its programs.
 *
 * @param sectionName such as `kprobe/do_exit` or `?xdp`
 * @param rules further rules, which go before the known ones
 *
 * @example
 * ```ts
 * import { matchSection } from "rawbpf/elf";
 *
 * const { rule, target } = matchSection("fentry.s/vfs_open");
 * console.log(rule?.type, rule?.sleepable, target); // tracing true vfs_open
 * ```
 */
export function matchSection(sectionName: string, rules: readonly SectionRule[] = []): SectionMatch {
  const autoload = !sectionName.startsWith("?");
  const name = autoload ? sectionName : sectionName.slice(1);
  for (const list of [rules, SECTION_RULES]) {
    for (const rule of list) {
      if (!name.startsWith(rule.name)) continue;
      if (name.length === rule.name.length) return { name, rule, target: undefined, autoload };
      if (rule.target === true && name[rule.name.length] === "/") {
        return { name, rule, target: name.slice(rule.name.length + 1), autoload };
      }
    }
  }
  return { name, rule: undefined, target: undefined, autoload };
}

/**
 * Why no rule fits the name of a section, for a person.
 *
 * @returns one sentence that names the nearest rule, if any is near
 */
export function sectionHint(sectionName: string, rules: readonly SectionRule[] = []): string {
  const name = sectionName.replace(/^\?/, "");
  const all = [...rules, ...SECTION_RULES];
  const first = name.split("/")[0]!;
  const exact = all.find((rule) => rule.name === first);
  if (exact !== undefined) return `No target may follow "${exact.name}": use SEC("${exact.name}")`;
  const near =
    closest(
      name,
      all.map((rule) => rule.name),
    ) ??
    closest(
      first,
      all.map((rule) => rule.name),
    );
  if (near !== undefined) return `Did you mean SEC("${near}")?`;
  // Names such as `xdp_drop` and `socket1` were fit before libbpf 1.0.
  let start: SectionRule | undefined;
  for (const rule of all) if (name.startsWith(rule.name) && rule.name.length > (start?.name.length ?? 1)) start = rule;
  if (start !== undefined) return `Did you mean SEC("${start.name}")?`;
  return "Names of sections tell the type of a program, such as xdp, tc, kprobe/FUNCTION or tracepoint/GROUP/NAME";
}
