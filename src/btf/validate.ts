// Browser-safe.

import type { Btf } from "./btf.ts";
import { checkType, typeError } from "./check.ts";
import { infoKind, infoVlen, KIND, KIND_NAMES } from "./kinds.ts";
import { MAX_RESOLVE_DEPTH } from "./layout.ts";

/**
 * Checks every type of a BTF: what {@link Btf.typeById} checks of a single one, and in addition what types say of each
 * other. In time proportional to the size of the BTF.
 *
 * - names: present where a kind needs one, absent where it has none;
 * - fields and flags that a kind does not use are 0;
 * - references: a function has a prototype, an index is an integer, a member or element has a size, a section holds
 *   variables, a tag's target has as many components, nothing refers to a section, a variable or a declaration tag
 *   that may not;
 * - members lie inside their struct in ascending order, those of a union at 0; variables lie inside their section;
 * - no type contains itself, no chain of names, qualifiers and pointers runs in a circle, and none is longer than 32.
 *
 * These are rules of the kernel, without those that only concern loading: characters in names, and sizes of sections,
 * which are 0 in object files.
 *
 * @param btf what to check; its base is taken to be valid
 * @throws BtfError at the first fault, with the path (`.BTF type[812].member[2]`) and the byte of it
 *
 * @example
 * ```ts
 * import { encodeBtf, openBtf, validateBtf } from "rawbpf/btf";
 *
 * const btf = openBtf(encodeBtf([{ kind: "typedef", name: "loop", type: 1 }]));
 * validateBtf(btf); // throws ERR_BTF_CYCLE
 * ```
 */
export function validateBtf(btf: Btf): void {
  const count = btf.image.starts.length;
  for (let index = 0; index < count; index++) checkType(btf, index);
  const graph = readGraph(btf);
  checkChains(graph);
  for (let index = 0; index < count; index++) checkReferences(graph, index);
  checkContainment(graph);
}

/** Kinds and single references of all types, the base's included, by number: what the checks walk along. */
interface Graph {
  readonly btf: Btf;
  readonly kinds: Uint8Array;
  /** The type it goes on with: of names, qualifiers, tags, pointers, arrays and variables. */
  readonly targets: Uint32Array;
  /** Size of a struct, union, int, enum or float; number of elements of an array. */
  readonly sizes: Uint32Array;
}

function readGraph(btf: Btf): Graph {
  const kinds = new Uint8Array(btf.endId);
  const targets = new Uint32Array(btf.endId);
  const sizes = new Uint32Array(btf.endId);
  for (let part: Btf | undefined = btf; part !== undefined; part = part.base) {
    const { words, starts } = part.image;
    for (let index = 0; index < starts.length; index++) {
      const at = starts[index]!;
      const id = part.firstId + index;
      const kind = infoKind(words[at + 1]!);
      kinds[id] = kind;
      if (kind === KIND.array) {
        targets[id] = words[at + 3]!;
        sizes[id] = words[at + 5]!;
      } else if (isIn(WITH_TARGET, kind)) targets[id] = words[at + 2]!;
      else sizes[id] = words[at + 2]!;
    }
  }
  return { btf, kinds, targets, sizes };
}

function kindSet(...kinds: number[]): number {
  return kinds.reduce((set, kind) => set + 2 ** kind, 0);
}

/** Kinds whose third word is a type number. */
const WITH_TARGET = /* @__PURE__ */ kindSet(2, 8, 9, 10, 11, 12, 13, 14, 17, 18);
/** Names, qualifiers and type tags: what stands for another type. */
const ALIASES = /* @__PURE__ */ kindSet(8, 9, 10, 11, 18);
/** What only a section, a declaration tag or a function may refer to. */
const NOT_VALUES = /* @__PURE__ */ kindSet(12, 14, 15, 17);
/** Kinds without a name. */
const NAMELESS = /* @__PURE__ */ kindSet(2, 3, 9, 10, 11, 13);
/** Kinds that need a name. */
const NAMED = /* @__PURE__ */ kindSet(7, 8, 12, 14, 15, 17, 18);
/** Kinds with elements, and `func`, which has its linkage in their place. */
const WITH_VLEN = /* @__PURE__ */ kindSet(4, 5, 6, 12, 13, 15, 19);
/** Kinds whose flag has a meaning. */
const WITH_FLAG = /* @__PURE__ */ kindSet(4, 5, 6, 7, 17, 18, 19);

