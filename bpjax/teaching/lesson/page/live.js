// The live part: the reader changes a weight or the learning rate, and the arithmetic of the page goes on from there.

const canContinue = runs[0].not_live === null;

// Leave the recording at the shown step, with the weights and the velocity that the run has there.
function startLive() {
  if (state.live || !canContinue) return;
  const step = data.steps[state.index];
  state.live = {training: trainedTo(runs[0], step), errors: [], from: step};
  refreshLive();
}

// Compute all quantities again, after a step or a change by the reader; E of the present step is the last in the curve.
function refreshLive() {
  const live = state.live, whole = liveFrame(live.training);
  live.whole = whole;
  live.frame = {...shownExamples(whole), descent: live.training.descent};
  live.errors[live.training.step - live.from] = whole.error;
}

function continueLive(count) {
  startLive();
  for (let i = 0; i < count; i++) {
    state.live.training = stepped(state.live.training, state.live.whole);
    refreshLive();
  }
  render();
}

function changeDescent(name, text) {
  const value = Number(text), most = name === "momentum" ? 1 : Infinity;
  if (text !== "" && value >= 0 && value <= most && Number.isFinite(value)) {
    startLive();
    state.live.training.descent = {...state.live.training.descent, [name]: value};
    refreshLive();
  }
  render();
}

function changeWeight(text) {
  const part = state.selected, value = Number(text);
  if (part.kind === "edge" && text !== "" && Number.isFinite(value)) {
    startLive();
    const weights = state.live.training.weights.map(w => w.slice());
    weights[part.layer][part.d * layers[part.layer].units + part.h] = value;
    state.live.training = {...state.live.training, weights};
    refreshLive();
  }
  render();
}

function renderLive(frame) {
  element("live-controls").hidden = !canContinue;
  if (!canContinue) {
    element("live-state").textContent = say(runs[0].not_live, {optimizer: runs[0].optimizer, rule: runs[0].rule});
    return;
  }
  const live = state.live, descent = live ? live.training.descent : runs[0].descent, part = state.selected;
  element("live-state").textContent = live
    ? say("live_on", {step: live.training.step, from: live.from, error: number(frame.error)})
    : say("live_off", {step: data.steps[state.index]});
  element("recorded").disabled = !live;
  setValue("rate", descent.learning_rate);
  setValue("momentum", descent.momentum);
  const isWeight = part.kind === "edge";
  element("weight").disabled = !isWeight;
  element("weight-name").replaceChildren(...typeset(isWeight ? weightName(part.layer, part.d, part.h) : words.choose_weight));
  const at = isWeight ? part.d * layers[part.layer].units + part.h : 0;
  setValue("weight", isWeight ? (live ? live.training.weights : frame.layers.map(l => l.w))[part.layer][at] : "");
}

// Write into a field unless the reader is typing in it. What is refused, such as α = 2, is replaced.
function setValue(id, value) {
  if (state.typing !== id) element(id).value = value === "" ? "" : +Number(value).toPrecision(7);
}

function listenLive() {
  for (const button of document.querySelectorAll("[data-steps]"))
    button.addEventListener("click", () => continueLive(Number(button.dataset.steps)));
  element("recorded").addEventListener("click", () => { state.live = null; render(); });
  const changes = {rate: text => changeDescent("learning_rate", text), momentum: text => changeDescent("momentum", text),
                   weight: changeWeight};
  for (const [id, change] of Object.entries(changes)) {
    element(id).addEventListener("input", () => { state.typing = id; });
    element(id).addEventListener("change", event => { state.typing = null; change(event.target.value); });
  }
}
