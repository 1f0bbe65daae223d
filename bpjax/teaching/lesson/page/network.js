// The network, drawn: a column of circles for the inputs and for each layer of units, with the on-neuron below.

const SVG = "http://www.w3.org/2000/svg";
const PHASES = ["present", "forward", "compare", "back", "change"];
const MOST_LABELLED = 20;  // connections between two columns that are all labelled

function draw(parent, tag, attributes = {}, text = null) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== null) element.textContent = text;
  parent.append(element);
  return element;
}

const columnUnits = column => column === 0 ? inputs : layers[column - 1].units;
const hasOnNeuron = column => column < layers.length && layers[column].bias;
const rowsOf = layer => layers[layer].inputs + (layers[layer].bias ? 1 : 0);  // the on-neuron is the last source

// Every unit and connection, column by column, for the keyboard: {kind, column or layer, and indices}.
const columns = [];
for (let c = 0; c <= layers.length; c++) {
  columns.push(Array.from({length: columnUnits(c)}, (_, index) => ({kind: "unit", column: c, index})));
  if (c < layers.length)
    columns.push(Array.from({length: rowsOf(c) * layers[c].units}, (_, i) =>
      ({kind: "edge", layer: c, d: Math.floor(i / layers[c].units), h: i % layers[c].units})));
}
const keyOf = part => part.kind === "unit" ? `u${part.column}.${part.index}` : `e${part.layer}.${part.d}.${part.h}`;
const partOf = new Map(columns.flat().map(part => [keyOf(part), part]));

// Where the circles stand in a drawing of this width.
function geometry(width) {
  const most = Math.max(...Array.from({length: layers.length + 1}, (_, c) => columnUnits(c) + (hasOnNeuron(c) ? 1 : 0)));
  const spacing = most <= 4 ? (width < 520 ? 96 : 128) : most <= 6 ? 88 : most <= 12 ? 54 : 28;
  const radius = Math.min(27, spacing * 0.36, width / (layers.length + 1) * 0.2);
  const side = Math.max(radius + 34, 46), height = (most - 1) * spacing + 2 * radius + 64;
  const x = column => side + column * (width - 2 * side) / layers.length;
  const y = (column, index) => {
    const count = columnUnits(column) + (hasOnNeuron(column) ? 1 : 0);
    return height / 2 - 8 + (index - (count - 1) / 2) * spacing;
  };
  return {width, height, radius, x, y, narrow: width < 520};
}

