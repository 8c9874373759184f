// Browser-safe.

// What kernel BTF cannot tell: these are macros in the kernel's headers. A test compares them with the headers of the
// machine it runs on.

/** Unaligned access is refused even where the machine allows it. */
export const BPF_F_STRICT_ALIGNMENT = 1;

/** Unaligned access is allowed even where the machine does not. */
export const BPF_F_ANY_ALIGNMENT = 2;

/** For tests of the verifier: upper halves of registers are random. */
export const BPF_F_TEST_RND_HI32 = 4;

/** For tests of the verifier: checkpoints are frequent. */
export const BPF_F_TEST_STATE_FREQ = 8;

/** The program may sleep (Linux 5.10). */
export const BPF_F_SLEEPABLE = 0x10;

/** The XDP program handles packets in several buffers (Linux 5.18). */
export const BPF_F_XDP_HAS_FRAGS = 0x20;

/** The XDP program is bound to a device without being offloaded to it (Linux 6.3). */
export const BPF_F_XDP_DEV_BOUND_ONLY = 0x40;

/** For tests of the verifier: wrong register bounds are an error (Linux 6.8). */
export const BPF_F_TEST_REG_INVARIANTS = 0x80;

/** A descendant cgroup may replace the program. */
export const BPF_F_ALLOW_OVERRIDE = 1;

/** Descendant cgroups may add programs, which all run. */
export const BPF_F_ALLOW_MULTI = 2;

/** Replaces the program `replace_bpf_fd`. */
export const BPF_F_REPLACE = 4;

/** Goes before `relative_fd` (Linux 6.6). */
export const BPF_F_BEFORE = 8;

/** Goes behind `relative_fd` (Linux 6.6). */
export const BPF_F_AFTER = 0x10;

/** `relative_id` is an id and not a descriptor (Linux 6.6). */
export const BPF_F_ID = 0x20;

/** Runs before the programs of descendant cgroups (Linux 6.15). */
export const BPF_F_PREORDER = 0x40;

/** Asks for the programs that run, those of ancestors included. */
export const BPF_F_QUERY_EFFECTIVE = 1;

/** Packets are put together again before the program sees them (Linux 6.6). */
export const BPF_F_NETFILTER_IP_DEFRAG = 1;

/** Runs on the processor `cpu` (Linux 5.10). */
export const BPF_F_TEST_RUN_ON_CPU = 1;

/** Sends the packets (Linux 5.18). */
export const BPF_F_TEST_XDP_LIVE_FRAMES = 2;

/** Sets the checksum of the packet (Linux 6.13). */
export const BPF_F_TEST_SKB_CHECKSUM_COMPLETE = 4;

/** `ld_imm64`: the descriptor of a map. */
export const BPF_PSEUDO_MAP_FD = 1;

/** `ld_imm64`: the descriptor of a map, and an offset into its value. */
export const BPF_PSEUDO_MAP_VALUE = 2;

/** `ld_imm64`: the BTF id of a kernel variable. */
export const BPF_PSEUDO_BTF_ID = 3;

/** `ld_imm64`: a function of the program. */
export const BPF_PSEUDO_FUNC = 4;

/** `ld_imm64`: an index into `fd_array`. */
export const BPF_PSEUDO_MAP_IDX = 5;

/** `ld_imm64`: an index into `fd_array`, and an offset into the value. */
export const BPF_PSEUDO_MAP_IDX_VALUE = 6;

/** Call: a function of the program. */
export const BPF_PSEUDO_CALL = 1;

/** Call: the BTF id of a kernel function. */
export const BPF_PSEUDO_KFUNC_CALL = 2;

/** Room for a name of an object, its NUL included. */
export const BPF_OBJ_NAME_LEN = 16;

/** Bytes of a program tag. */
export const BPF_TAG_SIZE = 8;

/** Bytes of a build id. */
export const BPF_BUILD_ID_SIZE = 20;

/** The group leader is used for output only. */
export const PERF_FLAG_FD_NO_GROUP = 1;

/** Output goes to the group leader's buffer; broken since Linux 2.6.35. */
export const PERF_FLAG_FD_OUTPUT = 2;

/** `pid` is the descriptor of a cgroup. */
export const PERF_FLAG_PID_CGROUP = 4;

/** The descriptor does not survive `execve`. */
export const PERF_FLAG_FD_CLOEXEC = 8;

/** Starts counting. */
export const PERF_EVENT_IOC_ENABLE = 0x2400;

/** Stops counting. */
export const PERF_EVENT_IOC_DISABLE = 0x2401;

/** Lets so many more overflows happen. */
export const PERF_EVENT_IOC_REFRESH = 0x2402;

/** Sets the count to zero. */
export const PERF_EVENT_IOC_RESET = 0x2403;

/** Sets the sampling period. */
export const PERF_EVENT_IOC_PERIOD = 0x40082404;

/** Sends records to another event's buffer. */
export const PERF_EVENT_IOC_SET_OUTPUT = 0x2405;

