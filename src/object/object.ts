import { closest } from "../bytes/index.ts";
import type { ObjectSpec } from "../elf/index.ts";
import { BpfError } from "../errors.ts";
import { attachStructOps, type Link, UsdtSpecs, writeStructOps } from "../links/index.ts";
import type { Program } from "../programs/index.ts";
import type { LoadedParts } from "./assemble.ts";
import { attachBySection } from "./attach.ts";
import { Cleanup, type Closable } from "./cleanup.ts";
import type { AnyObjectTypes, NamesOf, ObjectMap, ObjectTypes, VariablesOf } from "./types.ts";
import type { Variable } from "./variable.ts";

/** A table of functions for the kernel, ready to take effect. */
export interface LoadedTable {
  readonly map: ObjectMap;
  /** The kernel's value, with the descriptors of programs. */
  readonly value: Uint8Array;
}

/** What a {@link BpfObject} is made of. */
export interface ObjectParts extends LoadedParts {
  readonly variables: Readonly<Record<string, Variable>>;
  readonly owned: Closable;
}

/** Maps of `usdt.bpf.h`. */
const USDT_SPECS = "__bpf_usdt_specs";
const USDT_ADDRESSES = "__bpf_usdt_ip_to_spec_id";

const parts = new WeakMap<object, ObjectParts>();

/** What an object is made of. @internal */
export function partsOf(object: BpfObject<ObjectTypes>): ObjectParts {
  return parts.get(object)!;
}

/** Which programs to attach. */
export interface AttachObjectOptions {
  /** Names of the programs. Default: all that are loaded. */
  readonly programs?: readonly string[] | undefined;
  /** Names of the `struct_ops` maps. Default: all that were created. */
  readonly structOps?: readonly string[] | undefined;
  /**
   * How to attach programs, by name: those whose sections do not say where, or that shall go elsewhere. For example
   * `{ count: (program) => attachPerfEvent(program, { software: "cpu_clock" }) }`.
   */
  readonly using?: { readonly [program: string]: (program: Program) => Link } | undefined;
}

/**
 * A loaded object: its programs, maps and variables. Closing it closes all of them; links keep their programs, and
 * programs their maps.
 *
 * @typeParam T its maps, programs and variables, where they are known when code is compiled: see {@link ObjectTypes}
 */
export class BpfObject<T extends ObjectTypes = AnyObjectTypes> {
  /** What it was loaded from, as it was loaded: after the options have changed it. */
  readonly spec: ObjectSpec;
  /** Maps by name, those that hold variables included. */
  readonly maps: Readonly<T["maps"]>;
  /** Loaded programs by name. */
  readonly programs: Readonly<T["programs"]>;
  /** Variables by name, and configuration of the kernel that the object asks for, `CONFIG_HZ`. */
  readonly variables: VariablesOf<T>;
  /** What was odd, and what had to be done without, one sentence each. */
  readonly warnings: readonly string[];
  readonly #tables: ReadonlyMap<string, LoadedTable>;
  readonly #filled = new Set<string>();
  readonly #owned: Closable;
  #usdt: UsdtSpecs | undefined;

  /** @internal made by `loadObject` */
  constructor(made: ObjectParts) {
    this.spec = made.spec;
    this.maps = made.maps as Readonly<T["maps"]>;
    this.programs = made.programs as Readonly<T["programs"]>;
    this.variables = made.variables as VariablesOf<T>;
    this.warnings = made.warnings;
    this.#tables = made.tables;
    this.#owned = made.owned;
    parts.set(this, made);
  }

  /**
   * A map by name.
   *
   * @throws BpfError `ERR_OBJECT` when there is none
   */
  map<N extends NamesOf<T, "maps">>(name: N): T["maps"][N] {
    return pick(this.maps, name, "map");
  }

  /**
   * A loaded program by name.
   *
   * @throws BpfError `ERR_OBJECT` when there is none, or it was not loaded
   */
  program<N extends NamesOf<T, "programs">>(name: N): T["programs"][N] {
    return pick(this.programs, name, "loaded program");
  }

  /**
   * A variable by name.
   *
   * @throws BpfError `ERR_OBJECT` when there is none
   */
  variable<N extends NamesOf<T, "variables">>(name: N): Variable<T["variables"][N]> {
    return pick(this.variables, name, "variable");
  }

