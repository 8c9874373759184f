import { type Btf, type BtfMember, type BtfType, essentialName } from "../btf/index.ts";
import type { ObjectMapSpec, ObjectSpec } from "../elf/index.ts";
import { BpfError, BtfError } from "../errors.ts";
import { BPF_F_VTYPE_BTF_OBJ_FD } from "../kernel-abi/index.ts";
import type { KernelType, KernelTypes } from "./kernel-types.ts";
import type { StructOpsAttributes } from "./maps.ts";

/** Where a program stands in a table of the kernel. */
export interface StructOpsMember {
  /** The table's type in the kernel's BTF. */
  readonly type: KernelType;
  /** Number of the member. */
  readonly index: number;
}

/** A table as the kernel wants it. */
export interface PreparedStructOps {
  /** How its map is created. */
  readonly attributes: StructOpsAttributes;
  /** The kernel's value, where descriptors of programs are still 0. */
  readonly value: Uint8Array;
  /** Offsets in {@link value} by name of the program whose descriptor belongs there. */
  readonly places: readonly { readonly offset: number; readonly program: string }[];
  /** Where its programs stand in the kernel's type. */
  readonly members: ReadonlyMap<string, StructOpsMember>;
}

/**
 * Adapts a table of functions to the kernel's own type: members are found by name, so that neither their order nor how
 * many there are matters. One that the kernel does not have must be zero.
 *
 * @param map a map with `structOps`
 * @param spec its object
 * @param types the kernel's
 * @throws BtfError, BpfError when the kernel does not have such tables, or members do not fit
 */
export function prepareStructOps(map: ObjectMapSpec, spec: ObjectSpec, types: KernelTypes): PreparedStructOps {
  const table = map.structOps!;
  const typeName = essentialName(table.typeName);
  const local = spec.btf!;
  const action = `Cannot create map "${map.name}"`;
  const vtype = types.find(`bpf_struct_ops_${typeName}`, "struct");
  const type = types.find(typeName, "struct", vtype?.module);
  const value = vtype?.btf.typeById(vtype.id);
  const kernel = type?.btf.typeById(type.id);
  const data = value?.kind === "struct" ? value.members.find((member) => member.type === type?.id) : undefined;
  if (vtype === undefined || type === undefined || kernel?.kind !== "struct" || data === undefined) {
    throw new BtfError("ERR_BTF_NOT_FOUND", `${action}: no struct "bpf_struct_ops_${typeName}" in the kernel's BTF`, {
      hint: "This kernel has no such tables, or the module that has them is not loaded",
    });
  }
  const size = vtype.btf.sizeOf(vtype.id);
  const bytes = new Uint8Array(size);
  const places: { offset: number; program: string }[] = [];
  const members = new Map<string, StructOpsMember>();
  const mine = local.typeById(table.type);
  const mineMembers = mine.kind === "struct" ? mine.members : [];
  for (const member of mineMembers) {
    const from = member.bitOffset / 8;
    const length = sizeOfMember(local, member);
    const content = map.contents.subarray(from, from + length);
    const program = table.functions[member.name];
    const index = kernel.members.findIndex(({ name }) => name === member.name);
    const theirs = kernel.members[index];
    if (theirs === undefined) {
      if (program === undefined && content.every((byte) => byte === 0)) continue;
      throw new BpfError("ERR_OBJECT", `${action}: the kernel's struct ${typeName} has no member "${member.name}"`, {
        hint: "Leave it zero where the kernel does not have it",
      });
    }
    const offset = (data.bitOffset + theirs.bitOffset) / 8;
    const here = local.resolve(member.type);
    const there = type.btf.resolve(theirs.type);
    const fail = (why: string): BpfError => new BpfError("ERR_OBJECT", `${action}: member "${member.name}" ${why}`);
    if (member.bitfieldSize !== 0 || theirs.bitfieldSize !== 0) throw fail("is a bit field");
    if (here.kind !== there.kind) throw fail(`is of kind ${here.kind}, the kernel's of kind ${there.kind}`);
    if (here.kind === "ptr") {
      if (program === undefined) continue;
      if (!isFunction(type.btf, there)) throw fail("is no pointer to a function in the kernel");
      places.push({ offset, program });
      members.set(program, { type, index });
      continue;
    }
    const theirSize = type.btf.sizeOf(theirs.type);
    if (length !== theirSize) throw fail(`has ${length} bytes, the kernel's ${theirSize}`);
    bytes.set(content, offset);
  }
  const module = vtype.module === "vmlinux" ? undefined : types.descriptor(vtype.module);
  const flags = map.flags | (module === undefined ? 0 : BPF_F_VTYPE_BTF_OBJ_FD);
  const attributes = { value: size, vmlinuxValueTypeId: vtype.id, valueTypeBtf: module, flags };
  return { attributes, value: bytes, places, members };
}

function sizeOfMember(btf: Btf, member: BtfMember): number {
  return btf.sizeOf(member.type);
}

function isFunction(btf: Btf, pointer: BtfType): boolean {
  return pointer.kind === "ptr" && btf.resolve(pointer.type).kind === "func_proto";
}
