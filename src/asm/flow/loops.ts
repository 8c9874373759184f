// Browser-safe.

import { type Dominators, dominates, dominators } from "./dominators.ts";
import type { ControlFlow } from "./graph.ts";

/** A natural loop: the blocks from which a back edge is reached without passing the header. */
export interface Loop {
  /** Its place in `loops`. */
  readonly index: number;
  /** Block through which alone it is entered. */
  readonly header: number;
  /** Blocks that jump back to the header. */
  readonly backEdges: readonly number[];
  /** The loop directly around it. */
  readonly parent: number | undefined;
  /** 1 for an outermost loop. */
  readonly depth: number;
}

/** A jump back into a loop that has a second entrance. */
export interface IrreducibleEdge {
  readonly from: number;
  readonly to: number;
}

/** The loops of a program. */
export interface LoopForest {
  /** Outer loops before inner ones. */
  readonly loops: readonly Loop[];
  /** Innermost loop of each block, -1 for none. */
  readonly loopOf: Int32Array;
  /** Jumps back to a block that does not dominate them. Compilers make none. */
  readonly irreducible: readonly IrreducibleEdge[];
}

const NONE = -1;

/**
 * Finds the natural loops of all functions and how they are nested.
 *
 * @param flow a program's shape
 * @param tree its dominators, when they are at hand
 */
export function findLoops(flow: ControlFlow, tree: Dominators = dominators(flow)): LoopForest {
  const { blocks } = flow;
  const backEdges = new Map<number, number[]>(); // header -> sources
  const irreducible: IrreducibleEdge[] = [];
  for (const { index: from, successors, function: owner } of blocks) {
    if (tree.connected[from] !== 1) continue;
    for (const edge of successors) {
      if (!("to" in edge) || blocks[edge.to]!.function !== owner) continue;
      const { to } = edge;
      if (dominates(tree, to, from)) {
        const list = backEdges.get(to);
        if (list === undefined) backEdges.set(to, [from]);
        else if (list.at(-1) !== from) list.push(from);
      } else if (leadsBack(tree, from, to)) irreducible.push({ from, to });
    }
  }

  // Headers of inner loops have larger numbers than those of outer ones, which dominate them.
  const headers = [...backEdges.keys()].sort((a, b) => tree.preorder[a]! - tree.preorder[b]!);
  const loopOf = new Int32Array(blocks.length).fill(NONE);
  const parent = new Int32Array(headers.length).fill(NONE);
  const outermost = Int32Array.from(headers, (_, i) => i);
  const findOutermost = (loop: number): number => {
    let at = loop;
    while (outermost[at] !== at) {
      outermost[at] = outermost[outermost[at]!]!;
      at = outermost[at]!;
    }
    return at;
  };
  const work: number[] = [];
  for (let loop = headers.length - 1; loop >= 0; loop--) {
    const header = headers[loop]!;
    work.push(...backEdges.get(header)!);
    for (let block = work.pop(); block !== undefined; block = work.pop()) {
      let at = block;
      const inner = loopOf[block]!;
      if (inner === NONE) {
        loopOf[block] = loop;
      } else {
        // Part of a loop found before: that whole loop lies in this one, and the walk goes on from its header.
        const outer = findOutermost(inner);
        if (outer === loop) continue;
        parent[outer] = loop;
        outermost[outer] = loop;
        at = headers[outer]!;
      }
      if (at === header) continue;
      for (const from of blocks[at]!.predecessors) {
        if (tree.connected[from] === 1 && blocks[from]!.function === blocks[at]!.function) work.push(from);
      }
    }
  }

  const loops: Loop[] = [];
  headers.forEach((header, index) => {
    const around = parent[index]!;
    loops.push({
      index,
      header,
      backEdges: backEdges.get(header)!,
      parent: around === NONE ? undefined : around,
      depth: around === NONE ? 1 : loops[around]!.depth + 1,
    });
  });
  return { loops, loopOf, irreducible };
}

/**
 * Blocks of a loop, those of its inner loops included.
 *
 * @returns indices in order of the program
 */
export function loopBlocks(forest: LoopForest, loop: Loop): number[] {
  const found: number[] = [];
  forest.loopOf.forEach((innermost, block) => {
    let at: number | undefined = innermost === NONE ? undefined : innermost;
    // Inner loops have larger indices, so the walk outwards ends at or before this loop.
    while (at !== undefined && at > loop.index) at = forest.loops[at]!.parent;
    if (at === loop.index) found.push(block);
  });
  return found;
}

/** Whether a depth-first walk came through `to` on its way to `from`. */
function leadsBack(tree: Dominators, from: number, to: number): boolean {
  const first = tree.visited[to]!;
  const at = tree.visited[from]!;
  return at >= first && at < first + tree.visitedSize[to]!;
}
