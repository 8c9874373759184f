import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BpfError, ElfError } from "../../src/errors.ts";
import { type Binary, binaryFromBytes, findBinary, isGlob, matchGlob, openBinary } from "../../src/symbols/index.ts";
import { cpuTime, requires, rounds } from "../support/harness.ts";

const test = suite("symbols/binary");
const folder = mkdtempSync(join(tmpdir(), "rawbpf-symbols-"));
test.after(() => rmSync(folder, { recursive: true }));

const source = `
int exported(int x) { return x + 1; }
static int twin(int x) { return x * 3; }
int (*first)(int) = twin;
__attribute__((weak)) int weakling(void) { return 1; }
static int real(void) { return 7; }
static void *chooser(void) { return real; }
int chosen(void) __attribute__((ifunc("chooser")));
int old_version(void) { return 1; }
int new_version(void) { return 2; }
__asm__(".symver old_version,versioned@ONE\\n.symver new_version,versioned@@TWO");
`;
const other = `
static int twin(int x) { return x * 5; }
int (*second)(int) = twin;
`;

/** A library with every kind of symbol. */
function build(name: string, flags: readonly string[]): string {
  writeFileSync(join(folder, "a.c"), source);
  writeFileSync(join(folder, "b.c"), other);
  writeFileSync(join(folder, "versions"), "ONE { };\nTWO { global: *; } ONE;\n");
  const path = join(folder, name);
  execFileSync("gcc", ["-O0", ...flags, "-o", path, "a.c", "b.c"], { cwd: folder });
  return path;
}

const versions = ["-shared", "-fPIC", "-Wl,--version-script=versions", "-Wl,--build-id"];

interface Known {
  readonly name: string;
  readonly address: bigint;
}

/** Functions by `nm`. */
function nm(path: string, ...flags: string[]): Known[] {
  const text = execFileSync("nm", ["--defined-only", ...flags, path], { encoding: "utf8", maxBuffer: 1 << 28 });
  return [...text.matchAll(/^([0-9a-f]+) [TtWi] (.+)$/gm)].map(([, address, name]) => ({
    address: BigInt(`0x${address}`),
    name: name!,
  }));
}

function message(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof BpfError) return `${error.code} ${error.message.replaceAll(`${folder}/`, "")}`;
    throw error;
  }
  return "no error";
}

const compiled = requires(test, "linux", "tool:gcc", "tool:nm", "tool:readelf");

compiled("versions, twins, indirect functions and unknown names", () => {
  const lib = openBinary(build("lib.so", versions));
  const address = new Map(nm(lib.path).map((each) => [each.name, each.address]));
  assert.is(lib.function("exported").address, address.get("exported"));
  assert.is(lib.function("exported").version, "TWO");
  assert.is(lib.function("versioned").address, address.get("new_version"));
  assert.is(lib.function("versioned@ONE").address, address.get("old_version"));
  assert.is(lib.function("versioned@TWO").address, address.get("new_version"));
  assert.is(lib.function("versioned@@TWO").address, address.get("new_version"));
  assert.is(lib.function("exported@TWO").address, address.get("exported"));
  assert.is(lib.function("weakling").size > 0, true);
  assert.is(lib.function("chosen", { indirect: true }).indirect, true);
  assert.match(
    message(() => lib.function("chosen")),
    /^ERR_NOT_SUPPORTED "chosen" of lib.so is an indirect function/,
  );
  assert.match(
    message(() => lib.function("versioned@@ONE")),
    /^ERR_SYMBOL_NOT_FOUND /,
  );
  assert.match(
    message(() => lib.function("versioned@THREE")),
    /^ERR_SYMBOL_NOT_FOUND /,
  );
  assert.is(
    message(() => lib.function("exportad")),
    'ERR_SYMBOL_NOT_FOUND No function "exportad" in lib.so\nHint: did you mean "exported"?',
  );
  assert.match(
    message(() => lib.function("twin")),
    /^ERR_SYMBOL_AMBIGUOUS 2 functions are called "twin" in lib.so: at 0x[0-9a-f]+, 0x[0-9a-f]+\nHint: give the offset/,
  );
  for (const name of ["", "@", "a@", "@b", "exporte", "exported2"]) {
    assert.match(
      message(() => lib.function(name)),
      /^ERR_SYMBOL_NOT_FOUND /,
      name,
    );
  }
  assert.equal(
    lib
      .functions("*version*")
      .map((each) => each.name)
      .sort(),
    ["new_version", "old_version", "versioned", "versioned"],
  );
  const id = execFileSync("readelf", ["-n", lib.path], { encoding: "utf8" });
  assert.is(lib.buildId(), /Build ID: ([0-9a-f]+)/.exec(id)?.[1]);
  assert.is(lib.notes(".note.gnu.build-id").length, 1);
  assert.is(lib.section(".text")?.content?.length, lib.section(".text")?.header.size);
  assert.is(lib.section(".bss")?.content, undefined);
  assert.is(lib.section(".nothing"), undefined);
});

