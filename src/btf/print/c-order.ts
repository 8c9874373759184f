// Browser-safe.

import type { BtfError } from "../../errors.ts";
import type { Btf } from "../btf.ts";
import { btfError } from "../image.ts";
import type { BtfType } from "../types.ts";
import { isBuiltInNumber, isBuiltInTypedef } from "./c-names.ts";

/** One declaration to print. */
export interface Step {
  /** The type: struct, union, enum, typedef, forward declaration, function, variable, or number that C has no name for. */
  readonly id: number;
  /** `declare`: only that there is such a struct or union. */
  readonly what: "declare" | "define";
}

/**
 * How much of a type must be known: all of it, only that it exists, or all of it as an element of an array that is
 * pointed to. C needs elements complete, other languages do not: a circle that goes through one is let be.
 */
type Need = "complete" | "name" | "element";

/** A type that a declaration needs before it. */
interface Wanted {
  readonly id: number;
  readonly need: Need;
}

/** A type whose needs are being met. */
interface Frame extends Wanted {
  readonly wants: readonly Wanted[];
  next: number;
}

/**
 * Finds the order of declarations: each after all that it needs. Walks with a stack of its own, so that chains of any
 * length do not exhaust that of the machine, and remembers what was declared from one root to the next.
 */
export class DeclarationOrder {
  readonly #btf: Btf;
  readonly #declared = new Set<number>();
  readonly #defined = new Set<number>();
  /** Typedefs of which also the type behind them is complete. */
  readonly #complete = new Set<number>();
  readonly #open = new Set<number>();

  constructor(btf: Btf) {
    this.#btf = btf;
  }

  /**
   * The declarations that a type needs, and its own.
   *
   * @param root any type; a pointer or an array stands for what it is made of
   * @throws BtfError `ERR_BTF_CYCLE` when a struct or typedef holds itself
   */
  of(root: number): Step[] {
    const steps: Step[] = [];
    const stack: Frame[] = [];
    const start = this.#unit(root) ? [{ id: root, need: "complete" as const }] : this.#wantsOf(root, "complete");
    for (const wanted of start) {
      this.#enter(wanted, stack, steps);
      for (let frame = stack.at(-1); frame !== undefined; frame = stack.at(-1)) {
        const wanted = frame.wants[frame.next++];
        if (wanted !== undefined) this.#enter(wanted, stack, steps);
        else {
          stack.pop();
          this.#leave(frame, steps);
        }
      }
    }
    return steps;
  }

