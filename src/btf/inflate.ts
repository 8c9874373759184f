// Browser-safe.

import type { Btf } from "./btf.ts";
import { checkType } from "./check.ts";
import { infoKind, infoVlen } from "./kinds.ts";
import type { StringTable } from "./strings.ts";
import type {
  BtfArray,
  BtfConst,
  BtfDatasec,
  BtfDeclTag,
  BtfEnum,
  BtfEnum64,
  BtfEnum64Value,
  BtfEnumValue,
  BtfFloat,
  BtfFunc,
  BtfFuncProto,
  BtfFwd,
  BtfInt,
  BtfLinkage,
  BtfMember,
  BtfParam,
  BtfPtr,
  BtfRestrict,
  BtfSecinfo,
  BtfStruct,
  BtfType,
  BtfTypedef,
  BtfTypeTag,
  BtfUnion,
  BtfVar,
  BtfVoid,
  BtfVolatile,
  TypeId,
} from "./types.ts";

const LINKAGES: readonly BtfLinkage[] = ["static", "global", "extern"];

/** What every kind is decoded from. */
interface Undecoded {
  readonly strings: StringTable;
  readonly words: Uint32Array;
  readonly id: TypeId;
  readonly name: string;
  /** Number of elements. */
  readonly vlen: number;
  readonly flag: boolean;
  /** Third word: a size or a type, depending on the kind. */
  readonly third: number;
  /** Index of the first word behind the three. */
  readonly body: number;
}

type Decoder = (from: Undecoded) => Exclude<BtfType, BtfVoid>;

/**
 * Checks and decodes one type.
 *
 * @param btf what to decode from
 * @param index which of its own types: `id - firstId`
 * @throws BtfError when it is malformed
 */
export function inflate(btf: Btf, index: number): Exclude<BtfType, BtfVoid> {
  checkType(btf, index);
  const { words, starts } = btf.image;
  const { strings } = btf;
  // Opening has found everything that kind and vlen stand for inside the section, so reading is in bounds and
  // allocating by vlen is safe; the check has found the kind and every name.
  const at = starts[index]!;
  const info = words[at + 1]!;
  return DECODERS[infoKind(info)]!({
    strings,
    words,
    id: (btf.firstId + index) as TypeId,
    name: strings.at(words[at]!)!,
    vlen: infoVlen(info),
    flag: info >>> 31 === 1,
    third: words[at + 2]!,
    body: at + 3,
  });
}

function decodeVoid(): never {
  throw new Error("Kind 0 was let through");
}

function decodeInt({ id, name, third: size, words, body }: Undecoded): BtfInt {
  const data = words[body]!;
  const bits = data & 0xff;
  const bitOffset = (data >>> 16) & 0xff;
  const signed = (data & 0x1000000) !== 0;
  const char = (data & 0x2000000) !== 0;
  const bool = (data & 0x4000000) !== 0;
  return { kind: "int", id, name, size, bits, bitOffset, signed, char, bool };
}

function decodePtr({ id, name, third }: Undecoded): BtfPtr {
  return { kind: "ptr", id, name, type: third as TypeId };
}

function decodeArray({ id, name, words, body }: Undecoded): BtfArray {
  const indexType = words[body + 1] as TypeId;
  return { kind: "array", id, name, type: words[body] as TypeId, indexType, length: words[body + 2]! };
}

function decodeStruct(from: Undecoded): BtfStruct {
  const { id, name, third: size } = from;
  return { kind: "struct", id, name, size, members: decodeMembers(from) };
}

function decodeUnion(from: Undecoded): BtfUnion {
  const { id, name, third: size } = from;
  return { kind: "union", id, name, size, members: decodeMembers(from) };
}

function decodeMembers({ strings, words, body, vlen, flag }: Undecoded): BtfMember[] {
  const members = new Array<BtfMember>(vlen);
  for (let i = 0, w = body; i < vlen; i++, w += 3) {
    const place = words[w + 2]!;
    members[i] = {
      name: strings.at(words[w]!)!,
      type: words[w + 1] as TypeId,
      bitOffset: flag ? place & 0xffffff : place,
      bitfieldSize: flag ? place >>> 24 : 0,
    };
  }
  return members;
}

