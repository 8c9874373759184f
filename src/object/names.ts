import type { ObjectMapSpec } from "../elf/index.ts";

const MOST = 15;

/** Characters that the kernel takes in names, the others as `_`. */
function sanitized(name: string): string {
  return name.replace(/[^A-Za-z0-9_.]/g, "_");
}

/**
 * Name of a map in the kernel, as libbpf gives it: maps with variables have the object's name before that of their
 * section, as far as it fits; custom sections such as `.data.once` do not.
 *
 * @param map as the object has it
 * @param objectName name of the object
 * @param prefix put before the names of all other maps
 */
export function kernelMapName(map: ObjectMapSpec, objectName: string, prefix: string): string {
  if (map.kind !== "data" && map.kind !== "kconfig") return sanitized(prefix + map.name).slice(0, MOST);
  const room = Math.min(MOST, Math.max(7, map.name.length));
  const before = map.name.indexOf(".", 1) > 0 ? "" : (prefix + objectName).slice(0, MOST - room);
  return sanitized(before + map.name.slice(0, room));
}

/** Name of a program in the kernel. */
export function kernelProgramName(name: string, prefix: string): string {
  return sanitized(prefix + name).slice(0, MOST);
}
