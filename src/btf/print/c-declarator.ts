// Browser-safe.

import { encodeUtf8 } from "../../bytes/index.ts";
import { BtfError } from "../../errors.ts";
import type { Btf } from "../btf.ts";
import type { BtfFuncProto, BtfType, BtfTypeTag } from "../types.ts";
import { identifier, isBuiltInTypedef } from "./c-names.ts";

/** How type tags and declaration tags are written: as attributes that clang knows, as comments, or not at all. */
export type TagStyle = "attributes" | "comments" | "none";

/** What a declaration is made with. */
export interface DeclaratorContext {
  readonly btf: Btf;
  readonly tags: TagStyle;
  /**
   * Text of a type that no declarator is made of: number, struct, union, enum, typedef, forward declaration.
   *
   * @param depth how many structs and prototypes it lies in
   */
  base(type: BtfType, depth: number): string;
  /** Steps that are left: hostile types lead through each other for ever, or unfold to billions. */
  budget: number;
}

/** Prototypes and anonymous structs inside one another. C compilers promise 63. */
export const MAX_NESTING = 64;

/** The error for a type that does not come to an end. */
export function endless(btf: Btf, id: number, what: string): BtfError {
  return new BtfError("ERR_LIMIT", what, { path: `${btf.image.path} type[${id}]` });
}

/**
 * A declaration: type and name as C interlaces them, as in `void (*handlers[4])(int)`.
 *
 * @param context what else it needs
 * @param id the type
 * @param name what is declared; empty for a bare type
 * @param depth how many structs and prototypes it lies in
 * @returns text without a semicolon
 * @throws BtfError `ERR_LIMIT` when the type does not come to an end
 */
export function declaration(context: DeclaratorContext, id: number, name: string, depth = 0): string {
  const { btf } = context;
  if (depth > MAX_NESTING) throw endless(btf, id, `More than ${MAX_NESTING} declarations inside one another`);
  // From the outside in: `inner` is what was read so far, `words` is what qualifies the next type down.
  let inner = name;
  let words = "";
  let tags = "";
  let pointer = false;
  // Without going in a circle no chain is longer than there are types.
  let left = Math.min(btf.endId, context.budget);
  context.budget--;
  for (let at = id; ; context.budget--) {
    if (--left < 0) throw endless(btf, id, "The declaration is too long");
    const type = btf.typeById(at);
    switch (type.kind) {
      case "const":
      case "volatile":
      case "restrict":
        // An array hands its own on to its elements, which may have the same.
        if (!words.includes(type.kind)) words = `${type.kind} ${words}`;
        break;
      case "type_tag":
        tags = `${typeTag(type, context.tags)}${tags}`;
        break;
      case "ptr":
        inner = words === "" && tags === "" ? `*${inner}` : `*${words}${tags}${inner}`.trimEnd();
        words = "";
        tags = "";
        pointer = true;
        break;
      case "array":
        inner = `${pointer ? `(${inner})` : inner}[${type.length}]`;
        pointer = false;
        break;
      case "func_proto":
        inner = `${pointer ? `(${inner})` : inner}(${parameters(context, type, depth + 1)})`;
        pointer = false;
        // A function cannot be qualified.
        words = "";
        tags = "";
        break;
      case "typedef":
        if (!isBuiltInTypedef(type) || type.type === 0)
          return `${words}${context.base(type, depth)} ${tags}${inner}`.trimEnd();
        break;
      default:
        return `${words}${context.base(type, depth)} ${tags}${inner}`.trimEnd();
    }
    at = type.kind === "func_proto" ? type.returnType : type.type;
  }
}

function parameters(context: DeclaratorContext, proto: BtfFuncProto, depth: number): string {
  const list = proto.params.map(({ type, name }) => declaration(context, type, name && identifier(name), depth));
  if (list.length === 0) return "void";
  if (proto.variadic) list.push("...");
  return list.join(", ");
}

function typeTag(type: BtfTypeTag, style: TagStyle): string {
  return style === "none" ? "" : `${tagText("btf_type_tag", type.name, type.attribute, style)} `;
}

/**
 * A tag as text.
 *
 * @param keyword `btf_type_tag` or `btf_decl_tag`
 * @param value its argument, or any attribute
 * @param attribute whether `value` is an attribute
 */
export function tagText(keyword: string, value: string, attribute: boolean, style: "attributes" | "comments"): string {
  // An attribute is taken as it is, hence only where it can be nothing else.
  const sound = attribute ? /^\w+(\([\w ,.-]*\))?$/.test(value) : true;
  const text = attribute ? value : `${keyword}(${cString(value)})`;
  return style === "attributes" && sound ? `__attribute__((${text}))` : `/* ${text.replaceAll("*/", "* /")} */`;
}

const ESCAPES: Readonly<Record<number, string>> = { 9: "\\t", 10: "\\n", 13: "\\r", 34: '\\"', 92: "\\\\" };

/** A string literal of C: plain ASCII, all else as octal escapes. */
export function cString(value: string): string {
  let text = "";
  for (const byte of encodeUtf8(value)) {
    if (byte >= 0x20 && byte < 0x7f && ESCAPES[byte] === undefined) text += String.fromCharCode(byte);
    else text += ESCAPES[byte] ?? `\\${byte.toString(8).padStart(3, "0")}`;
  }
  return `"${text}"`;
}
