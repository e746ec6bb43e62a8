// Cloud Optimized GeoTIFFs, block by block, by ranges of them.

import { fromCustomClient } from "geotiff";
import { Cache } from "./cache.js";
import { request } from "./requests.js";

const BLOCKS = 128 * 2 ** 20; // bytes of decoded blocks that are kept
const FILES = 40; // files whose headers are kept

const blocks = new Cache(BLOCKS);
const files = new Cache(FILES);

/** geotiff.js's way to the network, with our messages; a server without ranges sends the whole file. */
const client = (url) => ({
  url,
  async request({ headers, signal } = {}) {
    const response = await request(url, { headers, signal });
    return {
      ok: true,
      status: response.status,
      getHeader: (name) => response.headers.get(name) ?? undefined,
      getData: () => response.arrayBuffer(),
    };
  },
});

class Cog {
  constructor(url, levels) {
    this.url = url;
    /** Full resolution first, then the overviews: width, height and side of a block. */
    this.levels = levels;
  }

  #key(level, column, row) {
    return `${this.url}|${level}|${column}|${row}`;
  }

  /** Block at a place, if it is at hand: data and width. */
  peek(level, column, row) {
    return blocks.get(this.#key(level, column, row));
  }

  async block(level, column, row) {
    const known = this.peek(level, column, row);
    if (known) return known;
    const { image, width, height, side } = this.levels[level];
    const [left, top] = [column * side, row * side];
    const window = [left, top, Math.min(left + side, width), Math.min(top + side, height)];
    const [data] = await image.readRasters({ window });
    const block = { data, width: window[2] - left, height: window[3] - top };
    return blocks.set(this.#key(level, column, row), block, data.byteLength);
  }

  /** Value of a cell at full resolution. */
  async value(row, column) {
    const { side } = this.levels[0];
    const block = await this.block(0, Math.floor(column / side), Math.floor(row / side));
    return block.data[(row % side) * block.width + (column % side)];
  }

  /** Value of a cell as the finest block at hand has it: `{value, factor}`, cells of the grid along one of its; or null. */
  nearest(row, column) {
    const { width } = this.levels[0];
    for (const [level, known] of this.levels.entries()) {
      const factor = width / known.width;
      const [x, y] = [Math.floor(column / factor), Math.floor(row / factor)];
      const block = this.peek(level, Math.floor(x / known.side), Math.floor(y / known.side));
      if (block) return { value: block.data[(y % known.side) * block.width + (x % known.side)], factor };
    }
    return null;
  }
}

async function open(url) {
  const tiff = await fromCustomClient(client(url), { allowFullFile: true });
  const count = await tiff.getImageCount();
  const images = await Promise.all([...Array(count).keys()].map((index) => tiff.getImage(index)));
  const levels = images.map((image) => ({
    image,
    width: image.getWidth(),
    height: image.getHeight(),
    side: image.getTileWidth(),
  }));
  return new Cog(url, levels);
}

/** The file at a URL, opened once. */
export function cog(url) {
  const known = files.get(url);
  if (known) return known;
  const opening = open(url);
  opening.catch(() => files.delete(url)); // the next one to ask tries again
  return files.set(url, opening);
}
