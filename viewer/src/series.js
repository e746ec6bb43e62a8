// The series of a place: fine with its interval, coarse, and stations, of all dates of a kind.

import { cog } from "./cog.js";
import { href, monthsOf } from "./release.js";
import { means } from "./stations.js";
import { cell, months, open } from "./stores.js";

/** Dates read without being asked; each is a chunk of Zarr for every layer, half a megabyte of a large area. */
const AT_ONCE = 60;
const SIDE_BY_SIDE = 8; // requests

/** Reader of a layer at a place by date: from maps.zarr, or from the COGs where this copy of the product has no Zarr. */
async function reader(release, kind, name, { row, column }) {
  const group = `maps.zarr/${kind}`;
  const [array, time] = await Promise.all([open(release.base, `${group}/${name}`), months(release.base, group)]);
  const index = new Map(time?.map((month, at) => [month, at]));
  return async (map) => {
    if (array && index.has(map.first)) return cell(array, index.get(map.first), row, column);
    return map.files[name] ? (await cog(href(release, map, name))).value(row, column) : NaN;
  };
}

/** Run work on each of many, some at a time. */
async function each(many, work) {
  const left = [...many];
  const next = async () => {
    while (left.length) await work(left.shift());
  };
  await Promise.all(Array.from({ length: SIDE_BY_SIDE }, next));
}

/** Series of a place, filled by `read` date by date. */
export class Series {
  constructor(release, kind, place, station, coarse) {
    this.release = release;
    this.kind = kind;
    this.place = place;
    this.station = station;
    this.observation = coarse;
    this.maps = release.maps[kind];
    const blank = () => this.maps.map(() => NaN);
    [this.fine, this.coarse, this.measured] = [blank(), blank(), blank()];
    const ends = ["lower", "upper"].every((name) => release.layers[name]);
    this.band = ends ? { lower: blank(), upper: blank() } : null;
    this.read = new Set();
    this.stopped = false;
  }

  /** Indices still to be read, those nearest to a date first. */
  pending(now, all) {
    const left = this.maps.map((_, index) => index).filter((index) => !this.read.has(index));
    left.sort((a, b) => Math.abs(a - now) - Math.abs(b - now));
    return all ? left : left.slice(0, Math.max(0, AT_ONCE - this.read.size));
  }

  /** Read the observation and the station of all dates, and the maps of those near one; `changed` is called on the way. */
  async load(now, all, changed) {
    const { release, kind, place } = this;
    const names = { soil_moisture: this.fine, ...(this.band ?? {}) };
    const layers = Object.entries(names);
    const readers = await Promise.all(layers.map(([name]) => reader(release, kind, name, place)));
    await Promise.all([this.#observed(), this.#stationed()]);
    changed();
    await each(this.pending(now, all), async (index) => {
      if (this.stopped) return;
      const values = await Promise.all(readers.map((value) => value(this.maps[index])));
      values.forEach((value, at) => (layers[at][1][index] = value));
      this.read.add(index);
      if (!this.stopped) changed();
    });
  }

  async #observed() {
    if (!this.observation) return;
    const { ratio } = this.release.grid;
    const at = Math.floor(this.place.row / ratio) * this.observation.columns + Math.floor(this.place.column / ratio);
    const fields = await Promise.all(this.maps.map((map) => this.observation.field(monthsOf(map))));
    fields.forEach((field, index) => (this.coarse[index] = field[at]));
  }

  async #stationed() {
    const values = this.station && (await means(this.release.base, this.kind, this.station.name));
    if (!values) return;
    this.maps.forEach((map, index) => (this.measured[index] = values.get(map.first) ?? NaN));
  }

  /** Columns and rows as a table: date, fine, ends, coarse, station. */
  table() {
    const columns = { date: this.maps.map((map) => map.first), fine: this.fine, ...(this.band ?? {}), coarse: this.coarse };
    if (this.station) columns[`station ${this.station.name}`] = this.measured;
    const heads = Object.keys(columns);
    return [heads, ...this.maps.map((_, index) => heads.map((head) => columns[head][index]))];
  }
}
