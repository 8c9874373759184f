import { type Btf, openBtf } from "../btf/index.ts";
import { decodeCString } from "../bytes/index.ts";
import { BtfError } from "../errors.ts";
import { btfInfo, decodeStruct, encodeStruct } from "../kernel-abi/index.ts";
import { kernelBuffer } from "./call.ts";
import { objectById, objectIds, objInfoInto } from "./commands.ts";
import { isErrno } from "./errors.ts";
import type { Fd } from "./fd.ts";
import { type KernelBtfCache, loadKernelBtf } from "./kernel-btf.ts";
import { type BackendOption, backendOf } from "./select.ts";

/** What the kernel says of a BTF that it holds. */
export interface BtfDescription {
  readonly id: number;
  /** Bytes. */
  readonly size: number;
  /** `vmlinux`, the name of a module, or empty for what was loaded with a program or map. */
  readonly name: string;
  /** It describes the kernel or a module. */
  readonly kernel: boolean;
}

const NAME_ROOM = 64;

/**
 * Asks what a BTF is.
 *
 * @param owner descriptor of a BTF
 * @throws SyscallError
 */
export function readBtfInfo(owner: Fd): BtfDescription {
  const { backend } = owner;
  const name = kernelBuffer(NAME_ROOM);
  const request = encodeStruct(btfInfo, { name: backend.addressOf(name), name_len: name.length });
  const info = decodeStruct(btfInfo, objInfoInto(owner, request, [name]));
  return {
    id: Number(info.id ?? 0),
    size: Number(info.btf_size ?? 0),
    name: decodeCString(name),
    kernel: Number(info.kernel_btf ?? 0) !== 0,
  };
}

function readBtfBytes(owner: Fd, size: number): Uint8Array {
  const bytes = kernelBuffer(size);
  const request = encodeStruct(btfInfo, { btf: owner.backend.addressOf(bytes), btf_size: bytes.length });
  objInfoInto(owner, request, [bytes]);
  return bytes;
}

/**
 * Fetches a BTF by its number from the kernel and opens it; that of a module on top of the kernel's.
 *
 * @param id number of a BTF, as programs and maps name theirs
 * @param options shim; BTF of the kernel that was opened before
 * @throws SyscallError `ENOENT` when there is none, `EPERM` without CAP_SYS_ADMIN; BtfError; NotSupportedError when a
 *   module's needs that of the kernel and it cannot be found
 *
 * @example
 * ```ts
 * import { listBtf, openBtfById } from "rawbpf/syscall";
 *
 * for (const { id, name } of listBtf()) {
 *   if (name === "") console.log(id, [...openBtfById(id).types()].length);
 * }
 * ```
 */
export function openBtfById(
  id: number,
  options: BackendOption & { readonly cache?: KernelBtfCache | undefined } = {},
): Btf {
  const owner = objectById(backendOf(options), "btf", id);
  try {
    const { size, name, kernel } = readBtfInfo(owner);
    if (size === 0) throw new BtfError("ERR_BTF_NOT_FOUND", `The kernel gives no content of BTF ${id}`);
    const known = kernel ? options.cache?.get(name) : undefined;
    if (known !== undefined) return known;
    const path = name === "" ? `BTF ${id}` : name;
    const base = kernel && name !== "vmlinux" ? loadKernelBtf("vmlinux", options) : undefined;
    const btf = openBtf(readBtfBytes(owner, size), base === undefined ? { path } : { path, base });
    if (kernel) options.cache?.set(name, btf);
    return btf;
  } finally {
    owner.close();
  }
}

/**
 * Walks all BTFs that the kernel holds.
 *
 * @param options shim
 * @returns what the kernel says of each; those that vanish meanwhile are passed over
 * @throws SyscallError `EPERM` without CAP_SYS_ADMIN
 */
export function* listBtf(options: BackendOption = {}): Generator<BtfDescription, void> {
  const backend = backendOf(options);
  for (const id of objectIds(backend, "btf")) {
    let owner: Fd;
    try {
      owner = objectById(backend, "btf", id);
    } catch (error) {
      if (isErrno(error, "ENOENT")) continue;
      throw error;
    }
    try {
      yield readBtfInfo(owner);
    } finally {
      owner.close();
    }
  }
}
