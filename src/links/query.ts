import {
  AttachType,
  BPF_F_ALLOW_MULTI,
  BPF_F_ALLOW_OVERRIDE,
  BPF_F_QUERY_EFFECTIVE,
  progQueryAttr,
} from "../kernel-abi/index.ts";
import type { AttrValues } from "../syscall/attr.ts";
import type { SyscallBackend } from "../syscall/backend.ts";
import { bpfError } from "../syscall/bpf.ts";
import { kernelBuffer } from "../syscall/call.ts";
import { progQuery } from "../syscall/commands.ts";
import { errnoName } from "../syscall/errno.ts";
import { findInterface, type NetworkInterface } from "../syscall/interfaces.ts";
import { type BackendOption, backendOf } from "../syscall/select.ts";
import { listLinks } from "./open.ts";
import type { HasMapOwner } from "./sockmap.ts";
import { type NetworkNamespace, namespaceLabel, openCgroup, openNetworkNamespace, openTarget } from "./targets.ts";

/** What may have programs attached. */
export type AttachTarget =
  | { readonly cgroup: string | number }
  | { readonly interface: string | number }
  | { readonly namespace: NetworkNamespace }
  | { readonly map: HasMapOwner }
  | { readonly lirc: string | number };

/** An attached program. */
export interface AttachedProgram {
  /** Number of the program. */
  readonly programId: number;
  /**
   * Number of its `bpf_link`; 0 when it has none, or the kernel does not tell: it does for `tcx` and `netkit`, and of
   * `xdp` the list of all links does.
   */
  readonly linkId: number;
  /** `BPF_F_*` it was attached with; for `xdp` in which mode: 1 driver, 2 generic, 3 offload (`XDP_ATTACHED_*`). */
  readonly flags: number;
}

/** What is attached somewhere. */
export interface Attached {
  /** Programs, in the order in which they run. */
  readonly programs: readonly AttachedProgram[];
  /** For cgroups: what programs there allow others; `undefined` elsewhere, and for effective programs. */
  readonly sharing: "multi" | "override" | "exclusive" | undefined;
  /** Changes with every change of the list: to be passed as `expectedRevision`. 0 where the kernel counts none. */
  readonly revision: bigint;
}

/** How to ask. */
export interface QueryOptions extends BackendOption {
  /** For cgroups: list what runs for its processes, programs of cgroups above included. Default: those of its own. */
  readonly effective?: boolean | undefined;
}

/** More than the kernel lets anybody attach (64), for the first attempt. */
const ROOM = 64;
const MAX_TRIES = 10;

/**
 * Asks which programs are attached to a cgroup, an interface (`xdp`, `tcx_ingress`, `tcx_egress`, `netkit_primary`,
 * `netkit_peer`), a network namespace (`flow_dissector`, `sk_lookup`), a map of sockets or an infrared receiver. Filters of
 * `tc` are listed by {@link listTcFilters}.
 *
 * @param target where
 * @param attachType which kind of attachment
 * @param options effective programs of a cgroup, shim
 * @throws BpfError `ERR_ATTACH_TARGET` when the target is not there, or is no such thing; SyscallError `EINVAL` for an
 *   attach type that the kernel, or the target, does not know, `EPERM` without CAP_NET_ADMIN
 * @example What runs for the packets that come in
 * ```ts no-run
 * import { queryAttached } from "rawbpf";
 *
 * const { programs, revision } = queryAttached({ interface: "eth0" }, "tcx_ingress");
 * console.log(programs.map(({ programId }) => programId), revision);
 * ```
 */
export function queryAttached(target: AttachTarget, attachType: AttachType, options: QueryOptions = {}): Attached {
  const backend = backendOf(options);
  if ("interface" in target) {
    const device = findInterface(target.interface, { backend });
    if (attachType === "xdp") return queryXdp(backend, device);
    return query(backend, attachType, { target_ifindex: device.index }, device.name, options);
  }
  if ("map" in target) {
    const { owner } = target.map;
    return query(backend, attachType, { target_fd: owner.number }, owner.label, options);
  }
  const owner =
    "cgroup" in target
      ? openCgroup(backend, target.cgroup)
      : "namespace" in target
        ? openNetworkNamespace(backend, target.namespace)
        : openTarget(backend, target.lirc, "infrared device");
  try {
    const label = "namespace" in target ? namespaceLabel(target.namespace) : owner.label;
    return query(backend, attachType, { target_fd: owner.number }, label, options);
  } finally {
    owner.close();
  }
}

