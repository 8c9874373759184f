import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openBtf } from "../../src/btf/index.ts";
import { parseObject } from "../../src/elf/index.ts";
import { type BpfCommand, btfLoadAttr } from "../../src/kernel-abi/index.ts";
import { loadObject } from "../../src/object/index.ts";
import { VerifierError } from "../../src/programs/index.ts";
import {
  FakeKernel,
  FEATURES,
  type FeatureName,
  kernelVersion,
  probeFeature,
  requireFeature,
} from "../../src/syscall/index.ts";
import { fixture } from "../elf/build.ts";
import { failOnLeaks, requires } from "../support/harness.ts";

const test = suite("object/load");
failOnLeaks(test);

const packetCount = fixture("packet-count.el.o");

function thrown(run: () => unknown): Error {
  try {
    run();
  } catch (error) {
    return error as Error;
  }
  throw new Error("Nothing was thrown");
}

test("an object is loaded step by step, and closed without a trace", () => {
  const kernel = new FakeKernel();
  const object = loadObject(packetCount, { backend: kernel.backend, name: "packets" });
  assert.equal(Object.keys(object.programs), ["count", "pass", "drop"]);
  assert.equal(Object.keys(object.maps), [".rodata", ".data", "counts", ".bss", ".rodata.cst32"]);
  const names = Object.values(object.maps).map(({ name }) => name);
  assert.equal(names, ["packets.rodata", "packets.data", "counts", "packets.bss", ".rodata.cst32"]);
  assert.ok(kernel.commands.includes("BPF_BTF_LOAD"));
  assert.equal(
    kernel.open.filter((entry) => entry.startsWith("btf")),
    [],
    "the descriptor of the types is not kept",
  );
  assert.equal(object.warnings, []);
  object.close();
  object.close();
  assert.equal(kernel.open, []);
});

for (const command of ["BPF_MAP_CREATE", "BPF_MAP_UPDATE_ELEM", "BPF_MAP_FREEZE", "BPF_PROG_LOAD"] as BpfCommand[]) {
  test(`when any ${command} fails, nothing is left open`, () => {
    for (let failing = 0; ; failing++) {
      const kernel = new FakeKernel();
      let seen = 0;
      let failed = false;
      kernel.on(command, () => {
        if (seen++ < failing) return undefined;
        failed = true;
        return "EMFILE";
      });
      let error: Error | undefined;
      try {
        loadObject(packetCount, { backend: kernel.backend }).close();
      } catch (caught) {
        error = caught as Error;
      }
      assert.equal(kernel.open, [], `call ${failing}`);
      if (!failed) {
        assert.is(error, undefined);
        assert.ok(failing >= 2, `${failing} calls`);
        return;
      }
      if (error !== undefined) assert.match(error.message, /map "[\w.]+"|program "\w+"/);
    }
  });
}

test("only the programs that are asked for are loaded", () => {
  const kernel = new FakeKernel();
  using object = loadObject(packetCount, { backend: kernel.backend, programs: ["drop"] });
  assert.equal(Object.keys(object.programs), ["drop"]);
  const error = thrown(() => loadObject(packetCount, { backend: kernel.backend, programs: ["dorp"] }));
  assert.match(error.message, /^The object has no program "dorp"\nHint: It has count, pass, drop$/);
  assert.match(thrown(() => object.program("dorp")).message, /Did you mean "drop"/);
});

test("an object of the other byte order is refused", () => {
  const kernel = new FakeKernel();
  const error = thrown(() => loadObject(fixture("packet-count.eb.o"), { backend: kernel.backend }));
  assert.match(error.message, /^Cannot load the object: it is big-endian, this machine is not/);
  assert.equal(kernel.commands, []);
});

test("the specification is left as it was", () => {
  const kernel = new FakeKernel();
  const spec = parseObject(packetCount);
  const before = parseObject(packetCount);
  loadObject(spec, { backend: kernel.backend, variables: { limit: 1 } }).close();
  assert.equal(spec.maps, before.maps);
  assert.equal(spec.programs, before.programs);
});

