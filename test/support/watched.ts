import { BpfCommand, nameOfValue } from "../../src/kernel-abi/index.ts";
import type { SyscallBackend } from "../../src/syscall/index.ts";

/** A `bpf` command on its way to a kernel, fake or real. */
export interface WatchedCall {
  readonly command: BpfCommand;
  /** Bytes of the attributes: what the kernel is given, and after the call what it has written. */
  readonly attr: Uint8Array;
  /** Memory of this process at an address that was asked for. */
  readonly memory: (address: number, length: number) => Uint8Array;
}

/** Looks at each `bpf` command before it is made; gives a result in its place, or `undefined` to let it pass. */
export type BeforeCall = (call: WatchedCall) => number | undefined;

/** Looks at any other system call, as {@link BeforeCall}. */
export type BeforeSyscall = (number: number) => number | undefined;

/**
 * A shim in front of another one that sees every call, and can answer it in the kernel's place.
 *
 * @param backend the shim behind it
 * @param before for `bpf`
 * @param beforeSyscall for all other system calls
 */
export function watchedBackend(
  backend: SyscallBackend,
  before: BeforeCall,
  beforeSyscall: BeforeSyscall = () => undefined,
): SyscallBackend {
  // Addresses are those that were asked for: their memory is reached without reading any that is not ours.
  const views: { readonly start: number; readonly bytes: Uint8Array }[] = [];
  const memory = (address: number, length: number): Uint8Array => {
    for (let i = views.length - 1; i >= 0; i--) {
      const { start, bytes } = views[i]!;
      if (address >= start && address + length <= start + bytes.length) {
        return bytes.subarray(address - start, address - start + length);
      }
    }
    throw new RangeError(`Nothing of ours is at ${address}`);
  };
  return {
    name: backend.name,
    architecture: backend.architecture,
    addressOf(view) {
      const start = backend.addressOf(view);
      views.push({ start, bytes: new Uint8Array(view.buffer, view.byteOffset, view.byteLength) });
      if (views.length > 64) views.shift();
      return start;
    },
    syscall: (number, ...args) => beforeSyscall(number) ?? backend.syscall(number, ...args),
    bpf(command, attr, size) {
      const name = nameOfValue(BpfCommand, command);
      const answer = name && before({ command: name, attr: memory(attr, size), memory });
      return answer ?? backend.bpf(command, attr, size);
    },
    viewMemory: (address, length) => backend.viewMemory(address, length),
    loadWord: (words, index, address) => backend.loadWord(words, index, address),
    watch: (descriptor, ready) => backend.watch(descriptor, ready),
  };
}
