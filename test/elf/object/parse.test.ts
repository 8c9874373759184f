import { suite } from "uvu";
import * as assert from "uvu/assert";
import { encode, link } from "../../../src/asm/index.ts";
import { functionInfos, lineInfos, validateBtf } from "../../../src/btf/index.ts";
import {
  type KconfigExternSpec,
  matchSection,
  type ObjectMapSpec,
  type ObjectSpec,
  parseObject,
  SECTION_RULES,
  sectionHint,
} from "../../../src/elf/index.ts";
import { AttachType, ProgType } from "../../../src/kernel-abi/index.ts";
import { fixture } from "../build.ts";
import { describe, summarize } from "../summary.ts";

const test = suite("elf/object/parse");

/** Runs a test for both byte orders. */
function both(name: string, file: string, run: (spec: ObjectSpec, order: string) => void): void {
  for (const order of ["el", "eb"])
    test(`${name} (${order})`, () => run(parseObject(fixture(`${file}.${order}.o`)), order));
}

const references = (spec: ObjectSpec, program: string): string[] => [
  ...new Set(spec.programs[program]!.instructions.flatMap(({ meta }) => meta?.reference ?? [])),
];

both("programs, maps, variables and externs of an ordinary object", "packet-count", (spec, order) => {
  assert.is(spec.littleEndian, order === "el");
  assert.is(spec.license, "GPL");
  assert.equal(spec.warnings, []);
  assert.equal(Object.keys(spec.programs), ["count", "pass", "drop"]);
  const { instructions, ...count } = spec.programs.count!;
  assert.equal(
    {
      ...count,
      jumpTables: { ...count.jumpTables },
      functions: count.functions.map(({ label, name, type }) => [label, name, describe(spec.btf, type!)]),
    },
    {
      name: "count",
      sectionName: "socket",
      sectionRule: "socket",
      type: "socket_filter",
      attachType: undefined,
      attachTypeOptional: false,
      attachTo: undefined,
      attachBtf: false,
      sleepable: false,
      flags: 0,
      autoload: true,
      functions: [
        ["count", "count", "global func count: int int(ptr  struct __sk_buff)"],
        ["clamp", "clamp", "global func clamp: typedef __u32 int unsigned int(typedef __u32 int unsigned int)"],
        [
          "add",
          "add",
          "static func add: typedef __u64 int unsigned long long(typedef __u64 int unsigned long long, typedef __u32 int unsigned int)",
        ],
      ],
      exceptionCallback: undefined,
      jumpTables: {},
    },
  );
  assert.is(instructions.length, 46);
  assert.equal(references(spec, "count"), [
    "clamp",
    "counts",
    ".bss",
    "add",
    ".data",
    "maybe",
    ".rodata",
    ".rodata.cst32",
  ]);
  assert.equal(instructions[0]!.meta, {
    source: { file: "./packet-count.c", line: 36, column: 28, text: "\t__u32 key = clamp(packet->len & 3);" },
    labels: ["count"],
  });
  assert.equal(Object.keys(spec.variables).sort(), ["dropped", "limit", "message", "total"]);
});

test("the same bytes give the same specification", () => {
  for (const name of ["packet-count", "maps", "externs", "subprograms", "struct-ops"]) {
    const bytes = fixture(`${name}.el.o`);
    const copy = bytes.slice();
    const [a, b] = [parseObject(bytes), parseObject(bytes)];
    assert.equal(summarize(a), summarize(b));
    assert.equal([...a.btf!.types()], [...b.btf!.types()]);
    assert.equal(bytes, copy, "the input is not changed");
    // Nothing of the specification is a view on the file.
    bytes.fill(0xff);
    assert.equal(summarize(a), summarize(b));
  }
});

