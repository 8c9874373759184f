import { existsSync, readdirSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { assemble } from "../../src/asm/index.ts";
import { type ObjectSpec, parseObject } from "../../src/elf/index.ts";
import type { BpfError } from "../../src/errors.ts";
import { type BpfCommand, decodeStruct, progInfo } from "../../src/kernel-abi/index.ts";
import { createMap, MapFlag, MapIncompatibleError } from "../../src/maps/index.ts";
import { loadObject } from "../../src/object/index.ts";
import { type Program, VerifierError } from "../../src/programs/index.ts";
import { FakeKernel, objInfo } from "../../src/syscall/index.ts";
import { fixture } from "../elf/build.ts";
import { failOnLeaks, kernelDescriptors, requires } from "../support/harness.ts";
import { withBpffs } from "./bpffs.ts";

const test = suite("object/options");
failOnLeaks(test);

const bytes = fixture("typed.el.o");
const data = new Uint8Array(64);
const real = requires(test, "bpf");
const pinning = requires(test, "bpf", "sys-admin");

function thrown(run: () => { close(): void }): BpfError {
  let made: { close(): void };
  try {
    made = run();
  } catch (error) {
    return error as BpfError;
  }
  made.close();
  throw new Error("Nothing was thrown");
}

/** The object with maps that are pinned by name. */
function pinned(...names: string[]): ObjectSpec {
  const spec = parseObject(bytes);
  for (const name of names) spec.maps[name]!.pinning = "by_name";
  return spec;
}

/** What is pinned: the kernel puts iterators of its own beside it. */
function pinsIn(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => !name.endsWith(".debug"))
    .sort();
}

/** Makes the verifier refuse a program. */
function broken(spec: ObjectSpec, name: string): ObjectSpec {
  const program = spec.programs[name]!;
  const [first] = program.instructions;
  // The label of the function stays with its first instruction.
  const [insn, ...rest] = assemble("r0 = *(u64 *)(r10 + 8)\nexit");
  program.instructions = [{ ...insn!, meta: first!.meta }, ...rest];
  return spec;
}

function infoOf(program: Program): Record<string, unknown> {
  return decodeStruct(progInfo, objInfo(program.owner, progInfo.size));
}

pinning("maps that are pinned by name are made once, and shared", async () => {
  await withBpffs((folder) => {
    using first = loadObject(pinned("tasks", "queue"), { pinFolder: folder });
    assert.equal(pinsIn(folder), ["queue", "tasks"]);
    first.program("fill").run({ data });
    using second = loadObject(pinned("tasks", "queue"), { pinFolder: `${folder}/` });
    assert.is(second.map("tasks").info().id, first.map("tasks").info().id);
    assert.not.equal(second.map("routes").info().id, first.map("routes").info().id);
    assert.is(second.map("tasks").get(100).comm, "init");
    assert.equal(second.map("queue").pop(), { value: 7n });
    assert.is(second.program("fill").run({ data }).returnValue, 5);
    first.close();
    second.close();
    assert.equal(pinsIn(folder), ["queue", "tasks"], "they outlive their objects");
  });
});

pinning("another map under the name is refused, and stays", async () => {
  await withBpffs((folder) => {
    using other = createMap({ type: "hash", key: 4, value: 8, maxEntries: 16 });
    other.pin(`${folder}/tasks`);
    const error = thrown(() => loadObject(pinned("events", "tasks"), { pinFolder: folder }));
    assert.instance(error, MapIncompatibleError);
    assert.match(error.message, /value size/);
    assert.equal(pinsIn(folder), ["tasks"], "what was pinned before that is gone");
  });
});

pinning("when loading fails half-way, no pin of it is left, and those of others are", async () => {
  await withBpffs((folder) => {
    using other = loadObject(pinned("tasks"), { pinFolder: folder });
    assert.ok(!other.map("tasks").closed);
    const error = thrown(() => loadObject(broken(pinned("tasks", "queue"), "jump"), { pinFolder: folder }));
    assert.instance(error, VerifierError);
    assert.match(error.message, /^Cannot load program "jump": /);
    assert.equal(pinsIn(folder), ["tasks"]);
  });
});

pinning("a folder that is not there is made", async () => {
  await withBpffs((folder) => {
    using object = loadObject(pinned("tasks"), { pinFolder: `${folder}/app` });
    assert.ok(!object.map("tasks").closed);
    assert.ok(existsSync(`${folder}/app/tasks`));
  });
});

pinning("program arrays and maps of maps have their first entries", async () => {
  await withBpffs((folder) => {
    using object = loadObject(fixture("maps.el.o"), { pinFolder: folder });
    const id = (name: string): number => object.map(name).info().id;
    const program = (name: string): unknown => infoOf(object.program(name)).id;
    assert.equal(
      [...object.map("jumps")].map(([key, value]) => [key, value]),
      [
        [0, program("two")],
        [2, program("one")],
      ],
    );
    assert.equal(
      [...object.map("outer").entries()],
      [
        [0, id("second")],
        [2, id("first")],
      ],
    );
    assert.equal([...object.map("hash").values()], [id("first")]);
    assert.is(object.map("anonymous").count(), 0);
    // Another map of the same kind may be put in, one of another kind not.
    using inner = createMap({ type: "hash", key: 8, value: 20, maxEntries: 16 });
    object.map("anonymous").set(Uint8Array.of(1, 0, 0, 0), inner);
    assert.is(object.map("anonymous").count(), 1);
    assert.throws(() => object.map("outer").set(1, inner), /EINVAL, the value is no map like the inner one/);
  });
});

