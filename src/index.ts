export * from "./asm/index.ts";
export { BpfError, type BpfErrorCode, BtfError, ElfError, NotSupportedError, ParseError } from "./errors.ts";
export * from "./links/index.ts";
export * from "./maps/index.ts";
export * from "./object/index.ts";
export * from "./programs/index.ts";
export * from "./symbols/index.ts";
export {
  type BackendName,
  type BackendOption,
  Fd,
  formatSyscall,
  isErrno,
  openBackend,
  type SyscallBackend,
  SyscallError,
  type SyscallTrace,
  type SyscallTracer,
  traceSyscalls,
} from "./syscall/index.ts";
