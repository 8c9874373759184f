// Browser-safe.

import type { Btf } from "../btf.ts";
import { essentialName } from "../names.ts";
import type { BtfEnum, BtfEnum64, BtfStruct, BtfType, BtfUnion } from "../types.ts";
import { coreError } from "./errors.ts";

/** Steps and nestings of the two relations below, as in libbpf and the kernel. */
const MAX_DEPTH = 32;

/** Whether two kinds may stand for each other: they are the same, or both are enums. */
export function kindsCompatible(a: BtfType["kind"], b: BtfType["kind"]): boolean {
  return a === b || (isEnum(a) && isEnum(b));
}

function isEnum(kind: BtfType["kind"]): boolean {
  return kind === "enum" || kind === "enum64";
}

function tooDeep(what: string): Error {
  return coreError("ERR_BTF_CYCLE", `Types are nested more than ${MAX_DEPTH} deep, cannot tell whether they ${what}`);
}

/**
 * Whether a field of one type can be read where one of another was expected. Names, qualifiers, the lengths of
 * arrays and the sizes and signs of integers are passed over: any struct or union stands for any other, any pointer for any other.
 * Enums and forward declarations want the same name, unless one has none.
 */
export function fieldsCompatible(local: Btf, localId: number, target: Btf, targetId: number): boolean {
  let a = local.resolve(localId);
  let b = target.resolve(targetId);
  for (let depth = 0; a.kind === "array" && b.kind === "array"; depth++) {
    if (depth === MAX_DEPTH) throw tooDeep("are compatible");
    a = local.resolve(a.type);
    b = target.resolve(b.type);
  }
  if (isComposite(a) && isComposite(b)) return true;
  if (!kindsCompatible(a.kind, b.kind)) return false;
  switch (a.kind) {
    case "ptr":
    case "float":
      return true;
    case "fwd":
    case "enum":
    case "enum64":
      return a.name === "" || b.name === "" || essentialName(a.name) === essentialName(b.name);
    case "int":
      return a.bitOffset === 0 && b.kind === "int" && b.bitOffset === 0;
    default:
      return false;
  }
}

function isComposite(type: BtfType): type is BtfStruct | BtfUnion {
  return type.kind === "struct" || type.kind === "union";
}

/**
 * Whether a type exists (`type_exists`, `type_size`, `type_id_target`): the same kind, and behind pointers, arrays and
 * functions the same kinds again. What structs hold, and how large integers are, does not matter.
 *
 * @throws BtfError `ERR_BTF_CYCLE` when the types are nested more than 32 deep
 */
export function typesCompatible(local: Btf, localId: number, target: Btf, targetId: number): boolean {
  if (!kindsCompatible(local.kindOf(localId), target.kindOf(targetId))) return false;
  // Everything must be compatible, so that no pair has to be looked at twice.
  const seen = new Set<string>();
  const open = [{ localId, targetId, depth: 0, level: 0 }];
  for (let pair = open.pop(); pair !== undefined; pair = open.pop()) {
    const { depth, level } = pair;
    if (depth >= MAX_DEPTH || level > MAX_DEPTH) throw tooDeep("are compatible");
    const a = local.resolve(pair.localId);
    const b = target.resolve(pair.targetId);
    if (!kindsCompatible(a.kind, b.kind)) return false;
    const key = `${a.id}:${b.id}`;
    if (seen.has(key)) continue;
    seen.add(key);
    switch (a.kind) {
      case "void":
      case "struct":
      case "union":
      case "enum":
      case "enum64":
      case "fwd":
        break;
      case "int":
        if (a.bitOffset !== 0 || b.kind !== "int" || b.bitOffset !== 0) return false;
        break;
      case "ptr":
      case "array":
        if (b.kind !== a.kind) return false;
        open.push({ localId: a.type, targetId: b.type, depth: depth + 1, level });
        break;
      case "func_proto":
        if (b.kind !== "func_proto" || a.params.length !== b.params.length || a.variadic !== b.variadic) return false;
        open.push({ localId: a.returnType, targetId: b.returnType, depth: depth + 1, level });
        for (const [i, param] of a.params.entries()) {
          open.push({ localId: param.type, targetId: b.params[i]!.type, depth: 0, level: level + 1 });
        }
        break;
      default:
        return false;
    }
  }
  return true;
}