test("instructions link and encode to those of the file", () => {
  const spec = parseObject(fixture("packet-count.el.o"));
  const maps = Object.fromEntries(Object.keys(spec.maps).map((name, i) => [name, i + 3]));
  const { instructions } = spec.programs.pass!;
  assert.equal([...encode(link(instructions, { maps }))], [0xb4, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0]);
});

/** What of a map is not what it is by default. */
function told(map: ObjectMapSpec): Partial<ObjectMapSpec> {
  const quiet = new Set<unknown>([0, 0n, undefined, false, "none"]);
  return Object.fromEntries(
    Object.entries(map).filter(
      ([key, value]) =>
        !quiet.has(value) &&
        !["name", "kind", "keyType", "valueType", "autocreate"].includes(key) &&
        !(typeof value === "object" && (value as { length?: number }).length === 0),
    ),
  );
}

both("every attribute of maps", "maps", (spec) => {
  const { maps, btf } = spec;
  const all = Object.fromEntries(
    Object.entries(maps).map(([name, map]) => [name, { ...told(map), inner: map.inner && told(map.inner) }]),
  );
  const inner = { type: "array", keySize: 4, valueSize: 4, maxEntries: 1 };
  assert.equal(all, {
    by_type: {
      type: "hash",
      keySize: 20,
      valueSize: 8,
      maxEntries: 1024,
      flags: 1,
      pinning: "by_name",
      inner: undefined,
    },
    by_size: { type: "lpm_trie", keySize: 20, valueSize: 12, maxEntries: 7, flags: 1, inner: undefined },
    bloom: { type: "bloom_filter", valueSize: 8, maxEntries: 100, mapExtra: 3n, inner: undefined },
    arena: { type: "arena", maxEntries: 10, flags: 1024, mapExtra: 1n << 44n, inner: undefined },
    events: { type: "ringbuf", maxEntries: 4096, tags: ["first", "second"], inner: undefined },
    per_cpu_events: { type: "perf_event_array", keySize: 4, valueSize: 4, inner: undefined },
    first: { ...inner, inner: undefined },
    second: { ...inner, inner: undefined },
    outer: {
      type: "array_of_maps",
      keySize: 4,
      valueSize: 4,
      maxEntries: 4,
      inner,
      values: [
        { key: 0, name: "second" },
        { key: 2, name: "first" },
      ],
    },
    anonymous: {
      type: "hash_of_maps",
      keySize: 4,
      valueSize: 4,
      maxEntries: 4,
      inner: { type: "hash", keySize: 8, valueSize: 20, maxEntries: 16 },
    },
    hash: { type: "hash_of_maps", keySize: 4, valueSize: 4, maxEntries: 5, inner, values: [{ key: 4, name: "first" }] },
    jumps: {
      type: "prog_array",
      keySize: 4,
      valueSize: 4,
      maxEntries: 3,
      inner: undefined,
      values: [
        { key: 0, name: "two" },
        { key: 2, name: "one" },
      ],
    },
  });
  assert.is(maps.by_type!.numaNode, 0);
  assert.is(
    describe(btf, maps.by_type!.keyType),
    "struct key { typedef __u32 int unsigned int prefix @0; typedef __u8 int unsigned char[16] address @32 }",
  );
  assert.is(maps.by_size!.keyType, 0);
  assert.is(maps.outer!.inner!.name, "outer.inner");
  assert.is(describe(btf, maps.anonymous!.inner!.valueType).split(" {")[0], "struct key");
  assert.is(spec.version, 0x60102);
});

