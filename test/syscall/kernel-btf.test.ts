import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { fromHex } from "../../src/bytes/index.ts";
import { BtfError, NotSupportedError } from "../../src/errors.ts";
import { type KernelBtfCache, kernelBtfNames, loadKernelBtf } from "../../src/syscall/kernel-btf.ts";
import { requires } from "../support/harness.ts";

const test = suite("syscall/kernel-btf");

// int "int" of 4 bytes.
const KERNEL = fromHex(`9feb0100 18000000 00000000 10000000 10000000 05000000
  01000000 00000001 04000000 20000001  00 696e7400`);
// typedef "mod" to type 1 of the kernel: its name lies 5 bytes in, behind the kernel's strings.
const MODULE = fromHex(`9feb0100 18000000 00000000 0c000000 0c000000 04000000
  05000000 00000008 01000000  6d6f6400`);

function withFiles(files: Record<string, Uint8Array>, run: (root: string) => void): void {
  const root = mkdtempSync(join(tmpdir(), "rawbpf-"));
  try {
    for (const [path, bytes] of Object.entries(files)) {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), bytes);
    }
    run(root);
  } finally {
    rmSync(root, { recursive: true });
  }
}

test("opens modules on the kernel, and each only once with a cache", () => {
  withFiles({ "sys/kernel/btf/vmlinux": KERNEL, "sys/kernel/btf/mod": MODULE }, (root) => {
    assert.equal(kernelBtfNames({ root }), ["vmlinux", "mod"]);
    const cache: KernelBtfCache = new Map();
    const mod = loadKernelBtf("mod", { root, cache });
    assert.is(mod.base, loadKernelBtf("vmlinux", { root, cache }));
    assert.is(loadKernelBtf("mod", { root, cache }), mod);
    assert.is(mod.firstId, 2);
    assert.equal(mod.typeByName("mod"), { kind: "typedef", id: 2, name: "mod", type: 1 });
    assert.is(mod.resolve(2).name, "int");
    assert.is.not(loadKernelBtf("mod", { root }), loadKernelBtf("mod", { root }), "no cache of its own");
  });
});

test("takes the image of the running release where the kernel shows no BTF", () => {
  withFiles({ "usr/lib/debug/boot/vmlinux-6.1": fromHex("7f454c46") }, (root) => {
    const asked: string[] = [];
    const readImage = (path: string): Uint8Array => {
      asked.push(path.slice(root.length));
      return KERNEL;
    };
    assert.is(loadKernelBtf("vmlinux", { root, release: "6.1", readImage }).typeById(1).name, "int");
    assert.equal(asked, ["/usr/lib/debug/boot/vmlinux-6.1"]);
    assert.throws(
      () => loadKernelBtf("vmlinux", { root, release: "6.1" }),
      (error: unknown) => error instanceof NotSupportedError && /CONFIG_DEBUG_INFO_BTF/.test(error.message),
    );
  });
});

test("refuses modules that are not there, and names that lead elsewhere", () => {
  withFiles({ "sys/kernel/btf/vmlinux": KERNEL, secret: MODULE }, (root) => {
    for (const name of ["absent", "../../../secret", "..", "", "a/b"]) {
      assert.throws(
        () => loadKernelBtf(name, { root }),
        (error: unknown) => error instanceof BtfError && error.code === "ERR_BTF_NOT_FOUND",
        name,
      );
    }
  });
});

test("names the file of malformed BTF", () => {
  withFiles({ "sys/kernel/btf/vmlinux": KERNEL.subarray(0, 40) }, (root) => {
    assert.throws(
      () => loadKernelBtf("vmlinux", { root }),
      (error: unknown) => error instanceof BtfError && error.path === `${join(root, "sys/kernel/btf/vmlinux")} header`,
    );
  });
});

requires(test, "kernel-btf")("opens everything that the running kernel shows", () => {
  const cache: KernelBtfCache = new Map();
  const names = kernelBtfNames();
  assert.is(names[0], "vmlinux");
  for (const name of names) assert.ok(loadKernelBtf(name, { cache }).endId > 1, name);
  console.log(`\nNOTE ${names.length} BTF opened: the kernel's and those of its modules`);
});

test.run();