real("maps of another object take the place of its own", () => {
  using first = loadObject(bytes);
  using second = loadObject(bytes, { maps: { tasks: first.map("tasks"), ".bss": first.map(".bss") } });
  second.program("fill").run({ data });
  assert.is(first.map("tasks").get(100).comm, "init");
  assert.is(first.variable("runs").get(), 1n);
  assert.is(second.variable("runs").get(), 1n);
  second.close();
  assert.is(first.map("tasks").count(), 1, "it stays open");
});

real("another map must be like the one in whose place it is put", () => {
  using tasks = createMap({ type: "hash", key: 4, value: 8, maxEntries: 16 });
  const error = thrown(() => loadObject(bytes, { maps: { tasks } }));
  assert.is(error.message, 'Cannot use another map in place of "tasks": it has valueSize 8, expected 32');
  assert.match(thrown(() => loadObject(bytes, { maps: { task: tasks } })).message, /^The object has no map "task"/);
});

real("names in the kernel begin as they shall", () => {
  using object = loadObject(bytes, { name: "typed", namePrefix: "my_" });
  assert.is(object.map("tasks").info().name, "my_tasks");
  assert.is(object.map(".bss").info().name, "my_typed.bss");
  assert.is(object.program("fill").name, "my_fill");
  assert.match(String(infoOf(object.program("fill")).name), /^my_fill\0*$/);
});

real("programs are loaded that load by themselves, or that are asked for", () => {
  using all = loadObject(bytes);
  assert.equal(Object.keys(all.programs), ["fill", "jump"]);
  using some = loadObject(bytes, { programs: ["optional"] });
  assert.equal(Object.keys(some.programs), ["optional"]);
  assert.is(some.program("optional").run({ data }).returnValue, 3);
  assert.is(thrown(() => some.program("fill") as never).code, "ERR_OBJECT");
  using none = loadObject(bytes, { programs: [] });
  assert.equal(Object.keys(none.programs), []);
  assert.ok(none.map("tasks").info().id > 0);
  // What is not asked for need not be right.
  loadObject(broken(parseObject(bytes), "jump"), { programs: ["fill"] }).close();
});

real("constants are frozen, and programs cannot write to them", () => {
  using object = loadObject(bytes);
  const map = object.map(".rodata");
  assert.ok(map.info().flags & MapFlag.rdonly_prog);
  assert.throws(() => map.set(0, map.get(0)), /EPERM/);
  assert.throws(() => map.freeze(), /EPERM|EBUSY/);
  assert.is(object.variable("first_pid").get(), 100);
});

real("globals are seen in memory", () => {
  using object = loadObject(bytes);
  for (const name of [".bss", ".data", ".rodata"]) {
    assert.ok(object.map(name).info().flags & MapFlag.mmapable, name);
  }
  object.variable("runs").set(9n);
  assert.is(object.map(".bss").get(0).runs, 9n);
  assert.equal(object.variable("last").get().comm, "last");
});

real("constants stay with programs that do not refer to them", () => {
  using object = loadObject(bytes, { programs: ["optional", "fill"] });
  const constants = Object.values(object.spec.maps).filter(({ kind, frozen }) => kind === "data" && frozen);
  assert.ok(constants.length >= 1);
  assert.is(infoOf(object.program("optional")).nr_map_ids, constants.length);
});

real("a log is there on success when it is asked for", () => {
  using object = loadObject(bytes, { programs: ["optional"], logLevel: 1 });
  assert.match(object.program("optional").log, /processed \d+ insns/);
});

real("whatever program fails, nothing stays open", () => {
  for (const name of ["fill", "jump"]) {
    const error = thrown(() => loadObject(broken(parseObject(bytes), name)));
    assert.instance(error, VerifierError);
    assert.match(error.message, `Cannot load program "${name}": `);
    assert.equal(kernelDescriptors(), []);
  }
});

for (const command of ["BPF_PROG_BIND_MAP", "BPF_BTF_LOAD", "BPF_MAP_UPDATE_ELEM"] as BpfCommand[]) {
  test(`when any ${command} fails, nothing is left open`, () => {
    for (let failing = 0, failed = true; failed; failing++) {
      const kernel = new FakeKernel();
      let seen = 0;
      failed = false;
      kernel.on(command, () => {
        if (seen++ !== failing) return undefined;
        failed = true;
        return "EMFILE";
      });
      try {
        loadObject(bytes, { backend: kernel.backend }).close();
      } catch (error) {
        assert.ok(failed, String(error));
      }
      assert.equal(kernel.open, [], `call ${failing}`);
    }
  });
}

test.run();
