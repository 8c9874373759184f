// Browser-safe.

import type { Btf, BtfMember, BtfStruct, BtfType, TypeId } from "../../btf/index.ts";
import { closest } from "../../bytes/index.ts";
import { BtfError } from "../../errors.ts";
import { MapType, nameOfValue } from "../../kernel-abi/index.ts";
import type { ObjectMapSpec } from "./spec.ts";

/** A map with nothing in it, to be filled in. */
export function emptyMap(name: string, kind: ObjectMapSpec["kind"], type: MapType): ObjectMapSpec {
  return {
    name,
    kind,
    type,
    keySize: 0,
    valueSize: 0,
    keyType: 0 as TypeId,
    valueType: 0 as TypeId,
    maxEntries: 0,
    flags: 0,
    mapExtra: 0n,
    numaNode: undefined,
    pinning: "none",
    autocreate: true,
    inner: undefined,
    values: [],
    contents: new Uint8Array(0),
    frozen: false,
    mmapable: false,
    tags: [],
    structOps: undefined,
    extra: undefined,
  };
}

/** What a definition says besides what the map is: where its initial values lie. */
export interface MapDefinition {
  readonly map: ObjectMapSpec;
  /** Offset of the member `values` in the definition, in bytes; `undefined` when there is none. */
  readonly valuesOffset: number | undefined;
}

const FIELDS = [
  "type",
  "key",
  "key_size",
  "value",
  "value_size",
  "max_entries",
  "map_flags",
  "map_extra",
  "numa_node",
  "pinning",
  "values",
];

/** Name of the map type of a number. */
export function mapTypeName(type: number): MapType | undefined {
  return nameOfValue(MapType, type);
}

/**
 * Reads the definition of a map: a struct whose members are types that stand for numbers (`__uint`, `__ulong`), and
 * pointers that stand for types (`__type`, `__array`).
 *
 * @param name name of the map
 * @param id type of the variable
 * @param isInner whether it defines what a map of maps takes: it may neither be pinned nor take maps itself
 * @throws BtfError with the member at fault
 */
export function readMapDefinition(btf: Btf, name: string, id: TypeId, isInner = false): MapDefinition {
  const reader = new DefinitionReader(btf, name);
  const definition = btf.resolve(id);
  if (definition.kind !== "struct")
    throw reader.fail(`Type of the definition is of kind ${definition.kind}, expected struct`);
  return reader.read(definition, isInner);
}

class DefinitionReader {
  readonly #btf: Btf;
  readonly #path: string;
  readonly #name: string;

  constructor(btf: Btf, name: string) {
    this.#btf = btf;
    this.#name = name;
    this.#path = `map "${name}"`;
  }

  fail(message: string, member = "", hint?: string): BtfError {
    return new BtfError("ERR_BTF_INVALID", message, {
      path: member === "" ? this.#path : `${this.#path}.${member}`,
      hint,
    });
  }

  read(definition: BtfStruct, isInner: boolean): MapDefinition {
    const map = emptyMap(this.#name, "map", "unspec");
    let valuesOffset: number | undefined;
    let typed = false;
    const sizes: { key?: number; value?: number } = {};
    for (const [i, member] of definition.members.entries()) {
      const { name } = member;
      switch (name) {
        case "type":
          map.type = this.#mapType(this.#number(member));
          typed = true;
          break;
        case "max_entries":
          map.maxEntries = this.#number(member);
          break;
        case "map_flags":
          map.flags = this.#number(member);
          break;
        case "numa_node":
          map.numaNode = this.#number(member);
          break;
        case "map_extra":
          map.mapExtra = this.#long(member);
          break;
        case "key_size":
        case "value_size": {
          const which = name === "key_size" ? "key" : "value";
          this.#setSize(sizes, which, this.#number(member), name);
          break;
        }
        case "key":
        case "value": {
          const type = this.#pointerTarget(member);
          this.#setSize(sizes, name, this.#sizeOf(type, name), name);
          if (name === "key") map.keyType = type;
          else map.valueType = type;
          break;
        }
        case "pinning":
          if (isInner) throw this.fail("A map inside of a map cannot be pinned", name);
          map.pinning = this.#pinning(member);
          break;
        case "values":
          if (isInner) throw this.fail("A map inside of a map cannot take maps or programs itself", name);
          if (i !== definition.members.length - 1) throw this.fail("Is not the last member", name);
          this.#setSize(sizes, "value", 4, name);
          this.#readValues(map, member, typed);
          valuesOffset = member.bitOffset / 8;
          break;
        default:
          throw this.#unknown(name);
      }
    }
    if (!typed) throw this.fail("The definition has no type", "type", "Add __uint(type, BPF_MAP_TYPE_...)");
    map.keySize = sizes.key ?? 0;
    map.valueSize = sizes.value ?? 0;
    return { map, valuesOffset };
  }

  #sizeOf(type: TypeId, which: "key" | "value"): number {
    try {
      return this.#btf.sizeOf(type);
    } catch (cause) {
      if (!(cause instanceof BtfError)) throw cause;
      throw this.fail(`The ${which} has no size: ${cause.message}`, which);
    }
  }

