// Browser-safe.

import type { Btf } from "./btf.ts";
import { type BtfTypeSpec, mapReferences, referencesOf } from "./spec.ts";
import type { TypeId } from "./types.ts";

/** Types with numbers of their own, and where those of another BTF went. */
export interface RenumberedTypes {
  /** The types, in the order of their numbers. */
  readonly types: readonly BtfTypeSpec[];
  /** New number of each old one that is kept, or of what stands for it now; 0 is 0. Types of a base keep theirs. */
  readonly ids: ReadonlyMap<number, TypeId>;
}

/** Options of {@link subsetBtf}. */
export interface SubsetBtfOptions {
  /** Whether declaration tags come with what they are on. Default `true`. */
  readonly declTags?: boolean | undefined;
}

/**
 * Takes out the types that some types need: the types themselves, what they refer to, and the tags on all of these.
 * What is taken out of a split BTF stands on its own: types of the base are copied.
 *
 * @param btf where to take from
 * @param roots numbers of the types wanted
 * @throws BtfError when one does not exist or is malformed
 *
 * @example
 * ```ts
 * import { encodeBtf, openBtf, subsetBtf } from "rawbpf/btf";
 *
 * const btf = openBtf(encodeBtf([
 *   { kind: "int", name: "int", size: 4, signed: true },
 *   { kind: "float", name: "float", size: 4 },
 *   { kind: "ptr", type: 1 },
 * ]));
 * const { types, ids } = subsetBtf(btf, [3]);
 * types.length; // 2
 * ids.get(3); // 2
 * ```
 */
export function subsetBtf(btf: Btf, roots: Iterable<number>, options: SubsetBtfOptions = {}): RenumberedTypes {
  const wanted = new Set<number>([0]);
  const open: number[] = [];
  const want = (id: number): void => {
    if (wanted.has(id)) return;
    wanted.add(id);
    open.push(id);
  };
  for (const root of roots) want(root);
  for (let id = open.pop(); id !== undefined; id = open.pop()) {
    for (const reference of referencesOf(btf.typeById(id))) want(reference);
    if (options.declTags ?? true) for (const tag of btf.declTags(id)) want(tag.id);
  }
  // void, which comes first, keeps its number.
  const order = [...wanted].sort((a, b) => a - b);
  const ids = new Map(order.map((id, i) => [id, i as TypeId]));
  const types = order.slice(1).map((id) => mapReferences(btf.typeById(id) as BtfTypeSpec, (old) => ids.get(old)!));
  return { types, ids };
}
