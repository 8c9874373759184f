// Browser-safe.

import { findHelper } from "../../kernel-abi/helpers.ts";
import { type Operation, operation } from "../operation.ts";
import { callGroups } from "./calls.ts";
import type { ControlFlow, FunctionFlow } from "./graph.ts";

/** How much stack one function uses of its own frame. */
export interface FrameUse {
  /** Bytes below the frame pointer, at the most. */
  readonly bytes: number;
  /**
   * Whether that is certain. `false` when a pointer into the frame was stored to memory, or moved by a number that is
   * not constant: it may then reach lower.
   */
  readonly exact: boolean;
}

/** How much stack a program uses over its calls. */
export interface StackUse {
  /** Use of each function, by index. */
  readonly frames: readonly FrameUse[];
  /** Bytes of the deepest chain of calls; `undefined` when functions call themselves, which has no bound. */
  readonly bytes: number | undefined;
  /** The same with each frame rounded up to 16 bytes, as kernels with a JIT compiler count it against their limit of 512. */
  readonly rounded: number | undefined;
  /** Functions of the chain that takes the most `bytes`, the outermost first; empty without a bound. */
  readonly chain: readonly number[];
  /** Whether every frame on any chain is exact. */
  readonly exact: boolean;
}

// What a register points into: nothing known to be a frame, this function's own frame, whatever the caller passed in
// r1 to r5 (as 1 to 5), or a frame in a way that cannot be followed.
const NOTHING = 0;
const OWN_FRAME = 6;
const LOST = 7;
const BASES = 8;
/** Distances beyond this are as good as lost. */
const FAR = 0x10000;
/** Visits of one block after which distances that still change count as lost: a pointer that moves in a loop. */
const PATIENCE = 40;
const REGISTERS = 11;

/** What one function does with the memory behind each base. */
interface Touched {
  /** Lowest byte touched, as a distance from the base; infinite where none is. */
  readonly lowest: Float64Array;
  /** 1 where pointers got lost that would tell more. */
  readonly lost: Uint8Array;
}

/**
 * Finds how much stack a program uses: from accesses relative to r10 and to copies of it that were moved by constants,
 * by the function itself and by those it passes them to, and from such pointers passed to helpers. Addresses of
 * functions count as calls.
 *
 * @param flow a program's shape
 */
export function stackUse(flow: ControlFlow): StackUse {
  const calls = flow.calls.filter((edge) => flow.blocks[flow.blockOf[edge.instruction]!]!.reachable);
  const callees = flow.functions.map((): number[] => []);
  for (const edge of calls) callees[edge.from]!.push(edge.to);
  const calleeAt = new Map(calls.filter((edge) => edge.kind === "call").map((edge) => [edge.instruction, edge.to]));
  const groups = callGroups(flow, calls);

  // Callees first: what they do with the pointers they are given is known when their callers are looked at.
  const touched = new Array<Touched | undefined>(flow.functions.length);
  for (const f of groups.flat()) {
    touched[f] = touchedBy(flow, flow.functions[f]!, (index) => touched[calleeAt.get(index) ?? -1]);
  }
  const frames = touched.map((own): FrameUse => {
    const { lowest, lost } = own!;
    return { bytes: Math.max(0, -lowest[OWN_FRAME]!), exact: lost[OWN_FRAME] === 0 };
  });

  const exact = frames.every((frame, index) => frame.exact || !flow.functions[index]!.reachable);
  const deepest = deepestChain(flow, groups, callees, (f) => frames[f]!.bytes);
  const rounded = deepestChain(flow, groups, callees, (f) => roundUp(frames[f]!.bytes, 16));
  return { frames, bytes: deepest.bytes, rounded: rounded.bytes, chain: deepest.chain, exact };
}

