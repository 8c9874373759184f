import { mkdirSync, readdirSync, readFileSync, rmdirSync, statSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { assemble, type Instruction } from "../../src/asm/index.ts";
import type { BpfError } from "../../src/errors.ts";
import { linkCreateAttr } from "../../src/kernel-abi/index.ts";
import {
  attachIterator,
  attachTracing,
  type IteratorOptions,
  iterateRecords,
  readIterator,
  readIteratorText,
} from "../../src/links/index.ts";
import { createMap, u32, u64 } from "../../src/maps/index.ts";
import { loadProgram, type Program } from "../../src/programs/index.ts";
import { backendOf, FakeKernel, loadKernelBtf, mountDetached } from "../../src/syscall/index.ts";
import { failOnLeaks, requires } from "../support/harness.ts";

const test = suite("iterators");
failOnLeaks(test);
const kernel = requires(test, "bpf", "sys-admin", "koffi");

function load(name: string, text: string): Program {
  const { id } = loadKernelBtf().typeByName(`bpf_iter_${name}`, "func");
  return loadProgram({
    type: "tracing",
    expectedAttachType: "trace_iter",
    attachBtfId: id,
    instructions: assemble(text) as Instruction[],
    license: "GPL",
    name: `iter_${name}`.slice(0, 15),
  });
}

/** Writes the number of each thread, and no more than `limit` bytes a time. */
function taskProgram(): Program {
  const btf = loadKernelBtf();
  const task = btf.typeByName("task_struct", "struct");
  const member = task.members.find((one) => one.name === "pid")!;
  // ctx: meta, task
  return load(
    "task",
    `
    r6 = *(u64 *)(r1 + 0)
    r7 = *(u64 *)(r1 + 8)
    if r7 == 0 goto out
    r2 = *(u32 *)(r7 + ${member.bitOffset / 8})
    *(u32 *)(r10 - 8) = r2
    r1 = *(u64 *)(r6 + 0)
    r2 = r10
    r2 += -8
    r3 = 4
    call seq_write
    out:
    r0 = 0
    exit
    `,
  );
}

kernel("an iterator over tasks sees this process", () => {
  using program = taskProgram();
  using link = attachIterator(program);
  assert.is(link.info().type, "iter");
  const pids = [...iterateRecords(link, u32)];
  assert.ok(pids.includes(process.pid), `${pids.length} tasks without ${process.pid}`);
  assert.is(readIterator(link).length % 4, 0);
  // Each reading walks anew.
  assert.ok([...iterateRecords(link, u32)].includes(process.pid));
});

kernel("an iterator over the threads of one process sees only those", () => {
  using program = taskProgram();
  using link = attachIterator(program, { task: { pid: process.pid } });
  const seen = [...iterateRecords(link, u32)].sort((a, b) => a - b);
  const threads = readdirSync("/proc/self/task")
    .map(Number)
    .sort((a, b) => a - b);
  assert.equal(seen, threads);
  const info = link.info();
  assert.ok(info.type === "iter");
  assert.is(info.name, "task");
  assert.is(info.task?.pid, process.pid);
  using one = attachIterator(program, { task: { tid: process.pid } });
  assert.equal([...iterateRecords(one, u32)], [process.pid]);
});

kernel("an iterator over a map sees its elements", () => {
  using map = createMap({ type: "hash", key: u32, value: u64, maxEntries: 16 });
  for (let i = 0; i < 10; i++) map.set(i, BigInt(i * i));
  // ctx: meta, map, key, value
  using program = load(
    "bpf_map_elem",
    `
    r6 = *(u64 *)(r1 + 0)
    r7 = *(u64 *)(r1 + 16)
    r8 = *(u64 *)(r1 + 24)
    if r7 == 0 goto out
    if r8 == 0 goto out
    r2 = *(u32 *)(r7 + 0)
    *(u64 *)(r10 - 16) = r2
    r2 = *(u64 *)(r8 + 0)
    *(u64 *)(r10 - 8) = r2
    r1 = *(u64 *)(r6 + 0)
    r2 = r10
    r2 += -16
    r3 = 16
    call seq_write
    out:
    r0 = 0
    exit
    `,
  );
  using link = attachIterator(program, { map });
  const pair = {
    size: 16,
    decode: (bytes: Uint8Array, offset: number): [bigint, bigint] => [
      u64.decode(bytes, offset),
      u64.decode(bytes, offset + 8),
    ],
  };
  const seen = [...iterateRecords(link, pair)].sort((a, b) => Number(a[0] - b[0]));
  assert.equal(
    seen,
    Array.from({ length: 10 }, (_, i) => [BigInt(i), BigInt(i * i)]),
  );
  const info = link.info();
  assert.ok(info.type === "iter" && info.mapId === map.info().id);
  assert.throws(
    () => [...iterateRecords(link, { size: 7, decode: () => 0 })],
    (error: BpfError) => error.code === "ERR_TRUNCATED",
  );
  // Without a map there is nothing to walk.
  assert.throws(() => attachIterator(program), /EBADF|EINVAL/);
});

kernel("a pinned iterator is read like a file", () => {
  using program = load(
    "task",
    `
    r6 = *(u64 *)(r1 + 0)
    r7 = *(u64 *)(r1 + 8)
    if r7 == 0 goto out
    *(u8 *)(r10 - 8) = 120
    *(u8 *)(r10 - 7) = 10
    r1 = *(u64 *)(r6 + 0)
    r2 = r10
    r2 += -8
    r3 = 2
    call seq_write
    out:
    r0 = 0
    exit
    `,
  );
  using link = attachIterator(program, { task: { tid: process.pid } });
  assert.is(readIteratorText(link), "x\n");
  using bpffs = mountDetached(program.owner.backend, "bpf");
  const path = `/proc/self/fd/${bpffs.number}/tasks`;
  link.pin(path);
  assert.is(readFileSync(path, "utf8"), "x\n");
  link.unpin();
});

kernel("an iterator over cgroups starts where it is told to, by descriptor and by number", () => {
  using cgroups = mountDetached(backendOf({}), "cgroup2");
  const folder = `/proc/self/fd/${cgroups.number}/rawbpf-iter-${process.pid}`;
  mkdirSync(folder);
  try {
    using program = load(
      "cgroup",
      `
      r6 = *(u64 *)(r1 + 0)
      r7 = *(u64 *)(r1 + 8)
      if r7 == 0 goto out
      *(u32 *)(r10 - 8) = 1
      r1 = *(u64 *)(r6 + 0)
      r2 = r10
      r2 += -8
      r3 = 4
      call seq_write
      out:
      r0 = 0
      exit
      `,
    );
    const id = BigInt(statSync(folder).ino);
    using self = attachIterator(program, { cgroup: { id } });
    assert.is([...iterateRecords(self, u32)].length, 1);
    const info = self.info();
    assert.ok(info.type === "iter" && info.cgroup?.id === id && info.cgroup.order === "self_only");
    using all = attachIterator(program, { cgroup: { fd: cgroups.number, order: "descendants_pre" } });
    assert.ok([...iterateRecords(all, u32)].length >= 2);
  } finally {
    rmdirSync(folder);
  }
});

test("what an iterator walks reaches the kernel as it wants it; one target at most", () => {
  const seen: string[] = [];
  const fake = new FakeKernel().on("BPF_LINK_CREATE", (request) => {
    const length = request.get(linkCreateAttr, "iter_info_len");
    seen.push(Buffer.from(request.memory(linkCreateAttr, "iter_info", length)).toString("hex"));
    return undefined;
  });
  const { backend } = fake;
  using program = loadProgram(
    { type: "tracing", expectedAttachType: "trace_iter", instructions: assemble("r0 = 0\nexit") },
    { backend },
  );
  for (const options of [
    {},
    { map: { fd: 258 } },
    { task: { tid: 7 } },
    { task: { pid: 7 } },
    { task: { pidFd: 7 } },
    { cgroup: { fd: 3, order: "ancestors_up" } },
  ] satisfies IteratorOptions[]) {
    attachIterator(program, options).close();
  }
  assert.equal(seen, [
    "",
    "02010000000000000000000000000000",
    "07000000000000000000000000000000",
    "00000000070000000000000000000000",
    "00000000000000000700000000000000",
    "04000000030000000000000000000000",
  ]);
  assert.throws(() => attachIterator(program, { map: { fd: 5 }, task: { pid: 1 } }), TypeError);
  assert.throws(() => attachIterator(program, { task: { pid: 1, tid: 1 } }), TypeError);
  assert.throws(() => attachIterator(program, { task: {} }), TypeError);
  assert.throws(() => attachTracing(program), /iterators take attachIterator/);
});

test.run();
