// Browser-safe.

import type { BtfKind } from "./types.ts";

/** Numbers of the kinds in the file format (`BTF_KIND_*`). */
export const KIND = {
  void: 0,
  int: 1,
  ptr: 2,
  array: 3,
  struct: 4,
  union: 5,
  enum: 6,
  fwd: 7,
  typedef: 8,
  volatile: 9,
  const: 10,
  restrict: 11,
  func: 12,
  func_proto: 13,
  var: 14,
  datasec: 15,
  float: 16,
  decl_tag: 17,
  type_tag: 18,
  enum64: 19,
} as const;

/** Names of the kinds by number. */
export const KIND_NAMES = Object.keys(KIND) as readonly BtfKind[];

/** Magic number at the start of `.BTF` and `.BTF.ext`. */
export const BTF_MAGIC = 0xeb9f;

/**
 * Words (of 32 bits) that follow the three of `struct btf_type`, once per type.
 */
export const INFO_WORDS: Uint8Array = Uint8Array.of(0, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0);

/** Words that follow for each of the `vlen` elements. */
export const ELEMENT_WORDS: Uint8Array = Uint8Array.of(0, 0, 0, 0, 3, 3, 2, 0, 0, 0, 0, 0, 0, 2, 0, 3, 0, 0, 0, 3);

/**
 * Kind of an info word. Seven bits since Linux 7.1, five before; the two more were required to be 0.
 *
 * @param info second word of `struct btf_type`
 */
export function infoKind(info: number): number {
  return (info >>> 24) & 0x7f;
}

/**
 * Number of elements in an info word. 24 bits since Linux 7.1, 16 before; the eight more were required to be 0.
 *
 * @param info second word of `struct btf_type`
 */
export function infoVlen(info: number): number {
  return info & 0xffffff;
}
