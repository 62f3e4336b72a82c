// Data, theme, and the figures: each is drawn when it comes near the screen, and those that paper shows before printing.
const data = JSON.parse(document.getElementById("rgprobe-data").textContent);
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const drawings = new Map(); // element -> function that returns {data, layout}
const visible = new Set();
let printing = false;

function draw(element) {
  const { data: traces, layout } = drawings.get(element)();
  const template = data.templates[dark.matches && !printing ? "dark" : "light"];
  const config = { responsive: true, displaylogo: false, modeBarButtons: [["toImage"]] };
  if (!printing && element.clientWidth < 480) narrow(traces, layout);
  const size = printing ? onPaper(element, layout) : { autosize: true };
  return window.Plotly.react(element, traces, { ...layout, template, ...size }, config);
}

// Widths that fit on A4 and on letter: anything wider would shrink the whole page.
function onPaper(element, layout) {
  const wide = element.matches(".wide *, .view *");
  const height = wide ? layout.height : Math.min(layout.height, 270);
  for (const each of layout.annotations ?? []) each.font = { ...each.font, size: 8 };
  return { width: wide ? 680 : 330, height, autosize: false, font: { size: wide ? 10 : 9 }, margin: { l: 48, r: 24, t: 30, b: 40 } };
}

// On a phone: colour bar above the map, labels of the ends where maps do not meet, no numbers in cells too small for them.
function narrow(traces, layout) {
  layout.margin = { l: 48, r: 34, t: 36, b: 48 };
  const bar = layout.coloraxis?.colorbar;
  if (!bar) {
    layout.height += 40;
    return;
  }
  const title = { ...bar.title, text: bar.title.text.replace("<br>", " "), side: "top" };
  Object.assign(bar, { orientation: "h", x: 0.5, xanchor: "center", y: layout.annotations?.length ? 1.14 : 1.02, yanchor: "bottom", thickness: 10, title });
  const axes = Object.keys(layout).filter((key) => key.startsWith("xaxis") && layout[key].ticktext);
  axes.forEach((key, k) => {
    const dropped = [k > 0 ? "input end" : null, k < axes.length - 1 ? "output end" : null];
    const ticktext = layout[key].ticktext.map((text) => dropped.includes(text.split("<br>")[1]) ? text.split("<br>")[0] : text);
    layout[key] = { ...layout[key], ticktext };
  });
  layout.height += 70;
  if (layout.annotations?.length > 2) {
    layout.height *= 0.62;
    Object.assign(layout.margin, { l: 6, r: 6, t: 60, b: 6 });
    for (const each of layout.annotations) Object.assign(each, { text: each.text.replace(": ", "<br>").replace(/ of \d+ tokens/, ""), font: { size: 10 } });
  }
  const columns = traces.reduce((sum, trace) => sum + (trace.type === "heatmap" ? trace.x?.length ?? 99 : 0), 0);
  for (const trace of traces) if (columns > 6) delete trace.texttemplate;
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
// Paper shows the summary and one figure of each diagnostic, with whatever the reader has unfolded; or, if asked, everything.
const unfolded = new Set(); // by the printer, to be folded again
window.addEventListener("beforeprint", () => {
  printing = true;
  const whole = document.getElementById("print-all").checked;
  document.body.classList.toggle("brief", !whole);
  for (const part of document.querySelectorAll(whole ? "details:not([open])" : "never")) {
    part.open = true;
    unfolded.add(part);
  }
  for (const element of drawings.keys()) if (whole || element.matches(".grid:not(.pair) > .lead *, .wide.lead *, .view *, details[open] *")) visible.add(element);
  redraw();
});
window.addEventListener("afterprint", () => {
  printing = false;
  document.body.classList.remove("brief");
  for (const part of unfolded) part.open = false;
  unfolded.clear();
  redraw();
});

for (const element of document.querySelectorAll("[data-figure]")) {
  show(element, () => structuredClone(data.figures[element.dataset.figure]));
}
