import type { Btf } from "../btf/index.ts";
import { bytes, type Codec } from "../bytes/index.ts";
import type { ObjectMapSpec } from "../elf/index.ts";

/** Codecs of a map's keys and values. */
export interface MapCodecs {
  readonly key: Codec<unknown>;
  readonly value: Codec<unknown>;
}

/**
 * Codecs for the types that an object names for a map; plain bytes where it names none.
 *
 * @param btf types of the object
 * @param map the map
 */
export function codecsOf(btf: Btf | undefined, map: ObjectMapSpec): MapCodecs {
  return { key: codecOf(btf, map.keyType, map.keySize), value: codecOf(btf, map.valueType, map.valueSize) };
}

/**
 * Codec of a type; plain bytes where there is none, or where it is of another size.
 *
 * @param btf types of the object
 * @param type number of the type, 0 for none
 * @param size bytes of a value
 */
export function codecOf(_btf: Btf | undefined, _type: number, size: number): Codec<unknown> {
  return bytes(size) as unknown as Codec<unknown>;
}
