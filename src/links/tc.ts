import { toHex } from "../bytes/index.ts";
import { BpfError } from "../errors.ts";
import {
  RTM_DELQDISC,
  RTM_DELTFILTER,
  RTM_GETQDISC,
  RTM_GETTFILTER,
  RTM_NEWQDISC,
  RTM_NEWTFILTER,
  TCA_BPF_FD,
  TCA_BPF_FLAGS,
  TCA_BPF_ID,
  TCA_BPF_NAME,
  TCA_BPF_TAG,
  TCA_CHAIN,
  TCA_KIND,
  TCA_OPTIONS,
  tcMsg,
} from "../kernel-abi/index.ts";
import { decodeStruct, encodeStruct } from "../kernel-abi/layout.ts";
import type { Program } from "../programs/index.ts";
import type { SyscallBackend } from "../syscall/backend.ts";
import { isErrno } from "../syscall/errors.ts";
import { duplicateDescriptor, type Fd } from "../syscall/fd.ts";
import { interfaceOf, type NetworkInterface } from "../syscall/interfaces.ts";
import { attributesOf, type NetlinkMessage, type NetlinkSocket, withNetlink } from "../syscall/netlink.ts";
import { type BackendOption, backendOf } from "../syscall/select.ts";
import { requireType } from "./create.ts";
import { type HasDescriptor, Link } from "./link.ts";
import { describeProgram, programId } from "./occupant.ts";

const TC_H_CLSACT = 0xfffffff1;
const CLSACT_HANDLE = 0xffff0000;
const TCA_BPF_FLAG_ACT_DIRECT = 1;
const MAX_FILTER_NAME = 255;

/** Parents of filters below the `clsact` qdisc. */
const PARENTS = { ingress: 0xfffffff2, egress: 0xfffffff3 } as const;

/** Way of the packets through an interface. */
export type TcDirection = keyof typeof PARENTS;

/** Where a filter is. */
export interface TcFilterPlace {
  /** Way of the packets; `undefined` below another qdisc. */
  readonly direction: TcDirection | undefined;
  /** Qdisc or class above it, as `major << 16 | minor`. */
  readonly parent: number;
  /** Its number among the filters of one priority. */
  readonly handle: number;
  /** Filters with lower numbers run first; 1 to 65535. */
  readonly priority: number;
  /** EtherType of the packets it sees; 3 is all (`ETH_P_ALL`). */
  readonly protocol: number;
  /** Chain of filters that it is in. */
  readonly chain: number;
}

/** A filter of kind `bpf`, as the kernel tells of it. */
export interface TcFilter extends TcFilterPlace {
  /** Number of the program; 0 for a filter of classic BPF. */
  readonly programId: number;
  /** Name that the filter was given. */
  readonly name: string;
  /** Tag of the program, 16 hex digits; empty for classic BPF. */
  readonly tag: string;
  /** Whether the program's return value decides what becomes of the packet. */
  readonly directAction: boolean;
}

/** How to attach a filter. */
export interface TcOptions {
  /** Way of the packets. */
  readonly direction?: TcDirection | undefined;
  /** In place of {@link direction}: a qdisc or class that is there already, as `major << 16 | minor`. */
  readonly parent?: number | undefined;
  /** Number of the filter. Default: the kernel chooses. */
  readonly handle?: number | undefined;
  /** Filters with lower numbers run first; 1 to 65535. Default: the kernel chooses, before those that are there. */
  readonly priority?: number | undefined;
  /** EtherType of the packets it sees. Default 3: all (`ETH_P_ALL`). */
  readonly protocol?: number | undefined;
  /** Chain of filters to put it into. Default 0. */
  readonly chain?: number | undefined;
  /** Put the program into the filter with this {@link handle} and {@link priority} when there is one. Default false. */
  readonly replace?: boolean | undefined;
}

/**
 * Attaches a program to an interface as a filter of `tc` (direct action, below a `clsact` qdisc): the way for kernels
 * before {@link attachTcx} (Linux 6.6). Everything goes by netlink. The qdisc is made when it is missing, and removed
 * again by the one who made it when no filter is left.
 *
 * A filter is no `bpf_link`: it stays when the process ends without closing the attachment.
 *
 * @param program open program of type `sched_cls`
 * @param target name or number of an interface in this thread's network namespace
 * @param options direction, handle, priority
 * @returns the attachment: close it to remove the filter
 * @throws BpfError `ERR_ATTACH_TARGET` for an unknown interface, or one whose qdisc has no such direction,
 *   `ERR_TYPE_MISMATCH`; SyscallError `EEXIST` when there is a filter with that handle and priority, `EPERM` without
 *   CAP_NET_ADMIN
 * @example Look at what comes in
 * ```ts no-run
 * import { attachTc, loadObject } from "rawbpf";
 * import { readFileSync } from "node:fs";
 *
 * using object = loadObject(readFileSync("counter.bpf.o"));
 * using link = attachTc(object.program("count"), "eth0", { direction: "ingress" });
 * ```
 */
