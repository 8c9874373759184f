import { readdirSync } from "node:fs";
import { join } from "node:path";
import { BpfError } from "../errors.ts";
import { type MapInfo, readMapInfo } from "../maps/description.ts";
import { type ProgramDescription, readProgramInfo } from "../programs/description.ts";
import { objGet } from "../syscall/commands.ts";
import { isErrno } from "../syscall/errors.ts";
import { type Fd, objectKind } from "../syscall/fd.ts";
import { type BackendOption, backendOf } from "../syscall/select.ts";
import { type LinkInfo, readLinkInfo } from "./info.ts";

/** A file of a BPF file system, and what it stands for. */
export type Pin =
  | { readonly kind: "program"; readonly path: string; readonly program: ProgramDescription }
  | { readonly kind: "map"; readonly path: string; readonly map: MapInfo }
  | { readonly kind: "link"; readonly path: string; readonly link: LinkInfo }
  /** A file that only can be read, such as an iterator, or something that this library does not know. */
  | { readonly kind: "other"; readonly path: string };

/** Folders nest no deeper than a path can be long. */
const DEEPEST = 128;

/**
 * Walks the pins of a folder of a BPF file system, and of the folders in it, in the order of their names.
 *
 * @param folder default `/sys/fs/bpf`
 * @param options shim
 * @returns what each stands for; pins that vanish meanwhile are passed over
 * @throws BpfError `ERR_PIN` when the folder cannot be read
 *
 * @example
 * ```ts
 * import { listPins } from "rawbpf/links";
 *
 * for (const pin of listPins("/sys/fs/bpf")) console.log(pin.kind, pin.path);
 * ```
 */
export function* listPins(folder = "/sys/fs/bpf", options: BackendOption = {}): Generator<Pin, void> {
  const backend = backendOf(options);
  const walk = function* (path: string, depth: number): Generator<Pin, void> {
    let entries: { readonly name: string; readonly isFolder: boolean; readonly isLink: boolean }[];
    try {
      entries = readdirSync(path, { withFileTypes: true }).map((entry) => ({
        name: entry.name,
        isFolder: entry.isDirectory(),
        isLink: entry.isSymbolicLink(),
      }));
    } catch (cause) {
      if (depth > 0) return;
      throw new BpfError("ERR_PIN", `Cannot list the pins of ${path}: ${(cause as NodeJS.ErrnoException).code}`, {
        cause,
      });
    }
    for (const { name, isFolder, isLink } of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const inner = join(path, name);
      // A symbolic link would show a pin twice, or lead in a circle.
      if (isLink) continue;
      if (isFolder) {
        if (depth < DEEPEST) yield* walk(inner, depth + 1);
        continue;
      }
      let owner: Fd;
      try {
        owner = objGet(backend, inner);
      } catch (error) {
        if (isErrno(error, "ENOENT")) continue;
        if (!(error instanceof BpfError)) throw error;
        yield { kind: "other", path: inner };
        continue;
      }
      try {
        yield describePin(owner, inner);
      } finally {
        owner.close();
      }
    }
  };
  yield* walk(folder, 0);
}

function describePin(owner: Fd, path: string): Pin {
  switch (objectKind(owner)) {
    case "program":
      return { kind: "program", path, program: readProgramInfo(owner) };
    case "map":
      return { kind: "map", path, map: readMapInfo(owner) };
    case "link":
      return { kind: "link", path, link: readLinkInfo(owner) };
    default:
      return { kind: "other", path };
  }
}
