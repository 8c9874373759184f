import { spawnSync } from "node:child_process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BpfCommand, ProgType, progLoadAttr } from "../../src/kernel-abi/index.ts";
import { type FeatureReport, probeAll } from "../../src/programs/index.ts";
import {
  FakeKernel,
  haveAttachType,
  haveBoundedLoops,
  haveHelper,
  haveInstructions,
  haveKfunc,
  haveLargePrograms,
  haveMapType,
  haveProgramType,
} from "../../src/syscall/index.ts";
import { failOnLeaks, requires, toolPath } from "../support/harness.ts";

const test = suite("programs/probe");
failOnLeaks(test);

interface Probed {
  readonly program_types: { readonly [name: string]: boolean };
  readonly map_types: { readonly [name: string]: boolean };
  readonly helpers: { readonly [name: string]: readonly string[] };
  readonly misc: { readonly [name: string]: boolean };
}

/** How many answers agree; each that does not must have a reason, which is shown. */
function compare(
  what: string,
  ours: readonly { readonly name: string; readonly supported: boolean | undefined }[],
  theirs: (name: string) => boolean | undefined,
): void {
  let agree = 0;
  const refused: string[] = [];
  for (const { name, supported } of ours) {
    if (supported === theirs(name)) agree++;
    else {
      // bpftool takes every refusal for an absence; a kernel that lets nobody load such programs does not tell.
      assert.is(supported, undefined, `${what} ${name}: bpftool says ${theirs(name)}`);
      assert.is(theirs(name), false);
      refused.push(name);
    }
  }
  const rest =
    refused.length === 0
      ? ""
      : `; where the kernel refuses with EPERM, it says no and we leave it open: ${refused.join(", ")}`;
  console.log(`NOTE bpftool agrees on ${agree} of ${ours.length} ${what}${rest}`);
}

requires(
  test,
  "bpf",
  "net-admin",
  "sys-admin",
  "koffi",
  "tool:bpftool>=7.8",
)("all that bpftool asks the kernel for", () => {
  const { stdout } = spawnSync(toolPath("bpftool")!, ["feature", "probe", "kernel", "-j"], {
    encoding: "utf8",
    maxBuffer: 1 << 26,
  });
  const theirs = JSON.parse(stdout) as Probed;
  const report: FeatureReport = probeAll();
  compare("program types", report.programTypes, (name) => theirs.program_types[`have_${name}_prog_type`]);
  compare("map types", report.mapTypes, (name) => theirs.map_types[`have_${name}_map_type`]);
  let types = 0;
  let same = 0;
  const unknown: string[] = [];
  for (const [key, list] of Object.entries(theirs.helpers)) {
    const type = key.replace(/_available_helpers$/, "") as ProgType;
    const ours = report.helpers[type];
    if (ours === undefined) {
      unknown.push(type);
      assert.equal(list, [], `bpftool knows helpers of ${type}`);
      continue;
    }
    assert.equal(
      ours.map((name) => `bpf_${name}`),
      list,
      type,
    );
    types++;
    same += list.length;
  }
  console.log(
    `NOTE bpftool agrees on the helpers of ${types} of ${types} program types, ${same} in all; neither can tell those of ${unknown.join(", ")}`,
  );
  const of = (name: string): boolean | undefined =>
    [...report.instructions, ...report.features].find((each) => each.name === name)?.supported;
  assert.equal(
    [of("large_programs"), of("bounded_loops"), of("v2"), of("v3"), of("v4")],
    [
      theirs.misc.have_large_insn_limit,
      theirs.misc.have_bounded_loops,
      theirs.misc.have_v2_isa_extension,
      theirs.misc.have_v3_isa_extension,
      theirs.misc.have_v4_isa_extension,
    ],
  );
  const told = report.attachTypes.filter((each) => each.supported !== undefined);
  assert.ok(told.length > 40);
  for (const name of ["xdp", "cgroup_inet_ingress", "sk_msg_verdict", "perf_event", "cgroup_inet4_connect"]) {
    assert.is(report.attachTypes.find((each) => each.name === name)?.supported, true, name);
  }
});

requires(
  test,
  "bpf",
  "koffi",
  "kernel-btf",
)("functions of the kernel that programs may call", () => {
  const cache = new Map();
  assert.is(haveKfunc("no_such_function_at_all", { cache }), false);
  const known = haveKfunc("bpf_task_from_pid", { cache });
  assert.ok(known !== false);
  // A function that is none: told where the kernel marks them.
  assert.is(haveKfunc("schedule", { cache }), known === true ? false : undefined);
  assert.is(haveKfunc("schedule", { root: "/nowhere" }), undefined);
});

test("answers are kept when they are answers", () => {
  const fake = new FakeKernel();
  const options = { backend: fake.backend };
  let error = "EPERM";
  let loads = 0;
  fake.on("BPF_PROG_LOAD", () => {
    loads++;
    return error;
  });
  fake.on("BPF_MAP_CREATE", () => error);
  assert.is(haveProgramType("xdp", options), undefined);
  assert.is(haveMapType("array", options), undefined);
  assert.is(haveHelper("xdp", "xdp_adjust_head", options), undefined);
  assert.is(haveInstructions("v4", options), undefined);
  assert.is(haveLargePrograms(options), undefined);
  assert.is(haveBoundedLoops(options), undefined);
  assert.is(haveAttachType("xdp", options), undefined);
  error = "EINVAL";
  assert.is(haveProgramType("xdp", options), false);
  assert.is(haveMapType("array", options), false);
  assert.is(haveInstructions("v4", options), false);
  assert.is(haveAttachType("cgroup_inet_ingress", options), false);
  const before = loads;
  error = "EPERM";
  assert.is(haveProgramType("xdp", options), false);
  assert.is(haveInstructions("v4", options), false);
  assert.is(loads, before);
  assert.is(haveProgramType("unspec", options), false);
  assert.throws(() => haveProgramType("nonsense" as never, options), /"nonsense" is no program type/);
  assert.throws(() => haveMapType("toString" as never, options), /"toString" is no map type/);
  assert.throws(() => haveHelper("xdp", "nonsense" as never, options), /"nonsense" is no helper/);
});

test("what the verifier says decides about helpers", () => {
  const says = (text: string): boolean | undefined => {
    const fake = new FakeKernel();
    fake.on("BPF_PROG_LOAD", (request) => {
      const log = request.memory(progLoadAttr, "log_buf", 4096);
      log.set(new TextEncoder().encode(text));
      return "EINVAL";
    });
    return haveHelper("xdp", 1, { backend: fake.backend });
  };
  assert.is(says("0: (85) call bpf_map_lookup_elem#1\nR1 type=ctx expected=map_ptr\n"), true);
  assert.is(says("unknown func bpf_map_lookup_elem#1\n"), false);
  assert.is(says("invalid func unknown#9999\n"), false);
  assert.is(says("program of this type cannot use helper bpf_map_lookup_elem#1\n"), false);
  assert.is(says(""), false, "the program type is not there either");
});

test("nothing is left open, whatever the kernel takes", () => {
  const fake = new FakeKernel();
  const report = probeAll({ backend: fake.backend, helpers: false });
  assert.ok(report.programTypes.every((each) => each.supported !== undefined));
  assert.equal(fake.open, []);
  assert.ok(fake.commands.every((command) => Object.hasOwn(BpfCommand, command)));
  assert.ok(Object.keys(ProgType).length > report.programTypes.length);
});

test.run();