function query(
  backend: SyscallBackend,
  attachType: AttachType,
  target: AttrValues<typeof progQueryAttr>,
  label: string,
  options: QueryOptions,
): Attached {
  const isCgroup = /^(cgroup_|lsm_cgroup$)/.test(attachType);
  const isOrdered = /^(tcx|netkit)_/.test(attachType);
  const effective = isCgroup && options.effective === true;
  const fields = progQueryAttr.fields;
  for (let room = ROOM, tries = 1; ; tries++) {
    const rooms = [0, 1, 2].map(() => kernelBuffer(4 * room));
    const [programIds, flags, linkIds] = rooms as [Uint8Array, Uint8Array, Uint8Array];
    const { result, attr } = progQuery(backend, {
      ...target,
      attach_type: AttachType[attachType],
      query_flags: effective ? BPF_F_QUERY_EFFECTIVE : 0,
      prog_ids: programIds,
      count: room,
      // Others give EINVAL for arrays that they do not fill.
      ...(isOrdered ? { prog_attach_flags: flags, link_ids: linkIds } : {}),
    });
    const count = attr.readU32(fields.count.offset);
    if (result < 0) {
      if (errnoName(result) === "ENOSPC" && tries < MAX_TRIES) {
        room = Math.max(count, 2 * room);
        continue;
      }
      const action = `Cannot ask what is attached to ${label} as ${attachType}`;
      const detail = errnoName(result) === "EINVAL" ? "the kernel, or the target, knows no such attachment" : undefined;
      throw bpfError("BPF_PROG_QUERY", result, { action, attachType, detail });
    }
    const numbers = (bytes: Uint8Array): readonly number[] =>
      Array.from(new Uint32Array(bytes.buffer, 0, Math.min(count, room)));
    const attachFlags = attr.readU32(fields.attach_flags.offset);
    const each = isOrdered ? numbers(flags) : undefined;
    const links = isOrdered ? numbers(linkIds) : undefined;
    const revision =
      BigInt(attr.readU32(fields.revision.offset)) | (BigInt(attr.readU32(fields.revision.offset + 4)) << 32n);
    return {
      programs: numbers(programIds).map((programId, i) => ({
        programId,
        linkId: links?.[i] ?? 0,
        flags: each?.[i] ?? attachFlags,
      })),
      sharing: isCgroup && !effective && count > 0 ? sharingOf(attachFlags) : undefined,
      revision,
    };
  }
}

function sharingOf(flags: number): "multi" | "override" | "exclusive" {
  if ((flags & BPF_F_ALLOW_MULTI) !== 0) return "multi";
  return (flags & BPF_F_ALLOW_OVERRIDE) !== 0 ? "override" : "exclusive";
}

const XDP_MODE_NUMBERS = { driver: 1, generic: 2, offload: 3 } as const;

function queryXdp(backend: SyscallBackend, device: NetworkInterface): Attached {
  const entries = Object.entries(device.xdp.programs) as [keyof typeof XDP_MODE_NUMBERS, number][];
  const links = new Map<number, number>();
  if (entries.length > 0) {
    for (const info of listLinks({ backend })) {
      // Interfaces of other network namespaces have the same numbers: the program has to be the one too.
      if (info.type === "xdp" && info.ifindex === device.index) links.set(info.programId, info.id);
    }
  }
  return {
    programs: entries.map(([mode, programId]) => ({
      programId,
      linkId: links.get(programId) ?? 0,
      flags: XDP_MODE_NUMBERS[mode],
    })),
    sharing: undefined,
    revision: 0n,
  };
}
