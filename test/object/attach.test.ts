import { readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type ObjectSpec, parseObject } from "../../src/elf/index.ts";
import type { BpfError } from "../../src/errors.ts";
import { attachPerfEvent } from "../../src/links/index.ts";
import { loadObject } from "../../src/object/index.ts";
import { type SyscallTrace, traceSyscalls } from "../../src/syscall/index.ts";
import { failOnLeaks, kernelDescriptors, repository, requires } from "../support/harness.ts";

const test = suite("object attach");
failOnLeaks(test);
const kernel = requires(test, "bpf", "sys-admin", "koffi");

/** The fixture with a program in a section of every name, of which those are loaded that are given, with their targets. */
function objectWith(targets: { readonly [program: string]: string | undefined }): ObjectSpec {
  const spec = parseObject(readFileSync(join(repository, "test/fixtures/sections.el.o")));
  for (const [name, program] of Object.entries(spec.programs)) {
    program.autoload = Object.hasOwn(targets, name);
    if (targets[name] !== undefined) program.attachTo = targets[name];
  }
  return spec;
}

kernel("programs are attached where their sections say", () => {
  const spec = objectWith({
    p4: "c:exit+0x0",
    p7: "c:malloc",
    p12: "c:exi?",
    p13: "c:exit",
    p14: "c:exit",
    p31: "sched/sched_process_exec",
    p35: "sched_process_exec",
    p41: "sched_process_exec",
    p61: "task",
    // Nothing says where to: the interface is missing, and the section says no more than what the program is.
    p69: undefined,
    p116: undefined,
    p70: undefined,
  });
  using object = loadObject(spec);
  using links = object.attach({ using: { p70: (program) => attachPerfEvent(program, { software: "cpu_clock" }) } });
  const found = Object.entries(links.links).map(([name, link]) => {
    const info = link.info();
    const kind = info.type === "perf_event" ? info.target.kind : info.type;
    return `${name} ${object.spec.programs[name]!.sectionRule} ${kind}`;
  });
  assert.equal(found.sort(), [
    "p12 uprobe.multi uprobe_multi",
    "p13 uretprobe.multi uprobe_multi",
    "p14 uprobe.session uprobe_multi",
    "p31 tracepoint tracepoint",
    "p35 raw_tracepoint raw_tracepoint",
    "p4 uprobe uprobe",
    "p41 tp_btf raw_tracepoint",
    "p61 iter iter",
    "p7 uretprobe uretprobe",
    "p70 perf_event event",
  ]);
  assert.throws(
    () => object.attach({ using: { p999: () => assert.unreachable() as never } }),
    (error: BpfError) => error.code === "ERR_OBJECT",
  );
});

kernel("when one cannot be attached, none is, and the last one made goes first", () => {
  using object = loadObject(
    objectWith({ p31: "sched/sched_process_exec", p35: "sched_process_exec", p4: "c:no_such_function" }),
  );
  const before = kernelDescriptors();
  const calls: SyscallTrace[] = [];
  {
    using _tracer = traceSyscalls((call) => calls.push(call));
    assert.throws(
      () => object.attach({ programs: ["p31", "p35", "p4"] }),
      (error: BpfError) => error.code === "ERR_SYMBOL_NOT_FOUND",
    );
  }
  assert.equal(kernelDescriptors(), before);
  const result = (command: string): number => calls.find((call) => (call.command ?? call.syscall) === command)!.result;
  const closed = calls.filter((call) => call.syscall === "close").map((call) => call.arguments.fd);
  const rawTracepoint = result("BPF_RAW_TRACEPOINT_OPEN");
  const tracepoint = result("BPF_LINK_CREATE");
  assert.ok(closed.includes(rawTracepoint) && closed.lastIndexOf(rawTracepoint) < closed.lastIndexOf(tracepoint));
});

kernel("targets that cannot be read name the program and its section", () => {
  for (const [name, target, text] of [
    ["p31", "sched_process_exec", /expected group\/name/],
    ["p4", "exit", /expected binary:function/],
    ["p7", "c:malloc+4", /a return has no offset/],
    ["p3", "f oo", /expected function or function\+offset/],
    ["p6", "f+3", /a return has no offset/],
    ["p20", "c:a", /expected binary:provider:name/],
  ] as const) {
    using object = loadObject(objectWith({ [name]: target }));
    assert.throws(
      () => object.attach(),
      (error: BpfError) =>
        error.code === "ERR_OBJECT" && text.test(error.message) && error.message.includes(`"${name}"`),
      name,
    );
  }
});

test.run();
