// Data, theme, and the figures: each is drawn when it comes near the screen, and all of them before printing.
const data = JSON.parse(document.getElementById("rgprobe-data").textContent);
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const drawings = new Map(); // element -> function that returns {data, layout}
const visible = new Set();
let printing = false;

function draw(element) {
  const { data: traces, layout } = drawings.get(element)();
  const template = data.templates[dark.matches && !printing ? "dark" : "light"];
  const narrow = element.clientWidth < 480;
  const margin = narrow ? { l: 48, r: 8, t: 36, b: 48 } : undefined;
  const config = { responsive: true, displaylogo: false, modeBarButtons: [["toImage"]] };
  return window.Plotly.react(element, traces, { ...layout, template, margin, autosize: true }, config);
}

function show(element, make) {
  drawings.set(element, make);
  if (visible.has(element)) draw(element);
  else watcher.observe(element);
}

const watcher = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting || visible.has(target)) continue;
      visible.add(target);
      watcher.unobserve(target);
      draw(target);
    }
  },
  { rootMargin: "900px" },
);

function redraw() {
  for (const element of visible) draw(element);
}

dark.addEventListener("change", redraw);
window.addEventListener("beforeprint", () => {
  printing = true;
  for (const element of drawings.keys()) visible.add(element);
  for (const part of document.querySelectorAll("details")) part.open = true;
  redraw();
});
window.addEventListener("afterprint", () => {
  printing = false;
  redraw();
});

for (const element of document.querySelectorAll("[data-figure]")) {
  show(element, () => structuredClone(data.figures[element.dataset.figure]));
}