/** The chain of calls from a reachable function whose frames together are the largest. */
function deepestChain(
  flow: ControlFlow,
  groups: readonly (readonly number[])[],
  callees: readonly (readonly number[])[],
  bytesOf: (f: number) => number,
): { bytes: number | undefined; chain: number[] } {
  const deepest = new Float64Array(callees.length); // of the chains that start at each function; infinite in circles
  const follow = new Int32Array(callees.length).fill(-1);
  for (const group of groups) {
    const f = group[0]!;
    if (group.length > 1 || callees[f]!.includes(f)) {
      for (const member of group) deepest[member] = Number.POSITIVE_INFINITY;
      continue;
    }
    for (const callee of callees[f]!) {
      if (follow[f] === -1 || deepest[callee]! > deepest[follow[f]!]!) follow[f] = callee;
    }
    deepest[f] = bytesOf(f) + (follow[f] === -1 ? 0 : deepest[follow[f]!]!);
  }
  let start = -1;
  for (const { index, reachable } of flow.functions) {
    if (reachable && (start === -1 || deepest[index]! > deepest[start]!)) start = index;
  }
  if (start === -1) return { bytes: 0, chain: [] };
  if (deepest[start] === Number.POSITIVE_INFINITY) return { bytes: undefined, chain: [] };
  const chain: number[] = [];
  for (let f = start; f !== -1; f = follow[f]!) chain.push(f);
  return { bytes: deepest[start], chain };
}

function roundUp(value: number, step: number): number {
  return Math.ceil(value / step) * step;
}

/** Registers at one place, or at several one behind the other: what each points into, and how far from its start. */
interface State {
  readonly base: Uint8Array;
  readonly distance: Int32Array;
}

/** The walk through one function. */
interface Walk extends Touched {
  readonly state: State;
  /** What the function called at an instruction does with its arguments; `undefined` when that is not known. */
  readonly callee: (index: number) => Touched | undefined;
}

function touchedBy(flow: ControlFlow, owner: FunctionFlow, callee: Walk["callee"]): Touched {
  const { firstBlock, endBlock } = owner;
  const count = endBlock - firstBlock;
  // States at the start of every block, one behind the other: small arrays of their own would cost most of the time.
  const starts: State = { base: new Uint8Array(count * REGISTERS), distance: new Int32Array(count * REGISTERS) };
  const visits = new Uint8Array(count); // 0: not seen
  const waiting = new Uint8Array(count);
  starts.base[10] = OWN_FRAME;
  for (let r = 1; r <= 5; r++) starts.base[r] = r;
  visits[0] = 1;
  const walk: Walk = {
    state: { base: new Uint8Array(REGISTERS), distance: new Int32Array(REGISTERS) },
    lowest: new Float64Array(BASES).fill(Number.POSITIVE_INFINITY),
    lost: new Uint8Array(BASES),
    callee,
  };
  const work = [firstBlock];
  for (let at = work.pop(); at !== undefined; at = work.pop()) {
    const block = flow.blocks[at]!;
    const from = at - firstBlock;
    waiting[from] = 0;
    copyState(starts, from, walk.state, 0);
    for (let i = block.start; i < block.end; i++) step(operation(flow.instructions[i]!), i, walk);
    for (const edge of block.successors) {
      if (!("to" in edge) || edge.to < firstBlock || edge.to >= endBlock) continue;
      const to = edge.to - firstBlock;
      if (visits[to] === 0) copyState(walk.state, 0, starts, to);
      else if (!merge(starts, to, walk, visits[to]! > PATIENCE)) continue;
      if (visits[to]! <= PATIENCE) visits[to]!++;
      if (waiting[to] === 1) continue;
      waiting[to] = 1;
      work.push(edge.to);
    }
  }
  // A pointer that got lost may point into any frame there is a pointer to.
  if (walk.lost[LOST] === 1) walk.lost.fill(1, 1);
  return walk;
}

function copyState(from: State, fromBlock: number, to: State, toBlock: number): void {
  for (let r = 0; r < REGISTERS; r++) {
    to.base[toBlock * REGISTERS + r] = from.base[fromBlock * REGISTERS + r]!;
    to.distance[toBlock * REGISTERS + r] = from.distance[fromBlock * REGISTERS + r]!;
  }
}

/** Where two ways meet the lower pointer is the safe answer. Says whether anything changed. */
function merge(starts: State, block: number, walk: Walk, impatient: boolean): boolean {
  let changed = false;
  const first = block * REGISTERS;
  for (let r = 0; r < 10; r++) {
    const base = walk.state.base[r]!;
    const distance = walk.state.distance[r]!;
    const before = starts.base[first + r]!;
    if (base === NOTHING || before === LOST) continue;
    if (before === NOTHING) {
      starts.base[first + r] = base;
      starts.distance[first + r] = distance;
    } else if (base !== before) starts.base[first + r] = LOST;
    else if (distance < starts.distance[first + r]!) {
      if (impatient) {
        starts.base[first + r] = LOST;
        walk.lost[base] = 1;
      } else starts.distance[first + r] = distance;
    } else continue;
    changed = true;
  }
  return changed;
}

