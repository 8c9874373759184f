import {
  AttachType,
  type BpfCommand,
  enableStatsAttr,
  getIdAttr,
  infoByFdAttr,
  iterCreateAttr,
  linkCreateAttr,
  linkDetachAttr,
  linkUpdateAttr,
  mapCreateAttr,
  mapElemAttr,
  nameOfValue,
  objAttr,
  progAttachAttr,
  progBindMapAttr,
  progLoadAttr,
  progQueryAttr,
  progTestRunAttr,
  rawTracepointOpenAttr,
  taskFdQueryAttr,
  tokenCreateAttr,
} from "../kernel-abi/index.ts";
import type { AttrValues } from "./attr.ts";
import type { SyscallBackend } from "./backend.ts";
import { bpf, bpfError, bpfFd, type RawBpfResult, rawBpf } from "./bpf.ts";
import { keepAlive, kernelBuffer, toKernel } from "./call.ts";
import { errnoName } from "./errno.ts";
import type { Fd } from "./fd.ts";

const BPF_F_REPLACE = 4;

/**
 * `BPF_MAP_CREATE`.
 *
 * @param backend shim
 * @param attr attributes; `map_name` is text
 * @returns the map's descriptor
 * @throws SyscallError
 */
export function mapCreate(backend: SyscallBackend, attr: AttrValues<typeof mapCreateAttr>): Fd {
  const label = attr.map_name === undefined ? "map" : `map "${attr.map_name}"`;
  return bpfFd(backend, "BPF_MAP_CREATE", mapCreateAttr, attr, { action: `Cannot create ${label}`, label });
}

/**
 * `BPF_MAP_LOOKUP_ELEM`. The kernel writes as many bytes as the map's value has, for every possible CPU in per-CPU
 * maps: `value` must have them.
 *
 * @param map descriptor
 * @param key key
 * @param value buffer for the value
 * @param flags `BPF_F_LOCK` or 0
 * @throws SyscallError `ENOENT` when there is none
 */
export function mapLookup(map: Fd, key: Uint8Array, value: Uint8Array, flags = 0): void {
  const attr = { map_fd: map.number, key, value, flags };
  bpf(map.backend, "BPF_MAP_LOOKUP_ELEM", mapElemAttr, attr, { action: `Cannot look up in ${map.label}` });
}

/**
 * `BPF_MAP_UPDATE_ELEM`.
 *
 * @param map descriptor
 * @param key key
 * @param value value
 * @param flags `BPF_ANY` 0, `BPF_NOEXIST` 1, `BPF_EXIST` 2, `BPF_F_LOCK` 4
 * @throws SyscallError `E2BIG`, `EEXIST`, `ENOENT`
 */
export function mapUpdate(map: Fd, key: Uint8Array, value: Uint8Array, flags = 0): void {
  const attr = { map_fd: map.number, key, value, flags };
  bpf(map.backend, "BPF_MAP_UPDATE_ELEM", mapElemAttr, attr, { action: `Cannot update ${map.label}` });
}

/**
 * `BPF_MAP_DELETE_ELEM`.
 *
 * @param map descriptor
 * @param key key
 * @throws SyscallError `ENOENT` when there is none, `EINVAL` for arrays
 */
export function mapDelete(map: Fd, key: Uint8Array): void {
  const attr = { map_fd: map.number, key };
  bpf(map.backend, "BPF_MAP_DELETE_ELEM", mapElemAttr, attr, { action: `Cannot delete from ${map.label}` });
}

/**
 * `BPF_MAP_GET_NEXT_KEY`.
 *
 * @param map descriptor
 * @param key key to go on from; `undefined` for the first
 * @param next buffer for the key found
 * @throws SyscallError `ENOENT` after the last
 */
export function mapNextKey(map: Fd, key: Uint8Array | undefined, next: Uint8Array): void {
  const attr = { map_fd: map.number, key, next_key: next };
  bpf(map.backend, "BPF_MAP_GET_NEXT_KEY", mapElemAttr, attr, { action: `Cannot walk ${map.label}` });
}

/**
 * `BPF_PROG_LOAD`, once and raw: no retries, no log handling. `loadProgram` does those.
 *
 * @param backend shim
 * @param attr attributes; `insns`, `license` and `log_buf` are bytes or text
 * @returns result or `-errno`, and the attributes (`log_true_size` is written back)
 */
