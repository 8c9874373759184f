import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createBtfBuilder, type TypeId } from "../../src/btf/index.ts";
import { parseObject } from "../../src/elf/index.ts";
import { BpfBloomFilter, type BpfMap, BpfQueue, createMap, PerfBuffer, valueCpus } from "../../src/maps/index.ts";
import { recordCodec } from "../../src/object/codecs.ts";
import { type BpfObject, loadObject, RecordMap, type Variable } from "../../src/object/index.ts";
import type { Program } from "../../src/programs/index.ts";
import { FakeKernel } from "../../src/syscall/index.ts";
import { fixture } from "../elf/build.ts";
import { failOnLeaks, requires } from "../support/harness.ts";

const test = suite("object/typed");
failOnLeaks(test);

const bytes = fixture("typed.el.o");
const data = new Uint8Array(64);
const real = requires(test, "bpf");

/** What `gen types` would say of the fixture. */
interface Typed {
  maps: {
    tasks: BpfMap<number, { pid: number; state: string; nanoseconds: bigint; comm: string }>;
    per_cpu: BpfMap<string, { value: bigint }[]>;
    queue: BpfQueue<{ value: bigint }>;
    events: RecordMap<{ pid: number; length: number; text: string }>;
  };
  programs: { fill: Program; jump: Program };
  variables: { first_pid: number; runs: bigint; last: { pid: number } };
}

async function take<T>(records: AsyncIterable<T>, count: number): Promise<T[]> {
  const found: T[] = [];
  for await (const record of records) if (found.push(record) === count) break;
  return found;
}

real("keys and values have the types that the object gives them", () => {
  using object = loadObject(bytes);
  object.program("fill").run({ data });
  const task = { pid: 100, state: "BUSY", nanoseconds: 1n << 40n, comm: "init" };
  assert.equal([...object.map("tasks")], [[100, task]]);
  object.map("tasks").set(7, { ...task, comm: "seven", state: 0 });
  assert.equal(object.map("tasks").get(7), { ...task, comm: "seven", state: "IDLE" });
  assert.throws(() => object.map("tasks").set(7, { pid: 1 }), TypeError);
  const values = object.map("per_cpu").get("IDLE") as { value: bigint }[];
  assert.is(values.length, valueCpus().length);
  assert.is(values.filter(({ value }) => value === 7n).length, 1);
  assert.equal([...object.map("routes")], [[{ bits: 8, address: Uint8Array.of(10, 0, 0, 0) }, -1n]]);
  assert.instance(object.map("queue"), BpfQueue);
  assert.equal(object.map("queue").pop(), { value: 7n });
  assert.instance(object.map("bloom"), BpfBloomFilter);
  assert.ok(object.map("bloom").mayContain({ value: 7n }));
  assert.is(object.map("first").get(0).value, 0n);
});

real("what the kernel keeps instead is what values of maps of programs and maps are", () => {
  const spec = parseObject(bytes);
  spec.maps.jumps!.values = [{ key: 1, name: "jump" }];
  using object = loadObject(spec);
  const first = object.map("first").info().id;
  assert.equal([...object.map("outer").values()], [first]);
  assert.type(object.map("jumps").get(1), "number");
  assert.is(object.map("jumps").get(0), undefined);
  object.map("jumps").set(0, object.program("fill"));
  assert.type(object.map("jumps").get(0), "number");
});

real("sections are objects of their variables", () => {
  using object = loadObject(bytes);
  object.program("fill").run({ data });
  assert.is(object.map(".bss").get(0).runs, 1n);
  assert.is(object.map(".rodata").get(0).first_pid, 100);
  assert.equal(object.map(".data").get(0).last, { pid: 2, state: "BUSY", nanoseconds: 0n, comm: "last" });
});