both("sections of variables are maps", "variables", (spec) => {
  const rows = Object.values(spec.maps).map((map) => [
    map.name,
    map.kind,
    map.type,
    map.keySize,
    map.valueSize,
    map.maxEntries,
    map.flags,
    map.frozen,
    map.mmapable,
    map.contents.length,
  ]);
  assert.equal(rows.sort(), [
    [".bss", "data", "array", 4, 5012, 1, 0, false, true, 0],
    [".bss.custom", "data", "array", 4, 8, 1, 0, false, true, 0],
    [".data", "data", "array", 4, 36, 1, 0, false, true, 36],
    [".data.custom", "data", "array", 4, 4, 1, 0, false, true, 4],
    [".rodata", "data", "array", 4, 60, 1, 128, true, true, 60],
    [".rodata.custom", "data", "array", 4, 4, 1, 128, true, true, 4],
  ]);
  validateBtf(spec.btf!);
  for (const map of Object.values(spec.maps)) {
    const datasec = spec.btf!.typeById(map.valueType);
    assert.is(datasec.kind === "datasec" && datasec.size, map.valueSize, `the section ${map.name} has its size`);
  }
});

test("all programs of an object share one view of its types", () => {
  const bytes = fixture("core-kernel.el.o");
  parseObject(bytes);
  const before = process.memoryUsage().arrayBuffers;
  const spec = parseObject(bytes);
  const taken = process.memoryUsage().arrayBuffers - before;
  assert.ok(Object.keys(spec.programs).length >= 100);
  // A copy of the types for each program would take a hundred times as much.
  assert.ok(taken < 4 * bytes.length, `${taken} bytes for an object of ${bytes.length}`);
  // Lookups give the same types to all: types are made once.
  for (const { functions } of Object.values(spec.programs)) {
    for (const { type } of functions) assert.is(spec.btf!.typeById(type!), spec.btf!.typeById(type!));
  }
});

test("a section of variables that nobody else sees is not mapped into memory", () => {
  const spec = parseObject(fixture("packet-count.el.o"));
  assert.is(spec.maps[".rodata.cst32"]!.mmapable, false);
});

both("functions are put behind the programs that reach them, in the order of their calls", "subprograms", (spec) => {
  const functions = Object.fromEntries(
    Object.entries(spec.programs).map(([name, { functions }]) => [name, functions.map(({ label }) => label)]),
  );
  assert.equal(functions, {
    calls: ["calls", "weak", "global", "leaf", "hidden"],
    callbacks: ["callbacks", "each", "leaf", "step", "global"],
    throws: ["throws", "leaf", "handler"],
    alone: ["alone"],
  });
  assert.is(spec.programs.throws!.exceptionCallback, "handler");
  // Hidden functions are checked where they are called, as static ones.
  const linkage = (name: string): unknown => spec.btf!.typeByName(name, "func").linkage;
  assert.equal(["leaf", "global", "weak", "hidden", "calls", "bpf_throw"].map(linkage), [
    "static",
    "global",
    "global",
    "static",
    "global",
    "global",
  ]);
  // Programs share what they did not change.
  const body = (program: string): unknown => {
    const { instructions } = spec.programs[program]!;
    return instructions[instructions.findIndex(({ meta }) => meta?.labels?.includes("leaf")) + 1];
  };
  assert.is(body("calls"), body("callbacks"));
  const { callbacks } = spec.programs;
  const starts = functionInfos(callbacks!).map(({ insnOffset, type }) => [insnOffset / 8, spec.btf!.nameOf(type)]);
  assert.equal(starts, [
    [0, "callbacks"],
    [20, "each"],
    [28, "leaf"],
    [39, "step"],
    [44, "global"],
  ]);
  const lines = lineInfos(callbacks!);
  assert.ok(starts.every(([start]) => lines.some(({ insnOffset }) => insnOffset === (start as number) * 8)));
});

both("functions may stand in any section", "subprogram-sections", (spec) => {
  const rows = Object.values(spec.programs).map(({ name, type, sectionRule, functions }) => [
    name,
    type,
    sectionRule,
    ...functions.map(({ label }) => label),
  ]);
  assert.equal(rows, [
    ["program", "xdp", "xdp", "program", "beside", "outside"],
    ["other", "xdp", "xdp", "other", "outside", "beside"],
    ["unknown", "unspec", "", "unknown"],
  ]);
});

