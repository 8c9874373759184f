import { suite } from "uvu";
import * as assert from "uvu/assert";
import { call, callLocal, exit, mov, program, r0, r1, r2, r3, subprogram } from "../../src/asm/index.ts";
import { type Btf, type BtfTypeSpec, createBtfBuilder, openBtf, type TypeId } from "../../src/btf/index.ts";
import { createObjectSpec, type ObjectSpec } from "../../src/elf/index.ts";
import { btfLoadAttr, decodeStruct, progInfo, progLoadAttr } from "../../src/kernel-abi/index.ts";
import { loadObject } from "../../src/object/index.ts";
import { FakeKernel, objInfo, openBackend, probeFeature } from "../../src/syscall/index.ts";
import { failOnLeaks, requires } from "../support/harness.ts";
import { watchedBackend } from "../support/watched.ts";

const test = suite("object/context-arguments");
failOnLeaks(test);

/** Types of the parameter before it is replaced, or left. */
type Parameter = "void" | "registers" | "canonical" | "word" | "other";

/**
 * Two programs of different types call one global function, whose parameters `a` and `b` are tagged as the context; and
 * one that nothing calls. Numbers of types: 1 int, 2 main, 4 helper and so on, in this order.
 */
function object(sections: Readonly<Record<string, string>>, parameter: Parameter = "void", wrong = 9): ObjectSpec {
  const builder = createBtfBuilder();
  const int = builder.add({ kind: "int", name: "int", size: 4, signed: true });
  const targets: Readonly<Record<Parameter, () => TypeId | 0>> = {
    void: () => 0,
    registers: () => builder.add({ kind: "struct", name: "pt_regs", size: 8, members: [] }),
    canonical: () => builder.add({ kind: "struct", name: "__sk_buff", size: 8, members: [] }),
    word: () => builder.add({ kind: "int", name: "unsigned long", size: 8 }),
    other: () => builder.add({ kind: "struct", name: "task_struct", size: 8, members: [] }),
  };
  // Behind const and a typedef, as source code has them.
  const inner = builder.add({ kind: "const", type: targets[parameter]() });
  const pointer = builder.add({
    kind: "typedef",
    name: "context_t",
    type: builder.add({ kind: "ptr", type: inner }),
  });
  const add = (name: string, linkage: "global" | "static", ...params: readonly string[]): TypeId => {
    const types = params.map((param) => ({ name: param, type: param === "n" ? int : pointer }));
    const proto = builder.add({ kind: "func_proto", returnType: int, params: types });
    return builder.add({ kind: "func", name, type: proto, linkage });
  };
  const tag = (type: TypeId, componentIndex: number): void =>
    void builder.add({ kind: "decl_tag", name: "arg:ctx", type, componentIndex });
  const mains = Object.keys(sections).map((name) => [name, add(name, "global", "context")] as const);
  const helper = add("helper", "global", "a", "n", "b");
  const inlined = add("inlined", "static", "a");
  const unused = add("unused", "global", "a");
  for (const [type, index] of [
    [helper, 0],
    [helper, 2],
    [helper, wrong],
    [inlined, 0],
    [unused, 0],
  ] as const) {
    tag(type, index);
  }
  return createObjectSpec({
    license: "GPL",
    btf: builder.build(),
    programs: Object.fromEntries(
      mains.map(([name, type]) => [
        name,
        {
          section: sections[name]!,
          instructions: program(
            callLocal("helper"),
            exit(),
            subprogram("helper", callLocal("inlined"), exit()),
            subprogram("inlined", mov(r0, 0), exit()),
          ),
          functions: [
            { label: name, name, type },
            { label: "helper", name: "helper", type: helper },
            { label: "inlined", name: "inlined", type: inlined },
          ],
        },
      ]),
    ),
  });
}

interface Seen {
  /** Prototype of the function `helper` that each program was loaded with. */
  readonly helpers: Readonly<Record<string, string>>;
  /** Types that were added to the object's. */
  readonly added: readonly BtfTypeSpec[];
  readonly warnings: readonly string[];
}

/** Loads into a kernel that refuses what asks for the tag, and BTF with types it does not know. */
function load(spec: ObjectSpec, known: boolean, unknown?: "decl_tag"): Seen {
  const kernel = new FakeKernel();
  const helpers: Record<string, string> = {};
  let last: Btf | undefined;
  kernel.on("BPF_BTF_LOAD", (request) => {
    const btf = openBtf(request.memory(btfLoadAttr, "btf", request.get(btfLoadAttr, "btf_size")).slice());
    if (unknown !== undefined && [...btf.types()].some(({ kind }) => kind === unknown)) return "EINVAL";
    if (btf.idsByName("helper").length > 0) last = btf;
    return undefined;
  });
  kernel.on("BPF_PROG_LOAD", (request) => {
    const get = (field: string): number => request.get(progLoadAttr, field);
    const name = request.memory(progLoadAttr, "insns", 8);
    assert.is(name.length, 8);
    const count = get("func_info_cnt");
    // The probe has two functions.
    if (count === 2) return known ? undefined : "EACCES";
    if (count === 0) return undefined;
    const words = new Uint32Array(request.memory(progLoadAttr, "func_info", 8 * count).slice().buffer);
    const names = [1, 3, 5].map((at) => {
      const func = last!.typeById(words[at]!);
      assert.is(func.kind, "func");
      return func as Extract<typeof func, { kind: "func" }>;
    });
    assert.equal([names[1]!.name, names[1]!.linkage, names[2]!.name], ["helper", "global", "inlined"]);
    helpers[names[0]!.name] = prototype(last!, names[1]!.type);
    assert.is(prototype(last!, names[2]!.type), prototype(spec.btf!, spec.btf!.typeByName("inlined", "func").type));
    return undefined;
  });
  const loaded = loadObject(spec, { backend: kernel.backend });
  loaded.close();
  assert.equal(kernel.open, []);
  const added = [...last!.types(spec.btf!.endId)];
  return { helpers, added, warnings: loaded.warnings };
}

