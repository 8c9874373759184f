import { openBtf } from "../btf/index.ts";
import type { ObjectProgramSpec } from "../elf/index.ts";
import { BpfError, BtfError } from "../errors.ts";
import { btfInfo, decodeStruct, getIdAttr, infoByFdAttr, progInfo } from "../kernel-abi/index.ts";
import type { SyscallBackend } from "../syscall/backend.ts";
import { bpf, bpfFd } from "../syscall/bpf.ts";
import { keepAlive, kernelBuffer } from "../syscall/call.ts";
import type { Fd } from "../syscall/fd.ts";

/** A function of a loaded program, as another program refers to it. */
export interface ProgramTarget {
  /** Descriptor of the program. */
  readonly fd: number;
  /** Number of the function in the program's BTF. */
  readonly id: number;
}

/**
 * Finds the function of a loaded program that another one replaces (`freplace`) or traces (`fentry`, `fexit`).
 *
 * @param program the other one; its section names the function
 * @param target descriptor of the loaded one
 * @param backend shim
 * @throws BpfError `ERR_OBJECT` when no function is named; BtfError `ERR_BTF_NOT_FOUND` when the program has no such
 *   function, or no types; SyscallError
 */
export function findProgramTarget(program: ObjectProgramSpec, target: number, backend: SyscallBackend): ProgramTarget {
  const action = `Cannot load program "${program.name}"`;
  const name = program.attachTo;
  if (name === undefined || name === "") {
    throw new BpfError("ERR_OBJECT", `${action}: section "${program.sectionName}" names no function to replace`, {
      hint: `Name it there, as in ${program.sectionName}/FUNCTION, or set attachTo of the program before loading`,
    });
  }
  const info = kernelBuffer(progInfo.size);
  const attr = { bpf_fd: target, info_len: info.length, info };
  bpf(backend, "BPF_OBJ_GET_INFO_BY_FD", infoByFdAttr, attr, {
    action: `${action}: cannot get information about the program that it is attached to`,
  });
  const btfId = Number(decodeStruct(progInfo, info).btf_id);
  if (btfId === 0) {
    throw new BtfError("ERR_BTF_NOT_FOUND", `${action}: the program that it is attached to was loaded without types`, {
      hint: "Compile it with -g, and load it with its BTF",
    });
  }
  const context = { action: `${action}: cannot open BTF ${btfId}`, label: `BTF ${btfId}` };
  const fd = bpfFd(backend, "BPF_BTF_GET_FD_BY_ID", getIdAttr, { btf_id: btfId }, context);
  try {
    const btf = openBtf(readBtf(fd), { path: `BTF ${btfId}` });
    const [id] = btf.idsByName(name, "func");
    if (id === undefined) {
      const names = [...btf.functions()].map((func) => func.name);
      throw new BtfError(
        "ERR_BTF_NOT_FOUND",
        `${action}: the program that it is attached to has no function "${name}"`,
        {
          hint: names.length === 0 ? undefined : `It has ${names.slice(0, 10).join(", ")}`,
        },
      );
    }
    return { fd: target, id };
  } finally {
    fd.close();
  }
}

/** The bytes of BTF that the kernel has. */
function readBtf(fd: Fd): Uint8Array {
  const action = `Cannot read ${fd.label}`;
  const ask = (bytes: Uint8Array | undefined): number => {
    const info = kernelBuffer(btfInfo.size);
    const view = new DataView(info.buffer);
    if (bytes !== undefined) {
      view.setBigUint64(btfInfo.fields.btf.offset, BigInt(fd.backend.addressOf(bytes)), true);
      view.setUint32(btfInfo.fields.btf_size.offset, bytes.length, true);
    }
    bpf(
      fd.backend,
      "BPF_OBJ_GET_INFO_BY_FD",
      infoByFdAttr,
      { bpf_fd: fd.number, info_len: info.length, info },
      { action },
    );
    keepAlive(bytes);
    return view.getUint32(btfInfo.fields.btf_size.offset, true);
  };
  const bytes = kernelBuffer(ask(undefined));
  ask(bytes);
  return bytes;
}