export function attachTc(program: Program, target: string | number, options: TcOptions): TcLink {
  const { direction, parent = direction === undefined ? undefined : PARENTS[direction] } = options;
  requireType(program, `tc of ${target}`, "sched_cls");
  if (parent === undefined) throw new TypeError("Attaching to tc needs a direction or a parent");
  inRange("handle", options.handle, 0xffffffff);
  inRange("priority", options.priority, 0xffff);
  inRange("protocol", options.protocol, 0xffff);
  if (options.replace === true && (options.handle === undefined || options.priority === undefined)) {
    throw new TypeError("Replacing a filter of tc needs its handle and priority");
  }
  const { backend } = program.owner;
  return withNetlink(backend, (socket) => {
    const device = interfaceOf(socket, target);
    const label = `tc ${direction ?? formatHandle(parent)} of ${device.name}`;
    const action = `Cannot attach ${program.owner.label} to ${label}`;
    const madeQdisc = options.parent === undefined && makeClsact(socket, device, direction!, action);
    const held = program.owner.duplicate();
    try {
      const wanted: FilterRequest = {
        ...options,
        parent,
        index: device.index,
        fd: held.number,
        name: filterName(program),
      };
      const place = putFilter(socket, wanted, action, () => existing(socket, device, parent, options, backend));
      return new TcLink(label, program, device.index, place, held, madeQdisc);
    } catch (error) {
      held.close();
      if (madeQdisc) removeEmptyClsact(socket, device.index);
      throw error;
    }
  });
}

/** A filter of `tc`. Closing it removes the filter, unless another program was put into it meanwhile. */
export class TcLink extends Link {
  /** Where it is, with the numbers that the kernel chose. */
  readonly place: TcFilterPlace;

  /** @internal made by {@link attachTc} */
  constructor(label: string, program: Program, index: number, place: TcFilterPlace, held: Fd, madeQdisc: boolean) {
    const { backend } = program.owner;
    let current = held;
    const name = filterName(program);
    const isOurs = (socket: NetlinkSocket, owner: HasDescriptor | undefined): boolean => {
      const id = owner === undefined ? programId(current) : idOf(backend, owner);
      return findFilter(socket, index, place)?.programId === id;
    };
    super(label, {
      type: undefined,
      replace: (next, expected) => {
        withNetlink(backend, (socket) => {
          const action = `Cannot update ${label}`;
          if (expected !== undefined && !isOurs(socket, expected)) {
            throw new BpfError("ERR_ATTACH_TARGET", `${action}: the filter has another program than the one expected`);
          }
          const copy = duplicateDescriptor(backend, next.fd, label);
          try {
            const change = { ...place, index, fd: copy.number, name, replace: true };
            putFilter(socket, change, action, () => undefined);
          } catch (error) {
            copy.close();
            throw error;
          }
          current.close();
          current = copy;
        });
      },
      undo: () => {
        try {
          withNetlink(backend, (socket) => {
            if (isOurs(socket, undefined)) removeFilter(socket, index, place, label);
            if (madeQdisc) removeEmptyClsact(socket, index);
          });
        } finally {
          current.close();
        }
      },
    });
    this.place = place;
  }
}

function idOf(backend: SyscallBackend, owner: HasDescriptor): number {
  const copy = duplicateDescriptor(backend, owner.fd, "program");
  try {
    return programId(copy);
  } finally {
    copy.close();
  }
}

function filterName(program: Program): string {
  return (program.name === "" ? "rawbpf" : program.name).slice(0, MAX_FILTER_NAME);
}

function inRange(what: string, value: number | undefined, high: number): void {
  if (value === undefined || (Number.isInteger(value) && value >= 0 && value <= high)) return;
  throw new RangeError(`The ${what} of a filter is 0 to ${high}, found ${value}`);
}

function formatHandle(handle: number): string {
  return `${(handle >>> 16).toString(16)}:${(handle & 0xffff).toString(16)}`;
}