function prototype(btf: Btf, id: number): string {
  const type = btf.typeById(id);
  assert.is(type.kind, "func_proto");
  if (type.kind !== "func_proto") return "";
  return type.params
    .map((param) => {
      const pointer = btf.typeById(param.type);
      if (pointer.kind !== "ptr") return `${param.name}: ${pointer.name}`;
      const target = btf.typeById(pointer.type);
      return `${param.name}: ${target.kind} ${"name" in target ? target.name : ""}*`;
    })
    .join(", ");
}

const sections = { first: "tc", second: "xdp", third: "tc", fourth: "kprobe/x" };
const left = "a: context_t, n: int, b: context_t";

test("a kernel that knows the tag is given the types as they are", () => {
  const { helpers, added, warnings } = load(object(sections), true);
  assert.equal(helpers, { first: left, second: left, third: left, fourth: left });
  assert.equal(added, []);
  assert.equal(warnings, []);
});

for (const unknown of [undefined, "decl_tag"] as const) {
  test(`one that does not, ${unknown ?? "though it takes tags"}: each type of program gets a function of its own`, () => {
    const { helpers, added, warnings } = load(object(sections), false, unknown);
    const skb = "a: struct __sk_buff*, n: int, b: struct __sk_buff*";
    assert.equal(helpers, {
      first: skb,
      second: "a: struct xdp_md*, n: int, b: struct xdp_md*",
      third: skb,
      fourth: "a: struct bpf_user_pt_regs_t*, n: int, b: struct bpf_user_pt_regs_t*",
    });
    // A struct, a pointer, a prototype and a function for each of three types of programs.
    assert.is(added.length, 12);
    assert.equal(
      warnings.filter((each) => each.includes("context")),
      [],
    );
  });
}

const cases: readonly (readonly [section: string, parameter: Parameter, type: string | undefined])[] = [
  ["tc", "canonical", undefined],
  ["tc", "void", "__sk_buff"],
  ["kprobe/x", "registers", "bpf_user_pt_regs_t"],
  ["perf_event", "registers", "bpf_perf_event_data"],
  ["raw_tp/x", "word", "bpf_raw_tracepoint_args"],
  ["raw_tp.w/x", "word", "bpf_raw_tracepoint_args"],
  // These have no struct that stands for their context.
  ["fentry/x", "void", undefined],
  ["tp/a/b", "void", undefined],
];
for (const [section, parameter, type] of cases) {
  test(`${section}, parameter of type ${parameter} *: ${type ?? "left"}`, () => {
    const spec = object({ main: "tc" }, parameter);
    const { main } = spec.programs;
    const rule = createObjectSpec({ programs: { main: { section, instructions: [exit()] } } }).programs.main!;
    spec.programs = { main: { ...main!, type: rule.type, attachBtf: false, attachType: undefined } };
    const { helpers, warnings } = load(spec, false);
    assert.is(helpers.main, type === undefined ? left : `a: struct ${type}*, n: int, b: struct ${type}*`);
    assert.equal(warnings, []);
  });
}

test("what is no context of the program is left, and told of", () => {
  const { helpers, added, warnings } = load(object({ main: "tc" }, "other"), false);
  assert.equal([helpers.main, added], [left, []]);
  assert.equal(warnings, [
    'Function "helper", called by program "main": parameter 1 should be of type struct __sk_buff *, or void *',
    'Function "helper", called by program "main": parameter 3 should be of type struct __sk_buff *, or void *',
  ]);
});

/** Whose helper takes nothing but the context. */
function kprobe(): ObjectSpec {
  const spec = object({ main: "kprobe" }, "void", 2);
  const { main } = spec.programs;
  const [first] = main!.instructions;
  const [set, ...rest] = program(
    mov(r2, 0),
    mov(r3, r1),
    callLocal("helper"),
    exit(),
    subprogram("helper", call("get_func_ip"), exit()),
  );
  const instructions = [{ ...set!, meta: { labels: first!.meta!.labels } }, ...rest];
  spec.programs = { main: { ...main!, instructions, functions: main!.functions.slice(0, 2) } };
  return spec;
}

requires(
  test,
  "bpf",
  "kernel-btf",
)("the running kernel takes a tagged parameter for the context", () => {
  assert.is(probeFeature("arg_ctx_tag"), true, "Linux 6.8");
  using loaded = loadObject(kprobe());
  assert.equal(loaded.warnings, []);
  assert.is(decodeStruct(progInfo, objInfo(loaded.program("main").owner, progInfo.size)).nr_func_info, 2);
});

requires(
  test,
  "bpf",
  "kernel-btf",
)("the running kernel takes the types made for older ones", () => {
  let asked = 0;
  const backend = watchedBackend(openBackend(), ({ command, attr }) => {
    const word = (field: "insn_cnt" | "func_info_cnt" | "prog_name"): number =>
      new DataView(attr.buffer, attr.byteOffset).getUint32(progLoadAttr.fields[field].offset, true);
    // The probe has no name.
    const probe = command === "BPF_PROG_LOAD" && word("func_info_cnt") === 2 && word("prog_name") === 0;
    if (probe) asked++;
    return probe ? -22 : undefined;
  });
  using loaded = loadObject(kprobe(), { backend });
  assert.is(asked, 1);
  assert.equal(loaded.warnings, []);
  assert.is(decodeStruct(progInfo, objInfo(loaded.program("main").owner, progInfo.size)).nr_func_info, 2);
});

test.run();
