// Browser-safe.

import type { Instruction } from "../instruction.ts";
import { printInstruction } from "../print/print.ts";
import type { BasicBlock, ControlFlow, FunctionFlow } from "./graph.ts";

/** Options of {@link toDot} and {@link toMermaid}. */
export interface RenderOptions {
  /** The text of an instruction; default as `printInstruction` has it, with helpers by name. */
  readonly text?: ((insn: Instruction, index: number) => string) | undefined;
  /** Lines shown per block, the middle of longer ones being left out; default all. */
  readonly lines?: number | undefined;
}

/** What both notations draw. */
interface Drawing {
  readonly functions: readonly { readonly owner: FunctionFlow; readonly title: string; readonly nodes: DrawnNode[] }[];
  readonly arrows: readonly {
    readonly from: string;
    readonly to: string;
    readonly label: string;
    readonly dashed: boolean;
  }[];
}

interface DrawnNode {
  readonly id: string;
  readonly lines: readonly string[];
  readonly reachable: boolean;
}

/**
 * Draws the flow graph in the language of Graphviz: one cluster per function, one box per block; taken jumps say so,
 * `may_goto` and calls are dashed, blocks that nothing leads to are grey.
 *
 * @returns a whole `digraph`, with a newline at the end
 *
 * @example
 * ```ts
 * const flow = controlFlow([jeq(r1, 0, 1), mov(r0, 1), exit()]);
 * toDot(flow).includes('b0 -> b2 [label="taken"]'); // true
 * ```
 */
export function toDot(flow: ControlFlow, options: RenderOptions = {}): string {
  const drawing = draw(flow, options);
  const quote = (text: string): string => `"${text.replace(/[\\"]/g, "\\$&")}"`;
  const out = ["digraph program {", '  node [shape=box, fontname="monospace"];'];
  for (const { owner, title, nodes } of drawing.functions) {
    out.push(`  subgraph cluster_${owner.index} {`, `    label=${quote(title)};`);
    for (const { id, lines, reachable } of nodes) {
      // \l ends a line and sets it flush left.
      const label = `"${lines.map((line) => `${line.replace(/[\\"]/g, "\\$&")}\\l`).join("")}"`;
      out.push(`    ${id} [label=${label}${reachable ? "" : ", color=grey, fontcolor=grey"}];`);
    }
    out.push("  }");
  }
  for (const { from, to, label, dashed } of drawing.arrows) {
    const attributes = [label === "" ? "" : `label=${quote(label)}`, dashed ? "style=dashed" : ""].filter(Boolean);
    out.push(`  ${from} -> ${to}${attributes.length > 0 ? ` [${attributes.join(", ")}]` : ""};`);
  }
  out.push("}", "");
  return out.join("\n");
}

/**
 * Draws the flow graph as a Mermaid flowchart, which GitHub and many editors show in Markdown. See {@link toDot}.
 *
 * @returns a whole `flowchart`, with a newline at the end
 */
export function toMermaid(flow: ControlFlow, options: RenderOptions = {}): string {
  const drawing = draw(flow, options);
  // Mermaid takes entities written with # where HTML has &, and reads # and quotes otherwise itself.
  const entities = (text: string): string => text.replace(/[#"<>&]/g, (char) => `#${char.charCodeAt(0)};`);
  const out = ["flowchart TD"];
  for (const { owner, title, nodes } of drawing.functions) {
    out.push(`  subgraph f${owner.index}["${entities(title)}"]`);
    for (const { id, lines, reachable } of nodes) {
      out.push(`    ${id}["${lines.map(entities).join("<br/>")}"]${reachable ? "" : ":::unreachable"}`);
    }
    out.push("  end");
  }
  for (const { from, to, label, dashed } of drawing.arrows) {
    out.push(`  ${from} ${dashed ? "-.->" : "-->"}${label === "" ? "" : `|"${entities(label)}"|`} ${to}`);
  }
  if (flow.blocks.some((block) => !block.reachable)) out.push("  classDef unreachable color:#999,stroke:#999");
  out.push("");
  return out.join("\n");
}

function draw(flow: ControlFlow, options: RenderOptions): Drawing {
  const text = options.text ?? ((insn: Instruction): string => printInstruction(insn, { helpers: true }));
  const limit = Math.max(3, options.lines ?? Number.POSITIVE_INFINITY);
  const arrows: Drawing["arrows"][number][] = [];
  const functions = flow.functions.map((owner) => ({
    owner,
    title: owner.name ?? (owner.index === 0 ? "program" : `function at ${owner.start}`),
    nodes: flow.blocks.slice(owner.firstBlock, owner.endBlock).map(
      (block): DrawnNode => ({
        id: `b${block.index}`,
        lines: blockLines(flow, block, text, limit),
        reachable: block.reachable,
      }),
    ),
  }));
  for (const block of flow.blocks) {
    const fork = block.successors.length > 1;
    for (const edge of block.successors) {
      if (!("to" in edge)) continue;
      const label = edge.kind === "fallthrough" || (edge.kind === "taken" && !fork) ? "" : edge.kind;
      arrows.push({ from: `b${block.index}`, to: `b${edge.to}`, label, dashed: edge.kind === "may-goto" });
    }
  }
  for (const edge of flow.calls) {
    const to = flow.functions[edge.to]!.firstBlock;
    arrows.push({ from: `b${flow.blockOf[edge.instruction]}`, to: `b${to}`, label: edge.kind, dashed: true });
  }
  return { functions, arrows };
}

function blockLines(
  flow: ControlFlow,
  block: BasicBlock,
  text: (insn: Instruction, index: number) => string,
  limit: number,
): string[] {
  const line = (index: number): string => `${index}: ${text(flow.instructions[index]!, index)}`;
  const count = block.end - block.start;
  const lines: string[] = [];
  if (count <= limit) {
    for (let i = block.start; i < block.end; i++) lines.push(line(i));
    return lines;
  }
  const head = Math.ceil((limit - 1) / 2);
  const tail = limit - 1 - head;
  for (let i = block.start; i < block.start + head; i++) lines.push(line(i));
  lines.push(`(${count - head - tail} more)`);
  for (let i = block.end - tail; i < block.end; i++) lines.push(line(i));
  return lines;
}
