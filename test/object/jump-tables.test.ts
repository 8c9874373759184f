import { suite } from "uvu";
import * as assert from "uvu/assert";
import { jumpTableOffsets, parseObject } from "../../src/elf/index.ts";
import { BpfError } from "../../src/errors.ts";
import { mapCreateAttr, mapElemAttr } from "../../src/kernel-abi/index.ts";
import { createMap } from "../../src/maps/index.ts";
import { loadObject } from "../../src/object/index.ts";
import { FakeKernel, SyscallError } from "../../src/syscall/index.ts";
import { fixture } from "../elf/build.ts";
import { failOnLeaks, missing, skip } from "../support/harness.ts";

const test = suite("object/jump-tables");
failOnLeaks(test);

const object = fixture("jump-table.el.o");

// As libbpf 1.8 fills its maps; Linux 7.3 takes both, and the programs have the same tags.
const OFFSETS = {
  program: { "BPF.JT.1.0": [12, 21, 17, 19, 14], "BPF.JT.0.0": [35, 42, 37, 39] },
  other: { "BPF.JT.0.0": [12, 19, 14, 16] },
};

test("offsets count from the start of the program that has the function", () => {
  const { programs } = parseObject(object);
  const found = Object.values(programs).map(({ name, instructions, jumpTables }) => [
    name,
    Object.values(jumpTables)
      .map((table) => jumpTableOffsets(instructions, table))
      .sort((a, b) => b.length - a.length),
  ]);
  assert.equal(
    found,
    Object.entries(OFFSETS).map(([name, tables]) => [name, Object.values(tables)]),
  );
});

test("a table that leads to an instruction which was removed is refused", () => {
  const { program } = parseObject(object).programs;
  const table = Object.values(program!.jumpTables)[0]!;
  const rest = program!.instructions.filter(({ meta }) => !meta?.labels?.includes(table.targets[2]!));
  assert.throws(
    () => jumpTableOffsets(rest, table),
    (error: unknown) =>
      error instanceof BpfError &&
      error.code === "ERR_ASM_LABEL" &&
      error.message ===
        `Entry 2 of jump table "${table.name}" leads to "${table.targets[2]}", which is not in the program`,
  );
});

test("each program gets maps of its own, filled and frozen before it is loaded, and closed after it", () => {
  const kernel = new FakeKernel();
  const made: number[][] = [];
  const order: string[] = [];
  kernel.on("BPF_MAP_CREATE", (request) => {
    if (request.get(mapCreateAttr, "map_type") !== 34) return undefined;
    const sizes = ["key_size", "value_size", "max_entries"].map((field) => request.get(mapCreateAttr, field));
    assert.equal(sizes.slice(0, 2), [4, 16]);
    made.push(Array(sizes[2]!).fill(-1));
    order.push("create");
    return undefined;
  });
  kernel.on("BPF_MAP_UPDATE_ELEM", (request) => {
    const key = new DataView(request.memory(mapElemAttr, "key", 4).slice().buffer).getUint32(0, true);
    const value = new Uint32Array(request.memory(mapElemAttr, "value", 16).slice().buffer);
    assert.equal([...value.subarray(1)], [0, 0, 0]);
    made.at(-1)![key] = value[0]!;
    return undefined;
  });
  kernel.on("BPF_MAP_FREEZE", () => {
    order.push("freeze");
    return undefined;
  });
  kernel.on("BPF_PROG_LOAD", () => {
    order.push("load");
    return undefined;
  });
  const loaded = loadObject(object, { backend: kernel.backend });
  const wanted = Object.values(OFFSETS).flatMap((tables) => Object.values(tables));
  assert.equal([...made].sort(), wanted.sort());
  const maps = ["create", "freeze"];
  assert.equal(order.slice(order.indexOf("create")), [...maps, ...maps, "load", ...maps, "load"]);
  assert.equal(
    kernel.open.filter((entry) => entry.startsWith("map")),
    [],
    "only the programs hold them",
  );
  loaded.close();
  assert.equal(kernel.open, []);
});

for (const command of ["BPF_MAP_CREATE", "BPF_MAP_UPDATE_ELEM", "BPF_MAP_FREEZE", "BPF_PROG_LOAD"] as const) {
  test(`nothing is left open when ${command} fails`, () => {
    for (let failing = 0; failing < 3; failing++) {
      const kernel = new FakeKernel();
      let seen = 0;
      kernel.on(command, () => (seen++ < failing ? undefined : "EMFILE"));
      assert.throws(
        () => loadObject(object, { backend: kernel.backend }),
        (error: unknown) => error instanceof SyscallError && error.code === "EMFILE",
      );
      assert.equal(kernel.open, [], `call ${failing}`);
    }
  });
}

/** Why the kernel here takes no jump tables. */
function reason(): string | undefined {
  const privileges = missing("bpf");
  if (privileges !== undefined) return privileges;
  try {
    createMap({ type: "insn_array", key: 4, value: 16, maxEntries: 1 }).close();
    return undefined;
  } catch (error) {
    return `needs Linux 6.19: ${(error as Error).message}`;
  }
}

const why = reason();
const runs = "a switch runs through its table";
if (why !== undefined) skip(test, runs, why);
else {
  test(runs, () => {
    using loaded = loadObject(object, { programs: ["program"] });
    // A socket filter does not see the 14 bytes of the Ethernet header.
    const results = [0, 1, 2, 3, 4, 5, 50].map((length) => {
      return loaded.program("program").run({ data: new Uint8Array(14 + length) }).returnValue;
    });
    assert.equal(results, [5, 18, 70, 33, 11, 9, 9]);
  });
}

test.run();
