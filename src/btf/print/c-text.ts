// Browser-safe.

import type { Btf } from "../btf.ts";
import type { BtfType } from "../types.ts";
import { type DeclaratorContext, declaration } from "./c-declarator.ts";

/** Steps of one declaration; no sensible one takes a hundred. */
const BUDGET = 10_000;

/**
 * A type as C writes it, in one line and without the members of anonymous structs.
 *
 * @param btf where it is from
 * @param id its number
 * @param name what is declared; default a bare type
 * @returns for example `struct task_struct *tasks[4]`; names are those of the BTF, whatever they are
 * @throws BtfError `ERR_LIMIT` when the type does not come to an end
 */
export function typeText(btf: Btf, id: number, name = ""): string {
  const context: DeclaratorContext = { btf, tags: "none", budget: BUDGET, base: baseText };
  const type = btf.typeById(id);
  if (type.kind === "var") return declaration(context, type.type, name === "" ? type.name : name);
  if (type.kind === "datasec") return `section ${type.name}`;
  return declaration(context, id, name);
}

function baseText(type: BtfType): string {
  switch (type.kind) {
    case "struct":
    case "union":
    case "enum":
      return type.name === "" ? `${type.kind} {...}` : `${type.kind} ${type.name}`;
    case "enum64":
      return type.name === "" ? "enum {...}" : `enum ${type.name}`;
    case "fwd":
      return `${type.target} ${type.name}`;
    case "void":
      return "void";
    default:
      return type.name;
  }
}
