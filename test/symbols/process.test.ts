import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  findBinary,
  openBinary,
  openBuildIdSymbols,
  openProcessSymbols,
  parsePerfMap,
  parseProcessMaps,
  readPerfMap,
} from "../../src/symbols/index.ts";
import { requires } from "../support/harness.ts";

const test = suite("symbols/process");

test("lines of /proc/PID/maps", () => {
  const text = `55d0-55d8 r-xp 00001000 fe:01 42                         /usr/bin/a b\\012c (deleted)
7ffd1000-7ffd3000 r-xp 00000000 00:00 0                          [vdso]
7f00-7f10 rw-p 00000000 00:00 0 
nonsense
`;
  assert.equal(parseProcessMaps(text), [
    {
      start: 0x55d0n,
      end: 0x55d8n,
      offset: 0x1000n,
      executable: true,
      device: "fe:01",
      inode: 42,
      path: "/usr/bin/a b\nc",
      deleted: true,
    },
    {
      start: 0x7ffd1000n,
      end: 0x7ffd3000n,
      offset: 0n,
      executable: true,
      device: "00:00",
      inode: 0,
      path: "[vdso]",
      deleted: false,
    },
    {
      start: 0x7f00n,
      end: 0x7f10n,
      offset: 0n,
      executable: false,
      device: "00:00",
      inode: 0,
      path: "",
      deleted: false,
    },
  ]);
});

test("lists of a JIT: memory is used again, lines are torn", () => {
  const map = parsePerfMap("1000 100 LazyCompile:*one a.js:1\n1080 10 two\n1000 20 three\n0x2000 8 four\n3000 8 torn");
  assert.is(map.count, 4);
  assert.equal(map.find(0x1085n), { name: "two", offset: 5 });
  assert.equal(map.find(0x1010n), { name: "three", offset: 0x10 });
  assert.equal(map.find(0x1030n), { name: "LazyCompile:*one a.js:1", offset: 0x30 });
  assert.equal(map.find(0x2007n), { name: "four", offset: 7 });
  assert.is(map.find(0x3001n), undefined);
  assert.is(map.find(0xfffn), undefined);
});

const linux = requires(test, "linux");

linux("addresses of this process: libraries, vDSO, nothing", () => {
  const symbols = openProcessSymbols(process.pid);
  const libc = openBinary(findBinary("c"));
  const malloc = libc.function("malloc");
  const mapping = symbols.mappings.find(
    (each) =>
      each.executable &&
      /\/libc\.|\/libc-/.test(each.path) &&
      BigInt(malloc.offset) >= each.offset &&
      BigInt(malloc.offset) < each.offset + (each.end - each.start),
  )!;
  const address = mapping.start + (BigInt(malloc.offset) - mapping.offset);
  const place = symbols.resolve(address + 2n);
  assert.is(place?.name, "malloc");
  assert.is(place?.offset, 2);
  assert.is(place?.module, mapping.path);
  assert.is(symbols.binaryAt(address)?.functionOffset("malloc"), malloc.offset);
  assert.is(symbols.resolve(8n), undefined);
  const vdso = symbols.mappings.find((each) => each.path === "[vdso]");
  if (vdso !== undefined) {
    const image = symbols.binaryAt(vdso.start)!;
    const gettime = image.functions("*clock_gettime*")[0]!;
    const found = symbols.resolve(vdso.start + BigInt(gettime.offset))!;
    assert.match(found.name!, /clock_gettime/);
    assert.is(found.offset, 0);
    assert.is(found.module, "[vdso]");
  }
});

linux("build ids and offsets", () => {
  const path = findBinary("c");
  const binary = openBinary(path);
  const symbols = openBuildIdSymbols([path, "/dev/null"]);
  const buildId = Uint8Array.from(Buffer.from(binary.buildId()!, "hex"));
  const address = BigInt(binary.functionOffset("malloc") + 7);
  assert.equal(symbols.resolve({ buildId, address }), { name: "malloc", offset: 7, module: path });
  assert.is(symbols.resolve({ buildId: undefined, address }), undefined);
  assert.is(symbols.resolve({ buildId: new Uint8Array(20), address }), undefined);
});

linux("functions that the JIT of another process has compiled", async () => {
  const folder = mkdtempSync(join(tmpdir(), "rawbpf-jit-"));
  const script = join(folder, "hot.cjs");
  writeFileSync(
    script,
    `function veryHotFunction(n) { let s = 0; for (let i = 0; i < n; i++) s = (s + i * 7) % 1013; return s; }
     for (let i = 0; i < 3000; i++) veryHotFunction(1000);
     process.stdout.write("ready"); process.stdin.resume();`,
  );
  const child = spawn(process.execPath, ["--perf-basic-prof", script], {
    stdio: ["pipe", "pipe", "inherit"],
    cwd: folder,
  });
  try {
    await new Promise((resolve) => child.stdout.once("data", resolve));
    const pid = child.pid!;
    const symbols = openProcessSymbols(pid);
    const found = readPerfMap(pid);
    assert.ok(found !== undefined, "no list of the JIT");
    assert.ok(found.map.count > 100);
    const text = await import("node:fs").then((fs) => fs.readFileSync(found.path, "utf8"));
    const line = text
      .split("\n")
      .filter((each) => each.includes("veryHotFunction"))
      .pop()!;
    const start = BigInt(`0x${line.split(" ")[0]}`);
    const place = symbols.resolve(start + 4n);
    assert.match(place!.name!, /veryHotFunction/);
    assert.is(place!.module, "[jit]");
    assert.is(place!.offset, 4);
    const main = openBinary(process.execPath).function("main");
    const mapped = symbols.mappings.find((each) => each.executable && each.path === process.execPath)!;
    const executable = symbols.binaryAt(mapped.start)!;
    assert.is(executable.function("main").address, main.address);
    // What was read stays known when the process has ended.
    child.kill("SIGKILL");
    await new Promise((resolve) => child.once("exit", resolve));
    assert.match(symbols.resolve(start + 4n)!.name!, /veryHotFunction/);
    assert.throws(() => openProcessSymbols(pid), /Cannot see what process \d+ has mapped: ENOENT/);
  } finally {
    child.kill("SIGKILL");
    rmSync(folder, { recursive: true });
    if (existsSync(`/tmp/perf-${child.pid}.map`)) rmSync(`/tmp/perf-${child.pid}.map`);
  }
});

test.run();