function isIn(set: number, kind: number): boolean {
  return (set >>> kind) % 2 === 1;
}

/**
 * Each type has one reference at most in {@link Graph.targets}, so that circles are found by following them and
 * marking what was walked. Counts the steps without pointers on the way, which are those a size is found in.
 */
function checkChains({ btf, kinds, targets }: Graph): void {
  const DONE = 255;
  const WALKED = 254;
  const state = new Uint8Array(btf.endId);
  const depths = new Uint8Array(btf.endId);
  const trail: number[] = [];
  for (let id = btf.firstId; id < btf.endId; id++) {
    let at = id;
    trail.length = 0;
    while (at !== 0 && state[at] !== DONE) {
      if (state[at] === WALKED) throw chainError(btf, at, "ERR_BTF_CYCLE", "The type leads back to itself");
      state[at] = WALKED;
      trail.push(at);
      const kind = kinds[at]!;
      // What a function returns is not part of the chain.
      at = kind === KIND.func_proto ? 0 : targets[at]!;
    }
    for (let i = trail.length - 1; i >= 0; i--) {
      const walked = trail[i]!;
      state[walked] = DONE;
      const kind = kinds[walked]!;
      if (!isIn(ALIASES, kind) && kind !== KIND.array) continue;
      const depth = depths[targets[walked]!]! + 1;
      if (depth > MAX_RESOLVE_DEPTH) {
        const message = `More than ${MAX_RESOLVE_DEPTH} steps to the type behind it`;
        throw chainError(btf, walked, "ERR_BTF_CYCLE", message);
      }
      depths[walked] = depth;
    }
  }
}

function chainError(btf: Btf, id: number, code: "ERR_BTF_CYCLE", message: string): Error {
  const own = Math.max(id, btf.firstId);
  return typeError(btf, own, btf.image.starts[own - btf.firstId]! + 2, message, "", undefined, code);
}

