// The error curve, and the output over the plane of two inputs.

const CURVE = {width: 420, height: 200, left: 52, right: 10, top: 12, bottom: 34};
const MOST_POINTS = 600;

// The scale of the error: logarithmic where it falls by more than a factor of 50.
function errorScale(values) {
  const finite = values.filter(Number.isFinite), high = Math.max(...finite, 1e-12), low = Math.min(...finite, high);
  const log = low > 0 && high / low > 50, {height, top, bottom} = CURVE;
  const share = log ? v => Math.log(v / low) / Math.log(high / low) : v => v / high;
  const ticks = log ? powersOfTen(low, high) : [0, high / 2, high];
  return {y: v => top + (1 - share(v)) * (height - top - bottom), ticks, log};
}

function powersOfTen(low, high) {
  const first = Math.ceil(Math.log10(low)), last = Math.floor(Math.log10(high));
  const every = Math.ceil((last - first + 1) / 5);
  return Array.from({length: Math.max(0, last - first + 1)}, (_, i) => first + i)
    .filter((_, i) => i % every === 0).map(power => 10 ** power);
}

// Draw the error of every run over the steps, and of the live continuation; `curves` are {error, from, kind}.
function drawCurves(svg, curves, step) {
  const {width, height, left, right, top, bottom} = CURVE;
  const last = Math.max(...curves.map(curve => curve.from + curve.error.length - 1), 1);
  const thinned = curves.map(curve => ({...curve, points: thin(curve)}));
  const {y, ticks, log} = errorScale(thinned.flatMap(curve => curve.points.map(([, value]) => value)));
  const x = at => left + at / last * (width - left - right);
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  for (const tick of ticks) {
    draw(svg, "line", {x1: left, x2: width - right, y1: y(tick), y2: y(tick), class: "grid"});
    draw(svg, "text", {x: left - 6, y: y(tick) + 4, class: "tick end"}, number(tick, 2));
  }
  for (const at of [0, Math.round(last / 2), last]) 
    draw(svg, "text", {x: x(at), y: height - bottom + 16, class: `tick ${at === last ? "end" : ""}`}, at);
  draw(svg, "text", {x: left, y: height - 3, class: "tick start"}, log ? say("error_axis_log") : say("error_axis"));
  for (const {points, kind} of thinned) {
    const finite = points.filter(([, value]) => Number.isFinite(value) && (!log || value > 0));
    draw(svg, "polyline", {points: finite.map(([at, value]) => `${x(at)},${y(value)}`).join(" "), class: `curve ${kind}`});
  }
  draw(svg, "line", {x1: x(step), x2: x(step), y1: top - 4, y2: height - bottom, class: "now"});
  return place => Math.round(Math.min(1, Math.max(0, (place * width - left) / (width - left - right))) * last);
}

// [step, error] of a curve, every so many steps.
function thin({error, from}) {
  const every = Math.ceil(error.length / MOST_POINTS);
  return Array.from(error, (value, i) => [from + i, value]).filter((_, i) => i % every === 0 || i === error.length - 1);
}

const CELLS = 48;
const canDrawSurface = inputs === 2 && layers.every(layer => layer.activation) && loss !== null;

// The output of unit k as the loss compares it: a probability where the loss takes logits.
function comparedOutput(o, k) {
  if (loss === "softmax_cross_entropy") return softmax(o)[k];
  return loss === "binary_cross_entropy" ? PHI.sigmoid(o[k]) : o[k];
}

// Paint the output of unit k at every point of the plane of the two inputs, with the examples on top.
function drawSurface(canvas, frame, k, n) {
  const context = canvas.getContext("2d"), size = canvas.width, cell = size / CELLS;
  const ranges = [0, 1].map(i => rangeOf(Array.from({length: examples.count}, (_, m) => examples.x[m * 2 + i])));
  const points = new Float64Array(CELLS * CELLS * 2).map((_, i) => {
    const at = Math.floor(i / 2), [low, high] = ranges[i % 2];
    const share = i % 2 === 0 ? (at % CELLS + 0.5) / CELLS : 1 - (Math.floor(at / CELLS) + 0.5) / CELLS;
    return low + share * (high - low);
  });
  const o = forward(layers, frame.layers.map(layer => layer.w), points, CELLS * CELLS).at(-1).o;
  const targets = Array.from({length: examples.count}, (_, m) => examples.target[m * outputs + k]);
  const [low, high] = [Math.min(...targets), Math.max(...targets)];
  for (let at = 0; at < CELLS * CELLS; at++) {
    const value = comparedOutput(Array.from(o.subarray(at * outputs, (at + 1) * outputs)), k);
    context.fillStyle = surfaceColour((value - low) / (high - low || 1));
    context.fillRect(at % CELLS * cell, Math.floor(at / CELLS) * cell, cell + 1, cell + 1);
  }
  for (let m = 0; m < examples.count; m++) {
    const [px, py] = [0, 1].map(i => (examples.x[m * 2 + i] - ranges[i][0]) / (ranges[i][1] - ranges[i][0]) * size);
    drawExample(context, px, size - py, (targets[m] - low) / (high - low || 1), m === examples.shown[n], size / 30);
  }
}

function rangeOf(values) {
  const low = Math.min(...values), high = Math.max(...values), margin = 0.3 * (high - low || 1);
  return [low - margin, high + margin];
}

// Blue for the low target, white in the middle, orange for the high target.
function surfaceColour(share) {
  const strength = Math.min(1, Math.abs(2 * share - 1)), end = share < 0.5 ? [0, 114, 178] : [213, 94, 0];
  return `rgb(${end.map(channel => Math.round(255 + strength * (channel - 255))).join(",")})`;
}

// A circle for a low target, a square for a high one; the chosen example with a thick border.
function drawExample(context, x, y, share, chosen, radius) {
  context.beginPath();
  if (share < 0.5) context.arc(x, y, radius, 0, 7);
  else context.rect(x - radius, y - radius, 2 * radius, 2 * radius);
  context.fillStyle = surfaceColour(share);
  context.fill();
  context.lineWidth = chosen ? 4 : 1.5;
  context.strokeStyle = "#111";
  context.stroke();
}
