// Browser-safe.

import type { BtfLinkage, BtfType } from "./types.ts";

/** A member to write. */
export interface BtfMemberSpec {
  /** Default none: an anonymous struct or union. */
  readonly name?: string | undefined;
  /** Number of its type. */
  readonly type: number;
  /** Distance from the start, in bits. Default 0. */
  readonly bitOffset?: number | undefined;
  /** Width in bits of a bit field. Default 0: none. */
  readonly bitfieldSize?: number | undefined;
}

interface Composite<K extends string> {
  readonly kind: K;
  readonly name?: string | undefined;
  /** In bytes. */
  readonly size: number;
  readonly members: readonly BtfMemberSpec[];
}

interface Modifier<K extends string> {
  readonly kind: K;
  readonly type: number;
}

/**
 * A type to write: what {@link BtfType} says, without its number and with what goes without saying left out. Every
 * decoded type is one.
 */
export type BtfTypeSpec =
  | {
      readonly kind: "int";
      readonly name: string;
      /** In bytes. */
      readonly size: number;
      /** Default `8 * size`. */
      readonly bits?: number | undefined;
      /** Default 0. */
      readonly bitOffset?: number | undefined;
      readonly signed?: boolean | undefined;
      readonly char?: boolean | undefined;
      readonly bool?: boolean | undefined;
    }
  | Modifier<"ptr">
  | {
      readonly kind: "array";
      /** The element type. */
      readonly type: number;
      readonly indexType: number;
      readonly length: number;
    }
  | Composite<"struct">
  | Composite<"union">
  | {
      readonly kind: "enum";
      readonly name?: string | undefined;
      /** In bytes. Default 4. */
      readonly size?: number | undefined;
      readonly signed?: boolean | undefined;
      readonly values: readonly { readonly name: string; readonly value: number }[];
    }
  | {
      readonly kind: "enum64";
      readonly name?: string | undefined;
      /** In bytes. Default 8. */
      readonly size?: number | undefined;
      readonly signed?: boolean | undefined;
      readonly values: readonly { readonly name: string; readonly value: bigint }[];
    }
  | { readonly kind: "fwd"; readonly name: string; readonly target: "struct" | "union" }
  | { readonly kind: "typedef"; readonly name: string; readonly type: number }
  | Modifier<"volatile">
  | Modifier<"const">
  | Modifier<"restrict">
  | {
      readonly kind: "func";
      readonly name: string;
      /** Number of the prototype. */
      readonly type: number;
      /** Default `global`. */
      readonly linkage?: BtfLinkage | undefined;
    }
  | {
      readonly kind: "func_proto";
      /** Default 0: `void`. */
      readonly returnType?: number | undefined;
      readonly params: readonly { readonly name?: string | undefined; readonly type: number }[];
      readonly variadic?: boolean | undefined;
    }
  | {
      readonly kind: "var";
      readonly name: string;
      readonly type: number;
      /** Default `global`. */
      readonly linkage?: BtfLinkage | undefined;
    }
  | {
      readonly kind: "datasec";
      readonly name: string;
      /** In bytes. Default 0, to be filled in by a loader. */
      readonly size?: number | undefined;
      readonly vars: readonly { readonly type: number; readonly offset: number; readonly size: number }[];
    }
  | {
      readonly kind: "float";
      readonly name: string;
      /** In bytes. */
      readonly size: number;
    }
  | {
      readonly kind: "decl_tag";
      /** The tag. */
      readonly name: string;
      readonly type: number;
      /** Default -1: the type itself. */
      readonly componentIndex?: number | undefined;
      readonly attribute?: boolean | undefined;
    }
  | {
      readonly kind: "type_tag";
      /** The tag. */
      readonly name: string;
      readonly type: number;
      readonly attribute?: boolean | undefined;
    };

/** Kinds that refer to one other type, in `type`. */
type Referring = Extract<BtfTypeSpec, { readonly type: number }>;

/**
 * Type numbers that a type holds, in the order of the file: of an array element and index, a struct member by member,
 * a prototype its return type and parameters.
 */
export function referencesOf(type: BtfTypeSpec | BtfType): number[] {
  switch (type.kind) {
    case "void":
    case "int":
    case "enum":
    case "enum64":
    case "fwd":
    case "float":
      return [];
    case "struct":
    case "union":
      return type.members.map((member) => member.type);
    case "array":
      return [type.type, type.indexType];
    case "func_proto":
      return [type.returnType ?? 0, ...type.params.map((param) => param.type)];
    case "datasec":
      return type.vars.map((entry) => entry.type);
    default:
      return [type.type];
  }
}

/**
 * A copy of a type with other type numbers.
 *
 * @param type the type; not changed
 * @param map gives the new number for an old one
 */
export function mapReferences(type: BtfTypeSpec, map: (id: number) => number): BtfTypeSpec {
  switch (type.kind) {
    case "int":
    case "enum":
    case "enum64":
    case "fwd":
    case "float":
      return type;
    case "struct":
    case "union":
      return { ...type, members: type.members.map((member) => ({ ...member, type: map(member.type) })) };
    case "array":
      return { ...type, type: map(type.type), indexType: map(type.indexType) };
    case "func_proto": {
      const params = type.params.map((param) => ({ ...param, type: map(param.type) }));
      return { ...type, returnType: map(type.returnType ?? 0), params };
    }
    case "datasec":
      return { ...type, vars: type.vars.map((entry) => ({ ...entry, type: map(entry.type) })) };
    default:
      return { ...type, type: map((type satisfies Referring).type) };
  }
}

/** The name of a type to write; empty when it has none. */
export function specName(type: BtfTypeSpec): string {
  return "name" in type ? (type.name ?? "") : "";
}
