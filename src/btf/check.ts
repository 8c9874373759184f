// Browser-safe.

import type { BpfErrorCode, BtfError } from "../errors.ts";
import type { Btf } from "./btf.ts";
import { btfError } from "./image.ts";
import { infoKind, infoVlen } from "./kinds.ts";

/**
 * The error of a fault in one type: names the type, its part, and the byte of the word at fault.
 *
 * @param btf where the type is
 * @param id number of the type, one of the BTF's own
 * @param word index of the word at fault
 * @param message what is wrong with it
 * @param part which part of the type, such as `.member`
 * @param index which of those parts
 * @param code default `ERR_BTF_INVALID`
 */
export function typeError(
  btf: Btf,
  id: number,
  word: number,
  message: string,
  part = "",
  index?: number,
  code: BpfErrorCode = "ERR_BTF_INVALID",
): BtfError {
  const { path, offset, header } = btf.image;
  const where = index === undefined ? part : `${part}[${index}]`;
  return btfError(code, message, `${path} type[${id}]${where}`, offset + header.types.offset + 4 * word);
}

/**
 * Checks what can be told from one type alone: that its names and type numbers exist, and that flags, widths and
 * sizes have a meaning. What it refers to is not looked at; `validateBtf` does that.
 *
 * @param btf where the type is
 * @param index which of its own types: `id - firstId`
 * @throws BtfError
 */
export function checkType(btf: Btf, index: number): void {
  const { words, starts } = btf.image;
  // In bounds: opening has found this type and everything its kind and vlen stand for inside the section.
  const at = starts[index]!;
  const id = btf.firstId + index;
  const kind = infoKind(words[at + 1]!);
  const check = CHECKS[kind];
  if (check === undefined) {
    throw typeError(btf, id, at + 1, `Unknown kind ${kind}`, "", undefined, "ERR_UNSUPPORTED_FORMAT");
  }
  checkName(btf, id, at, "");
  check(btf, id, at);
}

/** @param at index of the first of the type's words */
type Check = (btf: Btf, id: number, at: number) => void;

function checkNothing(): void {}

function checkReference(btf: Btf, id: number, at: number): void {
  checkId(btf, id, at + 2, "");
}

function checkArray(btf: Btf, id: number, at: number): void {
  checkId(btf, id, at + 3, "");
  checkId(btf, id, at + 4, "");
}

function checkMembers(btf: Btf, id: number, at: number): void {
  checkElements(btf, id, at, 3, ".member", 0, 1);
}

function checkEnum(btf: Btf, id: number, at: number): void {
  checkEnumSize(btf, id, at);
  checkElements(btf, id, at, 2, ".value", 0, -1);
}

function checkEnum64(btf: Btf, id: number, at: number): void {
  checkEnumSize(btf, id, at);
  checkElements(btf, id, at, 3, ".value", 0, -1);
}

function checkFunc(btf: Btf, id: number, at: number): void {
  checkLinkage(btf, id, at + 1, infoVlen(btf.image.words[at + 1]!));
  checkId(btf, id, at + 2, "");
}

function checkFuncProto(btf: Btf, id: number, at: number): void {
  checkId(btf, id, at + 2, "");
  checkElements(btf, id, at, 2, ".param", 0, 1);
}

function checkVar(btf: Btf, id: number, at: number): void {
  checkLinkage(btf, id, at + 3, btf.image.words[at + 3]!);
  checkId(btf, id, at + 2, "");
}

function checkDatasec(btf: Btf, id: number, at: number): void {
  checkElements(btf, id, at, 3, ".var", -1, 0);
}

function checkFloat(btf: Btf, id: number, at: number): void {
  const size = btf.image.words[at + 2]!;
  if (size !== 2 && size !== 4 && size !== 8 && size !== 12 && size !== 16) {
    throw typeError(btf, id, at + 2, `Floating-point size is ${size} bytes, expected 2, 4, 8, 12 or 16`);
  }
}

function checkDeclTag(btf: Btf, id: number, at: number): void {
  checkId(btf, id, at + 2, "");
  const component = btf.image.words[at + 3]! | 0;
  if (component < -1) throw typeError(btf, id, at + 3, `Component index is ${component}, expected at least -1`);
}

function checkInt(btf: Btf, id: number, at: number): void {
  const words = btf.image.words;
  const size = words[at + 2]!;
  const data = words[at + 3]!;
  // Encodings are three flags; what lies above them has no meaning. Nor has a gap below, which the kernel ignores.
  if ((data & 0xf8000000) !== 0) {
    throw typeError(btf, id, at + 3, `Unknown bits in integer encoding 0x${data.toString(16)}`);
  }
  const bits = data & 0xff;
  const bitOffset = (data >>> 16) & 0xff;
  if (bitOffset + bits > 8 * size) {
    throw typeError(btf, id, at + 3, `${bits} bits at bit ${bitOffset} do not fit into ${size} bytes`);
  }
}

/** Checks the name and the type number of each element, at their places in it; -1 for one that it does not have. */
function checkElements(
  btf: Btf,
  id: number,
  at: number,
  stride: number,
  part: string,
  namePlace: number,
  typePlace: number,
): void {
  const words = btf.image.words;
  const { end } = btf.strings;
  const endId = btf.endId;
  const count = infoVlen(words[at + 1]!);
  for (let i = 0, w = at + 3; i < count; i++, w += stride) {
    if (namePlace >= 0 && words[w + namePlace]! >= end) checkName(btf, id, w + namePlace, part, i);
    if (typePlace >= 0 && words[w + typePlace]! >= endId) checkId(btf, id, w + typePlace, part, i);
  }
}

function checkName(btf: Btf, id: number, word: number, part: string, index?: number): void {
  const offset = btf.image.words[word]!;
  if (offset >= btf.strings.end) {
    throw typeError(btf, id, word, `Name offset ${offset} is outside of the strings`, part, index);
  }
}

function checkId(btf: Btf, id: number, word: number, part: string, index?: number): void {
  const type = btf.image.words[word]!;
  if (type >= btf.endId) {
    throw typeError(btf, id, word, `Type ${type} does not exist, there are 0 to ${btf.endId - 1}`, part, index);
  }
}

function checkLinkage(btf: Btf, id: number, word: number, value: number): void {
  if (value > 2) throw typeError(btf, id, word, `Linkage is ${value}, expected 0, 1 or 2`);
}

function checkEnumSize(btf: Btf, id: number, at: number): void {
  const size = btf.image.words[at + 2]!;
  // An enum that is only declared has no values, and from some compilers no size.
  if (size === 0 && infoVlen(btf.image.words[at + 1]!) === 0) return;
  if (size !== 1 && size !== 2 && size !== 4 && size !== 8) {
    throw typeError(btf, id, at + 2, `Enum size is ${size} bytes, expected 1, 2, 4 or 8`);
  }
}

/** By number of the kind; a function for each for the reason given at the decoders. */
const CHECKS: readonly (Check | undefined)[] = [
  undefined,
  checkInt,
  checkReference,
  checkArray,
  checkMembers,
  checkMembers,
  checkEnum,
  checkNothing,
  checkReference,
  checkReference,
  checkReference,
  checkReference,
  checkFunc,
  checkFuncProto,
  checkVar,
  checkDatasec,
  checkFloat,
  checkDeclTag,
  checkReference,
  checkEnum64,
];
