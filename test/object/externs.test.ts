import { suite } from "uvu";
import * as assert from "uvu/assert";
import { call, exit, type Instruction, instruction, LD_IMM64, mov, r0, withMeta } from "../../src/asm/index.ts";
import { type Btf, type BtfTypeSpec, encodeBtf, openBtf, type TypeId } from "../../src/btf/index.ts";
import type { ExternSpec, ObjectSpec } from "../../src/elf/index.ts";
import { BpfError } from "../../src/errors.ts";
import { applyExterns, externOrder, type ModuleIndices, resolveExterns } from "../../src/object/externs.ts";
import { nameInLog } from "../../src/object/poison.ts";
import { findKernelSymbols, type KernelSymbol } from "../../src/symbols/kallsyms.ts";

const test = suite("object/externs");

const INT: BtfTypeSpec = { kind: "int", name: "int", size: 4, signed: true };

/** Types of an object, or of a kernel: 1 int, 2 struct task, 3 pointer to it. */
function types(...more: readonly BtfTypeSpec[]): Btf {
  const task: BtfTypeSpec = {
    kind: "struct",
    name: "task",
    size: 4,
    members: [{ name: "pid", type: 1, bitOffset: 0 }],
  };
  return openBtf(encodeBtf([INT, task, { kind: "ptr", type: 2 }, ...more]));
}

const KERNEL = types(
  { kind: "func_proto", returnType: 3, params: [{ name: "p", type: 3 }] }, // 4
  { kind: "func", name: "acquire", type: 4, linkage: "static" }, // 5
  { kind: "var", name: "counter", type: 1, linkage: "global" }, // 6
  { kind: "var", name: "queue", type: 2, linkage: "global" }, // 7
);

const MODULE = openBtf(
  encodeBtf(
    [
      { kind: "func_proto", returnType: 1, params: [] },
      { kind: "func", name: "of_module", type: 8, linkage: "static" },
      { kind: "var", name: "variable_of_module", type: 1, linkage: "global" },
    ],
    { base: KERNEL },
  ),
  { base: KERNEL },
);

const kernelTypes = {
  find(name: string, kind: "func" | "typedef" | "var" | "struct") {
    for (const [module, btf] of [
      ["vmlinux", KERNEL],
      ["module", MODULE],
    ] as const) {
      const id = btf.idsByName(name, kind)[0];
      if (id !== undefined) return { id, btf, module };
    }
    return undefined;
  },
  descriptor: (module: string): number => (module === "vmlinux" ? 0 : 55),
};

// The object has the same types in another order, and prototypes of its own.
const LOCAL = types(
  { kind: "func_proto", returnType: 3, params: [{ name: "p", type: 3 }] }, // 4
  {
    kind: "func_proto",
    returnType: 3,
    params: [
      { name: "p", type: 3 },
      { name: "flags", type: 1 },
    ],
  }, // 5
  { kind: "func_proto", returnType: 1, params: [] }, // 6
  { kind: "const", type: 1 }, // 7
);

function object(...list: readonly ExternSpec[]): ObjectSpec {
  const externs: Record<string, ExternSpec> = Object.create(null);
  for (const each of list) externs[each.name] = each;
  return { externs, maps: {}, programs: {}, btf: LOCAL } as unknown as ObjectSpec;
}

function kfunc(name: string, type: number, options: { readonly weak?: boolean } = {}): ExternSpec {
  const kernelName = name.replace(/___.*/, "");
  return { kind: "kfunc", name, kernelName, weak: options.weak ?? false, type: type as TypeId };
}

function ksym(name: string, type: number, options: { readonly weak?: boolean } = {}): ExternSpec {
  const kernelName = name.replace(/___.*/, "");
  return { kind: "ksym", name, kernelName, weak: options.weak ?? false, type: type as TypeId };
}

