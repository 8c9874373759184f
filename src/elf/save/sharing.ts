// Browser-safe.

import type { SavedFunction } from "./functions.ts";

/**
 * Finds which functions of several programs are the same: they say the same, and so does all that they refer to.
 * Functions that refer to each other in a circle are looked at together, so that the time grows with their number only.
 */
export class SharingKeys {
  readonly #numbers = new Map<string, number>();

  /**
   * @param functions those of one program
   * @returns a number for each label, which is equal for functions that are the same
   */
  keysOf(functions: readonly SavedFunction[]): ReadonlyMap<string, number> {
    const texts = new Map<string, number>();
    const callees = new Map<string, readonly string[]>();
    for (const { label, name, type, bytes, relocations, cores, lines } of functions) {
      texts.set(label, this.#number(JSON.stringify([label, name, type ?? 0, [...bytes], relocations, cores, lines])));
      const targets = relocations.flatMap(({ target }) => (target.kind === "function" ? [target.label] : []));
      callees.set(label, [...new Set(targets)]);
    }
    const keys = new Map<string, number>();
    for (const circle of circlesOf(callees)) {
      const inside = new Set(circle);
      const said = circle.sort().map((label) => {
        const outside = callees.get(label)!.filter((each) => !inside.has(each));
        return [texts.get(label)!, ...outside.map((each) => keys.get(each)!)];
      });
      const all = this.#number(JSON.stringify(said));
      for (const label of circle) keys.set(label, this.#number(`${all} ${texts.get(label)}`));
    }
    return keys;
  }

  #number(text: string): number {
    let number = this.#numbers.get(text);
    if (number === undefined) {
      number = this.#numbers.size;
      this.#numbers.set(text, number);
    }
    return number;
  }
}

interface Visit {
  readonly label: string;
  readonly index: number;
  lowest: number;
  next: number;
}

/**
 * Strongly connected components, each behind all that it leads to (Tarjan), without recursion: a chain of calls may be
 * as long as the program.
 */
function* circlesOf(graph: ReadonlyMap<string, readonly string[]>): IterableIterator<string[]> {
  const visits = new Map<string, Visit>();
  const open: string[] = [];
  const isOpen = new Set<string>();
  const enter = (label: string): Visit => {
    const visit = { label, index: visits.size, lowest: visits.size, next: 0 };
    visits.set(label, visit);
    open.push(label);
    isOpen.add(label);
    return visit;
  };
  for (const root of graph.keys()) {
    if (visits.has(root)) continue;
    const stack = [enter(root)];
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const target = graph.get(top.label)![top.next++];
      if (target !== undefined) {
        const seen = visits.get(target);
        if (seen === undefined) stack.push(enter(target));
        else if (isOpen.has(target)) top.lowest = Math.min(top.lowest, seen.index);
        continue;
      }
      stack.pop();
      const caller = stack.at(-1);
      if (caller !== undefined) caller.lowest = Math.min(caller.lowest, top.lowest);
      if (top.lowest !== top.index) continue;
      const circle = open.splice(open.lastIndexOf(top.label));
      for (const label of circle) isOpen.delete(label);
      yield circle;
    }
  }
}