requires(test, "bpf")("programs run, and variables are seen live", () => {
  using object = loadObject(packetCount, { name: "packets" });
  const total = object.variable("total");
  const before = total.bytes();
  assert.equal(before, Uint8Array.of(7, 0, 0, 0, 0, 0, 0, 0));
  object.program("count").run({ data: new Uint8Array(64) });
  assert.not.equal(total.bytes(), before);
  assert.is(object.program("pass").run({ data: new Uint8Array(64) }).returnValue, 2);
  assert.ok(object.variable("limit").constant);
});

requires(test, "bpf")("constants can be set before loading", () => {
  using object = loadObject(packetCount, { variables: { limit: 2 } });
  assert.is(object.variable("limit").get(), 2);
  assert.equal(object.variable("limit").bytes(), Uint8Array.of(2, 0, 0, 0));
});

requires(
  test,
  "bpf",
  "kernel-btf",
)("a relocation without an answer is named in the log", () => {
  const error = thrown(() => loadObject(fixture("core-kernel.el.o"))) as VerifierError;
  assert.instance(error, VerifierError);
  assert.match(error.log, /^\d+: <invalid CO-RE relocation>\nfailed to resolve CO-RE relocation <byte_off> /m);
  assert.match(
    error.message,
    /failed to resolve CO-RE relocation <byte_off> \[\d+\] struct task_struct\.brk_randomized/,
  );
  assert.match(error.message, / at \.\/core-kernel\.c:\d+/);
  assert.match(error.explanation ?? "", /is not in this kernel/);
});

requires(
  test,
  "bpf",
  "kernel-btf",
)("tables for the kernel take effect while they are attached", () => {
  using object = loadObject(fixture("struct-ops.el.o"));
  assert.equal(Object.keys(object.programs).sort(), ["cong_avoid", "ssthresh", "undo_cwnd"]);
  assert.ok(object.maps.optional === undefined);
  const listed = (): string => readFileSync("/proc/sys/net/ipv4/tcp_available_congestion_control", "utf8");
  const links = object.attach({ structOps: ["by_link"] });
  assert.match(listed(), /rawbpf_two/);
  links.close();
  assert.not.match(listed(), /rawbpf_two/);
  const created = object.attach({ structOps: ["by_creation"] });
  assert.match(listed(), /rawbpf_one/);
  created.close();
  created.close();
  assert.not.match(listed(), /rawbpf_one/);
});

requires(test, "bpf")("an arena is mapped before programs are loaded, with its variables", () => {
  using object = loadObject(fixture("arena.el.o"));
  assert.is(object.program("program").run({}).returnValue, 0);
  assert.is(object.variable("sum").get(), 20n);
});

test("a feature is asked for once, and what cannot be told is not kept", () => {
  const kernel = new FakeKernel();
  let answer: string | undefined = "EPERM";
  kernel.on("BPF_MAP_CREATE", () => answer);
  assert.is(probeFeature("mmapable", kernel), undefined);
  answer = "EINVAL";
  assert.is(probeFeature("mmapable", kernel), false);
  answer = undefined;
  assert.is(probeFeature("mmapable", kernel), false);
  assert.throws(() => requireFeature("mmapable", kernel), /needs Linux 5\.5 or newer/);
  assert.is(probeFeature("mmapable", new FakeKernel()), true);
  assert.equal(kernel.open, []);
});

requires(test, "bpf")("this kernel has every feature that is as old as it is", () => {
  const version = kernelVersion()!;
  for (const [name, { since }] of Object.entries(FEATURES)) {
    const [major = 0, minor = 0] = since.split(".").map(Number);
    const there = version.major > major || (version.major === major && version.minor >= minor);
    if (there) assert.is(probeFeature(name as FeatureName), true, name);
  }
});

test("types that an old kernel does not know are replaced", () => {
  const kernel = new FakeKernel();
  kernel.on("BPF_BTF_LOAD", (request) => {
    const bytes = request.memory(btfLoadAttr, "btf", request.get(btfLoadAttr, "btf_size")).slice();
    const types = [...openBtf(bytes).types()];
    return types.some(({ kind }) => kind === "datasec" || kind === "var") ? "EINVAL" : undefined;
  });
  using object = loadObject(packetCount, { backend: kernel.backend });
  assert.equal(object.warnings, ["Types were replaced that this kernel does not know: datasec"]);
});

test.run();
