// Browser-safe.

import { findHelper } from "../../kernel-abi/helpers.ts";
import { type Operation, operation } from "../operation.ts";
import { callGroups } from "./calls.ts";
import type { BasicBlock, ControlFlow, FunctionFlow } from "./graph.ts";

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
  /** Functions of the deepest chain, the outermost first. */
  readonly chain: readonly number[];
  /** Whether every frame on any chain is exact. */
  readonly exact: boolean;
}

// What a register holds, as one number: its distance from the frame pointer, or that it has none. Smaller is lower in
// memory, and unknown is lowest, so that where two ways meet the smaller one is the safe answer.
const NO_POINTER = 0x7fffffff;
const UNKNOWN = -0x80000000;
/** Distances beyond this are as good as unknown. */
const FAR = 0x10000;
/** Visits of one block after which distances that still change count as unknown: a pointer that moves in a loop. */
const PATIENCE = 40;
const REGISTERS = 11;

/**
 * Finds how much stack a program uses: from accesses relative to r10 and to copies of it that were moved by constants,
 * and from such pointers passed to calls. Addresses of functions count as calls.
 *
 * @param flow a program's shape
 */
export function stackUse(flow: ControlFlow): StackUse {
  const frames = flow.functions.map((owner) => frameUse(flow, owner));
  const callees = flow.functions.map((): number[] => []);
  const calls = flow.calls.filter((edge) => flow.blocks[flow.blockOf[edge.instruction]!]!.reachable);
  for (const edge of calls) callees[edge.from]!.push(edge.to);

  const exact = frames.every((frame, index) => frame.exact || !flow.functions[index]!.reachable);
  // Deepest chain that starts at each function. Callees come first; -1 stands for no bound.
  const deepest = new Float64Array(frames.length);
  const follow = new Int32Array(frames.length).fill(-1);
  for (const group of callGroups(flow, calls)) {
    const f = group[0]!;
    if (group.length > 1 || callees[f]!.includes(f)) {
      for (const member of group) deepest[member] = Number.POSITIVE_INFINITY;
      continue;
    }
    let below = 0;
    for (const callee of callees[f]!) {
      if (deepest[callee]! > below || follow[f] === -1) {
        below = Math.max(below, deepest[callee]!);
        follow[f] = callee;
      }
    }
    deepest[f] = frames[f]!.bytes + below;
  }

  let start = -1;
  for (const { index, reachable } of flow.functions) {
    if (reachable && (start === -1 || deepest[index]! > deepest[start]!)) start = index;
  }
  const chain: number[] = [];
  const bounded = start === -1 || Number.isFinite(deepest[start]!);
  for (let f = start; f !== -1 && Number.isFinite(deepest[f]!); f = follow[f]!) chain.push(f);
  return {
    frames,
    bytes: bounded ? chain.reduce((sum, f) => sum + frames[f]!.bytes, 0) : undefined,
    rounded: bounded ? chain.reduce((sum, f) => sum + roundUp(frames[f]!.bytes, 16), 0) : undefined,
    chain,
    exact,
  };
}

function roundUp(value: number, step: number): number {
  return Math.ceil(value / step) * step;
}

/** State of the walk through one function. */
interface Frame {
  /** Lowest byte touched, as a distance from the frame pointer. */
  lowest: number;
  exact: boolean;
}

function frameUse(flow: ControlFlow, owner: FunctionFlow): FrameUse {
  const { firstBlock, endBlock } = owner;
  const frame: Frame = { lowest: 0, exact: true };
  const states = new Array<Int32Array | undefined>(endBlock - firstBlock);
  const visits = new Uint16Array(endBlock - firstBlock);
  const waiting = new Uint8Array(endBlock - firstBlock);
  const entry = new Int32Array(REGISTERS).fill(NO_POINTER);
  entry[10] = 0;
  states[0] = entry;
  const work = [firstBlock];
  const registers = new Int32Array(REGISTERS);
  for (let at = work.pop(); at !== undefined; at = work.pop()) {
    const block = flow.blocks[at]!;
    waiting[at - firstBlock] = 0;
    registers.set(states[at - firstBlock]!);
    runBlock(flow, block, registers, frame);
    for (const edge of block.successors) {
      if (!("to" in edge) || edge.to < firstBlock || edge.to >= endBlock) continue;
      const to = edge.to - firstBlock;
      const known = states[to];
      if (known === undefined) states[to] = registers.slice();
      else if (!merge(known, registers, visits[to]! > PATIENCE)) continue;
      if (visits[to]! <= PATIENCE) visits[to]!++;
      if (waiting[to] === 1) continue;
      waiting[to] = 1;
      work.push(edge.to);
    }
  }
  return { bytes: -frame.lowest, exact: frame.exact };
}

