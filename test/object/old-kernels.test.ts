import { suite } from "uvu";
import * as assert from "uvu/assert";
import { decode, exit, mov, r0 } from "../../src/asm/index.ts";
import { openBtf } from "../../src/btf/index.ts";
import { createObjectSpec, type ObjectSpec, parseObject } from "../../src/elf/index.ts";
import {
  AttachType,
  BPF_F_MMAPABLE,
  btfLoadAttr,
  findHelper,
  linkCreateAttr,
  mapCreateAttr,
  progLoadAttr,
} from "../../src/kernel-abi/index.ts";
import { loadObject } from "../../src/object/index.ts";
import { FakeKernel, type FakeRequest, raiseMemlock, syscallNumbers } from "../../src/syscall/index.ts";
import { fixture } from "../elf/build.ts";
import { watchedBackend } from "../support/watched.ts";

const test = suite("object/old-kernels");

/** What a kernel does not know. */
interface Lacks {
  /** Names of maps and programs (before 4.15). */
  readonly names?: boolean;
  /** `BPF_F_MMAPABLE` (before 5.5). */
  readonly mmapable?: boolean;
  /** Expected attach types (before 4.17). */
  readonly attachTypes?: boolean;
  /** A helper. */
  readonly helper?: string;
  /** BTF with this kind of type. */
  readonly kind?: string;
  /** Types of maps. */
  readonly mapTypes?: boolean;
  /** `BPF_PROG_BIND_MAP` (before 5.10). */
  readonly bindMap?: boolean;
  /** Maps with variables (before 5.2). */
  readonly globals?: boolean;
}

interface Seen {
  readonly maps: { name: string; flags: number; types: readonly number[] }[];
  readonly programs: {
    name: string;
    attachType: number;
    type: number;
    helpers: number[];
    functions: number;
    lines: number;
    btf: boolean;
  }[];
  readonly types: string[][];
}

function text(request: FakeRequest, offset: number): string {
  const bytes = request.attr.subarray(offset, offset + 16);
  return String.fromCharCode(...bytes.subarray(0, bytes.indexOf(0)));
}

/** A kernel that answers as one does that lacks something. */
function oldKernel(lacks: Lacks): { kernel: FakeKernel; seen: Seen } {
  const kernel = new FakeKernel();
  const seen: Seen = { maps: [], programs: [], types: [] };
  kernel.on("BPF_MAP_CREATE", (request) => {
    const get = (field: string): number => request.get(mapCreateAttr, field);
    const name = text(request, mapCreateAttr.fields.map_name.offset);
    if (lacks.names && name !== "") return "EINVAL";
    if (lacks.mmapable && get("map_flags") & BPF_F_MMAPABLE) return "EINVAL";
    if (lacks.mapTypes && get("btf_value_type_id") !== 0) return "EINVAL";
    seen.maps.push({ name, flags: get("map_flags"), types: [get("btf_key_type_id"), get("btf_value_type_id")] });
    return undefined;
  });
  kernel.on("BPF_PROG_LOAD", (request) => {
    const get = (field: string): number => request.get(progLoadAttr, field);
    const name = text(request, progLoadAttr.fields.prog_name.offset);
    if (lacks.names && name !== "") return "EINVAL";
    if (lacks.attachTypes && get("expected_attach_type") !== 0) return "EINVAL";
    const code = decode(request.memory(progLoadAttr, "insns", 8 * get("insn_cnt")));
    const helpers = code.filter(({ opcode, src }) => opcode === 0x85 && src === 0).map(({ imm }) => imm);
    if (lacks.helper !== undefined && helpers.includes(findHelper(lacks.helper)!.number)) return "EINVAL";
    if (lacks.globals && code.some(({ opcode, src }) => opcode === 0x18 && src === 2)) return "EINVAL";
    seen.programs.push({
      name,
      attachType: get("expected_attach_type"),
      type: get("prog_type"),
      helpers,
      functions: get("func_info_cnt"),
      lines: get("line_info_cnt"),
      btf: get("prog_btf_fd") !== 0,
    });
    return undefined;
  });
  kernel.on("BPF_BTF_LOAD", (request) => {
    const bytes = request.memory(btfLoadAttr, "btf", request.get(btfLoadAttr, "btf_size")).slice();
    const kinds = [...openBtf(bytes).types()].map((type) => {
      if (type.kind === "func" && type.linkage === "global") return "func global";
      return type.kind;
    });
    if (
      lacks.kind !== undefined &&
      kinds.some(
        (kind) => kind === lacks.kind || kind.startsWith(`${lacks.kind}_`) || kind.startsWith(`${lacks.kind} `),
      )
    )
      return "EINVAL";
    seen.types.push(kinds);
    return undefined;
  });
  if (lacks.bindMap) kernel.on("BPF_PROG_BIND_MAP", () => "EINVAL");
  return { kernel, seen };
}

