import { suite } from "uvu";
import * as assert from "uvu/assert";
import { assemble, exit, type Instruction, load, mov, r0, r1, store } from "../../src/asm/index.ts";
import { progTestRunAttr } from "../../src/kernel-abi/index.ts";
import { enableStatistics, loadProgram, type ProgramSpec, type RunOptions } from "../../src/programs/index.ts";
import { FakeKernel } from "../../src/syscall/index.ts";
import { failOnLeaks, requires } from "../support/harness.ts";

const test = suite("programs/run");
failOnLeaks(test);

const BPF_F_SLEEPABLE = 1 << 4;

requires(test, "bpf")("a program of type syscall gets its context, and gives it back changed", () => {
  using program = loadProgram({
    type: "syscall",
    flags: BPF_F_SLEEPABLE,
    license: "GPL",
    instructions: [load("u32", r0, r1, 4), store("u32", r1, 0, 7), exit()],
  });
  const context = Uint8Array.of(1, 0, 0, 0, 42, 0, 0, 0);
  const result = program.run({ context });
  assert.is(result.returnValue, 42);
  assert.equal(result.context, Uint8Array.of(7, 0, 0, 0, 42, 0, 0, 0));
  assert.is(context[0], 1, "what was given is left as it was");
});

requires(test, "bpf")("a program of type syscall runs without a context", () => {
  using program = loadProgram({
    type: "syscall",
    flags: BPF_F_SLEEPABLE,
    license: "GPL",
    instructions: [mov(r0, 5), exit()],
  });
  const result = program.run();
  assert.is(result.returnValue, 5);
  assert.is(result.context.length, 0);
});

const packet = (length: number): Uint8Array => {
  const data = new Uint8Array(length);
  data.set([0x08, 0x00, 0x45], 12);
  return data;
};

interface Case {
  readonly spec: ProgramSpec;
  readonly options: RunOptions;
  readonly returns: number;
}

const answer = (value: number): readonly Instruction[] => [mov(r0, value), exit()];
const GPL = "GPL";

/** One program of each type that the kernel runs without attaching it. */
const runnable: Record<string, Case> = {};
for (const type of ["socket_filter", "sched_cls", "sched_act", "lwt_in", "lwt_out", "lwt_xmit"] as const) {
  runnable[type] = { spec: { type, instructions: answer(0), license: GPL }, options: { data: packet(64) }, returns: 0 };
}
runnable.cgroup_skb = {
  spec: { type: "cgroup_skb", expectedAttachType: "cgroup_inet_ingress", instructions: answer(1), license: GPL },
  options: { data: packet(64) },
  returns: 1,
};
runnable.xdp = {
  spec: { type: "xdp", instructions: answer(2), license: GPL },
  options: { data: packet(64) },
  returns: 2,
};
runnable.flow_dissector = {
  spec: { type: "flow_dissector", instructions: answer(0), license: GPL },
  options: { data: packet(64) },
  returns: 0,
};
runnable.raw_tracepoint = {
  spec: { type: "raw_tracepoint", instructions: [load("u64", r0, r1, 8), exit()], license: GPL },
  options: { context: new Uint8Array(BigUint64Array.of(1n, 42n).buffer), cpu: 0 },
  returns: 42,
};
runnable.syscall = {
  spec: { type: "syscall", flags: BPF_F_SLEEPABLE, instructions: answer(3), license: GPL },
  options: {},
  returns: 3,
};
runnable.sk_lookup = {
  spec: { type: "sk_lookup", expectedAttachType: "sk_lookup", instructions: answer(1), license: GPL },
  options: { context: new Uint8Array(Uint32Array.of(0, 0, 2, 6, ...new Array(14).fill(0)).buffer) },
  returns: 1,
};
runnable.netfilter = {
  spec: { type: "netfilter", expectedAttachType: "netfilter", instructions: answer(1), license: GPL },
  options: { data: packet(64) },
  returns: 1,
};

const kernel = requires(test, "bpf", "net-admin", "koffi");

for (const [type, { spec, options, returns }] of Object.entries(runnable)) {
  kernel(`a program of type ${type} is run`, () => {
    using program = loadProgram(spec);
    assert.is(program.run(options).returnValue, returns);
  });
}