both("what is taken from the kernel", "externs", (spec) => {
  const { externs, btf } = spec;
  validateBtf(btf!);
  const kconfig = Object.values(externs).filter((extern): extern is KconfigExternSpec => extern.kind === "kconfig");
  assert.equal(
    kconfig.map(({ name, value, signed, offset, size, weak }) => [name, value, signed, offset, size, weak]),
    [
      ["LINUX_KERNEL_VERSION", "integer", true, 12, 4, false],
      ["CONFIG_BPF_SYSCALL", "bool", false, 19, 1, false],
      ["CONFIG_BPF_JIT", "tristate", false, 8, 4, false],
      ["CONFIG_BPF", "char", true, 18, 1, false],
      ["CONFIG_HZ", "integer", false, 0, 8, false],
      ["CONFIG_MISSING", "integer", true, 16, 2, true],
      ["CONFIG_DEFAULT_HOSTNAME", "string", false, 20, 24, true],
    ],
  );
  assert.equal(told(spec.maps[".kconfig"]!), {
    type: "array",
    keySize: 4,
    valueSize: 44,
    maxEntries: 1,
    flags: 128,
    frozen: true,
    mmapable: true,
  });
  const others = Object.values(externs).flatMap((extern) =>
    extern.kind === "ksym" || extern.kind === "kfunc"
      ? [[extern.kind, extern.name, extern.kernelName, extern.weak, describe(btf, extern.type)]]
      : [],
  );
  const task = "ptr  struct task_struct { int int pid @0 }";
  const rq = "const  struct rq { typedef __u32 int unsigned int nr_running @0 }";
  assert.equal(others, [
    ["kfunc", "no_such_function", "no_such_function", true, "void(ptr  void)"],
    ["kfunc", "bpf_task_acquire___old", "bpf_task_acquire", true, `${task}(${task}, int int)`],
    ["kfunc", "bpf_task_acquire", "bpf_task_acquire", false, `${task}(${task})`],
    ["kfunc", "bpf_task_release", "bpf_task_release", false, `void(${task})`],
    ["ksym", "runqueues", "runqueues", false, rq],
    ["ksym", "bpf_prog_active", "bpf_prog_active", true, "const  int int"],
    ["ksym", "vfs_read", "vfs_read", false, "void"],
    ["ksym", "no_such_symbol", "no_such_symbol", true, "void"],
    ["ksym", "no_such_variable___flavour", "no_such_variable", true, rq],
  ]);
  const uses = spec.programs.program!.instructions.flatMap(({ opcode, src, high, meta }) => {
    const name = meta?.reference;
    if (name === undefined || name === ".bss") return [];
    const kind = opcode === 0x85 ? "call" : "ld_imm64";
    return [`${kind} src ${src} ${name}${name === ".kconfig" ? `+${high}` : ""} ${meta?.relocation?.kind ?? "map"}`];
  });
  assert.equal(
    [...new Set(uses)],
    [
      "ld_imm64 src 2 .kconfig+19 map",
      "ld_imm64 src 2 .kconfig+12 map",
      "ld_imm64 src 2 .kconfig+8 map",
      "ld_imm64 src 2 .kconfig+18 map",
      "ld_imm64 src 3 runqueues ksym",
      "ld_imm64 src 2 .kconfig+20 map",
      "ld_imm64 src 2 .kconfig+0 map",
      "ld_imm64 src 2 .kconfig+16 map",
      "ld_imm64 src 3 bpf_prog_active ksym",
      "ld_imm64 src 0 vfs_read ksym",
      "ld_imm64 src 3 no_such_variable___flavour ksym",
      "ld_imm64 src 0 no_such_symbol ksym",
      "ld_imm64 src 3 no_such_function ksym",
      "call src 2 no_such_function kfunc",
      "ld_imm64 src 3 bpf_task_acquire___old ksym",
      "call src 2 bpf_task_acquire___old kfunc",
      "call src 2 bpf_task_acquire kfunc",
      "call src 2 bpf_task_release kfunc",
    ],
  );
});

