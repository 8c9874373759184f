import { suite } from "uvu";
import * as assert from "uvu/assert";
import { contentProblems, installProblems, type Manifest } from "../../scripts/check-package.ts";

const test = suite("package");

const manifest: Manifest = {
  name: "rawbpf",
  version: "1.2.3",
  bin: { rawbpf: "dist/cli/main.js" },
  exports: { ".": { types: "./dist/index.d.ts", default: "./dist/index.js" }, "./package.json": "./package.json" },
};
const documents = ["package.json", "README.md", "CHANGELOG.md", "LICENSE", "SECURITY.md", "ARCHITECTURE.md"];
const built = ["dist/cli/main.js", "dist/cli/main.d.ts", "dist/index.js", "dist/index.d.ts"];

test("a sound tarball has no problem", () => {
  assert.equal(contentProblems([...documents, ...built], manifest), []);
  assert.equal(installProblems({ ...manifest, scripts: { prepack: "x", test: "x" } }), []);
});

const extra: Record<string, string> = {
  "test/run.ts": "test/run.ts does not belong in the package",
  ".build/x.js": ".build/x.js does not belong in the package",
  "dist/asm/a.test.js": "dist/asm/a.test.js is not for users",
  "dist/test/run.js": "dist/test/run.js is not for users",
  "dist/asm/a.ts": "dist/asm/a.ts is source, not what was built",
  "dist/asm/a.js": "dist/asm/a.js has no types",
};
for (const [file, problem] of Object.entries(extra)) {
  test(`a tarball with ${file}`, () => {
    assert.equal(contentProblems([...documents, ...built, file], manifest), [problem]);
  });
}

for (const file of [...documents, ...built]) {
  test(`a tarball without ${file}`, () => {
    const problems = contentProblems(
      [...documents, ...built].filter((name) => name !== file),
      manifest,
    );
    assert.ok(problems.length >= 1, "nothing was said");
    assert.ok(
      problems.some((problem) => problem.startsWith(`${file} `) || problem.startsWith(file.replace(".d.ts", ".js"))),
      problems.join(),
    );
  });
}

test("what may not be required or run", () => {
  assert.equal(
    installProblems({
      ...manifest,
      dependencies: { a: "1.0.0" },
      peerDependencies: { b: "1.0.0" },
      scripts: { preinstall: "x", install: "x", postinstall: "x" },
    }),
    [
      "a is in dependencies: nothing may be required",
      "b is in peerDependencies: nothing may be required",
      "The script preinstall runs on the user's machine",
      "The script install runs on the user's machine",
      "The script postinstall runs on the user's machine",
    ],
  );
});

test.run();
