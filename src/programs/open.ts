import { BpfError } from "../errors.ts";
import { nameOfValue, ProgType } from "../kernel-abi/index.ts";
import { call } from "../syscall/call.ts";
import { enableStats, objectById, objectIds, objGet } from "../syscall/commands.ts";
import { isErrno, SyscallError } from "../syscall/errors.ts";
import { Fd, objectKind } from "../syscall/fd.ts";
import { type BackendOption, backendOf } from "../syscall/select.ts";
import { type ProgramDescription, queryProgram, readProgramInfo } from "./description.ts";
import { Program } from "./program.ts";

const F_DUPFD_CLOEXEC = 1030;

/**
 * Opens a program by its number.
 *
 * @param id number of a program
 * @param options shim
 * @returns an open program: close it
 * @throws SyscallError `ENOENT` when there is none, `EPERM` without CAP_SYS_ADMIN
 *
 * @example
 * ```ts
 * import { exit, mov, r0 } from "rawbpf/asm";
 * import { loadProgram, openProgramById } from "rawbpf/programs";
 *
 * using first = loadProgram({ type: "socket_filter", name: "nothing", instructions: [mov(r0, 0), exit()] });
 * using again = openProgramById(first.info().id);
 * again.name; // "nothing"
 * ```
 */
export function openProgramById(id: number, options: BackendOption = {}): Program {
  return adopt(objectById(backendOf(options), "prog", id), `program ${id}`);
}

/**
 * Opens a program by its name in the BPF file system.
 *
 * @param path path of the pin
 * @param options shim
 * @returns an open program: close it
 * @throws SyscallError `ENOENT`; BpfError `ERR_TYPE_MISMATCH` when something else is pinned there
 */
export function openPinnedProgram(path: string, options: BackendOption = {}): Program {
  return adopt(objGet(backendOf(options), path), `pin ${path}`);
}

/**
 * Makes a program of a descriptor that came from elsewhere.
 *
 * @param fd a number, which stays the caller's (the program gets a duplicate), or an owner, which becomes the program's
 * @param options shim
 * @returns an open program: close it
 * @throws SyscallError `EBADF`; BpfError `ERR_TYPE_MISMATCH` when it is no program
 */
export function programFromFd(fd: number | Fd, options: BackendOption = {}): Program {
  if (typeof fd !== "number") return adopt(fd, fd.label);
  if (!(Number.isInteger(fd) && fd >= 0)) throw new TypeError(`Need a descriptor, not ${String(fd)}`);
  const backend = backendOf(options);
  const args = [fd, F_DUPFD_CLOEXEC, 3];
  const number = call(backend, "fcntl", args, () => ({ fd, cmd: "F_DUPFD_CLOEXEC", arg: 3 }));
  if (number < 0) throw new SyscallError(`Cannot duplicate descriptor ${fd}`, "fcntl", number);
  return adopt(new Fd(backend, number, `descriptor ${fd}`), `descriptor ${fd}`);
}

function adopt(owner: Fd, label: string): Program {
  try {
    // The kernel tells of maps and links in the same way, so ask first what it is.
    const kind = objectKind(owner);
    if (kind !== undefined && kind !== "program") {
      throw new BpfError("ERR_TYPE_MISMATCH", `Cannot use ${label} as a program: it is a ${kind}`);
    }
    const info = queryProgram(owner);
    const type = nameOfValue(ProgType, Number(info.type ?? 0));
    if (type === undefined) {
      throw new BpfError("ERR_TYPE_MISMATCH", `Cannot use ${label}: program type ${info.type} is not known here`);
    }
    const name = String(info.name ?? "");
    const named = new Fd(owner.backend, owner.release(), name === "" ? label : `program "${name}"`);
    return new Program(named, type, name, "");
  } catch (error) {
    owner.close();
    throw error;
  }
}

/**
 * Walks all programs of the system.
 *
 * @param options shim
 * @returns what the kernel says of each; programs that vanish meanwhile are passed over
 * @throws SyscallError `EPERM` without CAP_SYS_ADMIN
 *
 * @example
 * ```ts
 * import { listPrograms } from "rawbpf/programs";
 *
 * for (const { id, type, name, tag } of listPrograms()) console.log(id, type, name, tag);
 * ```
 */
export function* listPrograms(options: BackendOption = {}): Generator<ProgramDescription, void> {
  const backend = backendOf(options);
  for (const id of objectIds(backend, "prog")) {
    let owner: Fd;
    try {
      owner = objectById(backend, "prog", id);
    } catch (error) {
      if (isErrno(error, "ENOENT")) continue;
      throw error;
    }
    try {
      yield readProgramInfo(owner);
    } finally {
      owner.close();
    }
  }
}

/**
 * Has the kernel count runs and run times of all programs, until the handle is closed (`BPF_ENABLE_STATS`, Linux 5.8).
 * It takes some 20 ns of each run.
 *
 * @param options shim
 * @returns close it to turn it off again, unless others want it
 * @throws SyscallError `EPERM` without CAP_SYS_ADMIN
 *
 * @example
 * ```ts
 * import { exit, mov, r0 } from "rawbpf/asm";
 * import { enableStatistics, loadProgram } from "rawbpf/programs";
 *
 * using program = loadProgram({ type: "socket_filter", instructions: [mov(r0, 0), exit()] });
 * using statistics = enableStatistics();
 * program.run({ data: new Uint8Array(64), repeat: 1000 });
 * program.statistics().runCount; // 1000n
 * ```
 */
export function enableStatistics(options: BackendOption = {}): Fd {
  return enableStats(backendOf(options));
}
