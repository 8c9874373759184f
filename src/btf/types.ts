// Browser-safe.

declare const typeIdBrand: unique symbol;

/**
 * Number of a type inside a {@link Btf}: 0 is `void`, a split BTF goes on where its base ends. A branded number, so
 * that an offset or a count is not taken for one; every function that looks a type up takes a plain number as well.
 */
export type TypeId = number & { readonly [typeIdBrand]: true };

interface BtfTypeBase<K extends string> {
  /** Which of the kinds this is. */
  readonly kind: K;
  /** Its own number. */
  readonly id: TypeId;
  /** Its name; empty for anonymous types and for kinds that have none. */
  readonly name: string;
}

/** `void`: type 0 of every BTF. */
export interface BtfVoid extends BtfTypeBase<"void"> {}

/** An integer. No more than one of `signed`, `char` and `bool` is set in BTF that the kernel accepts. */
export interface BtfInt extends BtfTypeBase<"int"> {
  /** Storage, in bytes. */
  readonly size: number;
  /** Width in bits; below `8 * size` only for bit fields in the old encoding. */
  readonly bits: number;
  /** Distance of the value from the start of the storage, in bits; 0 except for bit fields in the old encoding. */
  readonly bitOffset: number;
  /** A signed integer. */
  readonly signed: boolean;
  /** Flagged as a character; compilers rarely do. */
  readonly char: boolean;
  /** A boolean. */
  readonly bool: boolean;
}

/** A pointer. */
export interface BtfPtr extends BtfTypeBase<"ptr"> {
  /** What it points to. */
  readonly type: TypeId;
}

/** An array. */
export interface BtfArray extends BtfTypeBase<"array"> {
  /** The element type. */
  readonly type: TypeId;
  /** The type of an index, always an integer. */
  readonly indexType: TypeId;
  /** Number of elements; 0 for a flexible array. */
  readonly length: number;
}

/** One member of a struct or union. */
export interface BtfMember {
  /** Empty for an anonymous struct or union, whose members are then reached through the outer type. */
  readonly name: string;
  /** Its type. */
  readonly type: TypeId;
  /** Distance from the start of the struct, in bits. */
  readonly bitOffset: number;
  /** Width in bits when it is a bit field, 0 when it is not. */
  readonly bitfieldSize: number;
}

/** A struct. */
export interface BtfStruct extends BtfTypeBase<"struct"> {
  /** Size in bytes. */
  readonly size: number;
  /** Its members, in the order of the declaration. */
  readonly members: readonly BtfMember[];
}

/** A union. */
export interface BtfUnion extends BtfTypeBase<"union"> {
  /** Size in bytes. */
  readonly size: number;
  /** Its members, in the order of the declaration. */
  readonly members: readonly BtfMember[];
}

/** One enumerator of an `enum`. */
export interface BtfEnumValue {
  /** Its name. */
  readonly name: string;
  /** Its value: negative only when the enum is signed. */
  readonly value: number;
}

/** An enum whose values fit 32 bits. */
export interface BtfEnum extends BtfTypeBase<"enum"> {
  /** Size in bytes: 1, 2, 4 or 8; may be 0 when it is declared only and has no values. */
  readonly size: number;
  /** Whether values are to be taken as signed. */
  readonly signed: boolean;
  /** Its enumerators, in the order of the declaration. */
  readonly values: readonly BtfEnumValue[];
}

/** One enumerator of an `enum64`. */
export interface BtfEnum64Value {
  /** Its name. */
  readonly name: string;
  /** Its value: negative only when the enum is signed. */
  readonly value: bigint;
}

/** An enum with values of 64 bits. */
export interface BtfEnum64 extends BtfTypeBase<"enum64"> {
  /** Size in bytes: 1, 2, 4 or 8; may be 0 when it is declared only and has no values. */
  readonly size: number;
  /** Whether values are to be taken as signed. */
  readonly signed: boolean;
  /** Its enumerators, in the order of the declaration. */
  readonly values: readonly BtfEnum64Value[];
}

/** A struct or union that is declared but not defined. */
export interface BtfFwd extends BtfTypeBase<"fwd"> {
  /** What it would be. */
  readonly target: "struct" | "union";
}

