/** Flags of map creation, by their kernel names in lower case without `BPF_F_`. A test compares them with `kernel-abi`. */
export const MapFlag = {
  no_prealloc: 0x1,
  no_common_lru: 0x2,
  numa_node: 0x4,
  rdonly: 0x8,
  wronly: 0x10,
  stack_build_id: 0x20,
  zero_seed: 0x40,
  rdonly_prog: 0x80,
  wronly_prog: 0x100,
  clone: 0x200,
  mmapable: 0x400,
  preserve_elems: 0x800,
  inner_map: 0x1000,
  link: 0x2000,
  vtype_btf_obj_fd: 0x8000,
  token_fd: 0x10000,
  segv_on_fault: 0x20000,
  no_user_conv: 0x40000,
  rb_overwrite: 0x80000,
} as const;
/** Name of a flag of map creation. */
export type MapFlag = keyof typeof MapFlag;

/**
 * Flags as a number.
 *
 * @param flags `BPF_F_*` bits, or names
 * @throws TypeError for a name that is no flag
 */
export function flagBits(flags: number | readonly MapFlag[] | undefined): number {
  if (flags === undefined) return 0;
  if (typeof flags === "number") return flags;
  let bits = 0;
  for (const name of flags) {
    const bit = MapFlag[name];
    if (bit === undefined) throw new TypeError(`"${name}" is no map flag: use ${Object.keys(MapFlag).join(", ")}`);
    bits |= bit;
  }
  return bits;
}

/** Flags as the kernel spells them: `BPF_F_NO_PREALLOC|BPF_F_RDONLY`; bits without a name in hexadecimal. */
export function flagNames(bits: number): string {
  const names: string[] = [];
  let left = bits;
  for (const [name, bit] of Object.entries(MapFlag)) {
    if ((bits & bit) === 0) continue;
    names.push(`BPF_F_${name.toUpperCase()}`);
    left &= ~bit;
  }
  if (left !== 0) names.push(`0x${(left >>> 0).toString(16)}`);
  return names.length === 0 ? "none" : names.join("|");
}
