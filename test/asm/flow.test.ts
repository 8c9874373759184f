import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  add,
  and,
  atomic,
  type ControlFlow,
  call,
  callGroups,
  callKfunc,
  callLocal,
  controlFlow,
  dominates,
  dominators,
  type Edge,
  exit,
  findLoops,
  gotol,
  gotox,
  type Instruction,
  ja,
  jeq,
  label,
  ldFunction,
  ldImm64,
  ldMap,
  load,
  loopBlocks,
  mayGoto,
  mov,
  type ProgramItem,
  program,
  r0,
  r1,
  r2,
  r3,
  r4,
  r6,
  r10,
  recursiveFunctions,
  stackUse,
  store,
  sub,
  subprogram,
  toDot,
  toMermaid,
  w1,
} from "../../src/asm/index.ts";
import { rounds } from "../support/harness.ts";

const test = suite("asm flow");

const arrow = (edge: Edge): string => ("to" in edge ? `${edge.kind} ${edge.to}` : edge.kind);
const shape = (flow: ControlFlow): [number, number, string[]][] =>
  flow.blocks.map((block) => [block.start, block.end, block.successors.map(arrow)]);

test("blocks end at jumps and start at their goals", () => {
  const flow = controlFlow(
    program(mov(r0, 0), label("top"), add(r0, 1), jeq(r0, 5, "out"), mayGoto("out"), ja("top"), label("out"), exit()),
  );
  assert.equal(shape(flow), [
    [0, 1, ["fallthrough 1"]],
    [1, 3, ["fallthrough 2", "taken 4"]],
    [3, 4, ["fallthrough 3", "may-goto 4"]],
    [4, 5, ["taken 1"]],
    [5, 6, ["exit"]],
  ]);
  assert.equal(
    flow.blocks.map((block) => block.predecessors),
    [[], [0, 3], [1], [2], [1, 2]],
  );
  assert.equal([...flow.blockOf], [0, 1, 1, 2, 3, 4]);
});

test("both ways out may lead to the same block", () => {
  const flow = controlFlow([jeq(r1, 0, 0), exit()]);
  assert.equal(shape(flow)[0], [0, 1, ["fallthrough 1", "taken 1"]]);
  assert.equal(flow.blocks[1]!.predecessors, [0]);
});

test("labels and numbers give the same graph", () => {
  const symbolic = controlFlow(program(jeq(r1, 0, "out"), ldImm64(r0, 1), gotol("out"), label("out"), exit()));
  const numeric = controlFlow([jeq(r1, 0, 3), ldImm64(r0, 1), gotol(0), exit()]);
  assert.equal(shape(symbolic), shape(numeric));
});

test("calls do not end a block, what they call starts a function", () => {
  const flow = controlFlow(
    program(
      subprogram("main", callLocal("twice"), ldFunction(r2, "callback"), call("loop"), exit()),
      subprogram("twice", mov(r0, r1), add(r0, r0), exit()),
      subprogram("callback", mov(r0, 0), exit()),
    ),
  );
  assert.equal(
    flow.functions.map((f) => [f.name, f.start, f.end, f.firstBlock, f.endBlock, f.reachable]),
    [
      ["main", 0, 4, 0, 1, true],
      ["twice", 4, 7, 1, 2, true],
      ["callback", 7, 9, 2, 3, true],
    ],
  );
  assert.equal(flow.calls, [
    { kind: "call", instruction: 0, from: 0, to: 1 },
    { kind: "address", instruction: 1, from: 0, to: 2 },
  ]);
});

