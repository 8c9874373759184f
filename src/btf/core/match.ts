// Browser-safe.

import type { Btf } from "../btf.ts";
import { essentialName } from "../names.ts";
import type { BtfMember, BtfStruct, BtfUnion, TypeId } from "../types.ts";
import { fieldsCompatible, typesCompatible, typesMatch } from "./compatible.ts";
import { checkedBits, coreError, MAX_ACCESSORS, subjectOf } from "./errors.ts";
import { isFlexible } from "./spec.ts";
import type { CoreAccessor, CoreSpec } from "./types.ts";

/**
 * Follows a path of the local types through a type of the kernel: the same names and array elements, in whatever order
 * and depth of anonymous members they lie there.
 *
 * @param local the local types
 * @param spec the path there
 * @param target types of the kernel
 * @param root the candidate
 * @returns the path in the kernel's type; `undefined` when it is not there, or leads to something incompatible
 * @throws BtfError when the types are nested too deep
 */
export function matchSpec(local: Btf, spec: CoreSpec, target: Btf, root: TypeId): CoreSpec | undefined {
  const { kind } = spec;
  switch (subjectOf(kind)) {
    case "type": {
      const relation = kind === "type_matches" ? typesMatch : typesCompatible;
      if (!relation(local, spec.root, target, root)) return undefined;
      return { kind, root, accessors: [], indices: [], bitOffset: 0 };
    }
    case "enumerator":
      return matchEnumerator(spec, target, root);
    default:
      return matchField(local, spec, target, root);
  }
}

function matchEnumerator(spec: CoreSpec, target: Btf, root: TypeId): CoreSpec | undefined {
  const type = target.resolve(root);
  if (type.kind !== "enum" && type.kind !== "enum64") return undefined;
  const wanted = essentialName(spec.accessors[0]!.name!);
  const values: readonly { readonly name: string }[] = type.values;
  const index = values.findIndex(({ name }) => name.startsWith(wanted) && essentialName(name) === wanted);
  if (index < 0) return undefined;
  const accessor = { type: type.id, index, name: values[index]!.name };
  return { kind: spec.kind, root, accessors: [accessor], indices: [index], bitOffset: 0 };
}

function matchField(local: Btf, spec: CoreSpec, target: Btf, root: TypeId): CoreSpec | undefined {
  const accessors: CoreAccessor[] = [];
  const indices: number[] = [];
  let bitOffset = 0;
  let at = root;
  for (let step = 0; step < spec.accessors.length; step++) {
    const wanted = spec.accessors[step]!;
    const type = target.resolve(at);
    if (wanted.name === undefined) {
      let element = type.id;
      // The first step counts elements of an array of the whole type.
      if (step > 0) {
        if (type.kind !== "array") return undefined;
        if (wanted.index >= type.length && !isFlexible(target, accessors.at(-1)!, type)) return undefined;
        element = target.resolve(type.type).id;
      }
      addStep(indices, wanted.index);
      accessors.push({ type: element, index: wanted.index, name: undefined });
      bitOffset = checkedBits(bitOffset + wanted.index * target.sizeOf(element) * 8);
      at = element;
      continue;
    }
    if (type.kind !== "struct" && type.kind !== "union") return undefined;
    const trail = findMember(target, type, wanted.name, indices.length);
    if (trail === undefined) return undefined;
    for (const { owner, index } of trail) {
      addStep(indices, index);
      bitOffset = checkedBits(bitOffset + owner.members[index]!.bitOffset);
    }
    const { owner, index } = trail.at(-1)!;
    const found = owner.members[index]!;
    if (!fieldsCompatible(local, memberOf(local, wanted).type, target, found.type)) return undefined;
    accessors.push({ type: owner.id, index, name: found.name });
    at = found.type;
  }
  return { kind: spec.kind, root, accessors, indices, bitOffset };
}

function addStep(indices: number[], index: number): void {
  if (indices.length >= MAX_ACCESSORS) {
    throw coreError("ERR_CORE_RELOCATION", `The path through the kernel's types has more than ${MAX_ACCESSORS} steps`);
  }
  indices.push(index);
}

function memberOf(btf: Btf, { type, index }: CoreAccessor): BtfMember {
  const owner = btf.typeById(type);
  const member = owner.kind === "struct" || owner.kind === "union" ? owner.members[index] : undefined;
  if (member === undefined) throw coreError("ERR_CORE_SPEC", `Type [${type}] has no member ${index}`);
  return member;
}

interface Step {
  readonly owner: BtfStruct | BtfUnion;
  readonly index: number;
}

/**
 * Finds a member by name, also inside of anonymous members.
 *
 * @param steps steps that the path has so far
 * @returns the members on the way, that which was looked for last
 */
function findMember(btf: Btf, type: BtfStruct | BtfUnion, name: string, steps: number): Step[] | undefined {
  const trail: Step[] = [];
  // An anonymous type that lacks the name lacks it wherever it is met again: without this, a few types that hold one
  // another twice each would take for ever.
  const without = new Set<number>();
  const search = (owner: BtfStruct | BtfUnion): boolean => {
    if (without.has(owner.id)) return false;
    without.add(owner.id);
    const { members } = owner;
    for (let index = 0; index < members.length; index++) {
      const member = members[index]!;
      if (member.name === name) {
        trail.push({ owner, index });
        return true;
      }
      if (member.name !== "") continue;
      const inner = btf.resolve(member.type);
      if (inner.kind !== "struct" && inner.kind !== "union") continue;
      if (steps + trail.length + 1 >= MAX_ACCESSORS) {
        throw coreError("ERR_CORE_RELOCATION", `Anonymous members are nested more than ${MAX_ACCESSORS} deep`);
      }
      trail.push({ owner, index });
      if (search(inner)) return true;
      trail.pop();
    }
    return false;
  };
  return search(type) ? trail : undefined;
}
