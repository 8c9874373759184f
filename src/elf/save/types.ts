// Browser-safe.

import {
  type BtfBuilder,
  type BtfMemberSpec,
  type BtfTypeSpec,
  createBtfBuilder,
  mapReferences,
  type TypeId,
} from "../../btf/index.ts";
import { MapType } from "../../kernel-abi/index.ts";
import { emptyRecord } from "../object/file.ts";
import type { ExternSpec, ObjectMapSpec, ObjectSpec, VariableSpec } from "../object/spec.ts";

const POINTER_BYTES = 8;

/** A variable of a section, as types and symbols describe it. */
export interface SavedVariable {
  readonly name: string;
  /** Offset in the section, in bytes. */
  readonly offset: number;
  /** Bytes. */
  readonly size: number;
  /** Its `var`; 0 when its type is not known. */
  readonly id: TypeId;
  readonly isStatic: boolean;
}

/** Types of a file: those of the specification under new numbers, and those that describe maps, variables and externs. */
export class SavedTypes {
  readonly builder: BtfBuilder;
  readonly #spec: ObjectSpec;
  readonly #ids = new Map<number, TypeId>([[0, 0 as TypeId]]);
  readonly #numbers = new Map<number, TypeId>();
  #int: TypeId | undefined;

  constructor(spec: ObjectSpec) {
    this.#spec = spec;
    this.builder = createBtfBuilder({ littleEndian: spec.littleEndian });
    this.#copy();
  }

  /** Whether there is anything to write. */
  get isEmpty(): boolean {
    return this.builder.types.length === 0;
  }

  /** New number of a type of the specification. */
  idOf(id: TypeId): TypeId {
    return this.#ids.get(id) ?? (0 as TypeId);
  }

