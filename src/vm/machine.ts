// Browser-safe.

import { type Instruction, type KfuncReference, link } from "../asm/index.ts";
import { BpfError } from "../errors.ts";
import type { ProgType } from "../kernel-abi/index.ts";
import { Input, type MachineInput } from "./context/build.ts";
import { Cpu } from "./cpu.ts";
import { budgetFault, Execution, type MachineRunResult, resultOf } from "./execution.ts";
import type { Helper, HelperTable } from "./helpers/call.ts";
import { helperTable } from "./helpers/index.ts";
import { execute } from "./interpreter.ts";
import { type MachineMapOf, type MachineMapSpec, makeMap } from "./maps/create.ts";
import type { MachineMap } from "./maps/machine-map.ts";
import { MAP_POINTER_STRIDE, MAP_POINTERS, Memory, MOST_MAPS, Permission, READ_WRITE } from "./memory.ts";
import { type Code, prepare } from "./prepare.ts";
import { Random } from "./random.ts";
import { Run } from "./run-state.ts";
import type { PerfEvent, Task, World } from "./world.ts";

// biome-ignore lint/suspicious/noExplicitAny: maps of every kind of key and value
type AnyMapSpec = MachineMapSpec<any, any, any>;
/** Blueprints of maps by name. */
export type MachineMapSpecs = Readonly<Record<string, AnyMapSpec>>;

/** Where a machine ends. */
export interface MachineLimits {
  /** Most bytes of memory: stacks, packets, maps. Default 64 MiB. */
  readonly memory?: number | undefined;
  /** Most instructions of one run. Default 100 million, which take less than a second. */
  readonly instructions?: number | undefined;
}

/** How a machine is made. */
export interface MachineOptions<M extends MachineMapSpecs = MachineMapSpecs> {
  /** Maps by name: blueprints. Programs refer to them by these names. */
  readonly maps?: M | undefined;
  /** Helpers in the place of those of the machine, or besides them, by name. */
  readonly helpers?: Readonly<Record<string, Helper | undefined>> | undefined;
  /** What stands for functions of the kernel that programs call, by name. */
  readonly kfuncs?: Readonly<Record<string, Helper>> | undefined;
  /** Nanoseconds since boot. Default: one second, and a microsecond more each time it is asked for. */
  readonly clock?: (() => bigint) | undefined;
  /** What random numbers follow from. Default 1. */
  readonly seed?: number | undefined;
  /** Number of processors: places in values of per-CPU maps. Default 1. */
  readonly cpus?: number | undefined;
  /** The task that programs run in. */
  readonly task?: Partial<Task> | undefined;
  /**
   * Whether a program may not read stack that it has not written. Default `true`, as for unprivileged programs; the
   * kernel lets privileged ones read it since 6.3.
   */
  readonly strictStack?: boolean | undefined;
  /** Where it ends. */
  readonly limits?: MachineLimits | undefined;
}

/** Blueprint of a program, as far as a machine asks for it. */
export interface MachineProgramSpec {
  /** Program type, for example `xdp`: it decides what the context is. */
  readonly type: ProgType;
  /** The program; labels and references are linked when it is loaded. */
  readonly instructions: readonly Instruction[];
  /** Name, for messages. */
  readonly name?: string | undefined;
}

/** What to run a program on. */
export interface MachineRunOptions extends MachineInput {
  /** How often; the packet of one run is the input of the next, as in the kernel. Default 1. */
  readonly repeat?: number | undefined;
  /** Processor that it runs on. Default 0. */
  readonly cpu?: number | undefined;
  /** What `get_attach_cookie` gives. Default 0. */
  readonly cookie?: bigint | undefined;
}

/** Memory that a test has set up for programs to find, by address. */
export interface MachineMemory {
  /** Its address, as a program sees it. */
  readonly address: bigint;
  /** A copy of its bytes as they are now. */
  read(): Uint8Array;
  /** Writes bytes from its start on. */
  write(bytes: Uint8Array): void;
}

