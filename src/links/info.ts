import { decodeCString } from "../bytes/index.ts";
import { AttachType, CgroupIterOrder, LinkType, linkInfo, nameOfValue, PerfLinkType } from "../kernel-abi/index.ts";
import { decodeStruct, encodeStruct } from "../kernel-abi/layout.ts";
import { kernelBuffer } from "../syscall/call.ts";
import { objInfoInto } from "../syscall/commands.ts";
import type { Fd } from "../syscall/fd.ts";

interface Common<T> {
  /** Kind of link. */
  readonly type: T;
  /** Number of the link. */
  readonly id: number;
  /** Number of the program; 0 for struct_ops, which has a map. */
  readonly programId: number;
}

/** Where a perf event link is attached. */
export type PerfEventTarget =
  | {
      readonly kind: "kprobe" | "kretprobe";
      /** Function; empty when it was given by address. */
      readonly function: string;
      readonly offset: number;
      /** Address; 0 when the kernel hides it. */
      readonly address: bigint;
      /** Hits that were missed, as the program was running already. */
      readonly missed: bigint;
      readonly cookie: bigint;
    }
  | {
      readonly kind: "uprobe" | "uretprobe";
      readonly path: string;
      /** Offset in the file, bytes. */
      readonly offset: number;
      readonly referenceCounterOffset: bigint;
      readonly cookie: bigint;
    }
  | { readonly kind: "tracepoint"; readonly name: string; readonly cookie: bigint }
  | { readonly kind: "event"; readonly eventType: number; readonly config: bigint; readonly cookie: bigint }
  | { readonly kind: "unspec" };

/** What the kernel says of a link, by its kind. Fields that an older kernel does not know are 0, or empty. */
export type LinkInfo =
  | (Common<"raw_tracepoint"> & { readonly name: string; readonly cookie: bigint })
  | (Common<"tracing"> & {
      readonly attachType: AttachType | number;
      /** Number of the program, or of the BTF, that the target is in. */
      readonly targetObjectId: number;
      /** Number of the function's type there. */
      readonly targetBtfId: number;
      readonly cookie: bigint;
    })
  | (Common<"cgroup"> & { readonly cgroupId: bigint; readonly attachType: AttachType | number })
  | (Common<"iter"> & {
      /** Name of the iterator: `task`, `bpf_map_elem`. */
      readonly name: string;
      /** The map whose elements it walks; 0 for others. */
      readonly mapId: number;
      readonly cgroup?: { readonly id: bigint; readonly order: CgroupIterOrder | number } | undefined;
      readonly task?: { readonly tid: number; readonly pid: number } | undefined;
    })
  | (Common<"netns"> & { readonly netnsInode: number; readonly attachType: AttachType | number })
  | (Common<"xdp"> & { readonly ifindex: number })
  | (Common<"perf_event"> & { readonly target: PerfEventTarget })
  | (Common<"kprobe_multi"> & {
      readonly count: number;
      readonly isReturn: boolean;
      readonly missed: bigint;
      /** Addresses; zeros when the kernel hides them. */
      readonly addresses: readonly bigint[];
      readonly cookies: readonly bigint[];
    })
  | (Common<"struct_ops"> & { readonly mapId: number })
  | (Common<"netfilter"> & {
      /** Protocol family: `NFPROTO_*`. */
      readonly family: number;
      readonly hook: number;
      readonly priority: number;
      readonly flags: number;
    })
  | (Common<"tcx" | "netkit"> & { readonly ifindex: number; readonly attachType: AttachType | number })
  | (Common<"uprobe_multi"> & {
      readonly path: string;
      readonly pid: number;
      readonly isReturn: boolean;
      readonly count: number;
      readonly offsets: readonly bigint[];
      readonly referenceCounterOffsets: readonly bigint[];
      readonly cookies: readonly bigint[];
    })
  | (Common<"sockmap"> & { readonly mapId: number; readonly attachType: AttachType | number })
  | (Common<"tracing_multi"> & {
      readonly attachType: AttachType | number;
      readonly count: number;
      readonly btfObjectId: number;
      readonly ids: readonly number[];
      readonly addresses: readonly bigint[];
      readonly cookies: readonly bigint[];
    })
  | (Common<"unspec"> & {
      /** Number of a kind that this library does not know. */
      readonly kind: number;
    });

