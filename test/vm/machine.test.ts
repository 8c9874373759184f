import { suite } from "uvu";
import * as assert from "uvu/assert";
import { assemble, callKfunc, exit, type Instruction, ldMap, mov, r0, r1 } from "../../src/asm/index.ts";
import { struct, u32, u64 } from "../../src/bytes/index.ts";
import type { BpfError } from "../../src/errors.ts";
import type { ProgType } from "../../src/kernel-abi/index.ts";
import { createMachine, MachineFault, machineHelpers } from "../../src/vm/index.ts";

const test = suite("vm/machine");

const code = (text: string): Instruction[] => assemble(text);

test("a packet is changed in place, and its context tells where it is", () => {
  const program = createMachine().load({
    type: "xdp",
    instructions: code(`
      r2 = *(u32 *)(r1 + 0)
      r3 = *(u32 *)(r1 + 4)
      r0 = r3
      r0 -= r2
      *(u8 *)(r2 + 0) = 171
      exit
    `),
  });
  const data = new Uint8Array(60);
  const result = program.run({ data });
  assert.is(result.returnValue, 60);
  assert.is(result.data[0], 171);
  assert.is(result.data.length, 60);
  assert.is(data[0], 0, "what was given is left as it was");
  assert.is(result.context.length, 0);
  assert.is(result.duration, 6);
});

test("the context is given back as the kernel gives it", () => {
  const program = createMachine().load({
    type: "sched_cls",
    instructions: code("*(u32 *)(r1 + 8) = 77\nr0 = *(u32 *)(r1 + 32)\nexit"),
  });
  const result = program.run({ data: new Uint8Array(64), context: { priority: 5, mark: 1 } });
  assert.is(result.returnValue, 5);
  assert.is(new DataView(result.context.buffer).getUint32(8, true), 77);
  assert.is(new DataView(result.context.buffer).getUint32(76, true), 0, "no address of the machine is in it");
});

test("ld_abs and ld_ind read in network order, and end the program behind the packet", () => {
  const run = (text: string, data: Uint8Array): number =>
    createMachine()
      .load({ type: "socket_filter", instructions: code(text) })
      .run({ data }).returnValue;
  const data = new Uint8Array(64);
  data.set([0x08, 0x00, 0x45, 0x01, 0x02, 0x03], 12);
  assert.is(run("r6 = r1\nr0 = *(u32 *)skb[0]\nexit", data), 0x4501_0203);
  assert.is(run("r6 = r1\nr2 = 1\nr0 = *(u16 *)skb[r2 + 1]\nexit", data), 0x0203);
  assert.is(run("r6 = r1\nr0 = *(u32 *)skb[48]\nr0 = 9\nexit", data), 0);
  assert.is(run("r6 = r1\nr0 = *(u16 *)skb[-2097140]\nexit", data), 0x0800);
});

test("loop calls back with an index and a context until told to stop", () => {
  const program = createMachine().load({
    type: "xdp",
    instructions: code(`
      *(u64 *)(r10 - 8) = 0
      r1 = 10
      r2 = body ll
      r3 = r10
      r3 += -8
      r4 = 0
      call loop
      r6 = r0
      r6 <<= 32
      r0 = *(u64 *)(r10 - 8)
      r0 |= r6
      exit
    body:
      r3 = *(u64 *)(r2 + 0)
      r3 += r1
      *(u64 *)(r2 + 0) = r3
      r0 = 0
      if r1 != 6 goto out
      r0 = 1
    out:
      exit
    `),
  });
  assert.is(program.run().r0, (7n << 32n) | 21n);
});

test("for_each_map_elem walks over arrays and hashes", () => {
  const machine = createMachine({
    maps: {
      list: { type: "array", value: u64, maxEntries: 4 },
      table: { type: "hash", key: u32, value: u64, maxEntries: 8 },
    },
  });
  machine.maps.list.setMany([
    [0, 1n],
    [1, 10n],
    [2, 100n],
    [3, 1000n],
  ]);
  machine.maps.table.setMany([
    [5, 7n],
    [6, 70n],
  ]);
  const text = (map: string): string => `
    *(u64 *)(r10 - 8) = 0
    r1 = ${map} ll
    r2 = body ll
    r3 = r10
    r3 += -8
    r4 = 0
    call for_each_map_elem
    r0 = *(u64 *)(r10 - 8)
    exit
  body:
    r3 = *(u64 *)(r3 + 0)
    r1 = *(u64 *)(r4 + 0)
    r1 += r3
    *(u64 *)(r4 + 0) = r1
    r0 = 0
    exit
  `;
  assert.is(machine.load({ type: "xdp", instructions: code(text("list")) }).run().r0, 1111n);
  assert.is(machine.load({ type: "xdp", instructions: code(text("table")) }).run().r0, 77n);
});

