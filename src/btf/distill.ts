// Browser-safe.

import { BtfError } from "../errors.ts";
import { type Btf, openBtf } from "./btf.ts";
import { encodeBtf } from "./encode.ts";
import { type BtfTypeSpec, mapReferences, referencesOf, specName } from "./spec.ts";
import type { BtfType } from "./types.ts";

/** A split BTF that carries what it needs of its base, so that it can be used with another build of that base. */
export interface DistilledBtf {
  /** The distilled base: `.BTF.base` of a module. */
  readonly base: Btf;
  /** The split BTF on the distilled base: `.BTF` of that module. */
  readonly split: Btf;
}

/**
 * Distils the base of a split BTF: all that is left of it are the integers, floats, enums, structs, unions and
 * declarations which the split BTF needs, without values and members. Pointers, typedefs and the like, and whatever has
 * no name, go into the split BTF, behind its own types.
 *
 * @param split a split BTF
 * @throws TypeError when it has no base
 * @throws BtfError when a type is malformed
 */
export function distillBtf(split: Btf): DistilledBtf {
  const whole = split.base;
  if (whole === undefined) throw new TypeError("Cannot distil the base of a BTF that has none");
  const typeOf = (id: number): BtfTypeSpec => split.typeById(id) as BtfTypeSpec;
  const needed = new Set<number>();
  const copied = new Set<number>();
  const open: number[] = [];
  for (let id = split.firstId; id < split.endId; id++) open.push(id);
  for (let id = open.pop(); id !== undefined; id = open.pop()) {
    for (const reference of referencesOf(typeOf(id))) {
      if (reference === 0 || reference >= split.firstId || needed.has(reference) || copied.has(reference)) continue;
      if (isDistilled(split.typeById(reference))) needed.add(reference);
      else {
        copied.add(reference);
        open.push(reference);
      }
    }
  }
  const numbers = new Map<number, number>([[0, 0]]);
  const base: BtfTypeSpec[] = [];
  for (const id of [...needed].sort((a, b) => a - b)) numbers.set(id, base.push(distilled(typeOf(id))));
  const own = Array.from({ length: split.endId - split.firstId }, (_, i) => split.firstId + i);
  own.push(...[...copied].sort((a, b) => a - b));
  for (const [i, id] of own.entries()) numbers.set(id, base.length + 1 + i);
  const { littleEndian } = split;
  const newBase = openBtf(encodeBtf(base, { littleEndian }));
  const types = own.map((id) => mapReferences(typeOf(id), (reference) => numbers.get(reference)!));
  return { base: newBase, split: openBtf(encodeBtf(types, { base: newBase }), { base: newBase }) };
}

/**
 * Puts a split BTF with a distilled base on a whole one: each type of the distilled base becomes the type of the same
 * name in the whole base, which must be of the same kind and, where the split BTF holds it, of the same size.
 *
 * @param split a split BTF on its distilled base, as of a module's `.BTF` and `.BTF.base`
 * @param base the whole base, as of the running kernel
 * @returns a new split BTF on `base`
 * @throws TypeError when `split` has no base
 * @throws BtfError `ERR_BTF_INVALID` when its base is not distilled; `ERR_BTF_NOT_FOUND` when the whole base lacks a
 *   type, or has several that could be meant
 *
 * @example
 * ```ts
 * import { distillBtf, encodeBtf, openBtf, relocateBtf } from "rawbpf/btf";
 *
 * const kernel = openBtf(encodeBtf([{ kind: "int", name: "int", size: 4 }]));
 * const module = openBtf(encodeBtf([{ kind: "typedef", name: "t", type: 1 }], { base: kernel }), { base: kernel });
 * const rebuilt = openBtf(encodeBtf([{ kind: "float", name: "double", size: 8 }, { kind: "int", name: "int", size: 4 }]));
 * const moved = relocateBtf(distillBtf(module).split, rebuilt);
 * moved.typeByName("t", "typedef").type; // 2
 * ```
 */