const DEFAULT_MEMORY = 64 * 1024 * 1024;
const DEFAULT_BUDGET = 100_000_000;
const MOST_CPUS = 1024;
const FIRST_TIME = 1_000_000_000n;
const TIME_STEP = 1000n;

/**
 * Makes a machine: programs run in it without a kernel, each run the same as the other.
 *
 * @param options maps, helpers, clock, limits
 * @throws BpfError `ERR_MAP_SPEC`, `ERR_LIMIT`, `ERR_VM_HELPER`
 *
 * @example Count packets
 * ```ts
 * import { u64 } from "rawbpf/bytes";
 *
 * const machine = createMachine({ maps: { counts: { type: "array", value: u64, maxEntries: 1 } } });
 * const program = machine.load({
 *   type: "xdp",
 *   instructions: assemble(`
 *     *(u32 *)(r10 - 4) = 0
 *     r2 = r10
 *     r2 += -4
 *     r1 = counts ll
 *     call map_lookup_elem
 *     if r0 == 0 goto out
 *     r1 = 1
 *     lock *(u64 *)(r0 + 0) += r1
 *   out:
 *     r0 = 2
 *     exit
 *   `),
 * });
 * program.run({ data: new Uint8Array(64), repeat: 3 }).returnValue; // 2
 * machine.maps.counts.get(0); // 3n
 * ```
 */
export function createMachine<const M extends MachineMapSpecs = Record<never, never>>(
  options: MachineOptions<M> = {},
): Machine<M> {
  return new Machine(options);
}

/** A machine that runs programs: memory, maps, helpers. See {@link createMachine}. */
export class Machine<M extends MachineMapSpecs = MachineMapSpecs> {
  /** Its maps by name. */
  readonly maps: { readonly [K in keyof M]: MachineMapOf<M[K]> };
  /** What belongs to all programs. @internal */
  readonly world: World;
  /** @internal */
  readonly helpers: HelperTable;
  /** @internal */
  readonly kfuncs: HelperTable;
  /** @internal */
  readonly strictStack: boolean;
  /** Most instructions of one run. */
  readonly budget: number;
  readonly #kfuncNumbers: Readonly<Record<string, KfuncReference>>;
  readonly #handles = new Map<string, MachineMap<unknown, unknown>>();
  #reads = 0n;

  /** @internal use {@link createMachine} */
  constructor(options: MachineOptions<M>) {
    const cpus = options.cpus ?? 1;
    if (!(Number.isInteger(cpus) && cpus >= 1 && cpus <= MOST_CPUS)) {
      throw new RangeError(`The number of processors must be 1 to ${MOST_CPUS}, not ${cpus}`);
    }
    this.budget = options.limits?.instructions ?? DEFAULT_BUDGET;
    if (!(Number.isSafeInteger(this.budget) && this.budget > 0)) {
      throw new RangeError(`The limit of instructions must be a number above 0, not ${this.budget}`);
    }
    const memory = new Memory(options.limits?.memory ?? DEFAULT_MEMORY);
    const room = memory.allocate({ kind: "memory", name: "room of the machine", size: 8, permission: 0 });
    const task: Task = { tgid: 1000, pid: 1000, uid: 1000, gid: 1000, comm: "test", cgroupId: 1n, ...options.task };
    this.world = {
      memory,
      maps: [undefined],
      programs: [undefined],
      names: new Map(),
      room: room.start,
      cpus,
      clock: options.clock ?? (() => FIRST_TIME + TIME_STEP * this.#reads++),
      random: new Random(options.seed ?? 1),
      task,
      trace: [],
      perfEvents: [],
    };
    this.strictStack = options.strictStack ?? true;
    this.helpers = helperTable(options.helpers ?? {});
    const kfuncs = Object.entries(options.kfuncs ?? {});
    this.kfuncs = new Map(kfuncs.map(([name, call], i) => [i + 1, { name, call }]));
    this.#kfuncNumbers = Object.fromEntries(kfuncs.map(([name], i) => [name, { btfId: i + 1 }]));
    const handles: Record<string, unknown> = Object.create(null) as Record<string, unknown>;
    for (const [name, spec] of Object.entries(options.maps ?? {})) handles[name] = this.#addMap(name, spec);
    this.maps = handles as { readonly [K in keyof M]: MachineMapOf<M[K]> };
  }

  #addMap(name: string, spec: AnyMapSpec): MachineMap<unknown, unknown> {
    const { memory, maps, cpus } = this.world;
    if (maps.length >= MOST_MAPS) throw new BpfError("ERR_LIMIT", `A machine has at most ${MOST_MAPS - 1} maps`);
    const map = makeMap(spec, name, { memory, fd: maps.length, cpus });
    maps.push(map.inside);
    if (name !== "") this.#handles.set(name, map);
    return map;
  }

