// Names of units and numbers as text.

let digits = 3;

const SUPERSCRIPTS = {"-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹"};

// A number with a few digits: 0.235, −0.113, 1.2·10⁻⁵.
function number(value, precision = digits) {
  if (value === null || value === undefined || Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e-3 && size < 1e5) return signed(String(+value.toPrecision(precision)));
  const [mantissa, exponent] = value.toExponential(precision - 1).split("e");
  return signed(`${+mantissa}·10`) + [...String(+exponent)].map(character => SUPERSCRIPTS[character]).join("");
}
// A number for a small place: fewer digits where it is small, one where it needs a power of ten.
function shortNumber(value, precision) {
  const size = Math.abs(value);
  return number(value, size < 1e-3 || size >= 1e5 ? 1 : size < 1e-2 ? precision - 1 : precision);
}
const signed = text => text.replace("-", "−");

// "a + b − c + … ": terms joined, long sums cut.
const MOST_TERMS = 8;
function sumOf(terms) {
  const shown = terms.length > MOST_TERMS ? [...terms.slice(0, MOST_TERMS - 1), "…"] : terms;
  return shown.join(" + ");
}
const product = (...factors) => factors.map(factor => number(factor)).join(" × ");

// The units of column c: inputs i, hidden units h (h2.1 in the second of several hidden layers), outputs y.
function unitName(column, index) {
  if (column === 0) return `i${index + 1}`;
  if (column === layers.length) return `y${index + 1}`;
  return layers.length > 2 ? `h${column}.${index + 1}` : `h${index + 1}`;
}
const sourceName = (layer, d) => d === layers[layer].inputs ? "1" : unitName(layer, d);
const weightName = (layer, d, h) => `w_{${sourceName(layer, d)}→${unitName(layer + 1, h)}}`;

// φ′(a) of a unit for an example, recorded where the page cannot compute it.
function slopeOf(frame, layer, at) {
  const unit = frame.layers[layer];
  return unit.slope ? unit.slope[at] : SLOPE[layers[layer].activation](unit.o[at]);
}

// Whether a unit is dead or saturated for an example, as bpjax/analysis/units.py defines it: recorded where the page
// cannot compute it. "dead": on every shown example; "off": dead on this one; "saturated": φ′ is below a twentieth of its
// largest value.
const LARGEST_SLOPE = {sigmoid: 0.25, tanh: 1};
const SATURATED = 0.05;
function isDead(frame, layer, at) {
  const {state, a} = frame.layers[layer];
  return state ? state[at] === 2 : layers[layer].activation === "relu" && a[at] <= 0;
}
function isSaturated(frame, layer, at) {
  const {state} = frame.layers[layer], largest = LARGEST_SLOPE[layers[layer].activation];
  return state ? state[at] === 1 : slopeOf(frame, layer, at) < SATURATED * largest;
}
function conditionOf(frame, layer, h, n) {
  const {units: H, elementwise} = layers[layer];
  if (!elementwise) return null;
  if (examples.shown.every((_, m) => isDead(frame, layer, m * H + h))) return "dead";
  if (isDead(frame, layer, n * H + h)) return "off";
  return isSaturated(frame, layer, n * H + h) ? "saturated" : null;
}
