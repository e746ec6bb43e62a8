// The link of what is shown: place, date and layer stand in the URL's hash.

const KEYS = ["release", "month", "season", "layer", "compare", "at", "view"];

/** What the link asks for; what cannot be read in it is left out. */
export function read() {
  const given = new URLSearchParams(location.hash.slice(1));
  const numbers = (key, count) => {
    const parts = given.get(key)?.split(",").map(Number);
    return parts?.length === count && parts.every(Number.isFinite) ? parts : null;
  };
  const kind = given.has("season") ? "season" : given.has("month") ? "month" : null;
  const [compare, share] = given.get("compare")?.split(",") ?? [];
  return {
    release: /^\d+$/.test(given.get("release") ?? "") ? Number(given.get("release")) : null,
    kind,
    first: kind && given.get(kind),
    layer: given.get("layer"),
    compare: ["swipe", "fade"].includes(compare) ? compare : "off",
    share: Number(share) >= 0 && Number(share) <= 1 ? Number(share) : 0.5,
    at: numbers("at", 2),
    view: numbers("view", 3),
  };
}

/** Put what is shown into the link, without a new entry in the history. */
export function write(shown) {
  const parts = KEYS.filter((key) => shown[key]).map((key) => `${key}=${shown[key]}`);
  history.replaceState(null, "", `#${parts.join("&")}`);
}

/** Link to another release; the rest stays. Null is the newest, whichever that is. */
export function lead(release) {
  const parts = location.hash.slice(1).split("&").filter((part) => part && !part.startsWith("release="));
  location.hash = [...(release ? [`release=${release}`] : []), ...parts].join("&");
}

/** Number with as many digits as matter. */
export const short = (value) => String(Number(value.toPrecision(9)));
