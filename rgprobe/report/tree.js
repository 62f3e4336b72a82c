// The condensation tree of one prompt at one layer, and the prompt's text coloured by the clusters of a cut.

// Nodes 0..n-1 are tokens, n + k is merge k. Heights are cumulative losses, so they never fall.
function readTree([parents, costs]) {
  const n = costs.length + 1;
  const nodes = parents.map((parent, id) => ({ id, parent, children: [], leaves: id < n ? [id] : [], height: 0, cost: 0 }));
  nodes.forEach((node) => node.parent >= 0 && nodes[node.parent].children.push(node));
  let height = 0;
  nodes.slice(n).forEach((node, k) => {
    height += costs[k];
    node.children.sort((a, b) => Math.min(...a.leaves) - Math.min(...b.leaves));
    Object.assign(node, { height, cost: costs[k], leaves: node.children.flatMap((child) => child.leaves) });
  });
  paint(nodes, n);
  return { n, nodes, root: nodes[2 * n - 2], total: height };
}

// From the root down the larger branch keeps the colour and the smaller gets the next one, so that colours stay
// with their clusters while the cut moves. A token that splits off alone takes no colour.
function paint(nodes, n) {
  let next = 1;
  nodes[nodes.length - 1].colour = 0;
  for (let id = nodes.length - 1; id >= n; id--) {
    const [large, small] = [...nodes[id].children].sort((a, b) => b.leaves.length - a.leaves.length);
    large.colour = nodes[id].colour;
    small.colour = small.leaves.length > 1 ? next++ : -1;
  }
}

// The root node of each token's cluster when m clusters are left.
function cut(tree, m) {
  const owner = tree.nodes.map((node) => node);
  for (let id = 2 * tree.n - 1 - m; id >= tree.n; id--) tree.nodes[id].children.forEach((child) => (owner[child.id] = owner[id]));
  return owner.slice(0, tree.n);
}

const hue = (node) => (node.leaves.length > 1 ? `k${node.colour % 10}` : "alone");
const words = (node, names, most = 12) =>
  [...node.leaves].sort((a, b) => a - b).slice(0, most).map((leaf) => label(names[leaf])).join(" · ") +
  (node.leaves.length > most ? " · …" : "");

