import { AsmError } from "../asm/index.ts";
import { BpfError, BtfError, ElfError } from "../errors.ts";

/**
 * Puts what was being done before the message of an error that does not say so itself. Errors of system calls and of the
 * verifier name their object already, and stay as they are.
 *
 * @param step for example `Cannot relocate program "count"`
 * @param run what to do
 */
export function during<T>(step: string, run: () => T): T {
  try {
    return run();
  } catch (cause) {
    if (cause instanceof BtfError) {
      // The path is in the message already.
      throw new BtfError(cause.code as "ERR_BTF_INVALID", `${step}: ${firstLine(cause)}`, { cause, hint: cause.hint });
    }
    if (cause instanceof ElfError || cause instanceof AsmError) {
      throw new BpfError(cause.code, `${step}: ${firstLine(cause)}`, { cause, hint: cause.hint });
    }
    throw cause;
  }
}

function firstLine(error: Error): string {
  return error.message.split("\nHint: ")[0]!;
}
