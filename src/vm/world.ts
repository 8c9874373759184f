// Browser-safe.

import type { ProgramMap } from "./maps/program-map.ts";
import type { Memory } from "./memory.ts";
import type { Code } from "./prepare.ts";
import type { Random } from "./random.ts";

/** The task that a program runs in, as helpers tell of it. */
export interface Task {
  /** Process id in user space's sense (`tgid`). Default 1000. */
  readonly tgid: number;
  /** Thread id (`pid` in the kernel's sense). Default 1000. */
  readonly pid: number;
  /** User id. Default 1000. */
  readonly uid: number;
  /** Group id. Default 1000. */
  readonly gid: number;
  /** Command, at most 15 bytes. Default `"test"`. */
  readonly comm: string;
  /** Id of its cgroup. Default 1. */
  readonly cgroupId: bigint;
}

/** An event that `perf_event_output` has sent. */
export interface PerfEvent {
  /** Name of the map. */
  readonly map: string;
  /** Processor whose buffer it went to. */
  readonly cpu: number;
  /** The bytes. */
  readonly data: Uint8Array;
}

/** A program that a program array holds. */
export interface CodeOf {
  readonly code: Code;
  readonly name: string;
}

/** What belongs to the whole machine, as helpers and maps see it. */
export interface World {
  readonly memory: Memory;
  /** Maps by number; number 0 is none. */
  readonly maps: (ProgramMap | undefined)[];
  /** Programs by number; number 0 is none. */
  readonly programs: (CodeOf | undefined)[];
  /** Names of programs. */
  readonly names: Map<Code, string>;
  /** Address of 8 bytes for a key that does not lie in memory. */
  readonly room: number;
  /** Number of processors. */
  readonly cpus: number;
  /** Nanoseconds since boot; every look at it may see a later time. */
  readonly clock: () => bigint;
  readonly random: Random;
  task: Task;
  /** What `trace_printk` has written, one entry for each call. */
  readonly trace: string[];
  /** What `perf_event_output` has sent. */
  readonly perfEvents: PerfEvent[];
}