/**
 * Whether a type matches (`type_matches`): each member and enumerator of the local type is in the kernel's, under the
 * same name and of a type that matches in its turn. Integers must have the same size and sign, arrays the same length.
 * Behind a pointer, structs match by kind and name alone, and forward declarations match what they declare.
 *
 * @throws BtfError `ERR_BTF_CYCLE` when the types are nested more than 32 deep
 */
export function typesMatch(local: Btf, localId: number, target: Btf, targetId: number): boolean {
  return match({ local, target, known: new Map() }, localId, targetId, false, MAX_DEPTH);
}

interface Matching {
  readonly local: Btf;
  readonly target: Btf;
  /** Results, so that types which share their parts are not gone through over and over. */
  readonly known: Map<string, boolean>;
}

// Recursion is bounded by `level`; what one level does is linear in the types it looks at.
function match(on: Matching, localId: number, targetId: number, behindPointer: boolean, level: number): boolean {
  if (level <= 0) throw tooDeep("match");
  let a = on.local.resolve(localId);
  let b = on.target.resolve(targetId);
  const key = `${a.id}:${b.id}:${behindPointer}`;
  const before = on.known.get(key);
  if (before !== undefined) return before;
  let pointed = behindPointer;
  let result: boolean | undefined;
  for (let depth = 0; result === undefined; depth++) {
    if (depth === MAX_DEPTH) throw tooDeep("match");
    if (essentialName(a.name) !== essentialName(b.name)) {
      result = false;
    } else if (a.kind === "ptr" && b.kind === "ptr") {
      pointed = true;
      a = on.local.resolve(a.type);
      b = on.target.resolve(b.type);
    } else if (a.kind === "array" && b.kind === "array" && a.length === b.length) {
      a = on.local.resolve(a.type);
      b = on.target.resolve(b.type);
    } else if (a.kind === "func_proto" && b.kind === "func_proto") {
      const { params, variadic, returnType } = b;
      const same = a.params.length === params.length && a.variadic === variadic;
      if (!same || !a.params.every((p, i) => match(on, p.type, params[i]!.type, pointed, level - 1))) {
        result = false;
      } else {
        a = on.local.resolve(a.returnType);
        b = on.target.resolve(returnType);
      }
    } else {
      result = matchEnd(on, a, b, pointed, level);
    }
  }
  on.known.set(key, result);
  return result;
}

/** Types at the end of a chain of pointers, arrays and functions; their names are the same. */
function matchEnd(on: Matching, a: BtfType, b: BtfType, behindPointer: boolean, level: number): boolean {
  switch (a.kind) {
    case "void":
      return b.kind === "void";
    case "int":
      return b.kind === "int" && a.size === b.size && a.signed === b.signed;
    case "enum":
    case "enum64":
      return (b.kind === "enum" || b.kind === "enum64") && enumsMatch(a, b);
    case "fwd":
      return b.kind === "fwd" ? a.target === b.target : behindPointer && b.kind === a.target;
    case "struct":
    case "union":
      if (behindPointer) return a.kind === b.kind || (b.kind === "fwd" && b.target === a.kind);
      return b.kind === a.kind && membersMatch(on, a, b, level);
    default:
      return false;
  }
}

function enumsMatch(a: BtfEnum | BtfEnum64, b: BtfEnum | BtfEnum64): boolean {
  if (a.size !== b.size || a.values.length > b.values.length) return false;
  const names = new Set<string>();
  for (const { name } of b.values) names.add(essentialName(name));
  return (a.values as readonly { readonly name: string }[]).every(({ name }) => names.has(essentialName(name)));
}

function membersMatch(on: Matching, a: BtfStruct | BtfUnion, b: BtfStruct | BtfUnion, level: number): boolean {
  if (a.members.length > b.members.length) return false;
  const byName = new Map<string, number[]>();
  for (const { name, type } of b.members) {
    const essential = essentialName(name);
    const list = byName.get(essential);
    if (list === undefined) byName.set(essential, [type]);
    else list.push(type);
  }
  return a.members.every(({ name, type }) => {
    const types = byName.get(essentialName(name)) ?? [];
    return types.some((other) => match(on, type, other, false, level - 1));
  });
}
