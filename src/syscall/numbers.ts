import type { Architecture } from "./backend.ts";

/** System call numbers used by this library; `-1` where the architecture does not have the call. */
export interface SyscallNumbers {
  readonly bpf: number;
  readonly perf_event_open: number;
  readonly mmap: number;
  readonly munmap: number;
  readonly ioctl: number;
  readonly close: number;
  readonly read: number;
  readonly write: number;
  readonly fcntl: number;
  readonly openat: number;
  readonly mount: number;
  readonly umount2: number;
  readonly statfs: number;
  readonly epoll_create1: number;
  readonly epoll_ctl: number;
  readonly epoll_pwait: number;
  readonly eventfd2: number;
  readonly ppoll: number;
  readonly clock_gettime: number;
  readonly getpid: number;
  readonly fsopen: number;
  readonly fsconfig: number;
  readonly fsmount: number;
  readonly pipe2: number;
  readonly prlimit64: number;
  readonly io_uring_setup: number;
  readonly io_uring_enter: number;
  readonly socket: number;
  readonly bind: number;
  readonly sendto: number;
  readonly recvfrom: number;
  readonly setsockopt: number;
  readonly setns: number;
  readonly unshare: number;
}

const x64: SyscallNumbers = {
  bpf: 321,
  perf_event_open: 298,
  mmap: 9,
  munmap: 11,
  ioctl: 16,
  close: 3,
  read: 0,
  write: 1,
  fcntl: 72,
  openat: 257,
  mount: 165,
  umount2: 166,
  statfs: 137,
  epoll_create1: 291,
  epoll_ctl: 233,
  epoll_pwait: 281,
  eventfd2: 290,
  ppoll: 271,
  clock_gettime: 228,
  getpid: 39,
  fsopen: 430,
  fsconfig: 431,
  fsmount: 432,
  pipe2: 293,
  prlimit64: 302,
  io_uring_setup: 425,
  io_uring_enter: 426,
  socket: 41,
  bind: 49,
  sendto: 44,
  recvfrom: 45,
  setsockopt: 54,
  setns: 308,
  unshare: 272,
};

const arm64: SyscallNumbers = {
  bpf: 280,
  perf_event_open: 241,
  mmap: 222,
  munmap: 215,
  ioctl: 29,
  close: 57,
  read: 63,
  write: 64,
  fcntl: 25,
  openat: 56,
  mount: 40,
  umount2: 39,
  statfs: 43,
  epoll_create1: 20,
  epoll_ctl: 21,
  epoll_pwait: 22,
  eventfd2: 19,
  ppoll: 73,
  clock_gettime: 113,
  getpid: 172,
  fsopen: 430,
  fsconfig: 431,
  fsmount: 432,
  pipe2: 59,
  prlimit64: 261,
  io_uring_setup: 425,
  io_uring_enter: 426,
  socket: 198,
  bind: 200,
  sendto: 206,
  recvfrom: 207,
  setsockopt: 208,
  setns: 268,
  unshare: 97,
};

/** System call numbers by architecture. Sources: the kernel's `syscall_64.tbl` and its generic table. */
export const syscallNumbers: { readonly [A in Architecture]: SyscallNumbers } = { x64, arm64 };
