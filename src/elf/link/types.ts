// Browser-safe.

import {
  type Btf,
  type BtfExt,
  type BtfSecinfo,
  type BtfTypeSpec,
  type CoreRelo,
  dedupBtf,
  type ExtSection,
  encodeBtfExt,
  type FuncInfo,
  type LineInfo,
  layoutBtf,
  mapReferences,
  stringsOfExt,
  type TypeId,
} from "../../btf/index.ts";
import { placeVariables, symbolsBySection } from "../object/complete-btf.ts";
import { symbolName } from "../object/file.ts";
import { readMapDefinition } from "../object/map-definition.ts";
import type { ObjectMapSpec } from "../object/spec.ts";
import { areCompatible, type ComparisonBudget } from "./compatible.ts";
import { type Input, linkError } from "./input.ts";
import type { MergedSections } from "./sections.ts";
import type { Global } from "./symbols.ts";

/** The types and instruction records of the result, written. */
export interface MergedTypes {
  readonly btf: Uint8Array;
  readonly ext: Uint8Array | undefined;
}

/**
 * Merges the types of all objects: equal ones become one, functions and variables that objects share are those of the
 * object that defines them, and sections of variables get the places that the variables have in the result.
 *
 * @returns `undefined` when no object has types
 * @throws ElfError `ERR_ELF_LINK` for a name that is declared with different types; BtfError
 */
export function mergeTypes(
  inputs: readonly Input[],
  sections: MergedSections,
  globals: ReadonlyMap<string, Global>,
): MergedTypes | undefined {
  if (inputs.every(({ file }) => file.btf === undefined)) return undefined;
  const merger = new TypeMerger(inputs, sections, globals);
  return merger.merge();
}

class TypeMerger {
  readonly #inputs: readonly Input[];
  readonly #sections: MergedSections;
  readonly #globals: ReadonlyMap<string, Global>;
  /** New numbers of the types of each object, before equal ones are merged. */
  readonly #ids = new Map<Input, Uint32Array>();
  readonly #types: BtfTypeSpec[] = [];
  readonly #budget: ComparisonBudget = { left: 1_000_000 };

  constructor(inputs: readonly Input[], sections: MergedSections, globals: ReadonlyMap<string, Global>) {
    this.#inputs = inputs;
    this.#sections = sections;
    this.#globals = globals;
  }

  merge(): MergedTypes {
    const represented = this.#representatives();
    this.#number(represented);
    this.#append(represented);
    this.#appendSections();
    const { types, ids } = dedupBtf(this.#types);
    const ext = this.#ext((input, id) => ids.get(this.#ids.get(input)![id]!) as TypeId);
    const { littleEndian } = this.#inputs[0]!.file;
    const { bytes, offsetOf } = layoutBtf(types, { littleEndian, strings: stringsOfExt(ext) });
    const isEmpty = [ext.funcInfos, ext.lineInfos, ext.coreRelos].every((list) => list.length === 0);
    return { btf: bytes, ext: isEmpty ? undefined : encodeBtfExt(ext, offsetOf, littleEndian) };
  }

  /** Which `func` or `var` stands for a shared name, by object and number. */
  #representatives(): Map<Input, Map<number, { readonly input: Input; readonly id: number; readonly global: Global }>> {
    const found = new Map<Input, Map<number, { input: Input; id: number; global: Global }>>();
    for (const global of this.#globals.values()) {
      const inputs = new Set(global.all.map(({ input }) => input));
      const declarations = [...inputs].flatMap((input) =>
        declarationsOf(input, global.name).map((id) => ({ input, id })),
      );
      const first = declarations.find(({ input }) => input === global.input) ?? declarations[0];
      if (first === undefined) continue;
      for (const { input, id } of declarations) {
        if (input !== first.input) this.#compare(global, first.input, first.id, input, id);
        let own = found.get(input);
        if (own === undefined) {
          own = new Map();
          found.set(input, own);
        }
        own.set(id, { ...first, global });
      }
    }
    return found;
  }

