// Dates: a slider, months or seasons, step by step or playing.

import { dated } from "./release.js";

const $ = (id) => document.getElementById(id);
const PACE = 900; // ms that a map is shown while playing

export class Timeline {
  /** `go` shows a map of a kind; `prepare` reads one ahead. */
  constructor(release, go, prepare) {
    Object.assign(this, { release, go, prepare, playing: false });
    for (const kind of ["month", "season"]) {
      $(kind).disabled = !release.kinds.includes(kind);
      $(kind).addEventListener("click", () => kind !== this.kind && this.#change(kind));
    }
    $("slider").addEventListener("input", () => {
      this.stop();
      go(this.kind, Number($("slider").value));
    });
    $("previous").addEventListener("click", () => this.#step(-1));
    $("next").addEventListener("click", () => this.#step(1));
    $("play").addEventListener("click", () => (this.playing ? this.stop() : this.#play()));
  }

  show(kind, index) {
    const maps = this.release.maps[kind];
    if (kind !== this.kind) this.#ticks(maps);
    [this.kind, this.index] = [kind, index];
    for (const each of ["month", "season"]) $(each).setAttribute("aria-pressed", each === kind);
    const name = dated(kind, maps[index]);
    $("slider").max = maps.length - 1;
    $("slider").value = index;
    $("slider").setAttribute("aria-valuetext", name);
    $("date").textContent = name;
    $("previous").disabled = index === 0;
    $("next").disabled = index === maps.length - 1;
    $("play").disabled = maps.length < 2;
  }

  /** Year, or month of a single year, below the slider. */
  #ticks(maps) {
    const years = new Set(maps.map((map) => map.first.slice(0, 4)));
    const part = years.size > 1 ? [0, 4] : [5, 7];
    const starts = maps.map((map, index) => [index, map.first.slice(...part)]).filter(([index, text], at, all) => !at || all[index - 1][1] !== text);
    const every = Math.ceil(starts.length / 14);
    const ticks = starts
      .filter((_, index) => index % every === 0)
      .map(([index, text]) => {
        const tick = document.createElement("span");
        tick.textContent = text;
        tick.style.left = `${(index / Math.max(maps.length - 1, 1)) * 100}%`;
        return tick;
      });
    $("ticks").replaceChildren(...ticks);
  }

  /** The other kind of map, at the date nearest to that of now. */
  #change(kind) {
    this.stop();
    const now = this.release.maps[this.kind][this.index];
    const maps = this.release.maps[kind];
    const inside = maps.findIndex(({ first, last }) => first <= now.last && now.first <= last);
    const before = maps.findLastIndex(({ first }) => first <= now.first);
    this.go(kind, Math.max(inside >= 0 ? inside : before, 0));
  }

  #step(by) {
    this.stop();
    this.go(this.kind, this.index + by);
  }

  stop() {
    this.playing = false;
    $("play").textContent = "▶";
    $("play").setAttribute("aria-label", "Play");
    $("play").setAttribute("aria-pressed", false);
  }

  /** Show one map after another, each once it is read, from the first again at the end. */
  async #play() {
    this.playing = true;
    $("play").textContent = "❚❚";
    $("play").setAttribute("aria-label", "Pause");
    $("play").setAttribute("aria-pressed", true);
    while (this.playing) {
      const kind = this.kind;
      const next = (this.index + 1) % this.release.maps[kind].length;
      const rest = new Promise((done) => setTimeout(done, PACE));
      await Promise.all([this.prepare(kind, next).catch(() => {}), rest]); // showing it says what is wrong
      if (this.playing && kind === this.kind) await this.go(kind, next);
    }
  }
}
