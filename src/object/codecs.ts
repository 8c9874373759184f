import type { Btf } from "../btf/index.ts";
import { bytes, type Codec } from "../bytes/index.ts";
import type { ObjectMapSpec } from "../elf/index.ts";

/** Codecs of a map's keys and values; a size in bytes stands for what the type of the map says of itself. */
export interface MapCodecs {
  readonly key: Codec<unknown> | number;
  readonly value: Codec<unknown> | number;
}

/**
 * Codecs for the types that an object names for a map.
 *
 * @param btf types of the object
 * @param map the map
 */
export function codecsOf(_btf: Btf | undefined, map: ObjectMapSpec): MapCodecs {
  const { keySize, valueSize } = map;
  return {
    key: keySize,
    value: valueSize,
  };
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
