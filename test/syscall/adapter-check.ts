/**
 * Puts one adapter through its paces in the runtime that executes this file; `adapters.test.ts` starts it in each
 * runtime and reads what it prints.
 *
 *   RUNTIME adapter-check.js ADAPTER SCENARIO [ROUNDS]
 */
import { readdirSync } from "node:fs";
import { setTimeout as startTimer } from "node:timers";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import type { DescriptorWatcher, SyscallBackend } from "../../src/syscall/backend.ts";
import { syscallNumbers } from "../../src/syscall/numbers.ts";
import { adapters, openBackend } from "../../src/syscall/select.ts";

const [EPERM, EBADF, EFAULT, EINVAL, ENOENT, E2BIG] = [1, 9, 14, 22, 2, 7];
const [EPOLL_CTL_ADD, EPOLLIN] = [1, 1];
const [PROT_READ, PROT_WRITE] = [1, 2];
const [MAP_SHARED, MAP_PRIVATE, MAP_FIXED, MAP_ANONYMOUS] = [1, 2, 0x10, 0x20];
const [SEEK_SET, SEEK_END] = [0, 2];
const EFD_NONBLOCK_CLOEXEC = 0x80800;
const PAGE = 65536; // the largest there is

interface Task {
  readonly adapter: string;
  readonly scenario: string;
  readonly rounds: number;
}

const argv = process.argv.slice(2);
const task: Task = (workerData as Task | null) ?? {
  adapter: argv[0] ?? "",
  scenario: argv[1] ?? "",
  rounds: Number(argv[2] ?? 3000),
};

function openAdapter(): SyscallBackend {
  const adapter = adapters.find(({ name }) => name === task.adapter);
  if (adapter === undefined) throw new Error(`There is no adapter "${task.adapter}"`);
  const reason = adapter.unavailable();
  if (reason !== undefined) throw new Error(`${task.adapter} ${reason}`);
  return adapter.open();
}

function equal(actual: unknown, expected: unknown, what: string): void {
  if (!Object.is(actual, expected)) throw new Error(`${what}: ${String(actual)}, expected ${String(expected)}`);
}

/** Runs one check and prints how it went. */
async function check(name: string, run: () => void | Promise<void>): Promise<void> {
  try {
    await run();
    console.log(`CHECK ok ${name}`);
  } catch (error) {
    console.log(`CHECK FAILED ${name}: ${(error as Error).stack ?? error}`.replaceAll("\n", " | "));
  }
}

function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => startTimer(resolve, milliseconds));
}

/** A full collection, where the runtime was started with one at hand. */
function collectGarbage(): void {
  const found = globalThis as { gc?: () => void; Bun?: { gc(force: boolean): void } };
  const collect = found.Bun !== undefined ? () => found.Bun!.gc(true) : found.gc;
  if (collect === undefined) throw new Error("Start this with --expose-gc");
  let litter: unknown[] = [];
  for (let i = 0; i < 3; i++) {
    for (let j = 0; j < 1000; j++) litter.push(new Uint8Array(100), { j });
    litter = [];
    collect();
  }
}

// Anything whose address is in use.
const held: unknown[] = [];

function memory(length: number): Uint8Array {
  const bytes = new Uint8Array(new ArrayBuffer(length));
  held.push(bytes);
  return bytes;
}

// Both architectures have these under different numbers, and the library itself has no use for them.
const extra = {
  x64: { lseek: 8, memfd_create: 319, prctl: 157 },
  arm64: { lseek: 62, memfd_create: 279, prctl: 167 },
};