  /**
   * Attaches its programs where their sections say: functions of the kernel (`kprobe`, `kprobe.multi`, `ksyscall`, `fentry`,
   * `lsm`...) and of programs (`uprobe`, `uprobe.multi`, `usdt`), tracepoints of all kinds, iterators. Programs whose
   * sections do not say where, as `xdp` does not, are passed over unless `using` tells how. When one cannot be attached,
   * none is: those that were are detached again, the last one first.
   *
   * @param options which programs, and how
   * @returns the attachments: close them to detach
   * @throws errors of attaching
   */
  attach(options: AttachObjectOptions = {}): ObjectLinks {
    const programs = this.programs as Readonly<Record<string, Program>>;
    const context = { usdt: () => this.#usdtSpecs() };
    for (const name of Object.keys(options.using ?? {})) pick(programs, name, "loaded program");
    const made = new Cleanup();
    const links: Record<string, Link> = Object.create(null);
    try {
      for (const name of options.programs ?? Object.keys(programs)) {
        const program = pick(programs, name, "loaded program");
        const how = options.using !== undefined && Object.hasOwn(options.using, name) ? options.using[name] : undefined;
        const link = how === undefined ? attachBySection(program, this.spec.programs[name]!, context) : how(program);
        if (link !== undefined) links[name] = made.add(link);
      }
      for (const name of options.structOps ?? this.#tables.keys()) {
        const table = this.#tables.get(name);
        if (table === undefined) throw new BpfError("ERR_OBJECT", `The object has no struct_ops map "${name}"`);
        const value = this.#filled.has(name) ? undefined : table.value;
        links[name] = made.add(attachStructOps(table.map, { value }));
        // A table that takes effect by a link can be given once only, and takes effect as often as one likes.
        if (links[name].type !== undefined) this.#filled.add(name);
      }
    } catch (error) {
      made.close();
      throw error;
    }
    return new ObjectLinks(links);
  }

  /** Where programs built with `usdt.bpf.h` read the arguments of their probes; made once for the whole object. */
  #usdtSpecs(): UsdtSpecs | undefined {
    const maps = this.maps as Readonly<Record<string, ObjectMap>>;
    const specs = maps[USDT_SPECS];
    if (specs === undefined) return undefined;
    this.#usdt ??= new UsdtSpecs(specs, maps[USDT_ADDRESSES]);
    return this.#usdt;
  }

  /**
   * Gives a `struct_ops` map of section `.struct_ops.link` its table of functions without putting it into effect, so that
   * it can take the place of another one: `link.update(object.fillStructOps("ops"))`.
   *
   * @param name name of the map
   * @returns the map
   * @throws BpfError `ERR_OBJECT` when there is none; SyscallError
   */
  fillStructOps(name: string): ObjectMap {
    const table = this.#tables.get(name);
    if (table === undefined || this.spec.maps[name]?.structOps?.link !== true) {
      throw new BpfError("ERR_OBJECT", `The object has no struct_ops map "${name}" that takes effect by a link`);
    }
    if (!this.#filled.has(name)) writeStructOps(table.map, table.value);
    this.#filled.add(name);
    return table.map;
  }

  /** Closes programs, maps and variables. Idempotent. */
  close(): void {
    this.#owned.close();
  }

  /** Closes programs, maps and variables. */
  [Symbol.dispose](): void {
    this.close();
  }
}

/** Attachments of an object's programs and tables. */
export class ObjectLinks {
  /** Attachments by name of the program, or of the `struct_ops` map. */
  readonly links: Readonly<Record<string, Link>>;

  /** @internal made by `BpfObject.attach` */
  constructor(links: Readonly<Record<string, Link>>) {
    this.links = links;
  }

  /** Detaches all, the last one first. Idempotent. */
  close(): void {
    for (const link of Object.values(this.links).reverse()) link.close();
  }

  /** Detaches all. */
  [Symbol.dispose](): void {
    this.close();
  }
}

function pick<R extends object, N extends keyof R & string>(record: R, name: N, what: string): R[N] {
  const found = record[name];
  if (found !== undefined) return found;
  const near = closest(name, Object.keys(record));
  throw new BpfError("ERR_OBJECT", `The object has no ${what} "${name}"`, {
    hint: near === undefined ? undefined : `Did you mean "${near}"?`,
  });
}