/** @returns whether the qdisc was made; one that is there already is used */
function makeClsact(socket: NetlinkSocket, device: NetworkInterface, direction: TcDirection, action: string): boolean {
  try {
    socket.request({
      type: RTM_NEWQDISC,
      flags: ["create", "exclusive"],
      header: encodeStruct(tcMsg, { tcm_ifindex: device.index, tcm_handle: CLSACT_HANDLE, tcm_parent: TC_H_CLSACT }),
      attributes: [[TCA_KIND, "clsact"]],
      action,
    });
    return true;
  } catch (error) {
    if (!isErrno(error, "EEXIST")) throw error;
  }
  // The older qdisc "ingress" is in the same place, and would take filters for egress as its own.
  const kind = ingressQdisc(socket, device.index);
  if (kind === "ingress" && direction === "egress") {
    throw new BpfError("ERR_ATTACH_TARGET", `${action}: the interface has a qdisc "ingress", which knows no egress`, {
      hint: `replace it: tc qdisc replace dev ${device.name} clsact`,
    });
  }
  return false;
}

function ingressQdisc(socket: NetlinkSocket, index: number): string | undefined {
  const messages = socket.dump({
    type: RTM_GETQDISC,
    header: encodeStruct(tcMsg, { tcm_ifindex: index }),
    action: "Cannot list qdiscs",
  });
  for (const message of messages) {
    const header = decodeStruct(tcMsg, message.payload);
    if (message.type !== RTM_NEWQDISC || header.tcm_ifindex !== index || header.tcm_parent !== TC_H_CLSACT) continue;
    return attributesOf(message, tcMsg.size).text(TCA_KIND);
  }
  return undefined;
}

function removeEmptyClsact(socket: NetlinkSocket, index: number): void {
  for (const parent of Object.values(PARENTS)) if (listAll(socket, index, parent).length > 0) return;
  try {
    socket.request({
      type: RTM_DELQDISC,
      header: encodeStruct(tcMsg, { tcm_ifindex: index, tcm_handle: CLSACT_HANDLE, tcm_parent: TC_H_CLSACT }),
      action: "Cannot remove the clsact qdisc",
    });
  } catch (error) {
    if (!isErrno(error, "ENODEV", "ENOENT", "EINVAL")) throw error;
  }
}

interface FilterRequest {
  readonly index: number;
  readonly parent: number;
  readonly fd: number;
  readonly name: string;
  readonly handle?: number | undefined;
  readonly priority?: number | undefined;
  readonly protocol?: number | undefined;
  readonly chain?: number | undefined;
  readonly replace?: boolean | undefined;
}

const ETH_P_ALL = 3;

/** The field `tcm_info`: priority above, EtherType in network byte order below. */
function filterInfo(priority: number, protocol: number): number {
  return ((priority << 16) | ((protocol & 0xff) << 8) | (protocol >>> 8)) >>> 0;
}

function filterHeader(place: { index: number; parent: number; handle: number; info: number }): Uint8Array {
  const { index, parent, handle, info } = place;
  return encodeStruct(tcMsg, { tcm_ifindex: index, tcm_parent: parent, tcm_handle: handle, tcm_info: info });
}

function putFilter(
  socket: NetlinkSocket,
  request: FilterRequest,
  action: string,
  occupant: () => string | undefined,
): TcFilterPlace {
  const { index, parent, handle = 0, priority = 0, protocol = ETH_P_ALL, chain } = request;
  const attempt = (): readonly NetlinkMessage[] =>
    socket.request({
      type: RTM_NEWTFILTER,
      flags: request.replace === true ? ["create"] : ["create", "exclusive"],
      echo: true,
      header: filterHeader({ index, parent, handle, info: filterInfo(priority, protocol) }),
      attributes: [
        [TCA_KIND, "bpf"],
        [TCA_CHAIN, chain === 0 ? undefined : chain],
        [
          TCA_OPTIONS,
          [
            [TCA_BPF_FD, request.fd],
            [TCA_BPF_NAME, request.name],
            [TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT],
          ],
        ],
      ],
      action,
    }).messages;
  let messages: readonly NetlinkMessage[];
  try {
    messages = attempt();
  } catch (error) {
    const taken = isErrno(error, "EEXIST") ? occupant() : undefined;
    if (taken === undefined) throw error;
    throw new BpfError("EEXIST", `${action}: ${taken} is there already`, {
      cause: error,
      hint: "choose another handle or priority, or pass replace: true",
    });
  }
  const made = messages.filter(({ type }) => type === RTM_NEWTFILTER).map(readFilter)[0];
  return made === undefined
    ? { direction: directionOf(parent), parent, handle, priority, protocol, chain: chain ?? 0 }
    : placeOf(made);
}

function placeOf({ direction, parent, handle, priority, protocol, chain }: TcFilterPlace): TcFilterPlace {
  return { direction, parent, handle, priority, protocol, chain };
}

