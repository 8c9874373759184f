// Browser-safe.

import type { Btf } from "../btf.ts";
import type { BtfType } from "../types.ts";
import { coreError, unknownKind } from "./errors.ts";
import type { CoreSpec } from "./types.ts";

/** The answer that one BTF gives. */
export interface CoreValue {
  /** The answer; negative for negative enumerators. */
  readonly value: bigint;
  /** Whether compiler and loader must agree on it, as far as the local type goes. */
  readonly checked: boolean;
  /** Size of what a load or store at the place moves, in bytes; 0 where that is not known. */
  readonly size: number;
  /** Type of that; `undefined` where it is not known. */
  readonly type: BtfType | undefined;
}

function answer(value: bigint | number, checked = true): CoreValue {
  return { value: BigInt(value), checked, size: 0, type: undefined };
}

/**
 * Works out the answer to a relocation, for a path that was followed to its end.
 *
 * @param btf the types that the path goes through
 * @param spec the path
 * @param littleEndian byte order of the program
 * @throws BtfError `ERR_CORE_RELOCATION` when there is none: a bit field that no load of 64 bits covers, say
 */
export function valueAt(btf: Btf, spec: CoreSpec, littleEndian: boolean): CoreValue {
  const { kind } = spec;
  switch (kind) {
    case "field_exists":
    case "type_exists":
    case "type_matches":
    case "enumval_exists":
      return answer(1);
    case "type_size":
      return answer(btf.sizeOf(spec.root));
    case "type_id_local":
    case "type_id_target":
      // Linkers renumber types, and leave instructions alone.
      return answer(spec.root, false);
    case "enumval_value":
      return answer(enumeratorOf(btf, spec));
    case "field_byte_offset":
    case "field_byte_size":
    case "field_signed":
    case "field_lshift_u64":
    case "field_rshift_u64":
      return spec.accessors.at(-1)!.name === undefined ? elementValue(btf, spec) : fieldValue(btf, spec, littleEndian);
    default:
      return unknownKind(kind);
  }
}

function enumeratorOf(btf: Btf, spec: CoreSpec): bigint {
  const { type: id, index } = spec.accessors[0]!;
  const type = btf.typeById(id);
  if (type.kind === "enum64") return type.values[index]!.value;
  if (type.kind !== "enum") throw coreError("ERR_CORE_RELOCATION", `Type [${id}] is ${type.kind}, expected an enum`);
  return BigInt(type.values[index]!.value);
}

function elementValue(btf: Btf, spec: CoreSpec): CoreValue {
  const id = spec.accessors.at(-1)!.type;
  const size = btf.sizeOf(id);
  if (spec.kind === "field_byte_size") return answer(size);
  if (spec.kind !== "field_byte_offset") {
    throw coreError("ERR_CORE_RELOCATION", `A relocation of kind ${spec.kind} cannot be about an element of an array`);
  }
  return { value: BigInt(Math.floor(spec.bitOffset / 8)), checked: true, size, type: btf.resolve(id) };
}

function fieldValue(btf: Btf, spec: CoreSpec, littleEndian: boolean): CoreValue {
  const { type: ownerId, index } = spec.accessors.at(-1)!;
  const owner = btf.typeById(ownerId);
  const member = owner.kind === "struct" || owner.kind === "union" ? owner.members[index]! : undefined;
  if (member === undefined)
    throw coreError("ERR_CORE_RELOCATION", `Type [${ownerId}] is ${owner.kind}, expected a struct`);
  const type = btf.resolve(member.type);
  const bitfield = member.bitfieldSize > 0;
  const place = bitfield ? bitfieldLoad(type, spec.bitOffset, member.bitfieldSize) : undefined;
  const byteSize = place?.byteSize ?? btf.sizeOf(type.id);
  const byteOffset = place?.byteOffset ?? Math.floor(spec.bitOffset / 8);
  const bits = bitfield ? member.bitfieldSize : byteSize * 8;
  const fromStart = spec.bitOffset - byteOffset * 8;
  switch (spec.kind) {
    case "field_byte_offset": {
      if (bitfield) return answer(byteOffset, false);
      // A load from an array loads one element, whatever its dimensions.
      let element = type;
      while (element.kind === "array") element = btf.resolve(element.type);
      return { value: BigInt(byteOffset), checked: true, size: btf.sizeOf(element.id), type: element };
    }
    case "field_byte_size":
      return answer(byteSize, !bitfield);
    case "field_signed":
      return answer((type.kind === "enum" || type.kind === "enum64" || type.kind === "int") && type.signed ? 1 : 0);
    // 32 bits without sign, as in libbpf: these mean nothing for fields of more than 8 bytes.
    case "field_lshift_u64":
      return answer((littleEndian ? 64 - (fromStart + bits) : (8 - byteSize) * 8 + fromStart) >>> 0, !bitfield);
    case "field_rshift_u64":
      return answer((64 - bits) >>> 0);
    default:
      throw coreError("ERR_CORE_RELOCATION", `A relocation of kind ${spec.kind} is not about a field`);
  }
}

/**
 * The smallest aligned load that covers a bit field: that of its declared type, doubled while the field reaches past
 * its end, as it may in packed structs.
 */
function bitfieldLoad(
  type: BtfType,
  bitOffset: number,
  bits: number,
): { readonly byteOffset: number; readonly byteSize: number } {
  if ((type.kind !== "int" && type.kind !== "enum" && type.kind !== "enum64") || type.size === 0) {
    throw coreError("ERR_CORE_RELOCATION", `A bit field of type [${type.id}] ${type.kind} cannot be read`);
  }
  for (let byteSize = type.size; byteSize <= 8; byteSize *= 2) {
    const byteOffset = Math.floor(Math.floor(bitOffset / 8) / byteSize) * byteSize;
    if (bitOffset + bits <= (byteOffset + byteSize) * 8) return { byteOffset, byteSize };
  }
  throw coreError("ERR_CORE_RELOCATION", `The bit field of ${bits} bits at bit ${bitOffset} is in no 64 aligned bits`);
}
