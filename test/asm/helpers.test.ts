import { existsSync, readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { findHelper, HELPERS } from "../../src/asm/index.ts";
import { skip } from "../support/harness.ts";

const test = suite("asm helpers");

/** Compares two releases such as `5.9` and `5.10`. */
function older(a: string, b: string): number {
  const [major = 0, minor = 0] = a.split(".").map(Number);
  const [otherMajor = 0, otherMinor = 0] = b.split(".").map(Number);
  return major - otherMajor || minor - otherMinor;
}

test("numbers are dense from 1 and names differ", () => {
  assert.ok(HELPERS.length >= 211);
  for (const [index, helper] of HELPERS.entries()) assert.is(helper.number, index + 1);
  assert.is(new Set(HELPERS.map((helper) => helper.name)).size, HELPERS.length);
});

test("helpers by number, by name, with and without prefix", () => {
  assert.is(findHelper(1)?.name, "map_lookup_elem");
  assert.is(findHelper("ktime_get_ns")?.number, 5);
  assert.is(findHelper("bpf_ktime_get_ns")?.number, 5);
  for (const none of [0, -1, 100_000, 1.5, "ktime", "bpf_", "", "constructor"]) assert.is(findHelper(none), undefined);
});

test("prototypes", () => {
  const text = (key: string): string => {
    const helper = findHelper(key)!;
    const args = helper.args.map((arg) => `${arg.type} ${arg.name}`).concat(helper.variadic ? ["..."] : []);
    return `${helper.returnType} ${helper.name}(${args.join(", ")})`;
  };
  assert.is(text("map_lookup_elem"), "void * map_lookup_elem(struct bpf_map * map, const void * key)");
  assert.is(text("trace_printk"), "long trace_printk(const char * fmt, u32 fmt_size, ...)");
  assert.is(text("ktime_get_ns"), "u64 ktime_get_ns()");
  assert.is(text("sk_fullsock"), "struct bpf_sock * sk_fullsock(struct bpf_sock * sk)");
  assert.is(text("strtoul"), "long strtoul(const char * buf, size_t buf_len, u64 flags, unsigned long * res)");
  assert.is(text("set_hash_invalid"), "void set_hash_invalid(struct sk_buff * skb)");
  for (const helper of HELPERS) {
    assert.ok(helper.args.length <= 5, helper.name);
    for (const arg of helper.args) assert.match(arg.name, /^\w+$/);
    assert.match(helper.returnType, /^(void|long|int|[su]\d\d|void \*|struct \w+ \*)$/);
  }
});

test("later numbers came with later kernels", () => {
  const releases = HELPERS.map((helper) => helper.minimumKernel ?? "99.0");
  for (let i = 1; i < releases.length; i++) assert.ok(older(releases[i - 1]!, releases[i]!) <= 0, HELPERS[i]!.name);
  assert.is(findHelper("ringbuf_output")?.minimumKernel, "5.8");
  assert.is(findHelper("loop")?.minimumKernel, "5.17");
});

const header = "/usr/include/linux/bpf.h";
const version = "/usr/include/linux/version.h";
if (!existsSync(header) || !existsSync(version)) skip(test, "the system's headers have as many", `needs ${header}`);
else {
  test("the system's headers have as many helpers as their release should", () => {
    const define = (name: string): string =>
      new RegExp(`define ${name} (\\d+)`).exec(readFileSync(version, "utf8"))![1]!;
    const release = `${define("LINUX_VERSION_MAJOR")}.${define("LINUX_VERSION_PATCHLEVEL")}`;
    const names = [...readFileSync(header, "utf8").matchAll(/^\s*FN\((\w+)/gm)].map((match) => match[1]!).slice(1);
    const expected = HELPERS.filter((helper) => older(helper.minimumKernel ?? "99.0", release) <= 0);
    const known = names.slice(0, HELPERS.length); // headers may be newer than the table
    assert.equal(
      known,
      expected.map((helper) => helper.name),
    );
    console.log(`\nNOTE ${known.length} helpers of Linux ${release} are those of its headers`);
  });
}

test.run();