/** Takes the smaller of each register; says whether anything changed. */
function merge(known: Int32Array, found: Int32Array, impatient: boolean): boolean {
  let changed = false;
  for (let r = 0; r < 10; r++) {
    if (found[r]! >= known[r]!) continue;
    known[r] = impatient && known[r] !== NO_POINTER ? UNKNOWN : found[r]!;
    changed = true;
  }
  return changed;
}

function runBlock(flow: ControlFlow, block: BasicBlock, registers: Int32Array, frame: Frame): void {
  for (let i = block.start; i < block.end; i++) step(operation(flow.instructions[i]!), registers, frame);
}

function touch(pointer: number, offset: number, frame: Frame): void {
  if (pointer === NO_POINTER) return;
  if (pointer === UNKNOWN) frame.exact = false;
  else frame.lowest = Math.min(frame.lowest, pointer + offset);
}

function moved(pointer: number, by: number): number {
  if (pointer === NO_POINTER || pointer === UNKNOWN) return pointer;
  const sum = pointer + by;
  return Math.abs(sum) > FAR ? UNKNOWN : sum;
}

function step(op: Operation, registers: Int32Array, frame: Frame): void {
  switch (op.kind) {
    case "mov":
      registers[op.dst] = op.width === 64 && op.src !== undefined ? registers[op.src]! : NO_POINTER;
      return;
    case "alu": {
      const before = registers[op.dst]!;
      const sum = op.width === 64 && (op.op === "add" || op.op === "sub");
      if (!sum) registers[op.dst] = NO_POINTER;
      else if (op.src === undefined) registers[op.dst] = moved(before, op.op === "add" ? op.imm : -op.imm);
      else if (before !== NO_POINTER) registers[op.dst] = UNKNOWN;
      else registers[op.dst] = op.op === "add" && registers[op.src] !== NO_POINTER ? UNKNOWN : NO_POINTER;
      return;
    }
    case "load":
    case "load-signed":
    case "load-acquire":
      touch(registers[op.src]!, op.offset, frame);
      registers[op.dst] = NO_POINTER;
      return;
    case "store":
    case "store-release":
      touch(registers[op.dst]!, op.offset, frame);
      // A pointer kept in memory comes back as one we do not know.
      if (registers[op.src] !== NO_POINTER) frame.exact = false;
      return;
    case "store-imm":
      touch(registers[op.dst]!, op.offset, frame);
      return;
    case "atomic":
      touch(registers[op.dst]!, op.offset, frame);
      if (registers[op.src] !== NO_POINTER) frame.exact = false;
      if (op.op === "cmpxchg") registers[0] = NO_POINTER;
      else if (op.fetch) registers[op.src] = NO_POINTER;
      return;
    case "call-helper": {
      const helper = findHelper(op.helper);
      call(helper === undefined || helper.variadic ? 5 : helper.args.length, registers, frame);
      return;
    }
    case "call-local":
    case "call-kfunc":
    case "callx":
      call(5, registers, frame);
      return;
    case "packet-load":
      registers.fill(NO_POINTER, 0, 6);
      return;
    case "neg":
    case "movsx":
    case "endian":
    case "ld-imm64":
    case "addr-space-cast":
    case "mov-percpu":
      registers[op.dst] = NO_POINTER;
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

/** Pointers into the frame that are passed on will be read or written from there upwards. */
function call(args: number, registers: Int32Array, frame: Frame): void {
  for (let r = 1; r <= args; r++) touch(registers[r]!, 0, frame);
  registers.fill(NO_POINTER, 0, 6);
}
