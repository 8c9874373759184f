import { closest } from "../bytes/index.ts";
import { BpfError } from "../errors.ts";
import {
  IFLA_ALT_IFNAME,
  IFLA_IFNAME,
  IFLA_INFO_KIND,
  IFLA_LINKINFO,
  IFLA_MTU,
  IFLA_XDP,
  IFLA_XDP_ATTACHED,
  IFLA_XDP_DRV_PROG_ID,
  IFLA_XDP_HW_PROG_ID,
  IFLA_XDP_PROG_ID,
  IFLA_XDP_SKB_PROG_ID,
  ifInfoMsg,
  RTM_GETLINK,
  RTM_NEWLINK,
  XDP_ATTACHED_DRV,
  XDP_ATTACHED_HW,
  XDP_ATTACHED_MULTI,
  XDP_ATTACHED_SKB,
} from "../kernel-abi/index.ts";
import { decodeStruct, encodeStruct } from "../kernel-abi/layout.ts";
import type { NetlinkAttributes } from "./attributes.ts";
import { attributesOf, type NetlinkMessage, type NetlinkSocket, withNetlink } from "./netlink.ts";
import { type BackendOption, backendOf } from "./select.ts";

const IFF_UP = 1;
/** Alternative names (Linux 5.5) stand in a list of their own. */
const IFLA_PROP_LIST = 52;
/** Leave the counters out of the answer. */
const RTEXT_FILTER_SKIP_STATS = 8;
const IFLA_EXT_MASK = 29;

/** Where an XDP program runs: in the driver, in the network stack, or on the device itself. */
export type XdpMode = "driver" | "generic" | "offload";

/** Which XDP programs an interface has. */
export interface XdpState {
  /** Where its program runs; `multi` when it has several; `undefined` without one. */
  readonly mode: XdpMode | "multi" | undefined;
  /** Number of the program by mode; missing where there is none. */
  readonly programs: { readonly [M in XdpMode]?: number };
}

/** A network interface. */
export interface NetworkInterface {
  /** Its number. */
  readonly index: number;
  /** Its name. */
  readonly name: string;
  /** Other names (Linux 5.5). */
  readonly otherNames: readonly string[];
  /** What it is, where it is virtual: `veth`, `bridge`, `netkit`. */
  readonly kind: string | undefined;
  /** Whether it was set up. */
  readonly up: boolean;
  /** Largest packet in bytes, without the link-layer header. */
  readonly mtu: number;
  /** Its XDP programs. */
  readonly xdp: XdpState;
}

/**
 * Lists the network interfaces of this thread's network namespace.
 *
 * @param options shim
 * @returns interfaces, by their numbers
 * @throws SyscallError
 */
export function listInterfaces(options: BackendOption = {}): readonly NetworkInterface[] {
  return withNetlink(backendOf(options), interfacesOf);
}

/**
 * Finds a network interface by its name, another name of it, or its number. Text of digits is a name first.
 *
 * @param wanted name or number
 * @param options shim
 * @throws BpfError `ERR_ATTACH_TARGET` when there is none, with a name that is like it; SyscallError
 */
export function findInterface(wanted: string | number, options: BackendOption = {}): NetworkInterface {
  return withNetlink(backendOf(options), (socket) => interfaceOf(socket, wanted));
}

/** @internal as {@link findInterface}, on a socket that is open */
export function interfaceOf(socket: NetlinkSocket, wanted: string | number): NetworkInterface {
  const all = interfacesOf(socket);
  const found =
    typeof wanted === "number"
      ? all.find(({ index }) => index === wanted)
      : (all.find(({ name }) => name === wanted) ??
        all.find(({ otherNames }) => otherNames.includes(wanted)) ??
        (/^[0-9]+$/.test(wanted) ? all.find(({ index }) => index === Number(wanted)) : undefined));
  if (found !== undefined) return found;
  const names = all.flatMap(({ name, otherNames }) => [name, ...otherNames]);
  const near = typeof wanted === "string" ? closest(wanted, names) : undefined;
  const shown = typeof wanted === "number" ? `number ${wanted}` : JSON.stringify(wanted);
  throw new BpfError("ERR_ATTACH_TARGET", `This network namespace has no interface ${shown}`, {
    hint: near === undefined ? `It has ${names.slice(0, 12).join(", ") || "none"}` : `Did you mean "${near}"?`,
  });
}

function interfacesOf(socket: NetlinkSocket): readonly NetworkInterface[] {
  const messages = socket.dump({
    type: RTM_GETLINK,
    header: encodeStruct(ifInfoMsg, {}),
    attributes: [[IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS]],
    action: "Cannot list network interfaces",
  });
  return messages
    .filter(({ type }) => type === RTM_NEWLINK)
    .map(readInterface)
    .sort((a, b) => a.index - b.index);
}

function readInterface(message: NetlinkMessage): NetworkInterface {
  const header = decodeStruct(ifInfoMsg, message.payload);
  const attributes = attributesOf(message, ifInfoMsg.size);
  return {
    index: header.ifi_index ?? 0,
    name: attributes.text(IFLA_IFNAME) ?? "",
    otherNames: attributes.nest(IFLA_PROP_LIST).texts(IFLA_ALT_IFNAME),
    kind: attributes.nest(IFLA_LINKINFO).text(IFLA_INFO_KIND),
    up: ((header.ifi_flags ?? 0) & IFF_UP) !== 0,
    mtu: attributes.number(IFLA_MTU) ?? 0,
    xdp: readXdp(attributes.nest(IFLA_XDP)),
  };
}

function readXdp(attributes: NetlinkAttributes): XdpState {
  const attached = attributes.number(IFLA_XDP_ATTACHED) ?? 0;
  const programs: { [M in XdpMode]?: number } = {};
  const put = (mode: XdpMode, type: number): void => {
    const id = attributes.number(type);
    if (id !== undefined && id !== 0) programs[mode] = id;
  };
  const mode = XDP_MODES.get(attached);
  // Kernels before 4.18 tell one number only.
  if (mode !== undefined && mode !== "multi") put(mode, IFLA_XDP_PROG_ID);
  put("driver", IFLA_XDP_DRV_PROG_ID);
  put("generic", IFLA_XDP_SKB_PROG_ID);
  put("offload", IFLA_XDP_HW_PROG_ID);
  return { mode, programs };
}

const XDP_MODES: ReadonlyMap<number, XdpMode | "multi"> = /* @__PURE__ */ new Map([
  [XDP_ATTACHED_DRV, "driver"],
  [XDP_ATTACHED_SKB, "generic"],
  [XDP_ATTACHED_HW, "offload"],
  [XDP_ATTACHED_MULTI, "multi"],
]);
