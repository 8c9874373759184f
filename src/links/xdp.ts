import { BpfError } from "../errors.ts";
import {
  IFLA_XDP,
  IFLA_XDP_EXPECTED_FD,
  IFLA_XDP_FD,
  IFLA_XDP_FLAGS,
  ifInfoMsg,
  RTM_SETLINK,
  XDP_FLAGS_DRV_MODE,
  XDP_FLAGS_HW_MODE,
  XDP_FLAGS_REPLACE,
  XDP_FLAGS_SKB_MODE,
  XDP_FLAGS_UPDATE_IF_NOEXIST,
} from "../kernel-abi/index.ts";
import { encodeStruct } from "../kernel-abi/layout.ts";
import type { Program } from "../programs/index.ts";
import type { SyscallBackend } from "../syscall/backend.ts";
import { errnoName } from "../syscall/errno.ts";
import { isErrno } from "../syscall/errors.ts";
import { duplicateDescriptor, Fd } from "../syscall/fd.ts";
import { interfaceOf, type NetworkInterface, type XdpMode } from "../syscall/interfaces.ts";
import { type NetlinkSocket, withNetlink } from "../syscall/netlink.ts";
import { linkError, requireType, tryCreateLink } from "./create.ts";
import { type HasDescriptor, Link } from "./link.ts";
import { describeProgram, programId } from "./occupant.ts";

/** How to attach to an interface. */
export interface XdpOptions {
  /**
   * Where the program runs: `driver` in the driver, before a packet becomes an `sk_buff`; `generic` in the network stack,
   * on every interface; `offload` on the device. Default: `driver` where the driver can, else `generic`.
   */
  readonly mode?: XdpMode | undefined;
  /**
   * The program that must be attached now, and which this one replaces (Linux 5.7). It must have been attached without a
   * `bpf_link`, and so is this one.
   */
  readonly expected?: HasDescriptor | undefined;
  /**
   * `false` attaches by netlink although the kernel has links: the program stays when the process ends without closing
   * the attachment.
   */
  readonly link?: boolean | undefined;
}

const MODE_FLAGS: { readonly [M in XdpMode]: number } = {
  generic: XDP_FLAGS_SKB_MODE,
  driver: XDP_FLAGS_DRV_MODE,
  offload: XDP_FLAGS_HW_MODE,
};

/**
 * Attaches an XDP program to a network interface: a `bpf_link` (Linux 5.9), before that by netlink, where the program
 * stays attached when the process ends without closing.
 *
 * @param program open program of type `xdp`
 * @param target name or number of an interface in this thread's network namespace
 * @param options mode, replacement
 * @returns the attachment: close it to detach
 * @throws BpfError `ERR_ATTACH_TARGET` for an unknown interface, `ERR_TYPE_MISMATCH`; SyscallError `EBUSY` when another
 *   program is attached, `EEXIST` when it is in another mode, `EOPNOTSUPP` when the driver has no such mode, `EPERM`
 *   without CAP_NET_ADMIN
 * @example Count packets on an interface
 * ```ts no-run
 * import { attachXdp, loadObject } from "rawbpf";
 * import { readFileSync } from "node:fs";
 *
 * using object = loadObject(readFileSync("counter.bpf.o"));
 * using link = attachXdp(object.program("count"), "eth0", { mode: "generic" });
 * ```
 */
export function attachXdp(program: Program, target: string | number, options: XdpOptions = {}): Link {
  requireType(program, `xdp of ${target}`, "xdp");
  if (program.expectedAttachType === "xdp_devmap" || program.expectedAttachType === "xdp_cpumap") {
    const message = `Cannot attach ${program.owner.label} to xdp of ${target}: it was loaded for ${program.expectedAttachType}`;
    throw new BpfError("ERR_TYPE_MISMATCH", message, { hint: "such programs go into a devmap or cpumap" });
  }
  const { backend } = program.owner;
  return withNetlink(backend, (socket) => {
    const device = interfaceOf(socket, target);
    const label = `xdp of ${device.name}`;
    const flags = options.mode === undefined ? 0 : MODE_FLAGS[options.mode];
    if (options.link !== false && options.expected === undefined) {
      const result = tryCreateLink(program, { target_ifindex: device.index, flags }, "xdp");
      if (result >= 0) return new Link(label, { type: "xdp", fd: new Fd(backend, result, label) });
      // EINVAL: no links for XDP before 5.9. Where that is not it, netlink says what is wrong.
      if (errnoName(result) !== "EINVAL") {
        const meanings = xdpMeanings(backend, device, options.mode);
        throw linkError(program, result, { type: "xdp", attachType: "xdp", target: label, since: "5.9", meanings });
      }
    }
    return attachByNetlink(socket, program, device, label, options);
  });
}

