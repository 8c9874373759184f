// Browser-safe.

import {
  bpfCgroupDevCtx,
  bpfSkLookup,
  bpfSock,
  bpfSockAddr,
  bpfSockOps,
  bpfSockopt,
  bpfSysctl,
  type ProgType,
  type StructLayout,
  skBuff,
  skMsgMd,
  skReuseportMd,
  xdpMd,
} from "../../kernel-abi/index.ts";

/** What a program may do with the fields of its context. */
export interface ContextShape {
  readonly layout: StructLayout;
  /** Fields that it may write. */
  readonly writable: readonly string[];
  /** Fields that it may not even read. */
  readonly hidden: readonly string[];
}

const SOCKET_FIELDS = [
  "family",
  "remote_ip4",
  "local_ip4",
  "remote_ip6",
  "local_ip6",
  "remote_port",
  "local_port",
] as const;

const LWT: ContextShape = {
  layout: skBuff,
  writable: ["mark", "priority", "cb"],
  hidden: [...SOCKET_FIELDS, "tc_classid", "data_meta", "tstamp", "wire_len", "hwtstamp"],
};
const TC: ContextShape = {
  layout: skBuff,
  writable: ["mark", "tc_index", "priority", "tc_classid", "cb", "tstamp", "queue_mapping"],
  hidden: SOCKET_FIELDS,
};

/** Contexts that are a struct with a layout of its own; all other types get theirs as bytes. */
const SHAPES: { readonly [type in ProgType]?: ContextShape } = {
  xdp: { layout: xdpMd, writable: [], hidden: [] },
  socket_filter: {
    layout: skBuff,
    writable: ["cb"],
    hidden: [...SOCKET_FIELDS, "data", "data_end", "data_meta", "tc_classid", "tstamp", "wire_len", "hwtstamp"],
  },
  sched_cls: TC,
  sched_act: TC,
  cgroup_skb: {
    layout: skBuff,
    writable: ["mark", "priority", "cb", "tstamp"],
    hidden: ["tc_classid", "data_meta", "wire_len"],
  },
  lwt_in: LWT,
  lwt_out: LWT,
  lwt_xmit: LWT,
  lwt_seg6local: LWT,
  sk_skb: {
    layout: skBuff,
    writable: ["tc_index", "priority"],
    hidden: ["mark", "tc_classid", "data_meta", "tstamp", "wire_len", "hwtstamp"],
  },
  sk_msg: { layout: skMsgMd, writable: [], hidden: [] },
  sk_reuseport: { layout: skReuseportMd, writable: [], hidden: [] },
  cgroup_sock: { layout: bpfSock, writable: ["bound_dev_if", "mark", "priority"], hidden: [] },
  cgroup_sock_addr: {
    layout: bpfSockAddr,
    writable: ["user_ip4", "user_ip6", "user_port", "msg_src_ip4", "msg_src_ip6"],
    hidden: [],
  },
  sock_ops: { layout: bpfSockOps, writable: ["reply", "replylong", "sk_txhash"], hidden: [] },
  sk_lookup: { layout: bpfSkLookup, writable: [], hidden: [] },
  cgroup_sysctl: { layout: bpfSysctl, writable: ["file_pos"], hidden: [] },
  cgroup_sockopt: { layout: bpfSockopt, writable: ["level", "optname", "optlen", "retval"], hidden: [] },
  cgroup_device: { layout: bpfCgroupDevCtx, writable: [], hidden: [] },
};

/** The context of a program type; `undefined` where it is bytes. */
export function contextShape(type: ProgType): ContextShape | undefined {
  return SHAPES[type];
}

/** Types whose context is bytes that the program may write: user space's own, and those of writable tracepoints. */
export const WRITABLE_BYTES: ReadonlySet<ProgType> = /* @__PURE__ */ new Set<ProgType>(["syscall"]);