  /** Whether a type has a declaration of its own. */
  #unit(id: number): boolean {
    const type = this.#btf.typeById(id);
    switch (type.kind) {
      case "typedef":
        return !isBuiltInTypedef(type);
      case "enum":
      case "enum64":
      case "fwd":
      case "func":
      case "var":
        return true;
      case "struct":
      case "union":
        return type.name !== "";
      case "int":
      case "float":
        return !isBuiltInNumber(type.name);
      default:
        return false;
    }
  }

  #enter({ id: wanted, need }: Wanted, stack: Frame[], steps: Step[]): void {
    const type = namesake(this.#btf, this.#btf.typeById(wanted));
    const { id } = type;
    switch (type.kind) {
      case "fwd":
        if (!this.#declared.has(id)) steps.push({ id, what: "declare" });
        this.#declared.add(id);
        return;
      case "enum":
      case "enum64":
      case "int":
      case "float":
        if (!this.#defined.has(id)) steps.push({ id, what: "define" });
        this.#defined.add(id);
        return;
      case "struct":
      case "union":
        if (this.#defined.has(id)) return;
        if (need === "name") {
          // Inside of its own braces it is declared.
          if (stack.at(-1)?.id === id) return;
          if (!this.#declared.has(id)) steps.push({ id, what: "declare" });
          this.#declared.add(id);
          return;
        }
        break;
      case "typedef":
        if (need === "name" ? this.#defined.has(id) : this.#complete.has(id)) return;
        break;
      default:
        if (this.#defined.has(id)) return;
    }
    const key = keyOf(id, need);
    if (this.#open.has(key)) {
      const around = stack.slice(stack.findIndex((frame) => keyOf(frame.id, frame.need) === key) + 1);
      if (need === "element" || around.some((frame) => frame.need === "element")) return;
      throw this.#cycle(type);
    }
    this.#open.add(key);
    const wants = this.#wantsOf(id, need);
    if (type.kind === "typedef" && need !== "name") wants.push({ id, need: "name" });
    stack.push({ id, need, wants, next: 0 });
  }

  #leave({ id, need }: Frame, steps: Step[]): void {
    this.#open.delete(keyOf(id, need));
    if (this.#btf.kindOf(id) === "typedef") {
      if (need !== "name") this.#complete.add(id);
      else if (!this.#defined.has(id)) {
        steps.push({ id, what: "define" });
        this.#defined.add(id);
      }
      return;
    }
    steps.push({ id, what: "define" });
    this.#defined.add(id);
  }

  /**
   * What the declaration of a type needs. Anonymous structs are part of the declaration that uses them, pointers,
   * arrays and prototypes always are.
   */
  #wantsOf(id: number, need: Need): Wanted[] {
    const wants: Wanted[] = [];
    const seen = new Set<number>();
    const pending: Wanted[] = [];
    const push = (id: number, need: Need): void => {
      const key = keyOf(id, need);
      if (seen.has(key)) return;
      seen.add(key);
      pending.push({ id, need });
    };
    const parts = (id: number, need: Need): void => {
      const type = this.#btf.typeById(id);
      switch (type.kind) {
        case "struct":
        case "union":
          for (let i = type.members.length - 1; i >= 0; i--) push(type.members[i]!.type, "complete");
          break;
        case "array":
          // An element must be complete even behind a pointer.
          push(type.type, need === "complete" ? "complete" : "element");
          break;
        case "ptr":
        case "func":
          push(type.type, "name");
          break;
        case "func_proto":
          for (let i = type.params.length - 1; i >= 0; i--) push(type.params[i]!.type, "name");
          push(type.returnType, "name");
          break;
        case "typedef":
        case "const":
        case "volatile":
        case "restrict":
        case "type_tag":
        case "decl_tag":
          push(type.type, need);
          break;
        case "var":
          push(type.type, "name");
          break;
        case "datasec":
          for (let i = type.vars.length - 1; i >= 0; i--) push(type.vars[i]!.type, "complete");
          break;
        default:
          break;
      }
    };
    parts(id, need);
    for (let at = pending.pop(); at !== undefined; at = pending.pop()) {
      const anonymous = this.#btf.nameOf(at.id) === "";
      const kind = this.#btf.kindOf(at.id);
      if (anonymous && (kind === "enum" || kind === "enum64")) continue;
      if (this.#unit(at.id)) wants.push(at);
      else parts(at.id, at.need);
    }
    return wants;
  }

  #cycle(type: BtfType): BtfError {
    const path = `${this.#btf.image.path} type[${type.id}]`;
    return btfError("ERR_BTF_CYCLE", `The declaration of ${type.kind} "${type.name}" needs itself`, path);
  }
}

function keyOf(id: number, need: Need): number {
  return need === "name" ? -id : id;
}

/** What an enum without values stands for: another one of its name that has some. */
export function namesake<T extends BtfType>(btf: Btf, type: T): T {
  if ((type.kind !== "enum" && type.kind !== "enum64") || type.values.length > 0 || type.name === "") return type;
  for (const kind of ["enum", "enum64"] as const) {
    for (const other of btf.typesByName(type.name, kind)) if (other.values.length > 0) return other as BtfType as T;
  }
  return type;
}

/**
 * All types that have declarations of their own, those of a base left out.
 *
 * @param order by kind and name, or by number
 */
export function allTypes(btf: Btf, order: "name" | "id"): number[] {
  const ids: number[] = [];
  const embedded = new Set<number>();
  const enums: number[] = [];
  const mark = (id: number): void => {
    embedded.add(id);
  };
  for (let id = btf.firstId; id < btf.endId; id++) {
    if (!LISTED.has(kindAt(btf, id))) continue;
    const type = btf.typeById(id);
    switch (type.kind) {
      case "struct":
      case "union":
        for (const member of type.members) mark(member.type);
        if (type.name !== "") ids.push(id);
        break;
      case "enum":
      case "enum64":
        if (type.name === "") enums.push(id);
        else ids.push(id);
        break;
      case "fwd":
        ids.push(id);
        break;
      case "typedef":
        mark(type.type);
        ids.push(id);
        break;
      case "array":
      case "ptr":
      case "const":
      case "volatile":
      case "restrict":
      case "type_tag":
        mark(type.type);
        break;
      default:
        break;
    }
  }
  // An anonymous enum is declared where it is used, or here.
  for (const id of enums) if (!embedded.has(id)) ids.push(id);
  return order === "id" ? ids.sort((a, b) => a - b) : byName(btf, ids);
}

const LISTED: ReadonlySet<string> = /* @__PURE__ */ new Set(
  "struct union enum enum64 fwd typedef array ptr const volatile restrict type_tag".split(" "),
);

/** Kind of a type, `undefined` when only the layout section of the BTF knows it. */
function kindAt(btf: Btf, id: number): string {
  try {
    return btf.kindOf(id);
  } catch {
    return "";
  }
}

function byName(btf: Btf, ids: readonly number[]): number[] {
  const keyed = ids.map((id) => {
    const type = btf.typeById(id);
    let name = type.name;
    if (name === "" && (type.kind === "enum" || type.kind === "enum64")) name = type.values[0]?.name ?? "";
    return { id, rank: rankOf(btf, type), name };
  });
  keyed.sort((a, b) => a.rank - b.rank || (a.name < b.name ? -1 : a.name > b.name ? 1 : a.id - b.id));
  return keyed.map(({ id }) => id);
}

/** Enums first, then names of numbers, structs, the rest: so that most of what a type needs is there already. */
function rankOf(btf: Btf, type: BtfType): number {
  switch (type.kind) {
    case "enum":
    case "enum64":
      return type.name === "" ? 0 : 1;
    case "struct":
    case "union":
      return 3;
    case "typedef": {
      const { kind } = btf.resolve(type.id);
      if (kind === "int" || kind === "float") return 2;
      return kind === "struct" || kind === "union" ? 3 : 4;
    }
    default:
      return 4;
  }
}
