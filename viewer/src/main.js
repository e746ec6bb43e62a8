// The viewer: what is shown, and what changes it.

import { cog } from "./cog.js";
import { canvas, layers, scale } from "./layers.js";
import * as link from "./link.js";
import { Legend, message, quiet } from "./page.js";
import { Painter } from "./painter.js";
import { Panel } from "./panel.js";
import { request } from "./requests.js";
import { dated, href, load, monthsOf } from "./release.js";
import { places } from "./stations.js";
import { Coarse } from "./stores.js";
import { Timeline } from "./timeline.js";
import { World } from "./world.js";

const $ = (id) => document.getElementById(id);
const REST = 120; // ms that the pointer rests before a cell is read at full resolution

class Viewer {
  constructor(release) {
    const asked = link.read();
    this.release = release;
    this.layers = layers(release);
    this.kind = release.kinds.includes(asked.kind) ? asked.kind : release.kinds[0];
    this.layer = this.layers.get(asked.layer) ?? this.layers.values().next().value;
    const { maps } = release;
    this.index = Math.max(0, asked.first ? maps[this.kind].findIndex((map) => map.first === asked.first) : maps[this.kind].length - 1);
    this.painter = new Painter(release);
    Object.assign(this.painter, { compare: asked.compare, split: asked.share, opacity: asked.share });
    this.world = new World(release, this.painter);
    this.coarse = Coarse.open(release.base, release.target, release.valid_range).catch((error) => {
      message(`The ${release.coarse} observation cannot be shown: ${error.message}`);
      return null;
    });
    this.legend = new Legend(release);
    this.timeline = new Timeline(release, (kind, index) => this.go(kind, index), (kind, index) => this.painter.prepare(this.map(kind, index), this.layer));
    this.panel = new Panel(this);
    this.#head();
    this.#controls();
    this.#pointer();
    this.#keys();
    this.#view(asked.view);
    this.#stations(asked.at);
    this.world.map.on("moveend", () => this.#moved());
  }

  map(kind = this.kind, index = this.index) {
    return this.release.maps[kind][index];
  }

  /** Show a map, and say so everywhere. */
  async go(kind, index) {
    [this.kind, this.index] = [kind, Math.min(Math.max(index, 0), this.release.maps[kind].length - 1)];
    const map = this.map();
    this.timeline.show(this.kind, this.index);
    this.legend.show(this.layer, this.release);
    const title = `${this.layer.title}, ${dated(kind, map)}`;
    document.title = `${title} – ${this.release.name}`;
    $("map").setAttribute("aria-label", `Map: ${title}`);
    $("download").href = href(this.release, map, this.layer.assets[0]);
    this.#write();
    this.panel.moved();
    $("loading").classList.add("busy");
    try {
      if (await this.painter.show(map, this.layer, this.#observation(map))) {
        quiet("map");
        $("map").dataset.shown = `${kind} ${map.first} ${this.layer.name}`;
        this.#tell();
      }
    } catch (error) {
      this.failed(error);
    } finally {
      $("loading").classList.remove("busy");
    }
  }

  /** Say what could not be read; a release that has gone meanwhile leads to the newest. */
  failed(error) {
    this.timeline.stop();
    if (error.gone) {
      const text = `${error.message}. The release may have been replaced or withdrawn while you were looking.`;
      return message(text, "map", ["Load the newest release", () => ((location.hash = ""), location.reload())]);
    }
    return message(error.message, "map", ["Try again", () => this.go(this.kind, this.index)]);
  }

  /** Canvas of the observation of a map's months, in the scale of soil moisture. */
  async #observation(map) {
    const coarse = await this.coarse;
    const about = this.release.layers.soil_moisture;
    $("compare").disabled = !coarse || !this.layer.moisture;
    $("compare-title").textContent = coarse ? `Compare with the ${this.release.coarse} observation` : "The observation (cube.zarr) is not published here";
    this.#compare();
    if (!coarse || !about) return null;
    const field = await coarse.field(monthsOf(map));
    this.field = { map, field, columns: coarse.columns };
    return canvas(coarse.columns, coarse.rows, scale(about.range, about.colours), (index) => field[index]);
  }

  #head() {
    const { name, product, fine, coarse, time, release: number } = this.release;
    $("name").textContent = name;
    $("about").textContent = `Surface soil moisture at ${fine}, from ${product} at ${coarse}. Release ${number}, ${time.slice(0, 10)}.`;
    this.#releases();
    $("left-label").textContent = coarse;
    $("right-label").textContent = fine;
    $("report").addEventListener("click", async (event) => {
      event.preventDefault();
      // Asked only now: where there is no report, each start would leave an error in the console.
      try {
        await request($("report").href, { method: "HEAD" });
        location.href = $("report").href;
      } catch {
        message("The report is not published here, beside the maps.");
      }
    });
  }