compiled("a program that is stripped, or has no section headers", () => {
  const path = build("stripped.so", versions);
  execFileSync("strip", [path]);
  const lib = openBinary(path);
  assert.type(lib.functionOffset("exported"), "number");
  assert.match(
    message(() => lib.function("twin")),
    /Hint: it is stripped: only what it exports has a name/,
  );
  const bytes = readFileSync(path);
  bytes.writeBigUInt64LE(0n, 40);
  bytes.writeUInt32LE(0, 60);
  const bare = binaryFromBytes("bare", bytes);
  assert.equal(bare.sections, []);
  assert.is(bare.buildId(), lib.buildId());
  assert.match(
    message(() => bare.function("exported")),
    /Hint: it has no symbols of functions: stripped\?/,
  );
});

for (const [kind, flags] of Object.entries({
  library: versions,
  "position-independent program": ["-pie", "-fPIE", "-Wl,-e,exported", "-nostartfiles"],
  "program at fixed addresses": ["-no-pie", "-Wl,-e,exported", "-nostartfiles"],
  "static program": ["-static", "-Wl,-e,exported", "-nostartfiles"],
})) {
  compiled(`${kind}: every offset is where the code lies`, () => {
    const binary = openBinary(build("program", flags));
    const bytes = readFileSync(binary.path);
    const text = execFileSync("objdump", ["-d", "--no-show-raw-insn", "-F", "-j", ".text", binary.path], {
      encoding: "utf8",
    });
    const offsets = [...text.matchAll(/<(\w+)> \(File Offset: 0x([0-9a-f]+)\):$/gm)];
    assert.ok(offsets.length >= 5);
    for (const [, name, offset] of offsets) {
      if (name === "twin" || /^[._]/.test(name!) || /^(de)?register_tm|^frame_dummy/.test(name!)) continue;
      const found = binary.function(name!, { indirect: true });
      assert.is(found.offset, Number(`0x${offset}`), name);
      assert.is(binary.addressOf(found.offset), found.address);
      assert.ok(found.offset < bytes.length);
    }
  });
}

function compare(binary: Binary, known: readonly Known[]): { agree: number; named: number } {
  const places = new Map<string, Set<bigint>>();
  for (const { name, address } of known) {
    const plain = name.replace(/@.*$/, "");
    if (!places.has(plain)) places.set(plain, new Set());
    places.get(plain)!.add(address);
  }
  const found = new Map<string, Set<bigint>>();
  const functions = binary.functions();
  for (const each of functions) {
    if (!found.has(each.name)) found.set(each.name, new Set());
    found.get(each.name)!.add(each.address);
  }
  let agree = 0;
  for (const [name, addresses] of found) {
    const theirs = places.get(name);
    assert.ok(theirs !== undefined, `${name} is not in the list of nm`);
    for (const address of addresses) assert.ok(theirs.has(address), `${name} at ${address}`);
    agree += addresses.size;
  }
  let named = 0;
  for (const each of functions.filter((one) => one.size > 4).slice(0, 3000)) {
    const place = binary.symbolAt(each.address + 3n);
    assert.ok(place !== undefined, each.name);
    named++;
  }
  return { agree, named };
}