export function progLoad(backend: SyscallBackend, attr: AttrValues<typeof progLoadAttr>): RawBpfResult {
  return rawBpf(backend, "BPF_PROG_LOAD", progLoadAttr, attr);
}

/**
 * `BPF_OBJ_PIN`.
 *
 * @param object descriptor of a map, program or link
 * @param path new name on a BPF file system; the kernel makes it with mode 0600
 * @throws SyscallError `EEXIST`, `ENOENT` without the folder, `EPERM` outside of a BPF file system or for a dot in the name
 */
export function objPin(object: Fd, path: string): void {
  const attr = { pathname: path, bpf_fd: object.number };
  bpf(object.backend, "BPF_OBJ_PIN", objAttr, attr, { action: `Cannot pin ${object.label} at ${path}` });
}

/**
 * `BPF_OBJ_GET`.
 *
 * @param backend shim
 * @param path name on a BPF file system
 * @param flags `BPF_F_RDONLY`, `BPF_F_WRONLY` or 0
 * @returns a descriptor of the object
 * @throws SyscallError `ENOENT`, `EACCES` when it is no BPF file
 */
export function objGet(backend: SyscallBackend, path: string, flags = 0): Fd {
  const context = { action: `Cannot open the pin ${path}`, label: `pin ${path}` };
  return bpfFd(backend, "BPF_OBJ_GET", objAttr, { pathname: path, file_flags: flags }, context);
}

/**
 * `BPF_PROG_TEST_RUN`, once and raw. `program.run` does more.
 *
 * @param backend shim
 * @param attr attributes
 * @returns result or `-errno`, and the attributes (`retval`, `duration` and the sizes are written back)
 */
export function progTestRun(backend: SyscallBackend, attr: AttrValues<typeof progTestRunAttr>): RawBpfResult {
  return rawBpf(backend, "BPF_PROG_TEST_RUN", progTestRunAttr, attr);
}

/**
 * `BPF_RAW_TRACEPOINT_OPEN`.
 *
 * @param program descriptor
 * @param name tracepoint without its group; `undefined` for programs whose target was fixed when they were loaded
 * @param cookie value for `get_attach_cookie` (Linux 6.10)
 * @returns descriptor of the attachment
 * @throws SyscallError `ENOENT` for an unknown tracepoint
 */
export function rawTracepointOpen(program: Fd, name: string | undefined, cookie = 0n): Fd {
  const label = name === undefined ? `attachment of ${program.label}` : `raw tracepoint ${name}`;
  const attr = { name, prog_fd: program.number, cookie };
  const action = `Cannot attach ${program.label} to ${name === undefined ? "its target" : label}`;
  return bpfFd(program.backend, "BPF_RAW_TRACEPOINT_OPEN", rawTracepointOpenAttr, attr, { action, label });
}

/**
 * `BPF_LINK_CREATE`.
 *
 * @param backend shim
 * @param attr attributes; those of one link kind have its name before them: `perf_event.bpf_cookie`
 * @param label what is attached where, for messages
 * @returns the link's descriptor
 * @throws SyscallError `EINVAL` also on kernels without links of that kind
 */
export function linkCreate(backend: SyscallBackend, attr: AttrValues<typeof linkCreateAttr>, label: string): Fd {
  return bpfFd(backend, "BPF_LINK_CREATE", linkCreateAttr, attr, { action: `Cannot attach ${label}`, label });
}

/**
 * `BPF_LINK_UPDATE` (Linux 5.7).
 *
 * @param link descriptor
 * @param next descriptor of the new program, or map
 * @param expected descriptor of what must be attached now
 * @throws SyscallError `EPERM` when `expected` is not attached, `ENOLINK` when the link was detached
 */
export function linkUpdate(link: Fd, next: number, expected?: number): void {
  const attr = {
    link_fd: link.number,
    new_prog_fd: next,
    ...(expected === undefined ? {} : { flags: BPF_F_REPLACE, old_prog_fd: expected }),
  };
  bpf(link.backend, "BPF_LINK_UPDATE", linkUpdateAttr, attr, { action: `Cannot update ${link.label}` });
}

/**
 * `BPF_LINK_DETACH` (Linux 5.9): ends the attachment although descriptors and pins of the link exist.
 *
 * @param link descriptor
 * @throws SyscallError `EOPNOTSUPP` for kinds that only end with the last descriptor
 */