// Draw the circles and lines once; `update` writes the numbers of a frame into them.
function networkDrawing(svg, run) {
  let place, nodes;

  function build() {
    place = geometry(Math.max(svg.clientWidth, 300));
    nodes = new Map();
    svg.replaceChildren();
    svg.setAttribute("viewBox", `0 0 ${place.width} ${place.height}`);
    svg.style.height = `${place.height}px`;
    defineArrows();
    const lines = draw(svg, "g"), circles = draw(svg, "g"), labels = draw(svg, "g");
    for (const part of columns.flat())
      nodes.set(keyOf(part), part.kind === "unit" ? buildUnit(circles, part) : buildEdge(lines, labels, part));
    for (let c = 0; c < layers.length; c++) if (hasOnNeuron(c)) buildOnNeuron(circles, c);
  }

  function defineArrows() {
    const look = {viewBox: "0 0 10 10", refY: 5, markerUnits: "userSpaceOnUse", markerWidth: 11, markerHeight: 11};
    const arrows = {forwards: ["M0,1 L10,5 L0,9 Z", 9], backwards: ["M10,1 L0,5 L10,9 Z", 1]};
    for (const [id, [shape, refX]] of Object.entries(arrows))
      draw(draw(svg, "marker", {...look, id, refX}), "path", {d: shape, fill: "context-stroke"});
  }

  function buildUnit(circles, part) {
    const {x, y, radius} = place, cx = x(part.column), cy = y(part.column, part.index);
    const group = draw(circles, "g", {class: "unit", "data-key": keyOf(part)});
    const circle = draw(group, "circle", {cx, cy, r: radius});
    const name = draw(group, "text", {x: cx - radius, y: cy - radius * 0.75, class: "name"},
                      unitName(part.column, part.index));
    const inside = draw(group, "text", {x: cx, y: cy + 4, class: "inside"});
    const under = draw(group, "text", {x: cx, y: cy + radius + 13, class: "under"});
    const mark = draw(group, "text", {x: cx, y: cy + radius + 26, class: "mark"});
    if (radius < 17) name.setAttribute("y", cy + 4);
    return {group, circle, inside, under, mark};
  }

  function buildOnNeuron(circles, column) {
    const {x, y, radius} = place, cx = x(column), cy = y(column, columnUnits(column));
    const group = draw(circles, "g", {class: "unit on"});
    draw(group, "circle", {cx, cy, r: radius * 0.6});
    draw(group, "text", {x: cx, y: cy + 4, class: "inside"}, "1");
  }

  function buildEdge(lines, labels, {layer, d, h}) {
    const {x, y, radius} = place, H = layers[layer].units;
    const [x1, y1, x2, y2] = [x(layer) + radius, y(layer, d), x(layer + 1) - radius, y(layer + 1, h)];
    const key = keyOf({kind: "edge", layer, d, h}), noError = layer === 0 || d === layers[layer].inputs;
    const group = draw(lines, "g", {class: noError ? "edge to-input" : "edge", "data-key": key});
    draw(group, "line", {x1, y1, x2, y2, class: "target"});
    const line = draw(group, "line", {x1, y1, x2, y2, class: "line"});
    const along = H === 1 ? 0.42 : 0.22 + 0.5 * h / (H - 1);  // staggered, so that labels of crossing lines differ
    const where = {x: x1 + along * (x2 - x1), y: y1 + along * (y2 - y1) + 4};
    return {group, line, label: draw(labels, "text", {...where, class: "weight"})};
  }

  // Write the numbers of a frame: at a phase, for an example, with the selected part emphasized.
  function update(frame, phase, n, selected) {
    const chosen = selected && keyOf(selected);
    svg.dataset.phase = phase;
    for (const part of columns.flat()) {
      const node = nodes.get(keyOf(part));
      node.group.classList.toggle("selected", keyOf(part) === chosen);
      if (part.kind === "unit") updateUnit(node, frame, phase, n, part);
      else updateEdge(node, frame, phase, part, selected);
    }
  }

  function updateUnit({group, circle, inside, under, mark}, frame, phase, n, part) {
    const [value, below] = unitTexts(run, frame, phase, n, part);
    inside.textContent = place.radius < 17 || value === null ? "" : shortNumber(value, place.narrow ? 2 : 3);
    under.textContent = place.radius < 17 ? "" : below;
    circle.style.fillOpacity = value === null ? 0 : Math.min(1, Math.abs(value)) * 0.55;
    group.classList.toggle("negative", value < 0);
    const condition = part.column === 0 || PHASES.indexOf(phase) < 1 ? null
      : conditionOf(frame, part.column - 1, part.index, n);
    for (const name of ["dead", "saturated", "off"]) group.classList.toggle(name, condition === name);
    mark.textContent = condition && place.radius >= 17 ? words[condition] : "";
  }

  function updateEdge({group, line, label}, frame, phase, part, selected) {
    const {layer, d, h} = part, at = d * layers[layer].units + h;
    const {w, change} = frame.layers[layer], value = phase === "change" ? change[at] : w[at];
    const largest = Math.max(...(phase === "change" ? change : w).map(Math.abs)) || 1;
    line.style.strokeWidth = 0.8 + 4.2 * Math.min(1, Math.abs(value) / largest);
    group.classList.toggle("negative", value < 0);
    group.classList.toggle("change", phase === "change");
    const of = selected && (selected.kind === "edge" ? keyOf(selected) === keyOf(part)
      : (selected.column === layer && selected.index === d) || (selected.column === layer + 1 && selected.index === h));
    group.classList.toggle("touched", Boolean(of));
    const few = layers[layer].units * rowsOf(layer) <= (place.narrow ? 6 : MOST_LABELLED);
    label.textContent = few || of ? (phase === "change" && !place.narrow ? "Δ " : "") + shortNumber(value, place.narrow ? 2 : 3) : "";
    label.classList.toggle("strong", Boolean(of));
  }

  return {build, update};
}

// What stands in a circle, a number, and below it, a text.
function unitTexts(run, frame, phase, n, {column, index}) {
  const at = PHASES.indexOf(phase);
  if (column === 0) return [xOf(n, index), ""];
  const unit = frame.layers[column - 1], i = n * layers[column - 1].units + index;
  const target = column === layers.length ? `t ${number(targetOf(n, index))}` : "";
  if (at === 0) return [null, target];
  if (at >= 3 && unit.delta) return [unit.delta[i], at === 3 ? `δ · o ${number(unit.o[i])}` : "δ"];
  return [unit.o[i], at === 1 ? `a ${number(unit.a[i])}` : target];
}