/** What the kernel only answers EINVAL, ENOTSUPP and their like to. */
const refused: Record<string, [type: string, options: RunOptions, message: RegExp]> = {
  "packet too short": [
    "sched_cls",
    { data: new Uint8Array(13) },
    /EINVAL, it sees packets: data needs 14 bytes .* not 13/,
  ],
  "no packet": ["xdp", {}, /EINVAL, it sees packets: data needs 14 bytes .* not 0/],
  "cpu for a packet": [
    "sched_cls",
    { data: packet(64), cpu: 0 },
    /EINVAL, only raw tracepoints can be run on a given CPU/,
  ],
  "live frames elsewhere": ["sched_cls", { data: packet(64), liveFrames: true }, /EINVAL, only XDP programs/],
  "batch without live frames": [
    "xdp",
    { data: packet(64), batchSize: 4 },
    /EINVAL, a batch size goes with live frames only/,
  ],
  "batch too large": [
    "xdp",
    { data: packet(64), liveFrames: true, batchSize: 257 },
    /E2BIG, a batch of 257 is more than 256/,
  ],
  "forbidden field": [
    "sched_cls",
    { data: packet(64), context: new Uint8Array(Uint32Array.of(5).buffer) },
    /EINVAL, a field of the context is set that a test may not set/,
  ],
  "data_end is not the length": [
    "xdp",
    { data: packet(64), context: new Uint8Array(Uint32Array.of(4, 65, 0, 0, 0, 0).buffer) },
    /EINVAL, data_end in the context must be the 64 bytes of the data, not 65/,
  ],
  "metadata of 3 bytes": [
    "xdp",
    { data: packet(64), context: new Uint8Array(Uint32Array.of(3, 64, 0, 0, 0, 0).buffer) },
    /EINVAL, data in the context says how many bytes of metadata come first: a multiple of 4, 252 at most, not 3/,
  ],
  "raw tracepoint without arguments": ["raw_tracepoint", {}, /EINVAL, its context is the arguments .*, not 0/],
  "raw tracepoint with data": [
    "raw_tracepoint",
    { data: packet(64) },
    /EINVAL, a raw_tracepoint program takes no data/,
  ],
  "raw tracepoint, repeated": [
    "raw_tracepoint",
    { context: new Uint8Array(16), repeat: 2 },
    /EINVAL, a raw_tracepoint program is run once: leave repeat out/,
  ],
  "CPU that is not there": [
    "raw_tracepoint",
    { context: new Uint8Array(16), cpu: 4000 },
    /ENXIO, CPU 4000 is not online/,
  ],
  "syscall with data": ["syscall", { data: packet(64) }, /EINVAL, a syscall program takes no data/],
  "syscall, repeated": ["syscall", { repeat: 3 }, /EINVAL, a syscall program is run once/],
  "sk_lookup without context": ["sk_lookup", {}, /EINVAL, it needs a context: a bpf_sk_lookup/],
  "sk_lookup of another family": [
    "sk_lookup",
    { context: new Uint8Array(72) },
    /EAFNOSUPPORT, the family in the context/,
  ],
};
for (const [name, [type, options, message]] of Object.entries(refused)) {
  kernel(`refused and explained: ${name}`, () => {
    using program = loadProgram(runnable[type]!.spec);
    assert.throws(() => program.run(options), message);
  });
}

for (const spec of [
  { type: "kprobe", instructions: answer(0), license: GPL },
  { type: "tracepoint", instructions: answer(0), license: GPL },
  { type: "perf_event", instructions: answer(0), license: GPL },
  { type: "cgroup_sock", instructions: answer(1), license: GPL },
  { type: "sk_msg", instructions: answer(1), license: GPL },
  { type: "raw_tracepoint_writable", instructions: answer(0), license: GPL },
  { type: "lwt_seg6local", instructions: answer(0), license: GPL },
] as const) {
  kernel(`${spec.type} programs cannot be run: the error says which can`, () => {
    using program = loadProgram(spec);
    assert.throws(
      () => program.run({ data: packet(64) }),
      new RegExp(
        `ENOTSUPP, this kernel does not run ${spec.type} programs.*\nHint: types that can be run: socket_filter`,
      ),
    );
  });
}

