// Browser-safe.

import { BtfError } from "../errors.ts";
import type { Btf } from "./btf.ts";
import { type BtfTypeSpec, mapReferences, referencesOf, specName } from "./spec.ts";
import type { RenumberedTypes } from "./subset.ts";
import type { TypeId } from "./types.ts";

/** Options of {@link dedupBtf}. */
export interface DedupBtfOptions {
  /** The BTF that the types go on from. Its types stay as they are, and stand for equal ones. */
  readonly base?: Btf | undefined;
}

const UNMAPPED = -1;

/** Where the algorithm stands. Numbers are those of the input until the end. */
interface Dedup {
  readonly firstId: number;
  readonly endId: number;
  /** Types by number. */
  readonly types: readonly (BtfTypeSpec | undefined)[];
  /** What each type is represented by so far: itself, an equal type, or a definition of what it declares. */
  readonly map: Int32Array;
  /** Results of {@link shapeOf}, or -1. */
  readonly shapes: Int32Array;
  /** Numbers of shapes by what {@link describe} says. */
  readonly shapeNumbers: Map<string, number>;
}

/**
 * Merges types that are equal, as the types of several source files or objects are that were put one behind the other.
 *
 * Follows the algorithm of libbpf's `btf__dedup`, with its results:
 *
 * 1. integers, floats, enums and forward declarations are compared as they are;
 * 2. structs, unions and typedefs are compared as graphs, since they may refer to themselves: two are equal when going
 *    through both in step never finds a difference, pairs met on the way being taken for equal. A forward declaration
 *    equals the definition that it meets, and is from then on represented by it;
 * 3. a forward declaration that met none is represented by the only struct or union of its name, if there is one;
 * 4. pointers, qualifiers, arrays, functions, prototypes and tags are compared by what they refer to, innermost first;
 * 5. what is left is numbered anew.
 *
 * Variables and sections are never merged. Strings are shared when the result is written.
 *
 * @param types the types, in the order of their numbers: from 1, or behind the last of the base
 * @param options the base
 * @returns the types left, and where each old number went: behind the base, or into it
 * @throws BtfError `ERR_BTF_CYCLE` when pointers, qualifiers and the like run in a circle
 *
 * @example
 * ```ts
 * import { dedupBtf } from "rawbpf/btf";
 *
 * const { types, ids } = dedupBtf([
 *   { kind: "int", name: "int", size: 4 },
 *   { kind: "int", name: "int", size: 4 },
 *   { kind: "ptr", type: 1 },
 *   { kind: "ptr", type: 2 },
 * ]);
 * types.length; // 2
 * ids.get(4); // 2
 * ```
 */
export function dedupBtf(types: Iterable<BtfTypeSpec>, options: DedupBtfOptions = {}): RenumberedTypes {
  const { base } = options;
  const all: (BtfTypeSpec | undefined)[] = [undefined];
  for (const type of base?.types() ?? []) all[type.id] = type;
  const firstId = base?.endId ?? 1;
  for (const type of types) all.push(type);
  const map = new Int32Array(all.length).fill(UNMAPPED);
  const dedup: Dedup = {
    firstId,
    endId: all.length,
    types: all,
    map,
    shapes: new Int32Array(all.length).fill(-1),
    shapeNumbers: new Map(),
  };
  for (let id = 0; id < firstId; id++) dedup.map[id] = id;
  mergePlainTypes(dedup);
  mergeGraphs(dedup);
  resolveForwards(dedup);
  mergeReferences(dedup);
  return compact(dedup);
}

/** What represents a type now: follows the map to its end. */
function resolve({ map }: Dedup, id: number): number {
  let at = id;
  while (map[at] !== UNMAPPED && map[at] !== at) at = map[at]!;
  return at;
}

function kindOf({ types }: Dedup, id: number): BtfTypeSpec["kind"] | "void" {
  return types[id]?.kind ?? "void";
}

type Composite = Extract<BtfTypeSpec, { readonly kind: "struct" | "union" }>;
type Enum = Extract<BtfTypeSpec, { readonly kind: "enum" | "enum64" }>;

function isComposite(type: BtfTypeSpec | undefined): type is Composite {
  return type?.kind === "struct" || type?.kind === "union";
}

function isEnum(type: BtfTypeSpec): type is Enum {
  return type.kind === "enum" || type.kind === "enum64";
}

/** An enum that is declared only. */
function isEnumForward(type: Enum): boolean {
  return type.values.length === 0 && specName(type) !== "";
}

