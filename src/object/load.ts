import { type Instruction, link } from "../asm/index.ts";
import {
  applyFixups,
  type Btf,
  type CoreFixup,
  computeFixups,
  coreRelocationsOf,
  type ValueOptions,
} from "../btf/index.ts";
import { type ObjectMapSpec, type ObjectProgramSpec, type ObjectSpec, parseObject, setVariable } from "../elf/index.ts";
import { BpfError, ElfError } from "../errors.ts";
import { BPF_F_SLEEPABLE } from "../kernel-abi/index.ts";
import { loadProgram, type Program, type ProgramSpec } from "../programs/index.ts";
import { findKernelSymbols } from "../symbols/kallsyms.ts";
import type { SyscallBackend } from "../syscall/backend.ts";
import { mapUpdate, progBindMap } from "../syscall/commands.ts";
import { type ProbeOptions, probeFeature } from "../syscall/features.ts";
import type { KernelBtfCache } from "../syscall/kernel-btf.ts";
import { raiseMemlock } from "../syscall/memlock.ts";
import { pageSize } from "../syscall/memory.ts";
import { type BackendOption, backendOf } from "../syscall/select.ts";
import { type ArenaMemory, arenaDataOffset, mapArena, placeArenaData } from "./arena.ts";
import { assembleObject } from "./assemble.ts";
import { findAttachTarget } from "./attach-target.ts";
import { Cleanup, type Closable } from "./cleanup.ts";
import { sizesOf } from "./codecs.ts";
import { type ContextArguments, fixContextArguments, hasTaggedContext } from "./context-arguments.ts";
import { during } from "./errors.ts";
import {
  applyExterns,
  externsOf,
  type ModuleIndices,
  poisonMissingMaps,
  type ResolvedExterns,
  resolveExterns,
} from "./externs.ts";
import { replaceMissingHelpers } from "./helpers.ts";
import { fillKconfig, kernelVersionCode } from "./kconfig.ts";
import { KernelTypes } from "./kernel-types.ts";
import { type LoadedTypes, loadTypes } from "./load-types.ts";
import {
  createJumpTable,
  createObjectMap,
  fillDataMap,
  type MapContext,
  pinnedObjectMap,
  typedHandle,
} from "./maps.ts";
import { kernelProgramName } from "./names.ts";
import type { BpfObject, LoadedTable } from "./object.ts";
import { nameInLog } from "./poison.ts";
import { findProgramTarget, type ProgramTarget } from "./program-target.ts";
import { type PreparedStructOps, prepareStructOps, type StructOpsMember } from "./struct-ops.ts";
import { findToken } from "./token.ts";
import type { AnyObjectTypes, NamesOf, ObjectMap, ObjectTypes } from "./types.ts";
import { encodeVariable } from "./variable.ts";

/**
 * How an object is loaded.
 *
 * @typeParam T what is in it, where that is known: see {@link ObjectTypes}
 */