both("types are completed as the kernel wants them", "externs", ({ btf }) => {
  const section = (name: string): unknown => {
    const { size, vars } = btf!.typeByName(name, "datasec");
    return [size, vars.map(({ type, offset, size }) => [describe(btf, type), offset, size])];
  };
  const dummy = (offset: number): unknown => ["global var dummy_ksym: int int", offset, 4];
  assert.equal(section(".ksyms"), [
    36,
    [
      dummy(0),
      dummy(4),
      dummy(8),
      dummy(12),
      ["global var runqueues: int int", 16, 4],
      ["global var bpf_prog_active: int int", 20, 4],
      ["global var vfs_read: int int", 24, 4],
      ["global var no_such_symbol: int int", 28, 4],
      ["global var no_such_variable___flavour: int int", 32, 4],
    ],
  ]);
  const [size, vars] = section(".kconfig") as [number, [string, number, number][]];
  assert.is(size, 44);
  assert.equal(
    vars.map(([, offset]) => offset),
    [0, 8, 12, 16, 18, 19, 20],
  );
  assert.ok(vars.every(([text]) => text.startsWith("global var ")));
  // Parameters of functions must have names.
  const proto = btf!.typeById(btf!.typeByName("no_such_function", "func").type);
  assert.equal(proto.kind === "func_proto" && proto.params.map(({ name }) => name), ["dummy_ksym"]);
});

both("tables of functions for the kernel", "struct-ops", (spec, order) => {
  const rows = Object.values(spec.maps).map((map) => [
    map.name,
    map.kind,
    map.type,
    map.flags,
    map.autocreate,
    map.contents.length,
    { ...map.structOps, functions: { ...map.structOps!.functions }, type: spec.btf!.nameOf(map.structOps!.type) },
  ]);
  const all = { ssthresh: "ssthresh", cong_avoid: "cong_avoid", undo_cwnd: "undo_cwnd" };
  const typeName = "tcp_congestion_ops";
  const local = "tcp_congestion_ops___local";
  assert.equal(rows, [
    ["by_creation", "struct_ops", "struct_ops", 0, true, 56, { typeName, type: typeName, link: false, functions: all }],
    ["by_link", "struct_ops", "struct_ops", 8192, true, 40, { typeName, type: local, link: true, functions: all }],
    [
      "second_link",
      "struct_ops",
      "struct_ops",
      8192,
      true,
      40,
      { typeName, type: local, link: true, functions: { undo_cwnd: "undo_cwnd" } },
    ],
    [
      "optional",
      "struct_ops",
      "struct_ops",
      0,
      false,
      56,
      { typeName, type: typeName, link: false, functions: { init: "init" } },
    ],
  ]);
  const flags = spec.maps.by_creation!.contents.subarray(24, 28);
  assert.is(flags[order === "el" ? 0 : 3], 0x10);
  assert.equal(
    Object.values(spec.programs).map(({ name, type, sleepable, attachTo }) => [name, type, sleepable, attachTo]),
    [
      ["ssthresh", "struct_ops", false, "ssthresh"],
      ["undo_cwnd", "struct_ops", false, undefined],
      ["cong_avoid", "struct_ops", false, "cong_avoid"],
      ["init", "struct_ops", true, "init"],
    ],
  );
});

both("variables in an arena", "arena", (spec) => {
  assert.is(spec.maps.heap!.contents.length, 40);
  assert.equal(
    Object.values(spec.variables).map(({ name, map, section, offset, size }) => [name, map, section, offset, size]),
    [
      ["sum", ".bss", ".bss", 0, 8],
      ["first", "heap", ".addr_space.1", 0, 4],
      ["table", "heap", ".addr_space.1", 8, 32],
    ],
  );
  const uses = spec.programs.program!.instructions.flatMap(({ src, high, meta }) =>
    meta?.reference === "heap" ? [[src, high, meta.relocation?.kind]] : [],
  );
  assert.equal(uses, [
    [2, 8, "arena"],
    [2, 8, "arena"],
    [2, 0, "arena"],
    [1, 0, undefined],
  ]);
});

