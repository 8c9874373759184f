import { readFileSync } from "node:fs";
import { join } from "node:path";
import { SyntaxKind } from "typescript/unstable/ast";
import { isComment, isGenerated, isTypeScript, readFiles, tokens } from "../../scripts/source-files.ts";

/** A fenced block of TypeScript in a docstring or a document. */
export interface Example {
  /** Where it begins: `src/asm/text.ts:12`. */
  readonly place: string;
  readonly code: string;
  /** Whether it can be run, not only compiled: its fence does not say `no-run`. */
  readonly run: boolean;
}

/** Blocks between ` ```ts ` and ` ``` `, from lines that are free of comment marks. */
function fences(file: string, lines: readonly string[], firstLine: number): Example[] {
  const found: Example[] = [];
  let open: { readonly line: number; readonly indent: number; readonly tag: string } | undefined;
  let code: string[] = [];
  for (const [i, line] of lines.entries()) {
    const fence = /^(\s*)```(.*)$/.exec(line);
    if (open === undefined) {
      if (fence === null) continue;
      open = { line: firstLine + i, indent: fence[1]!.length, tag: fence[2]!.trim() };
      code = [];
    } else if (fence === null) code.push(line.slice(open.indent));
    else {
      const [language, ...words] = open.tag.split(/\s+/);
      if (language === "ts" || language === "typescript")
        found.push({ place: `${file}:${open.line}`, code: code.join("\n"), run: !words.includes("no-run") });
      open = undefined;
    }
  }
  return found;
}

/** Every example in the docstrings of `src/` and in the documents for users. */
export function findExamples(root: string): Example[] {
  const found: Example[] = [];
  for (const { path, text } of readFiles(root, "src", (p) => isTypeScript(p) && !isGenerated(p))) {
    for (const token of tokens(text)) {
      if (token.kind !== SyntaxKind.MultiLineCommentTrivia || !token.text.startsWith("/**")) continue;
      const lines = token.text.split("\n").map((line) => line.replace(/^\s*\/?\*+\/?/, "").replace(/^ /, ""));
      found.push(...fences(path, lines, token.line));
    }
  }
  const documents = [
    ...readFiles(root, "docs", (path) => path.endsWith(".md")),
    ...readFiles(root, ".", (path) => /^(README|ARCHITECTURE)\.md$/.test(path)),
  ];
  for (const { path, text } of documents) found.push(...fences(path, text.split("\n"), 1));
  return found;
}

/** Names that an example makes or imports by itself. */
function ownNames(code: string): Set<string> {
  const own = new Set<string>();
  for (const [, names] of code.matchAll(/\bimport\s+(?:type\s+)?\{([^}]*)\}/g)) {
    for (const name of names!.split(","))
      own.add(
        name
          .trim()
          .replace(/^type\s+/, "")
          .replace(/^.*\sas\s+/, ""),
      );
  }
  for (const [, name] of code.matchAll(/\b(?:const|let|using|function|class|interface|type)\s+(\w+)/g)) own.add(name!);
  for (const [, names] of code.matchAll(/\b(?:const|let)\s+[{[]([^}\]]*)[}\]]\s*=/g)) {
    for (const name of names!.split(",")) own.add(name.trim().replace(/^.*:\s*/, ""));
  }
  return own;
}

const literal = /^(-?\d[\d_]*(\.\d+)?n?|-?0x[\da-f_]+n?|"[^"]*"|'[^']*'|true|false|undefined|null|\[.*\]|\{.*\})$/;

/**
 * Turns what an example says of its results into checks: `f(x); // 5` compares, `console.log(a, b); // 5 6` compares
 * with what is printed, and `f(x); // throws EPERM` wants an error of that name or code.
 */
function withChecks(code: string): string {
  const lines = code.split("\n").map((line) => {
    const match = /^(?!import |export |const |let |using |await using |\/\/|\}|\s)(.+); \/\/ (.+)$/.exec(line);
    if (match === null) return line;
    const [, expression, said] = match as unknown as [string, string, string];
    const printed = /^console\.log\((.*)\)$/.exec(expression);
    if (printed !== null) return `$printed([${printed[1]}], ${JSON.stringify(said)});`;
    const thrown = /^throws (\w+)$/.exec(said);
    if (thrown !== null) return `$throws(() => ${expression}, "${thrown[1]}");`;
    return literal.test(said) ? `$equal(${expression}, ${said});` : line;
  });
  return lines.join("\n");
}

/**
 * A module that does what an example does, and checks what the example says.
 *
 * @param example the example
 * @param entries for each specifier such as `rawbpf/asm`, where its compiled module lies and which names it exports; what
 *   the example uses without importing it is imported from the first entry that has it
 * @param support where `$equal`, `$printed` and `$throws` are exported
 */
export function moduleOf(
  example: Example,
  entries: ReadonlyMap<string, { readonly path: string; readonly names: ReadonlySet<string> }>,
  support: string,
): string {
  const own = ownNames(example.code);
  const used = new Set<string>();
  const code = tokens(example.code).filter((token) => !isComment(token));
  for (const [i, token] of code.entries()) {
    if (token.kind === SyntaxKind.Identifier && code[i - 1]?.text !== "." && code[i - 1]?.text !== "?.")
      used.add(token.text);
  }
  const head = [`import { $equal, $printed, $throws } from "${support}";`];
  for (const name of used) {
    if (own.has(name)) continue;
    for (const { path, names } of entries.values()) {
      if (!names.has(name)) continue;
      head.push(`import { ${name} } from "${path}";`);
      break;
    }
  }
  const body = withChecks(example.code).replace(/(from\s+|import\()"(rawbpf[^"]*)"/g, (whole, before, specifier) => {
    const entry = entries.get(specifier);
    return entry === undefined ? whole : `${before}"${entry.path}"`;
  });
  return `${head.join("\n")}\n// ${example.place}\n${body}\nexport {};\n`;
}

/** `rawbpf/asm` -> `asm/index`, for each entry with code. */
export function entryModules(root: string): Map<string, string> {
  const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
    name: string;
    exports: Record<string, { default?: string } | string>;
  };
  const found = new Map<string, string>();
  for (const [entry, target] of Object.entries(manifest.exports)) {
    if (typeof target === "string" || target.default === undefined) continue;
    found.set(manifest.name + entry.slice(1), target.default.replace(/^\.\/dist\/(.*)\.js$/, "$1"));
  }
  return found;
}
