import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { repository, requires } from "../support/harness.ts";

const test = suite("elf/fixtures");

const folder = join(repository, "test/fixtures");
const names = readdirSync(folder);

test("every source has both objects, and every object has its source", () => {
  const sources = names.filter((name) => name.endsWith(".c")).map((name) => name.slice(0, -2));
  const objects = names.filter((name) => name.endsWith(".o")).sort();
  assert.equal(objects, sources.flatMap((name) => [`${name}.eb.o`, `${name}.el.o`]).sort());
});

// Other versions of the compiler choose other instructions.
requires(
  test,
  "tool:clang>=22",
  "tool:llvm-strip>=22",
)("compiling the fixtures again gives the same bytes", () => {
  const to = mkdtempSync(join(tmpdir(), "rawbpf-fixtures-"));
  try {
    execFileSync("bash", [join(repository, "scripts/build-fixtures.sh"), "--to", to]);
    const made = readdirSync(to).sort();
    assert.equal(made, names.filter((name) => name.endsWith(".o")).sort());
    for (const name of made) {
      assert.ok(
        readFileSync(join(to, name)).equals(readFileSync(join(folder, name))),
        `${name}: run scripts/build-fixtures.sh`,
      );
    }
    console.log(`NOTE ${made.length} of ${made.length} fixtures are what their sources compile to`);
  } finally {
    rmSync(to, { recursive: true });
  }
});

test.run();
