// Jeffreys matrices of one prompt, layer by layer, on one colour scale.
const forPlotly = (text) => label(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll("$", "&#36;");

// Colour limits common to all layers: the smallest and the largest divergence between two tokens, cut at six decades.
function limits(values) {
  const high = values.reduce((most, value) => Math.max(most, value ?? 0), 0) || 1;
  const low = values.reduce((least, value) => (value > 0 ? Math.min(least, value) : least), high / 10);
  return [Math.max(low, high * 1e-6), high];
}

function ticksBetween(low, high) {
  const decades = Math.ceil(Math.log10(high)) - Math.floor(Math.log10(low));
  const values = [];
  for (let decade = Math.floor(Math.log10(low)); decade <= Math.log10(high); decade++) {
    for (const digit of decades > 3 ? [1] : [1, 2, 5]) values.push(digit * 10 ** decade);
  }
  const kept = values.filter((value) => value >= low && value <= high);
  return { tickvals: kept.map(Math.log10), ticktext: kept.map(nats) };
}

function square(triangle, n) {
  const rows = Array.from({ length: n }, () => new Array(n).fill(0));
  let next = 0;
  for (let i = 0; i < n; i++) for (let j = i + 1; j < n; j++) rows[i][j] = rows[j][i] = triangle[next++];
  return rows;
}

function consensusView(root) {
  const target = role(root, "matrix");
  chooser(root, "jeffreys", (prompt, state) => {
    const names = prompt.recorded.map((position) => forPlotly(prompt.tokens[position]));
    const n = names.length;
    const [low, high] = limits(prompt.jeffreys.flat());
    const matrix = square(prompt.jeffreys[state], n);
    const ticks = { tickvals: names.map((_, k) => k), ticktext: names, showgrid: false, tickfont: { size: target.clientWidth < 480 ? 8 : 10 } };
    show(target, () => {
      const small = target.clientWidth < 480;
      const bar = { title: { text: "Jeffreys (nats)", side: "right" }, ...ticksBetween(low, high) };
      return {
        data: [{
          type: "heatmap", z: matrix.map((row) => row.map((value) => (value === null ? null : Math.log10(Math.max(value, low))))), coloraxis: "coloraxis", xgap: 0.5, ygap: 0.5,
          customdata: names.map((row, i) => names.map((column, j) => `${row} / ${column}<br>${nats(matrix[i][j] ?? NaN)} nats`)),
          hovertemplate: "%{customdata}<extra></extra>",
        }],
        layout: {
          height: small ? target.clientWidth + 60 : Math.min(760, Math.max(340, 150 + 19 * n)),
          xaxis: { ...ticks, title: { text: "token" }, tickangle: -60 },
          yaxis: { ...ticks, title: { text: "token" }, autorange: "reversed" },
          coloraxis: { colorscale: "Cividis", cmin: Math.log10(low), cmax: Math.log10(high), colorbar: bar },
        },
      };
    });
  });
}

for (const root of document.querySelectorAll('[data-view="consensus"]')) consensusView(root);
