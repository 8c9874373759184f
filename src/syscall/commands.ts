import {
  infoByFdAttr,
  linkCreateAttr,
  mapCreateAttr,
  mapElemAttr,
  objAttr,
  progBindMapAttr,
  progLoadAttr,
  progTestRunAttr,
  rawTracepointOpenAttr,
  tokenCreateAttr,
} from "../kernel-abi/index.ts";
import type { AttrValues } from "./attr.ts";
import type { SyscallBackend } from "./backend.ts";
import { bpf, bpfFd, type RawBpfResult, rawBpf } from "./bpf.ts";
import { kernelBuffer } from "./call.ts";
import type { Fd } from "./fd.ts";

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
 * `BPF_OBJ_GET_INFO_BY_FD`.
 *
 * @param object descriptor of a map, program, link or BTF
 * @param size bytes of the info struct this caller knows; the kernel may know fewer
 * @returns the bytes the kernel wrote
 * @throws SyscallError
 */
export function objInfo(object: Fd, size: number): Uint8Array {
  const info = kernelBuffer(size);
  const attr = { bpf_fd: object.number, info_len: size, info };
  const action = `Cannot get information about ${object.label}`;
  const { attr: after } = bpf(object.backend, "BPF_OBJ_GET_INFO_BY_FD", infoByFdAttr, attr, { action });
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
