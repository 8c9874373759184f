// Browser-safe.

import type { Btf, BtfType } from "../../btf/index.ts";

/** As deep as types are compared; what lies deeper is taken to be the same. */
const MAX_DEPTH = 32;

/** Comparisons made for one pair of types; more are taken to be a trap. */
const MAX_STEPS = 10_000;

/** Comparisons that may still be made for one result: as many as no honest object needs. */
export interface ComparisonBudget {
  left: number;
}

/**
 * Whether two declarations of one name, in different objects, may mean the same thing. Behind a pointer a struct only
 * has to have the same name, as one object may know its members and the other not.
 */
export function areCompatible(a: Btf, aId: number, b: Btf, bId: number, budget: ComparisonBudget): boolean {
  let steps = 0;
  const same = (x: number, y: number, depth: number, behindPointer: boolean): boolean => {
    if (depth > MAX_DEPTH || ++steps > MAX_STEPS || --budget.left < 0) return true;
    const [s, t] = [a.resolve(x), b.resolve(y)];
    if (isComposite(s) && isComposite(t) && behindPointer) return isUnion(s) === isUnion(t) && s.name === t.name;
    if (isEnum(s) && isEnum(t)) return s.size === t.size || s.values.length === 0 || t.values.length === 0;
    if (s.kind !== t.kind) return false;
    switch (s.kind) {
      case "void":
      case "fwd":
        return s.name === t.name;
      case "int":
      case "float":
        return s.size === (t as typeof s).size;
      case "ptr":
        return same(s.type, (t as typeof s).type, depth + 1, true);
      case "array": {
        const other = t as typeof s;
        // A declaration may leave the length open.
        const lengths = s.length === other.length || s.length === 0 || other.length === 0;
        return lengths && same(s.type, other.type, depth + 1, behindPointer);
      }
      case "func_proto": {
        const other = t as typeof s;
        if (s.params.length !== other.params.length || s.variadic !== other.variadic) return false;
        const params = s.params.every((param, i) => same(param.type, other.params[i]!.type, depth + 1, false));
        return params && same(s.returnType, other.returnType, depth + 1, false);
      }
      case "struct":
      case "union": {
        const other = t as typeof s;
        if (s.size !== other.size || s.members.length !== other.members.length) return false;
        return s.members.every((member, i) => {
          const its = other.members[i]!;
          if (member.name !== its.name || member.bitOffset !== its.bitOffset) return false;
          return same(member.type, its.type, depth + 1, false);
        });
      }
      default:
        return true;
    }
  };
  const [s, t] = [a.typeById(aId), b.typeById(bId)];
  if (s.kind !== t.kind || (s.kind !== "func" && s.kind !== "var")) return false;
  return same(s.type, (t as typeof s).type, 0, false);
}

type Composite = Extract<BtfType, { readonly kind: "struct" | "union" | "fwd" }>;

function isComposite(type: BtfType): type is Composite {
  return type.kind === "struct" || type.kind === "union" || type.kind === "fwd";
}

function isUnion(type: Composite): boolean {
  return type.kind === "union" || (type.kind === "fwd" && type.target === "union");
}

function isEnum(type: BtfType): type is Extract<BtfType, { readonly kind: "enum" | "enum64" }> {
  return type.kind === "enum" || type.kind === "enum64";
}
