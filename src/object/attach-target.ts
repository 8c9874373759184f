import type { ObjectProgramSpec } from "../elf/index.ts";
import { BtfError } from "../errors.ts";
import type { KernelType, KernelTypes } from "./kernel-types.ts";

/** Which type of the kernel stands for a target, by attach type: prefix and kind. */
function lookup(program: ObjectProgramSpec): { readonly prefix: string; readonly kind: "func" | "typedef" } {
  switch (program.attachType) {
    case "trace_raw_tp":
      return { prefix: "btf_trace_", kind: "typedef" };
    case "trace_iter":
      return { prefix: "bpf_iter_", kind: "func" };
    case "lsm_mac":
    case "lsm_cgroup":
      return { prefix: "bpf_lsm_", kind: "func" };
    default:
      return { prefix: "", kind: "func" };
  }
}

/**
 * Finds what a program is attached to in the BTF of the kernel or a module. `module:name` looks in that module only.
 *
 * @param program a program with `attachBtf`
 * @param types the kernel's
 * @throws BtfError `ERR_BTF_NOT_FOUND`
 */
export function findAttachTarget(program: ObjectProgramSpec, types: KernelTypes): KernelType {
  const action = `Cannot load program "${program.name}"`;
  const { attachTo, sectionName } = program;
  if (attachTo === undefined || attachTo === "") {
    throw new BtfError("ERR_BTF_NOT_FOUND", `${action}: section "${sectionName}" names nothing to attach to`, {
      hint: `Name it there, as in ${sectionName}/TARGET, or set attachTo of the program before loading`,
    });
  }
  const colon = attachTo.indexOf(":");
  const module = colon < 0 ? undefined : attachTo.slice(0, colon);
  const name = attachTo.slice(colon + 1);
  const { prefix, kind } = lookup(program);
  const found = types.find(`${prefix}${name}`, kind, module);
  if (found !== undefined) return found;
  const where = module === undefined ? "in the BTF of the kernel and its modules" : `in the BTF of ${module}`;
  throw new BtfError("ERR_BTF_NOT_FOUND", `${action}: no ${kind} "${prefix}${name}" ${where}`, {
    hint: hintFor(program, name, types),
  });
}

function hintFor(program: ObjectProgramSpec, name: string, types: KernelTypes): string | undefined {
  // Compilers split functions: what is left of them cannot be attached to under the old name.
  if (program.attachType === "trace_raw_tp" || name.length < 3) return undefined;
  const near: string[] = [];
  for (const func of types.vmlinux.functions()) {
    if (func.name.includes(name) && near.push(func.name) >= 3) break;
  }
  return near.length === 0 ? undefined : `There is ${near.join(", ")}`;
}