  /** The menu of releases, where there is a choice. */
  #releases() {
    const { releases, release: number } = this.release;
    for (const { release, time } of releases) {
      const newest = release === releases[0].release;
      $("release").add(new Option(`${release}, ${time.slice(0, 10)}${newest ? " (newest)" : ""}`, newest ? "" : release));
      if (release === number) $("release").value = newest ? "" : release;
    }
    $("release-choice").hidden = releases.length < 2;
    // Each release has grid, layers and dates of its own: the change of the hash loads the page anew.
    $("release").addEventListener("change", () => link.lead($("release").value));
  }

  #controls() {
    for (const { name, title } of this.layers.values()) $("layer").add(new Option(title, name));
    $("layer").value = this.layer.name;
    $("layer").addEventListener("change", () => {
      this.layer = this.layers.get($("layer").value);
      this.go(this.kind, this.index);
    });
    for (const radio of document.getElementsByName("compare")) {
      radio.checked = radio.value === this.painter.compare;
      radio.addEventListener("change", () => {
        this.painter.compare = radio.value;
        this.#compare();
        this.#write();
      });
    }
    $("fade").value = this.painter.opacity * 100;
    $("fade").addEventListener("input", () => {
      this.painter.opacity = $("fade").value / 100;
      this.painter.changed();
      this.#write();
    });
    $("whole").addEventListener("click", () => this.world.fit(this.#padding(), this.world.duration));
    $("stations").addEventListener("change", () => this.world.stations.setVisible($("stations").checked));
    const fold = (open) => {
      $("panel").classList.toggle("folded", !open);
      $("fold").setAttribute("aria-expanded", open);
    };
    $("fold").addEventListener("click", () => fold($("panel").classList.contains("folded")));
    fold(!matchMedia("(max-width: 700px)").matches);
    this.#swipe();
  }

  /** The border between observation and map, moved by pointer and keys. */
  #swipe() {
    const bar = $("swipe");
    const move = (split) => {
      this.painter.split = Math.min(Math.max(split, 0), 1);
      this.#compare();
      this.#write();
    };
    bar.addEventListener("pointerdown", (event) => bar.setPointerCapture(event.pointerId));
    bar.addEventListener("pointermove", (event) => bar.hasPointerCapture(event.pointerId) && move(event.clientX / innerWidth));
    bar.addEventListener("keydown", ({ key }) => {
      const by = { ArrowLeft: -0.02, ArrowRight: 0.02, PageDown: -0.1, PageUp: 0.1, Home: -1, End: 1 }[key];
      if (by) move(this.painter.split + by);
    });
  }

  #compare() {
    const { compare, split } = this.painter;
    const on = !$("compare").disabled;
    this.painter.paused = !on;
    $("swipe").hidden = !on || compare !== "swipe";
    $("swipe").style.left = `${split * 100}%`;
    $("swipe").setAttribute("aria-valuenow", Math.round(split * 100));
    $("fading").hidden = !on || compare !== "fade";
    this.painter.changed();
  }

  #pointer() {
    const { map } = this.world;
    $("map").addEventListener("pointerdown", () => this.#cross(false));
    map.on("pointermove", (event) => {
      if (event.dragging || event.originalEvent.pointerType === "touch") return;
      this.#look(event.coordinate);
    });
    $("map").addEventListener("pointerleave", () => this.#look(null));
    map.on("singleclick", (event) => {
      const station = this.world.stationAt(event.coordinate);
      const cell = station ?? this.release.cellAt(event.coordinate);
      if (cell) this.pick(cell);
    });
  }

  /** Keys of the map: its middle is looked at, and Enter opens its series. */
  #keys() {
    const target = $("map");
    target.addEventListener("keydown", (event) => {
      const steps = { ",": -1, ".": 1 };
      if (!this.crossed) this.#cross(true);
      if (event.key === "Enter") {
        const cell = this.release.cellAt(this.world.map.getView().getCenter());
        if (cell) this.pick(cell);
      } else if (event.key in steps) this.go(this.kind, this.index + steps[event.key]);
    });
    target.addEventListener("focus", () => this.#cross(target.matches(":focus-visible")));
    target.addEventListener("blur", () => this.#cross(false));
    document.addEventListener("keydown", (event) => event.key === "Escape" && this.panel.close());
  }

  #cross(on) {
    $("cross").classList.toggle("on", on);
    this.crossed = on;
    if (on) this.#look(this.world.map.getView().getCenter());
  }

  /** Look at a coordinate: the values of its cells are shown, and spoken where the keyboard moves the map. */
  #look(coordinate) {
    clearTimeout(this.resting);
    const cell = coordinate && this.release.cellAt(coordinate);
    this.looked = cell ? { ...cell, coordinate } : null;
    this.world.mark("looked", cell);
    this.#tell();
    if (cell) this.resting = setTimeout(() => this.#read(this.looked), REST);
  }

  /** Read the cell that is looked at, at full resolution. */
  async #read(looked) {
    const { map, layer } = this.painter.shown ?? {};
    if (!map) return;
    try {
      await Promise.all(layer.assets.map(async (asset) => (await cog(href(this.release, map, asset))).value(looked.row, looked.column)));
      if (looked === this.looked) this.#tell();
    } catch (error) {
      this.failed(error);
    }
  }

  /** Write the values at the cell that is looked at. */
  #tell() {
    const { looked, painter, release, field } = this;
    if (!looked || !painter.shown) return this.legend.values(null);
    const { layer, files, map } = painter.shown;
    const parts = files.map((file) => file.nearest(looked.row, looked.column));
    const rows = [];
    if (parts.every(Boolean)) {
      const factor = Math.max(...parts.map((part) => part.factor));
      const value = layer.value(...parts.map((part) => part.value));
      rows.push({ name: release.side(Math.round(factor)), value, text: layer.text(value), layer, rough: factor > 1 });
    } else rows.push({ name: release.fine, value: NaN, text: "…", layer });
    if (field?.map === map) {
      const { ratio } = release.grid;
      const value = field.field[Math.floor(looked.row / ratio) * field.columns + Math.floor(looked.column / ratio)];
      const moisture = this.layers.get("soil_moisture");
      rows.push({ name: release.coarse, value, text: Number.isFinite(value) ? moisture.text(value) : "no observation", layer: moisture });
    }
    const words = this.world.words(looked.coordinate);
    this.legend.values({ words, rows });
    if (this.crossed && !rows[0].rough) $("spoken").textContent = `${words}: ${rows.map((row) => `${row.name} ${row.text}`).join(", ")}`;
  }

  /** Open the series of a cell, or of the cell of a station. */
  pick(cell) {
    const station = cell.name ? cell : (this.places ?? []).find(({ row, column }) => row === cell.row && column === cell.column);
    this.picked = { row: cell.row, column: cell.column };
    this.world.mark("picked", this.picked);
    this.#write();
    this.panel.open(this.picked, station ?? null);
    const [left, bottom, right, top] = this.release.box(cell.row, cell.column);
    this.world.reveal([(left + right) / 2, (bottom + top) / 2], this.#padding());
  }

  unpick() {
    this.picked = null;
    this.world.mark("picked", null);
    this.#write();
  }

  async #stations(at) {
    this.places = this.release.stations ? await places(this.release.base) : [];
    this.world.place(this.places);
    $("stations-choice").hidden = !this.places.length;
    $("stations-count").textContent = `(${this.places.length})`;
    const cell = at && this.release.cellAt([at[0] * this.release.narrow, at[1]]);
    if (cell) this.pick(cell);
  }

  #view(view) {
    if (!view) return this.world.fit(this.#padding());
    this.world.map.getView().setCenter([view[0] * this.release.narrow, view[1]]);
    this.world.map.getView().setResolution(view[2]);
  }

  /** Pixels at the borders of the map that cards cover: top, right, bottom, left. */
  #padding() {
    const narrow = matchMedia("(max-width: 700px)").matches;
    const height = (id) => ($(id).hidden ? 0 : $(id).getBoundingClientRect().height);
    if (narrow) return [height("panel") + 24, 16, height("time") + height("series") + 24, 16];
    return [30, $("series").hidden ? 40 : 460, height("time") + 40, 350];
  }

  async #moved() {
    if (!this.started) {
      this.started = true; // the size of the map is known only now
      this.go(this.kind, this.index);
      return;
    }
    if (this.crossed) this.#look(this.world.map.getView().getCenter());
    this.#write();
    try {
      await this.painter.refresh();
    } catch (error) {
      this.failed(error);
    }
  }

  #write() {
    const { release, world, painter } = this;
    const view = world.map.getView();
    const [x, y] = view.getCenter();
    const centre = ({ row, column }) => {
      const [left, bottom, right, top] = release.box(row, column);
      return `${link.short((left + right) / 2 / release.narrow)},${link.short((bottom + top) / 2)}`;
    };
    link.write({
      release: link.read().release,
      [this.kind]: this.map().first,
      layer: this.layer.name,
      compare: painter.compare === "off" ? null : `${painter.compare},${link.short(painter.compare === "swipe" ? painter.split : painter.opacity)}`,
      at: this.picked && centre(this.picked),
      view: [x / release.narrow, y, view.getResolution()].map(link.short).join(","),
    });
  }
}

async function start() {
  try {
    new Viewer(await load(link.read().release));
    document.body.classList.add("ready");
  } catch (error) {
    const number = link.read().release;
    const newest = ["Show the newest release", () => ((location.hash = ""), location.reload())];
    message(error.message, "start", number ? newest : undefined);
  }
}

addEventListener("hashchange", () => location.reload());
start();