  /**
   * Makes one more map: an inner map of a map of maps, say.
   *
   * @param spec blueprint; with a name, programs that are loaded later can refer to it by that
   * @throws BpfError `ERR_MAP_SPEC`, `ERR_LIMIT`
   */
  createMap<const S extends AnyMapSpec>(spec: S): MachineMapOf<S> {
    return this.#addMap(spec.name ?? "", spec) as unknown as MachineMapOf<S>;
  }

  /** What `trace_printk` has written, one line for each call. */
  get trace(): readonly string[] {
    return this.world.trace;
  }

  /** What `perf_event_output` has sent. */
  get perfEvents(): readonly PerfEvent[] {
    return this.world.perfEvents;
  }

  /** The task that programs run in. Set it to have another. */
  get task(): Task {
    return this.world.task;
  }

  set task(task: Task) {
    this.world.task = task;
  }

  /**
   * Sets up memory that programs can find by its address: what a pointer in a context leads to, for `probe_read_kernel`
   * and direct access.
   *
   * @param bytes what is in it at first
   * @param options `name` for messages; `writable` (default `false`): programs may write to it
   * @throws BpfError `ERR_LIMIT`
   */
  allocate(
    bytes: Uint8Array,
    options: { readonly name?: string | undefined; readonly writable?: boolean | undefined } = {},
  ): MachineMemory {
    const { memory } = this.world;
    const region = memory.allocate({
      kind: "memory",
      name: options.name ?? "memory of the test",
      size: bytes.length,
      permission: options.writable === true ? READ_WRITE : Permission.read,
    });
    memory.bytes.set(bytes, region.start);
    return {
      address: BigInt(region.start),
      read: () => memory.bytes.slice(region.start, region.start + region.size),
      write(given) {
        if (given.length > region.size) throw new RangeError(`${given.length} bytes do not fit ${region.size}`);
        memory.bytes.set(given, region.start);
      },
    };
  }

