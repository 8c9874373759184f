/**
 * Runs in a user namespace of its own, without any capability outside of it: loads objects with what a BPF file system
 * delegates. Writes the descriptor of the file system's context, waits until the parent has said what is delegated,
 * then writes one line of JSON with what happened.
 */
import { readFileSync, readSync } from "node:fs";
import { loadObject } from "../../src/object/index.ts";
import { kernelString, openBackend, syscallNumbers } from "../../src/syscall/index.ts";

const MOVE_MOUNT = 429;
const MOVE_MOUNT_F_EMPTY_PATH = 4;
const AT_FDCWD = -100;

const [file = ""] = process.argv.slice(2);
const bytes = readFileSync(file);
const backend = openBackend();
const { fsopen, fsmount } = syscallNumbers[backend.architecture];

function call(what: string, number: number, ...args: number[]): number {
  const result = backend.syscall(number, ...args);
  if (result < 0) throw new Error(`${what}: ${result}`);
  return result;
}

function attempt(run: () => void): string {
  try {
    run();
    return "loaded";
  } catch (error) {
    return String((error as Error).message).split("\n")[0]!;
  }
}

const type = kernelString("bpf");
const context = call("fsopen", fsopen, backend.addressOf(type), 1);
process.stdout.write(`${context}\n`);
// The parent answers once it has configured it.
readSync(0, new Uint8Array(16));
const root = call("fsmount", fsmount, context, 1, 0);
const path = `/proc/self/fd/${root}`;
const result: Record<string, string> = {};
const load = (options: { readonly token?: string | false }): string =>
  attempt(() => loadObject(bytes, { programs: ["pass"], ...options }).close());
result.none = load({ token: false });
result.automatic_before = load({});
result.path = load({ token: path });
result.wrong = load({ token: "/proc/self/fd" });
process.env.LIBBPF_BPF_TOKEN_PATH = path;
result.environment = load({});
process.env.LIBBPF_BPF_TOKEN_PATH = "";
result.environment_empty = load({});
delete process.env.LIBBPF_BPF_TOKEN_PATH;
const empty = kernelString("");
const target = kernelString("/sys/fs/bpf");
const flags = MOVE_MOUNT_F_EMPTY_PATH;
call("move_mount", MOVE_MOUNT, root, backend.addressOf(empty), AT_FDCWD, backend.addressOf(target), flags);
result.automatic = load({});
process.stdout.write(`${JSON.stringify(result)}\n`);