  #unknown(name: string): BtfError {
    const near = closest(name, FIELDS);
    return this.fail(`Unknown attribute "${name}"`, name, near === undefined ? undefined : `Did you mean "${near}"?`);
  }

  #setSize(sizes: { key?: number; value?: number }, which: "key" | "value", size: number, member: string): void {
    const known = sizes[which];
    // A size of 0 says nothing, as in libbpf.
    if (known !== undefined && known !== 0 && known !== size) {
      throw this.fail(`Size of the ${which} is ${size} here, but ${known} by another attribute`, member);
    }
    sizes[which] = size;
  }

  #mapType(number: number): MapType {
    const type = mapTypeName(number);
    if (type === undefined) throw this.fail(`Unknown map type ${number}`, "type");
    if (type === "unspec") throw this.fail("Map type is 0, which is none", "type");
    return type;
  }

  #pinning(member: BtfMember): "none" | "by_name" {
    const value = this.#number(member);
    if (value !== 0 && value !== 1)
      throw this.fail(`Pinning is ${value}, expected 0 (none) or 1 (by name)`, member.name);
    return value === 0 ? "none" : "by_name";
  }

  /** `__uint(name, value)`: a pointer to an array of so many elements. */
  #number(member: BtfMember): number {
    const { length } = this.#numberType(member);
    return length;
  }

  #numberType(member: BtfMember): { readonly length: number } {
    const pointer = this.#btf.resolve(member.type);
    if (pointer.kind === "ptr") {
      const array = this.#btf.resolve(pointer.type);
      if (array.kind === "array") return array;
    }
    const value = this.#enumerated(pointer);
    if (value === undefined || value < 0n || value > 0xffffffffn) {
      throw this.fail("Is no number of 32 bits", member.name, `Write it as __uint(${member.name}, VALUE)`);
    }
    return { length: Number(value) };
  }

  /**
   * `__ulong(name, value)`: an enum with one enumerator of that value; or a number of 32 bits. libbpf extends values of
   * enums of 32 bits by their sign, unsigned ones too: where all 64 bits count, enough of them have to be given.
   */
  #long(member: BtfMember): bigint {
    const type = this.#btf.resolve(member.type);
    const value = this.#enumerated(type);
    if (value === undefined) return BigInt(this.#number(member));
    return BigInt.asUintN(64, type.kind === "enum" ? BigInt.asIntN(32, value) : value);
  }

  #enumerated(type: BtfType): bigint | undefined {
    if ((type.kind !== "enum" && type.kind !== "enum64") || type.values.length !== 1) return undefined;
    return BigInt(type.values[0]!.value);
  }

  #pointerTarget(member: BtfMember): TypeId {
    const pointer = this.#btf.resolve(member.type);
    if (pointer.kind === "ptr") return pointer.type;
    throw this.fail(
      `Is of kind ${pointer.kind}, expected a pointer`,
      member.name,
      `Write it as __type(${member.name}, TYPE)`,
    );
  }

  #readValues(map: ObjectMapSpec, member: BtfMember, typed: boolean): void {
    const { type } = map;
    const takesMaps = type === "array_of_maps" || type === "hash_of_maps";
    if (!takesMaps && type !== "prog_array") {
      const what = typed ? `a map of type ${type}` : "a map whose type is not told before";
      throw this.fail(
        `${what} has no values to begin with, only prog_array, array_of_maps and hash_of_maps do`,
        member.name,
      );
    }
    const array = this.#btf.resolve(member.type);
    if (array.kind !== "array" || array.length !== 0) {
      throw this.fail("Is no array without a length", member.name, "Write it as __array(values, TYPE)");
    }
    const pointer = this.#btf.resolve(array.type);
    if (pointer.kind !== "ptr") throw this.fail(`Elements are of kind ${pointer.kind}, expected pointers`, member.name);
    const target = this.#btf.resolve(pointer.type);
    if (!takesMaps) {
      if (target.kind !== "func_proto")
        throw this.fail(`Elements point to ${target.kind}, expected functions`, member.name);
      return;
    }
    if (target.kind !== "struct")
      throw this.fail(`Elements point to ${target.kind}, expected the definition of a map`, member.name);
    map.inner = readMapDefinition(this.#btf, `${this.#name}.inner`, target.id, true).map;
  }
}
