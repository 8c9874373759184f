import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { attachStructOps } from "../../src/links/index.ts";
import { loadObject } from "../../src/object/index.ts";
import { fixture } from "../elf/build.ts";
import { failOnLeaks, requires } from "../support/harness.ts";

const test = suite("tables for the kernel");
failOnLeaks(test);
const kernel = requires(test, "bpf", "net-admin", "sys-admin", "kernel-btf", "koffi");

function listed(name: string): boolean {
  const text = readFileSync("/proc/sys/net/ipv4/tcp_available_congestion_control", "utf8");
  return text.split(/\s+/).includes(name);
}

kernel("a table takes the place of another one, and effect again", () => {
  using first = loadObject(fixture("struct-ops.el.o"));
  using second = loadObject(fixture("struct-ops.el.o"));
  const { links } = first.attach({ structOps: ["by_link"], programs: [] });
  const link = links.by_link!;
  const before = link.info();
  const next = second.fillStructOps("by_link");
  link.update(next, { expected: first.map("by_link") });
  const after = link.info();
  assert.ok(before.type === "struct_ops" && after.type === "struct_ops" && before.mapId !== after.mapId);
  assert.ok(listed("rawbpf_two"));
  // It is in effect no more, so it cannot be what is expected.
  assert.throws(() => link.update(first.map("by_link"), { expected: first.map("by_link") }), /EPERM|EINVAL/);
  link.close();
  assert.not.ok(listed("rawbpf_two"));
  for (let i = 0; i < 2; i++) {
    using again = first.attach({ structOps: ["by_link"], programs: [] });
    assert.is(again.links.by_link!.type, "struct_ops");
    assert.ok(listed("rawbpf_two"));
  }
  using direct = attachStructOps(next);
  assert.ok(listed("rawbpf_two"));
  direct.detach();
  assert.not.ok(listed("rawbpf_two"));
});

kernel("a table without a link is in effect until it is taken out", () => {
  using object = loadObject(fixture("struct-ops.el.o"));
  const { links } = object.attach({ structOps: ["by_creation"], programs: [] });
  const link = links.by_creation!;
  assert.is(link.type, undefined);
  assert.ok(listed("rawbpf_one"));
  link.close();
  assert.not.ok(listed("rawbpf_one"));
  assert.throws(
    () => attachStructOps(object.map("by_creation")),
    /Attaching struct_ops map "by_creation" needs its value/,
  );
  assert.throws(
    () => object.fillStructOps("by_creation"),
    /no struct_ops map "by_creation" that takes effect by a link/,
  );
});

test.run();
