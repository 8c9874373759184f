// Browser-safe.

import { BpfError, type BpfErrorCode } from "../errors.ts";

/** Where a program was when it failed. */
export interface FaultPlace {
  /** Name of the program; empty when it has none. */
  readonly program: string;
  /** Index into the program's instructions, counted from 0. */
  readonly instruction: number;
  /** The instruction as text. */
  readonly text: string;
  /** Registers r0 to r10 before the instruction. */
  readonly registers: readonly bigint[];
}

/** What a fault of memory was about. */
export interface FaultAccess {
  /** `read` or `write`. */
  readonly kind: "read" | "write";
  /** Address, 64 bits. */
  readonly address: bigint;
  /** Bytes. */
  readonly size: number;
  /** Name of the region that it was meant for, where one is near: `packet`, `stack`, `map "counts"`. */
  readonly region: string | undefined;
}

/**
 * A program did what the kernel's verifier would not have let through, or used up its budget of instructions. The
 * machine goes on to work: maps are as the program left them.
 *
 * - `ERR_VM_FAULT`: an access outside of what the program may touch, a call that is too deep, a bad argument of a helper;
 * - `ERR_VM_BUDGET`: more instructions than the limit;
 * - `ERR_VM_HELPER`: a helper that the machine does not have.
 *
 * @example
 * ```ts
 * const program = createMachine().load({ type: "xdp", instructions: [load("u32", r0, r1, 100), exit()] });
 * try {
 *   program.run({ data: new Uint8Array(64) });
 * } catch (error) {
 *   if (!(error instanceof MachineFault)) throw error;
 *   error.place?.instruction; // 0
 * }
 * ```
 */
export class MachineFault extends BpfError {
  /** What went wrong, without the place. */
  readonly reason: string;
  /** The access, where it was one. */
  readonly access: FaultAccess | undefined;
  /** Where; `undefined` outside of a run. */
  readonly place: FaultPlace | undefined;

  /** @internal made by the machine */
  constructor(
    code: BpfErrorCode,
    reason: string,
    details: {
      readonly access?: FaultAccess | undefined;
      readonly place?: FaultPlace | undefined;
      readonly hint?: string | undefined;
    } = {},
  ) {
    const { place } = details;
    const program = place === undefined || place.program === "" ? "" : ` of "${place.program}"`;
    const where = place === undefined ? "" : ` (instruction ${place.instruction}${program}: ${place.text})`;
    super(code, `${reason}${where}`, { hint: details.hint });
    this.reason = reason;
    this.access = details.access;
    this.place = place;
  }
}
