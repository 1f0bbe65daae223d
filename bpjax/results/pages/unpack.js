const element = id => document.getElementById(id);
const ARRAYS = {Uint8Array, Int8Array, Uint16Array, Int32Array, Float32Array, Float64Array};
const unpack = ({type, data}) => new ARRAYS[type](Uint8Array.from(atob(data), c => c.charCodeAt(0)).buffer);
function unpackLogarithms(packed) { // codes of logarithms; 0 is missing
  const step = (packed.high - packed.low) / 65534;
  return Float32Array.from(unpack(packed), code => code ? 10 ** (packed.low + (code - 1) * step) : NaN);
}
const short = v => Number.isNaN(v) ? "NaN" : !Number.isFinite(v) ? "∞"
  : v !== 0 && (Math.abs(v) < 1e-3 || Math.abs(v) >= 1e5) ? v.toExponential(2) : String(+v.toPrecision(3));
const plural = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