export function relocateBtf(split: Btf, base: Btf): Btf {
  const distilledBase = split.base;
  if (distilledBase === undefined) throw new TypeError("Cannot relocate a BTF that has no base");
  const held = new Set<number>();
  for (const type of split.types(split.firstId)) {
    for (const value of heldBy(type)) {
      const composite = behindNames(split, value);
      if (composite !== undefined) held.add(composite);
    }
  }
  const numbers = new Map<number, number>([[0, 0]]);
  for (const type of distilledBase.types())
    numbers.set(type.id, findInBase(type, held.has(type.id), distilledBase, base));
  const shift = base.endId - split.firstId;
  const types = [...split.types(split.firstId)].map((type) =>
    mapReferences(type, (id) => (id >= split.firstId ? id + shift : numbers.get(id)!)),
  );
  const bytes = encodeBtf(types, { base, littleEndian: split.littleEndian });
  return openBtf(bytes, { base, path: split.image.path });
}

/** Whether a type stays in a distilled base. */
function isDistilled(type: BtfType): boolean {
  switch (type.kind) {
    case "int":
    case "float":
    case "enum":
    case "enum64":
    case "fwd":
    case "struct":
    case "union":
      return type.name !== "";
    default:
      return false;
  }
}

function distilled(type: BtfTypeSpec): BtfTypeSpec {
  switch (type.kind) {
    case "struct":
    case "union":
      return { ...type, members: [] };
    case "enum":
    case "enum64":
      return { kind: "enum", name: specName(type), size: type.size ?? (type.kind === "enum" ? 4 : 8), values: [] };
    default:
      return type;
  }
}

/** Types of which a type holds values. */
function heldBy(type: BtfTypeSpec): number[] {
  switch (type.kind) {
    case "struct":
    case "union":
    case "array":
    case "var":
      return referencesOf(type);
    default:
      return [];
  }
}

/** The struct or union behind names, qualifiers and arrays. */
function behindNames(btf: Btf, id: number): number | undefined {
  let type = btf.resolve(id);
  for (let depth = 0; type.kind === "array" && depth < 32; depth++) type = btf.resolve(type.type);
  return type.kind === "struct" || type.kind === "union" ? type.id : undefined;
}

function findInBase(type: BtfType, held: boolean, distilledBase: Btf, base: Btf): number {
  const fail = (code: "ERR_BTF_INVALID" | "ERR_BTF_NOT_FOUND", message: string): BtfError =>
    new BtfError(code, message, { path: `${distilledBase.image.path} type[${type.id}]` });
  if (!isDistilled(type)) throw fail("ERR_BTF_INVALID", `A distilled base cannot hold a ${type.kind} without a name`);
  const candidates = base.typesByName(type.name).filter((candidate) => isSame(type, candidate, held));
  // A definition is meant rather than a declaration beside it.
  const definitions = candidates.filter((candidate) => candidate.kind !== "fwd");
  const [found, other] = definitions.length > 0 ? definitions : candidates;
  if (found === undefined) {
    const size = held && "size" in type ? ` of ${type.size} bytes` : "";
    throw fail("ERR_BTF_NOT_FOUND", `The base has no ${type.kind} "${type.name}"${size}`);
  }
  if (other !== undefined) {
    const message = `The base has several ${type.kind} "${type.name}": ${found.id} and ${other.id}`;
    throw fail("ERR_BTF_NOT_FOUND", message);
  }
  return found.id;
}

/** Whether a type of the base can be what a distilled type was made from. */
function isSame(type: BtfType, candidate: BtfType, held: boolean): boolean {
  switch (type.kind) {
    case "fwd":
      if (candidate.kind === "fwd") return candidate.target === type.target;
      return candidate.kind === type.target;
    case "int": {
      if (candidate.kind !== "int" || candidate.size !== type.size || candidate.bits !== type.bits) return false;
      return candidate.signed === type.signed && candidate.char === type.char && candidate.bool === type.bool;
    }
    case "float":
      return candidate.kind === "float" && candidate.size === type.size;
    case "enum":
    case "enum64":
      return (candidate.kind === "enum" || candidate.kind === "enum64") && candidate.size === type.size;
    case "struct":
    case "union":
      return candidate.kind === type.kind && (!held || candidate.size === type.size);
    default:
      return false;
  }
}
