// Browser-safe.

import type { CallEdge, ControlFlow } from "./graph.ts";

/**
 * Groups functions that call each other in circles (Tarjan's strongly connected components, without recursion).
 * Addresses of functions count as calls: a helper may call back.
 *
 * @param flow a program's shape
 * @param calls those that count; default all
 * @returns every function once, in groups; callees come before their callers
 */
export function callGroups(flow: ControlFlow, calls: readonly CallEdge[] = flow.calls): number[][] {
  const callees = flow.functions.map((): number[] => []);
  for (const edge of calls) callees[edge.from]!.push(edge.to);
  const count = callees.length;
  const index = new Int32Array(count).fill(-1);
  const low = new Int32Array(count);
  const onStack = new Uint8Array(count);
  const next = new Int32Array(count);
  const open: number[] = [];
  const work: number[] = [];
  const groups: number[][] = [];
  let number = 0;
  for (let root = 0; root < count; root++) {
    if (index[root] !== -1) continue;
    work.push(root);
    while (work.length > 0) {
      const f = work[work.length - 1]!;
      if (index[f] === -1) {
        index[f] = low[f] = number++;
        open.push(f);
        onStack[f] = 1;
      }
      const callee = callees[f]![next[f]!++];
      if (callee !== undefined) {
        if (index[callee] === -1) work.push(callee);
        else if (onStack[callee] === 1) low[f] = Math.min(low[f]!, index[callee]!);
        continue;
      }
      work.pop();
      const caller = work[work.length - 1];
      if (caller !== undefined) low[caller] = Math.min(low[caller]!, low[f]!);
      if (low[f] !== index[f]) continue;
      const group: number[] = [];
      for (let member = -1; member !== f; ) {
        member = open.pop()!;
        onStack[member] = 0;
        group.push(member);
      }
      groups.push(group.sort((a, b) => a - b));
    }
  }
  return groups;
}

/**
 * Functions that call themselves, directly or over others: the kernel refuses them.
 *
 * @returns groups of functions that call each other in circles
 */
export function recursiveFunctions(flow: ControlFlow): number[][] {
  const direct = new Set(flow.calls.filter((edge) => edge.from === edge.to).map((edge) => edge.from));
  return callGroups(flow).filter((group) => group.length > 1 || direct.has(group[0]!));
}