  /**
   * Loads a program: links it and checks its form. Nothing is verified; what the verifier would refuse faults when it
   * happens.
   *
   * @param spec blueprint
   * @throws BpfError `ERR_VM_PROGRAM` for what no machine runs; AsmError when it does not link
   */
  load(spec: MachineProgramSpec): MachineProgram {
    const { world } = this;
    const maps = Object.fromEntries([...this.#handles].map(([name, map]) => [name, map.fd]));
    const linked = link(spec.instructions, { maps, kfuncs: this.#kfuncNumbers });
    const name = spec.name ?? "";
    const code = prepare(
      linked,
      {
        pointer: (fd) => (world.maps[fd] === undefined ? undefined : MAP_POINTERS + fd * MAP_POINTER_STRIDE),
        value: (fd) => world.maps[fd]?.direct,
      },
      name,
    );
    const number = world.programs.length;
    world.programs.push({ code, name });
    world.names.set(code, name);
    return new MachineProgram(this, code, spec.type, name, number);
  }

  /**
   * Keeps the state of the machine: memory, maps, random numbers, what was traced.
   *
   * @returns a function that brings it back, as often as it is called. Maps and programs made since are lost.
   *
   * @example
   * ```ts
   * const machine = createMachine({ maps: { seen: { type: "hash", key: 4, value: 4, maxEntries: 8 } } });
   * const restore = machine.snapshot();
   * machine.maps.seen.set(new Uint8Array(4), new Uint8Array(4));
   * restore();
   * machine.maps.seen.count(); // 0
   * ```
   */
  snapshot(): () => void {
    const { world } = this;
    const image = world.memory.save();
    const maps = world.maps.slice();
    const programs = world.programs.slice();
    const states = maps.map((map) => map?.save());
    const random = world.random.state;
    const reads = this.#reads;
    const { task } = world;
    const trace = world.trace.slice();
    const events = world.perfEvents.slice();
    return () => {
      world.memory.restore(image);
      world.maps.splice(0, world.maps.length, ...maps);
      world.programs.splice(0, world.programs.length, ...programs);
      for (const state of states) state?.();
      world.random.state = random;
      this.#reads = reads;
      world.task = task;
      world.trace.splice(0, world.trace.length, ...trace);
      world.perfEvents.splice(0, world.perfEvents.length, ...events);
    };
  }
}

/** A program in a machine. */
export class MachineProgram {
  /** Program type. */
  readonly type: ProgType;
  /** Name; empty when it has none. */
  readonly name: string;
  /** Number in the machine, by which program arrays refer to it. */
  readonly fd: number;
  readonly #machine: Machine;
  readonly #code: Code;

  /** @internal use `load` of a machine */
  constructor(machine: Machine, code: Code, type: ProgType, name: string, number: number) {
    this.#machine = machine;
    this.#code = code;
    this.type = type;
    this.name = name;
    this.fd = number;
  }

  /** The instructions, linked. */
  get instructions(): readonly Instruction[] {
    return this.#code.instructions;
  }

  #begin(options: MachineRunOptions): { readonly run: Run; readonly input: Input; readonly cpu: Cpu } {
    const machine = this.#machine;
    const run = new Run(machine.world);
    const cpu = options.cpu ?? 0;
    if (!(Number.isInteger(cpu) && cpu >= 0 && cpu < machine.world.cpus)) {
      throw new RangeError(`The machine has no processor ${cpu}, only ${machine.world.cpus}`);
    }
    run.type = this.type;
    run.cpu = cpu;
    run.cookie = options.cookie ?? 0n;
    const input = new Input(run, options);
    return {
      run,
      input,
      cpu: new Cpu(machine.world.memory, run, machine.helpers, machine.kfuncs, machine.strictStack),
    };
  }

  /**
   * Runs the program.
   *
   * @param options packet, context, how often
   * @throws MachineFault for what the verifier would have refused, or too many instructions
   * @throws TypeError or RangeError for input that a program of the type cannot have
   */
  run(options: MachineRunOptions = {}): MachineRunResult {
    const repeat = options.repeat ?? 1;
    if (!(Number.isSafeInteger(repeat) && repeat >= 1)) throw new RangeError(`Cannot run it ${repeat} times`);
    const { run, input, cpu } = this.#begin(options);
    const { budget } = this.#machine;
    let executed = 0;
    try {
      for (let i = 0; i < repeat; i++) {
        cpu.start(this.#code, this.name, run.contextAddress);
        executed += execute(cpu, budget);
        if (!cpu.done) throw budgetFault(cpu, budget);
      }
      return resultOf(cpu, run, input, executed / repeat);
    } finally {
      input.release();
      cpu.release();
    }
  }

  /**
   * Begins a run that goes step by step.
   *
   * @param options packet, context
   * @returns close it: it has memory of the machine
   */
  start(options: Omit<MachineRunOptions, "repeat"> = {}): Execution {
    const { run, input, cpu } = this.#begin(options);
    const begin = (): void => cpu.start(this.#code, this.name, run.contextAddress);
    begin();
    const machine = this.#machine.snapshot();
    const state = run.save();
    return new Execution({
      cpu,
      run,
      input,
      budget: this.#machine.budget,
      restart: () => {
        machine();
        state();
        begin();
      },
      end: () => {
        input.release();
        cpu.release();
      },
    });
  }
}