both("jump tables lead to labels", "jump-table", (spec) => {
  const { program, other } = spec.programs;
  assert.equal(Object.keys(program!.jumpTables), ["BPF.JT.0.0", "BPF.JT.1.0"]);
  assert.equal(Object.keys(other!.jumpTables), ["BPF.JT.1.0"]);
  const { targets } = program!.jumpTables["BPF.JT.0.0"]!;
  assert.is(targets.length, 5);
  const labels = new Set(program!.instructions.flatMap(({ meta }) => meta?.labels ?? []));
  assert.ok(targets.every((label) => labels.has(label)));
  const uses = program!.instructions.flatMap(({ src, meta }) => (meta?.reference?.startsWith("BPF.JT") ? [src] : []));
  assert.equal(uses, [2, 2]);
});

both("CO-RE relocations stay with their instructions", "core", (spec) => {
  const found = (name: string): unknown[] =>
    spec.programs[name]!.instructions.flatMap(({ meta }) => {
      const relocation = meta?.relocation as
        | { kind: string; relocation: { kind: string; type: number; access: string } }
        | undefined;
      if (relocation?.kind !== "core") return [];
      const { kind, type, access } = relocation.relocation;
      return [`${kind} ${spec.btf!.nameOf(type)} ${access}`];
    });
  const shared = [
    "field_byte_offset task_struct 0:5",
    "field_byte_offset task_struct 0:1",
    "field_byte_offset task_struct 0:4:0:2",
  ];
  const rows = found("program");
  assert.equal(rows.slice(-3), shared);
  assert.equal(found("second"), shared);
  assert.equal([...new Set(rows.map((row) => (row as string).split(" ")[0]))].sort(), [
    "enumval_exists",
    "enumval_value",
    "field_byte_offset",
    "field_byte_size",
    "field_exists",
    "field_lshift_u64",
    "field_rshift_u64",
    "field_signed",
    "type_exists",
    "type_id_local",
    "type_id_target",
    "type_matches",
    "type_size",
  ]);
  assert.equal([spec.programs.program!.autoload, spec.programs.second!.autoload], [true, false]);
});

both("maps of the time before types", "legacy-maps", (spec, order) => {
  const rows = Object.values(spec.maps).map(({ name, type, keySize, valueSize, maxEntries, flags, extra }) => [
    name,
    type,
    keySize,
    valueSize,
    maxEntries,
    flags,
    extra === undefined ? undefined : [...extra],
  ]);
  const extra = order === "el" ? [7, 0, 0, 0, 2, 0, 0, 0] : [0, 0, 0, 7, 0, 0, 0, 2];
  assert.equal(rows, [
    ["plain", "hash", 4, 8, 100, 1, undefined],
    ["longer", "array", 4, 16, 10, 0, extra],
    ["single", "lru_hash", 8, 8, 50, 0, undefined],
    ["other", "array", 4, 4, 1, 0, undefined],
  ]);
  assert.equal(references(spec, "program"), ["plain", "longer", "single", "other"]);
});

both("an object without types", "no-btf", (spec) => {
  assert.is(spec.btf, undefined);
  assert.equal(spec.warnings, ["No license section: the kernel will refuse helpers that are for GPL programs only"]);
  assert.equal(
    Object.values(spec.variables).map(({ name, map, offset, size, type, linkage }) => [
      name,
      map,
      offset,
      size,
      type,
      linkage,
    ]),
    [
      ["limit", ".rodata", 0, 4, 0, "global"],
      ["counter", ".data", 0, 8, 0, "global"],
      ["zeroed", ".bss", 0, 8, 0, "global"],
      ["hidden", ".data", 8, 4, 0, "static"],
    ],
  );
  assert.equal(functionInfos(spec.programs.program!), []);
  assert.equal(lineInfos(spec.programs.program!), []);
  assert.equal(
    { ...spec.externs },
    {
      MY_CONSTANT: { kind: "undefined", name: "MY_CONSTANT", weak: false },
      missing: { kind: "undefined", name: "missing", weak: false },
    },
  );
  assert.equal(references(spec, "broken"), ["MY_CONSTANT", "missing"]);
});