export function linkDetach(link: Fd): void {
  const action = `Cannot detach ${link.label}`;
  bpf(link.backend, "BPF_LINK_DETACH", linkDetachAttr, { link_fd: link.number }, { action });
}

/**
 * `BPF_ITER_CREATE` (Linux 5.8): one walk of an iterator.
 *
 * @param link descriptor of an iterator's link
 * @returns descriptor: reading it runs the program
 * @throws SyscallError
 */
export function iterCreate(link: Fd): Fd {
  const context = { action: `Cannot start ${link.label}`, label: `walk of ${link.label}` };
  return bpfFd(link.backend, "BPF_ITER_CREATE", iterCreateAttr, { link_fd: link.number }, context);
}

/**
 * `BPF_PROG_ATTACH`: the way of attaching from before links; the attachment stays when the process ends.
 *
 * @param backend shim
 * @param attr attributes; `attach_type` is a number of `AttachType`
 * @param action what a failure says: `Cannot attach program "x" to cgroup /y`
 * @throws SyscallError
 */
export function progAttach(backend: SyscallBackend, attr: AttrValues<typeof progAttachAttr>, action: string): void {
  bpf(backend, "BPF_PROG_ATTACH", progAttachAttr, attr, { action, trace: attachTrace(attr.attach_type) });
}

/**
 * `BPF_PROG_DETACH`.
 *
 * @param backend shim
 * @param attr attributes
 * @param action what a failure says
 * @throws SyscallError `ENOENT` when it is not attached
 */
export function progDetach(backend: SyscallBackend, attr: AttrValues<typeof progAttachAttr>, action: string): void {
  bpf(backend, "BPF_PROG_DETACH", progAttachAttr, attr, { action, trace: attachTrace(attr.attach_type) });
}

/**
 * `BPF_PROG_QUERY`, once and raw.
 *
 * @param backend shim
 * @param attr attributes
 * @returns result or `-errno`, and the attributes: counts, flags and revision are written back
 */
export function progQuery(backend: SyscallBackend, attr: AttrValues<typeof progQueryAttr>): RawBpfResult {
  return rawBpf(backend, "BPF_PROG_QUERY", progQueryAttr, attr, attachTrace(attr.attach_type));
}

function attachTrace(attachType: number | bigint | undefined): { readonly attach_type?: string } {
  const name = attachType === undefined ? undefined : nameOfValue(AttachType, Number(attachType));
  return name === undefined ? {} : { attach_type: name };
}

/** Kinds of objects that the kernel numbers. */
export type NumberedObject = "prog" | "map" | "link" | "btf";

/**
 * Walks the numbers of all programs, maps, links or BTFs of the system, in order (`BPF_*_GET_NEXT_ID`).
 *
 * @param backend shim
 * @param kind what
 * @param start number to go on from
 * @returns numbers; objects may vanish, and new ones appear, while it runs
 * @throws SyscallError `EPERM` without CAP_SYS_ADMIN, `EINVAL` on kernels that do not number them
 */
export function* objectIds(backend: SyscallBackend, kind: NumberedObject, start = 0): Generator<number, void> {
  const command: BpfCommand = `BPF_${kind.toUpperCase() as Uppercase<NumberedObject>}_GET_NEXT_ID`;
  for (let id = start; ; ) {
    const { result, attr } = rawBpf(backend, command, getIdAttr, { start_id: id });
    if (result < 0) {
      if (errnoName(result) === "ENOENT") return;
      throw bpfError(command, result, { action: `Cannot list ${OBJECT_NAMES[kind]}s` });
    }
    id = attr.readU32(getIdAttr.fields.next_id.offset);
    yield id;
  }
}

/**
 * Opens a program, map, link or BTF by its number (`BPF_*_GET_FD_BY_ID`).
 *
 * @param backend shim
 * @param kind what
 * @param id number
 * @throws SyscallError `ENOENT` when there is none, `EPERM` without CAP_SYS_ADMIN
 */
export function objectById(backend: SyscallBackend, kind: NumberedObject, id: number): Fd {
  const command: BpfCommand = `BPF_${kind.toUpperCase() as Uppercase<NumberedObject>}_GET_FD_BY_ID`;
  const label = `${OBJECT_NAMES[kind]} ${id}`;
  return bpfFd(backend, command, getIdAttr, { start_id: id }, { action: `Cannot open ${label}`, label });
}