requires(
  test,
  "linux",
  "tool:nm",
)("the C library and this program: all functions as nm has them", () => {
  for (const path of [findBinary("c"), process.execPath]) {
    const binary = openBinary(path);
    let known = nm(path, "-D");
    try {
      known = [...known, ...nm(path)];
    } catch {
      // No symbols but the dynamic ones.
    }
    const { agree, named } = compare(binary, known);
    console.log(
      `NOTE ${path.split("/").pop()}: nm agrees on the addresses of ${agree} of ${agree} functions, ${named} found by address`,
    );
    assert.ok(agree > 1000);
  }
});

compiled("damaged libraries: an error of ours, or an answer", () => {
  const path = build("damaged.so", versions);
  const whole = new Uint8Array(readFileSync(path));
  let seed = 12345;
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return (seed >>> 8) % below;
  };
  let refused = 0;
  let slowest = 0;
  const sections = openBinary(path).sections;
  const tables = sections.filter((each) => /sym|version|note|str/.test(each.name));
  const count = rounds(500, 20_000);
  const use = (bytes: Uint8Array): void => {
    const started = cpuTime();
    try {
      const binary = binaryFromBytes("damaged", bytes);
      for (const run of [
        () => binary.function("versioned@ONE"),
        () => binary.function("twin"),
        () => binary.functions("e*"),
        () => binary.symbolAt(0x1100n),
        () => binary.buildId(),
      ]) {
        try {
          run();
        } catch (error) {
          if (!(error instanceof BpfError)) throw error;
          refused++;
        }
      }
    } catch (error) {
      if (!(error instanceof ElfError)) throw error;
      refused++;
    }
    slowest = Math.max(slowest, cpuTime() - started);
  };
  for (let i = 0; i < count; i++) {
    const bytes = whole.slice();
    for (let n = 1 + random(4); n > 0; n--) {
      const table = tables[random(tables.length)]!;
      const headers = random(2) === 0;
      const start = headers ? bytes.length - sections.length * 64 : table.offset;
      const size = headers ? sections.length * 64 : table.size;
      const at = random(10) === 0 ? random(64) : start + random(size);
      bytes[at] = [0, 0xff, 0x7f, 0x80, random(256)][random(5)]!;
    }
    use(bytes);
  }
  for (let length = 0; length < whole.length; length += 97) use(whole.slice(0, length));
  assert.ok(slowest < 1000, `slowest took ${slowest} ms`);
  console.log(`NOTE ${count} damaged libraries: ${refused} answers refused, none slower than ${slowest.toFixed(0)} ms`);
});

requires(test, "linux")("what is no ELF file", () => {
  writeFileSync(join(folder, "text"), "#!/bin/sh\n");
  assert.match(
    message(() => openBinary(join(folder, "text"))),
    /^ERR_UNSUPPORTED_FORMAT Not an ELF file/,
  );
  assert.match(
    message(() => openBinary(folder)),
    /^ERR_UNSUPPORTED_FORMAT Not a regular file/,
  );
  assert.match(
    message(() => openBinary("/dev/null")),
    /^ERR_UNSUPPORTED_FORMAT Not a regular file/,
  );
  assert.match(
    message(() => openBinary(join(folder, "nowhere"))),
    /^ERR_FILE_NOT_FOUND Cannot open nowhere: ENOENT/,
  );
});

compiled("a file that was replaced meanwhile", () => {
  const path = build("replaced.so", versions);
  const lib = openBinary(path);
  build("replaced.so", [...versions, "-g"]);
  assert.match(
    message(() => lib.function("exported")),
    /^ERR_FILE_CHANGED replaced.so is another file now/,
  );
});

test("patterns", () => {
  const cases: [string, string, boolean][] = [
    ["", "", true],
    ["*", "", true],
    ["?", "", false],
    ["tcp_*", "tcp_connect", true],
    ["tcp_*", "udp_connect", false],
    ["*_ack", "tcp_send_ack", true],
    ["a*b*c", "axxbyyc", true],
    ["a*b*c", "axxbyy", false],
    ["a?c", "abc", true],
    ["a?c", "ac", false],
    ["**", "x", true],
    ["*a*a*a*b", "a".repeat(200), false],
    ["[a]", "a", false],
  ];
  for (const [pattern, name, fits] of cases) assert.is(matchGlob(pattern, name), fits, `${pattern} ${name}`);
  assert.is(isGlob("tcp_*"), true);
  assert.is(isGlob("tcp_connect"), false);
});

test.run();