export interface LoadObjectOptions<T extends ObjectTypes = AnyObjectTypes> extends BackendOption {
  /** Name of the object, where bytes are given; the kernel's names of its data maps begin with it. Default empty. */
  readonly name?: string | undefined;
  /**
   * Programs to load, by name. Default: all but those whose section begins with `?`. Places of program arrays where one
   * belongs that is not loaded stay empty, and `warnings` says so.
   */
  readonly programs?: readonly NamesOf<T, "programs">[] | undefined;
  /**
   * Maps to use in place of those of the object, by name: another object's, or a pinned one. The object gets descriptors
   * of its own; closing it leaves these open. Keys and values are typed by the object.
   */
  readonly maps?: { readonly [N in NamesOf<T, "maps">]?: ObjectMap } | undefined;
  /** First values of variables, by name, as their types have them in TypeScript; those of `const` ones too. */
  readonly variables?: { readonly [N in keyof T["variables"]]?: T["variables"][N] } | undefined;
  /**
   * Folder on a BPF file system for maps that are pinned by name. Default `/sys/fs/bpf`, as in libbpf. A folder of your
   * own keeps others from putting maps there.
   */
  readonly pinFolder?: string | undefined;
  /**
   * Loaded programs that programs of this object replace a function of (`freplace`), or trace (`fentry`, `fexit`), by the
   * name of the program of this object: handles or descriptors. The section names the function.
   */
  readonly targets?: { readonly [N in NamesOf<T, "programs">]?: Program | number } | undefined;
  /** Put before the kernel's names of maps and programs. Default none. */
  readonly namePrefix?: string | undefined;
  /** Types that CO-RE relocates to. Default: those of the running kernel. */
  readonly kernelBtf?: Btf | undefined;
  /** BTF of the kernel that was opened before, to be shared by several objects; filled. */
  readonly btfCache?: KernelBtfCache | undefined;
  /** Kernel configuration that goes before the running kernel's: lines such as `CONFIG_HZ=250`. */
  readonly kconfig?: string | undefined;
  /** Verifier log wanted on success too, in `program.log`: see `loadProgram`. Default 0: none. */
  readonly logLevel?: number | undefined;
  /** How keys, values, records and variables look: what 64-bit integers, arrays of `char` and enums are. */
  readonly values?: ValueOptions | undefined;
  /**
   * A BPF token (Linux 6.9) for maps, types and programs: its descriptor, or the path of a BPF file system that delegates.
   * Default: the path in the environment variable `LIBBPF_BPF_TOKEN_PATH`; without it, in user namespaces, what
   * `/sys/fs/bpf` delegates, if anything. `false` takes none.
   */
  readonly token?: number | string | false | undefined;
}

/**
 * Loads an object file into the kernel: its types, its maps with what is in them, and its programs, relocated for the
 * running kernel. All or nothing: when a step fails, everything made so far is closed, and the error says which it was.
 *
 * @param object bytes of the file as clang makes it, or what `parseObject` made of them, which is not changed
 * @param options programs, maps, variables, names, log
 * @returns the loaded object: close it
 * @throws ElfError, BtfError for the file, and for types that the kernel does not have; VerifierError for a program that
 *   the verifier rejects; SyscallError for everything else that the kernel refuses; BpfError `ERR_EXTERN` for something
 *   that the kernel does not have, `ERR_OBJECT` for options that do not fit the object
 */
export function loadObject<T extends ObjectTypes = AnyObjectTypes>(
  object: Uint8Array | ObjectSpec,
  options: LoadObjectOptions<T> = {},
): BpfObject<T> {
  const given = object instanceof Uint8Array ? parseObject(object, { name: options.name }) : object;
  return loadObjectWith<T>(given, options as LoadObjectOptions);
}

/** For who has to know more of it. @internal */
export interface LoadHooks {
  /** Called when a map was pinned. */
  readonly pinned?: ((path: string) => void) | undefined;
}

/** Loads an object. @internal */
export function loadObjectWith<T extends ObjectTypes = AnyObjectTypes>(
  given: ObjectSpec,
  options: LoadObjectOptions,
  hooks: LoadHooks = {},
): BpfObject<T> {
  const cleanup = new Cleanup();
  try {
    return new ObjectLoader(given, options, cleanup, hooks).load();
  } catch (error) {
    cleanup.close();
    throw error;
  }
}

const BPF_MAP_OF_VARIABLES = new Set<ObjectMapSpec["kind"]>(["data", "kconfig"]);

class ObjectLoader {
  readonly #spec: ObjectSpec;
  readonly #options: LoadObjectOptions;
  readonly #hooks: LoadHooks;
  readonly #cleanup: Cleanup;
  readonly #backend: SyscallBackend;
  readonly #token: number | undefined;
  readonly #madeToken: Closable | undefined;
  /** How the kernel is asked for features. */
  readonly #asking: ProbeOptions & { readonly backend: SyscallBackend };
  readonly #kernel: KernelTypes;
  readonly #warnings: string[];
  readonly #modules: ModuleIndices = { descriptors: [], indices: new Map() };
  readonly #tables = new Map<string, PreparedStructOps>();
  readonly #members = new Map<string, StructOpsMember>();
  readonly #arenas = new Map<string, ArenaMemory>();
  #contexts: ContextArguments | undefined;

