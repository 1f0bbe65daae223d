// The formulas of a unit or a connection, with the numbers put in. Each line is {phase, text}; "_{…}" is a subscript.

const PHI_TEXT = {
  sigmoid: a => `1 / (1 + e^{${number(-a)}})`,
  tanh: a => `tanh ${number(a)}`,
  relu: a => `max(${number(a)}, 0)`,
  identity: a => number(a),
};
const SLOPE_TEXT = {
  sigmoid: o => `o (1 − o) = ${number(o)} × ${number(1 - o)}`,
  tanh: o => `1 − o² = 1 − ${number(o)}²`,
  relu: o => o > 0 ? "1, as a > 0" : "0, as a ≤ 0",
  identity: () => "1",
};

function formulasOf(run, frame, n, part) {
  if (part.kind === "edge") return edgeLines(run, frame, n, part);
  if (part.column === 0) return [{phase: "present", text: `x_{${unitName(0, part.index)}} = ${number(xOf(n, part.index))}`}];
  const {column, index} = part, isOutput = column === layers.length;
  return [...forwardLines(frame, n, column, index), ...(isOutput ? outputLines(frame, n, index) : []),
          ...deltaLines(run, frame, n, column, index)];
}

function forwardLines(frame, n, column, h) {
  const l = column - 1, layer = layers[l], name = unitName(column, h), H = layer.units;
  const {a, o, w} = frame.layers[l], at = n * H + h;
  const terms = Array.from({length: layer.inputs}, (_, d) => product(inputOf(frame, n, l, d), w[d * H + h]));
  if (layer.bias) terms.push(product(1, w[layer.inputs * H + h]));
  const phi = PHI_TEXT[layer.activation];
  return [
    {phase: "forward", text: `a_{${name}} = Σ x w = ${sumOf(terms)} = ${number(a[at])}`},
    {phase: "forward", text: `o_{${name}} = φ(a_{${name}}) = ${phi ? `${phi(a[at])} = ` : `${layer.name}: `}${number(o[at])}`},
  ];
}

// The input d of layer l for an example: x, or the output of the layer before, or the 1 of the on-neuron.
function inputOf(frame, n, l, d) {
  if (d === layers[l].inputs) return 1;
  return l === 0 ? xOf(n, d) : frame.layers[l - 1].o[n * layers[l].inputs + d];
}

const ERROR_TEXT = {
  squared_error: (o, t) => `½ Σ (t − o)² = ½ × (${sumOf(o.map((v, k) => `(${number(t[k])} − ${number(v)})²`))})`,
  mean_squared_error: (o, t) => `Σ (t − o)² / (${examples.count} × ${o.length}) = `
    + `(${sumOf(o.map((v, k) => `(${number(t[k])} − ${number(v)})²`))}) / ${examples.count * o.length}`,
  softmax_cross_entropy: (o, t) => "−Σ t ln p = "
    + sumOf(softmax(o).flatMap((p, k) => t[k] ? [`−${number(t[k])} × ln ${number(p)}`] : [])),
  binary_cross_entropy: () => "−Σ t ln σ(o) + (1 − t) ln (1 − σ(o))",
};
const ERROR_SLOPE_TEXT = {
  squared_error: (o, t, k) => `o − t = ${number(o[k])} − ${number(t[k])}`,
  mean_squared_error: (o, t, k) => `2 (o − t) / ${examples.count * o.length} = `
    + `2 × (${number(o[k])} − ${number(t[k])}) / ${examples.count * o.length}`,
  softmax_cross_entropy: (o, t, k) => `p − t = ${number(softmax(o)[k])} − ${number(t[k])}`,
  binary_cross_entropy: (o, t, k) => `σ(o) − t = ${number(PHI.sigmoid(o[k]))} − ${number(t[k])}`,
};

function outputLines(frame, n, k) {
  const o = Array.from({length: outputs}, (_, j) => frame.layers.at(-1).o[n * outputs + j]);
  const t = Array.from({length: outputs}, (_, j) => targetOf(n, j));
  const value = loss ? `${ERROR_TEXT[loss](o, t)} = ` : `${data.about.loss}: `;
  const slope = loss ? `${ERROR_SLOPE_TEXT[loss](o, t, k)} = ` : "";
  return [
    {phase: "compare", text: `E_{${n + 1}} = ${value}${number(frame.errors[n])}`},
    {phase: "compare", text: `∂E/∂o_{${unitName(layers.length, k)}} = ${slope}${number(frame.outputGradient[n * outputs + k])}`},
  ];
}

