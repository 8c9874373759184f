import { closest } from "../bytes/index.ts";
import { BpfError, NotSupportedError } from "../errors.ts";
import type { MapDescription } from "../maps/index.ts";
import type { Program } from "../programs/index.ts";
import {
  encodeUsdtSpec,
  parseUsdtArguments,
  readProcessMaps,
  USDT_SPEC_SIZES,
  type UsdtArgument,
  type UsdtProbe,
  usdtProbes,
} from "../symbols/index.ts";
import { mapDelete, mapUpdate } from "../syscall/commands.ts";
import type { Fd } from "../syscall/fd.ts";
import { probeFeature } from "../syscall/features.ts";
import { requireType } from "./create.ts";
import { Link } from "./link.ts";
import { u32Array, u64Array } from "./number-arrays.ts";
import { attachUprobe } from "./uprobe.ts";
import { attachUprobeMulti } from "./uprobe-multi.ts";
import { UprobePlaces } from "./uprobe-place.ts";

/** What is needed of a map: any `BpfMap` will do. */
export interface UsdtMap {
  readonly owner: Fd;
  readonly description: Pick<MapDescription, "name" | "valueSize" | "maxEntries">;
}

/**
 * The maps through which programs built with `usdt.bpf.h` learn where the arguments of their probes are. One for each
 * object: its entries are handed out to attachments, and taken back when those are closed.
 */
export class UsdtSpecs {
  readonly #specs: UsdtMap;
  readonly #addresses: UsdtMap | undefined;
  readonly #free: number[] = [];
  #next = 0;

  /**
   * @param specs the map `__bpf_usdt_specs`
   * @param addresses the map `__bpf_usdt_ip_to_spec_id`, which kernels without cookies need (before 5.15)
   * @throws BpfError `ERR_TYPE_MISMATCH` when the first one has other values
   */
  constructor(specs: UsdtMap, addresses?: UsdtMap) {
    const { name, valueSize } = specs.description;
    if (!USDT_SPEC_SIZES.includes(valueSize)) {
      const wanted = USDT_SPEC_SIZES.join(" or ");
      const message = `Map "${name}" is no map of USDT arguments: its values have ${valueSize} bytes, not ${wanted}`;
      throw new BpfError("ERR_TYPE_MISMATCH", message);
    }
    this.#specs = specs;
    this.#addresses = addresses;
  }

