// Browser-safe.

import type { Btf } from "../btf.ts";
import type { BtfArray, TypeId } from "../types.ts";
import { checkedBits, coreError, MAX_ACCESSORS, subjectOf } from "./errors.ts";
import type { CoreAccessor, CoreRelocation, CoreSpec } from "./types.ts";

/**
 * Follows the path of a relocation through the local types.
 *
 * @param btf the local types
 * @param relocation what is asked
 * @throws BtfError `ERR_CORE_SPEC` when the path is no list of numbers, or leads out of its types
 */
export function parseSpec(btf: Btf, relocation: CoreRelocation): CoreSpec {
  const { kind, type: root, access } = relocation;
  const subject = subjectOf(kind);
  const indices = parseAccess(access);
  const wrong = (what: string): Error =>
    coreError("ERR_CORE_SPEC", `Access "${access}" of [${root}] ${btf.kindOf(root)} ${nameOr(btf, root)}: ${what}`);
  if (subject === "type") {
    if (access !== "0") throw wrong('a relocation of a type has the access "0"');
    return { kind, root, accessors: [], indices: [], bitOffset: 0 };
  }
  const first = indices[0]!;
  const type = btf.resolve(root);
  if (subject === "enumerator") {
    if (type.kind !== "enum" && type.kind !== "enum64") throw wrong(`the type is ${type.kind}, expected an enum`);
    const name = type.values[first]?.name;
    if (indices.length > 1 || name === undefined) throw wrong(`the enum has ${type.values.length} enumerators`);
    return { kind, root, accessors: [{ type: type.id, index: first, name }], indices, bitOffset: 0 };
  }
  const accessors: CoreAccessor[] = [{ type: type.id, index: first, name: undefined }];
  let at: TypeId = type.id;
  let bitOffset = checkedBits(first * btf.sizeOf(at) * 8);
  for (let step = 1; step < indices.length; step++) {
    const index = indices[step]!;
    const through = btf.resolve(at);
    if (through.kind === "struct" || through.kind === "union") {
      const member = through.members[index];
      if (member === undefined) throw wrong(`step ${step} is ${index}, there are ${through.members.length} members`);
      bitOffset = checkedBits(bitOffset + member.bitOffset);
      if (member.name !== "") accessors.push({ type: through.id, index, name: member.name });
      at = member.type;
    } else if (through.kind === "array") {
      at = btf.resolve(through.type).id;
      if (index >= through.length && !isFlexible(btf, accessors.at(-1)!, through)) {
        throw wrong(`step ${step} is ${index}, there are ${through.length} elements`);
      }
      accessors.push({ type: at, index, name: undefined });
      bitOffset = checkedBits(bitOffset + index * btf.sizeOf(at) * 8);
    } else {
      throw wrong(`step ${step} leads into [${through.id}] ${through.kind}, which has no parts`);
    }
  }
  return { kind, root, accessors, indices, bitOffset };
}

/**
 * Reads an access string. The grammar is strict: libbpf takes signs, white space and empty parts as well, and reads
 * outside of its tables for some of them.
 */
function parseAccess(access: string): number[] {
  const indices: number[] = [];
  let index = -1;
  for (let i = 0; i < access.length; i++) {
    const digit = access.charCodeAt(i) - 0x30;
    if (digit >= 0 && digit <= 9) {
      index = (index < 0 ? 0 : index * 10) + digit;
      if (index > 0x7fffffff) throw malformed(access);
    } else {
      if (digit !== 0x3a - 0x30 || index < 0) throw malformed(access);
      indices.push(index);
      index = -1;
      if (indices.length === MAX_ACCESSORS) {
        throw coreError("ERR_CORE_SPEC", `Access has more than ${MAX_ACCESSORS} steps`);
      }
    }
  }
  if (index < 0) throw malformed(access);
  indices.push(index);
  return indices;
}

function malformed(access: string): Error {
  const shown = access.length > 80 ? `${access.slice(0, 80)}...` : access;
  return coreError("ERR_CORE_SPEC", `Access "${shown}" is malformed, expected numbers with colons between them`);
}

/**
 * Whether an array has as many elements as one wants: it is the last member of a struct, and its length is 0.
 *
 * @param before the step that led to the array
 */
export function isFlexible(btf: Btf, before: CoreAccessor, array: BtfArray): boolean {
  if (before.name === undefined || array.length > 0) return false;
  const owner = btf.typeById(before.type);
  return (owner.kind === "struct" || owner.kind === "union") && before.index === owner.members.length - 1;
}

function nameOr(btf: Btf, id: number): string {
  const name = btf.nameOf(id);
  return name === "" ? "<anon>" : name;
}

const SHORT_KINDS: Readonly<Record<CoreRelocation["kind"], string>> = {
  field_byte_offset: "byte_off",
  field_byte_size: "byte_sz",
  field_exists: "field_exists",
  field_signed: "signed",
  field_lshift_u64: "lshift_u64",
  field_rshift_u64: "rshift_u64",
  type_id_local: "local_type_id",
  type_id_target: "target_type_id",
  type_exists: "type_exists",
  type_size: "type_size",
  enumval_exists: "enumval_exists",
  enumval_value: "enumval_value",
  type_matches: "type_matches",
};

/** Renders a path as libbpf does: `struct task_struct.pid (0:1 @ offset 4)`, `enum bpf_map_type::BPF_MAP_TYPE_HASH = 1`. */
export function formatSpec(btf: Btf, spec: CoreSpec): string {
  let text = `${btf.kindOf(spec.root)} ${nameOr(btf, spec.root)}`;
  const subject = subjectOf(spec.kind);
  if (subject === "type") return text;
  if (subject === "enumerator") {
    const type = btf.resolve(spec.root);
    const value = type.kind === "enum" || type.kind === "enum64" ? type.values[spec.indices[0]!] : undefined;
    return value === undefined ? text : `${text}::${value.name} = ${value.value}`;
  }
  for (let i = 0; i < spec.accessors.length; i++) {
    const { name, index } = spec.accessors[i]!;
    if (name !== undefined) text += `.${name}`;
    else if (i > 0 || index > 0) text += `[${index}]`;
  }
  const bits = spec.bitOffset % 8;
  const offset = `${Math.floor(spec.bitOffset / 8)}${bits === 0 ? "" : `.${bits}`}`;
  return `${text} (${spec.indices.join(":")} @ offset ${offset})`;
}

/** The form in which libbpf names a relocation in its messages: `<byte_off> [2] struct task_struct.pid (0:1 @ offset 4)`. */
export function describe(relocation: CoreRelocation, local: string): string {
  return `<${SHORT_KINDS[relocation.kind]}> [${relocation.type}] ${local}`;
}
