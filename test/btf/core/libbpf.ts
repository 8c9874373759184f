import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildLibbpfPeer } from "../../../bench/build-peer.ts";

/** What libbpf made of one program. */
export interface LibbpfResult {
  /** Its instructions after relocation, in hex; `undefined` when it refused. */
  readonly code: string | undefined;
  /** Each relocation that it asked about, such as `<byte_off> [2] struct s.a (0:0 @ offset 0)`. */
  readonly asked: readonly string[];
  /** The types that it found to match, in the same form. */
  readonly matching: readonly string[];
  /** What it said when it refused. */
  readonly complaints: readonly string[];
}

/** Runs `libbpf-relocate.c`, compiled once for each version of it. */
export class Libbpf {
  readonly #folder: string;
  readonly #program: string;

  constructor() {
    this.#folder = mkdtempSync(join(tmpdir(), "rawbpf-libbpf-"));
    this.#program = buildLibbpfPeer("test/support/libbpf-relocate.c")!.path;
  }

  /**
   * @param object an object file
   * @param btf types that stand for those of the kernel; default the kernel's
   * @returns results by name of the program
   */
  relocate(object: Uint8Array, btf?: Uint8Array): Map<string, LibbpfResult> {
    const paths = [join(this.#folder, "object.o")];
    writeFileSync(paths[0]!, object);
    if (btf !== undefined) {
      paths.push(join(this.#folder, "types.btf"));
      writeFileSync(paths[1]!, btf);
    }
    const out = execFileSync(this.#program, paths, { encoding: "utf8", maxBuffer: 1 << 28 });
    const results = new Map<string, LibbpfResult>();
    for (const block of out.split(/^program /m).slice(1)) {
      const [name, ...lines] = block.trimEnd().split("\n");
      const said = lines.filter((line) => line.startsWith("log ")).map((line) => line.replace(/^.*?relo #\d+: /, ""));
      const take = (pattern: RegExp): string[] => said.flatMap((text) => pattern.exec(text)?.[1] ?? []);
      results.set(name!, {
        code: lines.find((line) => line.startsWith("code "))?.slice(5),
        asked: take(/^(<.*)$/),
        matching: take(/^matching candidate #\d+ (.*)$/),
        complaints: said.filter((text) => /ambiguity|unexpected|failed to|too big|can't be/.test(text)),
      });
    }
    return results;
  }

  close(): void {
    rmSync(this.#folder, { recursive: true });
  }
}