function checkReferences(graph: Graph, index: number): void {
  const { btf, kinds, targets } = graph;
  const { words, starts } = btf.image;
  const id = btf.firstId + index;
  const at = starts[index]!;
  const info = words[at + 1]!;
  const kind = infoKind(info);
  const vlen = infoVlen(info);
  const body = at + 3;
  const fail = (word: number, message: string, part = "", place?: number): Error =>
    typeError(btf, id, word, message, part, place);
  if (words[at] !== 0 && isIn(NAMELESS, kind)) throw fail(at, `A ${KIND_NAMES[kind]} has no name`);
  if (isIn(NAMED, kind) && btf.strings.isEmpty(words[at]!)) throw fail(at, `A ${KIND_NAMES[kind]} needs a name`);
  if (vlen !== 0 && !isIn(WITH_VLEN, kind)) throw fail(at + 1, `A ${KIND_NAMES[kind]} has no elements, found ${vlen}`);
  if (info >>> 31 === 1 && !isIn(WITH_FLAG, kind))
    throw fail(at + 1, `The flag has no meaning for ${KIND_NAMES[kind]}`);
  switch (kind) {
    case KIND.array: {
      if (words[at + 2] !== 0) throw fail(at + 2, `An array has no size of its own, found ${words[at + 2]}`);
      const indexKind = kinds[behindAliases(graph, words[body + 1]!)]!;
      if (indexKind !== KIND.int) throw fail(body + 1, `The index is of kind ${KIND_NAMES[indexKind]}, expected int`);
      sizeOf(graph, id, index, body);
      break;
    }
    case KIND.struct:
    case KIND.union:
      checkMembers(graph, index, kind === KIND.union);
      break;
    case KIND.fwd:
      if (words[at + 2] !== 0) throw fail(at + 2, `A forward declaration has no type, found ${words[at + 2]}`);
      break;
    case KIND.ptr:
    case KIND.typedef:
    case KIND.volatile:
    case KIND.const:
    case KIND.restrict:
    case KIND.type_tag: {
      const target = kinds[targets[id]!]!;
      if (isIn(NOT_VALUES, target)) throw fail(at + 2, `A ${KIND_NAMES[kind]} cannot refer to a ${KIND_NAMES[target]}`);
      break;
    }
    case KIND.func: {
      const target = kinds[targets[id]!]!;
      if (target !== KIND.func_proto) {
        throw fail(at + 2, `The type of a function is of kind ${KIND_NAMES[target]}, expected func_proto`);
      }
      break;
    }
    case KIND.func_proto: {
      const returned = kinds[targets[id]!]!;
      if (isIn(NOT_VALUES, returned)) throw fail(at + 2, `A function cannot return a ${KIND_NAMES[returned]}`);
      for (let i = 0, w = body; i < vlen; i++, w += 2) {
        const param = kinds[words[w + 1]!]!;
        const ellipsis = i === vlen - 1 && words[w] === 0;
        if ((words[w + 1] === 0 && !ellipsis) || isIn(NOT_VALUES, param)) {
          throw fail(w + 1, `A parameter cannot be of kind ${KIND_NAMES[param]}`, ".param", i);
        }
      }
      break;
    }
    case KIND.var: {
      const target = kinds[targets[id]!]!;
      // An extern variable of type void is a symbol of the kernel whose type does not matter.
      if (isIn(NOT_VALUES, target) || target === KIND.func_proto) {
        throw fail(at + 2, `A variable cannot be of kind ${KIND_NAMES[target]}`);
      }
      break;
    }
    case KIND.datasec:
      for (let i = 0, w = body; i < vlen; i++, w += 3) {
        const target = kinds[words[w]!]!;
        if (target !== KIND.var && target !== KIND.func) {
          throw fail(w, `A section cannot hold a ${KIND_NAMES[target]}`, ".var", i);
        }
        const size = words[at + 2]!;
        if (size !== 0 && words[w + 1]! + words[w + 2]! > size) {
          throw fail(w + 1, `${words[w + 2]} bytes at ${words[w + 1]} lie outside of ${size}`, ".var", i);
        }
      }
      break;
    case KIND.decl_tag:
      checkDeclTag(graph, index);
      break;
  }
}

function checkDeclTag({ btf, kinds, targets }: Graph, index: number): void {
  const { words, starts } = btf.image;
  const at = starts[index]!;
  const id = btf.firstId + index;
  const target = targets[id]!;
  const kind = kinds[target]!;
  let components = 0;
  switch (kind) {
    case KIND.struct:
    case KIND.union:
      components = vlenOf(btf, target);
      break;
    case KIND.func:
      // Checked before when it is one of ours: a function refers to a prototype.
      if (kinds[targets[target]!] === KIND.func_proto) components = vlenOf(btf, targets[target]!);
      break;
    case KIND.typedef:
    case KIND.var:
      break;
    default:
      throw typeError(btf, id, at + 2, `A declaration tag cannot be on a ${KIND_NAMES[kind]}`);
  }
  const component = words[at + 3]! | 0;
  if (component >= components) {
    throw typeError(btf, id, at + 3, `Component index is ${component}, the ${KIND_NAMES[kind]} has ${components}`);
  }
}

function vlenOf(btf: Btf, id: number): number {
  let part = btf;
  while (id < part.firstId && part.base !== undefined) part = part.base;
  return infoVlen(part.image.words[part.image.starts[id - part.firstId]! + 1]!);
}

function checkMembers(graph: Graph, index: number, union: boolean): void {
  const { btf } = graph;
  const { words, starts } = btf.image;
  const at = starts[index]!;
  const id = btf.firstId + index;
  const info = words[at + 1]!;
  const limit = 8 * words[at + 2]!;
  const flag = info >>> 31 === 1;
  const count = infoVlen(info);
  let previous = 0;
  for (let i = 0, w = at + 3; i < count; i++, w += 3) {
    const place = words[w + 2]!;
    const offset = flag ? place & 0xffffff : place;
    const bitfield = flag ? place >>> 24 : 0;
    const bits = bitfield > 0 ? bitfield : memberBits(graph, words[w + 1]!, index, w + 1, i);
    if (union && offset !== 0) throw typeError(btf, id, w + 2, `Bit offset is ${offset} in a union`, ".member", i);
    if (offset < previous) {
      throw typeError(btf, id, w + 2, `Bit offset ${offset} lies before the ${previous} of the last`, ".member", i);
    }
    if (offset + bits > limit) {
      const message = `${bits} bits at bit ${offset} lie outside of the ${limit / 8} bytes of the type`;
      throw typeError(btf, id, w + 2, message, ".member", i);
    }
    previous = offset;
  }
}

