import { spawnSync } from "node:child_process";
import { mkdtempSync, rmdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * Runs something with a BPF file system of its own, which is gone afterwards.
 *
 * @param run gets the folder
 */
export async function withBpffs(run: (folder: string) => void | Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "rawbpf-bpffs-"));
  const mounted = spawnSync("mount", ["-t", "bpf", "bpffs", folder], { encoding: "utf8" });
  if (mounted.status !== 0) throw new Error(`Cannot mount a BPF file system: ${mounted.stderr}`);
  try {
    await run(folder);
  } finally {
    const undone = spawnSync("umount", [folder], { encoding: "utf8" });
    if (undone.status === 0) rmdirSync(folder);
    else console.error(`Cannot unmount ${folder}: ${undone.stderr}`);
  }
}