function treeView(root) {
  const [running, box, detail, slider, search] = ["running", "treebox", "detail", "cut", "search"].map((name) => role(root, name));
  const folded = new Set();
  let prompt = null;
  let tree = null;
  let names = [];

  function renderText(owner) {
    running.replaceChildren();
    const place = new Map(prompt.recorded.map((position, leaf) => [position, leaf]));
    prompt.tokens.forEach((token, position) => {
      const leaf = place.get(position);
      if (token.startsWith(" ")) running.append(" ");
      const span = make(running, "span", { class: "token" }, token.trimStart());
      if (leaf === undefined) return;
      span.classList.add("recorded", hue(owner[leaf]));
      span.dataset.leaf = leaf;
      if (owner[leaf].leaves.length > 1) make(span, "sub", {}, owner[leaf].colour + 1);
    });
  }

  function describe(node) {
    const loss = node.id < tree.n ? "" : `: this merge loses ${nats(node.cost)} nats per token, ${nats(node.height)} so far; `;
    detail.textContent = `${words(node, names)}${loss || ": "}support ${node.leaves.length} of ${tree.n} tokens`;
    for (const span of running.querySelectorAll("[data-leaf]")) span.classList.toggle("lit", node.leaves.includes(Number(span.dataset.leaf)));
  }

  function quiet() {
    detail.textContent = "Point at a node to see its tokens, what its merge loses, and its support.";
    for (const span of running.querySelectorAll(".lit")) span.classList.remove("lit");
  }

  // Tokens that hold the searched text are framed in the running text and in the tree; folded branches that hide one open.
  const matches = () => {
    const wanted = search.value.trim().toLowerCase();
    return wanted ? new Set(names.flatMap((name, leaf) => (name.toLowerCase().includes(wanted) ? [leaf] : []))) : new Set();
  };

  function mark() {
    const found = matches();
    role(root, "found").textContent = search.value.trim() ? `${found.size} of ${tree.n} recorded` : "";
    for (const span of running.querySelectorAll("[data-leaf]")) span.classList.toggle("found", found.has(Number(span.dataset.leaf)));
    for (const text of box.querySelectorAll("[data-token]")) text.classList.toggle("found", found.has(Number(text.dataset.token)));
  }

  function seek() {
    const found = matches();
    for (const id of folded) if (tree.nodes[id].leaves.some((leaf) => found.has(leaf))) folded.delete(id);
    render();
    running.querySelector(".found")?.scrollIntoView({ block: "nearest" });
  }

  function fold(node) {
    if (!folded.delete(node.id)) folded.add(node.id);
    render();
    box.querySelector(`[data-node="${node.id}"]`)?.focus();
  }

  function renderTree(owner, m) {
    const row = 21;
    const top = 8;
    const rows = [];
    const visit = (node) => (node.id < tree.n || folded.has(node.id) ? rows.push(node) : node.children.forEach(visit));
    visit(tree.root);
    const width = Math.max(300, box.clientWidth);
    const gutter = Math.min(150, Math.round(width * 0.3));
    const bottom = top + rows.length * row;
    const span = width - gutter - 24;
    // square root of the loss: early merges lose little, and on a linear axis all of them would sit on the left edge
    const x = (height) => gutter + 8 + span * Math.sqrt(tree.total > 0 ? height / tree.total : 0);
    const y = new Map(rows.map((node, index) => [node.id, top + (index + 0.5) * row]));
    const middle = (node) => {
      if (!y.has(node.id)) y.set(node.id, (middle(node.children[0]) + middle(node.children[1])) / 2);
      return y.get(node.id);
    };
    middle(tree.root);
    box.replaceChildren();
    const svg = make(box, "svg", { viewBox: `0 0 ${width} ${bottom + 46}`, width, height: bottom + 46 });
    axis(svg, { x, top, bottom, total: tree.total, left: gutter + 8, right: gutter + 8 + span });
    const edge = m === tree.n ? 0 : tree.nodes[2 * tree.n - 1 - m].height;
    const after = m === 1 ? edge : tree.nodes[2 * tree.n - m].height;
    const at = x((edge + after) / 2);
    make(svg, "line", { x1: at, x2: at, y1: top - 6, y2: bottom, class: "cutline" });
    const joined = new Set(owner.flatMap((node) => (node.leaves.length > 1 ? [node.id] : [])));
    const colourOf = (node) => {
      const cluster = owner[node.leaves[0]];
      return node.leaves.length <= cluster.leaves.length && cluster.leaves.length > 1 ? hue(cluster) : "loose";
    };
    const drawNode = (node) => {
      const open = node.id >= tree.n && !folded.has(node.id);
      if (open) {
        const [a, b] = node.children;
        const [ya, yb] = [y.get(a.id), y.get(b.id)];
        const path = `M${x(a.height)},${ya}H${x(node.height)}V${yb}H${x(b.height)}`;
        make(svg, "path", { d: path, class: `branch ${colourOf(node)}` });
        node.children.forEach(drawNode);
      } else {
        const text = node.id < tree.n ? label(names[node.id]) : `${label(words(node, names, 3), 14)} (${node.leaves.length})`;
        const name = make(svg, "text", { x: gutter, y: y.get(node.id), class: `leaf ${colourOf(node)}` }, text);
        if (node.id < tree.n) name.dataset.token = node.id;
        name.addEventListener("pointerenter", () => describe(node));
        name.addEventListener("pointerleave", quiet);
        if (node.id >= tree.n) make(svg, "path", { d: `M${x(0)},${y.get(node.id)}H${x(node.height)}`, class: `branch folded ${colourOf(node)}` });
      }
      if (joined.has(node.id)) make(svg, "text", { x: x(node.height) + 9, y: y.get(node.id) - 8, class: `number ${hue(node)}` }, node.colour + 1);
      if (node.id >= tree.n) knob(svg, node, x(node.height), y.get(node.id), joined.has(node.id));
    };
    drawNode(tree.root);
    mark();
  }

  function knob(svg, node, cx, cy, cluster) {
    const said = `cluster of ${node.leaves.length} tokens: ${words(node, names)}; loses ${nats(node.cost)} nats, ${nats(node.height)} so far`;
    const circle = make(svg, "circle", {
      cx, cy, r: cluster ? 5.5 : 4, tabindex: 0, role: "button",
      "aria-expanded": String(!folded.has(node.id)), "aria-label": said, "data-node": node.id, class: `knob ${cluster ? hue(node) : ""}`,
    });
    circle.addEventListener("click", () => fold(node));
    circle.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      fold(node);
    });
    for (const event of ["pointerenter", "focus"]) circle.addEventListener(event, () => describe(node));
    for (const event of ["pointerleave", "blur"]) circle.addEventListener(event, quiet);
  }

  function render() {
    const m = tree.n + 1 - Number(slider.value);
    const owner = cut(tree, m);
    const lost = m === tree.n ? 0 : tree.nodes[2 * tree.n - 1 - m].height;
    const share = tree.total > 0 ? Math.round((100 * lost) / tree.total) : 0;
    role(root, "cut-text").textContent = `${m} of ${tree.n}, ${nats(lost)} nats lost (${share}%)`;
    renderText(owner);
    renderTree(owner, m);
    quiet();
  }

  slider.addEventListener("input", render);
  search.addEventListener("input", seek);
  // only where the width changes: folding changes the height, and drawing again would take the keyboard's focus away
  let drawnWidth = 0;
  new ResizeObserver(() => {
    if (!tree || box.clientWidth === drawnWidth) return;
    drawnWidth = box.clientWidth;
    renderTree(cut(tree, tree.n + 1 - Number(slider.value)), tree.n + 1 - Number(slider.value));
  }).observe(box);
  chooser(root, "trees", (chosen, state) => {
    const before = tree?.n;
    prompt = chosen;
    tree = readTree(chosen.trees[state]);
    names = chosen.recorded.map((position) => chosen.tokens[position]);
    folded.clear();
    slider.max = tree.n;
    // right end: everything in one cluster; start where half of the tokens are still apart
    if (before !== tree.n) slider.value = Math.ceil(tree.n / 2) + 1;
    render();
  });
}

function axis(svg, { x, top, bottom, total, left, right }) {
  make(svg, "line", { x1: left, x2: right, y1: bottom + 4, y2: bottom + 4, class: "axis" });
  const fractions = right - left < 300 ? [0, 0.25, 1] : [0, 0.05, 0.25, 0.5, 1];
  for (const fraction of fractions) {
    const at = x(fraction * total);
    make(svg, "line", { x1: at, x2: at, y1: top, y2: bottom + 8, class: "tick" });
    make(svg, "text", { x: at, y: bottom + 20, class: "ticktext" }, nats(fraction * total));
  }
  make(svg, "text", { x: (left + right) / 2, y: bottom + 40, class: "axistitle" }, right - left < 300 ? "nats per token lost so far (√ scale)" : "information lost so far (nats per token, square-root scale)");
}

for (const root of document.querySelectorAll('[data-view="tree"]')) treeView(root);
