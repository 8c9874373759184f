// Browser-safe.

import type { BtfError } from "../errors.ts";
import type { Btf } from "./btf.ts";
import { btfError } from "./image.ts";
import { infoKind, infoVlen, KIND, KIND_NAMES } from "./kinds.ts";
import type {
  BtfEnum64Value,
  BtfEnumValue,
  BtfLinkage,
  BtfMember,
  BtfParam,
  BtfSecinfo,
  BtfType,
  TypeId,
} from "./types.ts";

const LINKAGES: readonly BtfLinkage[] = ["static", "global", "extern"];

/**
 * Decodes one type and checks what can be told from it alone: that names and type numbers exist, and that flags and
 * widths have a meaning.
 *
 * @param btf what to decode from
 * @param index which of its own types: `id - firstId`
 * @throws BtfError
 */
export function inflate(btf: Btf, index: number): BtfType {
  const { words, starts } = btf.image;
  // In bounds: opening has found this type and everything its kind and vlen stand for inside the section. That also
  // makes it safe to allocate by vlen.
  const at = starts[index]!;
  const info = words[at + 1]!;
  const kind = infoKind(info);
  const id = (btf.firstId + index) as TypeId;
  const size = words[at + 2]!;
  const body = at + 3;
  const flag = info >>> 31 === 1;
  const name = nameAt(btf, id, at);
  switch (kind) {
    case KIND.int: {
      const data = words[body]!;
      const bits = data & 0xff;
      const bitOffset = (data >>> 16) & 0xff;
      const encoding = (data >>> 24) & 0xf;
      if ((data & 0xf000ff00) !== 0 || encoding > 7) {
        throw fail(btf, id, body, `Unknown bits in integer encoding 0x${data.toString(16)}`);
      }
      if (bitOffset + bits > 8 * size) {
        throw fail(btf, id, body, `${bits} bits at bit ${bitOffset} do not fit into ${size} bytes`);
      }
      const signed = (encoding & 1) !== 0;
      const char = (encoding & 2) !== 0;
      const bool = (encoding & 4) !== 0;
      return { kind: "int", id, name, size, bits, bitOffset, signed, char, bool };
    }
    case KIND.ptr:
      return { kind: "ptr", id, name, type: typeAt(btf, id, at + 2) };
    case KIND.array: {
      const type = typeAt(btf, id, body);
      const indexType = typeAt(btf, id, body + 1);
      return { kind: "array", id, name, type, indexType, length: words[body + 2]! };
    }
    case KIND.struct:
      return { kind: "struct", id, name, size, members: members(btf, id, body, infoVlen(info), flag) };
    case KIND.union:
      return { kind: "union", id, name, size, members: members(btf, id, body, infoVlen(info), flag) };
    case KIND.enum: {
      checkEnumSize(btf, id, at, size);
      const count = infoVlen(info);
      const values = new Array<BtfEnumValue>(count);
      for (let i = 0, w = body; i < count; i++, w += 2) {
        const value = words[w + 1]!;
        values[i] = { name: nameAt(btf, id, w, ".value", i), value: flag ? value | 0 : value };
      }
      return { kind: "enum", id, name, size, signed: flag, values };
    }
    case KIND.fwd:
      return { kind: "fwd", id, name, target: flag ? "union" : "struct" };
    case KIND.typedef:
      return { kind: "typedef", id, name, type: typeAt(btf, id, at + 2) };
    case KIND.volatile:
      return { kind: "volatile", id, name, type: typeAt(btf, id, at + 2) };
    case KIND.const:
      return { kind: "const", id, name, type: typeAt(btf, id, at + 2) };
    case KIND.restrict:
      return { kind: "restrict", id, name, type: typeAt(btf, id, at + 2) };
    case KIND.func: {
      const linkage = linkageOf(btf, id, at + 1, infoVlen(info));
      return { kind: "func", id, name, type: typeAt(btf, id, at + 2), linkage };
    }
    case KIND.func_proto: {
      // An ellipsis is a last parameter without name and type.
      const last = body + 2 * (infoVlen(info) - 1);
      const variadic = last >= body && words[last] === 0 && words[last + 1] === 0;
      const count = infoVlen(info) - (variadic ? 1 : 0);
      const params = new Array<BtfParam>(count);
      for (let i = 0, w = body; i < count; i++, w += 2) {
        params[i] = { name: nameAt(btf, id, w, ".param", i), type: typeAt(btf, id, w + 1, ".param", i) };
      }
      return { kind: "func_proto", id, name, returnType: typeAt(btf, id, at + 2), params, variadic };
    }
    case KIND.var: {
      const linkage = linkageOf(btf, id, body, words[body]!);
      return { kind: "var", id, name, type: typeAt(btf, id, at + 2), linkage };
    }
    case KIND.datasec: {
      const count = infoVlen(info);
      const vars = new Array<BtfSecinfo>(count);
      for (let i = 0, w = body; i < count; i++, w += 3) {
        vars[i] = { type: typeAt(btf, id, w, ".var", i), offset: words[w + 1]!, size: words[w + 2]! };
      }
      return { kind: "datasec", id, name, size, vars };
    }
    case KIND.float:
      if (size !== 2 && size !== 4 && size !== 8 && size !== 12 && size !== 16) {
        throw fail(btf, id, at + 2, `Floating-point size is ${size} bytes, expected 2, 4, 8, 12 or 16`);
      }
      return { kind: "float", id, name, size };
    case KIND.decl_tag: {
      const componentIndex = words[body]! | 0;
      if (componentIndex < -1) throw fail(btf, id, body, `Component index is ${componentIndex}, expected at least -1`);
      return { kind: "decl_tag", id, name, type: typeAt(btf, id, at + 2), componentIndex, attribute: flag };
    }
    case KIND.type_tag:
      return { kind: "type_tag", id, name, type: typeAt(btf, id, at + 2), attribute: flag };
    case KIND.enum64: {
      checkEnumSize(btf, id, at, size);
      const count = infoVlen(info);
      const values = new Array<BtfEnum64Value>(count);
      for (let i = 0, w = body; i < count; i++, w += 3) {
        const high = flag ? words[w + 2]! | 0 : words[w + 2]!;
        const value = (BigInt(high) << 32n) | BigInt(words[w + 1]!);
        values[i] = { name: nameAt(btf, id, w, ".value", i), value };
      }
      return { kind: "enum64", id, name, size, signed: flag, values };
    }
    default:
      throw fail(btf, id, at, `Unknown kind ${KIND_NAMES[kind] ?? kind}`);
  }
}