real("records are decoded, by definition, by the map's name, by a name, or not at all", async () => {
  const spec = parseObject(bytes);
  // As `__type(value, struct sample)` in the definition has it, which libbpf passes on to a kernel that refuses it.
  Object.assign(spec.maps.ring!, { valueType: spec.btf!.typeByName("sample").id, valueSize: 8 });
  using object = loadObject(spec);
  object.program("fill").run({ data });
  const events = object.map("events");
  assert.instance(events, RecordMap);
  assert.is(events.recordType, "event");
  assert.equal(await take(events.records(), 2), [
    { pid: 100, length: 5, text: "hello" },
    { pid: 100, length: 5, text: "he" },
  ]);
  object.program("fill").run({ data });
  assert.equal(await take(events.records({ type: "struct event" }), 1), [{ pid: 100, length: 5, text: "hello" }]);
  const [raw] = await take(events.records({ raw: true }), 1);
  assert.equal(raw, Uint8Array.of(100, 0, 0, 0, 5, 0, 0, 0, 104, 101));
  using untyped = loadObject(bytes, { programs: [] });
  assert.is(untyped.map("ring").recordType, undefined);
  const ring = object.map("ring");
  assert.is(ring.recordType, "sample");
  assert.equal(await take(ring.records(), 2), [{ value: 7n }, { value: 7n }]);
  object.program("fill").run({ data });
  assert.equal(await take(ring.records({ type: "__u64" }), 1), [7n]);
  assert.throws(() => ring.records({ type: "nothing" }), /The object has no type "nothing"/);
  // Shorter than what its type needs at least.
  object.program("fill").run({ data });
  await take(ring.records({ type: "task" }), 1).then(
    () => assert.unreachable(),
    (error) => assert.match(error.message, "A record of 8 bytes is too short for a value of 16"),
  );
});

test("a flexible array at the end of a record has as many elements as the record has bytes for", () => {
  const builder = createBtfBuilder();
  const u8 = builder.add({ kind: "int", name: "u8", size: 1 });
  const char = builder.add({ kind: "int", name: "char", size: 1, signed: true, char: true });
  const u32 = builder.add({ kind: "int", name: "u32", size: 4 });
  const u64 = builder.add({ kind: "int", name: "u64", size: 8 });
  const open = (type: TypeId): TypeId => builder.add({ kind: "array", type, indexType: u32, length: 0 });
  // The array begins in the padding of its struct: 16 bytes, the array at 12.
  const record = (type: TypeId): TypeId => {
    const members = [
      { name: "a", type: u64 },
      { name: "n", type: u32, bitOffset: 64 },
      { name: "tail", type, bitOffset: 96 },
    ];
    return builder.add({ kind: "struct", name: "record", size: 16, members });
  };
  const numbers = record(open(u8));
  const text = record(open(char));
  const words = record(open(u32));
  const members = [
    { name: "first", type: u64 },
    { name: "last", type: words, bitOffset: 64 },
  ];
  const nested = builder.add({ kind: "struct", name: "nested", size: 24, members });
  const nameless = builder.add({
    kind: "struct",
    name: "nameless",
    size: 24,
    members: members.map((member) => (member.name === "last" ? { ...member, name: "" } : member)),
  });
  const btf = builder.build();
  const bytes = Uint8Array.from({ length: 40 }, (_, i) => 0x41 + i);
  const tailOf = (type: TypeId, length: number): unknown => {
    const value = recordCodec(btf, type).decode(bytes.subarray(0, length)) as Record<string, unknown>;
    return value.tail ?? (value.last as { tail: unknown }).tail;
  };
  for (const length of [12, 13, 15, 16, 17, 40]) {
    assert.equal([...(tailOf(numbers, length) as Uint8Array)], [...bytes.subarray(12, length)], `${length} bytes`);
    assert.is(tailOf(text, length), String.fromCharCode(...bytes.subarray(12, length)), `${length} bytes`);
  }
  for (const [length, count] of [
    [20, 0],
    [23, 0],
    [24, 1],
    [27, 1],
    [28, 2],
    [40, 5],
  ] as const) {
    assert.is((tailOf(nested, length) as unknown[]).length, count, `${length} bytes`);
    assert.is((tailOf(nameless, length) as unknown[]).length, count, `${length} bytes`);
  }
  assert.equal([recordCodec(btf, numbers).size, recordCodec(btf, nested).size], [12, 20]);
});

real("samples of a perf array are decoded as records of a ring buffer are", async () => {
  using object = loadObject(bytes);
  const samples = object.map("samples");
  assert.is(samples.recordType, "sample");
  assert.instance(samples.reader, PerfBuffer);
  object.program("fill").run({ data });
  assert.equal(await take(samples.records(), 1), [{ value: 7n }]);
  // The reader ends with the map, and an iteration that waits with it.
  const waiting = samples.records().next();
  samples.close();
  await waiting.then(
    () => assert.unreachable(),
    (error) => assert.is(error.code, "ERR_CLOSED"),
  );
});

