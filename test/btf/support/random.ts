import {
  type BtfTypeSpec,
  encodeBtf,
  mapReferences,
  openBtf,
  referencesOf,
  subsetBtf,
} from "../../../src/btf/index.ts";

/** A small generator of numbers (mulberry32): the same seed gives the same BTF everywhere. */
export function randomNumbers(seed: number): (below: number) => number {
  let state = seed | 0;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

const NAMES = [
  "a",
  "b",
  "list",
  "next",
  "task_struct",
  "struct",
  "ruct",
  "größe",
  "x___v2",
  "flags",
  "id",
  "len",
  "data",
];

interface Known {
  readonly id: number;
  /** Size in bytes of a value, 0 for types without one. */
  readonly size: number;
  readonly kind: BtfTypeSpec["kind"];
  /** Names, qualifiers and arrays up to the type behind it. */
  readonly depth: number;
  /** Length of the chain through pointers, which must not run in circles. */
  readonly components: number;
}

/**
 * Types that keep every rule of `validateBtf`, of all kinds, in a random order as far as one can be referred to
 * before it exists.
 *
 * @param seed chooses which
 * @param count how many
 * @param firstId number of the first
 * @param unique whether no two types have a name in common
 */
export function randomTypes(seed: number, count: number, firstId = 1, unique = false): BtfTypeSpec[] {
  const below = randomNumbers(seed);
  const pick = <T>(list: readonly T[]): T => list[below(list.length)]!;
  const name = (): string => `${pick(NAMES)}${unique ? types.length : below(3) === 0 ? below(1000) : ""}`;
  const types: BtfTypeSpec[] = [];
  const known: Known[] = [];
  const add = (type: BtfTypeSpec, size = 0, depth = 0, components = 0): void => {
    known.push({ id: firstId + types.length, size, kind: type.kind, depth, components });
    types.push(type);
  };
  const values = (): Known[] => known.filter((type) => type.size > 0 && type.size < 4096 && type.depth < 12);
  const targets = (): Known[] =>
    known.filter(({ kind, depth }) => !["var", "func", "datasec", "decl_tag"].includes(kind) && depth < 12);
  add({ kind: "int", name: "int", size: 4, signed: true }, 4);
  add({ kind: "int", name: "unsigned char", size: 1 }, 1);
  while (types.length < count) {
    switch (below(19)) {
      case 0: {
        const size = pick([1, 2, 4, 8, 16]);
        const encoding = pick([{}, { signed: true }, { char: true }, { bool: true }]);
        add({ kind: "int", name: name(), size, ...encoding }, size);
        break;
      }
      case 1:
      case 2: {
        // To a struct or integer that may not exist yet; anything else could close a circle.
        const later = below(3) === 0;
        const target = later ? undefined : pick(targets());
        add({ kind: "ptr", type: target?.id ?? -1 }, 8, 0, (target?.components ?? 0) + 1);
        break;
      }
      case 3: {
        const element = pick(values());
        const length = below(5);
        add({ kind: "array", type: element.id, indexType: firstId, length }, element.size * length, element.depth + 1);
        break;
      }
      case 4:
      case 5:
      case 6: {
        const members: { name: string; type: number; bitOffset: number; bitfieldSize: number }[] = [];
        let at = 0;
        for (let i = below(6); i > 0; i--) {
          const member = pick(values());
          if (below(4) === 0) {
            members.push({ name: name(), type: firstId, bitOffset: at, bitfieldSize: 1 + below(31) });
            at += 32;
          } else {
            members.push({ name: below(5) === 0 ? "" : name(), type: member.id, bitOffset: at, bitfieldSize: 0 });
            at += 8 * member.size;
          }
        }
        const size = at / 8 + below(3);
        if (at < 0xffffff) add({ kind: "struct", name: below(4) === 0 ? "" : name(), size, members }, size);
        break;
      }
      case 7: {
        const members = Array.from({ length: 1 + below(3) }, () => pick(values())).map((member) => ({
          name: name(),
          type: member.id,
          bitOffset: 0,
          bitfieldSize: 0,
          size: member.size,
        }));
        const size = Math.max(...members.map((member) => member.size));
        const plain = members.map(({ size: _, ...member }) => member);
        add({ kind: "union", name: below(4) === 0 ? "" : name(), size, members: plain }, size);
        break;
      }
      case 8: {
        const signed = below(2) === 0;
        const list = Array.from({ length: below(5) }, () => ({
          name: name(),
          value: below(1000) - (signed ? 500 : 0),
        }));
        add({ kind: "enum", name: name(), size: 4, signed, values: list }, 4);
        break;
      }
      case 9: {
        const signed = below(2) === 0;
        const value = (): bigint => (BigInt(below(2 ** 32)) << 32n) + BigInt(below(2 ** 32));
        const list = Array.from({ length: below(4) }, () => ({
          name: name(),
          value: signed ? BigInt.asIntN(64, value()) : value(),
        }));
        add({ kind: "enum64", name: name(), size: 8, signed, values: list }, 8);
        break;
      }
      case 10:
        add({ kind: "fwd", name: name(), target: pick(["struct", "union"]) });
        break;
      case 11: {
        const target = pick(targets());
        add({ kind: "typedef", name: name(), type: target.id }, target.size, target.depth + 1, target.components);
        break;
      }
      case 12: {
        const target = pick(targets());
        const kind = pick(["const", "volatile", "restrict"] as const);
        add({ kind, type: target.id }, target.size, target.depth + 1, target.components);
        break;
      }
      case 13: {
        const params = Array.from({ length: below(4) }, () => ({ name: name(), type: pick(targets()).id }));
        const returnType = below(2) === 0 ? 0 : pick(targets()).id;
        add({ kind: "func_proto", returnType, params, variadic: below(4) === 0 });
        break;
      }
      case 14: {
        const proto = known.filter(({ kind }) => kind === "func_proto");
        const linkage = pick(["static", "global", "extern"] as const);
        if (proto.length > 0) add({ kind: "func", name: name(), type: pick(proto).id, linkage });
        break;
      }
      case 15: {
        const type = pick(values());
        add({ kind: "var", name: name(), type: type.id, linkage: pick(["static", "global", "extern"] as const) });
        break;
      }
      case 16: {
        const vars = known.filter(({ kind }) => kind === "var").slice(0, 4);
        const list = vars.map(({ id }, i) => ({ type: id, offset: 8 * i, size: 8 }));
        add({ kind: "datasec", name: pick([".data", ".bss", "license"]), size: 8 * vars.length, vars: list });
        break;
      }
      case 17:
        if (below(2) === 0) {
          const size = pick([4, 8]);
          add({ kind: "float", name: pick(["float", "double"]), size }, size);
        } else {
          const target = pick(targets());
          const attribute = below(4) === 0;
          const tag: BtfTypeSpec = { kind: "type_tag", name: name(), type: target.id, attribute };
          add(tag, target.size, target.depth + 1, target.components);
        }
        break;
      case 18: {
        const tagged = known.filter(({ kind }) => kind === "struct" || kind === "union" || kind === "typedef");
        if (tagged.length === 0) break;
        const target = pick(tagged);
        const type = types[target.id - firstId]!;
        const components = type.kind === "struct" || type.kind === "union" ? type.members.length : 0;
        const componentIndex = below(components + 1) - 1;
        add({ kind: "decl_tag", name: name(), type: target.id, componentIndex, attribute: false });
        break;
      }
    }
  }
  const last = known.filter(({ kind }) => kind === "struct" || kind === "union" || kind === "int");
  return types.map((type) => (type.kind === "ptr" && type.type === -1 ? { ...type, type: pick(last).id } : type));
}

/**
 * Types of several source files that share headers, one behind the other, as they are before they are merged: each
 * has a part of the same types in its own copy, and some structs only declared.
 *
 * @param seed chooses which
 * @param files how many source files
 * @param firstId number of the first type
 */
export function randomUnits(seed: number, files: number, firstId = 1): BtfTypeSpec[] {
  const below = randomNumbers(seed);
  const shared = openBtf(encodeBtf(randomTypes(seed, 40, 1, true)));
  const all: BtfTypeSpec[] = [];
  for (let file = 0; file < files; file++) {
    const roots = Array.from({ length: 6 + below(20) }, () => 1 + below(shared.endId - 1));
    const { types } = subsetBtf(shared, roots, { declTags: below(2) === 0 });
    // A struct that is only pointed to may be declared without being defined.
    const needed = new Set<number>();
    for (const type of types) if (type.kind !== "ptr") for (const id of referencesOf(type)) needed.add(id);
    const shift = firstId + all.length - 1;
    for (const [i, type] of types.entries()) {
      const composite = type.kind === "struct" || type.kind === "union";
      if (composite && !needed.has(i + 1) && type.name !== undefined && type.name !== "" && below(3) === 0) {
        all.push({ kind: "fwd", name: type.name, target: type.kind });
      } else {
        all.push(mapReferences(type, (id) => (id === 0 ? 0 : id + shift)));
      }
    }
  }
  return all;
}