type Fields = { readonly [name in keyof (typeof linkInfo)["fields"]]?: number | bigint };
type Wanted = { readonly [name: string]: Uint8Array | number };

const TEXT_ROOM = 4096;

/**
 * Reads what the kernel says of a link.
 *
 * @param owner descriptor of a link
 * @throws SyscallError
 */
export function readLinkInfo(owner: Fd): LinkInfo {
  const first = query(owner, {});
  const number = first.type as number;
  const type = nameOfValue(LinkType, number);
  const common = { id: first.id as number, programId: first.prog_id as number };
  const u32 = (fields: Fields, name: keyof Fields): number => Number(fields[name] ?? 0);
  const u64 = (fields: Fields, name: keyof Fields): bigint => BigInt(fields[name] ?? 0);
  const attachType = (name: keyof Fields): AttachType | number =>
    nameOfValue(AttachType, u32(first, name)) ?? u32(first, name);
  /** Asks again, with room for one text. */
  const text = (pointer: keyof Fields, length: keyof Fields): string => {
    const room = kernelBuffer(TEXT_ROOM);
    query(owner, { [pointer]: room, [length]: room.length });
    return decodeCString(room);
  };
  /** Asks again, with room for arrays of as many numbers as the kernel said. */
  const arrays = (count: keyof Fields, ...pointers: readonly (keyof Fields)[]): bigint[][] => {
    const entries = u32(first, count);
    if (entries === 0) return pointers.map(() => []);
    const rooms = pointers.map(() => kernelBuffer(entries * 8));
    const wanted: Record<string, Uint8Array | number> = { [count]: entries };
    pointers.forEach((pointer, index) => {
      wanted[pointer] = rooms[index]!;
    });
    query(owner, wanted);
    return rooms.map((room) => Array.from(new BigUint64Array(room.buffer, 0, entries)));
  };

  switch (type) {
    case "raw_tracepoint":
      return {
        ...common,
        type,
        name: text("raw_tracepoint.tp_name", "raw_tracepoint.tp_name_len"),
        cookie: u64(first, "raw_tracepoint.cookie"),
      };
    case "tracing":
      return {
        ...common,
        type,
        attachType: attachType("tracing.attach_type"),
        targetObjectId: u32(first, "tracing.target_obj_id"),
        targetBtfId: u32(first, "tracing.target_btf_id"),
        cookie: u64(first, "tracing.cookie"),
      };
    case "cgroup":
      return {
        ...common,
        type,
        cgroupId: u64(first, "cgroup.cgroup_id"),
        attachType: attachType("cgroup.attach_type"),
      };
    case "iter": {
      const name = text("iter.target_name", "iter.target_name_len");
      const order = u32(first, "iter.cgroup.order");
      return {
        ...common,
        type,
        name,
        mapId: /map_elem$|^bpf_sk_storage_map$|^sockmap$/.test(name) ? u32(first, "iter.map.map_id") : 0,
        ...(name === "cgroup"
          ? {
              cgroup: {
                id: u64(first, "iter.cgroup.cgroup_id"),
                order: nameOfValue(CgroupIterOrder, order) ?? order,
              },
            }
          : {}),
        ...(/^task(_file|_vma)?$/.test(name)
          ? { task: { tid: u32(first, "iter.task.tid"), pid: u32(first, "iter.task.pid") } }
          : {}),
      };
    }
    case "netns":
      return {
        ...common,
        type,
        netnsInode: u32(first, "netns.netns_ino"),
        attachType: attachType("netns.attach_type"),
      };
    case "xdp":
      return { ...common, type, ifindex: u32(first, "xdp.ifindex") };
    case "perf_event":
      return { ...common, type, target: perfTarget(first, text) };
    case "kprobe_multi": {
      const [addresses, cookies] = arrays("kprobe_multi.count", "kprobe_multi.addrs", "kprobe_multi.cookies");
      return {
        ...common,
        type,
        count: u32(first, "kprobe_multi.count"),
        isReturn: (u32(first, "kprobe_multi.flags") & 1) !== 0,
        missed: u64(first, "kprobe_multi.missed"),
        addresses: addresses!,
        cookies: cookies!,
      };
    }
    case "struct_ops":
      return { ...common, type, mapId: u32(first, "struct_ops.map_id") };
    case "netfilter":
      return {
        ...common,
        type,
        family: u32(first, "netfilter.pf"),
        hook: u32(first, "netfilter.hooknum"),
        priority: u32(first, "netfilter.priority"),
        flags: u32(first, "netfilter.flags"),
      };
    case "tcx":
      return { ...common, type, ifindex: u32(first, "tcx.ifindex"), attachType: attachType("tcx.attach_type") };
    case "netkit":
      return { ...common, type, ifindex: u32(first, "netkit.ifindex"), attachType: attachType("netkit.attach_type") };
    case "uprobe_multi": {
      const [offsets, counters, cookies] = arrays(
        "uprobe_multi.count",
        "uprobe_multi.offsets",
        "uprobe_multi.ref_ctr_offsets",
        "uprobe_multi.cookies",
      );
      return {
        ...common,
        type,
        path: text("uprobe_multi.path", "uprobe_multi.path_size"),
        pid: u32(first, "uprobe_multi.pid"),
        isReturn: (u32(first, "uprobe_multi.flags") & 1) !== 0,
        count: u32(first, "uprobe_multi.count"),
        offsets: offsets!,
        referenceCounterOffsets: counters!,
        cookies: cookies!,
      };
    }
    case "sockmap":
      return {
        ...common,
        type,
        mapId: u32(first, "sockmap.map_id"),
        attachType: attachType("sockmap.attach_type"),
      };
    case "tracing_multi": {
      const [addresses, cookies] = arrays("tracing_multi.count", "tracing_multi.addrs", "tracing_multi.cookies");
      const count = u32(first, "tracing_multi.count");
      const ids = kernelBuffer(count * 4);
      query(owner, { "tracing_multi.count": count, "tracing_multi.ids": ids });
      return {
        ...common,
        type,
        attachType: attachType("tracing_multi.attach_type"),
        count,
        btfObjectId: u32(first, "tracing_multi.btf_obj_id"),
        ids: Array.from(new Uint32Array(ids.buffer, 0, count)),
        addresses: addresses!,
        cookies: cookies!,
      };
    }
    default:
      return { ...common, type: "unspec", kind: number };
  }
}

