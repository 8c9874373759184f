// Browser-safe.

import { type BtfTypeSpec, specName } from "./spec.ts";

/** What a kernel knows of BTF. What is not mentioned it knows. */
export interface BtfFeatures {
  /** `func` and `func_proto` (Linux 5.0). */
  readonly func?: boolean | undefined;
  /** `var` and `datasec` (Linux 5.2). */
  readonly datasec?: boolean | undefined;
  /** Names of sections that start with `?` (Linux 6.9). */
  readonly questionMarkDatasec?: boolean | undefined;
  /** Functions of `global` linkage (Linux 5.6). */
  readonly funcGlobal?: boolean | undefined;
  /** `float` (Linux 5.13). */
  readonly float?: boolean | undefined;
  /** `decl_tag` (Linux 5.16). */
  readonly declTag?: boolean | undefined;
  /** `type_tag` (Linux 5.17). */
  readonly typeTag?: boolean | undefined;
  /** `enum64`, and enums that are marked as signed (Linux 6.0). */
  readonly enum64?: boolean | undefined;
  /** Tags that are any attribute (Linux 6.14). */
  readonly attributeTag?: boolean | undefined;
}

/**
 * Replaces what an older kernel does not know by something of the same size that it does. Numbers of types stay as
 * they are; one type may be added behind the last. The replacements are libbpf's:
 *
 * | unknown | becomes |
 * |---|---|
 * | `var` | an `int` of one byte |
 * | `datasec` | a `struct` with a member for each variable |
 * | `?` at the start of a section's name | `_` |
 * | `func_proto` | an `enum` with a value for each parameter |
 * | `func` | a `typedef` |
 * | global `func` | a static one |
 * | `float` | an anonymous `struct` of the same size without members |
 * | `decl_tag` | an `int` of one byte |
 * | `type_tag` | `const` |
 * | `enum64` | a `union` of the same size with a member for each value |
 * | signed `enum` | an unsigned one, its values modulo 2^32 |
 *
 * The layout section is left out by not asking `encodeBtf` for it.
 *
 * @param types the types, in the order of their numbers
 * @param features what the kernel knows
 * @param firstId number of the first type. Default 1
 * @returns new types; those that need no replacement are the same objects
 *
 * @example
 * ```ts
 * import { downgradeBtf } from "rawbpf/btf";
 *
 * const [type] = downgradeBtf([{ kind: "float", name: "double", size: 8 }], { float: false });
 * type?.kind; // "struct"
 * ```
 */
export function downgradeBtf(types: readonly BtfTypeSpec[], features: BtfFeatures, firstId = 1): BtfTypeSpec[] {
  const lacks = (feature: keyof BtfFeatures): boolean => features[feature] === false;
  const needsPlaceholder = lacks("enum64") && types.some((type) => type.kind === "enum64");
  const placeholder = firstId + types.length;
  const nameOf = (id: number): string => {
    const type = types[id - firstId];
    return type === undefined ? "" : specName(type);
  };
  const replace = (type: BtfTypeSpec): BtfTypeSpec => {
    switch (type.kind) {
      case "var":
        // One byte, and not four: the variable may be no larger, and its section's end must not be passed.
        return lacks("datasec") ? { kind: "int", name: type.name, size: 1 } : type;
      case "datasec":
        if (lacks("datasec")) {
          const members = type.vars.map((entry) => ({
            name: nameOf(entry.type),
            type: entry.type,
            bitOffset: 8 * entry.offset,
          }));
          return { kind: "struct", name: type.name.replace(/[^A-Za-z0-9_]/g, "_"), size: type.size ?? 0, members };
        }
        if (lacks("questionMarkDatasec") && type.name.startsWith("?")) {
          return { ...type, name: `_${type.name.slice(1)}` };
        }
        return type;
      case "func_proto": {
        if (!lacks("func")) return type;
        const values = type.params.map((param, i) => ({
          name: param.name === undefined || param.name === "" ? `arg${i}` : param.name,
          value: param.type,
        }));
        return { kind: "enum", values };
      }
      case "func":
        if (lacks("func")) return { kind: "typedef", name: type.name, type: type.type };
        return lacks("funcGlobal") && type.linkage !== "static" ? { ...type, linkage: "static" } : type;
      case "float":
        // Without a name: that of a float is a keyword, which no struct may have.
        return lacks("float") ? { kind: "struct", size: type.size, members: [] } : type;
      case "decl_tag":
        // A kernel without functions has no tags either; one on a parameter would now be on a typedef.
        if (lacks("declTag") || lacks("func") || (type.attribute === true && lacks("attributeTag"))) {
          return { kind: "int", name: type.name, size: 1 };
        }
        return type;
      case "type_tag":
        if (lacks("typeTag") || (type.attribute === true && lacks("attributeTag"))) {
          return { kind: "const", type: type.type };
        }
        return type;
      case "enum": {
        if (!lacks("enum64") || type.signed !== true) return type;
        return { ...type, signed: false, values: type.values.map(({ name, value }) => ({ name, value: value >>> 0 })) };
      }
      case "enum64": {
        if (!lacks("enum64")) return type;
        const members = type.values.map(({ name }) => ({ name, type: placeholder }));
        return { kind: "union", name: type.name, size: type.size ?? 8, members };
      }
      default:
        return type;
    }
  };
  const replaced = types.map(replace);
  if (needsPlaceholder) replaced.push({ kind: "int", name: "enum64_placeholder", size: 1 });
  return replaced;
}
