import { decodeUtf8 } from "../bytes/index.ts";
import { btfLoadAttr } from "../kernel-abi/index.ts";
import type { SyscallBackend } from "./backend.ts";
import { bpfError, rawBpf } from "./bpf.ts";
import { kernelBuffer, toKernel } from "./call.ts";
import { errnoName } from "./errno.ts";
import { Fd } from "./fd.ts";

/** How BTF is given to the kernel. */
export interface LoadBtfOptions {
  /** What it is, for messages. Default `BTF`. */
  readonly label?: string | undefined;
  /** Descriptor of a BPF token (Linux 6.9). */
  readonly token?: number | undefined;
}

const FIRST_LOG_SIZE = 64 * 1024;
const MAX_LOG_SIZE = 16 * 1024 * 1024;
const BPF_F_TOKEN_FD = 0x10000;

/**
 * Gives BTF to the kernel (`BPF_BTF_LOAD`, Linux 4.18), so that maps and programs can refer to its types. When the
 * kernel refuses it, it is asked again with a log, and the last line of that is in the error.
 *
 * @param backend shim
 * @param bytes the BTF; copied
 * @param options what it is called, token
 * @returns its descriptor: close it once all maps and programs are made
 * @throws SyscallError with the kernel's reason
 */
export function loadBtf(backend: SyscallBackend, bytes: Uint8Array, options: LoadBtfOptions = {}): Fd {
  const label = options.label ?? "BTF";
  const image = toKernel(bytes);
  const token = options.token === undefined ? {} : { btf_flags: BPF_F_TOKEN_FD, btf_token_fd: options.token };
  const attempt = (log?: Uint8Array): number =>
    rawBpf(
      backend,
      "BPF_BTF_LOAD",
      btfLoadAttr,
      {
        btf: image,
        btf_size: bytes.length,
        ...token,
        ...(log === undefined ? {} : { btf_log_buf: log, btf_log_size: log.length, btf_log_level: 1 }),
      },
      { btf: `${bytes.length} bytes`, btf_log_buf: log === undefined ? 0 : `${log.length} bytes` },
    ).result;
  const first = attempt();
  if (first >= 0) return new Fd(backend, first, label);
  let text = "";
  let result = first;
  for (let size = FIRST_LOG_SIZE; size <= MAX_LOG_SIZE; size *= 4) {
    const log = kernelBuffer(size);
    result = attempt(log);
    if (result >= 0) return new Fd(backend, result, label);
    const end = log.indexOf(0);
    text = decodeUtf8(log.subarray(0, end < 0 ? size : end));
    if (errnoName(result) !== "ENOSPC") break;
  }
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  const last = lines.at(-1)?.trim();
  const more = lines.length > 1 ? ` (${lines.length - 1} more lines in the log)` : "";
  throw bpfError("BPF_BTF_LOAD", errnoName(result) === "ENOSPC" ? first : result, {
    action: `Cannot load ${label}`,
    detail: last === undefined ? undefined : `${last}${more}`,
    hasLog: last !== undefined,
  });
}
