import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type AssemblyStyle, assemble, decode, encode, printInstruction } from "../../src/asm/index.ts";
import { fromHex, toHex } from "../../src/bytes/index.ts";
import { SPELLINGS } from "./text-table.ts";

const test = suite("asm text table");

const STYLES: readonly AssemblyStyle[] = ["llvm", "kernel", "mnemonic"];

for (const style of STYLES) {
  test(`each form is printed in ${style} style`, () => {
    for (const row of SPELLINGS) {
      const [insn] = decode(fromHex(row.hex));
      assert.is(printInstruction(insn!, { style }), row[style], row.hex);
    }
  });

  test(`each form is read in ${style} style`, () => {
    for (const row of SPELLINGS) assert.is(toHex(encode(assemble(row[style], { style }))), row.hex, row[style]);
  });
}

test("the style is found out", () => {
  for (const row of SPELLINGS) {
    assert.is(toHex(encode(assemble(row.llvm))), row.hex, row.llvm);
    assert.is(toHex(encode(assemble(row.mnemonic))), row.hex, row.mnemonic);
    // Alone, the kernel's "r1 = 0x5" does not tell that it is no mov.
    const kernel = row.hex.startsWith("18") ? `${row.kernel}\ngoto pc+0` : row.kernel;
    assert.is(toHex(encode(assemble(kernel))).slice(0, row.hex.length), row.hex, kernel);
  }
});

test("spaces are free", () => {
  for (const row of SPELLINGS) {
    for (const style of ["llvm", "kernel"] as const) {
      const wide = `\t${row[style].replaceAll(" ", " \t ")} \r`;
      assert.is(toHex(encode(assemble(wide, { style }))), row.hex, wide);
      // As GNU as prints its C-like dialect.
      const tight = row[style].replace(/ ?([-+*/|&^%=<>!,()]+) ?/g, "$1");
      assert.is(toHex(encode(assemble(tight, { style }))), row.hex, tight);
    }
    const tight = row.mnemonic.replaceAll(", ", ",");
    assert.is(toHex(encode(assemble(tight, { style: "mnemonic" }))), row.hex, tight);
    const wide = `\t${row.mnemonic.replaceAll(" ", "  ").replace(/,|\[%|\d\]$/g, (sign) => `${sign[0]} ${sign.slice(1)}`)}\r`;
    assert.is(toHex(encode(assemble(wide, { style: "mnemonic" }))), row.hex, wide);
  }
});

test.run();