function resolve(
  spec: ObjectSpec,
  symbols: Readonly<Record<string, KernelSymbol>> = {},
): ReturnType<typeof resolveExterns> {
  return resolveExterns(spec, Object.keys(spec.externs), kernelTypes, () => new Map(Object.entries(symbols)));
}

test("a kernel function is taken when its prototype is compatible", () => {
  const found = resolve(object(kfunc("acquire", 4))).get("acquire");
  assert.is(found?.kind === "type" && found.type.id, 5);
});

test("another prototype is refused, and of a weak function as good as missing", () => {
  assert.throws(
    () => resolve(object(kfunc("acquire", 5))),
    (error: BpfError) =>
      error.code === "ERR_EXTERN" &&
      /^Kernel function "acquire" has another prototype than "acquire"/.test(error.message),
  );
  assert.is(resolve(object(kfunc("acquire", 5, { weak: true }))).get("acquire")?.kind, "missing");
});

test("flavours choose among prototypes", () => {
  const spec = object(kfunc("acquire___old", 5, { weak: true }), kfunc("acquire___new", 4, { weak: true }));
  const found = resolve(spec);
  assert.is(found.get("acquire___old")?.kind, "missing");
  assert.is(found.get("acquire___new")?.kind, "type");
});

test("a kernel variable has to be of the same type, also a weak one", () => {
  assert.is(resolve(object(ksym("counter", 7))).get("counter")?.kind, "type", "const does not matter");
  for (const weak of [false, true]) {
    assert.throws(
      () => resolve(object(ksym("counter", 2, { weak }))),
      /^Kernel variable "counter" is of type int int, the object declares struct task$/,
    );
  }
  assert.is(resolve(object(ksym("queue", 2))).get("queue")?.kind, "type");
});

test("what is missing is an error, and nothing when it is weak", () => {
  assert.throws(
    () => resolve(object(kfunc("none", 4))),
    /^No kernel function "none" in the BTF of the kernel and its modules/,
  );
  assert.throws(() => resolve(object(ksym("none", 1))), /^No kernel variable "none" in the BTF/);
  assert.throws(() => resolve(object(ksym("none", 0))), /^No symbol "none" in \/proc\/kallsyms/);
  const weak = { weak: true };
  const found = resolve(object(kfunc("f", 4, weak), ksym("v", 1, weak), ksym("a", 0, weak)));
  assert.equal(
    [...found.values()].map(({ kind }) => kind),
    ["missing", "missing", "missing"],
  );
});

test("addresses: ambiguous, hidden, with three underscores in their own names", () => {
  const at = (address: bigint, ...others: bigint[]): KernelSymbol => ({ address, others });
  assert.throws(
    () => resolve(object(ksym("two", 0)), { two: at(16n, 32n) }),
    /^Symbol "two" is ambiguous: it is at 0x10, 0x20$/,
  );
  assert.throws(
    () => resolve(object(ksym("hidden", 0)), { hidden: at(0n) }),
    /^The kernel does not tell the address of "hidden"\nHint: kernel\.kptr_restrict/,
  );
  const own = resolve(object(ksym("sys___own", 0)), { sys___own: at(7n), sys: at(8n) }).get("sys___own");
  assert.equal(own, { kind: "address", address: 7n });
  const flavour = resolve(object(ksym("sys___flavour", 0)), { sys: at(8n) }).get("sys___flavour");
  assert.equal(flavour, { kind: "address", address: 8n });
});

