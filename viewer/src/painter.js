// Draws a map and the coarse observation beside or over it: blocks of overviews, as fine as the screen can show and as
// few as a view may read.

import Layer from "ol/layer/Layer.js";
import Source from "ol/source/Source.js";
import { Cache } from "./cache.js";
import { cog } from "./cog.js";
import { canvas } from "./layers.js";
import { href } from "./release.js";

/** Cells that a view reads at most; three bytes each in a COG, so the first view of a nation stays under 3 MB. */
const CELLS = 700_000;

const PAINTED = 100; // canvases of blocks that are kept

export class Painter extends Layer {
  #painted = new Cache(PAINTED);
  #turn = 0;

  constructor(release) {
    super({ source: new Source({ state: "ready" }), className: "painter" });
    this.release = release;
    this.element = document.createElement("canvas");
    this.element.className = "painter";
    /** What is drawn: `{map, layer, files}`, once its blocks are at hand. */
    this.shown = null;
    /** Canvas of the coarse observation, or null. */
    this.coarse = null;
    this.compare = "off";
    this.split = 0.5;
    this.opacity = 0.5;
  }

  /** Read what a view needs of a map; it is drawn when all is there, unless another was asked for meanwhile. */
  async show(map, layer, coarse) {
    const turn = ++this.#turn;
    const files = await this.#files(map, layer);
    await this.#fetch(files);
    const field = await coarse;
    if (turn !== this.#turn) return false;
    this.shown = { map, layer, files };
    this.coarse = field;
    this.changed();
    return true;
  }

  /** Read what the view shows now of the map that is drawn. */
  async refresh() {
    const turn = this.#turn;
    if (!this.shown) return;
    await this.#fetch(this.shown.files);
    if (turn === this.#turn) this.changed();
  }

  /** Read a map ahead. */
  async prepare(map, layer) {
    await this.#fetch(await this.#files(map, layer));
  }

  #files(map, layer) {
    return Promise.all(layer.assets.map((asset) => cog(href(this.release, map, asset))));
  }

  #fetch(files) {
    const blocks = this.#visible(files[0], this.#level(files[0]));
    return Promise.all(blocks.flatMap(([level, column, row]) => files.map((file) => file.block(level, column, row))));
  }

  /** View as far as the grid reaches: left, bottom, right, top. */
  #window() {
    const view = this.getMapInternal().getView();
    const seen = view.calculateExtent(this.getMapInternal().getSize());
    const { extent } = this.release;
    return [0, 1, 2, 3].map((side) => (side < 2 ? Math.max : Math.min)(seen[side], extent[side]));
  }

  #cell(file, level) {
    const { extent } = this.release;
    const { width, height } = file.levels[level];
    return [(extent[2] - extent[0]) / width, (extent[3] - extent[1]) / height];
  }

  /** The finest level of which a view has no more cells than it may read, and no finer than the screen's pixels. */
  #level(file) {
    const [left, bottom, right, top] = this.#window();
    const resolution = this.getMapInternal().getView().getResolution();
    let chosen = file.levels.length - 1;
    for (let level = chosen; level >= 0; level--) {
      const [wide, high] = this.#cell(file, level);
      if (((right - left) * (top - bottom)) / (wide * high) > CELLS) break;
      chosen = level;
      if (high <= resolution) break;
    }
    return chosen;
  }

  /** Blocks of a level in the view: level, column and row. */
  #visible(file, level) {
    const [left, bottom, right, top] = this.#window();
    if (left >= right || bottom >= top) return [];
    const { extent } = this.release;
    const { width, height, side } = file.levels[level];
    const [wide, high] = this.#cell(file, level);
    const at = (length, most) => Math.min(Math.max(0, Math.floor(length / side)), Math.ceil(most / side) - 1);
    const blocks = [];
    for (let row = at((extent[3] - top) / high, height); row <= at((extent[3] - bottom) / high, height); row++) {
      for (let column = at((left - extent[0]) / wide, width); column <= at((right - extent[0]) / wide, width); column++) {
        blocks.push([level, column, row]);
      }
    }
    return blocks;
  }

  /** Canvas of a block, or null where it is not at hand. */
  #block({ layer, files }, place) {
    const key = `${layer.name}|${files[0].url}|${place.join("|")}`;
    const known = this.#painted.get(key);
    if (known) return known;
    const parts = files.map((file) => file.peek(...place));
    if (parts.some((part) => !part)) return null;
    const [{ data, width, height }, other] = parts;
    const values = other ? (index) => layer.value(data[index], other.data[index]) : (index) => data[index];
    return this.#painted.set(key, canvas(width, height, layer.paint, values));
  }

  /** OpenLayers asks for a drawing of every frame. */
  render({ size, pixelRatio, viewState: { center, resolution } }) {
    const { element } = this;
    const [width, height] = size.map((length) => Math.round(length * pixelRatio));
    if (element.width !== width || element.height !== height) [element.width, element.height] = [width, height];
    const context = element.getContext("2d");
    context.clearRect(0, 0, width, height);
    const place = ([left, bottom, right, top]) => {
      const x = (value) => Math.round(((value - center[0]) / resolution + size[0] / 2) * pixelRatio);
      const y = (value) => Math.round(((center[1] - value) / resolution + size[1] / 2) * pixelRatio);
      return [x(left), y(top), x(right) - x(left), y(bottom) - y(top)];
    };
    if (this.shown) this.#draw(context, place, resolution, width, height);
    return element;
  }

  #draw(context, place, resolution, width, height) {
    const comparing = this.coarse && !this.paused && this.compare !== "off";
    const border = Math.round(this.split * width);
    context.save();
    if (comparing && this.compare === "swipe") clip(context, border, 0, width - border, height);
    this.#blocks(context, place, resolution);
    context.restore();
    if (!comparing) return;
    context.save();
    if (this.compare === "swipe") clip(context, 0, 0, border, height);
    else context.globalAlpha = this.opacity;
    context.imageSmoothingEnabled = false;
    context.drawImage(this.coarse, ...place(this.release.extent));
    context.restore();
  }

  #blocks(context, place, resolution) {
    const [file] = this.shown.files;
    const target = this.#level(file);
    const whole = this.#visible(file, target).every((block) => this.#block(this.shown, block));
    // Coarser overviews stand in for blocks that are on their way.
    for (let level = whole ? target : file.levels.length - 1; level >= target; level--) {
      const [wide, high] = this.#cell(file, level);
      context.imageSmoothingEnabled = this.shown.layer.name !== "quality" && high < 2 * resolution;
      for (const block of this.#visible(file, level)) {
        const painted = this.#block(this.shown, block);
        if (!painted) continue;
        const { side } = file.levels[level];
        const left = this.release.extent[0] + block[1] * side * wide;
        const top = this.release.extent[3] - block[2] * side * high;
        context.drawImage(painted, ...place([left, top - painted.height * high, left + painted.width * wide, top]));
      }
    }
  }
}

function clip(context, ...box) {
  context.beginPath();
  context.rect(...box);
  context.clip();
}
