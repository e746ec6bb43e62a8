// A chart of series in SVG: lines with gaps, a band, dots.

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [520, 210, 40, 8, 10, 24];

function element(name, attributes, parent, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent?.append(made);
  return made;
}

/** Runs of neighbouring indices whose values are all finite. */
function runs(count, ...series) {
  const found = [];
  for (let index = 0, open = false; index < count; index++) {
    const whole = series.every((values) => Number.isFinite(values[index]));
    if (whole && !open) found.push([]);
    if (whole) found.at(-1).push(index);
    open = whole;
  }
  return found;
}

/** Step of about `count` ticks in a range. */
function nice(range, count) {
  const raw = range / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= raw);
}

/**
 * Draw series into an element.
 *
 * `labels` names the dates, `lines` are `{name, values, kind}` with kind fine, coarse or station, `band` is
 * `{lower, upper}` or null, `now` the date that the map shows; `onPick` is called with the index that is chosen.
 * Returns the values of that date in words.
 */
export function draw(parent, { labels, years, lines, band, now, unit, onPick }) {
  const all = [...lines.map((line) => line.values), ...(band ? [band.lower, band.upper] : [])].flat().filter(Number.isFinite);
  const svg = element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, tabindex: 0, role: "slider", "aria-label": `Time series, ${unit}` });
  svg.setAttribute("aria-valuemin", 0);
  svg.setAttribute("aria-valuemax", labels.length - 1);
  const [least, most] = all.length ? [Math.min(...all), Math.max(...all)] : [0, 1];
  const step = nice(Math.max(most - least, 0.02), 4);
  const [low, high] = [Math.floor(least / step) * step, Math.ceil(most / step + 1e-9) * step];
  const x = (index) => LEFT + ((index + 0.5) / labels.length) * (WIDTH - LEFT - RIGHT);
  const y = (value) => HEIGHT - BOTTOM - ((value - low) / (high - low)) * (HEIGHT - TOP - BOTTOM);
  const point = (values) => (index) => `${x(index).toFixed(1)},${y(values[index]).toFixed(1)}`;

  for (let value = low; value <= high + step / 2; value += step) {
    element("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value), class: "grid" }, svg);
    element("text", { x: LEFT - 5, y: y(value) + 3.5, class: "y" }, svg, value.toFixed(2));
  }
  const every = Math.ceil(years.length / 8);
  years.forEach(([index, year], place) => {
    if (place % every) return;
    element("line", { x1: x(index - 0.5), x2: x(index - 0.5), y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM + 4, class: "tick" }, svg);
    element("text", { x: x(index - 0.5) + 3, y: HEIGHT - 7, class: "x" }, svg, year);
  });
  element("line", { x1: x(now), x2: x(now), y1: TOP, y2: HEIGHT - BOTTOM, class: "now" }, svg);
  if (band) {
    for (const run of runs(labels.length, band.lower, band.upper)) {
      const border = [...run.map(point(band.upper)), ...run.toReversed().map(point(band.lower))];
      // A lone month would be a polygon without an area.
      if (run.length > 1) element("polygon", { points: border.join(" "), class: "band" }, svg);
      else element("line", { x1: x(run[0]), x2: x(run[0]), y1: y(band.lower[run[0]]), y2: y(band.upper[run[0]]), class: "whisker" }, svg);
    }
  }
  for (const { values, kind } of lines) {
    for (const run of runs(labels.length, values)) {
      if (kind !== "station" && run.length > 1) element("polyline", { points: run.map(point(values)).join(" "), class: kind }, svg);
      if (kind === "station" || labels.length <= 36 || run.length === 1) {
        for (const index of run) element("circle", { cx: x(index), cy: y(values[index]), r: kind === "station" ? 3 : 2.2, class: kind }, svg);
      }
    }
  }
  const cursor = element("line", { y1: TOP, y2: HEIGHT - BOTTOM, class: "cursor", visibility: "hidden" }, svg);
  parent.replaceChildren(svg);

  let at = now;
  const words = (index) =>
    [labels[index], ...lines.map(({ name, values }) => `${name} ${Number.isFinite(values[index]) ? values[index].toFixed(3) : "–"}`)].join(" · ");
  const mark = (index) => {
    at = Math.min(Math.max(index, 0), labels.length - 1);
    cursor.setAttribute("x1", x(at));
    cursor.setAttribute("x2", x(at));
    cursor.setAttribute("visibility", "visible");
    svg.setAttribute("aria-valuenow", at);
    svg.setAttribute("aria-valuetext", words(at));
    parent.dispatchEvent(new CustomEvent("mark", { detail: words(at) }));
  };
  svg.setAttribute("aria-valuenow", at);
  svg.setAttribute("aria-valuetext", words(at));
  const indexAt = (event) => {
    const box = svg.getBoundingClientRect();
    return Math.floor((((event.clientX - box.left) / box.width) * WIDTH - LEFT) / ((WIDTH - LEFT - RIGHT) / labels.length));
  };
  svg.addEventListener("pointermove", (event) => mark(indexAt(event)));
  svg.addEventListener("click", (event) => {
    mark(indexAt(event));
    onPick(at);
  });
  svg.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: labels.length - 1 };
    if (event.key === "Enter") onPick(at);
    else if (event.key in moves) mark(moves[event.key]);
    else return;
    event.preventDefault();
  });
  return words(now);
}
