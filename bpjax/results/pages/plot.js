// A plot with two axes in an SVG element; sizes in CSS pixels.
const CIVIDIS = ["#00224e", "#00306f", "#213d6b", "#374a6c", "#49566c", "#58636e", "#676f71", "#757c75", "#838979",
  "#939678", "#a3a475", "#b5b26f", "#c7c166", "#dbd059", "#eee043", "#fee838"];
function colourAt(share) { // of a scale from 0 to 1
  const place = Math.min(Math.max(share, 0), 1) * (CIVIDIS.length - 1), below = Math.floor(place);
  const above = Math.min(below + 1, CIVIDIS.length - 1);
  const part = (colour, i) => parseInt(colour.slice(1 + 2 * i, 3 + 2 * i), 16);
  const mixed = [0, 1, 2].map(i => part(CIVIDIS[below], i) + (place - below) * (part(CIVIDIS[above], i) - part(CIVIDIS[below], i)));
  return `rgb(${mixed.map(Math.round).join(",")})`;
}

function ticksOf(axis, room) { // [[value, text]], about one for each 60 pixels
  const [low, high] = axis.ends, most = Math.max(2, Math.floor(room / 60));
  if (axis.words) return axis.words.map((word, i) => [i, word]);
  if (axis.log) {
    const decades = Math.log10(high / low), found = [];
    const steps = decades > 0.7 * most ? [1] : decades > 1.2 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 6, 8];
    for (let d = Math.floor(Math.log10(low)); d <= Math.log10(high); d++)
      found.push(...steps.map(step => step * 10 ** d).filter(v => v >= low * 0.999 && v <= high * 1.001));
    const every = Math.ceil(found.length / (1.5 * most));
    return found.filter((_, i) => i % every === 0).map(v => [v, power(v)]);
  }
  const rough = (high - low) / most, unit = 10 ** Math.floor(Math.log10(rough));
  const step = unit * [1, 2, 5, 10].find(factor => factor * unit >= rough * 0.999);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++)
    found.push([i * step, (+(i * step).toPrecision(6)).toLocaleString("en", {maximumFractionDigits: 6})]);
  return found;
}
const RAISED = {"-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹"};
const raised = n => [...String(n)].map(c => RAISED[c]).join("");
function power(v) { // 0.01, 500, 10⁶, 2·10⁻⁵
  if (v >= 1e-3 && v < 1e5) return (+v.toPrecision(3)).toLocaleString("en", {maximumFractionDigits: 6});
  const d = Math.floor(Math.log10(v) + 1e-9), front = +(v / 10 ** d).toPrecision(2);
  return (front === 1 ? "10" : `${front}·10`) + raised(d);
}

class Plot {
  constructor(svg) { this.svg = svg; }
  begin(x, y, left) { // clear, draw frame, ticks and names; `left` is the room for labels of y
    const width = this.svg.clientWidth, height = this.svg.clientHeight, svg = this.svg;
    const longest = x.words ? Math.max(...x.words.map(word => word.length)) : 0;
    const slanted = x.words && 7 * longest > (width - left - 18) / x.words.length; // words that would overlap
    svg.replaceChildren();
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    Object.assign(this, {x, y, x0: left, x1: width - 18, y0: height - (slanted ? 34 + 5 * longest : 42), y1: 10});
    this.inside = this.add("g", {});
    const clip = this.add("clipPath", {id: svg.id + "-clip"});
    this.add("rect", {x: this.x0, y: this.y1, width: Math.max(0, this.x1 - this.x0), height: Math.max(0, this.y0 - this.y1)}, clip);
    this.inside.setAttribute("clip-path", `url(#${svg.id}-clip)`);
    this.add("rect", {class: "frame", x: this.x0, y: this.y1, width: this.x1 - this.x0, height: this.y0 - this.y1});
    for (const [value, text] of ticksOf(x, this.x1 - this.x0)) {
      const at = this.toX(value);
      this.add("path", {class: "frame", d: `M${at} ${this.y0}v5`});
      const word = this.text(text, at, this.y0 + (slanted ? 14 : 17), slanted ? "end" : "middle");
      if (slanted) word.setAttribute("transform", `rotate(-45 ${at} ${this.y0 + 14})`);
    }
    for (const [value, text] of ticksOf(y, 1.6 * (this.y0 - this.y1))) {
      const at = this.toY(value);
      this.add("path", {class: "frame", d: `M${this.x0} ${at}h-5`});
      this.text(text, this.x0 - 8, at + 4, "end");
    }
    this.text(x.label, (this.x0 + this.x1) / 2, height - 6, "middle");
    const name = this.text(y.label, 0, 0, "middle");
    name.setAttribute("transform", `translate(13 ${(this.y0 + this.y1) / 2}) rotate(-90)`);
    return this;
  }
  add(tag, attributes, parent) {
    const made = document.createElementNS(this.svg.namespaceURI, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    (parent || this.svg).append(made);
    return made;
  }
  text(words, x, y, anchor) {
    const made = this.add("text", {x, y, "text-anchor": anchor});
    made.textContent = words;
    return made;
  }
  place(axis, v) {
    const f = axis.log ? Math.log10 : u => u, [low, high] = axis.ends;
    return (f(v) - f(low)) / (f(high) - f(low));
  }
  toX(v) { return this.x0 + this.place(this.x, v) * (this.x1 - this.x0); }
  toY(v) { return this.y0 - this.place(this.y, v) * (this.y0 - this.y1); }
  line(xs, ys, attributes) { // NaN or null interrupts it
    let d = "", up = true;
    xs.forEach((x, i) => {
      const ok = x !== null && ys[i] !== null && Number.isFinite(ys[i]) && !(this.y.log && ys[i] <= 0) && !(this.x.log && x <= 0);
      if (ok) d += `${up ? "M" : "L"}${this.toX(x).toFixed(1)} ${this.toY(ys[i]).toFixed(1)}`;
      up = !ok;
    });
    return this.add("path", {d, fill: "none", "stroke-linejoin": "round", ...attributes}, this.inside);
  }
  band(xs, low, high, attributes) {
    const point = (x, y) => `${this.toX(x).toFixed(1)} ${this.toY(y).toFixed(1)}`;
    const ok = xs.map((_, i) => i).filter(i => Number.isFinite(low[i]) && Number.isFinite(high[i]));
    const d = [...ok.map(i => point(xs[i], high[i])), ...ok.reverse().map(i => point(xs[i], low[i]))].join("L");
    return this.add("path", {d: d && `M${d}Z`, ...attributes}, this.inside);
  }
}
function whenResized(elements, draw) { // once per frame, also at the start
  let asked = false;
  const watch = new ResizeObserver(() => {
    if (!asked) requestAnimationFrame(() => { asked = false; draw(); });
    asked = true;
  });
  elements.forEach(one => watch.observe(one));
}