test("tail calls go over to another program, and only so often", () => {
  const machine = createMachine({ maps: { next: { type: "prog_array", maxEntries: 2 } } });
  const text = (index: number): string => `r2 = next ll\nr3 = ${index}\ncall tail_call\nr0 = 5\nexit`;
  const last = machine.load({ type: "xdp", instructions: code("r0 = 42\nexit"), name: "last" });
  machine.maps.next.set(0, last);
  assert.is(machine.load({ type: "xdp", instructions: code(text(0)) }).run().returnValue, 42);
  assert.is(machine.load({ type: "xdp", instructions: code(text(1)) }).run().returnValue, 5);
  const endless = machine.load({ type: "xdp", instructions: code(text(1)) });
  machine.maps.next.set(1, endless);
  const result = endless.run();
  assert.is(result.returnValue, 5);
  assert.is(result.duration, 33 * 3 + 5);
});

test("a ring buffer hands out what was submitted, in order", () => {
  const event = struct({ pid: u32, value: u32 });
  const machine = createMachine({
    maps: { events: { type: "ringbuf", value: event, maxEntries: 64 } },
    task: { tgid: 7 },
  });
  const program = machine.load({
    type: "kprobe",
    instructions: code(`
      call get_current_pid_tgid
      r6 = r0
      r6 >>= 32
      r1 = events ll
      r2 = 8
      r3 = 0
      call ringbuf_reserve
      if r0 == 0 goto full
      *(u32 *)(r0 + 0) = r6
      *(u32 *)(r0 + 4) = 9
      r1 = r0
      r2 = 0
      call ringbuf_submit
      r0 = 0
      exit
    full:
      r0 = 1
      exit
    `),
  });
  assert.equal(
    [1, 2, 3, 4, 5].map(() => program.run().returnValue),
    [0, 0, 0, 0, 1],
  );
  const events: { pid: number; value: number }[] = [];
  assert.is(
    machine.maps.events.consume((record) => events.push(record)),
    4,
  );
  assert.equal(events[0], { pid: 7, value: 9 });
  assert.is(program.run().returnValue, 0);
});

test("the clock and random numbers are the same each time", () => {
  const text = "call ktime_get_ns\nr6 = r0\ncall get_prandom_u32\nr0 ^= r6\nexit";
  const once = (): bigint =>
    createMachine({ seed: 3 })
      .load({ type: "xdp", instructions: code(text) })
      .run().r0;
  assert.is(once(), once());
  const own = createMachine({ helpers: { ktime_get_ns: () => 5n, get_prandom_u32: () => 0 } });
  assert.is(own.load({ type: "xdp", instructions: code(text) }).run().r0, 5n);
});

test("what trace_printk writes is kept", () => {
  const machine = createMachine();
  machine
    .load({
      type: "kprobe",
      instructions: code(`
        r1 = 0x000a642520756c6c ll
        *(u64 *)(r10 - 8) = r1
        r1 = r10
        r1 += -8
        r2 = 8
        r3 = -7
        r4 = 0
        r5 = 0
        call trace_printk
        exit
      `),
    })
    .run();
  assert.equal(machine.trace, ["llu -7\n"]);
});