const OBJECT_NAMES: { readonly [K in NumberedObject]: string } = {
  prog: "program",
  map: "map",
  link: "link",
  btf: "BTF",
};

/**
 * `BPF_ENABLE_STATS` (Linux 5.8): run time and count of every program are kept while the descriptor is open.
 *
 * @param backend shim
 * @throws SyscallError `EPERM` without CAP_SYS_ADMIN
 */
export function enableStats(backend: SyscallBackend): Fd {
  const context = { action: "Cannot turn statistics on", label: "statistics" };
  return bpfFd(backend, "BPF_ENABLE_STATS", enableStatsAttr, { type: 0 }, context);
}

/**
 * `BPF_TASK_FD_QUERY`, once and raw: which program a perf event of a process runs.
 *
 * @param backend shim
 * @param attr attributes
 * @returns result or `-errno`, and the attributes as the kernel left them
 */
export function taskFdQuery(backend: SyscallBackend, attr: AttrValues<typeof taskFdQueryAttr>): RawBpfResult {
  return rawBpf(backend, "BPF_TASK_FD_QUERY", taskFdQueryAttr, attr);
}

/**
 * `BPF_OBJ_GET_INFO_BY_FD`.
 *
 * @param object descriptor of a map, program, link or BTF
 * @param size bytes of the info struct this caller knows; the kernel may know fewer
 * @returns the bytes the kernel wrote
 * @throws SyscallError
 */
export function objInfo(object: Fd, size: number): Uint8Array {
  return objInfoInto(object, kernelBuffer(size));
}

/**
 * `BPF_OBJ_GET_INFO_BY_FD` with fields set before: rooms for lists and their sizes.
 *
 * @param object descriptor of a map, program, link or BTF
 * @param request the info struct, with addresses and sizes of the rooms
 * @param held the rooms, which must stay reachable
 * @returns the bytes the kernel wrote
 * @throws SyscallError
 */
export function objInfoInto(object: Fd, request: Uint8Array, held: readonly unknown[] = []): Uint8Array {
  const info = toKernel(request);
  const attr = { bpf_fd: object.number, info_len: info.length, info };
  const action = `Cannot get information about ${object.label}`;
  const { attr: after } = bpf(object.backend, "BPF_OBJ_GET_INFO_BY_FD", infoByFdAttr, attr, { action });
  keepAlive(held);
  return info.subarray(0, after.readU32(infoByFdAttr.fields.info_len.offset));
}

/**
 * `BPF_MAP_FREEZE` (Linux 5.2): user space cannot change the map any more. Programs can, unless it was created with
 * `BPF_F_RDONLY_PROG`.
 *
 * @param map descriptor
 * @throws SyscallError `EBUSY` while it is mapped for writing or frozen already
 */
export function mapFreeze(map: Fd): void {
  bpf(map.backend, "BPF_MAP_FREEZE", mapElemAttr, { map_fd: map.number }, { action: `Cannot freeze ${map.label}` });
}

/**
 * `BPF_PROG_BIND_MAP` (Linux 5.10): the map lives as long as the program, which does not refer to it itself.
 *
 * @param program descriptor
 * @param map descriptor
 * @throws SyscallError
 */
export function progBindMap(program: Fd, map: Fd): void {
  const attr = { prog_fd: program.number, map_fd: map.number };
  const action = `Cannot bind ${map.label} to ${program.label}`;
  bpf(program.backend, "BPF_PROG_BIND_MAP", progBindMapAttr, attr, { action });
}

/**
 * `BPF_TOKEN_CREATE` (Linux 6.9): what the mount options of a BPF file system delegate.
 *
 * @param bpffs descriptor of the root of the file system
 * @returns the token's descriptor
 * @throws SyscallError `EOPNOTSUPP` outside of a user namespace, `ENOENT` when nothing is delegated
 */
export function tokenCreate(bpffs: Fd): Fd {
  const context = { action: `Cannot make a BPF token of ${bpffs.label}`, label: "BPF token" };
  return bpfFd(bpffs.backend, "BPF_TOKEN_CREATE", tokenCreateAttr, { bpffs_fd: bpffs.number }, context);
}
