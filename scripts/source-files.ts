/** What the checks of this folder share: files, tokens, imports, and how a violation is told. */
import { readdirSync, readFileSync, realpathSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { pathToFileURL } from "node:url";
import { SyntaxKind } from "typescript/unstable/ast";
import { createScanner } from "typescript/unstable/ast/scanner";

/** A rule broken at one place. */
export interface Violation {
  /** Path below the root, with `/`. */
  readonly file: string;
  /** 1 for the first line. */
  readonly line: number;
  readonly message: string;
}

/** A source file and its text. */
export interface SourceFile {
  /** Path below the root, with `/`. */
  readonly path: string;
  readonly text: string;
}

/**
 * Files below a folder, in order of their paths; empty when there is no such folder.
 *
 * @param root directory that paths are relative to
 * @param folder directory below it
 * @param wanted which paths to read
 */
export function readFiles(root: string, folder: string, wanted: (path: string) => boolean): SourceFile[] {
  const found: SourceFile[] = [];
  const walk = (directory: string): void => {
    for (const entry of readdirSync(directory, { withFileTypes: true })) {
      const full = join(directory, entry.name);
      const path = relative(root, full).split(sep).join("/");
      if (entry.isDirectory()) {
        if (entry.name !== "node_modules") walk(full);
      } else if (entry.isFile() && wanted(path)) found.push({ path, text: readFileSync(full, "utf8") });
    }
  };
  try {
    walk(join(root, folder));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  return found.sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** Whether a path is TypeScript that people or a generator wrote. */
export function isTypeScript(path: string): boolean {
  return path.endsWith(".ts") && !path.endsWith(".d.ts");
}

/** Whether a path is that of a generated file. */
export function isGenerated(path: string): boolean {
  return /\.generated\.[a-z]+$/.test(path);
}

/** A piece of a source text. */
export interface Token {
  readonly kind: SyntaxKind;
  readonly text: string;
  /** What a string literal stands for; the text of any other token. */
  readonly value: string;
  /** 1 for the first line. */
  readonly line: number;
}

/** A `/` after one of these divides; after anything else it begins a regular expression. */
const endsOperand: ReadonlySet<SyntaxKind> = new Set([
  SyntaxKind.Identifier,
  SyntaxKind.PrivateIdentifier,
  SyntaxKind.NumericLiteral,
  SyntaxKind.BigIntLiteral,
  SyntaxKind.StringLiteral,
  SyntaxKind.NoSubstitutionTemplateLiteral,
  SyntaxKind.TemplateTail,
  SyntaxKind.RegularExpressionLiteral,
  SyntaxKind.CloseParenToken,
  SyntaxKind.CloseBracketToken,
  SyntaxKind.CloseBraceToken,
  SyntaxKind.ThisKeyword,
  SyntaxKind.SuperKeyword,
  SyntaxKind.TrueKeyword,
  SyntaxKind.FalseKeyword,
  SyntaxKind.NullKeyword,
]);

/** The tokens of a TypeScript text. Comments are among them, white space is not. */
export function tokens(text: string): Token[] {
  const scanner = createScanner(false, 0, text);
  const found: Token[] = [];
  // For each open template, how many braces are open inside its current `${`.
  const templates: number[] = [];
  let before: SyntaxKind = SyntaxKind.Unknown;
  let line = 1;
  let counted = 0;
  for (let kind = scanner.scan(); kind !== SyntaxKind.EndOfFile; kind = scanner.scan()) {
    const open = templates.at(-1);
    if ((kind === SyntaxKind.SlashToken || kind === SyntaxKind.SlashEqualsToken) && !endsOperand.has(before))
      kind = scanner.reScanSlashToken();
    else if (kind === SyntaxKind.TemplateHead) templates.push(0);
    else if (kind === SyntaxKind.OpenBraceToken && open !== undefined) templates[templates.length - 1] = open + 1;
    else if (kind === SyntaxKind.CloseBraceToken && open !== undefined) {
      if (open > 0) templates[templates.length - 1] = open - 1;
      else {
        kind = scanner.reScanTemplateToken(false);
        if (kind === SyntaxKind.TemplateTail) templates.pop();
      }
    }
    for (const start = scanner.getTokenStart(); counted < start; counted++) if (text.charCodeAt(counted) === 10) line++;
    const trivia = kind === SyntaxKind.WhitespaceTrivia || kind === SyntaxKind.NewLineTrivia;
    if (!trivia) found.push({ kind, text: scanner.getTokenText(), value: scanner.getTokenValue() ?? "", line });
    const comment = kind === SyntaxKind.SingleLineCommentTrivia || kind === SyntaxKind.MultiLineCommentTrivia;
    if (!trivia && !comment) before = kind;
  }
  return found;
}

/** Whether a token is a comment. */
export function isComment(token: Token): boolean {
  return token.kind === SyntaxKind.SingleLineCommentTrivia || token.kind === SyntaxKind.MultiLineCommentTrivia;
}

/** A module that a file names. */
export interface Import {
  readonly specifier: string;
  readonly line: number;
  /** `import(...)` of a value or a type, or `require(...)`, as against a statement at the top. */
  readonly dynamic: boolean;
}

/** The modules that a TypeScript text imports, exports from, or requires. */
export function imports(text: string): Import[] {
  const found: Import[] = [];
  const code = tokens(text).filter((token) => !isComment(token));
  for (const [i, token] of code.entries()) {
    if (token.kind !== SyntaxKind.StringLiteral) continue;
    const [last, earlier] = [code[i - 1], code[i - 2]];
    const named = { specifier: token.value, line: token.line };
    if (last?.kind === SyntaxKind.FromKeyword || last?.kind === SyntaxKind.ImportKeyword)
      found.push({ ...named, dynamic: false });
    else if (last?.kind === SyntaxKind.OpenParenToken) {
      // createRequire(import.meta.url)("x")
      const made = earlier?.text === ")" && code.slice(Math.max(0, i - 9), i).some((t) => t.text === "createRequire");
      if (made || /^(import|require)$/.test(earlier?.text ?? "")) found.push({ ...named, dynamic: true });
    }
  }
  return found;
}

/**
 * Prints violations as `file:line: message` on stderr and sets the exit code, when a check runs as a program.
 *
 * @param self `import.meta.url` of the check
 * @param check finds the violations below a root
 * @param fine printed when there is none
 */
export function runAsProgram(self: string, check: (root: string) => readonly Violation[], fine: string): void {
  const program = process.argv[1];
  if (program === undefined || pathToFileURL(realpathSync(program)).href !== self) return;
  const found = check(process.argv[2] ?? process.cwd());
  for (const { file, line, message } of found) console.error(`${file}:${line}: ${message}`);
  console.log(found.length === 0 ? fine : `${found.length} violation${found.length === 1 ? "" : "s"}`);
  process.exitCode = found.length === 0 ? 0 : 1;
}
