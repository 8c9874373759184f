// Browser-safe.

import { encodeUtf8 } from "../bytes/index.ts";
import type { BtfError } from "../errors.ts";
import { type BtfImage, type BtfOrigin, btfError, readImage } from "./image.ts";
import { inflate } from "./inflate.ts";
import { infoKind, KIND, KIND_NAMES } from "./kinds.ts";
import { alignOf, pointerSizeOf, resolveType, sizeOf } from "./layout.ts";
import { NameIndex } from "./name-index.ts";
import { StringTable } from "./strings.ts";
import type { BtfDeclTag, BtfFunc, BtfKind, BtfType, BtfTypeOf, BtfVoid, TypeId } from "./types.ts";

/** Options of {@link openBtf}. */
export interface OpenBtfOptions extends BtfOrigin {
  /** The BTF that this one goes on from, for the BTF of kernel modules and `.BTF` beside `.BTF.base`. */
  readonly base?: Btf | undefined;
  /** Size of a pointer in bytes. Default: the base's, else the size of the type `long`, else 8. */
  readonly pointerSize?: 4 | 8 | undefined;
}

/**
 * An opened BTF. Types are decoded when asked for, and once: `typeById` gives the same object again. What `types`
 * goes through is not kept.
 *
 * Numbers of types run from 1 to `endId - 1`; 0 is `void`. Of a split BTF, numbers below `firstId` are those of its
 * base, and every function here finds the types of both.
 */
export interface Btf {
  /** The BTF it goes on from. */
  readonly base: Btf | undefined;
  /** Byte order of the file. */
  readonly littleEndian: boolean;
  /** Number of its first own type: 1, or the base's `endId`. */
  readonly firstId: number;
  /** One above the number of its last type. */
  readonly endId: number;
  /** Size of a pointer in bytes. */
  readonly pointerSize: 4 | 8;
  /** The undecoded types, for algorithms that go through all of them. */
  readonly image: BtfImage;
  /** The strings, its base's included. */
  readonly strings: StringTable;

  /**
   * Decodes a type.
   *
   * @param id number of the type
   * @throws BtfError `ERR_BTF_NOT_FOUND` when there is no such type; `ERR_BTF_INVALID` when it is malformed: a name,
   *   type number, flag or width that cannot be
   */
  typeById(id: number): BtfType;

  /**
   * Kind of a type, without decoding it.
   *
   * @throws BtfError when there is no such type, or its kind is known to the layout section only
   */
  kindOf(id: number): BtfKind;

  /**
   * Name of a type, without decoding the rest of it.
   *
   * @throws BtfError when there is no such type or its name lies outside of the strings
   */
  nameOf(id: number): string;

  /**
   * The first type of a name: that with the lowest number. Use {@link typesByName} where a name may be missing or
   * stand for several types.
   *
   * @param name exact name
   * @param kind only types of this kind
   * @throws BtfError `ERR_BTF_NOT_FOUND`
   *
   * @example
   * ```ts
   * import { readFileSync } from "node:fs";
   * import { openBtf } from "rawbpf/btf";
   *
   * const task = openBtf(readFileSync("/sys/kernel/btf/vmlinux")).typeByName("task_struct", "struct");
   * console.log(task.size, task.members[0]?.name);
   * ```
   */
  typeByName<K extends BtfKind = BtfKind>(name: string, kind?: K): BtfTypeOf<K>;

  /**
   * All types of a name, by number.
   *
   * @param name exact name; the empty one stands for no type
   * @param kind only types of this kind
   */
  typesByName<K extends BtfKind = BtfKind>(name: string, kind?: K): BtfTypeOf<K>[];

  /** Numbers of all types of a name, without decoding them. */
  idsByName(name: string, kind?: BtfKind): TypeId[];

  /** Numbers of all types whose name without its flavour (`task_struct___old`) is `name`. */
  idsByEssentialName(name: string, kind?: BtfKind): TypeId[];

  /**
   * Goes through the types by number, without `void` and without kinds that only the layout section knows.
   *
   * @param from first number; `btf.firstId` leaves those of the base out. Default 1
   */
  types(from?: number): IterableIterator<Exclude<BtfType, BtfVoid>>;

  /** Goes through the functions by number. */
  functions(): IterableIterator<BtfFunc>;

