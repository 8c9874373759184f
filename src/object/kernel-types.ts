import type { Btf, TypeId } from "../btf/index.ts";
import { decodeCString } from "../bytes/index.ts";
import { BtfError, NotSupportedError } from "../errors.ts";
import { btfInfo, getIdAttr, infoByFdAttr } from "../kernel-abi/index.ts";
import type { SyscallBackend } from "../syscall/backend.ts";
import { bpf, rawBpf } from "../syscall/bpf.ts";
import { kernelBuffer } from "../syscall/call.ts";
import { errnoName } from "../syscall/errno.ts";
import { Fd } from "../syscall/fd.ts";
import { type KernelBtfCache, kernelBtfNames, loadKernelBtf } from "../syscall/kernel-btf.ts";
import type { Cleanup } from "./cleanup.ts";

/** A type of the kernel, and where it is. */
export interface KernelType {
  /** Its number. */
  readonly id: TypeId;
  /** The BTF that has it. */
  readonly btf: Btf;
  /** `vmlinux`, or the name of a module. */
  readonly module: string;
}

/**
 * The types of the running kernel and its modules. Read when they are asked for: objects without CO-RE need none, and
 * most need no modules.
 */
export class KernelTypes {
  readonly #backend: SyscallBackend;
  readonly #cache: KernelBtfCache;
  readonly #cleanup: Cleanup;
  readonly #descriptors = new Map<string, Fd>();
  #modules: readonly { readonly name: string; readonly btf: Btf }[] | undefined;
  #listed = false;

  /**
   * @param backend shim
   * @param cache BTF that was opened before; filled
   * @param cleanup owner of the descriptors that are opened
   */
  constructor(backend: SyscallBackend, cache: KernelBtfCache, cleanup: Cleanup) {
    this.#backend = backend;
    this.#cache = cache;
    this.#cleanup = cleanup;
  }

  /**
   * Types of the kernel itself.
   *
   * @throws NotSupportedError when it has none
   */
  get vmlinux(): Btf {
    return loadKernelBtf("vmlinux", { cache: this.#cache });
  }

  /** Types of the modules; those that cannot be read are left out. */
  get modules(): readonly { readonly name: string; readonly btf: Btf }[] {
    this.#modules ??= kernelBtfNames()
      .filter((name) => name !== "vmlinux")
      .flatMap((name) => {
        try {
          return [{ name, btf: loadKernelBtf(name, { cache: this.#cache }) }];
        } catch (error) {
          // It may have been unloaded meanwhile, or been built for another kernel.
          if (error instanceof BtfError || error instanceof NotSupportedError) return [];
          throw error;
        }
      });
    return this.#modules;
  }

  /**
   * Looks a name up in the kernel, then in its modules.
   *
   * @param name of the type
   * @param kind kind of type
   * @param module only there; default everywhere
   */
  find(name: string, kind: "func" | "typedef" | "var" | "struct", module?: string): KernelType | undefined {
    const { vmlinux } = this;
    if (module === undefined || module === "vmlinux") {
      const [id] = vmlinux.idsByName(name, kind);
      if (id !== undefined) return { id, btf: vmlinux, module: "vmlinux" };
    }
    if (module === "vmlinux") return undefined;
    for (const each of this.modules) {
      if (module !== undefined && each.name !== module) continue;
      // A module's lookup reaches the kernel's types too.
      const id = each.btf.idsByName(name, kind).find((found) => found >= each.btf.firstId);
      if (id !== undefined) return { id, btf: each.btf, module: each.name };
    }
    return undefined;
  }

  /**
   * Descriptor of a module's BTF, as instructions and attributes refer to it.
   *
   * @param module its name; `vmlinux` has none, 0 stands for it
   * @throws SyscallError, BtfError when it is gone
   */
  descriptor(module: string): number {
    if (module === "vmlinux") return 0;
    if (!this.#listed) this.#openAll();
    const found = this.#descriptors.get(module);
    if (found === undefined) throw new BtfError("ERR_BTF_NOT_FOUND", `No BTF of module "${module}" in the kernel`);
    return found.number;
  }

  /** Closes the descriptors of modules' BTF: once programs are loaded, they hold what they need. */
  close(): void {
    for (const fd of this.#descriptors.values()) fd.close();
    this.#descriptors.clear();
    this.#listed = false;
  }

  #openAll(): void {
    this.#listed = true;
    for (let id = 0; ; ) {
      const { result, attr } = rawBpf(this.#backend, "BPF_BTF_GET_NEXT_ID", getIdAttr, { start_id: id });
      if (result < 0) return;
      id = attr.readU32(getIdAttr.fields.next_id.offset);
      const opened = rawBpf(this.#backend, "BPF_BTF_GET_FD_BY_ID", getIdAttr, { btf_id: id });
      if (opened.result < 0) {
        // Gone since it was listed.
        if (errnoName(opened.result) === "ENOENT") continue;
        return;
      }
      const fd = new Fd(this.#backend, opened.result, `BTF ${id}`);
      let name: string | undefined;
      try {
        name = kernelName(fd);
      } finally {
        if (name === undefined || name === "vmlinux") fd.close();
      }
      if (name !== undefined && name !== "vmlinux") this.#descriptors.set(name, this.#cleanup.add(fd));
    }
  }
}

/** Name of BTF that the kernel or a module came with; `undefined` for what someone loaded. */
function kernelName(fd: Fd): string | undefined {
  const name = kernelBuffer(64);
  const info = kernelBuffer(btfInfo.size);
  const view = new DataView(info.buffer);
  view.setBigUint64(btfInfo.fields.name.offset, BigInt(fd.backend.addressOf(name)), true);
  view.setUint32(btfInfo.fields.name_len.offset, name.length, true);
  const attr = { bpf_fd: fd.number, info_len: info.length, info };
  bpf(fd.backend, "BPF_OBJ_GET_INFO_BY_FD", infoByFdAttr, attr, { action: `Cannot get information about ${fd.label}` });
  return view.getUint32(btfInfo.fields.kernel_btf.offset, true) === 0 ? undefined : decodeCString(name);
}