/** Sets a filter expression. */
export const PERF_EVENT_IOC_SET_FILTER = 0x40082406;

/** Asks for the event's id. */
export const PERF_EVENT_IOC_ID = 0x80082407;

/** Attaches a program. */
export const PERF_EVENT_IOC_SET_BPF = 0x40042408;

/** Pauses the buffer. */
export const PERF_EVENT_IOC_PAUSE_OUTPUT = 0x40042409;

/** Asks for the programs attached. */
export const PERF_EVENT_IOC_QUERY_BPF = 0xc008240a;

/** Changes the attributes. */
export const PERF_EVENT_IOC_MODIFY_ATTRIBUTES = 0x4008240b;

/** Goes on to the next filter. */
export const TC_ACT_UNSPEC = -1;

/** Lets the packet pass. */
export const TC_ACT_OK = 0;

/** Starts classification again. */
export const TC_ACT_RECLASSIFY = 1;

/** Drops the packet. */
export const TC_ACT_SHOT = 2;

/** Goes on to the next action. */
export const TC_ACT_PIPE = 3;

/** The packet was taken. */
export const TC_ACT_STOLEN = 4;

/** The packet was queued. */
export const TC_ACT_QUEUED = 5;

/** Repeats the action. */
export const TC_ACT_REPEAT = 6;

/** The packet goes where a helper has said. */
export const TC_ACT_REDIRECT = 7;

/** The packet goes from the hardware to the processor. */
export const TC_ACT_TRAP = 8;

/** Parent of a root qdisc. */
export const TC_H_ROOT = 0xffffffff;

/** Parent of the ingress qdisc. */
export const TC_H_INGRESS = 0xfffffff1;

/** Parent of the clsact qdisc. */
export const TC_H_CLSACT = 0xfffffff1;

/** Minor number of the ingress side of clsact. */
export const TC_H_MIN_INGRESS = 0xfff2;

/** Minor number of the egress side of clsact. */
export const TC_H_MIN_EGRESS = 0xfff3;

/** The program's return value is the action. */
export const TCA_BPF_FLAG_ACT_DIRECT = 1;

/** Fails when a program is attached already. */
export const XDP_FLAGS_UPDATE_IF_NOEXIST = 1;

/** Generic mode. */
export const XDP_FLAGS_SKB_MODE = 2;

/** In the driver. */
export const XDP_FLAGS_DRV_MODE = 4;

/** In the hardware. */
export const XDP_FLAGS_HW_MODE = 8;

/** Replaces `IFLA_XDP_EXPECTED_FD`. */
export const XDP_FLAGS_REPLACE = 0x10;

/** A request. */
export const NLM_F_REQUEST = 1;

/** One of several messages, ended by `NLMSG_DONE`. */
export const NLM_F_MULTI = 2;

/** Asks for an acknowledgement. */
export const NLM_F_ACK = 4;

/** Asks for the notification. */
export const NLM_F_ECHO = 8;

/** The dump is inconsistent. */
export const NLM_F_DUMP_INTR = 0x10;

/** The whole table. */
export const NLM_F_ROOT = 0x100;

/** All entries that match. */
export const NLM_F_MATCH = 0x200;

/** All entries. */
export const NLM_F_DUMP = 0x300;

/** Replaces an entry. */
export const NLM_F_REPLACE = 0x100;

/** Fails when the entry exists. */
export const NLM_F_EXCL = 0x200;

/** Creates the entry. */
export const NLM_F_CREATE = 0x400;

/** Adds at the end. */
export const NLM_F_APPEND = 0x800;

/** The request was not returned with the error. */
export const NLM_F_CAPPED = 0x100;

/** Attributes follow the acknowledgement. */
export const NLM_F_ACK_TLVS = 0x200;

/** Nothing. */
export const NLMSG_NOOP = 1;

/** An error, or an acknowledgement when it is 0. */
export const NLMSG_ERROR = 2;

/** End of several messages. */
export const NLMSG_DONE = 3;

/** Data was lost. */
export const NLMSG_OVERRUN = 4;

/** Protocol: interfaces and traffic control. */
export const NETLINK_ROUTE = 0;

/** Socket level of netlink options. */
export const SOL_NETLINK = 270;

/** Option: do not return the request with an error. */
export const NETLINK_CAP_ACK = 10;

/** Option: say in words what is wrong. */
export const NETLINK_EXT_ACK = 11;

/** The attribute holds attributes. */
export const NLA_F_NESTED = 0x8000;

/** Takes the socket filter off. */
export const SO_DETACH_BPF = 27;

/** Attaches a `socket_filter` program. */
export const SO_ATTACH_BPF = 50;

/** Attaches a `socket_filter` or `sk_reuseport` program to a group of sockets. */
export const SO_ATTACH_REUSEPORT_EBPF = 52;

/** Takes that program off. */
export const SO_DETACH_REUSEPORT_BPF = 68;
