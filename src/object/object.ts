import { closest } from "../bytes/index.ts";
import type { ObjectSpec } from "../elf/index.ts";
import { BpfError } from "../errors.ts";
import type { Link } from "../links/index.ts";
import type { Program } from "../programs/index.ts";
import { attachBySection } from "./attach.ts";
import { Cleanup, type Closable } from "./cleanup.ts";
import type { ObjectMap } from "./maps.ts";
import type { Variable } from "./variable.ts";

/** What a {@link BpfObject} is made of. */
export interface ObjectParts {
  readonly spec: ObjectSpec;
  readonly maps: Readonly<Record<string, ObjectMap>>;
  readonly programs: Readonly<Record<string, Program>>;
  readonly variables: Readonly<Record<string, Variable>>;
  readonly warnings: readonly string[];
  readonly owned: Closable;
}

/** Which programs to attach. */
export interface AttachObjectOptions {
  /** Names of the programs. Default: all that are loaded. */
  readonly programs?: readonly string[] | undefined;
}

/**
 * A loaded object: its programs, maps and variables. Closing it closes all of them; links keep their programs, and
 * programs their maps.
 */
export class BpfObject {
  /** What it was loaded from, as it was loaded: after the options have changed it. */
  readonly spec: ObjectSpec;
  /** Maps by name, those that hold variables included. */
  readonly maps: Readonly<Record<string, ObjectMap>>;
  /** Loaded programs by name. */
  readonly programs: Readonly<Record<string, Program>>;
  /** Variables by name. */
  readonly variables: Readonly<Record<string, Variable>>;
  /** What was odd, and what had to be done without, one sentence each. */
  readonly warnings: readonly string[];
  readonly #owned: Closable;

  /** @internal made by `loadObject` */
  constructor(parts: ObjectParts) {
    this.spec = parts.spec;
    this.maps = parts.maps;
    this.programs = parts.programs;
    this.variables = parts.variables;
    this.warnings = parts.warnings;
    this.#owned = parts.owned;
  }

  /**
   * A map by name.
   *
   * @throws BpfError `ERR_OBJECT` when there is none
   */
  map(name: string): ObjectMap {
    return pick(this.maps, name, "map");
  }

  /**
   * A loaded program by name.
   *
   * @throws BpfError `ERR_OBJECT` when there is none, or it was not loaded
   */
  program(name: string): Program {
    return pick(this.programs, name, "loaded program");
  }

  /**
   * A variable by name.
   *
   * @throws BpfError `ERR_OBJECT` when there is none
   */
  variable(name: string): Variable {
    return pick(this.variables, name, "variable");
  }

  /**
   * Attaches its programs where their sections say: tracepoints, raw tracepoints, kernel functions, iterators. Programs
   * whose sections do not say where, as `xdp` does not, are passed over. When one cannot be attached, none is.
   *
   * @param options which programs
   * @returns the attachments: close them to detach
   * @throws NotSupportedError for sections that cannot be attached by name yet; errors of attaching
   */
  attach(options: AttachObjectOptions = {}): ObjectLinks {
    const made = new Cleanup();
    const links: Record<string, Link> = Object.create(null);
    try {
      for (const name of options.programs ?? Object.keys(this.programs)) {
        const link = attachBySection(this.program(name), this.spec.programs[name]!);
        if (link !== undefined) links[name] = made.add(link);
      }
    } catch (error) {
      made.close();
      throw error;
    }
    return new ObjectLinks(links);
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

/** Attachments of an object's programs. */
export class ObjectLinks {
  /** Attachments by name of the program. */
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

function pick<T>(record: Readonly<Record<string, T>>, name: string, what: string): T {
  const found = record[name];
  if (found !== undefined) return found;
  const near = closest(name, Object.keys(record));
  throw new BpfError("ERR_OBJECT", `The object has no ${what} "${name}"`, {
    hint: near === undefined ? undefined : `Did you mean "${near}"?`,
  });
}