test("what nothing leads to is not reachable", () => {
  const flow = controlFlow([exit(), mov(r0, 1), callLocal(1), exit(), mov(r0, 2), exit()]);
  assert.equal(
    flow.blocks.map((block) => [block.start, block.reachable]),
    [
      [0, true],
      [1, false],
      [4, false],
    ],
  );
  assert.equal(
    flow.functions.map((f) => f.reachable),
    [true, false],
  );
  const entered = controlFlow([exit(), mov(r0, 1), exit()], { entries: [1] });
  assert.equal(
    entered.functions.map((f) => [f.start, f.reachable]),
    [
      [0, true],
      [1, true],
    ],
  );
  assert.throws(() => controlFlow([exit()], { entries: [1] }), /^Instruction 1 is not in 0 to 0/);
});

test("running off the end is an edge of its own", () => {
  assert.equal(shape(controlFlow([jeq(r1, 0, -1), mov(r0, 0)])), [
    [0, 1, ["fallthrough 1", "taken 0"]],
    [1, 2, ["off-end"]],
  ]);
});

test("the goals of gotox come from outside", () => {
  const instructions = [gotox(r1), mov(r0, 1), mov(r0, 2), exit()];
  assert.equal(shape(controlFlow(instructions)), [
    [0, 1, []],
    [1, 4, ["exit"]],
  ]);
  assert.equal(shape(controlFlow(instructions, { indirect: new Map([[0, [1, 2, 1]]]) })), [
    [0, 1, ["indirect 1", "indirect 2"]],
    [1, 2, ["fallthrough 2"]],
    [2, 4, ["exit"]],
  ]);
});

test("references to maps and kernel functions do not matter", () => {
  assert.is(controlFlow([ldMap(r1, "counts"), exit()]).blocks.length, 1);
});

test("jumps that lead nowhere are refused", () => {
  assert.throws(() => controlFlow([ja("out"), exit()]), /^Unknown label "out" \(instruction 0\)/);
  assert.throws(() => controlFlow([ja(5), exit()]), /^Jump to slot 6 leaves the program/);
});

test("no instructions, no blocks", () => {
  const flow = controlFlow([]);
  assert.equal([flow.blocks, flow.functions, flow.calls], [[], [], []]);
  assert.is(stackUse(flow).bytes, 0);
  assert.equal(findLoops(flow).loops, []);
  assert.is(toDot(flow).split("\n").length, 4);
});

test("dominators of a diamond with a loop", () => {
  const flow = controlFlow(
    program(
      jeq(r1, 0, "right"), // 0
      mov(r0, 1), // 1
      ja("join"),
      label("right"),
      mov(r0, 2), // 2
      label("join"),
      add(r0, 1), // 3
      jeq(r0, 9, "join"),
      exit(), // 4
    ),
  );
  const tree = dominators(flow);
  assert.equal([...tree.immediate], [-1, 0, 0, 0, 3]);
  assert.ok(dominates(tree, 0, 4));
  assert.ok(dominates(tree, 3, 3));
  assert.not(dominates(tree, 2, 3));
  const forest = findLoops(flow, tree);
  assert.equal(forest.loops, [{ index: 0, header: 3, backEdges: [3], parent: undefined, depth: 1 }]);
  assert.equal(loopBlocks(forest, forest.loops[0]!), [3]);
});

test("nested loops know their parents", () => {
  const flow = controlFlow(
    program(
      mov(r0, 0), // 0
      label("outer"),
      mov(r1, 0), // 1
      label("inner"),
      add(r1, 1), // 2
      jeq(r1, 5, "inner"),
      jeq(r1, 6, "inner"), // 3
      add(r0, 1), // 4
      jeq(r0, 5, "outer"),
      exit(), // 5
    ),
  );
  const forest = findLoops(flow);
  assert.equal(forest.loops, [
    { index: 0, header: 1, backEdges: [4], parent: undefined, depth: 1 },
    { index: 1, header: 2, backEdges: [2, 3], parent: 0, depth: 2 },
  ]);
  assert.equal(
    forest.loops.map((loop) => loopBlocks(forest, loop)),
    [
      [1, 2, 3, 4],
      [2, 3],
    ],
  );
  assert.equal([...forest.loopOf], [-1, 0, 1, 1, 0, -1]);
  assert.equal(forest.irreducible, []);
});

