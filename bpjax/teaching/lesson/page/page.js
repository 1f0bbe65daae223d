// The page: what is shown, and how the reader changes it.

const state = {index: 0, phase: "forward", n: 0, selected: {kind: "unit", column: 1, index: 0}, pointed: null, live: null,
               typing: null};

function make(parent, tag, properties = {}) {
  const made = Object.assign(document.createElement(tag), properties);
  parent.append(made);
  return made;
}

// One panel for each run: the drawing of the network, and the surface of its output.
const panels = runs.map((run, r) => {
  const figure = make(element("networks"), "figure", {className: `run run${r}`});
  const caption = make(figure, "figcaption", {textContent: runs.length > 1 ? run.name : `${run.rule}, ${run.optimizer}`});
  const svg = draw(figure, "svg", {class: "network", tabindex: 0, role: "application",
                                   "aria-label": `${caption.textContent}. ${words.network_help}`});
  const panel = {run, svg, drawing: networkDrawing(svg, run), state: make(figure, "p")};
  if (canDrawSurface) {
    const surface = make(element("surfaces"), "figure");
    panel.surfaceName = make(surface, "figcaption");
    panel.canvas = make(surface, "canvas", {width: 288, height: 288});
    panel.canvas.setAttribute("role", "img");
  }
  return panel;
});

const frameOfPanel = r => r === 0 && state.live ? state.live.frame : recordedFrame(runs[r], state.index);

function render() {
  const frames = runs.map((_, r) => frameOfPanel(r)), part = state.pointed ?? state.selected;
  for (const [r, panel] of panels.entries()) {
    panel.drawing.update(frames[r], state.phase, state.n, part);
    panel.state.textContent = say("state", {error: number(frames[r].error), example: state.n + 1,
                                            part: number(frames[r].errors[state.n])});
    if (panel.canvas) renderSurface(panel, frames[r]);
  }
  renderFormulas(frames, part);
  renderControls();
  renderCurves(frames);
  renderLive(frames[0]);
  if (element("numbers").open) fillTables(element("tables"), frames, state.n);
}

function renderSurface(panel, frame) {
  const part = state.selected, k = part.kind === "unit" && part.column === layers.length ? part.index : 0;
  drawSurface(panel.canvas, frame, k, state.n);
  const name = unitName(layers.length, k);
  element("surface-name").textContent = say("surface", {unit: name});
  panel.surfaceName.textContent = runs.length > 1 ? panel.run.name : "";
  const outputsThere = examples.shown.map((_, n) => {
    const o = Array.from(frame.layers.at(-1).o.subarray(n * outputs, (n + 1) * outputs));
    return `${number(xOf(n, 0))}, ${number(xOf(n, 1))}: ${number(comparedOutput(o, k))}`;
  });
  panel.canvas.setAttribute("aria-label", `${panel.run.name}. ${say("surface", {unit: name})} ${outputsThere.join("; ")}`);
}

function partName(part) {
  if (part.kind === "edge") return `${words.connection} ${sourceName(part.layer, part.d)} → ${unitName(part.layer + 1, part.h)}`;
  const kind = part.column === 0 ? words.input : part.column === layers.length ? words.output_unit : words.hidden_unit;
  return `${kind} ${unitName(part.column, part.index)}`;
}

function renderFormulas(frames, part) {
  const pieces = runs.map((run, r) => {
    const piece = document.createElement("div");
    make(piece, "h2", {textContent: partName(part) + ofRun(run)});
    const list = make(piece, "ol");
    const condition = part.kind === "unit" && part.column > 0
      ? conditionOf(frames[r], part.column - 1, part.index, state.n) : null;
    const lines = formulasOf(run, frames[r], state.n, part);
    for (const {phase, text} of lines) {
      const line = make(list, "li", {className: phase === state.phase ? "current" : ""});
      line.append(...typeset(text));
    }
    if (condition) make(list, "li", {className: "condition", textContent: words[`${condition}_text`]});
    return piece;
  });
  element("formulas").replaceChildren(...pieces);
}

function renderControls() {
  const phase = PHASES.indexOf(state.phase), step = data.steps[state.index], last = data.steps.at(-1);
  element("phase").value = phase;
  element("phase-value").textContent = say("phase_of", {number: phase + 1, name: words[state.phase]});
  element("phase").setAttribute("aria-valuetext", element("phase-value").textContent);
  element("example").value = state.n;
  element("step").value = state.index;
  element("step-value").textContent = say("step_of", {step, last});
  element("step").setAttribute("aria-valuetext",
    `${say("step_of", {step, last})}, E ${number(runs[0].error[step])}`);
  element("explanation").textContent = words[`${state.phase}_text`];
  element("printed").textContent = `${words.phase} ${element("phase-value").textContent}. `
    + `${words.step} ${element("step-value").textContent}. ${words.example} ${element("example").selectedOptions[0].text}`;
}

