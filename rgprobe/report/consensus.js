// Jeffreys matrices of one prompt, layer by layer, on one colour scale.
const forPlotly = (text) => label(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll("$", "&#36;");

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
    const top = prompt.jeffreys.flat().reduce((most, value) => Math.max(most, value ?? 0), 0);
    const ticks = { tickvals: names.map((_, k) => k), ticktext: names, showgrid: false, tickfont: { size: 10 }, constrain: "domain" };
    show(target, () => {
      const narrow = target.clientWidth < 480;
      const bar = { title: { text: "Jeffreys (nats)", side: narrow ? "top" : "right" }, ...(narrow ? { orientation: "h", y: 1.02, yanchor: "bottom" } : {}) };
      return {
        data: [{
          type: "heatmap", z: square(prompt.jeffreys[state], n), coloraxis: "coloraxis", xgap: 0.5, ygap: 0.5,
          customdata: names.map((row) => names.map((column) => `${row} / ${column}`)),
          hovertemplate: "%{customdata}<br>%{z:.4g} nats<extra></extra>",
        }],
        layout: {
          height: Math.min(720, Math.max(340, narrow ? target.clientWidth + 90 : 160 + 17 * n)),
          xaxis: { ...ticks, title: { text: "token" }, tickangle: -60 },
          yaxis: { ...ticks, title: { text: "token" }, autorange: "reversed", scaleanchor: "x" },
          coloraxis: { colorscale: "Cividis", cmin: 0, cmax: top, colorbar: bar },
        },
      };
    });
  });
}

for (const root of document.querySelectorAll('[data-view="consensus"]')) consensusView(root);
