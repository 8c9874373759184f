import { readdirSync, readFileSync } from "node:fs";
import { closest } from "../bytes/index.ts";
import { BpfError } from "../errors.ts";
import type { SyscallBackend } from "./backend.ts";
import type { Fd } from "./fd.ts";
import { readText } from "./host.ts";
import { mountDetached } from "./mount.ts";

/** Where tracefs can be read: a mount point, or a private instance that vanishes with its descriptor. */
export interface Tracefs {
  /** Path of its root; valid until `close()`. */
  readonly path: string;
  /** `true` when it is mounted nowhere and belongs to this object. */
  readonly detached: boolean;
  /** Gives a private instance back. Idempotent. */
  close(): void;
  /** Gives a private instance back. */
  [Symbol.dispose](): void;
}

/**
 * Where tracefs is mounted.
 *
 * @returns the path, or `undefined`
 */
export function findTracefs(): string | undefined {
  for (const line of (readText("/proc/self/mounts") ?? "").split("\n")) {
    const [, path, type] = line.split(" ");
    if (type === "tracefs" && path !== undefined) return unescapeMount(path);
  }
  return undefined;
}

/** Paths in `/proc/self/mounts` have blanks and backslashes as octal escapes. */
function unescapeMount(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

/**
 * Finds tracefs, or opens a private instance of it where it is mounted nowhere. Nothing is mounted.
 *
 * @param backend shim
 * @throws BpfError `ERR_TRACEFS` when there is none and none can be made
 */
export function openTracefs(backend: SyscallBackend): Tracefs {
  const found = findTracefs();
  if (found !== undefined) return { path: found, detached: false, close() {}, [Symbol.dispose]() {} };
  let root: Fd;
  try {
    root = mountDetached(backend, "tracefs");
  } catch (cause) {
    throw new BpfError("ERR_TRACEFS", "Cannot read tracefs: it is not mounted", {
      cause,
      hint: "mount it as root: mount -t tracefs tracefs /sys/kernel/tracing",
    });
  }
  const close = (): void => root.close();
  return { path: `/proc/self/fd/${root.number}`, detached: true, close, [Symbol.dispose]: close };
}

/** A field of a tracepoint's record, from its `format` file. */
export interface TracepointField {
  /** Name, for example `filename`. */
  readonly name: string;
  /** C type as written, for example `__data_loc char[]`. */
  readonly type: string;
  /** Offset in the record, in bytes; the record is what the program's context points at. */
  readonly offset: number;
  /** Bytes; 4 for a `__data_loc` field, which holds offset and length of data behind the record. */
  readonly size: number;
  /** Whether the value is signed. */
  readonly signed: boolean;
}

/** A tracepoint, as its `format` file describes it. */
export interface TracepointFormat {
  /** Group, for example `sched`. */
  readonly group: string;
  /** Name, for example `sched_process_exec`. */
  readonly name: string;
  /** Event id: `config` of a `perf_event_open` of type tracepoint. */
  readonly id: number;
  /** Fields in order, the `common_` ones included. */
  readonly fields: readonly TracepointField[];
  /** The `print fmt` line, without its head; empty when there is none. */
  readonly printFormat: string;
}

/**
 * Reads a `format` file.
 *
 * @param text the file
 * @param group group it belongs to
 * @throws BpfError `ERR_TRACEFS` when it is no such file
 */
export function parseTracepointFormat(text: string, group: string): TracepointFormat {
  const name = /^name:\s*(\S+)/m.exec(text)?.[1];
  const id = /^ID:\s*(\d+)/m.exec(text)?.[1];
  if (name === undefined || id === undefined) {
    throw new BpfError("ERR_TRACEFS", `Cannot read the format of a tracepoint in "${group}": name or ID is missing`);
  }
  const fields: TracepointField[] = [];
  for (const match of text.matchAll(/^\s*field:(.*?);\s*offset:(\d+);\s*size:(\d+);(?:\s*signed:(\d);)?/gm)) {
    const declaration = /^(.*?)\s*(\w+)((?:\[[^\]]*\])*)$/.exec(match[1]!.trim());
    if (declaration === null) {
      throw new BpfError("ERR_TRACEFS", `Cannot read the format of ${group}:${name}: field "${match[1]}"`);
    }
    fields.push({
      name: declaration[2]!,
      type: `${declaration[1]!.trim()}${declaration[3]!}`,
      offset: Number(match[2]),
      size: Number(match[3]),
      signed: match[4] === "1",
    });
  }
  const printFormat = /^print fmt:\s*(.*)$/m.exec(text)?.[1] ?? "";
  return { group, name, id: Number(id), fields, printFormat };
}

const EVENT_NAME = /^[A-Za-z_][\w.-]*$/;

/**
 * Reads what a tracepoint's record looks like on the running kernel.
 *
 * @param tracefs where tracefs is
 * @param group group, for example `sched`
 * @param name tracepoint, for example `sched_process_exec`
 * @throws BpfError `ERR_TRACEFS` for an unknown tracepoint (with the names nearest to it), or when it may not be read
 */
export function readTracepointFormat(tracefs: Tracefs, group: string, name: string): TracepointFormat {
  for (const part of [group, name]) {
    if (!EVENT_NAME.test(part)) throw new BpfError("ERR_TRACEFS", `"${part}" is no name of a tracepoint`);
  }
  try {
    return parseTracepointFormat(readFileSync(`${tracefs.path}/events/${group}/${name}/format`, "utf8"), group);
  } catch (cause) {
    if (cause instanceof BpfError) throw cause;
    const code = (cause as { code?: string }).code;
    if (code === "ENOENT") throw unknownTracepoint(tracefs, group, name);
    const hint = code === "EACCES" || code === "EPERM" ? "tracefs is readable for root only" : undefined;
    throw new BpfError("ERR_TRACEFS", `Cannot read the format of ${group}:${name} (${code})`, { cause, hint });
  }
}

function unknownTracepoint(tracefs: Tracefs, group: string, name: string): BpfError {
  const list = (folder: string): string[] => {
    try {
      return readdirSync(folder, { withFileTypes: true })
        .filter((entry) => entry.isDirectory())
        .map((entry) => entry.name);
    } catch {
      return [];
    }
  };
  const near = closest(name, list(`${tracefs.path}/events/${group}`));
  const nearGroup = near === undefined ? closest(group, list(`${tracefs.path}/events`)) : undefined;
  const meant = near !== undefined ? `${group}:${near}` : nearGroup === undefined ? undefined : `${nearGroup}:${name}`;
  return new BpfError("ERR_TRACEFS", `This kernel has no tracepoint ${group}:${name}`, {
    hint: meant === undefined ? undefined : `did you mean ${meant}?`,
  });
}