test("symbols are found in the kernel's list", () => {
  const list = [
    "ffffffff81000000 T _text",
    "ffffffff81000010 t twice",
    "ffffffff81000020 t twice",
    "ffffffff81000030 t same",
    "ffffffff81000030 t same",
    "ffffffff82000000 d of_clang.llvm.1234567890",
    "ffffffff81000040 t function.llvm.1",
    "ffffffffc0000000 t in_module\t[module]",
    "0000000000000000 A absolute",
    "",
    "nonsense",
  ].join("\n");
  const names = new Set(["_text", "twice", "same", "of_clang", "function", "in_module", "absolute", "not_there"]);
  const found = findKernelSymbols(names, () => new TextEncoder().encode(list));
  assert.equal(found.get("_text"), { address: 0xffffffff81000000n, others: [] });
  assert.equal(found.get("twice"), { address: 0xffffffff81000010n, others: [0xffffffff81000020n] });
  assert.equal(found.get("same")?.others, []);
  assert.is(found.get("of_clang")?.address, 0xffffffff82000000n);
  assert.is(found.has("function"), false, "of functions, the suffix belongs to the name, as in libbpf");
  assert.is(found.get("in_module")?.address, 0xffffffffc0000000n);
  assert.is(found.get("absolute")?.address, 0n);
  assert.is(found.has("not_there"), false);
});

function refer(name: string, kind: "kfunc" | "ksym"): Instruction {
  const insn = kind === "kfunc" ? instruction(0x85, 0, 2, 0, -1) : instruction(LD_IMM64, 1, 0, 0, 0, 0);
  return withMeta(insn, { reference: name, relocation: { kind, name } as never });
}

test("modules are numbered in an array of descriptors, from 1 on", () => {
  const spec = object(kfunc("of_module", 6), kfunc("acquire", 4), ksym("variable_of_module", 1));
  const modules: ModuleIndices = { descriptors: [], indices: new Map() };
  const code = [refer("of_module", "kfunc"), refer("acquire", "kfunc"), refer("variable_of_module", "ksym"), exit()];
  const [ofModule, acquire, variable] = applyExterns(code, spec, resolve(spec), kernelTypes, modules);
  assert.equal([ofModule?.src, ofModule?.offset, ofModule?.imm], [2, 1, 9]);
  assert.equal([acquire?.src, acquire?.offset, acquire?.imm], [2, 0, 5]);
  assert.equal([variable?.src, variable?.imm, variable?.high], [3, 10, 55], "the descriptor is in the other half");
  assert.equal(modules.descriptors, [0, 55]);
  applyExterns(code, spec, resolve(spec), kernelTypes, modules);
  assert.equal(modules.descriptors, [0, 55], "each module once");
});

test("missing functions become calls that the verifier refuses, and are named in its log", () => {
  const config: ExternSpec = {
    kind: "kconfig",
    name: "CONFIG_HZ",
    weak: false,
    type: 1 as TypeId,
    value: "integer",
    signed: true,
    offset: 0,
    size: 4,
  };
  const weak = { weak: true };
  const spec = object(kfunc("zebra", 4, weak), ksym("ant", 0, weak), config);
  assert.equal(externOrder(spec), ["CONFIG_HZ", "ant", "zebra"]);
  const code = [refer("zebra", "kfunc"), refer("ant", "ksym"), mov(r0, 0), call("ktime_get_ns"), exit()];
  const applied = applyExterns(code, spec, resolve(spec), kernelTypes, { descriptors: [], indices: new Map() });
  assert.equal([applied[0]?.opcode, applied[0]?.src, applied[0]?.imm], [0x85, 0, 2002000002]);
  assert.equal([applied[1]?.src, applied[1]?.imm, applied[1]?.high], [0, 0, 0]);
  const log =
    "0: R1=ctx() R10=fp0\n0: (85) call unknown#2002000002\ninvalid func unknown#2002000002\nprocessed 1 insns\n";
  assert.is(
    nameInLog(log, spec, applied),
    "0: R1=ctx() R10=fp0\n0: <invalid kfunc call>\nkfunc 'zebra' is referenced but wasn't resolved\nprocessed 1 insns\n",
  );
});

test("a name that nothing describes is an error", () => {
  const spec = object({ kind: "undefined", name: "lost", weak: false });
  assert.throws(
    () => resolve(spec),
    (error: unknown) => error instanceof BpfError && /^"lost" is not defined in the object/.test(error.message),
  );
});

test.run();