function touch(walk: Walk, register: number, offset: number): void {
  const base = walk.state.base[register]!;
  if (base === NOTHING) return;
  if (base === LOST) walk.lost[LOST] = 1;
  else walk.lowest[base] = Math.min(walk.lowest[base]!, walk.state.distance[register]! + offset);
}

/** A pointer kept in memory comes back as one that we do not know. */
function expose(walk: Walk, register: number): void {
  walk.lost[walk.state.base[register]!] = 1;
}

function forget(walk: Walk, register: number): void {
  walk.state.base[register] = NOTHING;
}

/** A pointer that moved by a number we do not know. */
function lose(walk: Walk, register: number): void {
  if (walk.state.base[register] !== NOTHING) walk.state.base[register] = LOST;
}

function move(walk: Walk, register: number, by: number): void {
  if (walk.state.base[register] === NOTHING) return;
  const sum = walk.state.distance[register]! + by;
  if (Math.abs(sum) > FAR) lose(walk, register);
  else walk.state.distance[register] = sum;
}

function step(op: Operation, index: number, walk: Walk): void {
  const { base, distance } = walk.state;
  switch (op.kind) {
    case "mov":
      if (op.width === 64 && op.src !== undefined) {
        base[op.dst] = base[op.src]!;
        distance[op.dst] = distance[op.src]!;
      } else forget(walk, op.dst);
      return;
    case "alu": {
      const sum = op.width === 64 && (op.op === "add" || op.op === "sub");
      if (!sum) forget(walk, op.dst);
      else if (op.src === undefined) move(walk, op.dst, op.op === "add" ? op.imm : -op.imm);
      else if (base[op.dst] !== NOTHING) lose(walk, op.dst);
      else if (op.op === "add" && base[op.src] !== NOTHING) base[op.dst] = LOST;
      return;
    }
    case "load":
    case "load-signed":
    case "load-acquire":
      touch(walk, op.src, op.offset);
      forget(walk, op.dst);
      return;
    case "store":
    case "store-release":
      touch(walk, op.dst, op.offset);
      expose(walk, op.src);
      return;
    case "store-imm":
      touch(walk, op.dst, op.offset);
      return;
    case "atomic":
      touch(walk, op.dst, op.offset);
      expose(walk, op.src);
      if (op.op === "cmpxchg") forget(walk, 0);
      else if (op.fetch) forget(walk, op.src);
      return;
    case "call-helper": {
      const helper = findHelper(op.helper);
      for (let r = 1; r <= 5; r++) {
        // Pointers passed as numbers are not followed by the helper; of an unknown one every argument may be.
        if (helper === undefined || helper.args[r - 1]?.type.endsWith("*")) touch(walk, r, 0);
      }
      base.fill(NOTHING, 0, 6);
      return;
    }
    case "call-local":
      callLocal(walk, walk.callee(index));
      return;
    case "call-kfunc":
    case "callx":
      for (let r = 1; r <= 5; r++) touch(walk, r, 0);
      base.fill(NOTHING, 0, 6);
      return;
    case "packet-load":
      base.fill(NOTHING, 0, 6);
      return;
    case "neg":
    case "movsx":
    case "endian":
    case "ld-imm64":
    case "addr-space-cast":
    case "mov-percpu":
      forget(walk, op.dst);
      return;
    case "jump":
    case "goto":
    case "gotol":
    case "gotox":
    case "may-goto":
    case "exit":
    case "invalid":
      return;
    default:
      op satisfies never;
  }
}

function callLocal(walk: Walk, callee: Touched | undefined): void {
  const { base } = walk.state;
  for (let r = 1; r <= 5; r++) {
    if (base[r] === NOTHING) continue;
    // In a circle of calls the callee is not known yet.
    if (callee === undefined || callee.lost[r] === 1) expose(walk, r);
    if (callee === undefined) touch(walk, r, 0);
    else if (callee.lowest[r] !== Number.POSITIVE_INFINITY) touch(walk, r, callee.lowest[r]!);
  }
  base.fill(NOTHING, 0, 6);
}