let stepAt;
function renderCurves(frames) {
  const curves = runs.map((run, r) => ({error: run.error, from: 0, kind: `run${r}`}));
  if (state.live) curves.push({error: state.live.errors, from: state.live.from, kind: "live"});
  const step = state.live ? state.live.training.step : data.steps[state.index];
  stepAt = drawCurves(element("curve"), curves, step);
  element("curve").setAttribute("aria-label", runs.map((run, r) =>
    say("curve_label", {name: run.name, first: number(run.error[0]), last: number(run.error.at(-1)),
                        now: number(frames[r].error)})).join(" "));
}

function showStep(step) {
  state.live = null;
  state.index = data.steps.findLastIndex(shown => shown <= step);
  render();
}

// Select a unit or connection, and read its formulas out.
function select(part) {
  state.selected = part;
  render();
  element("spoken").textContent = element("formulas").innerText.replaceAll("\n", ". ");
}

// The part that an arrow key leads to: left and right between columns, up and down within one.
function neighbour(part, key) {
  const column = columns.findIndex(parts => parts.some(other => keyOf(other) === keyOf(part)));
  const index = columns[column].findIndex(other => keyOf(other) === keyOf(part));
  if (key === "ArrowUp" || key === "ArrowDown") return columns[column][index + (key === "ArrowUp" ? -1 : 1)] ?? part;
  const side = key === "ArrowRight" ? 1 : -1, next = columns[column + side];
  if (!next) return part;
  if (part.kind === "edge")
    return side > 0 ? next[part.h] : next[Math.min(part.d, next.length - 1)];
  return next.find(edge => side > 0 ? edge.d === part.index : edge.h === part.index);
}

let playing = null;
function togglePlay() {
  if (playing === null) playing = setInterval(advance, 900);
  else { clearInterval(playing); playing = null; }
  element("play").setAttribute("aria-pressed", String(playing !== null));
  element("play").textContent = playing === null ? words.play : words.pause;
}

function advance() {
  const next = PHASES.indexOf(state.phase) + 1;
  if (next < PHASES.length) { state.phase = PHASES[next]; render(); return; }
  if (state.live) { state.phase = "present"; continueLive(1); return; }
  if (state.index === data.steps.length - 1) { togglePlay(); return; }
  state.phase = "present";
  showStep(data.steps[state.index + 1]);
}

function listen() {
  element("phase").addEventListener("input", event => { state.phase = PHASES[event.target.value]; render(); });
  element("step").addEventListener("input", event => showStep(data.steps[event.target.value]));
  element("example").addEventListener("change", event => { state.n = Number(event.target.value); render(); });
  element("digits").addEventListener("change", event => { digits = Number(event.target.value); render(); });
  element("play").addEventListener("click", togglePlay);
  element("controls").addEventListener("submit", event => event.preventDefault());
  element("numbers").addEventListener("toggle", render);
  element("curve").addEventListener("click", event => {
    const box = element("curve").getBoundingClientRect();
    showStep(stepAt((event.clientX - box.left) / box.width));
  });
  for (const {svg} of panels) {
    const partAt = event => partOf.get(event.target.closest("[data-key]")?.dataset.key) ?? null;
    svg.addEventListener("pointerover", event => { state.pointed = partAt(event); render(); });
    svg.addEventListener("pointerleave", () => { state.pointed = null; render(); });
    svg.addEventListener("click", event => { const part = partAt(event); if (part) select(part); });
    svg.addEventListener("keydown", event => {
      if (!event.key.startsWith("Arrow")) return;
      event.preventDefault();
      state.pointed = null;
      select(neighbour(state.selected, event.key));
    });
  }
  listenLive();
  addEventListener("beforeprint", () => { element("numbers").open = true; render(); });
}

function describe() {
  document.body.classList.toggle("pair", runs.length > 1);
  element("surface").hidden = !canDrawSurface;
  element("about").textContent = say("about", data.about) + (data.about.all_shown ? "" : ` ${say("thinned", data.about)}`);
  const broken = runs.filter(run => run.not_finite_from !== null);
  element("warning").hidden = broken.length === 0;
  element("warning").textContent = broken.map(run =>
    say("not_finite", {name: run.name, step: run.not_finite_from})).join(" ");
  element("step").max = data.steps.length - 1;
  for (const [n] of examples.shown.entries()) {
    const x = Array.from({length: inputs}, (_, i) => number(xOf(n, i), 2)).join(" ");
    const t = Array.from({length: outputs}, (_, k) => number(targetOf(n, k), 2)).join(" ");
    const short = text => text.length > 24 ? `${text.slice(0, 23)}…` : text;
    make(element("example"), "option", {value: n, textContent: `${examples.shown[n] + 1}: ${short(x)} → ${short(t)}`});
  }
  for (const [r, run] of runs.entries())
    if (runs.length > 1) make(element("legend"), "span", {className: `name run${r}`, textContent: run.name});
}

describe();
listen();
new ResizeObserver(() => { for (const {drawing} of panels) drawing.build(); render(); }).observe(element("networks"));
for (const {drawing} of panels) drawing.build();
render();
if (canContinue) setTimeout(() => {
  element("difference").textContent = say("difference", {difference: number(largestDifference(runs[0]), 2)});
  document.body.dataset.repeated = "yes";
});
document.body.dataset.ready = "yes";
