// Browser-safe.

import type { Btf } from "./btf.ts";
import { checkType } from "./check.ts";
import { infoKind, infoVlen, KIND } from "./kinds.ts";
import type {
  BtfEnum64Value,
  BtfEnumValue,
  BtfLinkage,
  BtfMember,
  BtfParam,
  BtfSecinfo,
  BtfType,
  BtfVoid,
  TypeId,
} from "./types.ts";

const LINKAGES: readonly BtfLinkage[] = ["static", "global", "extern"];

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
  // allocating by vlen is safe; the check has found every name.
  const at = starts[index]!;
  const info = words[at + 1]!;
  const body = at + 3;
  const id = (btf.firstId + index) as TypeId;
  const name = strings.at(words[at]!)!;
  const vlen = infoVlen(info);
  const flag = info >>> 31 === 1;
  // One field for both: which it is depends on the kind.
  const size = words[at + 2]!;
  const type = size as TypeId;
  switch (infoKind(info)) {
    case KIND.int: {
      const data = words[body]!;
      const bits = data & 0xff;
      const bitOffset = (data >>> 16) & 0xff;
      const signed = (data & 0x1000000) !== 0;
      const char = (data & 0x2000000) !== 0;
      const bool = (data & 0x4000000) !== 0;
      return { kind: "int", id, name, size, bits, bitOffset, signed, char, bool };
    }
    case KIND.ptr:
      return { kind: "ptr", id, name, type };
    case KIND.array: {
      const indexType = words[body + 1] as TypeId;
      return { kind: "array", id, name, type: words[body] as TypeId, indexType, length: words[body + 2]! };
    }
    case KIND.struct:
      return { kind: "struct", id, name, size, members: membersOf(btf, body, vlen, flag) };
    case KIND.union:
      return { kind: "union", id, name, size, members: membersOf(btf, body, vlen, flag) };
    case KIND.enum: {
      const values = new Array<BtfEnumValue>(vlen);
      for (let i = 0, w = body; i < vlen; i++, w += 2) {
        const value = words[w + 1]!;
        values[i] = { name: strings.at(words[w]!)!, value: flag ? value | 0 : value };
      }
      return { kind: "enum", id, name, size, signed: flag, values };
    }
    case KIND.fwd:
      return { kind: "fwd", id, name, target: flag ? "union" : "struct" };
    case KIND.typedef:
      return { kind: "typedef", id, name, type };
    case KIND.volatile:
      return { kind: "volatile", id, name, type };
    case KIND.const:
      return { kind: "const", id, name, type };
    case KIND.restrict:
      return { kind: "restrict", id, name, type };
    case KIND.func:
      return { kind: "func", id, name, type, linkage: LINKAGES[vlen]! };
    case KIND.func_proto: {
      // An ellipsis is a last parameter without name and type.
      const last = body + 2 * (vlen - 1);
      const variadic = vlen > 0 && words[last] === 0 && words[last + 1] === 0;
      const count = variadic ? vlen - 1 : vlen;
      const params = new Array<BtfParam>(count);
      for (let i = 0, w = body; i < count; i++, w += 2) {
        params[i] = { name: strings.at(words[w]!)!, type: words[w + 1] as TypeId };
      }
      return { kind: "func_proto", id, name, returnType: type, params, variadic };
    }
    case KIND.var:
      return { kind: "var", id, name, type, linkage: LINKAGES[words[body]!]! };
    case KIND.datasec: {
      const vars = new Array<BtfSecinfo>(vlen);
      for (let i = 0, w = body; i < vlen; i++, w += 3) {
        vars[i] = { type: words[w] as TypeId, offset: words[w + 1]!, size: words[w + 2]! };
      }
      return { kind: "datasec", id, name, size, vars };
    }
    case KIND.float:
      return { kind: "float", id, name, size };
    case KIND.decl_tag:
      return { kind: "decl_tag", id, name, type, componentIndex: words[body]! | 0, attribute: flag };
    case KIND.type_tag:
      return { kind: "type_tag", id, name, type, attribute: flag };
    default: {
      const values = new Array<BtfEnum64Value>(vlen);
      for (let i = 0, w = body; i < vlen; i++, w += 3) {
        const high = flag ? words[w + 2]! | 0 : words[w + 2]!;
        values[i] = { name: strings.at(words[w]!)!, value: (BigInt(high) << 32n) | BigInt(words[w + 1]!) };
      }
      return { kind: "enum64", id, name, size, signed: flag, values };
    }
  }
}

function membersOf(btf: Btf, body: number, count: number, bitfields: boolean): BtfMember[] {
  const { words } = btf.image;
  const { strings } = btf;
  const members = new Array<BtfMember>(count);
  for (let i = 0, w = body; i < count; i++, w += 3) {
    const place = words[w + 2]!;
    members[i] = {
      name: strings.at(words[w]!)!,
      type: words[w + 1] as TypeId,
      bitOffset: bitfields ? place & 0xffffff : place,
      bitfieldSize: bitfields ? place >>> 24 : 0,
    };
  }
  return members;
}
