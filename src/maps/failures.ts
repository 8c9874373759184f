import type { BpfCommand } from "../kernel-abi/index.ts";
import type { MapDescription } from "./description.ts";
import { isFilled, isIndexed, isSocketMap } from "./traits.ts";

const WRITING: ReadonlySet<string> = new Set<BpfCommand>([
  "BPF_MAP_UPDATE_ELEM",
  "BPF_MAP_UPDATE_BATCH",
  "BPF_MAP_DELETE_ELEM",
  "BPF_MAP_DELETE_BATCH",
]);

/**
 * What an errno means for an operation on a map, where that is certain.
 *
 * @returns one clause, or `undefined` where the general meaning of the errno must do
 */
export function elementDetail(command: BpfCommand, code: string, map: MapDescription): string | undefined {
  const { type, maxEntries } = map;
  const writes = WRITING.has(command);
  const updates = command.startsWith("BPF_MAP_UPDATE");
  switch (code) {
    case "E2BIG":
      if (!updates) return undefined;
      return isIndexed(type) ? `index outside of ${maxEntries} entries` : `the map is full (${maxEntries} entries)`;
    case "ENOTSUPP":
    case "EOPNOTSUPP":
      return `a ${type} does not have this operation`;
    case "EINVAL":
      if (command.startsWith("BPF_MAP_DELETE") && isFilled(type)) return "entries of an array cannot be deleted";
      if (updates && type === "prog_array") return "the value is no program, or not of the type that the map holds";
      if (updates && type.endsWith("_of_maps"))
        return "the value is no map like the inner one that it was created with";
      return undefined;
    case "EBADF":
      return updates
        ? "the value is no open descriptor of a kind that the map holds, or the map's own is closed"
        : undefined;
    case "ENOSPC":
      if (isSocketMap(type) && map.valueSize < 8) return "the cookie of a socket does not fit values of 4 bytes: use 8";
      return undefined;
    case "EPERM":
      return writes ? "not permitted: a map that is frozen or was opened read-only refuses this" : undefined;
    default:
      return undefined;
  }
}

/**
 * Whether a deletion failed because there is no such entry. A sockmap says EINVAL then.
 *
 * @internal
 */
export function isAbsent(type: string, code: string): boolean {
  return code === "ENOENT" || (code === "EINVAL" && type === "sockmap");
}
