import { AttachType, BPF_F_LINK, mapInfo } from "../kernel-abi/index.ts";
import { decodeStruct } from "../kernel-abi/layout.ts";
import { linkCreate, mapDelete, mapUpdate, objInfo } from "../syscall/commands.ts";
import { isErrno } from "../syscall/errors.ts";
import type { Fd } from "../syscall/fd.ts";
import { Link } from "./link.ts";

/** An open map of type `struct_ops`. */
export interface StructOpsMap {
  /** Owner of its descriptor. */
  readonly owner: Fd;
}

/** How to put a table of functions into effect. */
export interface StructOpsOptions {
  /**
   * The kernel's value of the map, with the descriptors of programs in it. Maps without `BPF_F_LINK` need it; others may
   * have been given theirs by {@link writeStructOps}.
   */
  readonly value?: Uint8Array | undefined;
}

/**
 * Gives a map of type `struct_ops` that was created with `BPF_F_LINK` its table of functions, so that it can be attached,
 * or take the place of another one with `link.update(map)`. It can be given one only once.
 *
 * @param map open map
 * @param value the kernel's value, with the descriptors of programs in it
 * @throws SyscallError `EBUSY` when it has one, `EINVAL` for a value that the kernel does not like
 */
export function writeStructOps(map: StructOpsMap, value: Uint8Array): void {
  mapUpdate(map.owner, new Uint8Array(4), value);
}

/**
 * Puts a table of functions into effect: for a map with `BPF_F_LINK` a `bpf_link` (Linux 6.4), whose table
 * `link.update(otherMap)` replaces; else by writing the map, where the table stays in effect while the kernel uses it and
 * the map is there.
 *
 * @param map open map of type `struct_ops`
 * @param options its value
 * @returns the attachment: close it to take the table out of effect
 * @throws SyscallError `EEXIST` when the kernel has a table of that name, `EBUSY` when the map is in effect already,
 *   `EINVAL` when it has no value; TypeError for a map that needs a value
 */
export function attachStructOps(map: StructOpsMap, options: StructOpsOptions = {}): Link {
  const { owner } = map;
  const label = `struct_ops ${owner.label}`;
  const hasLink = ((decodeStruct(mapInfo, objInfo(owner, mapInfo.size)).map_flags ?? 0) & BPF_F_LINK) !== 0;
  if (options.value === undefined && !hasLink) throw new TypeError(`Attaching ${label} needs its value`);
  if (options.value !== undefined) writeStructOps(map, options.value);
  if (hasLink) {
    const attr = { map_fd: owner.number, attach_type: AttachType.struct_ops };
    return new Link(label, { type: "struct_ops", fd: linkCreate(owner.backend, attr, label) });
  }
  const held = owner.duplicate();
  const undo = (): void => {
    try {
      mapDelete(held, new Uint8Array(4));
    } catch (error) {
      if (!isErrno(error, "ENOENT")) throw error;
    }
  };
  return new Link(label, { type: undefined, others: [held], undo });
}