test("memory that the test sets up is found by its address", () => {
  const machine = createMachine();
  const task = machine.allocate(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
  const context = new Uint8Array(BigUint64Array.of(task.address).buffer);
  const program = machine.load({
    type: "raw_tracepoint",
    instructions: code(`
      r3 = *(u64 *)(r1 + 0)
      r1 = r10
      r1 += -8
      r2 = 8
      call probe_read_kernel
      r0 = *(u64 *)(r10 - 8)
      exit
    `),
  });
  assert.is(program.run({ context }).r0, 0x0807_0605_0403_0201n);
  assert.is(program.run({ context: new Uint8Array(8) }).r0, 0n, "what is not there reads as zeros");
});

test("functions of the kernel are what the test gives for them", () => {
  const machine = createMachine({ kfuncs: { bpf_cpumask_first: (call) => call.u32(1) + 1 } });
  const program = machine.load({ type: "syscall", instructions: [mov(r1, 4), callKfunc("bpf_cpumask_first"), exit()] });
  assert.is(program.run().returnValue, 5);
});

test("maps are found by handle too", () => {
  const machine = createMachine({ maps: { a: { type: "queue", value: u32, maxEntries: 2 } } });
  const program = machine.load({
    type: "xdp",
    instructions: [
      ldMap(r1, machine.maps.a),
      ...code("*(u32 *)(r10 - 4) = 3\nr2 = r10\nr2 += -4\nr3 = 0\ncall map_push_elem\nexit"),
    ],
  });
  assert.equal(
    [1, 2, 3].map(() => program.run().returnValue | 0),
    [0, 0, -7],
  );
  assert.is(machine.maps.a.pop(), 3);
});

test("a snapshot brings everything back", () => {
  const machine = createMachine({ maps: { h: { type: "hash", key: u32, value: u32, maxEntries: 100 } } });
  machine.maps.h.set(1, 10);
  const restore = machine.snapshot();
  for (let i = 0; i < 90; i++) machine.maps.h.set(i, i);
  restore();
  assert.equal([...machine.maps.h], [[1, 10]]);
  for (let i = 0; i < 90; i++) machine.maps.h.set(i, i);
  assert.is(machine.maps.h.count(), 90);
  restore();
  assert.is(machine.maps.h.get(1), 10);
});

test("an execution goes forwards and backwards", () => {
  const machine = createMachine({ maps: { n: { type: "array", value: u64, maxEntries: 1 } } });
  const program = machine.load({
    type: "xdp",
    name: "steps",
    instructions: code(`
      r6 = 0
    loop:
      r1 = n ll
      *(u32 *)(r10 - 4) = 0
      r2 = r10
      r2 += -4
      call map_lookup_elem
      if r0 == 0 goto out
      r1 = 1
      lock *(u64 *)(r0 + 0) += r1
      r6 += 1
      if r6 != 3 goto loop
    out:
      r0 = r6
      exit
    `),
  });
  using execution = program.start();
  assert.is(execution.instruction, 0);
  assert.is(execution.text, "r6 = 0");
  execution.breakpoints.add(9);
  assert.is(execution.run(), "breakpoint");
  assert.is(machine.maps.n.get(0), 1n);
  assert.is(execution.registers.r6, 0n);
  const seen: string[] = [];
  execution.onTrace = ({ index, changed }) =>
    seen.push(`${index}: ${JSON.stringify(Object.entries(changed).map(([r, v]) => `${r}=${v}`))}`);
  execution.step();
  assert.equal(seen, ['9: ["r6=1"]']);
  execution.onTrace = undefined;
  execution.back(2);
  assert.is(machine.maps.n.get(0), 0n, "the map is as it was");
  assert.is(execution.instruction, 8);
  execution.step();
  assert.is(machine.maps.n.get(0), 1n);
  execution.breakpoints.clear();
  assert.is(execution.run(), "exit");
  assert.is(execution.done, true);
  assert.is(execution.result().returnValue, 3);
  assert.is(machine.maps.n.get(0), 3n);
  execution.back();
  assert.is(execution.done, false);
  assert.is(execution.text, "exit");
});

test("a watched byte stops the run", () => {
  const program = createMachine().load({
    type: "kprobe",
    instructions: code("r1 = 1\n*(u64 *)(r10 - 8) = 0\nr1 = 2\n*(u64 *)(r10 - 8) = r1\nr0 = 0\nexit"),
  });
  using execution = program.start();
  execution.watch(execution.registers.r10! - 8n);
  assert.is(execution.run(), "watch");
  assert.is(execution.instruction, 4);
  assert.equal(execution.read(execution.registers.r10! - 8n, 2), Uint8Array.of(2, 0));
  assert.is(execution.run(), "exit");
});

test("inputs that a program of the type cannot have", () => {
  const load = (type: ProgType) => createMachine().load({ type, instructions: [mov(r0, 0), exit()] });
  assert.throws(() => load("kprobe").run({ data: new Uint8Array(64) }), /A kprobe program takes no data/);
  assert.throws(() => load("xdp").run({ data: new Uint8Array(13) }), /A packet needs 14 bytes/);
  assert.throws(() => load("xdp").run({ context: new Uint8Array(25) }), /longer than xdp_md/);
  assert.throws(() => load("kprobe").run({ context: { a: 1 } }), TypeError);
  assert.throws(() => load("xdp").run({ cpu: 1 }), RangeError);
  assert.throws(() => load("xdp").run({ repeat: 0 }), RangeError);
  assert.throws(
    () => createMachine({ helpers: { nonsense: () => 0 } }),
    (error: BpfError) => error.code === "ERR_VM_HELPER",
  );
  assert.throws(() => createMachine({ limits: { memory: 5 } }), RangeError);
  assert.throws(
    () => createMachine({ maps: { a: { type: "array", value: 8, maxEntries: 4_000_000_000 } } }),
    (error: BpfError) => error.code === "ERR_LIMIT",
  );
});

test("the stack may be read unwritten where that is allowed", () => {
  const instructions = code("r0 = *(u64 *)(r10 - 8)\nexit");
  assert.is(createMachine({ strictStack: false }).load({ type: "xdp", instructions }).run().r0, 0n);
  assert.throws(
    () => createMachine().load({ type: "xdp", instructions }).run(),
    (error: Error) => error instanceof MachineFault,
  );
});

test("the machine has these helpers", () => {
  const names = machineHelpers();
  assert.is(new Set(names).size, names.length);
  assert.ok(names.length >= 60, `${names.length}`);
  console.log(`NOTE ${names.length} helpers`);
});

test.run();
