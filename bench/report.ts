import { cpus, release } from "node:os";

/** One measured figure. */
export interface Row {
  /** What was measured, such as `map lookup, hash, koffi`. */
  readonly name: string;
  /** The median. */
  readonly value: number;
  /** Unit of the value: `ns`, `ms`, `instructions/s`, `bytes`. */
  readonly unit: string;
  /** Who did the same in the same run, with its version: `libbpf 1.7.0`. */
  readonly peer?: string;
  /** The peer's median, in the same unit. */
  readonly peerValue?: number;
  /** Ours divided by the peer's, taken inside each round; below 1 is less time, or fewer of them in a second. */
  readonly ratio?: number;
  /** What the figure should be, such as `<= 1.2x`. */
  readonly aim?: string;
}

/** Takes a figure. */
export type Report = (row: Row) => void;

/**
 * Whether figures need not be good, only be taken (`RAWBPF_BENCH_SHORT=1`): a benchmark then does less work, so that all
 * of them together show within a few minutes that they still run.
 */
export const short: boolean = process.env.RAWBPF_BENCH_SHORT === "1";

/** What a `bench/*.bench.ts` module exports. */
export interface Benchmark {
  /** Measures and reports; a rejection fails the whole run. */
  run(report: Report): void | Promise<void>;
}

/** Where the figures come from. */
export interface Machine {
  readonly processor: string;
  readonly cores: number;
  readonly architecture: string;
  readonly kernel: string;
  readonly runtime: string;
}

/** This machine and runtime. */
export function machine(): Machine {
  const found = cpus();
  return {
    processor: found[0]?.model.trim() ?? "unknown",
    cores: found.length,
    architecture: process.arch,
    kernel: `${process.platform} ${release()}`,
    runtime: `node ${process.versions.node}, V8 ${process.versions.v8}`,
  };
}

/**
 * The middle of some samples.
 *
 * @throws RangeError for no sample
 */
export function median(samples: readonly number[]): number {
  if (samples.length === 0) throw new RangeError("Cannot take the median of no samples");
  const sorted = [...samples].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
}

/**
 * Times a function.
 *
 * @param run the work; its result is kept alive till after the second reading of the clock
 * @returns nanoseconds
 */
export function time(run: () => unknown): number {
  const before = process.hrtime.bigint();
  sink = run();
  return Number(process.hrtime.bigint() - before);
}

/** Keeps results alive, so that the work is not optimised away. */
export let sink: unknown;

/** Medians of several candidates, and their ratios to one of them. */
export interface Comparison<Name extends string> {
  readonly median: Readonly<Record<Name, number>>;
  /** Candidate divided by the peer, the median over the rounds. */
  readonly ratio: Readonly<Record<Name, number>>;
}

/**
 * Measures candidates side by side: each round runs all of them in a fresh random order, and ratios are taken inside a
 * round, so that a machine which slows down for a while slows all of them.
 *
 * @param candidates functions that give one sample, such as nanoseconds for a fixed amount of work
 * @param peer the candidate that the others are divided by
 * @param options `rounds` counted (default 11), `warmup` rounds before them (default 2); 3 and 1 when {@link short}
 */
export async function compare<Name extends string>(
  candidates: Readonly<Record<Name, () => number | Promise<number>>>,
  peer: Name,
  options: { readonly rounds?: number; readonly warmup?: number } = {},
): Promise<Comparison<Name>> {
  const rounds = short ? 3 : (options.rounds ?? 11);
  const warmup = short ? 1 : (options.warmup ?? 2);
  const names = Object.keys(candidates) as Name[];
  const samples = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<Name, number[]>;
  const ratios = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<Name, number[]>;
  for (let round = -warmup; round < rounds; round++) {
    const order = [...names];
    for (let i = order.length - 1; i > 0; i--) {
      const j = Math.floor(Math.random() * (i + 1));
      [order[i], order[j]] = [order[j]!, order[i]!];
    }
    const taken = {} as Record<Name, number>;
    for (const name of order) taken[name] = await candidates[name]();
    if (round < 0) continue;
    for (const name of names) {
      samples[name].push(taken[name]);
      ratios[name].push(taken[name] / taken[peer]);
    }
  }
  const medians = (of: Record<Name, number[]>): Record<Name, number> =>
    Object.fromEntries(names.map((name) => [name, median(of[name])])) as Record<Name, number>;
  return { median: medians(samples), ratio: medians(ratios) };
}
