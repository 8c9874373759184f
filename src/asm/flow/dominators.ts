// Browser-safe.

import type { ControlFlow } from "./graph.ts";

/**
 * Dominator trees of all functions of a program. Block `a` dominates `b` when every way from the function's entry to
 * `b` leads through `a`.
 */
export interface Dominators {
  /** Immediate dominator of each block; -1 for entries and for blocks that their function's entry does not lead to. */
  readonly immediate: Int32Array;
  /** Whether the entry of its function leads to a block: 1 or 0. */
  readonly connected: Uint8Array;
  /** Number of each block in preorder of the dominator trees. */
  readonly preorder: Int32Array;
  /** Blocks in the dominator tree under each block, itself included. */
  readonly size: Int32Array;
  /** Number of each block in preorder of a depth-first walk over the graph; -1 when not connected. */
  readonly visited: Int32Array;
  /** Blocks in the depth-first tree under each block, itself included. */
  readonly visitedSize: Int32Array;
}

const NONE = -1;

/**
 * Finds the dominators of every block, by the algorithm of Lengauer and Tarjan with path compression: its time stays
 * near linear for any graph, where iterating to a fixed point takes quadratic time on ladders. No recursion, since
 * functions of ten thousand blocks exist. Edges between functions do not count.
 *
 * @param flow a program's shape
 */
export function dominators(flow: ControlFlow): Dominators {
  const { blocks } = flow;
  const count = blocks.length;
  const visited = new Int32Array(count).fill(NONE);
  const order = new Int32Array(count); // preorder number -> block
  const parent = new Int32Array(count); // by preorder number
  const total = walk(flow, visited, order, parent);

  // From here on blocks go by their preorder numbers, so that ancestors are smaller.
  const semi = new Int32Array(total);
  const best = new Int32Array(total); // label of least semidominator on the compressed path
  const ancestor = new Int32Array(total).fill(NONE);
  const idom = new Int32Array(total).fill(NONE);
  const bucketHead = new Int32Array(total).fill(NONE);
  const bucketNext = new Int32Array(total).fill(NONE);
  for (let v = 0; v < total; v++) semi[v] = best[v] = v;

  const path: number[] = [];
  const evaluate = (v: number): number => {
    if (ancestor[v] === NONE) return v;
    // Compress the path above v, topmost first.
    let top = v;
    while (ancestor[ancestor[top]!]! !== NONE) {
      path.push(top);
      top = ancestor[top]!;
    }
    for (let u = path.pop(); u !== undefined; u = path.pop()) {
      const above = ancestor[u]!;
      if (semi[best[above]!]! < semi[best[u]!]!) best[u] = best[above]!;
      ancestor[u] = ancestor[above]!;
    }
    return best[v]!;
  };

  for (let w = total - 1; w >= 0; w--) {
    if (parent[w] === NONE) continue;
    const block = blocks[order[w]!]!;
    for (const from of block.predecessors) {
      const v = visited[from]!;
      if (v === NONE || blocks[from]!.function !== block.function) continue;
      const u = evaluate(v);
      if (semi[u]! < semi[w]!) semi[w] = semi[u]!;
    }
    bucketNext[w] = bucketHead[semi[w]!]!;
    bucketHead[semi[w]!] = w;
    const p = parent[w]!;
    ancestor[w] = p;
    for (let v = bucketHead[p]!; v !== NONE; v = bucketNext[v]!) {
      const u = evaluate(v);
      idom[v] = semi[u]! < semi[v]! ? u : p;
    }
    bucketHead[p] = NONE;
  }
  for (let w = 0; w < total; w++) {
    if (parent[w] !== NONE && idom[w] !== semi[w]) idom[w] = idom[idom[w]!]!;
  }

  const immediate = new Int32Array(count).fill(NONE);
  const connected = new Uint8Array(count);
  for (let w = 0; w < total; w++) {
    connected[order[w]!] = 1;
    if (idom[w] !== NONE) immediate[order[w]!] = order[idom[w]!]!;
  }
  const tree = numberTree(idom, total);
  const depthFirst = numberTree(parent, total);
  const preorder = new Int32Array(count).fill(NONE);
  const size = new Int32Array(count);
  const visitedSize = new Int32Array(count);
  for (let w = 0; w < total; w++) {
    preorder[order[w]!] = tree.preorder[w]!;
    size[order[w]!] = tree.size[w]!;
    visitedSize[order[w]!] = depthFirst.size[w]!;
  }
  return { immediate, connected, preorder, size, visited, visitedSize };
}

/**
 * Whether every way to `b` from its function's entry leads through `a`. A block dominates itself.
 *
 * @param a index of a block
 * @param b index of a block; `false` when nothing leads to either
 */
export function dominates(tree: Dominators, a: number, b: number): boolean {
  if (tree.connected[a] !== 1 || tree.connected[b] !== 1) return false;
  const first = tree.preorder[a]!;
  const at = tree.preorder[b]!;
  return at >= first && at < first + tree.size[a]!;
}

/** Depth-first walk from the entry of every function; returns how many blocks it met. */
function walk(flow: ControlFlow, visited: Int32Array, order: Int32Array, parent: Int32Array): number {
  const { blocks } = flow;
  let total = 0;
  const stack: number[] = [];
  const next = new Int32Array(blocks.length); // which successor comes next
  const enter = (block: number, from: number): void => {
    visited[block] = total;
    order[total] = block;
    parent[total] = from;
    total++;
    stack.push(block);
  };
  for (const { firstBlock, index } of flow.functions) {
    enter(firstBlock, NONE);
    while (stack.length > 0) {
      const block = stack[stack.length - 1]!;
      const edge = blocks[block]!.successors[next[block]!++];
      if (edge === undefined) stack.pop();
      else if ("to" in edge && visited[edge.to] === NONE && blocks[edge.to]!.function === index) {
        enter(edge.to, visited[block]!);
      }
    }
  }
  return total;
}

/** Numbers the nodes of a forest in preorder and counts subtrees; parents must come before children. */
function numberTree(parent: Int32Array, total: number): { preorder: Int32Array; size: Int32Array } {
  const size = new Int32Array(total).fill(1);
  for (let w = total - 1; w >= 0; w--) if (parent[w] !== NONE) size[parent[w]!]! += size[w]!;
  const preorder = new Int32Array(total);
  const free = new Int32Array(total); // next number for a child
  let roots = 0;
  for (let w = 0; w < total; w++) {
    const p = parent[w]!;
    if (p === NONE) {
      preorder[w] = roots;
      roots += size[w]!;
    } else {
      preorder[w] = free[p]!;
      free[p]! += size[w]!;
    }
    free[w] = preorder[w]! + 1;
  }
  return { preorder, size };
}