test("a loop with two entrances is irreducible", () => {
  const flow = controlFlow(
    program(jeq(r1, 0, "b"), label("a"), add(r0, 1), label("b"), add(r0, 2), jeq(r0, 9, "a"), exit()),
  );
  const forest = findLoops(flow);
  assert.equal(forest.loops, []);
  assert.is(forest.irreducible.length, 1);
});

// A random graph: every instruction may jump anywhere.
const graphs: fc.Arbitrary<Instruction[]> = fc
  .array(fc.tuple(fc.nat(4), fc.nat(1000)), { minLength: 1, maxLength: 30 })
  .map((list) => {
    const last = list.length;
    return [
      ...list.map(([kind, to], i): Instruction => {
        const distance = (to % (last + 1)) - i - 1;
        if (kind === 0) return ja(distance);
        if (kind === 1) return exit();
        if (kind === 2) return mov(r0, i);
        return jeq(r1, i, distance);
      }),
      exit(),
    ];
  });

/** Blocks that the entry leads to when one block is taken out. */
function without(flow: ControlFlow, removed: number): Set<number> {
  const seen = new Set<number>();
  const work = removed === 0 ? [] : [0];
  for (let block = work.pop(); block !== undefined; block = work.pop()) {
    if (seen.has(block)) continue;
    seen.add(block);
    for (const edge of flow.blocks[block]!.successors) if ("to" in edge && edge.to !== removed) work.push(edge.to);
  }
  return seen;
}

test("dominators are what taking a block out of the graph says", () => {
  fc.assert(
    fc.property(graphs, (instructions) => {
      const flow = controlFlow(instructions);
      const tree = dominators(flow);
      const all = without(flow, -1);
      for (const block of flow.blocks) assert.is(block.reachable, all.has(block.index));
      for (const a of all) {
        const rest = without(flow, a);
        for (const b of all) assert.is(dominates(tree, a, b), !rest.has(b), `${a} ${b}`);
      }
      for (const b of all) {
        const up = tree.immediate[b]!;
        if (up === -1) assert.is(b, 0);
        else {
          assert.ok(up !== b && dominates(tree, up, b));
          for (const a of all) if (a !== b && dominates(tree, a, b)) assert.ok(dominates(tree, a, up));
        }
      }
    }),
    { numRuns: rounds(500, 20_000) },
  );
});

test("loops are what walking back from the back edges says", () => {
  fc.assert(
    fc.property(graphs, (instructions) => {
      const flow = controlFlow(instructions);
      const tree = dominators(flow);
      const forest = findLoops(flow, tree);
      const bodies = new Map<number, Set<number>>(); // header -> blocks
      for (const block of flow.blocks) {
        for (const edge of block.successors) {
          if (!("to" in edge) || !dominates(tree, edge.to, block.index)) continue;
          const body = bodies.get(edge.to) ?? new Set([edge.to]);
          bodies.set(edge.to, body);
          const work = [block.index];
          for (let at = work.pop(); at !== undefined; at = work.pop()) {
            if (body.has(at)) continue;
            body.add(at);
            for (const from of flow.blocks[at]!.predecessors) if (tree.connected[from] === 1) work.push(from);
          }
        }
      }
      assert.equal(
        forest.loops.map((loop) => loop.header).sort((a, b) => a - b),
        [...bodies.keys()].sort((a, b) => a - b),
      );
      for (const loop of forest.loops) {
        const body = bodies.get(loop.header)!;
        assert.equal(
          loopBlocks(forest, loop),
          [...body].sort((a, b) => a - b),
        );
        const around = forest.loops.filter((other) => other !== loop && bodies.get(other.header)!.has(loop.header));
        const nearest = around.sort((a, b) => b.depth - a.depth)[0];
        assert.is(loop.parent, nearest?.index);
        assert.is(loop.depth, around.length + 1);
      }
      // Without its back edges a reducible graph has no circle left.
      const left = (from: number, to: number): boolean => dominates(tree, to, from);
      assert.is(hasCircle(flow, left), forest.irreducible.length > 0);
    }),
    { numRuns: rounds(500, 20_000) },
  );
});

