/** An enum that becomes a table with lower-case names (or the kernel's own spelling). */
export interface TableSource {
  readonly file: string;
  readonly name: string;
  readonly enum: string;
  readonly prefix: string;
  readonly doc: string;
  readonly without?: RegExp;
  readonly kernelSpelling?: boolean;
}

/** A struct that becomes a layout. */
export interface StructSource {
  readonly name: string;
  readonly struct: string;
  readonly doc: string;
  /** Fields of 64 bits that hold a user-space address: BTF does not tell them from numbers. */
  readonly pointers?: RegExp;
}

const types = (name: string, enumName: string, prefix: string, doc: string, without?: RegExp): TableSource => ({
  file: "types",
  name,
  enum: enumName,
  prefix,
  doc,
  ...(without === undefined ? {} : { without }),
});

export const TABLES: readonly TableSource[] = [
  {
    file: "types",
    name: "BpfCommand",
    enum: "bpf_cmd",
    prefix: "BPF_",
    doc: "Commands of `bpf(2)`",
    kernelSpelling: true,
    // Another name of BPF_PROG_TEST_RUN, and a flag that is no command.
    without: /^BPF_(PROG_RUN|COMMON_ATTRS)$/,
  },
  types("MapType", "bpf_map_type", "BPF_MAP_TYPE_", "Map types", /_DEPRECATED$/),
  types("ProgType", "bpf_prog_type", "BPF_PROG_TYPE_", "Program types"),
  types("AttachType", "bpf_attach_type", "BPF_", "Attach types"),
  types("LinkType", "bpf_link_type", "BPF_LINK_TYPE_", "Link types"),
  types("StatsType", "bpf_stats_type", "BPF_STATS_", "What `BPF_ENABLE_STATS` counts"),
  types("PerfLinkType", "bpf_perf_event_type", "BPF_PERF_EVENT_", "What a perf event link is attached to"),
  types("TaskFdType", "bpf_task_fd_type", "BPF_FD_TYPE_", "What `BPF_TASK_FD_QUERY` found"),
  types("StreamId", "bpf_stream_id", "BPF_", "Streams of a program (Linux 6.17)"),
  types("CgroupIterOrder", "bpf_cgroup_iter_order", "BPF_CGROUP_ITER_", "Order of a cgroup iterator"),
  types("CoreReloKind", "bpf_core_relo_kind", "BPF_CORE_", "Kinds of CO-RE relocations"),
  types(
    "StackBuildIdStatus",
    "bpf_stack_build_id_status",
    "BPF_STACK_BUILD_ID_",
    "What an entry of a stack map with build ids holds",
  ),
  types("XdpAction", "xdp_action", "XDP_", "Return values of XDP programs"),
  types("TcxAction", "tcx_action_base", "TCX_", "Return values of tcx programs"),
  types("NetkitAction", "netkit_action", "NETKIT_", "Return values of netkit programs"),
  types("SkAction", "sk_action", "SK_", "Return values of `sk_skb`, `sk_msg` and `sk_lookup` programs"),
  types("LwtReturn", "bpf_ret_code", "BPF_", "Return values of lightweight tunnel programs"),
];

export const FLAG_FILES: readonly { file: string; wanted: RegExp; unwanted: RegExp }[] = [
  {
    file: "flags",
    wanted:
      /^BPF_(F_|ANY$|NOEXIST$|EXIST$|COMMON_ATTRS$|RB_|RINGBUF_|CSUM_LEVEL|SK_LOOKUP_F|SKB_|TCP_|SOCK_OPS_|LOAD_HDR_OPT|WRITE_HDR|FLOW_DISSECTOR_F|LOCAL_STORAGE_GET|SK_STORAGE_GET|FIB_|MTU_|ADJ_ROOM|HDR_START|LWT_ENCAP|TASK_ITER_|DEVCG_|REG_[0-9]|XDP_MD_)|^BTF_F_/,
    unwanted: /MAX|^BPF_RB_(NODE|ROOT)$|^BPF_F_ADJ_ROOM_FIXED_GSO_UNUSED$/,
  },
  {
    file: "perf",
    wanted: /^PERF_(TYPE|COUNT|SAMPLE|FORMAT|RECORD|EVENT_IOC|IOC_FLAG|CONTEXT|BR|BPF_EVENT|TXN|MEM)_/,
    unwanted: /_MAX$|^PERF_TYPE_MAX/,
  },
  {
    file: "netlink",
    wanted:
      /^(RTM_(NEW|DEL|GET|SET)(LINK|QDISC|TFILTER|CHAIN|ROUTE)|LWT_BPF_\w+|LWTUNNEL_ENCAP_BPF|RTA_(DST|OIF|GATEWAY|PRIORITY|TABLE|ENCAP|ENCAP_TYPE)|NLMSGERR_ATTR_\w+|TCA_(BPF|ACT_BPF)_\w+|IFLA_XDP_\w+|XDP_ATTACHED_\w+|TCA_(UNSPEC|KIND|OPTIONS|STATS|XSTATS|RATE|FCNT|STATS2|STAB|PAD|DUMP_INVISIBLE|CHAIN|HW_OFFLOAD|INGRESS_BLOCK|EGRESS_BLOCK|DUMP_FLAGS|EXT_WARN_MSG)|IFLA_(IFNAME|MTU|LINK|MASTER|LINKINFO|XDP|NET_NS_FD|NET_NS_PID|GROUP|ALT_IFNAME|INFO_KIND|INFO_DATA|PARENT_DEV_NAME|NETKIT_\w+))$/,
    unwanted: /^__|_MAX$/,
  },
];

