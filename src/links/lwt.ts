import { parseIpv4, parseIpv6, Writer } from "../bytes/index.ts";
import {
  LWT_BPF_IN,
  LWT_BPF_OUT,
  LWT_BPF_PROG_FD,
  LWT_BPF_PROG_NAME,
  LWT_BPF_XMIT,
  LWT_BPF_XMIT_HEADROOM,
  LWTUNNEL_ENCAP_BPF,
  RTA_DST,
  RTA_ENCAP,
  RTA_ENCAP_TYPE,
  RTA_GATEWAY,
  RTA_OIF,
  RTA_PRIORITY,
  RTA_TABLE,
  RTM_DELROUTE,
  RTM_NEWROUTE,
  rtMsg,
} from "../kernel-abi/index.ts";
import { encodeStruct } from "../kernel-abi/layout.ts";
import type { Program } from "../programs/index.ts";
import type { NetlinkAttribute } from "../syscall/attributes.ts";
import { isErrno } from "../syscall/errors.ts";
import { interfaceOf } from "../syscall/interfaces.ts";
import { withNetlink } from "../syscall/netlink.ts";
import { requireType } from "./create.ts";
import { Link } from "./link.ts";

const AF_INET = 2;
const AF_INET6 = 10;
const RT_TABLE_MAIN = 254;
const RTPROT_STATIC = 4;
const RT_SCOPE_UNIVERSE = 0;
const RT_SCOPE_LINK = 253;
const RTN_UNICAST = 1;

/** A route that a program is attached to. */
export interface LwtRoute {
  /** Where packets go: `10.1.0.0/16`, `fd00::/8`, or one address. */
  readonly destination: string;
  /** Name or number of the interface that they leave by. */
  readonly interface: string | number;
  /** Address of the next router. Default: the destination is on the link. */
  readonly gateway?: string | undefined;
  /** Number of the routing table. Default 254, the main one. */
  readonly table?: number | undefined;
  /** Of several routes to one destination the lowest counts. Default: what the kernel takes. */
  readonly metric?: number | undefined;
  /** Bytes that the packet may grow by in a program of type `lwt_xmit`, at most 256. Default 0. */
  readonly headroom?: number | undefined;
}

const HOOKS = { lwt_in: LWT_BPF_IN, lwt_out: LWT_BPF_OUT, lwt_xmit: LWT_BPF_XMIT } as const;
const MAX_HEADROOM = 256;

/**
 * Makes a route whose packets pass through a program (`ip route add ... encap bpf`, Linux 4.10), by netlink. It is no
 * `bpf_link`: the route stays when the process ends without closing the attachment.
 *
 * @param program open program of type `lwt_in`, `lwt_out` or `lwt_xmit`
 * @param route the route to make
 * @returns the attachment: close it to remove the route
 * @throws BpfError `ERR_ATTACH_TARGET` for an unknown interface, `ERR_TYPE_MISMATCH`; RangeError for an address that is
 *   none; SyscallError `EEXIST` when there is such a route, `EOPNOTSUPP` where the kernel was built without it, `ENETDOWN`
 *   when the interface is down, `EPERM` without CAP_NET_ADMIN
 */
export function attachLwt(program: Program, route: LwtRoute): Link {
  const label = `route to ${route.destination}`;
  requireType(program, label, "lwt_in", "lwt_out", "lwt_xmit");
  const hook = HOOKS[program.type as keyof typeof HOOKS];
  const { family, address, bits } = parsePrefix(route.destination);
  const gateway = route.gateway === undefined ? undefined : parsePrefix(route.gateway);
  if (gateway !== undefined && gateway.family !== family) {
    throw new RangeError(`The gateway ${route.gateway} is of another family than ${route.destination}`);
  }
  const { headroom = 0, table = RT_TABLE_MAIN } = route;
  if (!Number.isInteger(headroom) || headroom < 0 || headroom > MAX_HEADROOM) {
    throw new RangeError(`The headroom of a route is 0 to ${MAX_HEADROOM} bytes, found ${headroom}`);
  }
  const { backend } = program.owner;
  return withNetlink(backend, (socket) => {
    const device = interfaceOf(socket, route.interface);
    const header = encodeStruct(rtMsg, {
      rtm_family: family,
      rtm_dst_len: bits,
      rtm_table: table < 256 ? table : 0,
      rtm_protocol: RTPROT_STATIC,
      rtm_scope: gateway === undefined && family === AF_INET ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE,
      rtm_type: RTN_UNICAST,
    });
    const place: NetlinkAttribute[] = [
      [RTA_DST, address],
      [RTA_OIF, device.index],
      [RTA_GATEWAY, gateway?.address],
      [RTA_TABLE, table],
      [RTA_PRIORITY, route.metric],
    ];
    const encapsulation: NetlinkAttribute[] = [
      [
        hook,
        [
          [LWT_BPF_PROG_FD, program.fd],
          [LWT_BPF_PROG_NAME, program.name === "" ? "rawbpf" : program.name],
        ],
      ],
      [LWT_BPF_XMIT_HEADROOM, headroom === 0 ? undefined : headroom],
    ];
    socket.request({
      type: RTM_NEWROUTE,
      flags: ["create", "exclusive"],
      header,
      attributes: [
        ...place,
        [RTA_ENCAP_TYPE, new Writer({ capacity: 2 }).u16(LWTUNNEL_ENCAP_BPF).finish()],
        [RTA_ENCAP, encapsulation],
      ],
      action: `Cannot attach ${program.owner.label} to ${label}`,
      meanings: { EEXIST: "there is such a route already", ENETDOWN: `${device.name} is down` },
    });
    const undo = (): void =>
      withNetlink(backend, (again) => {
        try {
          again.request({ type: RTM_DELROUTE, header, attributes: place, action: `Cannot remove ${label}` });
        } catch (error) {
          // The interface is gone, or somebody else has removed the route.
          if (!isErrno(error, "ESRCH", "ENODEV")) throw error;
        }
      });
    return new Link(label, { type: undefined, undo });
  });
}

function parsePrefix(text: string): { readonly family: number; readonly address: Uint8Array; readonly bits: number } {
  const [address = "", length] = text.split("/");
  const isV6 = address.includes(":");
  const bytes = isV6 ? parseIpv6(address) : parseIpv4(address);
  const most = 8 * bytes.length;
  const bits = length === undefined ? most : /^\d+$/.test(length) ? Number(length) : -1;
  if (bits < 0 || bits > most) throw new RangeError(`"${text}" has no prefix length from 0 to ${most}`);
  return { family: isV6 ? AF_INET6 : AF_INET, address: bytes, bits };
}
