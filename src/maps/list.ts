import { objectById, objectIds } from "../syscall/commands.ts";
import { isErrno } from "../syscall/errors.ts";
import type { Fd } from "../syscall/fd.ts";
import { type BackendOption, backendOf } from "../syscall/select.ts";
import { type MapInfo, readMapInfo } from "./description.ts";

/**
 * Walks all maps of the system.
 *
 * @param options shim
 * @returns what the kernel says of each; maps that vanish meanwhile are passed over
 * @throws SyscallError `EPERM` without CAP_SYS_ADMIN
 *
 * @example
 * ```ts
 * import { listMaps } from "rawbpf/maps";
 *
 * for (const { id, type, name, memory } of listMaps()) console.log(id, type, name, memory);
 * ```
 */
export function* listMaps(options: BackendOption = {}): Generator<MapInfo, void> {
  const backend = backendOf(options);
  for (const id of objectIds(backend, "map")) {
    let owner: Fd;
    try {
      owner = objectById(backend, "map", id);
    } catch (error) {
      if (isErrno(error, "ENOENT")) continue;
      throw error;
    }
    try {
      yield readMapInfo(owner);
    } finally {
      owner.close();
    }
  }
}