/** A name for another type. */
export interface BtfTypedef extends BtfTypeBase<"typedef"> {
  /** The type it stands for. */
  readonly type: TypeId;
}

/** `volatile`. */
export interface BtfVolatile extends BtfTypeBase<"volatile"> {
  /** The type qualified. */
  readonly type: TypeId;
}

/** `const`. */
export interface BtfConst extends BtfTypeBase<"const"> {
  /** The type qualified. */
  readonly type: TypeId;
}

/** `restrict`. */
export interface BtfRestrict extends BtfTypeBase<"restrict"> {
  /** The type qualified. */
  readonly type: TypeId;
}

/** How a function or variable is seen from outside. */
export type BtfLinkage = "static" | "global" | "extern";

/** A function. */
export interface BtfFunc extends BtfTypeBase<"func"> {
  /** Its prototype: a `func_proto`. */
  readonly type: TypeId;
  /** How it is seen from outside. */
  readonly linkage: BtfLinkage;
}

/** One parameter of a function prototype. */
export interface BtfParam {
  /** Its name, empty when it has none. */
  readonly name: string;
  /** Its type. */
  readonly type: TypeId;
}

/** The type of a function. */
export interface BtfFuncProto extends BtfTypeBase<"func_proto"> {
  /** What it returns; 0 for `void`. */
  readonly returnType: TypeId;
  /** Its parameters, without the ellipsis. */
  readonly params: readonly BtfParam[];
  /** Whether an ellipsis follows the parameters. */
  readonly variadic: boolean;
}

/** A variable. */
export interface BtfVar extends BtfTypeBase<"var"> {
  /** Its type. */
  readonly type: TypeId;
  /** How it is seen from outside. */
  readonly linkage: BtfLinkage;
}

/** One variable of a section. */
export interface BtfSecinfo {
  /** The variable: a `var`, or a `func` for functions of `.ksyms`. */
  readonly type: TypeId;
  /** Offset inside the section, in bytes. */
  readonly offset: number;
  /** Size in bytes. */
  readonly size: number;
}

/** An ELF section with its variables. */
export interface BtfDatasec extends BtfTypeBase<"datasec"> {
  /** Size in bytes; 0 until a loader fills it in from the ELF file. */
  readonly size: number;
  /** Its variables, by offset. */
  readonly vars: readonly BtfSecinfo[];
}

/** A floating-point number. */
export interface BtfFloat extends BtfTypeBase<"float"> {
  /** Size in bytes: 2, 4, 8, 12 or 16. */
  readonly size: number;
}

/** `__attribute__((btf_decl_tag("...")))` on a declaration. */
export interface BtfDeclTag extends BtfTypeBase<"decl_tag"> {
  /** What is tagged: a struct, union, func, var or typedef. */
  readonly type: TypeId;
  /** Which member or parameter is tagged, or -1 for the type itself. */
  readonly componentIndex: number;
  /** Whether `name` is any attribute (Linux 6.14) and not the argument of `btf_decl_tag`. */
  readonly attribute: boolean;
}

/** `__attribute__((btf_type_tag("...")))` on a pointer's target. */
export interface BtfTypeTag extends BtfTypeBase<"type_tag"> {
  /** The type tagged. */
  readonly type: TypeId;
  /** Whether `name` is any attribute (Linux 6.14) and not the argument of `btf_type_tag`. */
  readonly attribute: boolean;
}

/** A type: a union over `kind`. */
export type BtfType =
  | BtfVoid
  | BtfInt
  | BtfPtr
  | BtfArray
  | BtfStruct
  | BtfUnion
  | BtfEnum
  | BtfFwd
  | BtfTypedef
  | BtfVolatile
  | BtfConst
  | BtfRestrict
  | BtfFunc
  | BtfFuncProto
  | BtfVar
  | BtfDatasec
  | BtfFloat
  | BtfDeclTag
  | BtfTypeTag
  | BtfEnum64;

/** Name of a kind. */
export type BtfKind = BtfType["kind"];

/** The type of one kind: `BtfTypeOf<"struct">` is {@link BtfStruct}. */
export type BtfTypeOf<K extends BtfKind> = Extract<BtfType, { readonly kind: K }>;
