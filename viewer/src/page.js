// Parts of the page that show: the legend, the values at the pointer, messages.

const $ = (id) => document.getElementById(id);

/** Element with a class and contents. */
export function make(name, className, ...contents) {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.append(...contents);
  return element;
}

/** Show a message until it is closed; `about` lets `quiet` close it. */
export function message(text, about = "", action) {
  $("message-text").textContent = text;
  const close = make("button", "", "Close");
  close.addEventListener("click", () => ($("message").hidden = true));
  const buttons = about === "start" ? [] : [close];
  if (action) {
    const button = make("button", "strong", action[0]);
    button.addEventListener("click", action[1]);
    buttons.unshift(button);
  }
  for (const button of buttons) button.type = "button";
  $("message-actions").replaceChildren(...buttons);
  $("message").dataset.about = about;
  $("message").hidden = false;
}

/** Close the message about something. */
export function quiet(about) {
  if ($("message").dataset.about === about) $("message").hidden = true;
}

function css(pixel) {
  return pixel ? `rgb(${pixel & 255} ${(pixel >> 8) & 255} ${(pixel >> 16) & 255})` : "transparent";
}

function swatch(colour) {
  const element = make("i", "swatch");
  element.style.background = colour;
  return element;
}

export class Legend {
  constructor(release) {
    this.release = release;
  }

  show(layer) {
    const legend = $("legend");
    if (layer.classes) {
      const items = layer.classes.map(({ name, meaning, colour }) => {
        const item = make("li", "", swatch(colour), make("span", "", name.replaceAll("_", " ")), make("small", "", meaning));
        item.title = meaning;
        return item;
      });
      legend.replaceChildren(make("ul", "", ...items), make("p", "note", layer.note));
      return;
    }
    const bar = make("div", "bar");
    bar.style.background = `linear-gradient(to right, ${layer.colours.join(",")})`;
    const [low, high] = layer.range;
    const digits = high - low < 0.1 ? 3 : 2;
    const ticks = [0, 0.25, 0.5, 0.75, 1].map((share) => make("span", "", (low + share * (high - low)).toFixed(digits)));
    const ends = layer.moisture ? [make("span", "", "dry"), make("span", "unit", layer.unit), make("span", "", "wet")] : [make("span", "unit", layer.unit)];
    legend.replaceChildren(bar, make("div", "scale", ...ticks), make("div", "ends", ...ends));
    if (layer.note) legend.append(make("p", "note", layer.note));
    const names = `Colours from ${low.toFixed(digits)} to ${high.toFixed(digits)} ${layer.unit}`;
    bar.setAttribute("role", "img");
    bar.setAttribute("aria-label", names);
  }

  /** Values of both scales at the pointer: `{words, rows}`, or null away from the map. */
  values(found) {
    $("readout").classList.toggle("on", Boolean(found));
    if (!found) return;
    const rows = found.rows.map(({ name, value, text, layer, rough }) => {
      const row = make("div", "value", swatch(css(layer.paint(value))), make("b", "", name), make("span", rough ? "number rough" : "number", text));
      if (layer.unit && Number.isFinite(value)) row.append(make("small", "", layer.unit));
      return row;
    });
    $("values").replaceChildren(...rows, make("div", "place", found.words));
  }
}
