import type { ValueOptions } from "../btf/index.ts";
import type { ExternSpec, ObjectMapSpec, ObjectSpec, VariableSpec } from "../elf/index.ts";
import type { Program } from "../programs/index.ts";
import type { SyscallBackend } from "../syscall/backend.ts";
import { mapLookup, mapUpdate } from "../syscall/commands.ts";
import { probeFeature } from "../syscall/features.ts";
import { type MappedMemory, mapMemory, pageSize } from "../syscall/memory.ts";
import type { ArenaMemory } from "./arena.ts";
import { Cleanup } from "./cleanup.ts";
import { codecOf } from "./codecs.ts";
import { BpfObject, type LoadedTable } from "./object.ts";
import type { ObjectMap, ObjectTypes } from "./types.ts";
import { Variable, type VariableStore } from "./variable.ts";

/** What came of loading: everything that an object owns. */
export interface LoadedParts {
  readonly backend: SyscallBackend;
  readonly spec: ObjectSpec;
  readonly maps: Readonly<Record<string, ObjectMap>>;
  readonly programs: Readonly<Record<string, Program>>;
  readonly tables: ReadonlyMap<string, LoadedTable>;
  /** By name of the map. */
  readonly arenas: ReadonlyMap<string, ArenaMemory>;
  readonly warnings: readonly string[];
  /** How values look. */
  readonly values: ValueOptions | undefined;
}

/** Makes the handle of a loaded object. */
export function assembleObject<T extends ObjectTypes>(parts: LoadedParts): BpfObject<T> {
  const { backend, spec, maps, programs, arenas, values } = parts;
  const owned = new Cleanup();
  for (const arena of arenas.values()) owned.add(arena);
  for (const map of Object.values(maps)) owned.add(map);
  for (const program of Object.values(programs)) owned.add(program);
  const stores = new Map<string, VariableStore>();
  const variables: Record<string, Variable> = Object.create(null);
  for (const variable of [...kconfigVariables(spec), ...Object.values(spec.variables)]) {
    const map = spec.maps[variable.map]!;
    const handle = maps[variable.map];
    if (handle === undefined) continue;
    let store = stores.get(variable.map);
    if (store === undefined) {
      const arena = arenas.get(variable.map);
      store = arena === undefined ? sectionStore(map, handle, backend, owned) : arenaStore(arena);
      stores.set(variable.map, store);
    }
    const codec = codecOf(spec.btf, variable.type, variable.size, values);
    variables[variable.name] = new Variable(variable, codec, store, map.frozen || map.kind === "kconfig");
  }
  return new BpfObject<T>({ ...parts, variables, owned });
}

/** Configuration of the kernel reads like variables. */
function kconfigVariables({ externs }: ObjectSpec): VariableSpec[] {
  const map = ".kconfig";
  return Object.values(externs)
    .filter((extern): extern is ExternSpec & { kind: "kconfig" } => extern.kind === "kconfig")
    .map(({ name, offset, size, type }) => {
      return { name, map, section: map, offset, size, type, linkage: "global", tags: [] };
    });
}

function arenaStore(arena: ArenaMemory): VariableStore {
  const view = arena.variables;
  return { view, read: () => view().slice(), write: (section) => view().set(section) };
}

function sectionStore(map: ObjectMapSpec, handle: ObjectMap, backend: SyscallBackend, owned: Cleanup): VariableStore {
  let memory: MappedMemory | undefined;
  let bytes: Uint8Array | undefined;
  let tried = false;
  const view = (): Uint8Array | undefined => {
    if (!tried && !handle.closed) {
      tried = true;
      memory = mapSection(map, handle, backend);
      if (memory !== undefined) owned.add(memory);
    }
    if (memory === undefined) return undefined;
    // Throws when it is closed.
    const { buffer } = memory;
    bytes ??= new Uint8Array(buffer, 0, map.valueSize);
    return bytes;
  };
  return {
    view,
    read() {
      const section = new Uint8Array(map.valueSize);
      mapLookup(handle.owner, new Uint8Array(4), section);
      return section;
    },
    write: (section) => mapUpdate(handle.owner, new Uint8Array(4), section),
  };
}

function mapSection(map: ObjectMapSpec, handle: ObjectMap, backend: SyscallBackend): MappedMemory | undefined {
  if (!map.mmapable || probeFeature("mmapable", { backend }) === false) return undefined;
  const page = pageSize(backend.architecture);
  const length = Math.ceil(map.valueSize / page) * page;
  const access = map.frozen || map.kind === "kconfig" ? "read" : "read-write";
  try {
    return mapMemory(backend, { fd: handle.fd, length, access, label: `map "${map.name}"` });
  } catch {
    // System calls reach it too.
    return undefined;
  }
}
