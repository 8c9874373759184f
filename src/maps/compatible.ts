import { BpfError } from "../errors.ts";
import type { MapDescription } from "./description.ts";
import { flagNames, MapFlag } from "./flags.ts";

/** A field in which a map is not as it was wanted. */
export interface MapDifference {
  /** Which field. */
  readonly field: keyof MapDescription;
  /** As it was wanted. */
  readonly wanted: string | number | bigint;
  /** As it is. */
  readonly found: string | number | bigint;
}

/** A map that is there already is another one than was wanted. Lists every field that differs. */
export class MapIncompatibleError extends BpfError {
  /** Fields that differ, at least one. */
  readonly differences: readonly MapDifference[];

  /**
   * @param action what was tried: `Cannot use the pin /sys/fs/bpf/counts`
   * @param differences fields that differ
   */
  constructor(action: string, differences: readonly MapDifference[]) {
    const list = differences.map(
      ({ field, wanted, found }) => `${LABELS[field]} ${show(field, found)} instead of ${show(field, wanted)}`,
    );
    super("ERR_MAP_INCOMPATIBLE", `${action}: it has ${list.join(", ")}`);
    this.differences = differences;
  }
}

const LABELS: { readonly [F in keyof MapDescription]: string } = {
  type: "type",
  name: "name",
  keySize: "key size",
  valueSize: "value size",
  maxEntries: "max entries",
  flags: "flags",
  mapExtra: "map extra",
};

function show(field: keyof MapDescription, value: string | number | bigint): string {
  return field === "flags" ? flagNames(Number(value)) : String(value);
}

/** Flags that belong to a descriptor, or to how a map came to be, and not to what it is. */
const NOT_COMPARED = MapFlag.rdonly | MapFlag.wronly | MapFlag.token_fd | MapFlag.numa_node;

/**
 * Compares a map with what is wanted. Names are not compared: the kernel cuts them, and programs do not see them.
 * `BPF_F_RDONLY_PROG` is passed over for `devmap` and `devmap_hash`, which the kernel sets by itself.
 *
 * @param wanted what a blueprint says
 * @param found what a map is
 * @returns every field that differs
 */
export function mapDifferences(wanted: MapDescription, found: MapDescription): MapDifference[] {
  const differences: MapDifference[] = [];
  const compare = (field: keyof MapDescription, a: string | number | bigint, b: string | number | bigint): void => {
    if (a !== b) differences.push({ field, wanted: a, found: b });
  };
  compare("type", wanted.type, found.type);
  compare("keySize", wanted.keySize, found.keySize);
  compare("valueSize", wanted.valueSize, found.valueSize);
  compare("maxEntries", wanted.maxEntries, found.maxEntries);
  const ignored = NOT_COMPARED | (found.type.startsWith("devmap") ? MapFlag.rdonly_prog : 0);
  if ((wanted.flags & ~ignored) !== (found.flags & ~ignored)) {
    differences.push({ field: "flags", wanted: wanted.flags, found: found.flags });
  }
  // 0 lets the kernel choose, for some types.
  if (wanted.mapExtra !== 0n) compare("mapExtra", wanted.mapExtra, found.mapExtra);
  return differences;
}
