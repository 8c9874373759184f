import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { missing, skip } from "../support/harness.ts";

const test = suite("choosing an adapter");

/** Runs a script in a copy of the package that has no dependencies beside it, as after `npm install --omit=optional`. */
function runAlone(script: string, flags: readonly string[] = []): string {
  const folder = mkdtempSync(join(tmpdir(), "rawbpf-alone-"));
  try {
    cpSync("dist", join(folder, "dist"), { recursive: true });
    writeFileSync(join(folder, "package.json"), '{ "name": "rawbpf", "version": "0", "type": "module" }');
    const file = join(folder, "script.js");
    writeFileSync(file, script);
    const child = spawnSync(process.execPath, [...flags, file], { cwd: folder, encoding: "utf8" });
    return child.stdout + child.stderr;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const SAY = `
  import { openBackend, createMap } from "./dist/index.js";
  try { console.log("opened", openBackend().name); } catch (error) { console.log(error.code + "\\n" + error.message); }
`;

if (missing("linux") !== undefined) skip(test, "without any adapter", missing("linux")!);
else if (process.versions.bun !== undefined || Number(process.versions.node?.split(".")[0]) >= 26) {
  skip(test, "without any adapter", "needs a runtime without an FFI of its own");
} else {
  test("without any adapter there is one clear error, which names the remedy", () => {
    const out = runAlone(SAY);
    assert.match(out, /^ERR_NO_FFI\nCannot issue system calls: no FFI adapter can be used \(koffi needs the package/);
    assert.match(out, /\nHint: on Node install koffi \(npm install koffi\)/);
  });

  test("without any adapter the core works all the same", () => {
    const out = runAlone(`
      import { encode, exit, mov, program, r0 } from "./dist/asm/index.js";
      console.log(encode(program(mov(r0, 0), exit())).length);
    `);
    assert.is(out, "16\n");
  });
}

for (const [what, change, reason] of [
  [
    "another architecture",
    'Object.defineProperty(process, "arch", { value: "riscv64" });',
    "needs x86-64 or arm64, this is riscv64",
  ],
  ["another system", 'Object.defineProperty(process, "platform", { value: "darwin" });', "needs Linux, this is darwin"],
] as const) {
  test(`on ${what} the error says so`, () => {
    const out = runAlone(`${change}\nconst { openBackend } = await import("./dist/index.js");
      try { openBackend(); } catch (error) { console.log(error.code + "\\n" + error.message); }`);
    assert.match(out, /^ERR_NO_FFI\n/);
    assert.ok(out.includes(reason), out);
    assert.match(out, /\nHint: the core \(assembler, BTF, ELF, machine\) works everywhere/);
  });
}

test.run();
