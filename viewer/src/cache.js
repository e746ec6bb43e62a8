/** Least recently used entries are dropped once the sizes of all exceed a limit. */
export class Cache {
  #entries = new Map();
  #size = 0;

  constructor(limit) {
    this.limit = limit;
  }

  get(key) {
    const entry = this.#entries.get(key);
    if (!entry) return undefined;
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    return entry.value;
  }

  set(key, value, size = 1) {
    this.delete(key);
    this.#entries.set(key, { value, size });
    this.#size += size;
    for (const oldest of this.#entries.keys()) {
      if (this.#size <= this.limit || oldest === key) break;
      this.delete(oldest);
    }
    return value;
  }

  delete(key) {
    this.#size -= this.#entries.get(key)?.size ?? 0;
    this.#entries.delete(key);
  }
}