function hasCircle(flow: ControlFlow, leaveOut: (from: number, to: number) => boolean): boolean {
  const state = new Map<number, "open" | "done">();
  const visit = (block: number): boolean => {
    if (state.get(block) === "open") return true;
    if (state.get(block) === "done") return false;
    state.set(block, "open");
    for (const edge of flow.blocks[block]!.successors) {
      if ("to" in edge && !leaveOut(block, edge.to) && visit(edge.to)) return true;
    }
    state.set(block, "done");
    return false;
  };
  return visit(0);
}

test("calls in circles are found", () => {
  const flow = controlFlow(
    program(
      subprogram("main", callLocal("a"), callLocal("self"), exit()),
      subprogram("a", callLocal("b"), exit()),
      subprogram("b", callLocal("a"), callLocal("leaf"), exit()),
      subprogram("self", callLocal("self"), exit()),
      subprogram("leaf", mov(r0, 0), exit()),
    ),
  );
  assert.equal(recursiveFunctions(flow), [[1, 2], [3]]);
  const groups = callGroups(flow);
  assert.equal(groups.flat().sort(), [0, 1, 2, 3, 4]);
  const place = (f: number): number => groups.findIndex((group) => group.includes(f));
  for (const edge of flow.calls) assert.ok(place(edge.to) <= place(edge.from), "callees come first");
  assert.equal([stackUse(flow).bytes, stackUse(flow).rounded], [undefined, undefined]);
});

const frame = (...body: Instruction[]): { bytes: number; exact: boolean } =>
  stackUse(controlFlow([...body, exit()])).frames[0]!;

test("stack use of one frame", () => {
  assert.equal(frame(mov(r0, 0)), { bytes: 0, exact: true });
  assert.equal(frame(store("u8", r10, -1, 0)), { bytes: 1, exact: true });
  assert.equal(frame(store("u64", r10, -16, 0), load("u32", r0, r10, -20)), { bytes: 20, exact: true });
  assert.equal(frame(atomic("fetch_add", "u64", r10, -24, r1)), { bytes: 24, exact: true });
  assert.equal(frame(mov(r2, r10), add(r2, -40), store("u8", r2, 8, 0)), { bytes: 32, exact: true });
  assert.equal(frame(mov(r2, r10), sub(r2, 40), mov(r3, r2), store("u8", r3, 0, 0)), { bytes: 40, exact: true });
  assert.equal(frame(mov(r2, r10), add(r2, -40)), { bytes: 0, exact: true }, "a pointer that nobody uses");
  assert.equal(frame(mov(r2, r10), and(r2, -8), store("u8", r2, -100, 0)), { bytes: 0, exact: true });
});

test("pointers passed to calls count", () => {
  assert.equal(frame(mov(r2, r10), add(r2, -8), call("map_lookup_elem")), { bytes: 8, exact: true });
  assert.equal(frame(mov(r3, r10), add(r3, -8), call("map_lookup_elem")), { bytes: 0, exact: true }, "two arguments");
  assert.equal(frame(mov(r3, r10), add(r3, -8), call(9999)), { bytes: 8, exact: true }, "unknown helper");
  assert.equal(frame(mov(r4, r10), add(r4, -64), call("trace_printk")), { bytes: 0, exact: true }, "a number");
  assert.equal(frame(mov(r1, r10), add(r1, -64), callKfunc(5)), { bytes: 64, exact: true });
});

