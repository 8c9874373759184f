import { BPF_F_AFTER, BPF_F_BEFORE, BPF_F_ID, BPF_F_LINK } from "../kernel-abi/index.ts";
import type { Program } from "../programs/index.ts";
import type { Link } from "./link.ts";

/** One of the attached programs, by which another one finds its place. */
export type Neighbour = Program | Link | { readonly programId: number } | { readonly linkId: number };

/** Where a program stands among those that are attached to the same place. */
export type Order = "first" | "last" | { readonly before: Neighbour } | { readonly after: Neighbour };

/** How to put a program among others. */
export interface OrderOptions {
  /** Its place. Default `last`. */
  readonly order?: Order | undefined;
  /**
   * Revision of the list that the caller has seen, from `queryAttached`: when it has changed meanwhile, nothing is done
   * and the error is `ESTALE`.
   */
  readonly expectedRevision?: bigint | undefined;
}

/** @internal An order, as the kernel takes it. */
export interface OrderAttr {
  readonly flags: number;
  /** Descriptor of the neighbour. */
  readonly relativeFd?: number | undefined;
  /** Number of the neighbour. */
  readonly relativeId?: number | undefined;
  readonly expectedRevision?: bigint | undefined;
}

/**
 * Turns an order into flags.
 *
 * @internal
 * @throws TypeError for a neighbour that is none
 */
export function orderAttr({ order, expectedRevision }: OrderOptions): OrderAttr {
  const revision = expectedRevision === undefined ? {} : { expectedRevision };
  if (order === undefined) return { flags: 0, ...revision };
  if (order === "first") return { flags: BPF_F_BEFORE, ...revision };
  if (order === "last") return { flags: BPF_F_AFTER, ...revision };
  const isBefore = "before" in order;
  const neighbour = isBefore ? order.before : order.after;
  const flags = isBefore ? BPF_F_BEFORE : BPF_F_AFTER;
  if ("programId" in neighbour) return { flags: flags | BPF_F_ID, relativeId: neighbour.programId, ...revision };
  if ("linkId" in neighbour) {
    return { flags: flags | BPF_F_ID | BPF_F_LINK, relativeId: neighbour.linkId, ...revision };
  }
  const isLink = "update" in neighbour;
  return { flags: isLink ? flags | BPF_F_LINK : flags, relativeFd: neighbour.fd, ...revision };
}

/** @internal The attributes of `BPF_LINK_CREATE` for an order: those of tcx, netkit and cgroup are laid out alike. */
export function linkOrderAttr(
  attr: OrderAttr,
  kind: "tcx" | "netkit" | "cgroup",
): { readonly [name: string]: number | bigint } {
  return {
    flags: attr.flags,
    ...(attr.relativeFd === undefined ? {} : { [`${kind}.relative_fd`]: attr.relativeFd }),
    ...(attr.relativeId === undefined ? {} : { [`${kind}.relative_id`]: attr.relativeId }),
    ...(attr.expectedRevision === undefined ? {} : { [`${kind}.expected_revision`]: attr.expectedRevision }),
  };
}

/** @internal The attributes of `BPF_PROG_ATTACH` and `BPF_PROG_DETACH` for an order. */
export function progOrderAttr(attr: OrderAttr): { readonly [name: string]: number | bigint } {
  return {
    attach_flags: attr.flags,
    ...(attr.relativeFd === undefined ? {} : { relative_fd: attr.relativeFd }),
    ...(attr.relativeId === undefined ? {} : { relative_id: attr.relativeId }),
    ...(attr.expectedRevision === undefined ? {} : { expected_revision: attr.expectedRevision }),
  };
}

/** @internal What errnos mean where programs stand in an order. */
export const ORDER_MEANINGS: { readonly [errno: string]: string } = {
  ESTALE: "the list of attached programs has changed since that revision",
  ENOENT: "the neighbour named by the order is not attached there",
  ERANGE: "there is no room left: the kernel takes at most 64 programs",
  EEXIST: "this program is attached there already",
};
