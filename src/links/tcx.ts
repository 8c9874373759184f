import { BpfError } from "../errors.ts";
import { type AttachType, BPF_F_REPLACE } from "../kernel-abi/index.ts";
import type { Program } from "../programs/index.ts";
import { findInterface } from "../syscall/interfaces.ts";
import { createLink, requireType } from "./create.ts";
import type { Link } from "./link.ts";
import { linkOrderAttr, ORDER_MEANINGS, type OrderOptions, orderAttr, progOrderAttr } from "./order.ts";
import { attachProgram } from "./prog-attach.ts";

interface DeviceOptions extends OrderOptions {
  /**
   * `false` attaches without a `bpf_link`: the program stays when the process ends without closing the attachment.
   * Default true.
   */
  readonly link?: boolean | undefined;
}

/** How to attach to an interface with `tcx`. */
export interface TcxOptions extends DeviceOptions {
  /** Way of the packets. Default: what the program was loaded for. */
  readonly direction?: "ingress" | "egress" | undefined;
}

/**
 * Attaches a program to the packets of an interface, in an order with others (`tcx`, Linux 6.6). Before that there is
 * {@link attachTc}.
 *
 * @param program open program of type `sched_cls`
 * @param target name or number of an interface in this thread's network namespace
 * @param options direction, place among the others
 * @returns the attachment: close it to detach
 * @throws NotSupportedError before Linux 6.6; BpfError `ERR_ATTACH_TARGET` for an unknown interface,
 *   `ERR_TYPE_MISMATCH`; SyscallError `ESTALE` when the list has another revision, `ENOENT` when the neighbour is not
 *   attached, `EPERM` without CAP_NET_ADMIN
 * @example Run before everybody else
 * ```ts no-run
 * import { attachTcx, loadObject } from "rawbpf";
 * import { readFileSync } from "node:fs";
 *
 * using object = loadObject(readFileSync("counter.bpf.o"));
 * using link = attachTcx(object.program("count"), "eth0", { direction: "ingress", order: "first" });
 * ```
 */
export function attachTcx(program: Program, target: string | number, options: TcxOptions = {}): Link {
  const attachType =
    options.direction === undefined
      ? loadedFor(program, "tcx_ingress", "tcx_egress")
      : (`tcx_${options.direction}` as const);
  if (attachType === undefined) throw new TypeError("Attaching to tcx needs a direction");
  return attachDevice(program, target, attachType, "tcx", "6.6", options);
}

/** How to attach to a netkit device. */
export interface NetkitOptions extends DeviceOptions {
  /** Packets that leave which of the pair. Default: what the program was loaded for. */
  readonly side?: "primary" | "peer" | undefined;
}

/**
 * Attaches a program to the packets that leave a netkit device, in an order with others (Linux 6.7).
 *
 * @param program open program of type `sched_cls`
 * @param target name or number of the primary device of the pair, in this thread's network namespace, for either side
 * @param options side, place among the others
 * @returns the attachment: close it to detach
 * @throws NotSupportedError before Linux 6.7, or where the kernel was built without netkit; BpfError
 *   `ERR_ATTACH_TARGET` for an unknown interface or one that is no netkit, `ERR_TYPE_MISMATCH`; SyscallError
 */
export function attachNetkit(program: Program, target: string | number, options: NetkitOptions = {}): Link {
  const attachType =
    options.side === undefined
      ? loadedFor(program, "netkit_primary", "netkit_peer")
      : (`netkit_${options.side}` as const);
  if (attachType === undefined) throw new TypeError("Attaching to netkit needs a side");
  return attachDevice(program, target, attachType, "netkit", "6.7", options);
}

function loadedFor<T extends AttachType>(program: Program, ...types: readonly T[]): T | undefined {
  return types.find((type) => type === program.expectedAttachType);
}

function attachDevice(
  program: Program,
  target: string | number,
  attachType: AttachType,
  type: "tcx" | "netkit",
  since: string,
  options: DeviceOptions,
): Link {
  const words = attachType.replace("_", " ");
  requireType(program, `${words} of ${target}`, "sched_cls");
  const { backend } = program.owner;
  const device = findInterface(target, { backend });
  const label = `${words} of ${device.name}`;
  if (type === "netkit" && device.kind !== "netkit") {
    const message = `Cannot attach ${program.owner.label} to ${label}: it is no netkit device`;
    throw new BpfError("ERR_ATTACH_TARGET", device.kind === undefined ? message : `${message}, but ${device.kind}`);
  }
  const order = orderAttr(options);
  const meanings = {
    ...ORDER_MEANINGS,
    EOPNOTSUPP: `${device.name} knows no such attachment, or the kernel was built without it`,
    EACCES: `${device.name} is the peer of a netkit pair: give the primary device for either side`,
  };
  if (options.link === false) {
    return attachProgram(program, {
      attachType,
      label,
      target: { target_ifindex: device.index },
      attr: progOrderAttr(order),
      replaceAttr: (current) => ({ attach_flags: BPF_F_REPLACE, replace_bpf_fd: current }),
      meanings,
    });
  }
  const attr = { target_ifindex: device.index, ...linkOrderAttr(order, type) };
  return createLink(program, attr, { type, attachType, target: label, since, meanings });
}