const packetCount = fixture("packet-count.el.o");

function load(
  lacks: Lacks,
  object: Uint8Array | ObjectSpec = packetCount,
): { seen: Seen; warnings: readonly string[]; kernel: FakeKernel } {
  const { kernel, seen } = oldKernel(lacks);
  const loaded = loadObject(object, { backend: kernel.backend, name: "packets" });
  loaded.close();
  assert.equal(kernel.open, []);
  return { seen, warnings: loaded.warnings, kernel };
}

/** The programs of the object, not those of probes. */
function own(seen: Seen): Seen["programs"] {
  return seen.programs.filter(({ name }) => ["count", "pass", "drop"].includes(name));
}

test("a kernel that lacks nothing is given everything", () => {
  const { seen, warnings } = load({});
  assert.equal(warnings, []);
  assert.equal(seen.types.length, 1);
  const programs = own(seen);
  assert.equal(
    programs.map(({ name }) => name),
    ["count", "pass", "drop"],
  );
  assert.ok(programs.every(({ functions, lines, btf }) => functions > 0 && lines > 0 && btf));
  assert.ok(seen.maps.some(({ name, flags }) => name === "packets.bss" && flags & BPF_F_MMAPABLE));
});

test("names are left out", () => {
  const { seen } = load({ names: true });
  assert.ok(seen.maps.length >= 5);
  assert.ok([...seen.maps, ...seen.programs].every(({ name }) => name === ""));
});

test("messages name a map all the same", () => {
  const { kernel } = oldKernel({ names: true });
  kernel.on("BPF_MAP_CREATE", (request) => (request.get(mapCreateAttr, "max_entries") > 1 ? "E2BIG" : undefined));
  assert.throws(() => loadObject(packetCount, { backend: kernel.backend }), /^Cannot create map "counts": E2BIG/);
});

test("variables are not mapped", () => {
  const { seen } = load({ mmapable: true });
  assert.ok(seen.maps.length >= 5);
  assert.ok(seen.maps.every(({ flags }) => (flags & BPF_F_MMAPABLE) === 0));
});

test("maps are created without types, and the object says so", () => {
  const { seen, warnings } = load({ mapTypes: true });
  assert.ok(seen.maps.every(({ types }) => types.join() === "0,0"));
  assert.ok(warnings.length > 0);
  assert.ok(
    warnings.every((each) =>
      /^Map "[\w.]+" was created without the types of its keys and values \(EINVAL\)$/.test(each),
    ),
    warnings.join("\n"),
  );
});

test("constants are not bound to programs", () => {
  const { kernel } = load({ bindMap: true });
  assert.is(kernel.commands.filter((command) => command === "BPF_PROG_BIND_MAP").length, 1, "asked once, then left");
});

for (const [kind, left] of [
  ["datasec", "struct"],
  ["func global", "func"],
] as const) {
  test(`types are given to the kernel without ${kind}`, () => {
    const { seen, warnings } = load({ kind });
    const kinds = seen.types.at(-1)!;
    assert.ok(!kinds.includes(kind));
    assert.ok(kinds.includes(left));
    assert.match(warnings.join(), /^Types were replaced that this kernel does not know: /);
    assert.ok(
      own(seen).every(({ functions, btf }) => functions > 0 && btf),
      "functions keep their types",
    );
  });
}

test("without types of functions, programs are loaded without functions and lines", () => {
  const { seen, warnings } = load({ kind: "func" });
  assert.match(warnings.join(), /does not know: func/);
  const programs = own(seen);
  assert.equal(programs.length, 3);
  assert.ok(programs.every(({ functions, lines, btf }) => functions === 0 && lines === 0 && !btf));
  assert.ok(
    seen.maps.some(({ types }) => types.some((type) => type !== 0)),
    "maps keep theirs",
  );
});

test("a kernel without BTF gets none, and the object says so", () => {
  const { seen, warnings } = load({ kind: "int" });
  assert.equal(seen.types, []);
  assert.match(warnings.join(), /^The kernel did not take the types of the object: /);
  assert.ok(own(seen).every(({ functions, btf }) => functions === 0 && !btf));
});