test("what cannot be followed is said not to be exact", () => {
  assert.is(frame(mov(r2, r10), add(r2, r1), store("u8", r2, -8, 0)).exact, false);
  assert.is(frame(add(r1, r10), store("u8", r1, -8, 0)).exact, false);
  assert.is(frame(mov(r2, r10), store("u64", r10, -8, r2)).exact, false, "stored");
  assert.is(frame(mov(r2, r10), sub(r2, r10), store("u8", r2, -8, 0)).exact, false);
  assert.is(frame(mov(w1, 5), store("u8", r1, -8, 0)).exact, true, "no pointer at all");
});

test("where ways meet the lower pointer counts, and moving ones end", () => {
  const meet = program(
    mov(r2, r10),
    jeq(r1, 0, "far"),
    add(r2, -8),
    ja("join"),
    label("far"),
    add(r2, -48),
    label("join"),
    store("u8", r2, 0, 0),
  );
  assert.equal(frame(...meet), { bytes: 48, exact: true });
  const up = program(mov(r2, r10), add(r2, -64), label("top"), store("u8", r2, 0, 0), add(r2, 8), jeq(r1, 0, "top"));
  assert.equal(frame(...up), { bytes: 64, exact: true }, "upwards from a known place");
  const down = program(mov(r2, r10), label("top"), add(r2, -8), store("u8", r2, 0, 0), jeq(r1, 0, "top"));
  assert.is(frame(...down).exact, false, "downwards without end");
});

test("stack use over calls", () => {
  const flow = controlFlow(
    program(
      subprogram("main", store("u64", r10, -8, 0), callLocal("a"), callLocal("b"), exit()),
      subprogram("a", store("u64", r10, -100, 0), exit()),
      subprogram("b", store("u64", r10, -24, 0), ldFunction(r6, "c"), exit()),
      subprogram("c", store("u64", r10, -200, 0), exit()),
      subprogram("unused", store("u64", r10, -500, 0), callLocal("a"), exit()),
    ),
  );
  const use = stackUse(flow);
  assert.equal(
    use.frames.map((f) => f.bytes),
    [8, 100, 24, 200 + 0],
    "the function that nobody calls belongs to the one before it",
  );
  assert.equal([use.bytes, use.rounded, use.chain, use.exact], [232, 16 + 32 + 208, [0, 2, 3], true]);
});

test("pointers passed to functions count as far as they are used", () => {
  const use = (...callee: ProgramItem[]): { bytes: number; exact: boolean } =>
    stackUse(
      controlFlow(
        program(
          subprogram("main", mov(r1, r10), add(r1, -16), mov(r2, r1), callLocal("f"), exit()),
          subprogram("f", ...callee, exit()),
        ),
      ),
    ).frames[0]!;
  assert.equal(use(mov(r0, 0)), { bytes: 0, exact: true }, "not at all");
  assert.equal(use(store("u64", r1, 8, 0)), { bytes: 8, exact: true });
  assert.equal(use(store("u64", r2, 0, 0), load("u8", r0, r1, -3)), { bytes: 19, exact: true });
  assert.equal(use(mov(r6, r1), add(r6, -16), mov(r1, r6), call("ktime_get_ns")), { bytes: 0, exact: true });
  assert.equal(use(mov(r3, r2), add(r3, -16), mov(r2, r3), call("map_lookup_elem")), { bytes: 32, exact: true });
  assert.is(use(store("u64", r10, -8, r1)).exact, false, "kept in memory");
  assert.is(use(add(r2, r3), load("u8", r0, r2, 0)).exact, false, "moved by what is not known");
  assert.is(use(callLocal("f")).exact, false, "in circles");
  assert.equal(use(callLocal("g"), label("g"), store("u64", r1, -24, 0)), { bytes: 40, exact: true }, "passed on");
  const mixed = [mov(r6, r10), add(r6, -8), jeq(r3, 0, "own"), mov(r6, r1), label("own"), store("u8", r6, 0, 0)];
  assert.is(use(...program(mixed)).exact, false, "one frame or the other");
});