function members(btf: Btf, id: TypeId, body: number, count: number, bitfields: boolean): BtfMember[] {
  const words = btf.image.words;
  const list = new Array<BtfMember>(count);
  for (let i = 0, w = body; i < count; i++, w += 3) {
    const place = words[w + 2]!;
    list[i] = {
      name: nameAt(btf, id, w, ".member", i),
      type: typeAt(btf, id, w + 1, ".member", i),
      bitOffset: bitfields ? place & 0xffffff : place,
      bitfieldSize: bitfields ? place >>> 24 : 0,
    };
  }
  return list;
}

function nameAt(btf: Btf, id: TypeId, word: number, part = "", index?: number): string {
  const offset = btf.image.words[word]!;
  const name = btf.strings.at(offset);
  if (name === undefined) {
    throw fail(btf, id, word, `Name offset ${offset} is outside of the strings`, part, index);
  }
  return name;
}

function typeAt(btf: Btf, id: TypeId, word: number, part = "", index?: number): TypeId {
  const type = btf.image.words[word]!;
  if (type >= btf.endId) {
    throw fail(btf, id, word, `Type ${type} does not exist, there are 0 to ${btf.endId - 1}`, part, index);
  }
  return type as TypeId;
}

function linkageOf(btf: Btf, id: TypeId, word: number, value: number): BtfLinkage {
  const linkage = LINKAGES[value];
  if (linkage === undefined) throw fail(btf, id, word, `Linkage is ${value}, expected 0, 1 or 2`);
  return linkage;
}

function checkEnumSize(btf: Btf, id: TypeId, at: number, size: number): void {
  if (size !== 1 && size !== 2 && size !== 4 && size !== 8) {
    throw fail(btf, id, at + 2, `Enum size is ${size} bytes, expected 1, 2, 4 or 8`);
  }
}

/** The error of a fault in a type: names the type, its part, and the byte of the word at fault. */
function fail(btf: Btf, id: TypeId, word: number, message: string, part = "", index?: number): BtfError {
  const { path, offset, header } = btf.image;
  const where = index === undefined ? part : `${part}[${index}]`;
  return btfError("ERR_BTF_INVALID", message, `${path} type[${id}]${where}`, offset + header.types.offset + 4 * word);
}
