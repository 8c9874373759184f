// Browser-safe.

import { type BpfErrorCode, BtfError } from "../../errors.ts";
import type { CoreReloKind } from "../../kernel-abi/index.ts";

/** Steps that a path may have, as in libbpf. */
export const MAX_ACCESSORS = 64;

/** Makes a {@link BtfError} about a relocation. */
export function coreError(code: BpfErrorCode, message: string, hint?: string): BtfError {
  return new BtfError(code, message, { hint });
}

/** Offset in bits, which the kernel keeps in 32 of them. */
export function checkedBits(bits: number): number {
  if (bits > 0xffffffff) throw coreError("ERR_CORE_SPEC", `Offset of ${bits} bits does not fit 32 bits`);
  return bits;
}

/** Whether a question is about a field, a type or an enumerator. */
export function subjectOf(kind: CoreReloKind): "field" | "type" | "enumerator" {
  switch (kind) {
    case "field_byte_offset":
    case "field_byte_size":
    case "field_exists":
    case "field_signed":
    case "field_lshift_u64":
    case "field_rshift_u64":
      return "field";
    case "type_id_local":
    case "type_id_target":
    case "type_exists":
    case "type_size":
    case "type_matches":
      return "type";
    case "enumval_exists":
    case "enumval_value":
      return "enumerator";
    default:
      return unknownKind(kind);
  }
}

/** For what no type says: data that did not come through the reader. */
export function unknownKind(kind: never): never {
  throw coreError("ERR_CORE_SPEC", `Unknown kind of relocation "${kind}"`);
}