test("the limit looks at the chain that is deepest when rounded", () => {
  const flow = controlFlow(
    program(
      subprogram("main", callLocal("a"), callLocal("b"), exit()),
      subprogram("a", store("u8", r10, -20, 0), exit()),
      subprogram("b", store("u8", r10, -1, 0), callLocal("c"), exit()),
      subprogram("c", store("u8", r10, -17, 0), exit()),
    ),
  );
  const use = stackUse(flow);
  assert.equal([use.bytes, use.rounded, use.chain], [20, 48, [0, 1]]);
});

test("drawings", () => {
  const flow = controlFlow(
    program(
      subprogram("main", jeq(r1, 0, "out"), callLocal("f"), mayGoto("out"), label("out"), exit(), mov(r0, 1), exit()),
      subprogram("f", mov(r0, 0), exit()),
    ),
  );
  const text = (_: Instruction, index: number): string => (index === 0 ? 'say "\\<&#' : "x");
  assert.is(
    toDot(flow, { text }),
    [
      "digraph program {",
      '  node [shape=box, fontname="monospace"];',
      "  subgraph cluster_0 {",
      '    label="main";',
      '    b0 [label="0: say \\"\\\\<&#\\l"];',
      '    b1 [label="1: x\\l2: x\\l"];',
      '    b2 [label="3: x\\l"];',
      '    b3 [label="4: x\\l5: x\\l", color=grey, fontcolor=grey];',
      "  }",
      "  subgraph cluster_1 {",
      '    label="f";',
      '    b4 [label="6: x\\l7: x\\l"];',
      "  }",
      "  b0 -> b1;",
      '  b0 -> b2 [label="taken"];',
      "  b1 -> b2;",
      '  b1 -> b2 [label="may-goto", style=dashed];',
      '  b1 -> b4 [label="call", style=dashed];',
      "}",
      "",
    ].join("\n"),
  );
  assert.is(
    toMermaid(flow, { text }),
    [
      "flowchart TD",
      '  subgraph f0["main"]',
      '    b0["0: say #34;\\#60;#38;#35;"]',
      '    b1["1: x<br/>2: x"]',
      '    b2["3: x"]',
      '    b3["4: x<br/>5: x"]:::unreachable',
      "  end",
      '  subgraph f1["f"]',
      '    b4["6: x<br/>7: x"]',
      "  end",
      "  b0 --> b1",
      '  b0 -->|"taken"| b2',
      "  b1 --> b2",
      '  b1 -.->|"may-goto"| b2',
      '  b1 -.->|"call"| b4',
      "  classDef unreachable color:#999,stroke:#999",
      "",
    ].join("\n"),
  );
});

test("long blocks are cut in the middle", () => {
  const flow = controlFlow([...Array.from({ length: 10 }, () => mov(r0, 0)), exit()]);
  const [, , , , block] = toDot(flow, { lines: 4 }).split("\n");
  assert.is(block, '    b0 [label="0: r0 = 0\\l1: r0 = 0\\l(8 more)\\l10: exit\\l"];');
});

test("the largest functions there are take no time and no recursion", () => {
  // The size of the largest function found in the wild, of the shapes that hurt naive algorithms.
  const count = 80_000;
  const ladder = Array.from({ length: count }, (_, i) => jeq(r1, i & 255, Math.min(2, count - i - 1)));
  const nest = Array.from({ length: count }, (_, i) =>
    i < count / 2 ? store("u8", r10, -1, 0) : jeq(r1, 0, Math.max(-32768, count - 2 * i - 2)),
  );
  for (const instructions of [ladder, nest]) {
    instructions.push(exit());
    const before = process.cpuUsage();
    const flow = controlFlow(instructions);
    const forest = findLoops(flow);
    stackUse(flow);
    assert.is(forest.irreducible.length, 0);
    const { user } = process.cpuUsage(before);
    assert.ok(user < 5e6, `${user / 1e3} ms of processor time`);
  }
});

test.run();
