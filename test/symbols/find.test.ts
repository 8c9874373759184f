import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ElfError } from "../../src/errors.ts";
import { findBinary, readLibraryCache } from "../../src/symbols/index.ts";
import { requires } from "../support/harness.ts";

const test = suite("symbols/find");
const folder = mkdtempSync(join(tmpdir(), "rawbpf-find-"));
test.after(() => rmSync(folder, { recursive: true }));

/** The format from before glibc 2.2: libraries with offsets into the text behind them. */
function oldCache(libraries: readonly (readonly [string, string])[]): Buffer {
  const entries = Buffer.alloc(libraries.length * 12);
  let text = "";
  libraries.forEach(([name, path], i) => {
    entries.writeInt32LE(0x0303, i * 12);
    entries.writeUInt32LE(text.length, i * 12 + 4);
    text += `${name}\0`;
    entries.writeUInt32LE(text.length, i * 12 + 8);
    text += `${path}\0`;
  });
  const head = Buffer.alloc(16);
  head.write("ld.so-1.7.0\0");
  head.writeUInt32LE(libraries.length, 12);
  return Buffer.concat([head, entries, Buffer.from(text)]);
}

function newCache(): Buffer {
  const names = "libx.so.1\0/v3/libx.so.1\0/base/libx.so.1\0x86-64-v3\0";
  const entries = Buffer.alloc(48);
  const start = 48 + 48;
  const entry = (i: number, path: number, low: number, high: number): void => {
    entries.writeInt32LE(0x0303, i * 24);
    entries.writeUInt32LE(start, i * 24 + 4);
    entries.writeUInt32LE(start + path, i * 24 + 8);
    entries.writeUInt32LE(low, i * 24 + 16);
    entries.writeUInt32LE(high, i * 24 + 20);
  };
  entry(0, 10, 0, 1 << 30);
  entry(1, 24, 0, 0);
  const head = Buffer.alloc(48);
  head.write("glibc-ld.so.cache1.1");
  head.writeUInt32LE(2, 20);
  head.writeUInt32LE(names.length, 24);
  head[28] = 2;
  const text = Buffer.alloc(Math.ceil(names.length / 4) * 4);
  text.write(names);
  head.writeUInt32LE(start + text.length, 32);
  const extension = Buffer.alloc(8 + 16 + 4);
  extension.writeUInt32LE(0xeaa42174, 0);
  extension.writeUInt32LE(1, 4);
  extension.writeUInt32LE(1, 8);
  extension.writeUInt32LE(start + text.length + 24, 16);
  extension.writeUInt32LE(4, 20);
  extension.writeUInt32LE(start + names.indexOf("x86-64-v3"), 24);
  return Buffer.concat([head, entries, text, extension]);
}

requires(
  test,
  "linux",
  "tool:ldconfig",
)("the cache of this machine as ldconfig prints it", () => {
  const text = execFileSync("ldconfig", ["-p"], { encoding: "utf8" });
  const theirs = [...text.matchAll(/^\t(\S+) \(.*\) => (\S+)$/gm)].map(([, name, path]) => `${name} ${path}`);
  const ours = readLibraryCache(readFileSync("/etc/ld.so.cache")).map(({ name, path }) => `${name} ${path}`);
  assert.equal(ours, theirs);
  console.log(`NOTE ldconfig agrees on ${ours.length} of ${theirs.length} libraries`);
});

test("old format, new format behind it, builds for newer processors", () => {
  const old = oldCache([
    ["libz.so.1", "/lib/libz.so.1"],
    ["liby.so", "/lib/liby.so"],
  ]);
  assert.equal(
    readLibraryCache(old).map((each) => `${each.name} ${each.path}`),
    ["libz.so.1 /lib/libz.so.1", "liby.so /lib/liby.so"],
  );
  const expected = [
    { name: "libx.so.1", path: "/v3/libx.so.1", flags: 0x0303, processors: "x86-64-v3" },
    { name: "libx.so.1", path: "/base/libx.so.1", flags: 0x0303, processors: undefined },
  ];
  assert.equal(readLibraryCache(newCache()), expected);
  const before = oldCache([]);
  assert.equal(readLibraryCache(Buffer.concat([before, newCache()])), expected);
});

test("malformed caches", () => {
  for (const bytes of [newCache(), oldCache([["a", "b"]])]) {
    for (let length = 0; length < bytes.length; length++) {
      try {
        readLibraryCache(bytes.subarray(0, length));
      } catch (error) {
        assert.instance(error, ElfError);
      }
      const damaged = Buffer.from(bytes);
      damaged[length]! ^= 0xff;
      try {
        readLibraryCache(damaged);
      } catch (error) {
        assert.instance(error, ElfError);
      }
    }
  }
  assert.throws(() => readLibraryCache(new Uint8Array(64)), /Not a cache of the dynamic linker/);
});

requires(test, "linux")("programs, libraries, paths and processes", () => {
  assert.match(findBinary("c"), /libc\.(so\.6|musl.*)$/);
  assert.is(realpathSync(findBinary("sh")), realpathSync("/bin/sh"));
  assert.is(findBinary("libc.so.6"), findBinary("c"));
  assert.is(findBinary("/bin/sh"), "/bin/sh");
  const mapped = findBinary("c", { pid: process.pid });
  assert.match(mapped, new RegExp(`^/proc/${process.pid}/root/.*libc`));
  assert.is(realpathSync(mapped.slice(`/proc/${process.pid}/root`.length)), realpathSync(findBinary("c")));
  assert.throws(() => findBinary("no-such-thing"), /^No program or library "no-such-thing" found/);
  assert.throws(() => findBinary("/no/such"), /\/no\/such is no file/);
  assert.throws(() => findBinary("c", { pid: 0x7ffffff0 }), /Cannot see what process 2147483632 has mapped/);
  assert.throws(() => findBinary(""), /names no file/);
});

requires(test, "linux")("another root, where scripts for the linker are passed over", () => {
  mkdirSync(join(folder, "usr/lib64"), { recursive: true });
  writeFileSync(join(folder, "usr/lib64/libdemo.so"), "GROUP ( libdemo.so.3 )\n");
  for (const name of ["libdemo.so.3", "libdemo.so.12", "libdemonstration.so.99"]) {
    writeFileSync(join(folder, "usr/lib64", name), "\x7fELF");
  }
  assert.is(findBinary("demo", { root: folder }), join(folder, "usr/lib64/libdemo.so.12"));
  assert.is(findBinary("libdemo.so.3", { root: folder }), join(folder, "usr/lib64/libdemo.so.3"));
});

test.run();
