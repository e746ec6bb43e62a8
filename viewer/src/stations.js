// Stations and their means, as the report has them.

import { textIfAny } from "./requests.js";

/** Rows of a CSV table as objects; fields in double quotes may hold commas and quotes. */
export function rows(text) {
  const lines = text.trim().split(/\r?\n/).map(fields);
  const head = lines.shift() ?? [];
  return lines.map((line) => Object.fromEntries(head.map((name, index) => [name, line[index] ?? ""])));
}

function fields(line) {
  return [...line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)].map(([, quoted, plain]) => quoted?.replaceAll('""', '"') ?? plain);
}

const PAIRS = { month: "station_pairs.csv", season: "station_seasonal_pairs.csv" };

/** Stations inside the grid: name, row, column; none where the report, or this copy of the product, has none. */
export async function places(base) {
  const text = await textIfAny(new URL("../report/station_places.csv", base).href);
  if (!text) return [];
  return rows(text).map(({ station, row, column }) => ({ name: station, row: Number(row), column: Number(column) }));
}

const kept = new Map();

/** Means of a station by month, such as 2004-01, m3 m-3; null where it measures another quantity. */
export async function means(base, kind, name) {
  if (!kept.has(kind)) kept.set(kind, textIfAny(new URL(`../report/${PAIRS[kind]}`, base).href));
  const text = await kept.get(kind);
  const records = text ? rows(text).filter((row) => row.station === name) : [];
  if (!records.length || records[0].unit !== "m3 m-3") return null;
  return new Map(records.map(({ time, observed }) => [time.slice(0, 7), observed === "" ? NaN : Number(observed)]));
}
