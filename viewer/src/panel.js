// The series of a place, in a card of its own.

import { draw } from "./chart.js";
import { make } from "./page.js";
import { dated } from "./release.js";
import { Series } from "./series.js";

const $ = (id) => document.getElementById(id);

export class Panel {
  constructor(viewer) {
    this.viewer = viewer;
    $("close").addEventListener("click", () => this.close());
    $("all").addEventListener("click", () => this.#load(true));
    $("chart").addEventListener("mark", (event) => ($("series-state").textContent = event.detail));
  }

  async open(place, station) {
    const { release, kind, coarse } = this.viewer;
    this.series && (this.series.stopped = true);
    Object.assign(this, { place, station });
    $("series").hidden = false;
    const [left, bottom, right, top] = release.box(place.row, place.column);
    const words = this.viewer.world.words([(left + right) / 2, (bottom + top) / 2]);
    $("series-title").textContent = station ? `Station ${station.name}` : words;
    $("series-state").textContent = "Reading …";
    const series = new Series(release, kind, place, station, await coarse);
    if (this.place !== place) return;
    this.series = series;
    await this.#load(false);
  }

  close() {
    if ($("series").hidden) return;
    if (this.series) this.series.stopped = true;
    this.series = this.place = null;
    $("series").hidden = true;
    this.viewer.unpick();
    $("map").focus({ preventScroll: true });
  }

  /** Another map is shown: the chart marks its date, or is of the other kind. */
  moved() {
    if (!this.series) return;
    if (this.series.kind === this.viewer.kind) this.#draw();
    else this.open(this.place, this.station);
  }

  async #load(all) {
    const { series } = this;
    $("all").hidden = true;
    try {
      await series.load(this.viewer.index, all, () => series === this.series && this.#drawSoon());
      if (series !== this.series) return;
      this.#draw();
      $("series").dataset.read = series.read.size;
      const left = series.maps.length - series.read.size;
      $("all").hidden = !left;
      $("all").textContent = `Read the other ${left} dates too`;
      if (!series.fine.some(Number.isFinite)) $("series-state").textContent = "No date has a value here.";
    } catch (error) {
      if (series === this.series) $("series-state").textContent = error.message;
    }
  }

  /** Draw at the next frame: values come many at a time. */
  #drawSoon() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = null;
      if (!this.series) return;
      this.#draw();
      const { read, maps } = this.series;
      if (read.size < maps.length) $("series-state").textContent = `Read ${read.size} of ${maps.length} dates`;
    });
  }

  #draw() {
    const { series, viewer } = this;
    const { release } = viewer;
    const years = [];
    series.maps.forEach((map, index) => {
      const year = map.first.slice(0, 4);
      if (!index || series.maps[index - 1].first.slice(0, 4) !== year) years.push([index, year]);
    });
    const lines = [
      { name: release.coarse, values: series.coarse, kind: "coarse" },
      { name: release.fine, values: series.fine, kind: "fine" },
      { name: series.station ? `station ${series.station.name}` : "", values: series.measured, kind: "station" },
    ].filter(({ values, kind }) => kind === "fine" || values.some(Number.isFinite));
    const labels = series.maps.map((map) => dated(series.kind, map));
    const pick = (index) => viewer.go(series.kind, index);
    const words = draw($("chart"), { labels, years, lines, band: series.band, now: viewer.index, unit: "m³ m⁻³", onPick: pick });
    $("series-state").textContent = words;
    const roles = { fine: "map", coarse: "observation", station: "in the ground" };
    const items = lines.map(({ name, kind }) => make("span", kind, make("i"), `${name} ${roles[kind]}`));
    if (series.band) items.push(make("span", "band", make("i"), `${Math.round(release.interval * 100)} % interval`));
    $("series-legend").replaceChildren(...items, make("span", "", "m³ m⁻³"));
    this.#table(series);
  }

  #table(series) {
    const [heads, ...rows] = series.table();
    const text = (value) => (Number.isFinite(value) ? value.toFixed(4) : typeof value === "string" ? value : "");
    const line = (name, cells) => make("tr", "", ...cells.map((cell) => make(name, "", text(cell))));
    $("table").replaceChildren(line("th", heads), ...rows.map((row) => line("td", row)));
    const quoted = (value) => (/[",]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : Number.isNaN(value) ? "" : value);
    const csv = [heads, ...rows].map((row) => row.map(quoted).join(",")).join("\n");
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = URL.createObjectURL(new Blob([`${csv}\n`], { type: "text/csv" }));
    $("csv").href = this.url;
    $("csv").download = `${this.viewer.release.name}_${series.place.row}_${series.place.column}.csv`;
    $("csv").hidden = false;
  }
}
