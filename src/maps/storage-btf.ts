import { encodeBtf } from "../btf/index.ts";
import { btfLoadAttr } from "../kernel-abi/index.ts";
import type { SyscallBackend } from "../syscall/backend.ts";
import { bpfFd } from "../syscall/bpf.ts";
import { toKernel } from "../syscall/call.ts";
import type { Fd } from "../syscall/fd.ts";

/** Types of key and value, in a BTF that the kernel has. */
export interface LoadedTypes {
  readonly owner: Fd;
  readonly keyTypeId: number;
  readonly valueTypeId: number;
}

/**
 * Gives the kernel a BTF with a key of an `int` and a value of so many bytes: a map of storage must have one, and
 * wants no more of it than these sizes.
 *
 * @param backend shim
 * @param valueSize bytes of a value
 * @returns the types: close `owner` when the map is there
 * @throws SyscallError
 */
export function loadStorageTypes(backend: SyscallBackend, valueSize: number): LoadedTypes {
  const image = encodeBtf([
    { kind: "int", name: "int", size: 4, signed: true },
    { kind: "int", name: "unsigned char", size: 1 },
    { kind: "array", type: 2, indexType: 1, length: valueSize },
    { kind: "struct", name: "value", size: valueSize, members: [{ name: "bytes", type: 3 }] },
  ]);
  const btf = toKernel(image);
  const label = "types of a storage map";
  const attr = { btf, btf_size: image.length };
  const owner = bpfFd(backend, "BPF_BTF_LOAD", btfLoadAttr, attr, { action: `Cannot load the ${label}`, label });
  return { owner, keyTypeId: 1, valueTypeId: 4 };
}
