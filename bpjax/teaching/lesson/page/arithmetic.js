// The arithmetic of backpropagation, as in bpjax/layers, bpjax/losses.py and bpjax/optimizers/momentum.py.
//
// Arrays are flat and in C order: a value of unit h for example n is at n * H + h, the weight from input d to unit h
// at d * H + h. The last row of a layer with a bias holds the biases, the weights from the on-neuron.

const PHI = {
  sigmoid: a => 1 / (1 + Math.exp(-a)),
  tanh: a => Math.tanh(a),
  relu: a => Math.max(a, 0),
  identity: a => a,
};
const SLOPE = {  // φ′ as a function of o = φ(a)
  sigmoid: o => o * (1 - o),
  tanh: o => 1 - o * o,
  relu: o => o > 0 ? 1 : 0,
  identity: () => 1,
};

// E and ∂E/∂o of one of N examples, from its K outputs o and targets t.
const LOSSES = {
  squared_error: (o, t) => ({
    error: 0.5 * sum(o.map((_, k) => (t[k] - o[k]) ** 2)),
    gradient: o.map((_, k) => o[k] - t[k]),
  }),
  mean_squared_error: (o, t, N) => ({
    error: sum(o.map((_, k) => (t[k] - o[k]) ** 2)) / (N * o.length),
    gradient: o.map((_, k) => 2 * (o[k] - t[k]) / (N * o.length)),
  }),
  softmax_cross_entropy: (o, t) => {
    const p = softmax(o), largest = Math.max(...o);
    const logSum = largest + Math.log(sum(o.map(v => Math.exp(v - largest))));
    return {
      error: -sum(o.map((_, k) => t[k] === 0 ? 0 : t[k] * (o[k] - logSum))),
      gradient: p.map((_, k) => sum(t) * p[k] - t[k]),
    };
  },
  binary_cross_entropy: (o, t) => ({
    error: sum(o.map((v, k) => Math.log1p(Math.exp(-Math.abs(v))) + t[k] * Math.max(-v, 0)
      + (1 - t[k]) * Math.max(v, 0))),
    gradient: o.map((v, k) => PHI.sigmoid(v) - t[k]),
  }),
};

const sum = values => values.reduce((total, value) => total + value, 0);

function softmax(o) {
  const largest = Math.max(...o), powers = o.map(v => Math.exp(v - largest)), total = sum(powers);
  return powers.map(power => power / total);
}

// a = x W + b and o = φ(a) of one layer for N examples.
function layerForward(layer, weights, x, N) {
  const {inputs: D, units: H} = layer, a = new Float64Array(N * H);
  for (let n = 0; n < N; n++)
    for (let h = 0; h < H; h++) {
      let net = layer.bias ? weights[D * H + h] : 0;
      for (let d = 0; d < D; d++) net += x[n * D + d] * weights[d * H + h];
      a[n * H + h] = net;
    }
  return {a, o: a.map(PHI[layer.activation])};
}

function forward(layers, weights, x, N) {
  const passed = [];
  for (const [l, layer] of layers.entries())
    passed.push(layerForward(layer, weights[l], l ? passed[l - 1].o : x, N));
  return passed;
}

// All quantities at these weights but the change: a, o, δ, ∂E/∂w in every layer, E, and ∂E/∂o.
function allQuantities(layers, lossName, weights, x, target, N) {
  const units = forward(layers, weights, x, N), K = layers.at(-1).units;
  const errors = new Float64Array(N), outputGradient = new Float64Array(N * K);
  for (let n = 0; n < N; n++) {
    const one = LOSSES[lossName](Array.from(units.at(-1).o.subarray(n * K, (n + 1) * K)),
                                 Array.from(target.subarray(n * K, (n + 1) * K)), N);
    errors[n] = one.error;
    outputGradient.set(one.gradient, n * K);
  }
  let dOutput = outputGradient;  // ∂E/∂o of the layer at hand
  for (let l = layers.length - 1; l >= 0; l--) {
    const layer = layers[l], input = l ? units[l - 1].o : x;
    units[l].w = weights[l];
    units[l].delta = units[l].o.map((o, i) => SLOPE[layer.activation](o) * dOutput[i]);
    units[l].gradient = weightGradient(layer, input, units[l].delta, N);
    dOutput = through(layer, weights[l], units[l].delta, N);
  }
  return {error: sum(errors), errors, outputGradient, layers: units};
}

// ∂E/∂w = Σₙ xₙ δₙ, and for the bias Σₙ δₙ.
function weightGradient({inputs: D, units: H, bias}, x, delta, N) {
  const gradient = new Float64Array((D + (bias ? 1 : 0)) * H);
  for (let n = 0; n < N; n++)
    for (let h = 0; h < H; h++) {
      for (let d = 0; d < D; d++) gradient[d * H + h] += x[n * D + d] * delta[n * H + h];
      if (bias) gradient[D * H + h] += delta[n * H + h];
    }
  return gradient;
}

// Σ w δ: what the units of the layer before receive.
function through({inputs: D, units: H}, weights, delta, N) {
  const received = new Float64Array(N * D);
  for (let n = 0; n < N; n++)
    for (let d = 0; d < D; d++)
      for (let h = 0; h < H; h++) received[n * D + d] += weights[d * H + h] * delta[n * H + h];
  return received;
}

// Δw and the next velocity v, in one of the forms of momentum; g = ∂E/∂w.
const MOMENTUM = {
  heavy_ball: (rate, alpha, g, v) => { v = alpha * v - rate * g; return [v, v]; },
  convex: (rate, alpha, g, v) => { v = alpha * v - (1 - alpha) * rate * g; return [v, v]; },
  nesterov: (rate, alpha, g, v) => { v = alpha * v - rate * g; return [alpha * v - rate * g, v]; },
};

// A training that goes on: {step, weights, velocity, descent: {learning_rate, momentum, form}}.
function training(start, descent) {
  return {step: 0, weights: start.map(w => Float64Array.from(w)), velocity: start.map(w => new Float64Array(w.length)),
          descent: {...descent}};
}

// All quantities at the weights of a training, and the change Δw that its next step makes.
function frameOf(state, layers, lossName, x, target, N) {
  const frame = allQuantities(layers, lossName, state.weights, x, target, N);
  const {learning_rate: rate, momentum: alpha, form} = state.descent;
  for (const [l, layer] of frame.layers.entries()) {
    const both = Array.from(layer.gradient, (g, i) => MOMENTUM[form](rate, alpha, g, state.velocity[l][i]));
    layer.change = Float64Array.from(both, ([change]) => change);
    layer.velocity = Float64Array.from(both, ([, velocity]) => velocity);
  }
  return {...frame, step: state.step};
}

// The training after this step.
function stepped(state, frame) {
  return {...state, step: state.step + 1,
          weights: state.weights.map((w, l) => w.map((value, i) => value + frame.layers[l].change[i])),
          velocity: frame.layers.map(layer => layer.velocity)};
}