function existing(
  socket: NetlinkSocket,
  device: NetworkInterface,
  parent: number,
  { handle, priority }: TcOptions,
  backend: SyscallBackend,
): string | undefined {
  const found = filtersBelow(socket, device.index, parent).find(
    (filter) => filter.handle === handle && filter.priority === priority,
  );
  return (
    found && `filter ${found.handle} of priority ${found.priority} with ${describeProgram(backend, found.programId)}`
  );
}

function directionOf(parent: number): TcDirection | undefined {
  return parent === PARENTS.ingress ? "ingress" : parent === PARENTS.egress ? "egress" : undefined;
}

function removeFilter(socket: NetlinkSocket, index: number, place: TcFilterPlace, label: string): void {
  try {
    socket.request({
      type: RTM_DELTFILTER,
      header: filterHeader({ ...place, index, info: filterInfo(place.priority, place.protocol) }),
      attributes: [
        [TCA_KIND, "bpf"],
        [TCA_CHAIN, place.chain === 0 ? undefined : place.chain],
      ],
      action: `Cannot detach ${label}`,
    });
  } catch (error) {
    if (!isErrno(error, "ENODEV", "ENOENT")) throw error;
  }
}

/** All filters of an interface below a qdisc or class, of any kind. None when the interface, or the qdisc, is gone. */
function listAll(socket: NetlinkSocket, index: number, parent: number): readonly NetlinkMessage[] {
  try {
    return socket
      .dump({
        type: RTM_GETTFILTER,
        header: encodeStruct(tcMsg, { tcm_ifindex: index, tcm_parent: parent }),
        action: "Cannot list filters of tc",
      })
      .filter(({ type }) => type === RTM_NEWTFILTER);
  } catch (error) {
    if (isErrno(error, "ENODEV", "ENOENT", "EINVAL")) return [];
    throw error;
  }
}

function readFilter(message: NetlinkMessage): TcFilter & { readonly kind: string } {
  const header = decodeStruct(tcMsg, message.payload);
  const attributes = attributesOf(message, tcMsg.size);
  const options = attributes.nest(TCA_OPTIONS);
  const info = header.tcm_info ?? 0;
  const parent = header.tcm_parent ?? 0;
  return {
    kind: attributes.text(TCA_KIND) ?? "",
    direction: directionOf(parent),
    parent,
    handle: header.tcm_handle ?? 0,
    priority: info >>> 16,
    protocol: ((info & 0xff) << 8) | ((info >>> 8) & 0xff),
    chain: attributes.number(TCA_CHAIN) ?? 0,
    programId: options.number(TCA_BPF_ID) ?? 0,
    name: options.text(TCA_BPF_NAME) ?? "",
    tag: toHex(options.bytes(TCA_BPF_TAG) ?? new Uint8Array(0)),
    directAction: ((options.number(TCA_BPF_FLAGS) ?? 0) & TCA_BPF_FLAG_ACT_DIRECT) !== 0,
  };
}

function filtersBelow(socket: NetlinkSocket, index: number, parent: number): readonly TcFilter[] {
  return (
    listAll(socket, index, parent)
      .map(readFilter)
      // The kernel lists, besides the filters, an entry for each priority, whose handle is 0.
      .filter(({ kind, handle }) => kind === "bpf" && handle !== 0)
      .map(({ kind: _kind, ...filter }) => filter)
  );
}

function findFilter(socket: NetlinkSocket, index: number, place: TcFilterPlace): TcFilter | undefined {
  return filtersBelow(socket, index, place.parent).find(
    (filter) => filter.handle === place.handle && filter.priority === place.priority && filter.chain === place.chain,
  );
}

/**
 * Lists the filters of kind `bpf` that an interface has in `tc`, whoever attached them.
 *
 * @param target name or number of an interface in this thread's network namespace
 * @param options shim; a qdisc or class other than `clsact`
 * @returns filters of ingress, then of egress, each in the order in which they run
 * @throws BpfError `ERR_ATTACH_TARGET` for an unknown interface; SyscallError
 */
export function listTcFilters(
  target: string | number,
  options: BackendOption & {
    /** A qdisc or class, as `major << 16 | minor`. Default: both directions of `clsact`. */
    readonly parent?: number | undefined;
  } = {},
): readonly TcFilter[] {
  return withNetlink(backendOf(options), (socket) => {
    const { index } = interfaceOf(socket, target);
    const parents = options.parent === undefined ? Object.values(PARENTS) : [options.parent];
    return parents.flatMap((parent) => filtersBelow(socket, index, parent));
  });
}
