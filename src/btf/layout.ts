// Browser-safe.

import { type BpfErrorCode, BtfError } from "../errors.ts";
import type { Btf } from "./btf.ts";
import type { BtfType, TypeId } from "./types.ts";

/** Steps that any chain of names, qualifiers and arrays may have, as in libbpf and the kernel. */
export const MAX_RESOLVE_DEPTH = 32;

function fail(btf: Btf, id: number, code: BpfErrorCode, message: string): BtfError {
  return new BtfError(code, message, { path: `${btf.image.path} type[${id}]` });
}

/** See {@link Btf.resolve}. */
export function resolveType(btf: Btf, id: number): BtfType {
  let type = btf.typeById(id);
  for (let depth = 0; ; depth++) {
    switch (type.kind) {
      case "typedef":
      case "const":
      case "volatile":
      case "restrict":
      case "type_tag":
        break;
      default:
        return type;
    }
    if (depth === MAX_RESOLVE_DEPTH) throw tooDeep(btf, id);
    type = btf.typeById(type.type);
  }
}

/** See {@link Btf.sizeOf}. */
export function sizeOf(btf: Btf, id: number): number {
  let count = 1;
  let at = id;
  for (let depth = 0; depth <= MAX_RESOLVE_DEPTH; depth++) {
    const type = btf.typeById(at);
    switch (type.kind) {
      case "int":
      case "struct":
      case "union":
      case "enum":
      case "enum64":
      case "float":
      case "datasec":
        return checked(btf, id, count * type.size);
      case "ptr":
        return checked(btf, id, count * btf.pointerSize);
      case "typedef":
      case "const":
      case "volatile":
      case "restrict":
      case "type_tag":
      case "decl_tag":
      case "var":
        at = type.type;
        break;
      case "array":
        count = checked(btf, id, count * type.length);
        at = type.type;
        break;
      case "void":
      case "fwd":
      case "func":
      case "func_proto":
        throw unsized(btf, type);
      default:
        return type satisfies never;
    }
  }
  throw tooDeep(btf, id);
}

function checked(btf: Btf, id: number, size: number): number {
  if (size > 0xffffffff) throw fail(btf, id, "ERR_LIMIT", `Size of ${size} bytes is above ${0xffffffff}`);
  return size;
}

function unsized(btf: Btf, type: BtfType): BtfError {
  const name = type.name === "" ? "" : ` "${type.name}"`;
  return fail(btf, type.id, "ERR_BTF_UNSIZED", `A value of kind ${type.kind}${name} has no size`);
}

function tooDeep(btf: Btf, id: number): BtfError {
  return fail(btf, id, "ERR_BTF_CYCLE", `More than ${MAX_RESOLVE_DEPTH} steps to the type behind it`);
}

const alignments = /* @__PURE__ */ new WeakMap<Btf, Map<number, number>>();
const IN_PROGRESS = -1;

/**
 * See {@link Btf.alignOf}. Structs inside structs are kept on a stack of our own, so that no nesting exhausts that of
 * the machine, and each type is worked out once.
 */
export function alignOf(btf: Btf, id: number): number {
  let known = alignments.get(btf);
  if (known === undefined) {
    known = new Map();
    alignments.set(btf, known);
  }
  const stack: number[] = [id];
  try {
    for (let at = stack.at(-1); at !== undefined; at = stack.at(-1)) {
      const state = known.get(at);
      if (state !== undefined && state !== IN_PROGRESS) {
        stack.pop();
        continue;
      }
      const type = btf.typeById(at);
      if (state === undefined && pushParts(btf, type, known, stack)) {
        known.set(at, IN_PROGRESS);
        continue;
      }
      stack.pop();
      known.set(at, combine(btf, type, known));
    }
  } finally {
    // Empty unless something was thrown.
    for (const open of stack) if (known.get(open) === IN_PROGRESS) known.delete(open);
  }
  return known.get(id)!;
}

/** Puts what the alignment depends on, and is not known yet, on the stack. */
function pushParts(btf: Btf, type: BtfType, known: Map<number, number>, stack: number[]): boolean {
  const before = stack.length;
  const push = (id: number): void => {
    const state = known.get(id);
    if (state === undefined) stack.push(id);
    else if (state === IN_PROGRESS) throw fail(btf, id, "ERR_BTF_CYCLE", "The type contains itself");
  };
  if (type.kind === "struct" || type.kind === "union") for (const member of type.members) push(member.type);
  else if (followed(type)) push(type.type);
  return stack.length > before;
}

function followed(type: BtfType): type is Extract<BtfType, { readonly type: TypeId }> {
  switch (type.kind) {
    case "typedef":
    case "const":
    case "volatile":
    case "restrict":
    case "type_tag":
    case "decl_tag":
    case "var":
    case "array":
      return true;
    default:
      return false;
  }
}

/** The alignment of a type, when those of its parts are known. */
function combine(btf: Btf, type: BtfType, known: Map<number, number>): number {
  switch (type.kind) {
    case "ptr":
      return btf.pointerSize;
    case "int":
    case "float":
      // libbpf says 8 for __int128 and long double; compilers for every 64-bit machine align them to 16.
      return type.size === 16 ? 16 : Math.min(btf.pointerSize, type.size);
    case "enum":
    case "enum64":
      return Math.min(btf.pointerSize, type.size);
    case "struct":
    case "union": {
      let largest = 1;
      for (const member of type.members) {
        const alignment = known.get(member.type)!;
        // A member in a place that its type does not allow, or a size that does not fill up: packed.
        if (member.bitfieldSize === 0 && member.bitOffset % (8 * alignment) !== 0) return 1;
        largest = Math.max(largest, alignment);
      }
      return type.size % largest === 0 ? largest : 1;
    }
    default:
      if (followed(type)) return known.get(type.type)!;
      throw unsized(btf, type);
  }
}

const LONG_NAMES = [
  "long int",
  "long",
  "long unsigned int",
  "unsigned long",
  "int long",
  "unsigned long int",
  "unsigned int long",
  "long int unsigned",
];

/**
 * Size of a pointer as the size of `long` tells it, which is as wide on every machine that Linux runs on.
 *
 * @returns 8 when there is no such type
 */
export function pointerSizeOf(btf: Btf): 4 | 8 {
  for (const name of LONG_NAMES) {
    for (const type of btf.typesByName(name, "int")) if (type.size === 4 || type.size === 8) return type.size;
  }
  return 8;
}