test("an attach type that the program can do without is left out", () => {
  const withType = (optional: boolean): ObjectSpec => {
    const spec = parseObject(packetCount);
    const pass = { ...spec.programs.pass!, attachType: "xdp" as const, attachTypeOptional: optional };
    spec.programs = { pass };
    return spec;
  };
  const { seen } = load({ attachTypes: true }, withType(true));
  assert.is(own(seen)[0]?.attachType, 0);
  assert.is(own(load({}, withType(true)).seen)[0]?.attachType, AttachType.xdp);
  assert.throws(
    () => load({ attachTypes: true }, withType(false)),
    /^Loading program "pass" \(xdp for xdp\) is not supported here/,
  );
});

test("USDT programs are loaded for links of many places, where the kernel has links that keep to one process", () => {
  const spec = createObjectSpec({
    license: "GPL",
    programs: {
      probe: { section: "usdt/true:test:one", instructions: [mov(r0, 0), exit()] },
      sleeping: { section: "usdt.s/true:test:one", instructions: [mov(r0, 0), exit()] },
      other: { section: "uprobe/true:main", instructions: [mov(r0, 0), exit()] },
    },
  });
  const multi = AttachType.trace_uprobe_multi;
  // What the kernel says to a link to a directory, and to one for a process that cannot be.
  for (const [directory, nobody, wanted] of [
    ["EBADF", "EINVAL", multi],
    ["EBADF", "EBADF", 0],
    ["EINVAL", "EINVAL", 0],
    ["EPERM", "EPERM", 0],
  ] as const) {
    const { kernel, seen } = oldKernel({});
    kernel.on("BPF_LINK_CREATE", (request) =>
      request.get(linkCreateAttr, "uprobe_multi.pid") === 0 ? directory : nobody,
    );
    loadObject(spec, { backend: kernel.backend }).close();
    assert.equal(kernel.open, []);
    const types = Object.fromEntries(seen.programs.map(({ name, attachType }) => [name, attachType]));
    assert.equal([types.probe, types.sleeping, types.other], [wanted, wanted, 0], `${directory}, ${nobody}`);
  }
});

test("helpers for kernel and user memory are replaced by the one for both", () => {
  const spec = parseObject(packetCount);
  const number = (name: string): number => findHelper(name)!.number;
  const { pass } = spec.programs;
  const names = ["probe_read_kernel", "probe_read_user", "probe_read_kernel_str", "probe_read_user_str"];
  const calls = names.map((name) => ({
    ...pass!.instructions[0]!,
    opcode: 0x85,
    dst: 0,
    src: 0,
    offset: 0,
    imm: number(name),
    high: 0,
  }));
  const [first, ...rest] = pass!.instructions;
  spec.programs = {
    pass: {
      ...pass!,
      instructions: [first!, ...calls.map(({ meta: _, ...call }) => ({ ...call, meta: undefined })), ...rest],
    },
  };
  const before = load({}, spec).seen;
  assert.equal(own(before).at(-1)?.helpers.slice(0, 4), names.map(number));
  const after = load({ helper: "probe_read_kernel" }, spec).seen;
  const read = number("probe_read");
  const text = number("probe_read_str");
  assert.equal(own(after).at(-1)?.helpers.slice(0, 4), [read, read, text, text]);
});

test("without maps of variables, those are not created, and code that uses them is refused by the verifier alone", () => {
  const { kernel, seen } = oldKernel({ globals: true });
  loadObject(packetCount, { backend: kernel.backend, programs: ["pass"] }).close();
  const probed = seen.maps.filter(({ name }) => name.includes(".") || name.startsWith("packets"));
  assert.equal(probed, []);
  assert.ok(seen.maps.some(({ name }) => name === "counts"));
});

test("the limit of locked memory is lifted once, on kernels that count against it", () => {
  const limits = (lacks: Lacks, older: boolean, result = 0): string[] => {
    const { kernel } = oldKernel(lacks);
    const seen: string[] = [];
    const backend = watchedBackend(
      kernel.backend,
      () => undefined,
      (number) => {
        if (number !== syscallNumbers.x64.prlimit64) return undefined;
        seen.push("prlimit64");
        return result;
      },
    );
    seen.push(String(raiseMemlock({ backend, older })), String(raiseMemlock({ backend, older })));
    assert.equal(kernel.open, []);
    return seen;
  };
  const lacking = { helper: "ktime_get_coarse_ns" };
  assert.equal(limits(lacking, true), ["prlimit64", "true", "false"]);
  assert.equal(limits(lacking, true, -1), ["prlimit64", "false", "false"], "that it is not permitted is no error");
  assert.equal(limits({}, true), ["false", "false"], "an older kernel that has it all the same");
  assert.equal(limits(lacking, false), ["false", "false"]);
});

test.run();
