import { AttachType, linkCreateAttr, type ProgType, progAttachAttr } from "../kernel-abi/index.ts";
import type { SyscallBackend } from "./backend.ts";
import { rawBpf } from "./bpf.ts";
import { keepAlive, kernelBuffer } from "./call.ts";
import { errnoName } from "./errno.ts";
import { closeDescriptor } from "./fd.ts";
import { kernelString } from "./mount.ts";
import { isInconclusive, tryMap, tryProgram } from "./probe-types.ts";

/** No descriptor, and no interface, has this number. */
const NOBODY = 0x7fffffff;
/** Number of the loopback interface in every network namespace. */
const LOOPBACK = 1;
const XDP_FLAGS_DRV_MODE = 4;

/**
 * How the kernel is asked about an attach type: `load` - it checks the type when a program is loaded; `target` - it
 * looks at the target of a traced program after its attach type; `attach` and `link` - given a target that cannot be,
 * one that knows the attach type complains about the target.
 */
type Way =
  | readonly ["load" | "target" | "attach" | "link", ProgType]
  | readonly ["xdp" | "devmap" | "cpumap" | "struct_ops" | "kprobe_multi" | "uprobe_multi"];

function wayOf(type: AttachType): Way {
  if (/^cgroup_(inet4|inet6|udp4|udp6|unix)_/.test(type)) {
    return /post_bind/.test(type) ? ["load", "cgroup_sock"] : ["load", "cgroup_sock_addr"];
  }
  switch (type) {
    case "cgroup_inet_ingress":
    case "cgroup_inet_egress":
      return ["load", "cgroup_skb"];
    case "cgroup_inet_sock_create":
    case "cgroup_inet_sock_release":
      return ["load", "cgroup_sock"];
    case "cgroup_getsockopt":
    case "cgroup_setsockopt":
      return ["load", "cgroup_sockopt"];
    case "sk_reuseport_select":
    case "sk_reuseport_select_or_migrate":
      return ["load", "sk_reuseport"];
    case "netfilter":
      return ["load", "netfilter"];
    case "cgroup_sock_ops":
      return ["attach", "sock_ops"];
    case "cgroup_device":
      return ["attach", "cgroup_device"];
    case "cgroup_sysctl":
      return ["attach", "cgroup_sysctl"];
    case "sk_skb_stream_parser":
    case "sk_skb_stream_verdict":
    case "sk_skb_verdict":
      return ["attach", "sk_skb"];
    case "sk_msg_verdict":
      return ["attach", "sk_msg"];
    case "lirc_mode2":
      return ["attach", "lirc_mode2"];
    case "tcx_ingress":
    case "tcx_egress":
    case "netkit_primary":
    case "netkit_peer":
      return ["attach", "sched_cls"];
    case "flow_dissector":
      return ["link", "flow_dissector"];
    case "sk_lookup":
      return ["link", "sk_lookup"];
    case "xdp":
      return ["xdp"];
    case "perf_event":
      return ["link", "tracepoint"];
    case "xdp_devmap":
      return ["devmap"];
    case "xdp_cpumap":
      return ["cpumap"];
    case "struct_ops":
      return ["struct_ops"];
    case "trace_kprobe_multi":
    case "trace_kprobe_session":
      return ["kprobe_multi"];
    case "trace_uprobe_multi":
    case "trace_uprobe_session":
      return ["uprobe_multi"];
    case "lsm_mac":
    case "lsm_cgroup":
      return ["target", "lsm"];
    default:
      return ["target", "tracing"];
  }
}

/** Name of an error, or empty; what was made after all is closed again. */
function failure(backend: SyscallBackend, result: number): string {
  if (result < 0) return errnoName(result);
  if (result > 2) closeDescriptor(backend, result);
  return "";
}

