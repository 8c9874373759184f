// Browser-safe.

const ESCAPE = "\x1b[";
const RESET = `${ESCAPE}0m`;
const COLORS = { register: "36", number: "33", word: "34", label: "32", comment: "90" } as const;

/** Wraps text in an ANSI color. */
export function paint(text: string, color: keyof typeof COLORS): string {
  return text === "" ? text : `${ESCAPE}${COLORS[color]}m${text}${RESET}`;
}

// A register, a number, a word, a string, or anything else, one at a time.
const TOKEN = /(%?\b[rw](?:10|[0-9])\b)|(\b0x[0-9a-f]+\b|\b[0-9]+\b)|("(?:[^"\\]|\\.)*"|[A-Za-z_.$][\w.$]*)|[\s\S]/g;

const WORDS = new Set(
  "if goto gotol gotox may_goto call callx exit lock ll ld_pseudo load_acquire store_release addr_space_cast local kfunc".split(
    " ",
  ),
);

/** Colors the text of one instruction. */
export function paintInstruction(text: string, target: string | undefined): string {
  let first = true;
  return text.replace(TOKEN, (token, register, number, word) => {
    const leads = first;
    first = false;
    if (register !== undefined) return paint(token, "register");
    if (number !== undefined) return paint(token, "number");
    if (word === undefined) return token;
    if (word === target) return paint(token, "label");
    return leads || WORDS.has(word) ? paint(token, "word") : token;
  });
}
