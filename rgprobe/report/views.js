// What the two token views share: which model, prompt and layer is chosen, and small helpers.
const role = (root, name) => root.querySelector(`[data-role="${name}"]`);
const label = (text, longest = 16) => {
  const shown = text.trimStart();
  return shown.length > longest ? shown.slice(0, longest - 1) + "…" : shown;
};
const nats = (value) => (value === 0 ? "0" : Number(value.toPrecision(3)).toString());

function make(parent, name, attributes = {}, text = null) {
  const namespace = parent.namespaceURI.endsWith("svg") || name === "svg" ? "http://www.w3.org/2000/svg" : null;
  const element = namespace ? document.createElementNS(namespace, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== null) element.textContent = text;
  parent.append(element);
  return element;
}

// Fills the selects and calls render(prompt, state) whenever a choice changes; `field` is what the view needs of a prompt.
function chooser(root, field, render) {
  const [source, prompt, state] = ["source", "prompt", "state"].map((name) => role(root, name));
  role(root, "source-label").hidden = data.sources.length < 2;
  data.sources.forEach((each, index) => make(source, "option", { value: index }, each.name));
  const chosen = () => data.sources[source.value].prompts[prompt.value];
  const refresh = () => {
    const last = Number(state.max);
    const end = state.value === "0" ? ", input end" : Number(state.value) === last ? ", output end" : "";
    role(root, "state-text").textContent = `${state.value} of ${last}${end}`;
    render(chosen(), Number(state.value));
  };
  const pickPrompt = () => {
    const states = chosen()?.[field]?.length ?? 0;
    const fresh = state.max === "0";
    state.max = Math.max(0, states - 1);
    if (fresh) state.value = Math.floor((2 * (states - 1)) / 3);
    if (states) refresh();
  };
  const pickSource = () => {
    const { prompts, n_prompts: all } = data.sources[source.value];
    prompt.replaceChildren();
    prompts.forEach((each, index) => make(prompt, "option", { value: index }, `${index + 1}. ${each.title}`));
    role(root, "shown").textContent =
      prompts.length < all ? `To keep this file small it holds the first ${prompts.length} of ${all} prompts; the result file holds all.` : "";
    pickPrompt();
  };
  source.addEventListener("change", pickSource);
  prompt.addEventListener("change", pickPrompt);
  state.addEventListener("input", refresh);
  pickSource();
}