/**
 * Everything about a type but what it refers to, as a number: equal numbers, equal types as far as they go. Numbers,
 * because two texts that are equal are compared to their ends, and those of structs are long.
 */
function shapeOf({ types, shapes, shapeNumbers }: Dedup, id: number): number {
  let known = shapes[id]!;
  if (known < 0) {
    const type = types[id];
    const text = type === undefined ? "void" : describe(type);
    known = shapeNumbers.get(text) ?? shapeNumbers.size;
    shapeNumbers.set(text, known);
    shapes[id] = known;
  }
  return known;
}

function describe(type: BtfTypeSpec): string {
  const name = specName(type);
  switch (type.kind) {
    case "int": {
      const { size, bits = 8 * size, bitOffset = 0, signed = false, char = false, bool = false } = type;
      return `int ${name}\0${size} ${bits} ${bitOffset} ${signed} ${char} ${bool}`;
    }
    case "float":
      return `float ${name}\0${type.size}`;
    case "fwd":
      return `fwd ${name}\0${type.target}`;
    case "enum":
    case "enum64": {
      const values = type.values.map((entry) => `${entry.name}\0${entry.value}`).join("\0");
      return `${type.kind} ${name}\0${type.size} ${type.signed ?? false} ${values}`;
    }
    case "struct":
    case "union": {
      const members = type.members.map(
        (member) => `${member.name ?? ""}\0${member.bitOffset ?? 0}:${member.bitfieldSize ?? 0}`,
      );
      return `${type.kind} ${name}\0${type.size} ${members.join("\0")}`;
    }
    case "array":
      return `array ${type.length}`;
    case "func_proto":
      return `func_proto ${type.variadic ?? false} ${type.params.map((param) => param.name ?? "").join("\0")}`;
    case "func":
      return `func ${name}\0${type.linkage ?? "global"}`;
    case "decl_tag":
      return `decl_tag ${name}\0${type.componentIndex ?? -1} ${type.attribute ?? false}`;
    case "type_tag":
      return `type_tag ${name}\0${type.attribute ?? false}`;
    default:
      return `${type.kind} ${name}`;
  }
}

function push<K>(table: Map<K, number[]>, key: K, id: number): void {
  const list = table.get(key);
  if (list === undefined) table.set(key, [id]);
  else list.push(id);
}

/** Step 1: types that refer to nothing. Variables and sections are represented by themselves from the start. */
function mergePlainTypes(dedup: Dedup): void {
  const { types, map, firstId } = dedup;
  const byShape = new Map<number, number>();
  const enums = new Map<string, number[]>();
  for (let id = 1; id < dedup.endId; id++) {
    const type = types[id];
    switch (type?.kind) {
      case "int":
      case "float":
      case "fwd": {
        const key = shapeOf(dedup, id);
        const known = byShape.get(key);
        if (known === undefined) byShape.set(key, id);
        if (id >= firstId) map[id] = known ?? id;
        break;
      }
      case "enum":
      case "enum64": {
        const known = id >= firstId ? mergeEnum(dedup, id, type, enums.get(specName(type)) ?? []) : id;
        if (known === id) push(enums, specName(type), id);
        break;
      }
      case "var":
      case "datasec":
        map[id] = id;
        break;
    }
  }
}

/** @returns what represents the enum: an equal one, the definition of a declaration, or itself */
function mergeEnum(dedup: Dedup, id: number, type: Enum, candidates: readonly number[]): number {
  const { types, map, firstId } = dedup;
  for (const candidate of candidates) {
    const other = types[candidate] as Enum;
    if (isEnumForward(type) || shapeOf(dedup, candidate) === shapeOf(dedup, id)) {
      map[id] = candidate;
      return candidate;
    }
    // The other way round, unless what was declared is the base's, which does not change.
    if (isEnumForward(other) && candidate >= firstId) map[candidate] = id;
  }
  map[id] = id;
  return id;
}

/** Step 2. Typedefs may lead back to themselves without a struct between: Go has such types. */
function mergeGraphs(dedup: Dedup): void {
  const { types, map, firstId } = dedup;
  const table = new Map<string, number[]>();
  for (let id = 1; id < dedup.endId; id++) {
    const type = types[id];
    if (!isComposite(type) && type?.kind !== "typedef") continue;
    if (id >= firstId && map[id] !== UNMAPPED) continue;
    const key = graphKey(dedup, id, type);
    if (id >= firstId) {
      map[id] = findEqualGraph(dedup, id, table.get(key) ?? []);
      if (map[id] !== id) continue;
    }
    push(table, key, id);
  }
}

