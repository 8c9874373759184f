// Browser-safe.

import type { BtfError } from "../../errors.ts";
import type { Btf } from "../btf.ts";
import { btfError } from "../image.ts";
import { infoKind, KIND_NAMES } from "../kinds.ts";
import type { BtfKind, BtfType } from "../types.ts";
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

/** What is known of a type: bits of one byte. */
const DECLARED = 1;
const DEFINED = 2;
/** A typedef of which the type behind it is complete as well. */
const COMPLETE = 4;
/** Its needs are being met: those of its definition, those of its name. */
const OPEN_COMPLETE = 8;
const OPEN_NAME = 16;
/** Not a unit, a unit. */
const EMBEDDED = 32;
const UNIT = 64;

/**
 * Finds the order of declarations: each after all that it needs. Walks with a stack of its own, so that chains of any
 * length do not exhaust that of the machine, and remembers what was declared from one root to the next.
 */
export class DeclarationOrder {
  readonly #btf: Btf;
  readonly #state: Uint8Array;
  /** In which walk a type was last met, as complete and as a name. */
  readonly #met: readonly [Uint32Array, Uint32Array, Uint32Array];
  #walk = 0;

  constructor(btf: Btf) {
    this.#btf = btf;
    this.#state = new Uint8Array(btf.endId);
    this.#met = [new Uint32Array(btf.endId), new Uint32Array(btf.endId), new Uint32Array(btf.endId)];
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
    const alone = this.#unit(root) || isEnum(this.#btf.kindOf(root));
    const start = alone ? [{ id: root, need: "complete" as const }] : this.#wantsOf(root, "complete");
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
    const state = this.#state[id]!;
    if ((state & (UNIT | EMBEDDED)) !== 0) return (state & UNIT) !== 0;
    const unit = isUnit(this.#btf.typeById(id));
    this.#state[id] = state | (unit ? UNIT : EMBEDDED);
    return unit;
  }

  #mark(id: number, bit: number): boolean {
    const before = this.#state[id]!;
    this.#state[id] = before | bit;
    return (before & bit) === 0;
  }

  #enter({ id: wanted, need }: Wanted, stack: Frame[], steps: Step[]): void {
    const type = namesake(this.#btf, this.#btf.typeById(wanted));
    const { id } = type;
    const state = this.#state[id]!;
    switch (type.kind) {
      case "fwd":
        if (this.#mark(id, DECLARED)) steps.push({ id, what: "declare" });
        return;
      case "enum":
      case "enum64":
      case "int":
      case "float":
        if (this.#mark(id, DEFINED)) steps.push({ id, what: "define" });
        return;
      case "struct":
      case "union":
        if ((state & DEFINED) !== 0) return;
        if (need === "name") {
          // Inside of its own braces it is declared.
          if (stack.at(-1)?.id !== id && this.#mark(id, DECLARED)) steps.push({ id, what: "declare" });
          return;
        }
        break;
      case "typedef":
        if ((state & (need === "name" ? DEFINED : COMPLETE)) !== 0) return;
        break;
      default:
        if ((state & DEFINED) !== 0) return;
    }
    if (!this.#mark(id, openBit(need))) {
      const start = stack.findIndex((frame) => frame.id === id && openBit(frame.need) === openBit(need));
      if (need === "element" || stack.slice(start + 1).some((frame) => frame.need === "element")) return;
      throw this.#cycle(type);
    }
    const wants = this.#wantsOf(id, need);
    if (type.kind === "typedef" && need !== "name") wants.push({ id, need: "name" });
    stack.push({ id, need, wants, next: 0 });
  }

  #leave({ id, need }: Frame, steps: Step[]): void {
    this.#state[id]! &= ~openBit(need);
    if (need !== "name" && this.#btf.kindOf(id) === "typedef") this.#mark(id, COMPLETE);
    else if (this.#mark(id, DEFINED)) steps.push({ id, what: "define" });
  }

  /**
   * What the declaration of a type needs. Anonymous structs are part of the declaration that uses them, pointers,
   * arrays and prototypes always are.
   */
  #wantsOf(id: number, need: Need): Wanted[] {
    const wants: Wanted[] = [];
    const pending: Wanted[] = [];
    this.#walk++;
    this.#parts(id, need, pending);
    for (let at = pending.pop(); at !== undefined; at = pending.pop()) {
      if (this.#unit(at.id)) wants.push(at);
      else this.#parts(at.id, at.need, pending);
    }
    return wants;
  }

  /** Puts the types that a type is made of on a stack, the first on top. */
  #parts(id: number, need: Need, pending: Wanted[]): void {
    const type = this.#btf.typeById(id);
    switch (type.kind) {
      case "struct":
      case "union":
        for (let i = type.members.length - 1; i >= 0; i--) this.#push(type.members[i]!.type, "complete", pending);
        break;
      case "array":
        // An element must be complete even behind a pointer.
        this.#push(type.type, need === "complete" ? "complete" : "element", pending);
        break;
      case "ptr":
      case "func":
      case "var":
        this.#push(type.type, "name", pending);
        break;
      case "func_proto":
        for (let i = type.params.length - 1; i >= 0; i--) this.#push(type.params[i]!.type, "name", pending);
        this.#push(type.returnType, "name", pending);
        break;
      case "typedef":
      case "const":
      case "volatile":
      case "restrict":
      case "type_tag":
      case "decl_tag":
        this.#push(type.type, need, pending);
        break;
      case "datasec":
        for (let i = type.vars.length - 1; i >= 0; i--) this.#push(type.vars[i]!.type, "complete", pending);
        break;
      default:
        break;
    }
  }

  #push(id: number, need: Need, pending: Wanted[]): void {
    const met = this.#met[need === "complete" ? 0 : need === "name" ? 1 : 2];
    if (met[id] === this.#walk) return;
    met[id] = this.#walk;
    pending.push({ id, need });
  }

  #cycle(type: BtfType): BtfError {
    const path = `${this.#btf.image.path} type[${type.id}]`;
    return btfError("ERR_BTF_CYCLE", `The declaration of ${type.kind} "${type.name}" needs itself`, path);
  }
}

function isEnum(kind: BtfKind): boolean {
  return kind === "enum" || kind === "enum64";
}

function openBit(need: Need): number {
  return need === "name" ? OPEN_NAME : OPEN_COMPLETE;
}

function isUnit(type: BtfType): boolean {
  switch (type.kind) {
    case "typedef":
      return !isBuiltInTypedef(type);
    case "struct":
    case "union":
    case "enum":
    case "enum64":
      return type.name !== "";
    case "fwd":
    case "func":
    case "var":
      return true;
    case "int":
    case "float":
      return !isBuiltInNumber(type.name);
    default:
      return false;
  }
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
  for (const id of idsOfKinds(btf, LISTED)) {
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

/**
 * Numbers of the types of some kinds, those of a base left out. Decodes none of them: most types of a kernel are
 * functions, which nothing here asks for.
 */
export function idsOfKinds(btf: Btf, kinds: ReadonlySet<string>): number[] {
  const { words, starts } = btf.image;
  const wanted = KIND_NAMES.map((name) => kinds.has(name));
  const ids: number[] = [];
  for (let i = 0; i < starts.length; i++) {
    if (wanted[infoKind(words[starts[i]! + 1]!)] === true) ids.push(btf.firstId + i);
  }
  return ids;
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
