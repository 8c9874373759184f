import { BpfError } from "../errors.ts";
import { objectById, objectIds, objGet } from "../syscall/commands.ts";
import { isErrno } from "../syscall/errors.ts";
import { type Fd, objectKind } from "../syscall/fd.ts";
import { type BackendOption, backendOf } from "../syscall/select.ts";
import { type LinkInfo, readLinkInfo } from "./info.ts";
import { Link } from "./link.ts";

/**
 * Opens a link by its number.
 *
 * @param id number of a link
 * @param options shim
 * @returns an open link: closing it detaches only when nothing else holds the link
 * @throws SyscallError `ENOENT` when there is none, `EPERM` without CAP_SYS_ADMIN
 */
export function openLinkById(id: number, options: BackendOption = {}): Link {
  return adopt(objectById(backendOf(options), "link", id), `link ${id}`);
}

/**
 * Opens a link by its name in the BPF file system.
 *
 * @param path path of the pin
 * @param options shim
 * @returns an open link: the pin stays
 * @throws SyscallError `ENOENT`; BpfError `ERR_TYPE_MISMATCH` when something else is pinned there
 */
export function openPinnedLink(path: string, options: BackendOption = {}): Link {
  return adopt(objGet(backendOf(options), path), `pin ${path}`);
}

function adopt(owner: Fd, label: string): Link {
  try {
    // The kernel tells of programs and maps in the same way, so ask first what it is.
    const kind = objectKind(owner);
    if (kind !== undefined && kind !== "link") {
      throw new BpfError("ERR_TYPE_MISMATCH", `Cannot use ${label} as a link: it is a ${kind}`);
    }
    const info = readLinkInfo(owner);
    return new Link(describeLink(info), { type: info.type, fd: owner });
  } catch (error) {
    owner.close();
    throw error;
  }
}

/**
 * Walks all links of the system.
 *
 * @param options shim
 * @returns what the kernel says of each; links that vanish meanwhile are passed over
 * @throws SyscallError `EPERM` without CAP_SYS_ADMIN
 */
export function* listLinks(options: BackendOption = {}): Generator<LinkInfo, void> {
  const backend = backendOf(options);
  for (const id of objectIds(backend, "link")) {
    let owner: Fd;
    try {
      owner = objectById(backend, "link", id);
    } catch (error) {
      if (isErrno(error, "ENOENT")) continue;
      throw error;
    }
    try {
      yield readLinkInfo(owner);
    } finally {
      owner.close();
    }
  }
}

/**
 * What is attached where, in one line.
 *
 * @param info what the kernel says of a link
 */
export function describeLink(info: LinkInfo): string {
  switch (info.type) {
    case "raw_tracepoint":
      return `raw tracepoint ${info.name}`;
    case "tracing":
      return `${info.attachType} of BTF type ${info.targetBtfId}`;
    case "cgroup":
      return `${info.attachType} of cgroup ${info.cgroupId}`;
    case "iter":
      return `iterator ${info.name}`;
    case "netns":
      return `${info.attachType} of network namespace ${info.netnsInode}`;
    case "xdp":
      return `xdp of interface ${info.ifindex}`;
    case "perf_event": {
      const { target } = info;
      if (target.kind === "tracepoint") return `tracepoint ${target.name}`;
      if (target.kind === "event") return `perf event ${target.eventType}:${target.config}`;
      if (target.kind === "uprobe" || target.kind === "uretprobe") {
        return `${target.kind} ${target.path}:0x${target.offset.toString(16)}`;
      }
      if (target.kind === "kprobe" || target.kind === "kretprobe") {
        return `${target.kind} ${target.function || `0x${target.address.toString(16)}`}+${target.offset}`;
      }
      return "perf event";
    }
    case "kprobe_multi":
      return `${info.isReturn ? "kretprobe" : "kprobe"}.multi of ${info.count} functions`;
    case "struct_ops":
      return `struct_ops map ${info.mapId}`;
    case "netfilter":
      return `netfilter family ${info.family} hook ${info.hook} priority ${info.priority}`;
    case "tcx":
    case "netkit":
      return `${info.attachType} of interface ${info.ifindex}`;
    case "uprobe_multi":
      return `${info.isReturn ? "uretprobe" : "uprobe"}.multi of ${info.count} places in ${info.path}`;
    case "sockmap":
      return `${info.attachType} of map ${info.mapId}`;
    case "tracing_multi":
      return `${info.attachType} of ${info.count} functions`;
    default:
      return `link of kind ${info.kind}`;
  }
}
