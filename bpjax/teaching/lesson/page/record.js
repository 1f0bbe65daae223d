// The recorded run: numbers from the page's data, as frames in the form that arithmetic.js makes.

const data = JSON.parse(document.getElementById("data").textContent);
const unpackIfThere = packed => packed && unpack(packed);

const words = data.words, layers = data.layers, loss = data.loss;
const examples = {count: data.examples.count, shown: data.examples.shown,
                  x: unpack(data.examples.x), target: unpack(data.examples.target)};
const inputs = layers[0].inputs, outputs = layers.at(-1).units;
const xOf = (n, i) => examples.x[examples.shown[n] * inputs + i];
const targetOf = (n, k) => examples.target[examples.shown[n] * outputs + k];
const shownX = Float64Array.from({length: examples.shown.length * inputs}, (_, i) =>
  xOf(Math.floor(i / inputs), i % inputs));

// A sentence from the table of words, with {name} replaced.
const say = (key, values = {}) => words[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);

const runs = data.runs.map(run => ({
  ...run,
  error: unpack(run.error), errors: unpack(run.errors),
  outputGradient: unpack(run.output_gradient),
  start: run.start.map(unpack),
  layers: run.layers.map(layer => Object.fromEntries(
    Object.entries(layer).map(([name, packed]) => [name, unpackIfThere(packed)]))),
}));

// The rows of an array of a whole run that belong to one shown step.
function rowsAt(array, index) {
  if (array === null) return null;
  const size = array.length / data.steps.length;
  return array.subarray(index * size, (index + 1) * size);
}

// All quantities of a run at the shown step with this index.
function recordedFrame(run, index) {
  return {
    step: data.steps[index], error: run.error[data.steps[index]], errors: rowsAt(run.errors, index),
    outputGradient: rowsAt(run.outputGradient, index),
    layers: run.layers.map(layer => ({
      a: rowsAt(layer.a, index), o: rowsAt(layer.o, index), delta: run.signals ? rowsAt(layer.delta, index) : null,
      slope: rowsAt(layer.slope, index), state: rowsAt(layer.state, index), w: rowsAt(layer.w, index), gradient: rowsAt(layer.gradient, index),
      change: rowsAt(layer.change, index), feedback: rowsAt(layer.feedback, index),
    })),
  };
}

// A training by the arithmetic of the page, from the first weights to a step.
function trainedTo(run, step) {
  let state = training(run.start, run.descent);
  while (state.step < step) state = stepped(state, liveFrame(state));
  return state;
}
const liveFrame = state => frameOf(state, layers, loss, examples.x, examples.target, examples.count);

// Repeat the run and return the largest difference of any number from the recorded one, relative to numbers above 1.
function largestDifference(run) {
  let state = training(run.start, run.descent), largest = 0;
  const last = run.not_finite_from === null ? data.steps.at(-1) : run.not_finite_from - 1;
  const compare = (ours, theirs) => theirs.forEach((value, i) => {
    if (Number.isFinite(value)) largest = Math.max(largest, Math.abs(ours[i] - value) / Math.max(1, Math.abs(value)));
  });
  for (const [index, step] of data.steps.entries()) {
    if (step > last) break;
    while (state.step < step) state = stepped(state, liveFrame(state));
    const ours = shownExamples(liveFrame(state)), theirs = recordedFrame(run, index);
    compare([ours.error], [theirs.error]);
    compare(ours.errors, theirs.errors);
    compare(ours.outputGradient, theirs.outputGradient);
    for (const [l, layer] of ours.layers.entries())
      for (const name of ["a", "o", "delta", "w", "gradient", "change"]) compare(layer[name], theirs.layers[l][name]);
  }
  return largest;
}

// A frame of all examples, restricted to the shown ones.
function shownExamples(frame) {
  const rows = array => {
    const size = array.length / examples.count;
    return Float64Array.from({length: size * examples.shown.length}, (_, i) =>
      array[examples.shown[Math.floor(i / size)] * size + i % size]);
  };
  if (examples.shown.length === examples.count) return frame;
  return {...frame, errors: rows(frame.errors), outputGradient: rows(frame.outputGradient),
          layers: frame.layers.map(layer => ({...layer, a: rows(layer.a), o: rows(layer.o), delta: rows(layer.delta)}))};
}
