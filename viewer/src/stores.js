// The Zarr stores beside the maps: the coarse observation, and the series of a place.

import * as zarr from "zarrita";
import { request, Unavailable } from "./requests.js";

const DAY = 86_400_000;

/** Store of zarrita: a chunk that is not there holds no value. */
class Store {
  constructor(url) {
    this.url = url;
  }

  async get(key) {
    try {
      return new Uint8Array(await (await request(this.url + key.replace(/^\//, ""))).arrayBuffer());
    } catch (error) {
      // A bucket whose objects may not be listed answers 403 for one that is not there.
      if (error instanceof Unavailable && (error.gone || error.status === 403)) return undefined;
      throw error;
    }
  }
}

/** Variable of a store below the folder of the maps, or null where this copy of the product has none. */
export async function open(base, path) {
  const [store, ...rest] = path.split("/");
  const root = zarr.root(new Store(new URL(`../${store}/`, base).href));
  try {
    return await zarr.open.v3(root.resolve(rest.join("/")), { kind: "array" });
  } catch (error) {
    if (error instanceof zarr.NotFoundError) return null;
    throw error;
  }
}

/** Months, such as 2004-01, along the axis of a group of a store; null where there is no such group. */
export async function months(base, group) {
  const array = await open(base, `${group}/time`);
  if (!array) return null;
  const unit = /^days since (.+)$/.exec(array.attrs.units);
  if (!unit) throw new Error(`${group}/time is in ${array.attrs.units}; expected days since a date`);
  const origin = Date.parse(`${unit[1].slice(0, 10)}T00:00:00Z`);
  const { data } = await zarr.get(array);
  return Array.from(data, (day) => new Date(origin + Number(day) * DAY).toISOString().slice(0, 7));
}

/** The coarse observation, read a chunk of months at a time. */
export class Coarse {
  #chunks = new Map();

  static async open(base, target, range) {
    const [array, time] = await Promise.all([
      open(base, `cube.zarr/coarse/${target}`),
      months(base, "cube.zarr/coarse"),
    ]);
    return array && time ? new Coarse(array, time, range) : null;
  }

  constructor(array, time, [low, high]) {
    this.array = array;
    this.index = new Map(time.map((month, index) => [month, index]));
    this.usable = (value) => (value >= low - 1e-6 && value <= high + 1e-6 ? value : NaN);
    [, this.rows, this.columns] = array.shape;
  }

  async #month(month) {
    const index = this.index.get(month);
    const size = this.rows * this.columns;
    if (index === undefined) return new Float64Array(size).fill(NaN);
    const deep = this.array.chunks[0];
    const first = Math.floor(index / deep) * deep;
    if (!this.#chunks.has(first)) {
      const reading = zarr.get(this.array, [zarr.slice(first, Math.min(first + deep, this.array.shape[0])), null, null]);
      reading.catch(() => this.#chunks.delete(first));
      this.#chunks.set(first, reading);
    }
    const { data } = await this.#chunks.get(first);
    return Float64Array.from(data.subarray((index - first) * size, (index - first + 1) * size), this.usable);
  }

  /** Mean of the observations of some months, NaN where one is missing: row by row, from the north. */
  async field(months) {
    const fields = await Promise.all(months.map((month) => this.#month(month)));
    return fields[0].map((_, cell) => fields.reduce((sum, field) => sum + field[cell], 0) / fields.length);
  }
}

/** Value of a cell in one step of time; a chunk that is not there is NaN. */
export async function cell(array, index, row, column) {
  return Number(await zarr.get(array, [index, row, column]));
}