// φ′(a) and δ = ∂E/∂a: from ∂E/∂o for outputs, from the error signals of the next layer for hidden units.
function deltaLines(run, frame, n, column, h) {
  const l = column - 1, layer = layers[l], name = unitName(column, h), {delta, o} = frame.layers[l];
  const at = n * layer.units + h;
  if (!delta) return [{phase: "back", text: say("no_signals", {rule: run.rule})}];
  const isOutput = column === layers.length;
  if (!layer.elementwise || !(isOutput || run.back))
    return [{phase: "back", text: `δ_{${name}} = ${number(delta[at])} ${say(layer.elementwise ? "own_way" : "mixed")}`}];
  const slope = slopeOf(frame, l, at), slopeText = SLOPE_TEXT[layer.activation];
  return [
    {phase: "back", text: `φ′(a_{${name}}) = ${slopeText ? `${slopeText(o[at])} = ` : ""}${number(slope)}`},
    {phase: "back", text: isOutput
      ? `δ_{${name}} = φ′(a_{${name}}) × ∂E/∂o_{${name}} = ${product(slope, frame.outputGradient[at])} = ${number(delta[at])}`
      : `δ_{${name}} = φ′(a_{${name}}) Σ ${run.back === "feedback" ? "b" : "w"} δ = ${number(slope)} × `
        + `(${sumOf(backTerms(run, frame, n, column, h))}) = ${number(delta[at])}`},
  ];
}

function backTerms(run, frame, n, column, h) {
  const H = layers[column].units, next = frame.layers[column];
  const weights = run.back === "feedback" ? next.feedback : next.w;
  return Array.from({length: H}, (_, k) => product(weights[h * H + k], next.delta[n * H + k]));
}

function edgeLines(run, frame, n, {layer: l, d, h}) {
  const H = layers[l].units, at = d * H + h, {w, gradient, change, delta, feedback} = frame.layers[l];
  const name = weightName(l, d, h), subscript = name.slice(1);
  const terms = delta ? examples.shown.map((_, m) => product(inputOf(frame, m, l, d), delta[m * H + h])) : [];
  const all = delta && examples.shown.length === examples.count ? ` = ${sumOf(terms)}` : "";
  const lines = [{phase: "forward", text: `${name} = ${number(w[at])}`}];
  if (run.back === "feedback" && l > 0 && d < layers[l].inputs)
    lines.push({phase: "back", text: `b${subscript} = ${number(feedback[at])} ${say("feedback_weight")}`});
  if (delta) lines.push({phase: "back", text: `x δ = ${terms[n]} = `
    + `${number(inputOf(frame, n, l, d) * delta[n * H + h])} ${say("this_example")}`});
  const direction = run.exact ? `∂E/∂${name}` : `g${subscript}`;
  lines.push({phase: "change", text: `${direction} = ${delta ? `Σ x δ${all} = ` : ""}${number(gradient[at])}`});
  lines.push({phase: "change", text: changeText(run, frame, l, at, subscript)});
  lines.push({phase: "change", text: `w + Δw = ${number(w[at])} + ${number(change[at])} = ${number(w[at] + change[at])}`});
  return lines;
}

// Δw, with the momentum term put in where the page knows the optimizer. What the last change left, v, follows from Δw.
function changeText(run, frame, l, at, subscript) {
  const {gradient, change} = frame.layers[l], descent = frame.descent ?? run.descent, g = gradient[at];
  const start = `Δw${subscript} = `, end = number(change[at]);
  if (!descent) return `${start}${end} ${say("by_optimizer", {optimizer: run.optimizer})}`;
  const {learning_rate: rate, momentum: alpha, form} = descent, factor = form === "convex" ? (1 - alpha) * rate : rate;
  if (alpha === 0) return `${start}−η g = −${product(factor, g)} = ${end}`;
  const left = (change[at] + factor * g) / alpha, v = Math.abs(left) < 1e-6 * Math.abs(change[at]) ? 0 : left;
  const symbol = form === "nesterov" ? "v" : `Δw_{${say("before")}}`, eta = form === "convex" ? "(1 − α) η" : "η";
  return `${start}α ${symbol} − ${eta} g = ${product(alpha, v)} − ${product(factor, g)} = ${end}`;
}

// A text with subscripts and superscripts as nodes: "a_{h1}", "e^{−2}".
function typeset(text) {
  return text.split(/([_^]\{[^}]*\})/).map(piece => {
    if (!/^[_^]\{/.test(piece)) return document.createTextNode(piece);
    const element = document.createElement(piece[0] === "_" ? "sub" : "sup");
    element.textContent = piece.slice(2, -1);
    return element;
  });
}