  /**
   * Takes over the types. Variables, sections, and functions of the kernel are described anew; the others keep their
   * order.
   */
  #copy(): void {
    const { btf, externs } = this.#spec;
    if (btf === undefined) return;
    const dropped = new Set<number>();
    for (const type of btf.types()) {
      if (type.kind === "datasec" || type.kind === "var") dropped.add(type.id);
      else if (type.kind === "func" && externs[type.name]?.kind === "kfunc") dropped.add(type.id);
      else if (type.kind === "decl_tag" && dropped.has(type.type)) dropped.add(type.id);
    }
    // A tag may stand before what it is on.
    for (const type of btf.types()) if (type.kind === "decl_tag" && dropped.has(type.type)) dropped.add(type.id);
    let next = 1;
    for (const type of btf.types()) if (!dropped.has(type.id)) this.#ids.set(type.id, next++ as TypeId);
    for (const type of btf.types()) {
      if (!dropped.has(type.id)) this.builder.add(mapReferences(type, (id) => this.idOf(id as TypeId)));
    }
  }

  /** Describes a section of variables. */
  addSection(name: string, size: number, variables: readonly SavedVariable[]): void {
    const vars = variables
      .filter(({ id }) => id !== 0)
      .map(({ id, offset, size }) => ({ type: id, offset, size }))
      .sort((a, b) => a.offset - b.offset);
    if (vars.length > 0) this.builder.add({ kind: "datasec", name, size, vars });
  }

  addVariable({ name, type, linkage, offset, size, tags }: VariableSpec): SavedVariable {
    const isStatic = linkage === "static";
    if (type === 0) return { name, offset, size, id: type, isStatic };
    return { name, offset, size, id: this.#addVar(name, this.idOf(type), linkage, tags), isStatic };
  }

  addStructOps(map: ObjectMapSpec, offset: number): SavedVariable {
    const type = this.idOf(map.structOps!.type);
    const id = this.#addVar(map.name, type, "global", map.tags);
    return { name: map.name, offset, size: map.contents.length, id, isStatic: false };
  }

  #addVar(name: string, type: TypeId, linkage: "global" | "static" | "extern", tags: readonly string[]): TypeId {
    const id = this.builder.add({ kind: "var", name, type, linkage });
    for (const tag of tags) this.builder.add({ kind: "decl_tag", name: tag, type: id });
    return id;
  }

  /** Describes a map of `.maps`. */
  addMap(map: ObjectMapSpec, offset: number): SavedVariable & { readonly valuesOffset: number } {
    const { id: type, size, valuesOffset } = this.#define(map);
    const slots = map.values.reduce((count, { key }) => Math.max(count, key + 1), 0);
    const id = this.#addVar(map.name, type, "global", map.tags);
    return { name: map.name, offset, size: size + POINTER_BYTES * slots, id, isStatic: false, valuesOffset };
  }

  #define(map: ObjectMapSpec): { readonly id: TypeId; readonly size: number; readonly valuesOffset: number } {
    const members: BtfMemberSpec[] = [];
    let size = 0;
    const add = (name: string, type: TypeId): void => {
      members.push({ name, type, bitOffset: 8 * size });
      size += POINTER_BYTES;
    };
    add("type", this.#number(MapType[map.type]));
    const takesMaps = map.inner !== undefined;
    const takesPrograms = map.type === "prog_array" && map.values.length > 0;
    if (map.keyType !== 0) add("key", this.builder.add({ kind: "ptr", type: this.idOf(map.keyType) }));
    else if (map.keySize !== 0) add("key_size", this.#number(map.keySize));
    if (map.valueType !== 0) add("value", this.builder.add({ kind: "ptr", type: this.idOf(map.valueType) }));
    else if (map.valueSize !== 0 && !takesMaps) add("value_size", this.#number(map.valueSize));
    if (map.maxEntries !== 0) add("max_entries", this.#number(map.maxEntries));
    if (map.flags !== 0) add("map_flags", this.#number(map.flags));
    if (map.numaNode !== undefined) add("numa_node", this.#number(map.numaNode));
    if (map.mapExtra !== 0n) add("map_extra", this.#long(map.mapExtra));
    if (map.pinning === "by_name") add("pinning", this.#number(1));
    const valuesOffset = size;
    if (takesMaps || takesPrograms) {
      const target = takesMaps ? this.#define(map.inner!).id : this.#function();
      const pointer = this.builder.add({ kind: "ptr", type: target });
      const type = this.builder.add({ kind: "array", type: pointer, indexType: this.#intType(), length: 0 });
      members.push({ name: "values", type, bitOffset: 8 * size });
    }
    return { id: this.builder.add({ kind: "struct", size, members }), size, valuesOffset };
  }

  /** What `__uint` makes of a number: a pointer to an array of that length. */
  #number(value: number): TypeId {
    let id = this.#numbers.get(value);
    if (id === undefined) {
      const int = this.#intType();
      const array = this.builder.add({ kind: "array", type: int, indexType: int, length: value });
      id = this.builder.add({ kind: "ptr", type: array });
      this.#numbers.set(value, id);
    }
    return id;
  }

  /** What `__ulong` makes of a number: an enum with that value. */
  #long(value: bigint): TypeId {
    if (value <= 0xffffffffn) return this.#number(Number(value));
    const name = `__unique_value${this.builder.endId}`;
    return this.builder.add({ kind: "enum64", size: 8, values: [{ name, value }] });
  }

  #function(): TypeId {
    const returnType = this.#intType();
    const context = this.builder.add({ kind: "ptr", type: 0 });
    return this.builder.add({ kind: "func_proto", returnType, params: [{ type: context }] });
  }

  #intType(): TypeId {
    this.#int ??= this.#findInt() ?? this.builder.add({ kind: "int", name: "int", size: 4, signed: true });
    return this.#int;
  }

  #findInt(): TypeId | undefined {
    const isInt = (type: BtfTypeSpec): boolean =>
      type.kind === "int" && type.size === 4 && (type.bits ?? 32) === 32 && type.signed === true;
    const index = this.builder.types.findIndex(isInt);
    return index < 0 ? undefined : ((index + 1) as TypeId);
  }

  /** Describes what is taken from the kernel; what nothing is known of is left to its symbol. */
  addExterns(externs: readonly ExternSpec[]): void {
    const sections = emptyRecord<SavedVariable[]>();
    for (const extern of externs) {
      const { name, kind } = extern;
      if (kind === "undefined") continue;
      const section = kind === "kconfig" ? ".kconfig" : ".ksyms";
      const type = this.idOf(extern.type);
      const id =
        kind === "kfunc"
          ? type !== 0 && this.builder.add({ kind: "func", name, type, linkage: "extern" })
          : this.#addVar(name, kind === "ksym" && type === 0 ? this.#void() : type, "extern", []);
      if (id === false) continue;
      sections[section] ??= [];
      sections[section].push({ name, offset: 0, size: kind === "kconfig" ? extern.size : 4, id, isStatic: false });
    }
    for (const [name, variables] of Object.entries(sections)) this.addSection(name, 0, variables);
  }

  /** What `extern const void` makes: a variable whose address is all that is known. */
  #void(): TypeId {
    return this.builder.add({ kind: "const", type: 0 });
  }
}