  /** @internal Takes an entry and fills it. */
  acquire(args: readonly UsdtArgument[], cookie: bigint): number {
    const spec = encodeUsdtSpec(args, cookie, this.#specs.description.valueSize);
    const id = this.#free.pop() ?? this.#next++;
    if (id >= this.#specs.description.maxEntries) {
      this.#next--;
      throw new BpfError(
        "ERR_LIMIT",
        `Map "${this.#specs.description.name}" is full: it has ${this.#specs.description.maxEntries} entries`,
        {
          hint: "define BPF_USDT_MAX_SPEC_CNT before including usdt.bpf.h",
        },
      );
    }
    try {
      mapUpdate(this.#specs.owner, u32Array([id]), spec);
    } catch (error) {
      this.#free.push(id);
      throw error;
    }
    return id;
  }

  /** @internal Gives an entry back. */
  release(id: number): void {
    this.#free.push(id);
  }

  /** @internal Notes which entry belongs to an address; gives the undoing. */
  bind(address: bigint, id: number): () => void {
    const map = this.#addresses;
    if (map === undefined) {
      throw new NotSupportedError("USDT without cookies", {
        minimumKernel: "5.15",
        hint: "older kernels need the map __bpf_usdt_ip_to_spec_id of usdt.bpf.h",
      });
    }
    const key = u64Array([address]);
    mapUpdate(map.owner, key, u32Array([id]));
    return () => {
      if (!map.owner.closed) mapDelete(map.owner, key);
    };
  }
}

/** How to attach to a USDT probe. */
export interface UsdtOptions {
  /** Only this process; default: all that run the file. */
  readonly pid?: number | undefined;
  /** What `bpf_usdt_cookie()` gives (with `specs`), or `bpf_get_attach_cookie()` (without). */
  readonly cookie?: bigint | undefined;
  /** Where a program built with `usdt.bpf.h` reads its arguments. Default: the program reads none. */
  readonly specs?: UsdtSpecs | undefined;
}

/**
 * Attaches a program of type `kprobe` to a USDT probe: to all of its places in a program or library, and raises the counter
 * that switches it on.
 *
 * @param program open program
 * @param binary path or name, as `attachUprobe` takes it
 * @param provider `node`
 * @param name `http__server__request`
 * @param options process, cookie, arguments
 * @returns one attachment for all places: close it to detach
 * @throws BpfError `ERR_ATTACH_TARGET` when there is no such probe (close names are suggested), `ERR_USDT_ARGUMENTS`;
 *   NotSupportedError; SyscallError
 */
export function attachUsdt(
  program: Program,
  binary: string,
  provider: string,
  name: string,
  options: UsdtOptions = {},
): Link {
  const file = new UprobePlaces(binary, options.pid);
  const target = `usdt ${file.path}:${provider}:${name}`;
  requireType(program, target, "kprobe");
  const places = findProbe(file, provider, name, target);
  const { specs, pid, cookie = 0n } = options;
  const backend = program.owner.backend;
  const undo: (() => void)[] = [];
  const links: Link[] = [];
  const giveBack = (): void => {
    for (const link of links.reverse()) link.close();
    for (const step of undo.reverse()) step();
  };
  try {
    const cookies = specs === undefined ? places.map(() => cookie) : specCookies(file, specs, places, cookie, undo);
    const withCookies = specs === undefined ? cookie !== 0n : probeFeature("bpf_cookie", { backend }) !== false;
    if (specs !== undefined && !withCookies) {
      places.forEach((place, index) => {
        undo.push(specs.bind(runtimeAddress(file, place, pid, target), Number(cookies[index])));
      });
    }
    if (program.expectedAttachType === "trace_uprobe_multi") {
      const link = attachUprobeMulti(program, file.path, {
        places: places.map((place) => place.offset),
        referenceCounterOffsets: places.map((place) => place.semaphoreOffset),
        cookies,
        pid,
      });
      links.push(link);
    } else {
      places.forEach((place, index) => {
        const link = attachUprobe(program, file.path, place.offset, {
          pid,
          referenceCounterOffset: place.semaphoreOffset,
          ...(withCookies ? { cookie: cookies[index] } : {}),
        });
        links.push(link);
      });
    }
  } catch (error) {
    giveBack();
    throw error;
  }
  const [first, ...rest] = links;
  // The first link stands for all: it is what can be asked and pinned where there is but one.
  return new Link(target, {
    type: rest.length === 0 ? first!.type : undefined,
    fd: first!.owner,
    others: [{ close: giveBack }],
  });
}

function findProbe(file: UprobePlaces, provider: string, name: string, target: string): UsdtProbe[] {
  const all = usdtProbes(file.binary);
  const found = all.filter((probe) => probe.provider === provider && probe.name === name);
  if (found.length > 0) return found;
  const names = [...new Set(all.map((probe) => `${probe.provider}:${probe.name}`))];
  const near = closest(`${provider}:${name}`, names);
  throw new BpfError("ERR_ATTACH_TARGET", `Cannot attach ${target}: there is no such probe in ${file.path}`, {
    hint: near !== undefined ? `did you mean ${near}?` : names.length === 0 ? "the file has no USDT probes" : undefined,
  });
}

/** Entry for each place: places with the same arguments share one. */
function specCookies(
  file: UprobePlaces,
  specs: UsdtSpecs,
  places: readonly UsdtProbe[],
  cookie: bigint,
  undo: (() => void)[],
): bigint[] {
  const architecture = file.binary.header.machine === EM_AARCH64 ? "arm64" : "x64";
  const ids = new Map<string, number>();
  return places.map((place) => {
    let id = ids.get(place.arguments);
    if (id === undefined) {
      const taken = specs.acquire(parseUsdtArguments(place.arguments, architecture), cookie);
      id = taken;
      ids.set(place.arguments, taken);
      undo.push(() => specs.release(taken));
    }
    return BigInt(id);
  });
}

const EM_AARCH64 = 183;
const ET_EXEC = 2;

/** Where a place is in memory: kernels without cookies tell programs nothing else. */
function runtimeAddress(file: UprobePlaces, place: UsdtProbe, pid: number | undefined, target: string): bigint {
  if (file.binary.header.type === ET_EXEC) return place.address;
  if (pid === undefined) {
    throw new NotSupportedError(`Attaching ${target} for all processes`, {
      minimumKernel: "5.15",
      hint: "give a pid: before 5.15 the address of a place must be known, and processes load the file at various ones",
    });
  }
  for (const mapping of readProcessMaps(pid)) {
    const start = Number(mapping.offset);
    const inside = place.offset >= start && place.offset < start + Number(mapping.end - mapping.start);
    if (inside && mapping.executable && file.path.endsWith(mapping.path)) {
      return mapping.start + BigInt(place.offset - start);
    }
  }
  throw new BpfError("ERR_ATTACH_TARGET", `Cannot attach ${target}: process ${pid} does not run ${file.path}`);
}
