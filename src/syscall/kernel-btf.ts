import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Btf, openBtf } from "../btf/index.ts";
import { BtfError, NotSupportedError } from "../errors.ts";
import { kernelVersion } from "./host.ts";

/**
 * BTF that was opened before, by name (`vmlinux`, or a module's). Passed explicitly, because it holds the 5 MB of a
 * kernel's BTF: who keeps it decides how long they stay. Empty to begin with: `new Map()`.
 */
export type KernelBtfCache = Map<string, Btf>;

/** Options of {@link loadKernelBtf}. */
export interface LoadKernelBtfOptions {
  /** Looked into first, and filled with what is opened. Default none: each call reads the file again. */
  readonly cache?: KernelBtfCache | undefined;
  /**
   * Reads the `.BTF` section of an uncompressed kernel image, for kernels that do not offer their BTF in `/sys`.
   * `undefined` when the file has none. Default: images are passed over.
   */
  readonly readImage?: ((path: string) => Uint8Array | undefined) | undefined;
  /** Root of the file system to look in, for tests and for other machines' images. Default `/`. */
  readonly root?: string | undefined;
  /** Release whose image is looked for, as `uname -r` prints it. Default that of the running kernel. */
  readonly release?: string | undefined;
}

const SYSFS = "sys/kernel/btf";

/** Where kernel images lie, in the order in which libbpf looks. */
const IMAGES: readonly ((release: string) => string)[] = [
  (release) => `boot/vmlinux-${release}`,
  (release) => `lib/modules/${release}/vmlinux-${release}`,
  (release) => `lib/modules/${release}/build/vmlinux`,
  (release) => `usr/lib/modules/${release}/kernel/vmlinux`,
  (release) => `usr/lib/debug/boot/vmlinux-${release}`,
  (release) => `usr/lib/debug/boot/vmlinux-${release}.debug`,
  (release) => `usr/lib/debug/lib/modules/${release}/vmlinux`,
];

/**
 * Opens the BTF of the running kernel or of one of its modules. A module's goes on from the kernel's: numbers of
 * types and all lookups reach both.
 *
 * @param name `vmlinux`, or the name of a loaded module. Default `vmlinux`
 * @param options cache, and where to look
 * @throws NotSupportedError when the kernel has no BTF that can be found
 * @throws BtfError `ERR_BTF_NOT_FOUND` when there is no such module or it has no BTF; any other when what was found is
 *   malformed, as the BTF of a module is beside that of another kernel
 *
 * @example
 * ```ts
 * import { loadKernelBtf } from "rawbpf/syscall";
 *
 * const cache = new Map();
 * const btf = loadKernelBtf("vmlinux", { cache });
 * console.log(btf.typeByName("pid_t", "typedef").id);
 * ```
 */
export function loadKernelBtf(name = "vmlinux", options: LoadKernelBtfOptions = {}): Btf {
  const known = options.cache?.get(name);
  if (known !== undefined) return known;
  const btf = name === "vmlinux" ? openKernel(options) : openModule(name, options);
  options.cache?.set(name, btf);
  return btf;
}

/**
 * Names of what has BTF in the running kernel: `vmlinux` first, then the modules.
 *
 * @param options `root`
 * @returns an empty list when the kernel offers none
 */
export function kernelBtfNames(options: Pick<LoadKernelBtfOptions, "root"> = {}): string[] {
  let names: string[];
  try {
    names = readdirSync(join(options.root ?? "/", SYSFS));
  } catch {
    return [];
  }
  const modules = names.filter((name) => name !== "vmlinux").sort();
  return names.length > modules.length ? ["vmlinux", ...modules] : modules;
}

function openKernel(options: LoadKernelBtfOptions): Btf {
  const root = options.root ?? "/";
  const path = join(root, SYSFS, "vmlinux");
  if (existsSync(path)) return openBtf(readFileSync(path), { path });
  const release = options.release ?? kernelVersion()?.release;
  if (release !== undefined && options.readImage !== undefined) {
    for (const place of IMAGES) {
      const image = join(root, place(release));
      const bytes = existsSync(image) ? options.readImage(image) : undefined;
      if (bytes !== undefined) return openBtf(bytes, { path: `${image} .BTF` });
    }
  }
  throw new NotSupportedError("BTF of the kernel", {
    hint: `needs a kernel built with CONFIG_DEBUG_INFO_BTF, which shows it as ${path}; or give the BTF yourself`,
  });
}

function openModule(name: string, options: LoadKernelBtfOptions): Btf {
  // A name may come from an object file: it must not lead out of the folder.
  if (!/^[\w-]+$/.test(name)) {
    throw new BtfError("ERR_BTF_NOT_FOUND", `"${name}" is no name of a kernel module`);
  }
  const base = loadKernelBtf("vmlinux", options);
  const path = join(options.root ?? "/", SYSFS, name);
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(path);
  } catch (cause) {
    throw new BtfError("ERR_BTF_NOT_FOUND", `No BTF of module "${name}"`, {
      path,
      cause,
      hint: "the module must be loaded, and the kernel built with CONFIG_DEBUG_INFO_BTF_MODULES",
    });
  }
  return openBtf(bytes, { base, path });
}
