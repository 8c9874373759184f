// Browser-safe.

import { type Btf, openBtf } from "./btf.ts";
import { type EncodeBtfOptions, encodeBtf } from "./encode.ts";
import type { BtfTypeSpec } from "./spec.ts";
import type { TypeId } from "./types.ts";

/** Types that are being put together: numbers are given when types are added, and types may be changed afterwards. */
export interface BtfBuilder {
  /** Number of the first type: 1, or that behind the last of the base. */
  readonly firstId: number;
  /** One above the number of the last type: the number that the next one gets. */
  readonly endId: number;
  /** The types so far. */
  readonly types: readonly BtfTypeSpec[];

  /**
   * Adds a type.
   *
   * @returns its number
   */
  add(type: BtfTypeSpec): TypeId;

  /**
   * Gives a number that {@link set} fills in later: for types that refer to each other. Until then it is a forward
   * declaration.
   *
   * @param name name of the struct or union
   * @param target which of both
   */
  declare(name: string, target?: "struct" | "union"): TypeId;

  /**
   * Puts another type in the place of one.
   *
   * @throws RangeError when there is no such type of its own
   */
  set(id: number, type: BtfTypeSpec): void;

  /** Writes it; see {@link encodeBtf}. */
  encode(): Uint8Array;

  /** Writes it and opens it. */
  build(): Btf;
}

/**
 * Starts a BTF.
 *
 * @param options as of {@link encodeBtf}
 *
 * @example
 * ```ts
 * import { createBtfBuilder } from "rawbpf/btf";
 *
 * const builder = createBtfBuilder();
 * const node = builder.declare("node");
 * const pointer = builder.add({ kind: "ptr", type: node });
 * builder.set(node, { kind: "struct", name: "node", size: 8, members: [{ name: "next", type: pointer }] });
 * console.log(builder.build().sizeOf(node)); // 8
 * ```
 */
export function createBtfBuilder(options: EncodeBtfOptions = {}): BtfBuilder {
  const types: BtfTypeSpec[] = [];
  const firstId = options.base?.endId ?? 1;
  const encode = (): Uint8Array => encodeBtf(types, options);
  const add = (type: BtfTypeSpec): TypeId => (firstId + types.push(type) - 1) as TypeId;
  return {
    firstId,
    types,
    get endId() {
      return firstId + types.length;
    },
    add,
    declare: (name, target = "struct") => add({ kind: "fwd", name, target }),
    set(id, type) {
      if (!(id >= firstId && id < firstId + types.length)) {
        throw new RangeError(`No type ${id} was added, there are ${firstId} to ${firstId + types.length - 1}`);
      }
      types[id - firstId] = type;
    },
    encode,
    build: () => openBtf(encode(), { base: options.base }),
  };
}
