// Browser-safe.

/** A 64-bit register, `r0` to `r10`. */
export interface Register {
  readonly kind: "register";
  /** What distinguishes it from its lower half. */
  readonly width: 64;
  /** 0..10. */
  readonly number: number;
}

/** The lower half of a register, `w0` to `w10`: gives the 32-bit form of an instruction. */
export interface Subregister {
  readonly kind: "register";
  /** What distinguishes it from the whole register. */
  readonly width: 32;
  /** 0..10. */
  readonly number: number;
}

/** A register in either width. */
export type AnyRegister = Register | Subregister;

/** Result of calls and of the program. */
export const r0: Register = { kind: "register", width: 64, number: 0 };
/** First argument; at the start of a program its context. */
export const r1: Register = { kind: "register", width: 64, number: 1 };
/** Second argument. */
export const r2: Register = { kind: "register", width: 64, number: 2 };
/** Third argument. */
export const r3: Register = { kind: "register", width: 64, number: 3 };
/** Fourth argument. */
export const r4: Register = { kind: "register", width: 64, number: 4 };
/** Fifth argument. */
export const r5: Register = { kind: "register", width: 64, number: 5 };
/** Kept by calls. */
export const r6: Register = { kind: "register", width: 64, number: 6 };
/** Kept by calls. */
export const r7: Register = { kind: "register", width: 64, number: 7 };
/** Kept by calls. */
export const r8: Register = { kind: "register", width: 64, number: 8 };
/** Kept by calls. */
export const r9: Register = { kind: "register", width: 64, number: 9 };
/** Frame pointer, read-only: the stack lies below it. */
export const r10: Register = { kind: "register", width: 64, number: 10 };

/** Lower half of {@link r0}. */
export const w0: Subregister = { kind: "register", width: 32, number: 0 };
/** Lower half of {@link r1}. */
export const w1: Subregister = { kind: "register", width: 32, number: 1 };
/** Lower half of {@link r2}. */
export const w2: Subregister = { kind: "register", width: 32, number: 2 };
/** Lower half of {@link r3}. */
export const w3: Subregister = { kind: "register", width: 32, number: 3 };
/** Lower half of {@link r4}. */
export const w4: Subregister = { kind: "register", width: 32, number: 4 };
/** Lower half of {@link r5}. */
export const w5: Subregister = { kind: "register", width: 32, number: 5 };
/** Lower half of {@link r6}. */
export const w6: Subregister = { kind: "register", width: 32, number: 6 };
/** Lower half of {@link r7}. */
export const w7: Subregister = { kind: "register", width: 32, number: 7 };
/** Lower half of {@link r8}. */
export const w8: Subregister = { kind: "register", width: 32, number: 8 };
/** Lower half of {@link r9}. */
export const w9: Subregister = { kind: "register", width: 32, number: 9 };
/** Lower half of {@link r10}. */
export const w10: Subregister = { kind: "register", width: 32, number: 10 };

/** `r0` to `r10` by number, for programs that are computed. */
export const registers: readonly Register[] = [r0, r1, r2, r3, r4, r5, r6, r7, r8, r9, r10];
/** `w0` to `w10` by number. */
export const subregisters: readonly Subregister[] = [w0, w1, w2, w3, w4, w5, w6, w7, w8, w9, w10];
