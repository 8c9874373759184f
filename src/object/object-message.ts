import type { Instruction } from "../asm/index.ts";
import { encodeBtf, openBtf, type ValueOptions } from "../btf/index.ts";
import type { ObjectProgramSpec, ObjectSpec } from "../elf/index.ts";
import type { MapDescription } from "../maps/index.ts";
import { Program } from "../programs/index.ts";
import type { SyscallBackend } from "../syscall/backend.ts";
import { Fd } from "../syscall/fd.ts";
import { type ArenaMemory, arenaMemory } from "./arena.ts";
import { assembleObject } from "./assemble.ts";
import { typedHandle } from "./maps.ts";
import { type BpfObject, type LoadedTable, partsOf } from "./object.ts";
import type { AnyObjectTypes, ObjectMap, ObjectTypes } from "./types.ts";

/** A specification as it travels from thread to thread: BTF as its bytes. */
export interface SpecMessage {
  readonly spec: Omit<ObjectSpec, "btf">;
  readonly btf: Uint8Array | undefined;
}

interface FdMessage {
  readonly number: number;
  readonly label: string;
}

/** A loaded object as it travels from thread to thread: descriptors belong to the process. */
export interface ObjectMessage {
  /** The specification, without instructions: there may be many of them, and few look at them. */
  readonly spec: SpecMessage;
  readonly maps: readonly (readonly [name: string, fd: FdMessage, description: MapDescription])[];
  readonly programs: readonly (readonly [name: string, fd: FdMessage, program: ProgramMessage])[];
  readonly tables: readonly (readonly [name: string, table: Omit<LoadedTable, "map">])[];
  readonly arenas: readonly (readonly [name: string, address: number])[];
  readonly warnings: readonly string[];
}

interface ProgramMessage {
  readonly type: Program["type"];
  readonly name: string;
  readonly log: string;
  readonly expectedAttachType: Program["expectedAttachType"];
}

/** Takes a specification apart. */
export function specToMessage({ btf, ...spec }: ObjectSpec): SpecMessage {
  return { spec, btf: btf && encodeBtf([...btf.types()], { littleEndian: btf.littleEndian }) };
}

/** Puts a specification together again. Records have no prototype, as before: copying between threads gives them one. */
export function specFromMessage({ spec, btf }: SpecMessage): ObjectSpec {
  const programs = bare(spec.programs);
  for (const program of Object.values(programs)) program.jumpTables = bare(program.jumpTables);
  const maps = bare(spec.maps);
  for (const { structOps } of Object.values(maps)) {
    if (structOps !== undefined) structOps.functions = bare(structOps.functions);
  }
  return {
    ...spec,
    programs,
    maps,
    variables: bare(spec.variables),
    externs: bare(spec.externs),
    btf: btf && openBtf(btf, { pointerSize: 8 }),
  };
}

function bare<T>(record: Readonly<Record<string, T>>): Record<string, T> {
  return Object.assign(Object.create(null), record);
}

/** Takes a loaded object apart. Its descriptors are the receiver's from then on. */
export function objectToMessage(object: BpfObject<AnyObjectTypes>): ObjectMessage {
  const { spec, maps, programs, tables, arenas, warnings } = partsOf(object);
  const light: Record<string, ObjectProgramSpec> = Object.create(null);
  for (const [name, program] of Object.entries(spec.programs)) light[name] = { ...program, instructions: [] };
  return {
    spec: specToMessage({ ...spec, programs: light }),
    maps: Object.entries(maps).map(([name, { owner, description }]) => [name, fdMessage(owner), description]),
    programs: Object.entries(programs).map(([key, { owner, type, name, log, expectedAttachType }]) => {
      return [key, fdMessage(owner), { type, name, log, expectedAttachType }];
    }),
    tables: [...tables].map(([name, { value }]) => [name, { value }]),
    arenas: [...arenas].map(([name, { address }]) => [name, address]),
    warnings,
  };
}

function fdMessage({ number, label }: Fd): FdMessage {
  return { number, label };
}

/**
 * Makes the handle of an object that another thread has loaded.
 *
 * @param message from there
 * @param backend shim
 * @param values how values look
 * @param instructionsOf instructions of a program, asked for when someone looks at them
 */
export function objectFromMessage<T extends ObjectTypes>(
  message: ObjectMessage,
  backend: SyscallBackend,
  values: ValueOptions | undefined,
  instructionsOf: (program: string) => readonly Instruction[],
): BpfObject<T> {
  const spec = specFromMessage(message.spec);
  for (const program of Object.values(spec.programs)) defineLazily(program, instructionsOf);
  const maps: Record<string, ObjectMap> = Object.create(null);
  for (const [name, { number, label }, description] of message.maps) {
    const owner = new Fd(backend, number, label);
    maps[name] = typedHandle(spec.maps[name]!, { owner, description }, { spec, values });
  }
  const programs: Record<string, Program> = Object.create(null);
  for (const [key, { number, label }, { type, name, log, expectedAttachType }] of message.programs) {
    programs[key] = new Program(new Fd(backend, number, label), type, name, log, expectedAttachType);
  }
  const tables = new Map<string, LoadedTable>();
  for (const [name, table] of message.tables) tables.set(name, { ...table, map: maps[name]! });
  const arenas = new Map<string, ArenaMemory>();
  for (const [name, address] of message.arenas) {
    arenas.set(name, arenaMemory(spec.maps[name]!, maps[name]!, backend, address));
  }
  const { warnings } = message;
  return assembleObject<T>({ backend, spec, maps, programs, tables, arenas, warnings, values });
}

function defineLazily(program: ObjectProgramSpec, instructionsOf: (program: string) => readonly Instruction[]): void {
  const define = (value: readonly Instruction[]): void =>
    void Object.defineProperty(program, "instructions", {
      value,
      writable: true,
      enumerable: true,
      configurable: true,
    });
  Object.defineProperty(program, "instructions", {
    get() {
      const found = instructionsOf(program.name);
      define(found);
      return found;
    },
    set: define,
    enumerable: true,
    configurable: true,
  });
}