/** @internal Whether the kernel has an attach type. */
export function probeAttachType(backend: SyscallBackend, type: AttachType): boolean | undefined {
  const way = wayOf(type);
  const number = AttachType[type];
  const expected = { expected_attach_type: number };
  /** What is wrong is the target, so the rest is known. */
  const judge = (error: string): boolean | undefined => {
    if (error === "" || error === "EBADF" || error === "ENODEV" || error === "ESRCH" || error === "ENOENT") return true;
    return isInconclusive(error) ? undefined : false;
  };
  switch (way[0]) {
    case "devmap":
    case "cpumap": {
      // Their values take a program since these attach types are there.
      const result = tryMap(backend, way[0], { value_size: 8 });
      return result >= 0 ? true : judge(errnoName(result));
    }
    case "xdp": {
      // An interface that is not there is EINVAL too. The loopback interface is there, and has no driver to run XDP in.
      const { error } = tryProgram(backend, "xdp", undefined, expected, (fd) => {
        const attr = { prog_fd: fd, target_ifindex: LOOPBACK, attach_type: number, flags: XDP_FLAGS_DRV_MODE };
        return failure(backend, rawBpf(backend, "BPF_LINK_CREATE", linkCreateAttr, attr).result);
      });
      return error === "EOPNOTSUPP" || error === "EEXIST" || error === "EBUSY" ? true : judge(error);
    }
    case "struct_ops": {
      const attr = { map_fd: NOBODY, attach_type: number };
      return judge(failure(backend, rawBpf(backend, "BPF_LINK_CREATE", linkCreateAttr, attr).result));
    }
    case "load": {
      const { error, log } = tryProgram(backend, way[1], undefined, expected);
      if (error === "") return true;
      // The verifier came so far as to look at the program: its attach type was taken.
      if (log !== "") return true;
      return isInconclusive(error) ? undefined : false;
    }
    case "target": {
      // A program for many functions is loaded without one.
      const many = type.endsWith("_multi");
      const { error, log } = tryProgram(backend, way[1], undefined, { ...expected, attach_btf_id: many ? 0 : 1 });
      if (error === "" || /attach_btf_id 1 is not/.test(log)) return true;
      return isInconclusive(error) && log === "" ? undefined : false;
    }
    case "attach": {
      const { error } = tryProgram(backend, way[1], undefined, undefined, (fd) => {
        const interfaces = /^(tcx|netkit)_/.test(type);
        const attr = { attach_bpf_fd: fd, attach_type: number, [interfaces ? "target_ifindex" : "target_fd"]: NOBODY };
        return failure(backend, rawBpf(backend, "BPF_PROG_ATTACH", progAttachAttr, attr).result);
      });
      return judge(error);
    }
    case "link": {
      const { error } = tryProgram(backend, way[1], undefined, type === "sk_lookup" ? expected : {}, (fd) => {
        const attr = { prog_fd: fd, target_fd: NOBODY, attach_type: number };
        return failure(backend, rawBpf(backend, "BPF_LINK_CREATE", linkCreateAttr, attr).result);
      });
      return judge(error);
    }
    case "kprobe_multi": {
      const symbol = kernelString("rawbpf_no_such_function");
      const symbols = kernelBuffer(8);
      new DataView(symbols.buffer).setBigUint64(0, BigInt(backend.addressOf(symbol)), true);
      const { error } = tryProgram(backend, "kprobe", undefined, expected, (fd) => {
        const { result } = rawBpf(backend, "BPF_LINK_CREATE", linkCreateAttr, {
          prog_fd: fd,
          attach_type: number,
          "kprobe_multi.cnt": 1,
          "kprobe_multi.syms": symbols,
        });
        return failure(backend, result);
      });
      keepAlive(symbol);
      return judge(error);
    }
    case "uprobe_multi": {
      // A folder has no functions: EBADF.
      const { error } = tryProgram(backend, "kprobe", undefined, expected, (fd) => {
        const { result } = rawBpf(backend, "BPF_LINK_CREATE", linkCreateAttr, {
          prog_fd: fd,
          attach_type: number,
          "uprobe_multi.path": "/",
          "uprobe_multi.offsets": kernelBuffer(8),
          "uprobe_multi.cnt": 1,
        });
        return failure(backend, result);
      });
      return judge(error);
    }
    default: {
      const never: never = way[0];
      return never;
    }
  }
}