  constructor(spec: ObjectSpec, options: LoadObjectOptions, cleanup: Cleanup, hooks: LoadHooks) {
    // Data of maps is written to; everything else stays as it is.
    const maps: Record<string, ObjectMapSpec> = Object.create(null);
    for (const [name, map] of Object.entries(spec.maps)) maps[name] = { ...map };
    this.#spec = { ...spec, maps };
    this.#options = options;
    this.#hooks = hooks;
    this.#cleanup = cleanup;
    this.#backend = backendOf(options);
    const token = findToken(this.#backend, options.token, cleanup);
    this.#madeToken = typeof token === "object" ? token : undefined;
    this.#token = typeof token === "object" ? token.number : token;
    this.#asking = { backend: this.#backend, token: this.#token };
    this.#kernel = new KernelTypes(this.#backend, options.btfCache ?? new Map(), cleanup);
    this.#warnings = [...spec.warnings];
  }

  load<T extends ObjectTypes>(): BpfObject<T> {
    const spec = this.#spec;
    if (spec.littleEndian !== machineIsLittleEndian()) {
      throw new ElfError(
        "ERR_UNSUPPORTED_FORMAT",
        `Cannot load the object: it is ${spec.littleEndian ? "little" : "big"}-endian, this machine is not`,
        { hint: "Compile it with -target bpf, which takes the machine's byte order" },
      );
    }
    raiseMemlock(this.#asking);
    const selected = this.#select();
    this.#setVariables();
    const missing = this.#missingMaps();
    this.#prepareTables(missing);
    const programs = new Map(selected.map((program) => [program, program.instructions]));
    this.#relocate(programs);
    const externs = this.#resolveExterns(programs.values());
    for (const [program, instructions] of programs) {
      const resolved = applyExterns(instructions, spec, externs, this.#kernel, this.#modules);
      const placed = this.#placeArena(poisonMissingMaps(resolved, missing));
      programs.set(program, replaceMissingHelpers(placed, this.#asking));
    }
    const needsTypes = Object.values(spec.maps).some((map) => map.kind === "struct_ops" && map.autocreate);
    this.#fixContexts(programs.keys());
    const types = loadTypes(this.#backend, spec, programs.values(), {
      types: this.#contexts?.types,
      token: this.#token,
      required: needsTypes,
      warnings: this.#warnings,
    });
    if (types !== undefined) this.#cleanup.add(types.fd);
    const maps = this.#createMaps(types, missing);
    const loaded = this.#loadPrograms(programs, maps, types);
    this.#fillProgramArrays(maps, loaded);
    this.#bindMaps(maps, loaded);
    return this.#finish(maps, loaded, types);
  }

  /** Programs that are to be loaded. */
  #select(): ObjectProgramSpec[] {
    const { programs } = this.#spec;
    const wanted = this.#options.programs;
    const selected = wanted === undefined ? Object.values(programs).filter((each) => this.#isAutomatic(each)) : [];
    for (const name of wanted ?? []) {
      const program = programs[name];
      if (program === undefined) throw unknownName("program", name, programs);
      selected.push(program);
    }
    for (const { name, type, sectionName } of selected) {
      if (type !== "unspec") continue;
      throw new BpfError(
        "ERR_OBJECT",
        `Cannot load program "${name}": section "${sectionName}" does not say its type`,
        {
          hint: "Name the section as SEC() macros do, set its type before loading, or leave it out of the programs",
        },
      );
    }
    return selected;
  }

  /** Whether a program is loaded when nothing else is said: of tables for the kernel, only what they refer to. */
  #isAutomatic(program: ObjectProgramSpec): boolean {
    if (!program.autoload || program.type !== "struct_ops") return program.autoload;
    const tables = Object.values(this.#spec.maps).filter(({ structOps }) => structOps !== undefined);
    const referring = tables.filter(({ structOps }) => Object.values(structOps!.functions).includes(program.name));
    return referring.length === 0 || referring.some(({ autocreate }) => autocreate);
  }

  /** Finds the kernel's types of tables that are created. */
  #prepareTables(missing: ReadonlyMap<string, number>): void {
    for (const [name, map] of Object.entries(this.#spec.maps)) {
      if (map.structOps === undefined || missing.has(name)) continue;
      const table = prepareStructOps(map, this.#spec, this.#kernel);
      this.#tables.set(name, table);
      for (const [program, member] of table.members) {
        const before = this.#members.get(program) ?? member;
        if (before.type.id !== member.type.id || before.index !== member.index) {
          const message = `Cannot load program "${program}": tables have it in different members`;
          throw new BpfError("ERR_OBJECT", message);
        }
        this.#members.set(program, member);
      }
    }
  }

  /** Parameters that are tagged as the context are typed so for kernels that do not know the tag. */
  #fixContexts(programs: Iterable<ObjectProgramSpec>): void {
    const { btf } = this.#spec;
    if (btf === undefined || !hasTaggedContext(btf) || probeFeature("arg_ctx_tag", this.#asking) !== false) return;
    this.#contexts = fixContextArguments(btf, programs, this.#backend.architecture);
    this.#warnings.push(...(this.#contexts?.warnings ?? []));
  }

  #placeArena(instructions: readonly Instruction[]): readonly Instruction[] {
    const arena = Object.values(this.#spec.maps).find(({ type }) => type === "arena");
    if (arena === undefined) return instructions;
    return placeArenaData(instructions, arenaDataOffset(arena, pageSize(this.#backend.architecture)));
  }

  #setVariables(): void {
    const { variables, maps } = this.#spec;
    const own = new Set<ObjectMapSpec>();
    for (const [name, value] of Object.entries(this.#options.variables ?? {})) {
      // Contents are shared with the object that was given, which stays as it is.
      const map = variables[name] && maps[variables[name].map];
      if (map !== undefined && !own.has(map)) {
        map.contents = map.contents.slice();
        own.add(map);
      }
      during(`Cannot set variable "${name}"`, () => encodeVariable(name, () => setVariable(this.#spec, name, value)));
    }
  }

  /** Maps that are not created, with their numbers. */
  #missingMaps(): Map<string, number> {
    const missing = new Map<string, number>();
    const globals = probeGlobals(this.#spec, this.#asking);
    for (const [index, [name, map]] of Object.entries(this.#spec.maps).entries()) {
      const possible = globals || map.kind !== "data";
      if (!(map.autocreate && possible) && this.#options.maps?.[name] === undefined) missing.set(name, index);
    }
    return missing;
  }

  /** Adapts programs to the types of the kernel. */
  #relocate(programs: Map<ObjectProgramSpec, readonly Instruction[]>): void {
    const { btf } = this.#spec;
    const relocations = [...programs.values()].flatMap((instructions) => coreRelocationsOf(instructions));
    if (relocations.length === 0) return;
    if (btf === undefined) throw new BpfError("ERR_OBJECT", "The object has CO-RE relocations, and no types");
    const kernel = this.#options.kernelBtf ?? this.#kernel.vmlinux;
    const modules = this.#options.kernelBtf === undefined ? () => this.#kernel.modules : undefined;
    // All at once: what is asked of one type by several programs is answered once, from the same layout.
    const fixups: CoreFixup[] = during("Cannot relocate the programs", () =>
      computeFixups(relocations, btf, [{ name: "vmlinux", btf: kernel }], { modules }),
    );
    for (const [program, instructions] of programs) {
      const step = `Cannot relocate program "${program.name}"`;
      programs.set(
        program,
        during(step, () => applyFixups(instructions, fixups)),
      );
    }
  }

  #resolveExterns(programs: Iterable<readonly Instruction[]>): ResolvedExterns {
    const spec = this.#spec;
    const kconfig = Object.values(spec.externs).filter((extern) => extern.kind === "kconfig");
    const map = spec.maps[".kconfig"];
    if (kconfig.length > 0 && map !== undefined) {
      const contents = new Uint8Array(map.valueSize);
      fillKconfig(kconfig, contents, spec.littleEndian, {
        text: this.#options.kconfig,
        ...this.#asking,
        hasSymbol: (name) => findKernelSymbols(new Set([name])).has(name),
      });
      map.contents = contents;
    }
    const used = new Set<string>();
    for (const instructions of programs) for (const name of externsOf(instructions)) used.add(name);
    return resolveExterns(spec, used, this.#kernel);
  }

  #createMaps(types: LoadedTypes | undefined, missing: ReadonlyMap<string, number>): Record<string, ObjectMap> {
    const spec = this.#spec;
    const maps: Record<string, ObjectMap> = Object.create(null);
    for (const name of Object.keys(this.#options.maps ?? {})) {
      if (spec.maps[name] === undefined) throw unknownName("map", name, spec.maps);
    }
    const context = this.#mapContext(types);
    for (const [name, map] of Object.entries(spec.maps)) {
      const replacement = this.#options.maps?.[name];
      if (replacement !== undefined) maps[name] = this.#replace(map, replacement);
      else if (!missing.has(name)) {
        const folder = this.#options.pinFolder ?? "/sys/fs/bpf";
        const pinned = map.pinning === "by_name";
        const handle = pinned ? pinnedObjectMap(map, folder, context) : createObjectMap(map, context);
        if (map.type === "arena") {
          this.#arenas.set(name, this.#cleanup.add(mapArena(map, handle, this.#backend)));
        }
        if (BPF_MAP_OF_VARIABLES.has(map.kind)) fillDataMap(map, handle);
        maps[name] = handle;
      }
    }
    for (const [name, map] of Object.entries(spec.maps)) {
      if (map.type === "prog_array" || maps[name] === undefined || this.#options.maps?.[name] !== undefined) continue;
      for (const value of map.values) this.#putDescriptor(maps[name], value, maps[value.name]?.fd);
    }
    return maps;
  }

  #mapContext(types: LoadedTypes | undefined): MapContext {
    return {
      backend: this.#backend,
      spec: this.#spec,
      types,
      prefix: this.#options.namePrefix ?? "",
      token: this.#token,
      cleanup: this.#cleanup,
      warnings: this.#warnings,
      values: this.#options.values,
      pinned: this.#hooks.pinned,
      structOps: new Map([...this.#tables].map(([name, table]) => [name, table.attributes])),
    };
  }

  /** A descriptor of our own for someone else's map. */
  #replace(map: ObjectMapSpec, replacement: ObjectMap): ObjectMap {
    const found = replacement.description;
    const wanted = { type: map.type, ...sizesOf(map) };
    const differences = (["type", "keySize", "valueSize"] as const).filter((field) => found[field] !== wanted[field]);
    if (differences.length > 0) {
      const list = differences.map((field) => `${field} ${found[field]}, expected ${wanted[field]}`).join("; ");
      throw new BpfError("ERR_OBJECT", `Cannot use another map in place of "${map.name}": it has ${list}`);
    }
    const owner = this.#cleanup.add(replacement.owner.duplicate());
    return typedHandle(map, { owner, description: found }, { spec: this.#spec, values: this.#options.values });
  }

  #loadPrograms(
    programs: ReadonlyMap<ObjectProgramSpec, readonly Instruction[]>,
    maps: Readonly<Record<string, ObjectMap>>,
    types: LoadedTypes | undefined,
  ): Record<string, Program> {
    const loaded: Record<string, Program> = Object.create(null);
    for (const [program, instructions] of programs) {
      const tables = new Cleanup();
      try {
        const all = this.#addJumpTables(program, instructions, maps, tables);
        const spec = this.#programSpec(program, instructions, all, types);
        const options = { backend: this.#backend, logLevel: this.#options.logLevel };
        loaded[program.name] = this.#cleanup.add(loadProgram(spec, options));
      } finally {
        // The program holds them now.
        tables.close();
      }
    }
    return loaded;
  }

  /** The maps of a program, with those of the jump tables that it refers to. */
  #addJumpTables(
    program: ObjectProgramSpec,
    instructions: readonly Instruction[],
    maps: Readonly<Record<string, ObjectMap>>,
    made: Cleanup,
  ): Readonly<Record<string, ObjectMap>> {
    const used = new Set(instructions.flatMap(({ meta }) => program.jumpTables[meta?.reference ?? ""] ?? []));
    if (used.size === 0) return maps;
    const all: Record<string, ObjectMap> = Object.assign(Object.create(null), maps);
    const context = this.#mapContext(undefined);
    for (const table of used) {
      const step = `Cannot load program "${program.name}": jump table "${table.name}"`;
      all[table.name] = made.add(during(step, () => createJumpTable(table, instructions, context)));
    }
    return all;
  }

  #programSpec(
    program: ObjectProgramSpec,
    instructions: readonly Instruction[],
    maps: Readonly<Record<string, ObjectMap>>,
    types: LoadedTypes | undefined,
  ): ProgramSpec {
    const { name } = program;
    const linked = during(`Cannot link program "${name}"`, () => link(instructions, { maps }));
    const replaced = this.#programTarget(program);
    const target = program.attachBtf && replaced === undefined ? findAttachTarget(program, this.#kernel) : undefined;
    const attachType = this.#attachType(program);
    const member = this.#members.get(name);
    if (program.type === "struct_ops" && member === undefined) {
      throw new BpfError("ERR_OBJECT", `Cannot load program "${name}": no table for the kernel refers to it`, {
        hint: "Put it into a struct in section .struct_ops or .struct_ops.link",
      });
    }
    const attachedTo = member?.type ?? target;
    return {
      type: program.type,
      name,
      kernelName: probeFeature("prog_name", this.#asking) === false ? "" : this.#nameOf(name),
      instructions: linked,
      license: this.#spec.license,
      expectedAttachType: attachType,
      flags: program.flags | (program.sleepable ? BPF_F_SLEEPABLE : 0),
      kernelVersion: this.#spec.version || kernelVersionCode(),
      memberIndex: member?.index,
      attachBtfId: replaced?.id ?? attachedTo?.id,
      attachProgram: replaced?.fd,
      attachBtf: attachedTo && this.#kernel.descriptor(attachedTo.module),
      fdArray: this.#modules.descriptors,
      token: this.#token,
      btf:
        types === undefined || !types.functions
          ? undefined
          : {
              fd: types.fd.number,
              functions: this.#contexts?.functions.get(program) ?? program.functions,
              offsetOf: types.offsetOf,
            },
      explainLog: (log) => nameInLog(log, this.#spec, linked),
    };
  }

  /** The function of another program that a program is loaded for; `undefined` for one of the kernel, or none. */
  #programTarget(program: ObjectProgramSpec): ProgramTarget | undefined {
    const targets: { readonly [name: string]: Program | number | undefined } = this.#options.targets ?? {};
    const target = targets[program.name];
    if (target !== undefined) {
      return findProgramTarget(program, typeof target === "number" ? target : target.fd, this.#backend);
    }
    if (program.type !== "ext") return undefined;
    const message = `Cannot load program "${program.name}": it needs the program that has the function it replaces`;
    throw new BpfError("ERR_OBJECT", message, { hint: `Give it: targets: { ${program.name}: program }` });
  }

  #nameOf(name: string): string {
    return kernelProgramName(name, this.#options.namePrefix ?? "");
  }

  /** The attach type, or none where the kernel knows none and the program can do without. */
  #attachType(program: ObjectProgramSpec): ProgramSpec["expectedAttachType"] {
    const { attachType, attachTypeOptional, sectionRule, type } = program;
    // One link for all places of a probe. What it is loaded for decides how it can be attached.
    if (sectionRule.startsWith("usdt") && type === "kprobe" && attachType === undefined) {
      return probeFeature("uprobe_multi", this.#asking) === true ? "trace_uprobe_multi" : undefined;
    }
    if (attachType === undefined || !attachTypeOptional) return attachType;
    return probeFeature("expected_attach_type", this.#asking) === false ? undefined : attachType;
  }

  #fillProgramArrays(maps: Readonly<Record<string, ObjectMap>>, loaded: Readonly<Record<string, Program>>): void {
    for (const [name, map] of Object.entries(this.#spec.maps)) {
      const handle = maps[name];
      if (map.type !== "prog_array" || handle === undefined || this.#options.maps?.[name] !== undefined) continue;
      for (const value of map.values) this.#putDescriptor(handle, value, loaded[value.name]?.fd);
    }
  }

  /**
   * Fills a place of an array of programs or maps. libbpf fails (`EBADF`) where what belongs there was not loaded or
   * created; here the place stays empty, so that one program of many can be loaded alone.
   */
  #putDescriptor(map: ObjectMap, { key, name }: ObjectMapSpec["values"][number], fd: number | undefined): void {
    if (fd !== undefined) mapUpdate(map.owner, words(key), words(fd));
    else this.#warnings.push(`Place ${key} of map "${map.description.name}" stays empty: "${name}" was not loaded`);
  }

  /** Constants stay with programs that do not refer to them, for tools that read metadata from there. */
  #bindMaps(maps: Readonly<Record<string, ObjectMap>>, loaded: Readonly<Record<string, Program>>): void {
    const constant = Object.entries(maps).filter(([name]) => {
      const map = this.#spec.maps[name]!;
      return map.kind === "data" && map.frozen;
    });
    if (constant.length === 0 || Object.keys(loaded).length === 0) return;
    if (probeFeature("prog_bind_map", this.#asking) === false) return;
    for (const program of Object.values(loaded)) {
      for (const [, map] of constant) progBindMap(program.owner, map.owner);
    }
  }

  #finish<T extends ObjectTypes>(
    maps: Record<string, ObjectMap>,
    programs: Record<string, Program>,
    types: LoadedTypes | undefined,
  ): BpfObject<T> {
    const tables = new Map<string, LoadedTable>();
    for (const [name, table] of this.#tables) {
      const value = table.value.slice();
      for (const place of table.places) {
        const fd = programs[place.program]?.fd;
        if (fd !== undefined) value.set(words(fd), place.offset);
      }
      tables.set(name, { map: maps[name]!, value });
    }
    const object = assembleObject<T>({
      backend: this.#backend,
      spec: this.#spec,
      maps,
      programs,
      tables,
      arenas: this.#arenas,
      warnings: this.#warnings,
      values: this.#options.values,
    });
    // Maps and programs hold the kernel's types now; nothing else needs the descriptors.
    this.#cleanup.release();
    types?.fd.close();
    this.#madeToken?.close();
    this.#kernel.close();
    return object;
  }
}

function machineIsLittleEndian(): boolean {
  return new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;
}

function probeGlobals(spec: ObjectSpec, asking: ProbeOptions): boolean {
  if (!Object.values(spec.maps).some((map) => map.kind === "data")) return true;
  return probeFeature("global_data", asking) !== false;
}

function unknownName(what: string, name: string, known: Readonly<Record<string, unknown>>): BpfError {
  const names = Object.keys(known);
  const list = names.length === 0 ? "none" : names.slice(0, 20).join(", ");
  return new BpfError("ERR_OBJECT", `The object has no ${what} "${name}"`, { hint: `It has ${list}` });
}

function words(value: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(value).buffer);
}
