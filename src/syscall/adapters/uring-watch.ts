import { createRequire } from "node:module";
import type { DescriptorWatcher, SyscallBackend } from "../backend.ts";
import { syscallNumbers } from "../numbers.ts";
import { runReady } from "./guard.ts";

const O_CLOEXEC = 0x80000;
const PROT_READ_WRITE = 3;
const MAP_SHARED_POPULATE = 0x8001;
const IORING_FEAT_SINGLE_MMAP = 1;
const IORING_OFF_SQES = 0x1000_0000;
const IORING_OP_POLL_ADD = 6;
const IORING_OP_WRITE = 23;
const IOSQE_IO_LINK = 4;
const POLLIN = 1;
const SQE_SIZE = 64;

// What is written into the pipe. Not one a watch: the kernel may still read it just after a watch is closed.
const byte = new Uint8Array(new ArrayBuffer(1));

/**
 * Watches with nothing but public interfaces of Node: io_uring polls the descriptor and then writes one byte into a
 * pipe that a socket of Node's reads. Twice the CPU time of a libuv handle, but Node owns all that is left behind when
 * a thread ends.
 *
 * @param backend shim
 * @param descriptor what to watch
 * @param ready called once for each time it was armed
 * @throws Error when the kernel offers no io_uring here (before 5.6, switched off, or filtered in a container)
 */
export function watchThroughUring(backend: SyscallBackend, descriptor: number, ready: () => void): DescriptorWatcher {
  const numbers = syscallNumbers[backend.architecture];
  const call = (name: "io_uring_setup" | "pipe2" | "mmap" | "io_uring_enter", ...args: number[]): number => {
    const [a, b, c, d, e, f] = args;
    const result = backend.syscall(numbers[name], a, b, c, d, e, f);
    if (result >= 0) return result;
    throw new Error(`Cannot wait for events in this thread: ${name} gave ${result} (it needs io_uring, Linux 5.6)`);
  };
  const undo: (() => void)[] = [];
  try {
    // `struct io_uring_params`: entries at words 0 and 1, features at 5, then the offsets of both rings.
    const params = new Uint32Array(new ArrayBuffer(120));
    const ring = call("io_uring_setup", 4, backend.addressOf(params));
    undo.push(() => backend.syscall(numbers.close, ring));
    if ((params[5]! & IORING_FEAT_SINGLE_MMAP) === 0)
      throw new Error("Cannot wait for events in this thread: io_uring is too old");
    const [sqTail, sqMask, sqArray] = [params[11]!, params[12]!, params[16]!];
    const [cqHead, cqTail, cqEntries] = [params[20]!, params[21]!, params[25]!];
    const map = (length: number, offset: number): number => {
      const address = call("mmap", 0, length, PROT_READ_WRITE, MAP_SHARED_POPULATE, ring, offset);
      undo.push(() => backend.syscall(numbers.munmap, address, length));
      return address;
    };
    const ringLength = Math.max(sqArray + params[0]! * 4, cqEntries + params[1]! * 16);
    const words = new Int32Array(backend.viewMemory(map(ringLength, 0), ringLength), 0, ringLength >> 2);
    const entriesLength = params[0]! * SQE_SIZE;
    const entries = new DataView(
      backend.viewMemory(map(entriesLength, IORING_OFF_SQES), entriesLength),
      0,
      entriesLength,
    );

    const ends = new Int32Array(new ArrayBuffer(8));
    call("pipe2", backend.addressOf(ends), O_CLOEXEC);
    const [readEnd, writeEnd] = [ends[0]!, ends[1]!];
    undo.push(() => backend.syscall(numbers.close, writeEnd));
    const byteAddress = backend.addressOf(byte);
    // Loaded when it is needed: Bun and Deno take 14 to 31 ms for it.
    const { Socket } = createRequire(import.meta.url)("node:net") as typeof import("node:net");
    const socket = new Socket({ fd: readEnd, readable: true, writable: false });
    undo.push(() => socket.destroy());

    const mask = words[sqMask >> 2]!;
    const submit = (
      opcode: number,
      flags: number,
      fd: number,
      address: number,
      length: number,
      events: number,
    ): void => {
      const tail = words[sqTail >> 2]!;
      const at = (tail & mask) * SQE_SIZE;
      for (let i = 0; i < SQE_SIZE; i += 4) entries.setUint32(at + i, 0, true);
      entries.setUint8(at, opcode);
      entries.setUint8(at + 1, flags);
      entries.setInt32(at + 4, fd, true);
      entries.setBigUint64(at + 16, BigInt(address), true);
      entries.setUint32(at + 24, length, true);
      entries.setUint32(at + 28, events, true);
      words[(sqArray >> 2) + (tail & mask)] = tail & mask;
      Atomics.store(words, sqTail >> 2, (tail + 1) | 0);
    };
    let open = true;
    let armed = false;
    const arm = (): void => {
      if (!open || armed) return;
      armed = true;
      // What became of the last pair is of no interest; room for the next is.
      Atomics.store(words, cqHead >> 2, Atomics.load(words, cqTail >> 2));
      submit(IORING_OP_POLL_ADD, IOSQE_IO_LINK, descriptor, 0, 0, POLLIN);
      submit(IORING_OP_WRITE, 0, writeEnd, byteAddress, 1, 0);
      call("io_uring_enter", ring, 2, 0, 0);
    };
    socket.on("data", () => {
      if (!open) return;
      armed = false;
      runReady(ready);
    });
    // The pipe is ours alone: an error can only come from its end.
    socket.on("error", () => {});
    socket.unref();
    arm();
    return {
      arm,
      ref: () => void (open && socket.ref()),
      unref: () => void socket.unref(),
      close() {
        if (!open) return;
        open = false;
        // Closing the ring cancels the pair.
        release(undo);
      },
    };
  } catch (error) {
    release(undo);
    throw error;
  }
}

function release(undo: (() => void)[]): void {
  for (const step of undo.splice(0).reverse()) step();
}
