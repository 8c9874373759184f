import { toHex } from "../bytes/index.ts";
import { BpfError } from "../errors.ts";
import { type Binary, openBinary } from "./binary.ts";
import type { ProcessPlace } from "./process.ts";

/** A frame of a stack in a map with `stack_build_id`, as `buildIdStack` of `rawbpf/maps` gives it. */
export interface StackPlace {
  /** Build id of the file; `undefined` where the kernel found none, and only an address in memory is known. */
  readonly buildId: Uint8Array | undefined;
  /** Offset in the file, bytes. */
  readonly address: bigint;
}

/** Tells names of frames with build ids. */
export interface BuildIdSymbols {
  /**
   * Adds a file.
   *
   * @returns its build id; `undefined` when it has none, or is no ELF file
   */
  add(path: string): string | undefined;
  /**
   * Where a frame lies.
   *
   * @returns `undefined` when no file with that build id was added
   */
  resolve(frame: StackPlace): ProcessPlace | undefined;
}

/**
 * Finds functions by build id and offset: for stacks of processes that have ended, or of other machines.
 *
 * @param paths files to look into
 */
export function openBuildIdSymbols(paths: Iterable<string> = []): BuildIdSymbols {
  const binaries = new Map<string, Binary>();
  const symbols: BuildIdSymbols = {
    add(path) {
      try {
        const binary = openBinary(path);
        const id = binary.buildId();
        if (id === undefined) return undefined;
        binaries.set(keyOf(id), binary);
        return id;
      } catch (error) {
        if (error instanceof BpfError) return undefined;
        throw error;
      }
    },
    resolve(frame) {
      if (frame.buildId === undefined) return undefined;
      const binary = binaries.get(keyOf(toHex(frame.buildId)));
      if (binary === undefined) return undefined;
      const offset = Number(frame.address);
      const address = binary.addressOf(offset);
      const found = address === undefined ? undefined : binary.symbolAt(address);
      return { name: found?.name, offset: found?.offset ?? offset, module: binary.path };
    },
  };
  for (const path of paths) symbols.add(path);
  return symbols;
}

/** The kernel takes 20 bytes of a build id, and fills shorter ones up with zeros. */
function keyOf(buildId: string): string {
  return buildId.slice(0, 40).padEnd(40, "0");
}
