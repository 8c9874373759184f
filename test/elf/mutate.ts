import { readElf, readSymbols, relocationSections, SectionType } from "../../src/elf/index.ts";

/** Random numbers below a bound. */
export type Random = (below: number) => number;

/** A generator of its own, so that a failure can be repeated by its seed. */
export function random(seed: number): Random {
  let state = Math.imul(seed, 0x9e3779b1) >>> 0 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

const INTERESTING = [
  0, 1, 2, 3, 7, 8, 0x10, 0x7f, 0x80, 0xff, 0xff00, 0xfff1, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff,
];

/** A few changes anywhere in a file, mostly small ones to numbers that mean something. */
export function mutateBytes(original: Uint8Array, next: Random): Uint8Array {
  const bytes = original.slice();
  const view = new DataView(bytes.buffer);
  const little = bytes[5] === 1;
  const headers = Number(view.getBigUint64(40, little));
  for (let changes = 1 + next(4); changes > 0; changes--) {
    const at = Math.min(
      next(8) === 0 ? headers + next(bytes.length - headers) : 64 + next(bytes.length - 64),
      bytes.length - 8,
    );
    switch (next(5)) {
      case 0:
        view.setUint8(at, next(256));
        break;
      case 1:
        view.setUint8(at, view.getUint8(at) ^ (1 << next(8)));
        break;
      case 2:
        view.setUint32(at & ~3, view.getUint32(at & ~3, little) + next(17) - 8, little);
        break;
      case 3:
        view.setUint32(at & ~3, INTERESTING[next(INTERESTING.length)]!, little);
        break;
      default: {
        // A piece of the file in another place.
        const length = [4, 8, 16, 24][next(4)]!;
        const from = 64 + next(bytes.length - 64 - length);
        bytes.copyWithin(Math.min(at & ~3, bytes.length - length), from & ~3, (from & ~3) + length);
      }
    }
  }
  return bytes;
}

/** A number in a file. */
interface Field {
  readonly at: number;
  readonly size: 1 | 2 | 4 | 8;
  /** Fields of one kind mean the same: their values may be exchanged. */
  readonly kind: string;
}

/** The numbers of an object that mean something, by what table they are in. */
export interface Fields {
  readonly bytes: Uint8Array;
  /** By table, so that small tables are changed as often as large ones. */
  readonly tables: readonly (readonly Field[])[];
  /** Fields by kind. */
  readonly kinds: ReadonlyMap<string, readonly Field[]>;
  /** Sections, symbols, types. */
  readonly counts: readonly number[];
}

type Shape = readonly (readonly [name: string, size: 1 | 2 | 4 | 8])[];

const HEADER: Shape = [
  ...([
    ["type", 2],
    ["machine", 2],
    ["version", 4],
    ["entry", 8],
    ["phoff", 8],
    ["shoff", 8],
  ] as Shape),
  ...([
    ["flags", 4],
    ["ehsize", 2],
    ["phentsize", 2],
    ["phnum", 2],
    ["shentsize", 2],
    ["shnum", 2],
  ] as Shape),
  ["shstrndx", 2],
];
const SECTION: Shape = [
  ...([
    ["name", 4],
    ["type", 4],
    ["flags", 8],
    ["addr", 8],
    ["offset", 8],
    ["size", 8],
    ["link", 4],
  ] as Shape),
  ...([
    ["info", 4],
    ["addralign", 8],
    ["entsize", 8],
  ] as Shape),
];
const SYMBOL: Shape = [
  ["name", 4],
  ["info", 1],
  ["other", 1],
  ["shndx", 2],
  ["value", 8],
  ["size", 8],
];
const INSTRUCTION: Shape = [
  ["opcode", 1],
  ["registers", 1],
  ["offset", 2],
  ["imm", 4],
];

function shaped(at: number, count: number, what: string, shape: Shape): Field[] {
  const fields: Field[] = [];
  let place = at;
  for (let i = 0; i < count; i++) {
    for (const [name, size] of shape) {
      fields.push({ at: place, size, kind: `${what}.${name}` });
      place += size;
    }
  }
  return fields;
}

function words(at: number, end: number, kind: string, size: 4 | 8 = 4): Field[] {
  const fields: Field[] = [];
  for (let place = at; place + size <= end; place += size) fields.push({ at: place, size, kind });
  return fields;
}

/** Finds the numbers of an object that nothing is wrong with. */
export function fieldsOf(bytes: Uint8Array): Fields {
  const elf = readElf(bytes);
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const little = elf.header.littleEndian;
  const relocation: Shape = little
    ? [
        ["offset", 8],
        ["type", 4],
        ["symbol", 4],
      ]
    : [
        ["offset", 8],
        ["symbol", 4],
        ["type", 4],
      ];
  const tables: Field[][] = [
    shaped(16, 1, "header", HEADER),
    shaped(elf.header.sectionOffset, elf.header.sectionCount, "section", SECTION),
  ];
  let types = 0;
  for (const section of elf.sections) {
    const { offset, size, type, name } = section;
    const end = offset + size;
    if (type === SectionType.nobits || size === 0) continue;
    if (type === SectionType.symtab) tables.push(shaped(offset, size / 24, "symbol", SYMBOL));
    else if (type === SectionType.rel) tables.push(shaped(offset, size / 16, "relocation", relocation));
    else if (name === ".BTF") {
      const at = offset + view.getUint32(offset + 4, little);
      const strings = at + view.getUint32(offset + 16, little);
      types = (strings - at) >> 4;
      tables.push(words(offset, at, "btf header"), words(at, strings, "btf"));
    } else if (name === ".BTF.ext") {
      const at = offset + view.getUint32(offset + 4, little);
      tables.push(words(offset, at, "ext header"));
      // One table for each of the three kinds of records.
      for (let part = 0; part < 3; part++) {
        const field = offset + 8 + 8 * part;
        if (field + 8 > at) break;
        const start = at + view.getUint32(field, little);
        tables.push(words(start, start + view.getUint32(field + 4, little), `ext ${part}`));
      }
    } else if (name === ".jumptables") tables.push(words(offset, end, "jump table", 8));
    else if ((section.flags & 4) !== 0) tables.push(shaped(offset, size >> 3, "instruction", INSTRUCTION));
    else if (type === SectionType.progbits) tables.push(words(offset, end, "data"));
  }
  const kinds = new Map<string, Field[]>();
  for (const field of tables.flat()) {
    const list = kinds.get(field.kind);
    if (list === undefined) kinds.set(field.kind, [field]);
    else list.push(field);
  }
  const counts = [elf.sections.length, readSymbols(elf).length, types, relocationSections(elf).length, bytes.length];
  return { bytes, tables: tables.filter((table) => table.length > 0), kinds, counts };
}

const WIDE = [
  ...INTERESTING.map(BigInt),
  1n << 31n,
  1n << 32n,
  1n << 53n,
  1n << 63n,
  (1n << 64n) - 1n,
  (1n << 64n) - 8n,
];

/** A few changes to numbers that mean something: another one of their kind, a near one, one at a border. */
export function mutateFields(original: Fields, next: Random): Uint8Array {
  const bytes = original.bytes.slice();
  const view = new DataView(bytes.buffer);
  const little = bytes[5] === 1;
  const get = ({ at, size }: Field): bigint =>
    size === 8
      ? view.getBigUint64(at, little)
      : BigInt(size === 4 ? view.getUint32(at, little) : size === 2 ? view.getUint16(at, little) : view.getUint8(at));
  const set = ({ at, size }: Field, value: bigint): void => {
    const low = Number(BigInt.asUintN(32, value));
    if (size === 8) view.setBigUint64(at, BigInt.asUintN(64, value), little);
    else if (size === 4) view.setUint32(at, low, little);
    else if (size === 2) view.setUint16(at, low, little);
    else view.setUint8(at, low);
  };
  for (let changes = 1 + next(3); changes > 0; changes--) {
    const table = original.tables[next(original.tables.length)]!;
    const field = table[next(table.length)]!;
    const peers = original.kinds.get(field.kind)!;
    const peer = peers[next(peers.length)]!;
    switch (next(7)) {
      case 0:
        set(field, get(peer));
        break;
      case 1: {
        const value = get(field);
        set(field, get(peer));
        set(peer, value);
        break;
      }
      case 2:
        set(field, get(field) + BigInt(next(17) - 8));
        break;
      case 3:
        set(field, WIDE[next(WIDE.length)]!);
        break;
      case 4:
        set(field, BigInt(original.counts[next(original.counts.length)]! + next(3) - 1));
        break;
      case 5:
        set(field, get(field) ^ (1n << BigInt(next(8 * field.size))));
        break;
      default:
        set(field, get(field) * BigInt(2 + next(7)));
    }
  }
  return bytes;
}
