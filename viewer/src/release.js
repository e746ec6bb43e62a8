// A release: what viewer.json says of it, and where its files are.

import { request, Unavailable } from "./requests.js";

const FORMAT = 1;
const METRES_PER_DEGREE = 111_319.49;

/** Release of a number, or the newest; with the list of releases, which the index of the newest has. */
export async function load(number) {
  const [release, newest] = await Promise.all([read(number), number ? read(null).catch(() => null) : null]);
  return { ...release, releases: (newest ?? release).releases ?? [] };
}

async function read(number) {
  if (location.protocol === "file:") {
    throw new Error(
      "A browser reads no maps for a page that is opened as a file. " +
        "Open it with the command “soilscale view OUTPUT”, or from any web server.",
    );
  }
  const base = new URL(".", location.href).href;
  const url = new URL(number ? `releases/${number}/viewer.json` : "viewer.json", base).href;
  let index;
  try {
    index = await (await request(url)).json();
  } catch (error) {
    if (error instanceof Unavailable && error.gone) {
      throw new Unavailable(
        number
          ? `Release ${number} is not kept here any more.`
          : "There are no maps here: maps/viewer.json is missing. A run publishes it with its maps, at its end.",
        error.status,
      );
    }
    if (error instanceof SyntaxError) throw new Error(`${url} is no JSON: ${error.message}`);
    throw error;
  }
  if (index.format !== FORMAT) {
    throw new Error(`viewer.json has format ${index.format}, and this page reads ${FORMAT}: publish page and maps together.`);
  }
  const kinds = ["month", "season"].filter((kind) => index.maps[kind]?.length);
  if (!kinds.length) throw new Error(`The release of ${index.name} has no maps: no month of it has a value.`);
  return { ...index, base, kinds, ...geometry(index.grid) };
}

/** How the grid is drawn: one in degrees as wide as it is at its middle latitude. */
function geometry(grid) {
  const [rows, columns] = grid.shape;
  const [left, top] = grid.origin;
  const middle = top - (rows * grid.step) / 2;
  const narrow = grid.geographic ? Math.max(0.05, Math.cos((middle * Math.PI) / 180)) : 1;
  const metres = grid.metres ?? METRES_PER_DEGREE;
  const side = (cells) => kilometres(cells * grid.step * metres * Math.sqrt(narrow));
  return {
    rows,
    columns,
    narrow,
    metres,
    fine: side(1),
    coarse: side(grid.ratio),
    side,
    extent: [left * narrow, top - rows * grid.step, (left + columns * grid.step) * narrow, top],
    /** Row and column of the cell at a drawn coordinate, or null outside the grid. */
    cellAt([x, y]) {
      const column = Math.floor((x / narrow - left) / grid.step);
      const row = Math.floor((top - y) / grid.step);
      return row >= 0 && row < rows && column >= 0 && column < columns ? { row, column } : null;
    },
    /** Extent of a block of cells, as it is drawn. */
    box(row, column, cells = 1) {
      const x = left + column * grid.step;
      const y = top - row * grid.step;
      return [x * narrow, y - cells * grid.step, (x + cells * grid.step) * narrow, y];
    },
  };
}

function kilometres(metres) {
  const length = metres / 1000;
  return length >= 0.9 ? `${Math.round(length)} km` : `${Math.round(metres / 10) * 10} m`;
}

/** URL of a file of a map. */
export function href(release, map, asset) {
  return new URL(`${map.folder}/${map.files[asset]}`, release.base).href;
}

/** Months that a map stands for. */
export function monthsOf({ first, last }) {
  const months = [];
  for (let [year, month] = first.split("-").map(Number); ; [year, month] = month === 12 ? [year + 1, 1] : [year, month + 1]) {
    months.push(`${year}-${String(month).padStart(2, "0")}`);
    if (months.at(-1) >= last) return months;
  }
}

const NAMES = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];

/** Name of a map's date: May 2004, or Winter 2004/05. */
export function dated(kind, map) {
  const [year, month] = map.first.split("-").map(Number);
  if (kind === "month") return `${NAMES[month - 1]} ${year}`;
  const end = Number(map.last.slice(0, 4));
  const years = end === year ? `${year}` : `${year}/${String(end).slice(2)}`;
  return `${map.season[0].toUpperCase()}${map.season.slice(1)} ${years}`;
}
