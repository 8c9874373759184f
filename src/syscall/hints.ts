import { errnoName } from "./errno.ts";
import { type Capability, effectiveCapabilities, kernelOlderThan, lockdown, readText } from "./host.ts";

/** What a failed call needed. */
export interface CallNeeds {
  /** For `bpf`: the command, as the kernel spells it. */
  readonly command?: string | undefined;
  /** For program loads: the program type in lower case. */
  readonly progType?: string | undefined;
  /** For attaching and asking what is attached: the attach type in lower case. */
  readonly attachType?: string | undefined;
  /** For map creation: the map type in lower case. */
  readonly mapType?: string | undefined;
  /** The kernel verified something and said so: then it is no question of privileges. */
  readonly hasLog?: boolean | undefined;
}

const NET_ADMIN_PROGRAMS = new Set(
  (
    "sched_cls sched_act xdp lwt_in lwt_out lwt_xmit lwt_seg6local sk_skb sk_msg flow_dissector cgroup_device " +
    "cgroup_sock cgroup_sock_addr cgroup_sockopt cgroup_sysctl sock_ops ext netfilter sk_lookup sk_reuseport"
  ).split(" "),
);
const NET_ADMIN_ATTACH_TYPES = /^(cgroup_|sk_|xdp|tcx_|netkit_|netfilter$|flow_dissector$|lirc_)/;
const PERFMON_PROGRAMS = new Set(
  "kprobe tracepoint perf_event raw_tracepoint raw_tracepoint_writable tracing lsm struct_ops ext".split(" "),
);
const NET_ADMIN_MAPS = new Set("devmap devmap_hash xskmap sockmap sockhash".split(" "));
// These are refused under lockdown, or by kernels built without trampolines, with all capabilities present.
const TRAMPOLINE_PROGRAMS = new Set(["tracing", "lsm", "ext"]);

/**
 * Capabilities a call needs, besides the ones everybody has.
 *
 * @param syscall system call
 * @param needs what is known about it
 */
export function requiredCapabilities(syscall: string, needs: CallNeeds): readonly Capability[] {
  if (syscall === "perf_event_open") return ["CAP_PERFMON"];
  if (syscall === "mount" || syscall === "umount2") return ["CAP_SYS_ADMIN"];
  if (syscall === "netlink") return ["CAP_NET_ADMIN"];
  if (syscall !== "bpf") return [];
  const command = needs.command ?? "";
  if (command === "BPF_PROG_QUERY") return ["CAP_NET_ADMIN"];
  if (/_GET_(NEXT|FD_BY)_ID$/.test(command)) return ["CAP_SYS_ADMIN"];
  if (command === "BPF_PROG_LOAD" && needs.progType !== undefined) {
    const list: Capability[] = ["CAP_BPF"];
    if (PERFMON_PROGRAMS.has(needs.progType)) list.push("CAP_PERFMON");
    if (NET_ADMIN_PROGRAMS.has(needs.progType)) list.push("CAP_NET_ADMIN");
    return list;
  }
  if (needs.attachType !== undefined && NET_ADMIN_ATTACH_TYPES.test(needs.attachType)) return ["CAP_NET_ADMIN"];
  if (command === "BPF_MAP_CREATE" && needs.mapType !== undefined && NET_ADMIN_MAPS.has(needs.mapType)) {
    return ["CAP_BPF", "CAP_NET_ADMIN"];
  }
  return ["CAP_BPF"];
}

/**
 * What to do about a refused call, when that is certain: names the missing capability, sysctl or lockdown. Returns
 * nothing rather than a guess: wrong advice is worse than none.
 *
 * @param syscall system call
 * @param errno positive or negative error number
 * @param needs what is known about the call
 */
export function permissionHint(syscall: string, errno: number, needs: CallNeeds = {}): string | undefined {
  const name = errnoName(errno);
  if ((name !== "EPERM" && name !== "EACCES") || needs.hasLog === true) return undefined;
  // EACCES from bpf() is the verifier or a file mode, not a capability.
  if (name === "EACCES" && syscall === "bpf") return undefined;
  const have = effectiveCapabilities();
  if (have === undefined) return undefined;
  // CAP_SYS_ADMIN stands in for CAP_BPF and CAP_PERFMON; before 5.8 it was the only way.
  const implied = (capability: Capability): boolean =>
    have.has(capability) || (have.has("CAP_SYS_ADMIN") && (capability === "CAP_BPF" || capability === "CAP_PERFMON"));
  const missing = requiredCapabilities(syscall, needs).filter((capability) => !implied(capability));
  if (missing.length > 0) return `needs ${missing.join(" and ")}; run as root or grant ${missing.join(",")}`;
  if (syscall === "bpf" && needs.command === "BPF_PROG_LOAD" && TRAMPOLINE_PROGRAMS.has(needs.progType ?? "")) {
    const mode = lockdown();
    const cause = mode === undefined || mode === "none" ? "" : ` (kernel lockdown is "${mode}")`;
    return `this kernel refuses ${needs.progType} programs although every capability is there${cause}`;
  }
  if (syscall === "bpf" && needs.command === "BPF_MAP_CREATE" && kernelOlderThan(5, 11)) {
    return "before Linux 5.11 map memory counts against RLIMIT_MEMLOCK: raise it (ulimit -l)";
  }
  if (syscall === "perf_event_open") {
    const paranoid = readText("/proc/sys/kernel/perf_event_paranoid");
    if (paranoid !== undefined && Number(paranoid) > 2 && !have.has("CAP_PERFMON")) {
      return `kernel.perf_event_paranoid is ${paranoid}`;
    }
  }
  return undefined;
}