  #compare(global: Global, first: Input, firstId: number, input: Input, id: number): void {
    const [a, b] = [first.file.btf!, input.file.btf!];
    const path = symbolName(global.symbol);
    if (isMap(first, firstId) && isMap(input, id)) {
      const differing = compareMaps(a, firstId, b, id, global.name);
      if (differing === undefined) return;
      throw linkError(input, `Map "${global.name}" has another ${differing} than in ${first.name}`, path);
    }
    if (areCompatible(a, firstId, b, id, this.#budget)) return;
    throw linkError(input, `"${global.name}" is declared with another type than in ${first.name}`, path);
  }

  /** Gives each type that is taken its number: they follow each other, object by object. */
  #number(represented: ReadonlyMap<Input, ReadonlyMap<number, { readonly input: Input; readonly id: number }>>): void {
    let next = 1;
    for (const input of this.#inputs) {
      const { btf } = input.file;
      if (btf === undefined) continue;
      const ids = new Uint32Array(btf.endId);
      this.#ids.set(input, ids);
      for (const type of btf.types()) {
        const other = represented.get(input)?.get(type.id);
        const isTaken = other === undefined || (other.input === input && other.id === type.id);
        if (isTaken && type.kind !== "datasec") ids[type.id] = next++;
      }
    }
    for (const [input, own] of represented) {
      for (const [id, other] of own) this.#ids.get(input)![id] = this.#ids.get(other.input)![other.id]!;
    }
  }

  #append(
    represented: ReadonlyMap<
      Input,
      ReadonlyMap<number, { readonly input: Input; readonly id: number; readonly global: Global }>
    >,
  ): void {
    for (const input of this.#inputs) {
      const ids = this.#ids.get(input);
      if (ids === undefined) continue;
      for (const type of input.file.btf!.types()) {
        const other = represented.get(input)?.get(type.id);
        if (type.kind === "datasec" || (other !== undefined && (other.input !== input || other.id !== type.id)))
          continue;
        let spec = mapReferences(type, (id) => ids[id]!);
        // Declared in one object and defined in another one that has no types.
        if (other?.global.defined && (spec.kind === "func" || spec.kind === "var") && spec.linkage === "extern") {
          spec = { ...spec, linkage: "global" };
        }
        this.#types.push(spec);
      }
    }
  }

  #appendSections(): void {
    const symbols = new Map(this.#inputs.map((input) => [input, symbolsBySection(input.file)]));
    for (const merged of this.#sections.list) {
      const vars: BtfSecinfo[] = [];
      for (const { input, section, offset } of merged.parts) {
        const datasec = input.file.datasecs.get(merged.name);
        const { btf } = input.file;
        if (datasec === undefined || btf === undefined) continue;
        for (const entry of placeVariables(btf, datasec, section, symbols.get(input)!(section.index))) {
          if (!this.#counts(input, btf, entry.type)) continue;
          vars.push({ ...entry, type: this.#ids.get(input)![entry.type]! as TypeId, offset: offset + entry.offset });
        }
      }
      // What is defined nowhere yet stays declared.
      vars.push(...this.#declared(merged.name));
      vars.sort((a, b) => a.offset - b.offset);
      if (vars.length > 0) this.#types.push({ kind: "datasec", name: merged.name, size: merged.size, vars });
    }
    // What no object has a section for: the kernel's, and what is still to be linked.
    const names = new Set(this.#inputs.flatMap(({ file }) => [...file.datasecs.keys()]));
    for (const merged of this.#sections.list) names.delete(merged.name);
    for (const name of names) {
      const vars = [...this.#declared(name)];
      if (vars.length > 0) this.#types.push({ kind: "datasec", name, size: 0, vars });
    }
  }

  /** What objects have in a section of variables by name only, and no object defines. */
  #declared(name: string): Iterable<BtfSecinfo> {
    const vars = new Map<number, BtfSecinfo>();
    for (const input of this.#inputs) {
      const { btf, datasecs } = input.file;
      for (const entry of datasecs.get(name)?.vars ?? []) {
        const declared = btf!.typeById(entry.type);
        if ((declared.kind !== "var" && declared.kind !== "func") || declared.linkage !== "extern") continue;
        if (this.#globals.get(declared.name)?.defined === true) continue;
        const type = this.#ids.get(input)![entry.type]! as TypeId;
        vars.set(type, { ...entry, type });
      }
    }
    return vars.values();
  }

  /** Whether a variable of an object is in the result: it is static, or the object's definition counts. */
  #counts(input: Input, btf: Btf, id: number): boolean {
    const type = btf.typeById(id);
    if (type.kind !== "var" || type.linkage === "static") return type.kind === "var";
    if (type.linkage === "extern") return false;
    return this.#globals.get(type.name)?.input === input;
  }

  /** Records of the instructions, moved to where the instructions went. */
  #ext(typeOf: (input: Input, id: number) => TypeId): BtfExt {
    return {
      funcInfos: this.#collect(
        (file) => file.funcInfos,
        (input, record: FuncInfo) => ({ ...record, type: typeOf(input, record.type) }),
      ),
      lineInfos: this.#collect(
        (file) => file.lineInfos,
        (_, record: LineInfo) => record,
      ),
      coreRelos: this.#collect(
        (file) => file.coreRelos,
        (input, record: CoreRelo) => ({ ...record, type: typeOf(input, record.type) }),
      ),
    };
  }

  #collect<Record extends { readonly insnOffset: number }>(
    take: (ext: BtfExt) => readonly ExtSection<Record>[],
    renumber: (input: Input, record: Record) => Record,
  ): ExtSection<Record>[] {
    const byName = new Map<Input, Map<string, Record[]>>();
    for (const input of this.#inputs) {
      const own = new Map<string, Record[]>();
      byName.set(input, own);
      for (const { section, records } of take(input.file.ext)) {
        own.set(section, [...(own.get(section) ?? []), ...records]);
      }
    }
    return this.#sections.list.flatMap(({ name, parts }) => {
      const records = parts.flatMap(({ input, offset }) =>
        (byName.get(input)!.get(name) ?? []).map((record) => ({
          ...renumber(input, record),
          insnOffset: record.insnOffset + offset,
        })),
      );
      records.sort((a, b) => a.insnOffset - b.insnOffset);
      return records.length === 0 ? [] : [{ section: name, records }];
    });
  }
}