/** Width of a member: its size, or that of a bit field in the old encoding, where the integer states it. */
function memberBits(graph: Graph, member: number, index: number, word: number, place: number): number {
  const { btf, kinds } = graph;
  const behind = behindAliases(graph, member);
  if (kinds[behind] !== KIND.int) return 8 * sizeOf(graph, member, index, word, place);
  let part = btf;
  while (behind < part.firstId && part.base !== undefined) part = part.base;
  const data = part.image.words[part.image.starts[behind - part.firstId]! + 3]!;
  return ((data >>> 16) & 0xff) + (data & 0xff);
}

function behindAliases({ kinds, targets }: Graph, id: number): number {
  let at = id;
  // Chains were checked: this ends.
  while (isIn(ALIASES, kinds[at]!)) at = targets[at]!;
  return at;
}

/** Size of an element or member, in bytes; an error when it has none. */
function sizeOf({ btf, kinds, targets, sizes }: Graph, id: number, index: number, word: number, member = -1): number {
  let at = id;
  let count = 1;
  const own = btf.firstId + index;
  const fail = (message: string): Error =>
    typeError(btf, own, word, message, member < 0 ? "" : ".member", member < 0 ? undefined : member);
  for (;;) {
    const kind = kinds[at]!;
    if (isIn(ALIASES, kind)) at = targets[at]!;
    else if (kind === KIND.array) {
      count *= sizes[at]!;
      at = targets[at]!;
      if (count > 0xffffffff) throw fail("The array has more than 2^32 - 1 elements");
    } else if (kind === KIND.ptr) return count * btf.pointerSize;
    else if (kind === 0 || kind === KIND.fwd || kind === KIND.func_proto || isIn(NOT_VALUES, kind)) {
      throw fail(`A value of kind ${KIND_NAMES[kind]} has no size`);
    } else {
      if (count * sizes[at]! > 0xffffffff) throw fail("The array has more than 2^32 - 1 bytes");
      return count * sizes[at]!;
    }
  }
}

/**
 * No struct contains itself, through members and arrays. Depth first with a stack of our own: a struct, and how far
 * its members were gone through.
 */
function checkContainment(graph: Graph): void {
  const { btf, kinds, targets } = graph;
  const OPEN = 1;
  const DONE = 2;
  const state = new Uint8Array(btf.endId).fill(DONE, 0, btf.firstId);
  const stack: number[] = [];
  const nextMember: number[] = [];
  const { words, starts } = btf.image;
  const isStruct = (id: number): boolean => kinds[id] === KIND.struct || kinds[id] === KIND.union;
  for (let root = btf.firstId; root < btf.endId; root++) {
    if (!isStruct(root) || state[root] === DONE) continue;
    stack.push(root);
    nextMember.push(0);
    state[root] = OPEN;
    while (stack.length > 0) {
      const id = stack[stack.length - 1]!;
      const at = starts[id - btf.firstId]!;
      const member = nextMember[nextMember.length - 1]!;
      nextMember[nextMember.length - 1] = member + 1;
      if (member >= infoVlen(words[at + 1]!)) {
        state[id] = DONE;
        stack.pop();
        nextMember.pop();
        continue;
      }
      const word = at + 3 + 3 * member + 1;
      let inner = words[word]!;
      while (isIn(ALIASES, kinds[inner]!) || kinds[inner] === KIND.array) inner = targets[inner]!;
      if (!isStruct(inner) || state[inner] === DONE) continue;
      if (state[inner] === OPEN) {
        throw typeError(btf, id, word, "The type contains itself", ".member", member, "ERR_BTF_CYCLE");
      }
      state[inner] = OPEN;
      stack.push(inner);
      nextMember.push(0);
    }
  }
}
