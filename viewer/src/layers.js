// The layers of the maps: which files each needs, its values, its colours and its words.

const TITLES = {
  soil_moisture: "Soil moisture",
  lower: "Lower end of the interval",
  upper: "Upper end of the interval",
  width: "Width of the interval",
  quality: "Quality",
  applicability: "Applicability",
  residual: "Residual",
};
const MOISTURE = ["soil_moisture", "lower", "upper"];

/** Layers of a release by their names. */
export function layers(release) {
  const known = Object.entries(release.layers).map(([name, about]) => [name, continuous(name, about, release)]);
  const maps = Object.values(release.maps).flat();
  if (maps.some((map) => map.files.quality)) known.push(["quality", quality(release.quality)]);
  const order = Object.keys(TITLES);
  return new Map(known.sort(([a], [b]) => order.indexOf(a) - order.indexOf(b)));
}

function continuous(name, { title, unit, range, colours }, { interval }) {
  const wide = name === "width";
  const level = interval && ["lower", "upper", "width"].includes(name) ? ` (${Math.round(interval * 100)} %)` : "";
  return {
    name,
    title: `${TITLES[name] ?? title}${level}`,
    assets: wide ? ["upper", "lower"] : [name],
    value: wide ? (upper, lower) => upper - lower : (value) => value,
    unit: unit.replace("m3 m-3", "m³ m⁻³").replace(/^1$/, ""),
    moisture: MOISTURE.includes(name),
    range,
    colours,
    paint: scale(range, colours),
    text: (value) => (Number.isFinite(value) ? value.toFixed(name === "applicability" ? 2 : 3) : "no value"),
    note: name === "applicability" ? "1 is the threshold: above it predictors are unlike those of training" : "",
  };
}

function quality({ title, bits, colours }) {
  const table = Uint32Array.from(colours, pixel);
  const names = (value) => bits.filter((bit) => value & bit.value).map((bit) => bit.name.replaceAll("_", " "));
  return {
    name: "quality",
    title: "Quality",
    about: title,
    assets: ["quality"],
    value: (value) => value,
    unit: "",
    moisture: false,
    classes: bits.map((bit) => ({ ...bit, colour: swatch(bit, colours) })),
    paint: (value) => (value ? table[value] : 0),
    text: (value) => (value ? names(value).join(", ") : "no value"),
    note: "Bits may be set together; their colours mix",
  };
}

/** How a bit looks: where a value comes from as it is, another bit mixed with either of these. */
function swatch({ value, origin }, colours) {
  const ends = [1, 2].map((from) => colours[from | value]);
  return origin ? colours[value] : `linear-gradient(135deg, ${ends[0]} 50%, ${ends[1]} 50%)`;
}

/** A colour such as #08519c as a pixel of ImageData, whose bytes are red, green, blue, alpha. */
function pixel(colour) {
  const number = Number.parseInt(colour.slice(1), 16);
  return ((255 << 24) | ((number & 255) << 16) | (number & 0xff00) | (number >> 16)) >>> 0;
}

/** Pixel of a value; transparent where there is none. */
export function scale([low, high], colours) {
  const table = Uint32Array.from(colours, pixel);
  const steps = table.length / (high - low);
  return (value) => {
    if (!Number.isFinite(value)) return 0;
    const at = Math.floor((value - low) * steps);
    return table[at < 0 ? 0 : at >= table.length ? table.length - 1 : at];
  };
}

/** Canvas of values, a pixel for each. */
export function canvas(width, height, paint, values) {
  const element = document.createElement("canvas");
  [element.width, element.height] = [width, height];
  const context = element.getContext("2d");
  const image = context.createImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let index = 0; index < pixels.length; index++) pixels[index] = paint(values(index));
  context.putImageData(image, 0, 0);
  return element;
}