/** Numbers of the functions or variables of a name that other objects can see. */
function declarationsOf(input: Input, name: string): TypeId[] {
  const { btf } = input.file;
  if (btf === undefined) return [];
  return (["func", "var"] as const).flatMap((kind) =>
    btf
      .typesByName(name, kind)
      .filter(({ linkage }) => linkage !== "static")
      .map(({ id }) => id),
  );
}

function isMap({ file }: Input, id: number): boolean {
  return file.datasecs.get(".maps")?.vars.some(({ type }) => type === id) ?? false;
}

const COMPARED = ["type", "keySize", "valueSize", "maxEntries", "flags", "mapExtra", "numaNode", "pinning"] as const;

const WORDS: Readonly<Record<(typeof COMPARED)[number], string>> = {
  type: "type",
  keySize: "size of keys",
  valueSize: "size of values",
  maxEntries: "number of entries",
  flags: "flags",
  mapExtra: "map_extra",
  numaNode: "NUMA node",
  pinning: "pinning",
};

/** What two definitions of a map do not agree about; `undefined` when they agree. */
function compareMaps(a: Btf, aId: number, b: Btf, bId: number, name: string): string | undefined {
  const [s, t] = [a.typeById(aId), b.typeById(bId)];
  if (s.kind !== "var" || t.kind !== "var") return "kind";
  return compareSpecs(readMapDefinition(a, name, s.type).map, readMapDefinition(b, name, t.type).map);
}

function compareSpecs(a: ObjectMapSpec, b: ObjectMapSpec): string | undefined {
  const found = COMPARED.find((what) => a[what] !== b[what]);
  if (found !== undefined) return WORDS[found];
  if (a.inner === undefined || b.inner === undefined) return a.inner === b.inner ? undefined : "inner map";
  const inner = compareSpecs(a.inner, b.inner);
  return inner === undefined ? undefined : `${inner} of the inner map`;
}