function decodeEnum({ id, name, third: size, flag, vlen, strings, words, body }: Undecoded): BtfEnum {
  const values = new Array<BtfEnumValue>(vlen);
  for (let i = 0, w = body; i < vlen; i++, w += 2) {
    const value = words[w + 1]!;
    values[i] = { name: strings.at(words[w]!)!, value: flag ? value | 0 : value };
  }
  return { kind: "enum", id, name, size, signed: flag, values };
}

function decodeFwd({ id, name, flag }: Undecoded): BtfFwd {
  return { kind: "fwd", id, name, target: flag ? "union" : "struct" };
}

function decodeTypedef({ id, name, third }: Undecoded): BtfTypedef {
  return { kind: "typedef", id, name, type: third as TypeId };
}

function decodeVolatile({ id, name, third }: Undecoded): BtfVolatile {
  return { kind: "volatile", id, name, type: third as TypeId };
}

function decodeConst({ id, name, third }: Undecoded): BtfConst {
  return { kind: "const", id, name, type: third as TypeId };
}

function decodeRestrict({ id, name, third }: Undecoded): BtfRestrict {
  return { kind: "restrict", id, name, type: third as TypeId };
}

function decodeFunc({ id, name, third, vlen }: Undecoded): BtfFunc {
  return { kind: "func", id, name, type: third as TypeId, linkage: LINKAGES[vlen]! };
}

function decodeFuncProto({ id, name, third, vlen, strings, words, body }: Undecoded): BtfFuncProto {
  // An ellipsis is a last parameter without name and type.
  const last = body + 2 * (vlen - 1);
  const variadic = vlen > 0 && words[last] === 0 && words[last + 1] === 0;
  const count = variadic ? vlen - 1 : vlen;
  const params = new Array<BtfParam>(count);
  for (let i = 0, w = body; i < count; i++, w += 2) {
    params[i] = { name: strings.at(words[w]!)!, type: words[w + 1] as TypeId };
  }
  return { kind: "func_proto", id, name, returnType: third as TypeId, params, variadic };
}

function decodeVar({ id, name, third, words, body }: Undecoded): BtfVar {
  return { kind: "var", id, name, type: third as TypeId, linkage: LINKAGES[words[body]!]! };
}

function decodeDatasec({ id, name, third: size, vlen, words, body }: Undecoded): BtfDatasec {
  const vars = new Array<BtfSecinfo>(vlen);
  for (let i = 0, w = body; i < vlen; i++, w += 3) {
    vars[i] = { type: words[w] as TypeId, offset: words[w + 1]!, size: words[w + 2]! };
  }
  return { kind: "datasec", id, name, size, vars };
}

function decodeFloat({ id, name, third: size }: Undecoded): BtfFloat {
  return { kind: "float", id, name, size };
}

function decodeDeclTag({ id, name, third, flag, words, body }: Undecoded): BtfDeclTag {
  const componentIndex = words[body]! | 0;
  return { kind: "decl_tag", id, name, type: third as TypeId, componentIndex, attribute: flag };
}

function decodeTypeTag({ id, name, third, flag }: Undecoded): BtfTypeTag {
  return { kind: "type_tag", id, name, type: third as TypeId, attribute: flag };
}

function decodeEnum64({ id, name, third: size, flag, vlen, strings, words, body }: Undecoded): BtfEnum64 {
  const values = new Array<BtfEnum64Value>(vlen);
  for (let i = 0, w = body; i < vlen; i++, w += 3) {
    const high = flag ? words[w + 2]! | 0 : words[w + 2]!;
    values[i] = { name: strings.at(words[w]!)!, value: (BigInt(high) << 32n) | BigInt(words[w + 1]!) };
  }
  return { kind: "enum64", id, name, size, signed: flag, values };
}

/**
 * By number of the kind. A function for each, because one with a branch for each is compiled anew whenever a kind turns
 * up for the first time, which doubles the time to go through a kernel's types.
 */
const DECODERS: readonly Decoder[] = [
  decodeVoid,
  decodeInt,
  decodePtr,
  decodeArray,
  decodeStruct,
  decodeUnion,
  decodeEnum,
  decodeFwd,
  decodeTypedef,
  decodeVolatile,
  decodeConst,
  decodeRestrict,
  decodeFunc,
  decodeFuncProto,
  decodeVar,
  decodeDatasec,
  decodeFloat,
  decodeDeclTag,
  decodeTypeTag,
  decodeEnum64,
];
