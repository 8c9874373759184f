import type { Test } from "uvu";
import { FakeKernel, openBackend, type SyscallBackend } from "../../src/syscall/index.ts";
import { requires } from "./harness.ts";

/**
 * Registers a test twice: on the fake kernel, where it always runs, and on the real one, where it needs privileges.
 *
 * @param test uvu suite
 * @param name test
 * @param run the test; `fake` is given on the fake kernel only
 */
export function onBothKernels(
  test: Test,
  name: string,
  run: (backend: SyscallBackend, fake: FakeKernel | undefined) => void | Promise<void>,
): void {
  test(`${name} (fake kernel)`, async () => {
    const fake = new FakeKernel();
    await run(fake.backend, fake);
    if (fake.open.length > 0) throw new Error(`Descriptors left open: ${fake.open.join(", ")}`);
  });
  requires(test, "bpf")(`${name} (this kernel)`, async () => {
    await run(openBackend(), undefined);
  });
}