const INFO_POINTERS =
  /^(jited_prog_insns|xlated_prog_insns|map_ids|jited_ksyms|jited_func_lens|func_info|line_info|jited_line_info|prog_tags|btf|name|hash|tp_name|target_name|addrs|cookies|path|offsets|ref_ctr_offsets|file_name|func_name|ids)$/;

const struct = (name: string, kernelName: string, doc: string, pointers?: RegExp): StructSource => ({
  name,
  struct: kernelName,
  doc,
  ...(pointers === undefined ? {} : { pointers }),
});

export const STRUCT_FILES: Readonly<Record<string, readonly StructSource[]>> = {
  info: [
    struct("progInfo", "bpf_prog_info", "What `BPF_OBJ_GET_INFO_BY_FD` says of a program.", INFO_POINTERS),
    struct("mapInfo", "bpf_map_info", "What `BPF_OBJ_GET_INFO_BY_FD` says of a map.", INFO_POINTERS),
    struct("btfInfo", "bpf_btf_info", "What `BPF_OBJ_GET_INFO_BY_FD` says of a BTF.", INFO_POINTERS),
    struct("linkInfo", "bpf_link_info", "What `BPF_OBJ_GET_INFO_BY_FD` says of a link.", INFO_POINTERS),
    struct("tokenInfo", "bpf_token_info", "What `BPF_OBJ_GET_INFO_BY_FD` says of a token (Linux 6.17)."),
  ],
  structs: [
    struct(
      "commonAttr",
      "bpf_common_attr",
      "Log of commands other than `BPF_PROG_LOAD` (`BPF_COMMON_ATTRS`, Linux 7.1).",
      /^log_buf$/,
    ),
    struct("bpfInsn", "bpf_insn", "One instruction slot."),
    struct("funcInfo", "bpf_func_info", "One function of a program, as `BPF_PROG_LOAD` takes it."),
    struct("lineInfo", "bpf_line_info", "One source line of a program, as `BPF_PROG_LOAD` takes it."),
    struct("coreRelo", "bpf_core_relo", "One CO-RE relocation, as `BPF_PROG_LOAD` takes it."),
    struct("btfHeader", "btf_header", "Start of BTF."),
    struct("iterLinkInfo", "bpf_iter_link_info", "What an iterator goes through: `iter_info` of `BPF_LINK_CREATE`."),
    struct("lpmTrieKey", "bpf_lpm_trie_key_hdr", "Start of a key of an `lpm_trie` map."),
    struct("stackBuildId", "bpf_stack_build_id", "One frame of a stack map with build ids."),
    struct("pidnsInfo", "bpf_pidns_info", "Result of the helper `get_ns_current_pid_tgid`."),
    struct("devmapValue", "bpf_devmap_val", "Value of a `devmap`."),
    struct("cpumapValue", "bpf_cpumap_val", "Value of a `cpumap`."),
    struct("perfEventAttr", "perf_event_attr", "Argument of `perf_event_open`.", /^(kprobe_func|uprobe_path)$/),
    struct("perfEventMmapPage", "perf_event_mmap_page", "First page of a perf ring buffer."),
    struct("perfEventHeader", "perf_event_header", "Start of a record in a perf ring buffer."),
    struct("nlMsgHdr", "nlmsghdr", "Start of a netlink message."),
    struct("nlAttr", "nlattr", "Start of a netlink attribute."),
    struct("ifInfoMsg", "ifinfomsg", "Message about a network interface."),
    struct("tcMsg", "tcmsg", "Message about traffic control."),
    struct("rtMsg", "rtmsg", "Message about a route."),
    struct("sockaddrNl", "sockaddr_nl", "Netlink address."),
  ],
  contexts: [
    struct("xdpMd", "xdp_md", "Context of XDP programs."),
    struct("skBuff", "__sk_buff", "Context of socket filter, tc, cgroup_skb and other programs that see a packet."),
    struct("skMsgMd", "sk_msg_md", "Context of `sk_msg` programs."),
    struct("skReuseportMd", "sk_reuseport_md", "Context of `sk_reuseport` programs."),
    struct("bpfSock", "bpf_sock", "Context of `cgroup_sock` programs, and what helpers return for a socket."),
    struct("bpfSockAddr", "bpf_sock_addr", "Context of `cgroup_sock_addr` programs."),
    struct("bpfSockOps", "bpf_sock_ops", "Context of `sock_ops` programs."),
    struct("bpfSkLookup", "bpf_sk_lookup", "Context of `sk_lookup` programs."),
    struct("bpfSysctl", "bpf_sysctl", "Context of `cgroup_sysctl` programs."),
    struct("bpfSockopt", "bpf_sockopt", "Context of `cgroup_sockopt` programs."),
    struct("bpfCgroupDevCtx", "bpf_cgroup_dev_ctx", "Context of `cgroup_device` programs."),
    struct("bpfFlowKeys", "bpf_flow_keys", "What a flow dissector fills in."),
    struct("bpfFibLookup", "bpf_fib_lookup", "Argument of the helper `fib_lookup`."),
    struct("bpfRedirNeigh", "bpf_redir_neigh", "Argument of the helper `redirect_neigh`."),
    struct("bpfTunnelKey", "bpf_tunnel_key", "Argument of the helpers for tunnel keys."),
    struct("bpfXfrmState", "bpf_xfrm_state", "Result of the helper `skb_get_xfrm_state`."),
    struct("bpfTcpSock", "bpf_tcp_sock", "What helpers return for a TCP socket."),
  ],
};