kernel("context and metadata of a packet, there and back", () => {
  using mark = loadProgram({
    type: "sched_cls",
    instructions: [load("u32", r0, r1, 8), store("u32", r1, 8, 77), exit()],
    license: GPL,
  });
  const skb = new Uint8Array(192);
  skb[8] = 5;
  const marked = mark.run({ data: packet(64), context: skb });
  assert.is(marked.returnValue, 5);
  assert.is(marked.context[8], 77);
  assert.is(marked.data.length, 64);

  // data_meta begins 8 bytes before data: what the program finds there.
  using meta = loadProgram({
    type: "xdp",
    instructions: assemble(`
      r2 = *(u32 *)(r1 + 8)
      r3 = *(u32 *)(r1 + 0)
      r4 = r2
      r4 += 8
      if r4 > r3 goto none
      r0 = *(u32 *)(r2 + 4)
      exit
none:
      r0 = 1
      exit`),
    license: GPL,
  });
  const data = packet(64);
  data[4] = 99;
  const context = new Uint8Array(Uint32Array.of(8, 64, 0, 0, 0, 0).buffer);
  const ran = meta.run({ data, context });
  assert.is(ran.returnValue, 99);
  assert.equal(ran.data, data);
  assert.equal([...new Uint32Array(ran.context.buffer).slice(0, 3)], [8, 64, 0]);
});

kernel("data that grows: as much room as it takes, or as much as was given", () => {
  const grow = loadProgram({
    type: "xdp",
    instructions: assemble(`
      r2 = 150
      call bpf_xdp_adjust_tail
      r0 = 2
      exit`),
    license: GPL,
  });
  assert.is(grow.run({ data: packet(64) }).data.length, 214);
  assert.is(grow.run({ data: packet(64), dataOutSize: 214 }).data.length, 214);
  assert.throws(
    () => grow.run({ data: packet(64), dataOutSize: 213 }),
    /ENOSPC, the data afterwards has 214 bytes, more than the 213 there is room for\nHint: it has run; give dataOutSize/,
  );
  grow.close();
});

kernel("duration and repetition", () => {
  using program = loadProgram({ type: "socket_filter", instructions: answer(0) });
  using statistics = enableStatistics();
  program.run({ data: packet(64), repeat: 500 });
  assert.is(program.statistics().runCount, 500n);
  assert.ok(statistics.number > 2);
});

kernel("live frames are dropped by the kernel, as the program says", () => {
  using program = loadProgram({ type: "xdp", instructions: answer(1), license: GPL });
  const context = new Uint8Array(Uint32Array.of(0, 64, 0, 1, 0, 0).buffer);
  using statistics = enableStatistics();
  const result = program.run({ data: packet(64), context, liveFrames: true, batchSize: 8, repeat: 100 });
  assert.is(result.data.length, 0);
  assert.is(program.statistics().runCount, 100n);
  assert.ok(statistics.number > 2);
});

test("interruptions are tried again, for ever they are not; ENOSPC with more room", () => {
  const fake = new FakeKernel();
  using program = loadProgram({ type: "sched_cls", instructions: answer(0) }, { backend: fake.backend });
  let calls = 0;
  fake.on("BPF_PROG_TEST_RUN", (request) => {
    calls++;
    if (calls < 5) return "EINTR";
    const room = request.get(progTestRunAttr, "data_size_out");
    request.put(progTestRunAttr, "data_size_out", 4000);
    if (room < 4000) return "ENOSPC";
    request.put(progTestRunAttr, "retval", 9);
    return 0;
  });
  const result = program.run({ data: packet(64) });
  assert.is(result.returnValue, 9);
  assert.is(result.data.length, 4000);
  assert.is(calls, 6);
  calls = 0;
  fake.on("BPF_PROG_TEST_RUN", () => {
    calls++;
    return "EINTR";
  });
  assert.throws(() => program.run({ data: packet(64) }), /EINTR/);
  assert.is(calls, 30);
});

test("what reaches the kernel", () => {
  const fake = new FakeKernel();
  using program = loadProgram({ type: "xdp", instructions: answer(0) }, { backend: fake.backend });
  const seen: number[][] = [];
  fake.on("BPF_PROG_TEST_RUN", (request) => {
    const fields = [
      "data_size_in",
      "data_size_out",
      "ctx_size_in",
      "ctx_size_out",
      "repeat",
      "flags",
      "cpu",
      "batch_size",
    ];
    seen.push(fields.map((field) => request.get(progTestRunAttr, field)));
    return 0;
  });
  program.run({ data: packet(64), context: new Uint8Array(24), repeat: 7, flags: 4 });
  program.run({ data: packet(64), context: new Uint8Array(24), liveFrames: true, batchSize: 16 });
  program.run({ data: packet(64), dataOutSize: 100 });
  assert.equal(seen, [
    [64, 576, 24, 24, 7, 4, 0, 0],
    [64, 0, 24, 0, 0, 2, 0, 16],
    [64, 100, 0, 0, 0, 0, 0, 0],
  ]);
});

test.run();