  /**
   * Tags on a type, or on one of its members or parameters.
   *
   * @param id what is tagged
   * @param component which member or parameter; default all tags, whatever they are on
   */
  declTags(id: number, component?: number): readonly BtfDeclTag[];

  /**
   * Follows typedefs, `const`, `volatile`, `restrict` and type tags to the type behind them.
   *
   * @throws BtfError `ERR_BTF_CYCLE` after 32 steps, as libbpf
   */
  resolve(id: number): BtfType;

  /**
   * Size of a value of this type, in bytes. Follows names, qualifiers, tags, variables and arrays.
   *
   * @throws BtfError `ERR_BTF_UNSIZED` for `void`, functions and forward declarations; `ERR_BTF_CYCLE` after 32
   *   steps; `ERR_LIMIT` for an array of more than 2^32 - 1 bytes
   */
  sizeOf(id: number): number;

  /**
   * Alignment of a value of this type, in bytes; 1 for a packed struct.
   *
   * @throws BtfError as {@link sizeOf}
   */
  alignOf(id: number): number;
}

/**
 * Opens BTF. Reads the header, checks the sections and finds where each type starts (one pass, 1 ms for a kernel's
 * 126,000 types); types are decoded and checked when they are asked for. `validateBtf` checks all of them at once.
 *
 * @param bytes raw BTF, in either byte order: kept by reference, and must not change
 * @param options base of a split BTF, and where the bytes come from
 * @throws BtfError when the header, a section or the length of a type is wrong
 *
 * @example
 * ```ts
 * import { readFileSync } from "node:fs";
 * import { openBtf } from "rawbpf/btf";
 *
 * const btf = openBtf(readFileSync("/sys/kernel/btf/vmlinux"));
 * console.log(btf.sizeOf(btf.typeByName("task_struct", "struct").id));
 * ```
 */
export function openBtf(bytes: Uint8Array, options: OpenBtfOptions = {}): Btf {
  const { base } = options;
  const image = readImage(bytes, base?.endId ?? 1, options);
  return new LazyBtf(image, base, options.pointerSize);
}

class LazyBtf implements Btf {
  readonly base: Btf | undefined;
  readonly littleEndian: boolean;
  readonly firstId: number;
  readonly endId: number;
  readonly image: BtfImage;
  readonly strings: StringTable;
  readonly #inflated = new Map<number, Exclude<BtfType, BtfVoid>>();
  readonly #names: NameIndex;
  #pointerSize: 4 | 8 | undefined;
  #tags: Map<number, BtfDeclTag[]> | undefined;

  constructor(image: BtfImage, base: Btf | undefined, pointerSize: 4 | 8 | undefined) {
    this.base = base;
    this.image = image;
    this.littleEndian = image.header.littleEndian;
    this.firstId = base?.endId ?? 1;
    this.endId = this.firstId + image.starts.length;
    this.strings = new StringTable(image.strings, base?.strings);
    this.#pointerSize = pointerSize;
    this.#names = new NameIndex(image, this.strings, this.firstId);
  }

  get pointerSize(): 4 | 8 {
    this.#pointerSize ??= this.base?.pointerSize ?? pointerSizeOf(this);
    return this.#pointerSize;
  }

  typeById(id: number): BtfType {
    if (id < this.firstId && this.base !== undefined) return this.base.typeById(id);
    const index = this.#index(id);
    if (index < 0) return VOID;
    const known = this.#inflated.get(index);
    if (known !== undefined) return known;
    const type = inflate(this, index);
    this.#inflated.set(index, type);
    return type;
  }

  kindOf(id: number): BtfKind {
    if (id < this.firstId && this.base !== undefined) return this.base.kindOf(id);
    const index = this.#index(id);
    if (index < 0) return "void";
    const { words, starts } = this.image;
    const kind = infoKind(words[starts[index]! + 1]!);
    const name = KIND_NAMES[kind];
    if (name === undefined) throw this.#fail("ERR_UNSUPPORTED_FORMAT", `Unknown kind ${kind}`, id);
    return name;
  }

  nameOf(id: number): string {
    if (id < this.firstId && this.base !== undefined) return this.base.nameOf(id);
    const index = this.#index(id);
    if (index < 0) return "";
    const offset = this.image.words[this.image.starts[index]!]!;
    const name = this.strings.at(offset);
    if (name === undefined) throw this.#fail("ERR_BTF_INVALID", `Name offset ${offset} is outside of the strings`, id);
    return name;
  }

