/** Anything that is given back. */
export interface Closable {
  /** Gives it back. */
  close(): void;
}

/** What was made so far, to be given back when a later step fails. */
export class Cleanup {
  readonly #owned: Closable[] = [];

  /** Adds what is to be closed, and returns it. */
  add<T extends Closable>(owned: T): T {
    this.#owned.push(owned);
    return owned;
  }

  /** Closes everything, the last one first; all of it, whatever fails. */
  close(): void {
    for (let owned = this.#owned.pop(); owned !== undefined; owned = this.#owned.pop()) {
      try {
        owned.close();
      } catch {
        // Of two failures the first one counts: that which led here.
      }
    }
  }

  /** Lets go of everything: the owner is someone else now. */
  release(): void {
    this.#owned.length = 0;
  }
}
