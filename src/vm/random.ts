// Browser-safe.

/** A generator of numbers that look random and are the same for the same seed (xorshift, 32 bits). */
export class Random {
  /** What the next number follows from; never 0. */
  state: number;

  /** @param seed any number; its low 32 bits count */
  constructor(seed: number) {
    // 0 would give nothing but 0.
    this.state = (seed ^ 0x9e37_79b9) | 0 || 1;
  }

  /** The next number, 32 bits without sign. */
  next(): number {
    let x = this.state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.state = x;
    return x >>> 0;
  }
}