  typeByName<K extends BtfKind = BtfKind>(name: string, kind?: K): BtfTypeOf<K> {
    const id = this.#find(name, kind, false, true)[0];
    if (id === undefined) {
      const wanted = kind === undefined ? `type "${name}"` : `${kind} "${name}"`;
      throw btfError("ERR_BTF_NOT_FOUND", `No ${wanted}`, this.image.path);
    }
    return this.typeById(id) as BtfTypeOf<K>;
  }

  typesByName<K extends BtfKind = BtfKind>(name: string, kind?: K): BtfTypeOf<K>[] {
    return this.idsByName(name, kind).map((id) => this.typeById(id) as BtfTypeOf<K>);
  }

  idsByName(name: string, kind?: BtfKind): TypeId[] {
    return this.#find(name, kind, false, false);
  }

  idsByEssentialName(name: string, kind?: BtfKind): TypeId[] {
    return this.#find(name, kind, true, false);
  }

  *types(from = 1): IterableIterator<Exclude<BtfType, BtfVoid>> {
    if (from < this.firstId && this.base !== undefined) yield* this.base.types(from);
    const { words, starts } = this.image;
    for (let id = Math.max(from, this.firstId); id < this.endId; id++) {
      const index = id - this.firstId;
      if (infoKind(words[starts[index]! + 1]!) > KIND.enum64) continue;
      // Not kept: going through a kernel's types must not leave 80 MB behind.
      yield this.#inflated.get(index) ?? inflate(this, index);
    }
  }

  *functions(): IterableIterator<BtfFunc> {
    if (this.base !== undefined) yield* this.base.functions();
    const { words, starts } = this.image;
    for (let index = 0; index < starts.length; index++) {
      if (infoKind(words[starts[index]! + 1]!) === KIND.func) yield this.typeById(this.firstId + index) as BtfFunc;
    }
  }

  declTags(id: number, component?: number): readonly BtfDeclTag[] {
    const tags = this.#tagsByType().get(id) ?? [];
    const inherited = id < this.firstId && this.base !== undefined ? this.base.declTags(id) : [];
    const all = inherited.length === 0 ? tags : [...inherited, ...tags];
    return component === undefined ? all : all.filter((tag) => tag.componentIndex === component);
  }

  resolve(id: number): BtfType {
    return resolveType(this, id);
  }

  sizeOf(id: number): number {
    return sizeOf(this, id);
  }

  alignOf(id: number): number {
    return alignOf(this, id);
  }

  #find(name: string, kind: BtfKind | undefined, essential: boolean, first: boolean): TypeId[] {
    if (kind === "void" || name === "") return [];
    const found = this.base === undefined ? [] : this.base[essential ? "idsByEssentialName" : "idsByName"](name, kind);
    if (first && found.length > 0) return found;
    this.#names.find(encodeUtf8(name), kind === undefined ? -1 : KIND[kind], essential, found, first);
    return found;
  }

  #tagsByType(): Map<number, BtfDeclTag[]> {
    if (this.#tags !== undefined) return this.#tags;
    const tags = new Map<number, BtfDeclTag[]>();
    const { words, starts } = this.image;
    for (let index = 0; index < starts.length; index++) {
      if (infoKind(words[starts[index]! + 1]!) !== KIND.decl_tag) continue;
      const tag = this.typeById(this.firstId + index) as BtfDeclTag;
      const list = tags.get(tag.type);
      if (list === undefined) tags.set(tag.type, [tag]);
      else list.push(tag);
    }
    this.#tags = tags;
    return tags;
  }

  // Index of a type among its own, or -1 for void.
  #index(id: number): number {
    if (id === 0) return -1;
    const index = id - this.firstId;
    if (!(Number.isInteger(index) && index >= 0 && index < this.image.starts.length)) {
      const range = `0 to ${this.endId - 1}`;
      throw btfError("ERR_BTF_NOT_FOUND", `No type ${id}, there are ${range}`, this.image.path);
    }
    return index;
  }

  #fail(code: "ERR_BTF_INVALID" | "ERR_UNSUPPORTED_FORMAT", message: string, id: number): BtfError {
    const { path, offset, header, starts } = this.image;
    const at = offset + header.types.offset + 4 * starts[id - this.firstId]!;
    return btfError(code, message, `${path} type[${id}]`, at);
  }
}

const VOID: BtfType = { kind: "void", id: 0 as TypeId, name: "" };