real("a listener gets decoded records", async () => {
  using object = loadObject(bytes);
  const found: unknown[] = [];
  await new Promise<void>((resolve) => {
    const listening = object.map("events").listen((event) => {
      if (found.push(event) < 2) return;
      listening.close();
      resolve();
    });
    object.program("fill").run({ data });
  });
  assert.equal(found.length, 2);
  assert.equal(found[0], { pid: 100, length: 5, text: "hello" });
});

real("values look as the options say", () => {
  using object = loadObject(bytes, { values: { bigint: "safe", chars: "bytes" } });
  object.program("fill").run({ data });
  const task = object.map("tasks").get(100);
  assert.is(task.nanoseconds, 2 ** 40);
  assert.instance(task.comm, Uint8Array);
  assert.is(object.variable("runs").get(), 1);
});

real("variables of every section are read and written", () => {
  using object = loadObject(fixture("variables.el.o"), { variables: { limit: 5n, color: "RED", origin: origin() } });
  const value = (name: string): unknown => object.variable(name).get();
  assert.is(value("limit"), 5n);
  assert.is(value("color"), "RED");
  assert.equal(value("origin"), { ...origin(), rest: 0 });
  assert.is(value("text"), "from C");
  assert.is(value("enabled"), true);
  assert.is(value("secret"), 9);
  object.program("read").run({ data });
  const after: Record<string, unknown> = {
    counter: 43,
    negative: -1n,
    table: [1, 2, 4, 4],
    hidden: 7,
    zero: 1n,
    local: 1,
    custom: 12,
    cleared: 1n,
  };
  for (const [name, wanted] of Object.entries(after)) assert.equal(value(name), wanted, name);
  const other: Record<string, unknown> = {
    counter: 0xffffffff,
    negative: -(1n << 63n),
    table: [9, 8, 7, 65535],
    hidden: 1,
    zero: (1n << 64n) - 1n,
    local: 5,
    custom: 6,
    cleared: 7n,
  };
  for (const [name, wanted] of Object.entries(other)) object.variable(name).set(wanted);
  for (const [name, wanted] of Object.entries(other)) assert.equal(value(name), wanted, name);
  object.program("read").run({ data });
  assert.is(value("counter"), 0);
  assert.is(value("zero"), 0n);
  assert.equal(value("table"), [9, 8, 8, 65535]);
});

function origin(): object {
  return { x: 4, flags: 1, rest: 0, name: "there", next: 0n };
}

real("constants, and what does not fit, are refused", () => {
  using object = loadObject(fixture("variables.el.o"));
  for (const name of ["limit", "text", "secret", "constant"]) {
    assert.ok(object.variable(name).constant, name);
    assert.throws(
      () => object.variable(name).set(1),
      (error: Error) =>
        error instanceof TypeError &&
        error.message ===
          `Cannot set variable "${name}": it is constant; set it before the object is loaded, with option variables or setVariable`,
    );
  }
  assert.throws(() => object.variable("counter").set(2 ** 32), /^Cannot set variable "counter": /);
  assert.throws(() => object.variable("table").set([1]), /Cannot set variable "table": /);
  assert.is(object.variable("counter").get(), 42);
});

test("a value that does not fit is refused before anything is loaded", () => {
  const kernel = new FakeKernel();
  const load = (variables: Record<string, unknown>) => (): void =>
    loadObject(fixture("variables.el.o"), { backend: kernel.backend, variables }).close();
  assert.throws(load({ counter: -1 }), /Cannot set variable "counter": /);
  assert.throws(load({ conter: 1 }), /No variable "conter" in the object/);
  assert.equal(kernel.commands, []);
});

