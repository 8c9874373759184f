import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseObject } from "../../src/elf/index.ts";
import { loadObject } from "../../src/object/index.ts";
import { failOnLeaks, repository } from "../support/harness.ts";
import { features, sameAsBpftool, unlinkFile } from "./feature.ts";

const test = suite("objects under other kernels");
failOnLeaks(test);
const feature = features(test);

const congestionControls = (): string[] =>
  readFileSync("/proc/sys/net/ipv4/tcp_available_congestion_control", "utf8").trim().split(" ");

/** Offset of the flags in the table, behind its functions. */
const FLAGS = 3 * 8;

function tables(...names: string[]): ReturnType<typeof parseObject> {
  const spec = parseObject(readFileSync(join(repository, "test/fixtures/struct-ops.el.o")));
  for (const [name, map] of Object.entries(spec.maps)) map.autocreate = names.includes(name);
  // Its flag is newer than 6.1.
  spec.maps.by_creation!.contents.fill(0, FLAGS, FLAGS + 4);
  return spec;
}

feature("struct_ops", [], () => {
  using object = loadObject(tables("by_creation"));
  {
    using _links = object.attach();
    assert.ok(congestionControls().includes("rawbpf_one"));
  }
  assert.not.ok(congestionControls().includes("rawbpf_one"));
});
feature("struct_ops by a link", ["6.1"], () => {
  using object = loadObject(tables("by_link"));
  {
    using links = object.attach();
    assert.ok(congestionControls().includes("rawbpf_two"));
    const link = links.links.by_link!;
    assert.is(link.type, "struct_ops");
    sameAsBpftool(link);
  }
  assert.not.ok(congestionControls().includes("rawbpf_two"));
});

feature("struct_ops: sched_ext scheduler", ["6.1", "6.12"], () => {
  // Compiled before the machine starts, which has no compiler.
  using object = loadObject(readFileSync(join(repository, ".build/test/kernels/scheduler.o")));
  const state = (): string => readFileSync("/sys/kernel/sched_ext/state", "utf8").trim();
  {
    using links = object.attach();
    sameAsBpftool(links.links.scheduler!);
    assert.is(state(), "enabled");
    assert.is(readFileSync("/sys/kernel/sched_ext/root/ops", "utf8").trim(), "rawbpf");
    spawnSync("true");
    assert.ok(object.variables.enabled!.get() > 0n);
  }
  assert.is.not(state(), "enabled");
});

/** The fixture with a program in a section of every name, of which those are loaded that are given, with their targets. */
function attachSections(targets: { readonly [program: string]: string }): void {
  const spec = parseObject(readFileSync(join(repository, "test/fixtures/sections.el.o")));
  for (const [name, program] of Object.entries(spec.programs)) {
    program.autoload = Object.hasOwn(targets, name);
    if (targets[name] !== undefined) program.attachTo = targets[name];
  }
  using object = loadObject(spec);
  using links = object.attach();
  unlinkFile();
  assert.equal(Object.keys(links.links).sort(), Object.keys(targets).sort());
  for (const link of Object.values(links.links)) sameAsBpftool(link);
}

feature(
  "sections: kprobe, kretprobe, ksyscall, tp, raw_tp, tp_btf, fentry, fexit, fmod_ret, lsm, lsm.s, iter",
  [],
  () =>
    attachSections({
      p3: "vfs_unlink",
      p6: "vfs_unlink",
      p18: "unlink",
      p19: "unlink",
      p31: "sched/sched_process_exec",
      p36: "sched_process_exec",
      p41: "sched_process_exec",
      p43: "vfs_unlink",
      p45: "security_file_open",
      p47: "vfs_unlink",
      p58: "file_open",
      p59: "file_open",
      p61: "task",
    }),
);
feature("sections: kprobe.multi, kretprobe.multi, kprobe.session", ["6.1"], () =>
  attachSections({ p9: "vfs_unlin*", p10: "vfs_unlink", p11: "vfs_rmdir" }),
);
feature("sections: uprobe.multi, uretprobe.multi", ["6.1"], () => attachSections({ p12: "c:exi?", p13: "c:exit" }));
feature("sections: uprobe.session", ["6.1", "6.12"], () => attachSections({ p14: "c:exit" }));
feature("sections: fsession", ["6.1", "6.12", "6.18"], () => attachSections({ p49: "vfs_unlink" }));

test.run();