async function calls(backend: SyscallBackend): Promise<void> {
  const numbers = { ...syscallNumbers[backend.architecture], ...extra[backend.architecture] };
  const name = memory(8);
  name.set([0x74, 0x65, 0x73, 0x74]);
  const memoryFile = (): number => {
    const fd = backend.syscall(numbers.memfd_create, backend.addressOf(name), 1);
    if (fd < 0) throw new Error(`memfd_create gave ${fd}`);
    return fd;
  };
  const mmap = (address: number, protection: number, flags: number, fd: number): number => {
    const result = backend.syscall(numbers.mmap, address, PAGE, protection, flags, fd, 0);
    if (result < 0) throw new Error(`mmap gave ${result}`);
    return result;
  };

  await check("is the adapter it says, and the one that RAWBPF_FFI asks for", () => {
    equal(backend.name, task.adapter, "name");
    equal(openBackend().name, process.env.RAWBPF_FFI, "name of the chosen one");
  });
  await check("getpid", () => equal(backend.syscall(numbers.getpid), process.pid, "process"));
  await check("failing calls give -errno", () => {
    equal(backend.syscall(numbers.close, -1), -EBADF, "close(-1)");
    equal(backend.syscall(numbers.epoll_create1, 0x7fff_ffff), -EINVAL, "epoll_create1(garbage)");
    const fd = backend.syscall(numbers.eventfd2, 0, EFD_NONBLOCK_CLOEXEC);
    equal(backend.syscall(numbers.write, fd, 1, 8), -EFAULT, "write(eventfd, 1, 8)");
    equal(backend.syscall(numbers.close, fd), 0, "close");
    equal(backend.syscall(numbers.close, fd), -EBADF, "second close");
  });
  await check("53-bit integers are exact both ways, negative ones keep their sign", () => {
    const fd = memoryFile();
    for (const at of [0, 1, 2 ** 31, 2 ** 32 + 1, 2 ** 52 + 1, Number.MAX_SAFE_INTEGER]) {
      equal(backend.syscall(numbers.lseek, fd, at, SEEK_SET), at, "lseek");
    }
    backend.syscall(numbers.lseek, fd, 0, SEEK_SET);
    equal(backend.syscall(numbers.write, fd, backend.addressOf(memory(100)), 100), 100, "write");
    equal(backend.syscall(numbers.lseek, fd, -1, SEEK_END), 99, "lseek(-1, SEEK_END)");
    equal(backend.syscall(numbers.lseek, fd, -(2 ** 40), SEEK_SET), -EINVAL, "lseek(-2^40)");
    backend.syscall(numbers.close, fd);
  });

  const attr = new DataView(memory(128).buffer);
  const attrAddress = backend.addressOf(attr);
  const key = new Uint32Array(memory(4).buffer);
  const value = new BigUint64Array(memory(8).buffer);
  let map = -1;
  const element = (command: number): number => {
    for (let i = 0; i < 128; i += 4) attr.setUint32(i, 0, true);
    attr.setUint32(0, map, true);
    attr.setBigUint64(8, BigInt(backend.addressOf(key)), true);
    attr.setBigUint64(16, BigInt(backend.addressOf(value)), true);
    return backend.bpf(command, attrAddress, 32);
  };
  await check("bpf() commands", () => {
    equal(backend.bpf(999, attrAddress, 32), -EINVAL, "bpf(999)");
    equal(backend.bpf(0, attrAddress, 2 ** 20), -E2BIG, "bpf() with 1 MiB of attributes");
    equal(backend.bpf(0, 1, 72), -EFAULT, "bpf() with attributes at address 1");
    for (const [i, word] of [1, 4, 8, 16].entries()) attr.setUint32(i * 4, word, true);
    map = backend.bpf(0, attrAddress, 72);
    if (map < 0) throw new Error(`BPF_MAP_CREATE gave ${map}`);
    key[0] = 7;
    equal(element(1), -ENOENT, "lookup of nothing");
    value[0] = 0xfedc_ba98_7654_3210n;
    equal(element(2), 0, "update");
    value[0] = 0n;
    equal(element(1), 0, "lookup");
    equal(value[0], 0xfedc_ba98_7654_3210n, "value");
  });
  await check("errno is right under allocation pressure", () => {
    let litter: unknown[] = [];
    let wrong = 0;
    for (let i = 0; i < task.rounds; i++) {
      litter.push(new Array(50).fill(i), new Uint8Array(200), `${i} litter`, BigInt(i) << 70n);
      if (backend.syscall(numbers.close, -1) !== -EBADF) wrong++;
      if (backend.bpf(999, attrAddress, 32) !== -EINVAL) wrong++;
      key[0] = 99;
      if (element(1) !== -ENOENT) wrong++;
      key[0] = 7;
      if (element(1) !== 0) wrong++;
      if (backend.syscall(numbers.write, map, 1, 8) !== -EINVAL) wrong++;
      if (litter.length > 20000) litter = [];
    }
    equal(wrong, 0, `wrong results in ${task.rounds * 5}`);
  });
  equal(backend.syscall(numbers.close, map), 0, "close of the map");

  await check("addresses are those of the bytes, and stay", () => {
    const fd = memoryFile();
    const views = [8, 24, 64, 65, 1000, 5000, 100_000].map((length) => new Uint8Array(length));
    const addresses = views.map((view) => backend.addressOf(view));
    collectGarbage();
    for (const [i, view] of views.entries()) {
      equal(backend.addressOf(view), addresses[i], `address of ${view.length} bytes`);
      view.fill(i + 1);
      equal(backend.syscall(numbers.write, fd, addresses[i]!, view.length), view.length, "write");
      backend.syscall(numbers.lseek, fd, 0, SEEK_SET);
      view.fill(0);
      equal(backend.syscall(numbers.read, fd, addresses[i]!, view.length), view.length, "read");
      equal(
        view.every((byte) => byte === i + 1),
        true,
        "what was read",
      );
      backend.syscall(numbers.lseek, fd, 0, SEEK_SET);
    }
    const whole = memory(64);
    const part = whole.subarray(13, 20);
    equal(backend.addressOf(part), backend.addressOf(whole) + 13, "address of a part");
    equal(backend.addressOf(new DataView(whole.buffer, 8)), backend.addressOf(whole) + 8, "address of a DataView");
    backend.syscall(numbers.close, fd);
    try {
      backend.addressOf(new Uint8Array(0));
    } catch (error) {
      equal(error instanceof TypeError, true, "a TypeError for an empty view");
      return;
    }
    throw new Error("An empty view got an address");
  });

  await check("views of memory are live both ways", () => {
    const address = mmap(0, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    const bytes = new Uint8Array(backend.viewMemory(address, PAGE), 0, PAGE);
    const again = new Uint8Array(backend.viewMemory(address, PAGE), 0, PAGE);
    equal(backend.addressOf(bytes), address, "address of the view");
    const fd = memoryFile();
    bytes.set([1, 2, 3, 4]);
    equal(again[3], 4, "a second view");
    equal(backend.syscall(numbers.write, fd, address, 4), 4, "write");
    backend.syscall(numbers.lseek, fd, 0, SEEK_SET);
    equal(backend.syscall(numbers.read, fd, address + 1000, 4), 4, "read");
    equal(bytes[1003], 4, "what the kernel wrote");
    // Stale views of a range that was replaced read zeros and harm nobody.
    equal(mmap(address, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1), address, "mmap again");
    equal(bytes[3], 0, "a stale view");
    bytes[3] = 9;
    collectGarbage();
    equal(again[3], 9, "a second stale view");
    backend.syscall(numbers.close, fd);
  });
  await check("words of read-only memory are read afresh", async () => {
    const fd = memoryFile();
    equal(backend.syscall(numbers.lseek, fd, PAGE - 1, SEEK_SET), PAGE - 1, "lseek");
    equal(backend.syscall(numbers.write, fd, backend.addressOf(memory(1)), 1), 1, "write");
    const reading = mmap(0, PROT_READ, MAP_SHARED, fd);
    const writing = mmap(0, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
    const read = new Int32Array(backend.viewMemory(reading, PAGE), 0, PAGE / 4);
    const write = new Int32Array(backend.viewMemory(writing, PAGE), 0, PAGE / 4);
    // Long enough for every tier of the compilers.
    for (let i = 0; i < 300_000; i++) {
      write[5] = i;
      if (backend.loadWord(read, 5, reading + 20) !== i) throw new Error(`Read something else at ${i}`);
    }
    write[5] = -2;
    equal(backend.loadWord(read, 5, reading + 20), -2, "a negative word");
    // A thread writes while this one spins: a load that a compiler moved out of the loop would never see it.
    const gate = new Int32Array(new SharedArrayBuffer(4));
    const writer = new Worker(new URL(import.meta.url), { workerData: { ...task, gate, address: writing + 24 } });
    await new Promise((resolve) => writer.once("message", resolve));
    Atomics.store(gate, 0, 1);
    Atomics.notify(gate, 0);
    let turns = 0;
    while (backend.loadWord(read, 6, reading + 24) === 0 && turns < 3e9) turns++;
    await writer.terminate();
    equal(read[6], 77, "what the thread wrote");
    equal(turns < 3e9, true, "that it was seen while spinning");
    equal(turns > 1000, true, "that there was time to spin");
    backend.syscall(numbers.close, fd);
  });
}

/** An event descriptor in an epoll descriptor, which is what gets watched. */
interface Source {
  readonly epoll: number;
  fire(): void;
  drain(): void;
  close(): void;
}

function createSource(backend: SyscallBackend): Source {
  const numbers = syscallNumbers[backend.architecture];
  const events = backend.syscall(numbers.eventfd2, 0, EFD_NONBLOCK_CLOEXEC);
  const epoll = backend.syscall(numbers.epoll_create1, 0x80000);
  const entry = new Uint32Array(memory(16).buffer);
  entry[0] = EPOLLIN;
  equal(backend.syscall(numbers.epoll_ctl, epoll, EPOLL_CTL_ADD, events, backend.addressOf(entry)), 0, "epoll_ctl");
  const one = new BigUint64Array(memory(8).buffer).fill(1n);
  const count = memory(8);
  return {
    epoll,
    fire: () => equal(backend.syscall(numbers.write, events, backend.addressOf(one), 8), 8, "write"),
    drain: () => void backend.syscall(numbers.read, events, backend.addressOf(count), 8),
    close() {
      equal(backend.syscall(numbers.close, epoll), 0, "close of the epoll descriptor");
      equal(backend.syscall(numbers.close, events), 0, "close of the event descriptor");
    },
  };
}

/** Descriptors whose target is not a file: those of the watches are among them. */
function openDescriptors(): number {
  return readdirSync("/proc/self/fd").length;
}

async function watching(backend: SyscallBackend): Promise<void> {
  // A watch alone does not keep the process running.
  const alive = setInterval(() => {}, 1000);
  const source = createSource(backend);
  let calls = 0;
  let onReady = (): void => {};
  const watcher = backend.watch(source.epoll, () => {
    calls++;
    onReady();
  });
  /** Resolves at the next `ready`, in which everything is drained and nothing re-armed. */
  const next = (): Promise<void> =>
    new Promise((resolve) => {
      onReady = () => {
        source.drain();
        onReady = () => {};
        resolve();
      };
    });

  await check("wakes when something comes", async () => {
    const woken = next();
    await sleep(20);
    equal(calls, 0, "calls before there was anything");
    source.fire();
    await woken;
    equal(calls, 1, "calls");
  });
  await check("does not call when nothing comes or nothing was asked for", async () => {
    await sleep(30);
    equal(calls, 1, "calls");
    source.fire();
    await sleep(60);
    equal(calls, 1, "calls without arm");
    source.drain();
  });
  await check("calls at once when armed on something that was there before", async () => {
    source.fire();
    const woken = next();
    watcher.arm();
    await woken;
  });
  const delays: number[] = [];
  await check("wakes again and again", async () => {
    for (let i = 0; i < 200; i++) {
      watcher.arm();
      await sleep(1 + (i % 3));
      const woken = next();
      const started = performance.now();
      source.fire();
      await woken;
      delays.push((performance.now() - started) * 1000);
    }
    delays.sort((a, b) => a - b);
    console.log(`FIGURE p50 ${delays[100]!.toFixed(0)} us, p90 ${delays[180]!.toFixed(0)} us`);
  });
  await check("costs nothing while it waits", async () => {
    watcher.arm();
    await sleep(50);
    const before = process.cpuUsage();
    await sleep(400);
    const used = process.cpuUsage(before);
    const percent = (used.user + used.system) / 4000;
    console.log(`FIGURE idle ${(percent * 10).toFixed(1)} ms/s`);
    equal(percent < 15, true, `less than 15 % of a processor, was ${percent} %`);
  });
  await check("survives garbage collection", async () => {
    for (let i = 0; i < 5; i++) {
      collectGarbage();
      await sleep(2);
    }
    const woken = next();
    source.fire();
    await woken;
  });
  await check("reports what ready throws, and goes on", async () => {
    const reported = new Promise<unknown>((resolve) => process.once("uncaughtException", resolve));
    onReady = () => {
      source.drain();
      throw new Error("thrown on purpose");
    };
    watcher.arm();
    source.fire();
    equal(((await reported) as Error).message, "thrown on purpose", "message");
    const woken = next();
    watcher.arm();
    source.fire();
    await woken;
  });
  await check("watches do not disturb each other, and end for good", async () => {
    const others = [createSource(backend), createSource(backend)];
    const counts = [0, 0];
    const watchers: DescriptorWatcher[] = others.map((other, i) =>
      backend.watch(other.epoll, () => {
        counts[i]!++;
        other.drain();
        if (i === 0) watchers[0]!.close(); // inside of its own call
      }),
    );
    others[0]!.fire();
    await sleep(100);
    equal(counts.join(), "1,0", "calls");
    watchers[0]!.close();
    watchers[0]!.arm();
    others[0]!.fire();
    others[1]!.fire();
    await sleep(100);
    equal(counts.join(), "1,1", "calls after one was closed");
    others[1]!.fire();
    watchers[1]!.arm();
    watchers[1]!.close();
    watchers[1]!.close();
    watchers[1]!.ref();
    watchers[1]!.unref();
    await sleep(50);
    equal(counts.join(), "1,1", "calls after both were closed");
    for (const other of others) other.close();
  });
  watcher.close();
  source.close();
  await check("leaves no descriptor behind", async () => {
    await sleep(50);
    const before = openDescriptors();
    for (let i = 0; i < 10; i++) {
      const other = createSource(backend);
      const opened = backend.watch(other.epoll, () => {});
      await sleep(2);
      opened.close();
      other.close();
    }
    const until = performance.now() + 3000;
    while (openDescriptors() > before && performance.now() < until) await sleep(20);
    equal(openDescriptors() <= before, true, `at most ${before} descriptors, now ${openDescriptors()}`);
  });
  clearInterval(alive);
}

/** Referenced, a watch keeps the process until it is closed; the timer alone would not. */
function holding(backend: SyscallBackend): void {
  const source = createSource(backend);
  const watcher = backend.watch(source.epoll, () => {
    source.drain();
    watcher.close();
    console.log("DONE");
  });
  watcher.ref();
  startTimer(() => source.fire(), 150).unref();
}

/** Leaves an armed watch behind, on something that is readable all the time or never. */
function leaving(backend: SyscallBackend, how: "exit" | "end", readable: boolean): void {
  const source = createSource(backend);
  let calls = 0;
  const watcher = backend.watch(source.epoll, () => {
    calls++;
    watcher.arm();
  });
  if (readable) source.fire();
  const deadline = performance.now() + 10_000;
  const leave = (): void => {
    // A busy machine may need more than the first tenth of a second for the first event.
    if (readable && calls === 0 && performance.now() < deadline) {
      startTimer(leave, 50);
      return;
    }
    if (calls > 0 !== readable) console.log(`CHECK FAILED calls: ${calls}`);
    console.log("DONE");
    if (how === "exit") process.exit(0);
  };
  startTimer(leave, 100);
}

async function inWorker(): Promise<void> {
  for (const readable of [false, true]) {
    const worker = new Worker(new URL(import.meta.url), { workerData: { ...task, readable } });
    const said: string[] = [];
    await new Promise<void>((resolve, reject) => {
      worker.on("message", (message: string) => {
        said.push(message);
        if (message === "armed") resolve();
      });
      worker.on("error", reject);
      worker.on("exit", () => reject(new Error(`The worker ended after ${said.join()}`)));
    });
    worker.removeAllListeners("exit");
    await check(`a worker calls and is woken (${readable ? "busy" : "idle"})`, () => {
      equal(said.join(), "pid,errno,woken,armed", "messages");
    });
    await check(`a worker is terminated while it waits (${readable ? "busy" : "idle"})`, async () => {
      await sleep(50);
      const started = performance.now();
      await worker.terminate();
      equal(performance.now() - started < 1000, true, "within a second");
    });
  }
  console.log("DONE");
}

interface WorkerData extends Task {
  readonly readable?: boolean;
  readonly gate?: Int32Array;
  readonly address?: number;
}

async function worker({ readable = false, gate, address }: WorkerData): Promise<void> {
  const port = parentPort!;
  const backend = openAdapter();
  if (gate !== undefined) {
    const word = new Int32Array(backend.viewMemory(address!, 4), 0, 1);
    port.postMessage("ready");
    Atomics.wait(gate, 0, 0);
    Atomics.wait(gate, 0, 1, 60);
    word[0] = 77;
    return;
  }
  const numbers = syscallNumbers[backend.architecture];
  if (backend.syscall(numbers.getpid) === process.pid) port.postMessage("pid");
  if (backend.syscall(numbers.close, -1) === -EBADF && backend.bpf(999, 0, 0) === -EINVAL) port.postMessage("errno");
  const source = createSource(backend);
  let first = true;
  const watcher = backend.watch(source.epoll, () => {
    if (first) {
      first = false;
      port.postMessage("woken");
      if (!readable) source.drain();
      port.postMessage("armed");
    }
    watcher.arm();
  });
  source.fire();
  setInterval(() => {}, 1000);
}

/**
 * Makes `io_uring_setup` fail with EPERM in this thread, as container runtimes do, by a seccomp filter: four
 * instructions of classic BPF.
 */
function forbidUring(backend: SyscallBackend): void {
  const { prctl } = extra[backend.architecture];
  const instructions = new DataView(memory(32).buffer);
  const put = (at: number, code: number, jumpTrue: number, jumpFalse: number, k: number): void => {
    instructions.setUint16(at * 8, code, true);
    instructions.setUint8(at * 8 + 2, jumpTrue);
    instructions.setUint8(at * 8 + 3, jumpFalse);
    instructions.setUint32(at * 8 + 4, k, true);
  };
  put(0, 0x20, 0, 0, 0); // load the number of the system call
  put(1, 0x15, 0, 1, syscallNumbers[backend.architecture].io_uring_setup);
  put(2, 0x06, 0, 0, 0x0005_0001); // SECCOMP_RET_ERRNO, EPERM
  put(3, 0x06, 0, 0, 0x7fff_0000); // SECCOMP_RET_ALLOW
  const program = new DataView(memory(16).buffer);
  program.setUint16(0, 4, true);
  program.setBigUint64(8, BigInt(backend.addressOf(instructions)), true);
  equal(backend.syscall(prctl, 38, 1), 0, "PR_SET_NO_NEW_PRIVS");
  equal(backend.syscall(prctl, 22, 2, backend.addressOf(program)), 0, "PR_SET_SECCOMP");
  equal(backend.syscall(syscallNumbers[backend.architecture].io_uring_setup, 1, 0), -EPERM, "io_uring_setup");
}

async function main(): Promise<void> {
  if (task.scenario === "reason") {
    console.log(`REASON ${adapters.find(({ name }) => name === task.adapter)?.unavailable() ?? "none"}`);
    console.log("DONE");
    return;
  }
  const backend = openAdapter();
  switch (task.scenario) {
    case "calls":
      await calls(backend);
      console.log("DONE");
      return;
    case "watch":
      await watching(backend);
      console.log("DONE");
      return;
    case "watch-without-uring":
      forbidUring(backend);
      await watching(backend);
      console.log("DONE");
      return;
    case "hold":
      return holding(backend);
    case "exit-idle":
    case "exit-busy":
    case "end-idle":
    case "end-busy":
      return leaving(backend, task.scenario.startsWith("exit") ? "exit" : "end", task.scenario.endsWith("busy"));
    case "worker":
      return inWorker();
    default:
      throw new Error(`There is no scenario "${task.scenario}"`);
  }
}

if (isMainThread) await main();
else await worker(workerData as WorkerData);