/** Pointers and qualifiers that a key looks through. */
const MAX_CHAIN = 4;

/**
 * What two graphs have in common that may be equal: the shape, and of each reference the name behind its pointers and
 * qualifiers. Names alone, because a forward declaration may stand for a struct. Without them a kernel's anonymous
 * structs that look the same would be compared with each other a million times.
 */
function graphKey(dedup: Dedup, id: number, type: BtfTypeSpec): string {
  let key = `${shapeOf(dedup, id)}`;
  for (const reference of referencesOf(type)) {
    let to = dedup.types[reference];
    key += " ";
    for (let i = 0; i < MAX_CHAIN && (to?.kind === "ptr" || to?.kind === "const" || to?.kind === "volatile"); i++) {
      key += to.kind === "ptr" ? "*" : to.kind === "const" ? "c" : "v";
      to = dedup.types[to.type];
    }
    if (to !== undefined) key += `.${specName(to)}`;
  }
  return key;
}

function findEqualGraph(dedup: Dedup, id: number, candidates: readonly number[]): number {
  for (const candidate of candidates) {
    const pairs = compareGraphs(dedup, id, candidate);
    if (pairs === undefined) continue;
    adoptPairs(dedup, pairs);
    if (!pairs.needsBaseChange) return candidate;
  }
  return id;
}

/** Pairs of types that would be the same if two graphs were: from the known type to the one in question. */
interface Pairs {
  readonly pairs: ReadonlyMap<number, number>;
  /** The known graph has a declaration in the base where the other one has a definition: equal, but not to be merged. */
  readonly needsBaseChange: boolean;
}

/**
 * Goes through two graphs in step.
 *
 * @param id type in question
 * @param canonical a type that represents others
 * @returns the pairs met, or `undefined` at the first difference
 */
function compareGraphs(dedup: Dedup, id: number, canonical: number): Pairs | undefined {
  const { types, firstId } = dedup;
  const pairs = new Map<number, number>();
  let needsBaseChange = false;
  // A list of pairs to compare in place of recursion: all must be equal, in whatever order.
  const open: number[] = [id, canonical];
  while (open.length > 0) {
    const canonicalId = open.pop()!;
    const left = open.pop()!;
    if (resolve(dedup, left) === resolve(dedup, canonicalId)) continue;
    const right = kindOf(dedup, canonicalId) === "fwd" ? resolve(dedup, canonicalId) : canonicalId;
    const met = pairs.get(right);
    if (met !== undefined) {
      // Compilers describe one type several times within one struct, so another copy of the same is no difference.
      if (met !== left && !identical(dedup, met, left, { left: IDENTITY_BUDGET }, IDENTITY_DEPTH)) return undefined;
      continue;
    }
    pairs.set(right, left);
    const a = types[left];
    const b = types[right];
    if (a === undefined || b === undefined || specName(a) !== specName(b)) return undefined;
    if (a.kind !== b.kind && (a.kind === "fwd" || b.kind === "fwd")) {
      const [forward, other] = a.kind === "fwd" ? [a, b] : [b, a];
      if (forward.kind !== "fwd" || forward.target !== other.kind) return undefined;
      if (b.kind === "fwd" && right < firstId) needsBaseChange = true;
      continue;
    }
    if (isEnum(a) && isEnum(b) && (isEnumForward(a) || isEnumForward(b))) continue;
    if (a.kind === "var" || a.kind === "datasec" || shapeOf(dedup, left) !== shapeOf(dedup, right)) return undefined;
    const references = referencesOf(b);
    for (const [i, reference] of referencesOf(a).entries()) {
      if (reference !== references[i]) open.push(reference, references[i]!);
    }
  }
  return { pairs, needsBaseChange };
}

const IDENTITY_DEPTH = 16;
const IDENTITY_BUDGET = 10_000;

/** Whether two types are copies of each other, looking no further than some steps. */
function identical(dedup: Dedup, left: number, right: number, budget: { left: number }, depth: number): boolean {
  if (left === right) return true;
  budget.left--;
  if (depth === 0 || budget.left < 0) return false;
  const a = dedup.types[left];
  const b = dedup.types[right];
  if (a === undefined || b === undefined || shapeOf(dedup, left) !== shapeOf(dedup, right)) return false;
  const references = referencesOf(b);
  return referencesOf(a).every((reference, i) => identical(dedup, reference, references[i]!, budget, depth - 1));
}