real("configuration of the kernel reads like constants", () => {
  using object = loadObject(fixture("externs.el.o"), { programs: [] });
  const value = (name: string): unknown => object.variable(name).get();
  assert.ok((value("LINUX_KERNEL_VERSION") as number) > 0x040000);
  assert.is(value("CONFIG_BPF_SYSCALL"), true);
  assert.is(value("CONFIG_MISSING"), 0);
  assert.is(typeof value("CONFIG_HZ"), "bigint");
  assert.throws(() => object.variable("CONFIG_HZ").set(1n), /which option kconfig overrides/);
});

real("variables in an arena are read and written", () => {
  const spec = parseObject(fixture("arena.el.o"));
  const object = loadObject(spec, { variables: { table: [10n, 20n, 30n, 40n] } });
  const { first, table, sum } = object.variables as Record<string, Variable>;
  assert.is(first!.get(), 17);
  first!.set(-5);
  object.program("program").run({});
  assert.is(sum!.get(), 25n);
  // The program wrote the arena's address there.
  const [a, address, ...rest] = table!.get() as bigint[];
  assert.equal([a, ...rest], [10n, 30n, 40n]);
  assert.ok(address! > 0n);
  table!.set([1n, 2n, 3n, 4n]);
  object.program("program").run({});
  assert.is(sum!.get(), -2n & 0xffffffffffffffffn);
  object.close();
  for (const variable of [first!, sum!]) {
    assert.throws(
      () => variable.get(),
      (error: { code: string }) => error.code === "ERR_CLOSED",
    );
  }
});

real("what is not mapped is read and written by system calls", () => {
  const spec = parseObject(fixture("variables.el.o"));
  for (const map of Object.values(spec.maps)) map.mmapable = false;
  const object = loadObject(spec);
  const counter = object.variable("counter");
  counter.set(50);
  object.program("read").run({ data });
  assert.is(counter.get(), 51);
  assert.equal(object.variable("table").get(), [1, 2, 4, 4]);
  object.close();
  assert.throws(
    () => counter.get(),
    (error: { code: string }) => error.code === "ERR_CLOSED",
  );
});

real("without types, keys, values and variables are bytes", () => {
  using object = loadObject(fixture("no-btf.el.o"), { programs: [] });
  assert.equal(object.variable("counter").get(), Uint8Array.of(3, 0, 0, 0, 0, 0, 0, 0));
});

real("a map put in place of another has the types of the object", () => {
  using tasks = createMap({ type: "hash", key: 4, value: 32, maxEntries: 3 });
  using queue = createMap({ type: "queue", value: 8, maxEntries: 3 });
  using object = loadObject(bytes, { maps: { tasks, queue } });
  object.program("fill").run({ data });
  assert.is(object.map("tasks").get(100).comm, "init");
  assert.equal(object.map("queue").pop(), { value: 7n });
  assert.is(tasks.count(), 1);
});

real("an object's types are known to the compiler", async () => {
  using object = loadObject<Typed>(bytes, { programs: ["fill", "jump"], variables: { first_pid: 3 } });
  object.maps.tasks.set(1, { pid: 1, state: "IDLE", nanoseconds: 0n, comm: "x" });
  const comm: string | undefined = object.map("tasks").get(1)?.comm;
  assert.is(comm, "x");
  object.program("fill").run({ data });
  const runs: bigint = object.variables.runs.get();
  assert.is(runs, 1n);
  object.variable("runs").set(7n);
  const next: { value: bigint } | undefined = object.maps.queue.pop();
  assert.equal(next, { value: 7n });
  for await (const { pid } of object.maps.events.records()) {
    const number: number = pid;
    assert.is(number, 3);
    break;
  }
});

/** Compiled, never run. */
export function refusedByTheCompiler(object: BpfObject<Typed>): void {
  // @ts-expect-error values are structs
  object.maps.tasks.set(1, 2);
  // @ts-expect-error there is no such map
  object.map("task");
  // @ts-expect-error there is no such program
  object.program("fil");
  // @ts-expect-error there is no such variable
  object.variables.run.get();
  // @ts-expect-error 64 bits are bigint
  object.variables.runs.set(1);
  // @ts-expect-error names of programs are checked
  loadObject<Typed>(bytes, { programs: ["fil"] });
  // @ts-expect-error so are variables
  loadObject<Typed>(bytes, { variables: { first_pid: "3" } });
  // @ts-expect-error and maps
  loadObject<Typed>(bytes, { maps: { task: object.maps.tasks } });
}

test.run();
