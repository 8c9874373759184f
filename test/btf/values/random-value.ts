import type { Btf, BtfMember, BtfStruct, BtfUnion } from "../../../src/btf/index.ts";

/** Gives a number from 0 to `below - 1`. */
export type Below = (below: number) => number;

/**
 * A random value that fits a type, in the form that its codec takes. Follows the type itself, so that it can be held
 * against the codec.
 *
 * @returns `undefined` when the type has no value
 */
export function randomValue(btf: Btf, id: number, below: Below): unknown {
  return new Generator(btf, below).value(id);
}

/**
 * Whether a decoded value says what an encoded one did: unions have more members, flexible arrays may end in zeros
 * that are padding.
 */
export function agrees(decoded: unknown, encoded: unknown): boolean {
  if (encoded instanceof Uint8Array || Array.isArray(encoded)) {
    const [long, short] = [decoded as ArrayLike<unknown>, encoded as ArrayLike<unknown>];
    if (!(decoded instanceof Object) || long.length < short.length) return false;
    return Array.from(short).every((part, i) => agrees(long[i], part));
  }
  if (typeof encoded === "object" && encoded !== null) {
    if (typeof decoded !== "object" || decoded === null) return false;
    return Object.entries(encoded).every(([name, part]) =>
      agrees(Object.getOwnPropertyDescriptor(decoded, name)?.value, part),
    );
  }
  return Object.is(decoded, encoded);
}

class Generator {
  readonly #btf: Btf;
  readonly #below: Below;

  constructor(btf: Btf, below: Below) {
    this.#btf = btf;
    this.#below = below;
  }

  value(id: number): unknown {
    const type = this.#btf.resolve(id);
    switch (type.kind) {
      case "int":
        return type.bool ? this.#below(2) === 0 : this.#integer(type.bits, type.signed);
      case "ptr":
        return this.#wide(64, false);
      case "float":
        return this.#below(4) === 0 ? 0 : Math.fround(this.#below(1000) / 8 - 40);
      case "enum":
      case "enum64": {
        const width = 8 * type.size;
        const names = type.values.filter(
          ({ name, value }) =>
            // A name that stands for several values is one of them, and a value may have several names.
            type.values.find((other) => other.name === name)?.value === value &&
            type.values.find((other) => other.value === value)?.name === name,
        );
        if (names.length > 0 && this.#below(4) !== 0) return names[this.#below(names.length)]!.name;
        const raw = this.#integer(width, type.signed);
        const named = type.values.find(({ value }) => BigInt(value) === BigInt(raw));
        return named?.name ?? (width > 32 ? BigInt(raw) : Number(raw));
      }
      case "array": {
        const of = this.#btf.resolve(type.type);
        if (of.kind === "int" && of.size === 1 && of.char) {
          return Array.from({ length: this.#below(type.length + 1) }, () =>
            String.fromCharCode(33 + this.#below(90)),
          ).join("");
        }
        const list = Array.from({ length: type.length }, () => this.value(type.type));
        return of.kind === "int" && of.size === 1 && !of.bool && !of.signed ? Uint8Array.from(list as number[]) : list;
      }
      case "struct":
      case "union": {
        const value: Record<string, unknown> = {};
        this.#fill(type, value, this.#names(type, new Map(), new Set()), true);
        return value;
      }
      default:
        return undefined;
    }
  }

  /** Names that members are given, by their path of indices: those that occur again are numbered. */
  #names(type: BtfStruct | BtfUnion, names: Map<string, string>, taken: Set<string>, path = ""): Map<string, string> {
    for (const [i, member] of type.members.entries()) {
      const of = this.#anonymous(member);
      if (of !== undefined) this.#names(of, names, taken, `${path}.${i}`);
      else if (member.name !== "") {
        let name = member.name;
        for (let n = 2; taken.has(name); n++) name = `${member.name}___${n}`;
        taken.add(name);
        names.set(`${path}.${i}`, name);
      }
    }
    return names;
  }

  #anonymous(member: BtfMember): BtfStruct | BtfUnion | undefined {
    const of = this.#btf.resolve(member.type);
    return member.name === "" && (of.kind === "struct" || of.kind === "union") ? of : undefined;
  }

  #fill(
    type: BtfStruct | BtfUnion,
    value: Record<string, unknown>,
    names: Map<string, string>,
    all: boolean,
    path = "",
  ): void {
    const usable = type.members.flatMap((_, i) => {
      const inside = [...names.keys()].some((key) => key === `${path}.${i}` || key.startsWith(`${path}.${i}.`));
      return inside ? [i] : [];
    });
    const chosen = type.kind === "union" && usable.length > 0 ? [usable[this.#below(usable.length)]!] : usable;
    for (const i of chosen) {
      const member = type.members[i]!;
      const of = this.#anonymous(member);
      if (of !== undefined) this.#fill(of, value, names, all, `${path}.${i}`);
      else {
        const part = member.bitfieldSize === 0 ? this.value(member.type) : this.#bits(member);
        Object.defineProperty(value, names.get(`${path}.${i}`)!, { value: part, enumerable: true, configurable: true });
      }
    }
  }

  #bits(member: BtfMember): unknown {
    const of = this.#btf.resolve(member.type);
    if (of.kind !== "int") throw new Error(`A bit field of kind ${of.kind}`);
    return of.bool ? this.#below(2) === 0 : this.#integer(member.bitfieldSize, of.signed);
  }

  #integer(bits: number, signed: boolean): number | bigint {
    const wide = this.#wide(bits, signed);
    return bits <= 32 ? Number(wide) : wide;
  }

  #wide(bits: number, signed: boolean): bigint {
    let wide = 0n;
    for (let i = 0; i < bits; i += 32) wide = (wide << 32n) | BigInt(this.#below(2 ** 32));
    // Ends of the range are where errors are.
    const kind = this.#below(8);
    if (kind === 0) wide = 0n;
    if (kind === 1) wide = -1n;
    if (kind === 2) wide = 1n << BigInt(bits - 1);
    if (kind === 3) wide = (1n << BigInt(bits - 1)) - 1n;
    return signed ? BigInt.asIntN(bits, wide) : BigInt.asUintN(bits, wide);
  }
}