both("names of sections tell what programs are", "sections", (spec) => {
  const rows = new Map(
    Object.values(spec.programs).map((program) => [
      program.sectionName,
      [program.type, program.attachType, program.attachTo, program.autoload].join(" "),
    ]),
  );
  const expected: Record<string, string> = {
    "uprobe//bin/sh:f+0x10": "kprobe  /bin/sh:f+0x10 true",
    "kprobe.multi/f*": "kprobe trace_kprobe_multi f* true",
    "usdt/x:a:b": "kprobe  x:a:b true",
    "tp/a/b": "tracepoint  a/b true",
    "fentry.s/f": "tracing trace_fentry f true",
    "fsession.multi.s/f": "tracing trace_fsession_multi f true",
    "cgroup/connect_unix": "cgroup_sock_addr cgroup_unix_connect  true",
    "struct_ops.s/m": "struct_ops  m true",
    "fentry/f": "tracing trace_fentry f false",
    kprobe: "kprobe   true",
    xdp: "xdp xdp  false",
    "xdp/other": "unspec   true",
    socket1: "unspec   true",
  };
  for (const [name, row] of Object.entries(expected)) assert.is(rows.get(name), row, name);
  // Every rule is in the fixture.
  const used = new Set(Object.values(spec.programs).map(({ sectionRule }) => sectionRule));
  assert.equal(
    SECTION_RULES.filter(({ name }) => !used.has(name)).map(({ name }) => name),
    [],
  );
});

test("rules for sections are consistent", () => {
  assert.is(new Set(SECTION_RULES.map(({ name }) => name)).size, SECTION_RULES.length);
  for (const { name, type, attachType, sleepable } of SECTION_RULES) {
    assert.ok(type in ProgType, name);
    assert.ok(attachType === undefined || attachType in AttachType, name);
    if (/\.s$/.test(name)) assert.is(sleepable, true, name);
  }
});

test("rules of one's own go before the known ones", () => {
  const sections = [
    { name: "nowhere", target: true, type: "xdp", attachType: "xdp", flags: 4 },
    { name: "xdp", type: "socket_filter" },
  ] as const;
  const { unknown, program } = parseObject(fixture("subprogram-sections.el.o"), { sections }).programs;
  assert.equal(
    [unknown!.type, unknown!.attachTo, unknown!.flags, unknown!.sectionRule],
    ["xdp", "known", 4, "nowhere"],
  );
  assert.is(program!.type, "socket_filter");
});

test("names that follow no rule are explained", () => {
  const cases: Record<string, string> = {
    xdp_drop: 'Did you mean SEC("xdp")?',
    "xdp/other": 'No target may follow "xdp": use SEC("xdp")',
    "kprobes/f": 'Did you mean SEC("kprobe")?',
    "?fenty/f": 'Did you mean SEC("fentry")?',
    socket1: 'Did you mean SEC("socket")?',
    tc_cls: 'Did you mean SEC("tc")?',
    "cgroup/conect4": 'Did you mean SEC("cgroup/connect4")?',
    foo: "Names of sections tell the type of a program, such as xdp, tc, kprobe/FUNCTION or tracepoint/GROUP/NAME",
  };
  for (const [name, hint] of Object.entries(cases)) {
    assert.is(matchSection(name).rule, undefined);
    assert.is(sectionHint(name), hint, name);
  }
});

test.run();
