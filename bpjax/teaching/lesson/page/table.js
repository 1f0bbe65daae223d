// All numbers of the shown step as two tables: for reading, for screen readers and for paper.

const MOST_ROWS = 400;

function fillTables(parent, frames, n) {
  const many = layers.some((_, l) => rowsOf(l) * layers[l].units > MOST_ROWS);
  parent.replaceChildren(...runs.flatMap((run, r) =>
    [unitTable(run, frames[r], n), ...(many ? [] : [weightTable(run, frames[r])])]));
}
const ofRun = run => runs.length > 1 ? ` (${run.name})` : "";

function makeTable(caption, headings, rows) {
  const table = document.createElement("table");
  table.createCaption().textContent = caption;
  const head = table.createTHead().insertRow();
  for (const heading of headings) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.textContent = heading;
    head.append(cell);
  }
  const body = table.createTBody();
  for (const [name, ...values] of rows) {
    const row = body.insertRow(), first = document.createElement("th");
    first.scope = "row";
    first.append(...typeset(name));
    row.append(first);
    for (const value of values) row.insertCell().textContent = value;
  }
  return table;
}

function unitTable(run, frame, n) {
  const rows = layers.flatMap(({units: H}, l) => Array.from({length: H}, (_, h) => {
    const unit = frame.layers[l], at = n * H + h, condition = conditionOf(frame, l, h, n);
    const target = l === layers.length - 1 ? number(targetOf(n, h)) : "";
    const slope = layers[l].elementwise ? number(slopeOf(frame, l, at)) : "";
    return [unitName(l + 1, h), number(unit.a[at]), number(unit.o[at]), target, slope,
            unit.delta ? number(unit.delta[at]) : "", condition ? words[condition] : ""];
  }));
  const heading = say("table_units", {example: n + 1}) + ofRun(run);
  return makeTable(heading, [words.unit, "a", "o", "t", "φ′(a)", "δ", words.remark], rows);
}

function weightTable(run, frame) {
  const rows = layers.flatMap(({units: H}, l) => Array.from({length: rowsOf(l) * H}, (_, at) => {
    const {w, gradient, change} = frame.layers[l];
    return [weightName(l, Math.floor(at / H), at % H), number(w[at]), number(gradient[at]), number(change[at])];
  }));
  return makeTable(words.table_weights + ofRun(run), [words.connection, "w", run.exact ? "∂E/∂w" : words.direction, "Δw"], rows);
}