function attachByNetlink(
  socket: NetlinkSocket,
  program: Program,
  device: NetworkInterface,
  label: string,
  options: XdpOptions,
): Link {
  const { backend } = program.owner;
  const { expected, mode } = options;
  const request: XdpRequest = {
    device,
    mode,
    action: `Cannot attach ${program.owner.label} to ${label}`,
    meanings: xdpMeanings(backend, device, mode),
  };
  // The program's own descriptor may be closed before the attachment: taking it back needs one.
  let held = program.owner.duplicate();
  try {
    setXdp(socket, { ...request, fd: held.number, expected: expected?.fd });
  } catch (error) {
    held.close();
    throw error;
  }
  const replace = (next: HasDescriptor, wanted: HasDescriptor | undefined): void => {
    const action = `Cannot update ${label}`;
    withNetlink(backend, (again) =>
      setXdp(again, { ...request, action, fd: next.fd, expected: wanted?.fd ?? held.number }),
    );
    const last = held;
    held = duplicateDescriptor(backend, next.fd, label);
    last.close();
  };
  const undo = (): void => {
    try {
      withNetlink(backend, (again) => removeXdp(again, device.index, mode, held, label));
    } finally {
      held.close();
    }
  };
  return new Link(label, { type: undefined, undo, replace });
}

interface XdpRequest {
  readonly device: Pick<NetworkInterface, "index">;
  readonly mode: XdpMode | undefined;
  readonly action: string;
  readonly meanings?: { readonly [errno: string]: string } | undefined;
}

/** Sets the program of an interface; `fd` -1 takes it away. */
function setXdp(
  socket: NetlinkSocket,
  request: XdpRequest & { readonly fd: number; readonly expected: number | undefined },
): void {
  const { fd, expected, mode } = request;
  const modeFlag = mode === undefined ? 0 : MODE_FLAGS[mode];
  const condition = expected !== undefined ? XDP_FLAGS_REPLACE : fd >= 0 ? XDP_FLAGS_UPDATE_IF_NOEXIST : 0;
  socket.request({
    type: RTM_SETLINK,
    header: encodeStruct(ifInfoMsg, { ifi_index: request.device.index }),
    attributes: [
      [
        IFLA_XDP,
        [
          [IFLA_XDP_FD, fd >>> 0],
          [IFLA_XDP_FLAGS, modeFlag | condition],
          [IFLA_XDP_EXPECTED_FD, expected],
        ],
      ],
    ],
    action: request.action,
    meanings: request.meanings,
  });
}

/** Takes a program off an interface; one that somebody else has put there since stays. */
function removeXdp(socket: NetlinkSocket, index: number, mode: XdpMode | undefined, held: Fd, label: string): void {
  const request: XdpRequest = { device: { index }, mode, action: `Cannot detach ${label}` };
  try {
    setXdp(socket, { ...request, fd: -1, expected: held.number });
  } catch (error) {
    // The interface is gone, or its program is another one.
    if (isErrno(error, "ENODEV", "EEXIST", "ENOENT")) return;
    if (!isErrno(error, "EINVAL")) throw error;
    // Before 5.7 the kernel cannot compare: the moment between looking and detaching remains.
    const { programs } = interfaceOf(socket, index).xdp;
    const id = programId(held);
    if (mode === undefined ? Object.values(programs).includes(id) : programs[mode] === id) {
      setXdp(socket, { ...request, fd: -1, expected: undefined });
    }
  }
}

function xdpMeanings(
  backend: SyscallBackend,
  device: NetworkInterface,
  mode: XdpMode | undefined,
): { readonly [errno: string]: string } {
  const { programs } = device.xdp;
  const occupants = (Object.entries(programs) as [XdpMode, number][]).map(
    ([where, id]) => `${describeProgram(backend, id)} (${where})`,
  );
  const occupied = occupants.length > 0 ? `${device.name} has ${occupants.join(" and ")}` : undefined;
  const kind = device.kind === undefined ? device.name : `${device.name} (${device.kind})`;
  const unable = `the driver of ${kind} has no XDP in ${mode ?? "this"} mode`;
  return {
    ...(occupied === undefined ? {} : { EBUSY: occupied, EEXIST: occupied }),
    EOPNOTSUPP: unable,
    ENOTSUPP: unable,
    ENETDOWN: `${device.name} is down`,
    ERANGE: `the packets of ${device.name} (${device.mtu} bytes) are too large for this program`,
  };
}
