import { suite } from "uvu";
import * as assert from "uvu/assert";
import { add, callLocal, exit, type Instruction, mov, program, r0, r1, subprogram } from "../../src/asm/index.ts";
import { createBtfBuilder } from "../../src/btf/index.ts";
import { createObjectSpec, parseObject, writeObject } from "../../src/elf/index.ts";
import { decodeStruct, progInfo } from "../../src/kernel-abi/index.ts";
import { loadObject } from "../../src/object/index.ts";
import { objInfo } from "../../src/syscall/index.ts";
import { fixture } from "../elf/build.ts";
import { failOnLeaks, requires } from "../support/harness.ts";

const test = suite("object/functions");
failOnLeaks(test);

const packet = { data: new Uint8Array(64) };

const subprograms = fixture("subprograms.el.o");
// What the source says, computed by hand.
const results: readonly (readonly [name: string, total: bigint, result: number])[] = [
  ["calls", 0n, (((3 * 3 + 1) ^ 5) + 4 * 3 + (5 - 5 * 3)) >>> 0],
  ["callbacks", 0n, 45 * 3 + 1],
  ["throws", 0n, 3],
  // The handler of exceptions adds 2 to what was thrown.
  ["throws", 11n, 9],
  ["alone", 0n, 0],
];

for (const [name, total, result] of results) {
  requires(
    test,
    "bpf",
    "kernel-btf",
  )(`static, global, weak and hidden functions, callbacks, exceptions: ${name} with ${total}`, () => {
    for (const bytes of [subprograms, writeObject(parseObject(subprograms))]) {
      using object = loadObject(bytes, { programs: [name], variables: { total } });
      assert.is(object.program(name).run(packet).returnValue, result);
    }
  });
}

// outside(a) is a * 5, beside(a) is outside(a) + 3.
const beside = [
  ["program", 2 * 5 + 3],
  ["other", 6 * 5 + 7 * 5 + 3],
] as const;

for (const [name, result] of beside) {
  requires(
    test,
    "bpf",
    "kernel-btf",
  )(`functions in sections of their own: ${name}`, () => {
    using object = loadObject(fixture("subprogram-sections.el.o"), { programs: [name] });
    assert.is(object.program(name).run(packet).returnValue, result);
  });
}

requires(
  test,
  "bpf",
  "kernel-btf",
)("functions made of instructions have their types in the kernel", () => {
  const builder = createBtfBuilder();
  const int = builder.add({ kind: "int", name: "int", size: 4, signed: true });
  const takesOne = builder.add({ kind: "func_proto", returnType: int, params: [{ name: "a", type: int }] });
  const main = builder.add({ kind: "func", name: "main", type: takesOne, linkage: "global" });
  const twice = builder.add({ kind: "func", name: "twice", type: takesOne, linkage: "static" });
  const instructions: readonly Instruction[] = program(
    mov(r1, 21),
    callLocal("twice"),
    exit(),
    subprogram("twice", mov(r0, r1), add(r0, r1), exit()),
  );
  const spec = createObjectSpec({
    license: "GPL",
    btf: builder.build(),
    programs: {
      main: {
        section: "socket",
        instructions,
        functions: [
          { label: "main", name: "main", type: main },
          { label: "twice", name: "twice", type: twice },
        ],
      },
    },
  });
  for (const each of [spec, parseObject(writeObject(spec))]) {
    using object = loadObject(each);
    const loaded = object.program("main");
    assert.is(loaded.run(packet).returnValue, 42);
    const info = decodeStruct(progInfo, objInfo(loaded.owner, progInfo.size));
    assert.is(info.nr_func_info, 2);
  }
});

test.run();