function perfTarget(fields: Fields, text: (pointer: keyof Fields, length: keyof Fields) => string): PerfEventTarget {
  const kind = nameOfValue(PerfLinkType, Number(fields["perf_event.type"] ?? 0)) ?? "unspec";
  const u64 = (name: keyof Fields): bigint => BigInt(fields[name] ?? 0);
  switch (kind) {
    case "kprobe":
    case "kretprobe":
      return {
        kind,
        function: text("perf_event.kprobe.func_name", "perf_event.kprobe.name_len"),
        offset: Number(u64("perf_event.kprobe.offset")),
        address: u64("perf_event.kprobe.addr"),
        missed: u64("perf_event.kprobe.missed"),
        cookie: u64("perf_event.kprobe.cookie"),
      };
    case "uprobe":
    case "uretprobe":
      return {
        kind,
        path: text("perf_event.uprobe.file_name", "perf_event.uprobe.name_len"),
        offset: Number(u64("perf_event.uprobe.offset")),
        referenceCounterOffset: u64("perf_event.uprobe.ref_ctr_offset"),
        cookie: u64("perf_event.uprobe.cookie"),
      };
    case "tracepoint":
      return {
        kind,
        name: text("perf_event.tracepoint.tp_name", "perf_event.tracepoint.name_len"),
        cookie: u64("perf_event.tracepoint.cookie"),
      };
    case "event":
      return {
        kind,
        eventType: Number(u64("perf_event.event.type")),
        config: u64("perf_event.event.config"),
        cookie: u64("perf_event.event.cookie"),
      };
    default:
      return { kind: "unspec" };
  }
}

function query(owner: Fd, wanted: Wanted): Fields {
  const plain: Record<string, number> = {};
  for (const [name, value] of Object.entries(wanted)) {
    plain[name] = typeof value === "number" ? value : owner.backend.addressOf(value);
  }
  const bytes = objInfoInto(owner, encodeStruct(linkInfo, plain), Object.values(wanted));
  return decodeStruct(linkInfo, bytes) as Fields;
}