/** Two graphs were equal: declarations are now represented by the definitions that they met, and structs by structs. */
function adoptPairs(dedup: Dedup, { pairs, needsBaseChange }: Pairs): void {
  const { map } = dedup;
  for (const [canonicalId, id] of pairs) {
    const left = resolve(dedup, id);
    const right = resolve(dedup, canonicalId);
    const leftForward = kindOf(dedup, left) === "fwd";
    const rightForward = kindOf(dedup, right) === "fwd";
    // Also when the declaration is the base's: those that follow it are to find the definition.
    if (!leftForward && rightForward) map[right] = left;
    if (needsBaseChange) continue;
    if (leftForward && !rightForward) map[left] = right;
    if (isComposite(dedup.types[left]) && !rightForward && map[right] !== UNMAPPED && map[left] === UNMAPPED) {
      map[left] = right;
    }
  }
}

/** Step 3. */
function resolveForwards(dedup: Dedup): void {
  const { types, map, firstId } = dedup;
  const AMBIGUOUS = 0;
  const byName = new Map<string, number>();
  for (let id = 1; id < dedup.endId; id++) {
    const type = types[id];
    if (!isComposite(type) || map[id] !== id || specName(type) === "") continue;
    byName.set(specName(type), byName.has(specName(type)) ? AMBIGUOUS : id);
  }
  for (let id = firstId; id < dedup.endId; id++) {
    const type = types[id];
    if (type?.kind !== "fwd" || map[id] !== id) continue;
    const only = byName.get(type.name) ?? AMBIGUOUS;
    if (only !== AMBIGUOUS && kindOf(dedup, only) === type.target) map[id] = only;
  }
}

/** Step 4, innermost first, with a stack of our own. */
function mergeReferences(dedup: Dedup): void {
  const { types, map, firstId } = dedup;
  const table = new Map<string, number>();
  const keyOf = (id: number, references: readonly number[]): string => `${shapeOf(dedup, id)} ${references.join(" ")}`;
  for (let id = 1; id < firstId; id++) {
    const type = types[id]!;
    if (!isReference(type)) continue;
    // References inside the base stay what they are, whatever its declarations are represented by.
    const key = keyOf(id, referencesOf(type));
    if (!table.has(key)) table.set(key, id);
  }
  const inProgress = new Set<number>();
  const stack: number[] = [];
  for (let root = firstId; root < dedup.endId; root++) {
    stack.push(root);
    while (stack.length > 0) {
      const id = stack[stack.length - 1]!;
      const type = types[id];
      if (type === undefined || map[id] !== UNMAPPED) {
        stack.pop();
        continue;
      }
      const waiting = inProgress.has(id) ? [] : referencesOf(type).filter((reference) => map[reference] === UNMAPPED);
      if (waiting.length > 0) {
        for (const reference of waiting) {
          if (inProgress.has(reference) || reference === id) throw loopError(reference);
          stack.push(reference);
        }
        inProgress.add(id);
        continue;
      }
      stack.pop();
      inProgress.delete(id);
      const key = keyOf(
        id,
        referencesOf(type).map((reference) => resolve(dedup, reference)),
      );
      const known = table.get(key);
      if (known === undefined) table.set(key, id);
      map[id] = known ?? id;
    }
  }
}

function isReference(type: BtfTypeSpec): boolean {
  switch (type.kind) {
    case "int":
    case "float":
    case "enum":
    case "enum64":
    case "fwd":
    case "struct":
    case "union":
    case "typedef":
    case "var":
    case "datasec":
      return false;
    default:
      return true;
  }
}

function loopError(id: number): BtfError {
  return new BtfError("ERR_BTF_CYCLE", "The type leads back to itself", { path: `type[${id}]` });
}

/** Step 5. */
function compact(dedup: Dedup): RenumberedTypes {
  const { types, map, firstId, endId } = dedup;
  const kept: number[] = [];
  const numbers = new Int32Array(endId);
  for (let id = 0; id < endId; id++) {
    if (id < firstId) numbers[id] = id;
    else if (map[id] === id) numbers[id] = firstId + kept.push(id) - 1;
  }
  const newId = (id: number): TypeId => numbers[resolve(dedup, id)] as TypeId;
  const ids = new Map<number, TypeId>([[0, 0 as TypeId]]);
  for (let id = firstId; id < endId; id++) ids.set(id, newId(id));
  return { types: kept.map((id) => mapReferences(types[id]!, newId)), ids };
}
