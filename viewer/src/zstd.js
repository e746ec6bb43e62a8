// Zarr's zstd codec by fzstd, 8 kB of JavaScript; that of numcodecs is 750 kB of WebAssembly.

import { decompress } from "fzstd";

export default class Zstd {
  static fromConfig() {
    return new Zstd();
  }

  decode(bytes) {
    return decompress(bytes);
  }

  encode() {
    throw new Error("the viewer writes nothing");
  }
}
