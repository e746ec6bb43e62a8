// The map: the grid's own projection, its outline, a graticule, stations, and what is marked on it. No base map, so no
// request leaves for anywhere but the product.

import Feature from "ol/Feature.js";
import OlMap from "ol/Map.js";
import View from "ol/View.js";
import ScaleLine from "ol/control/ScaleLine.js";
import Zoom from "ol/control/Zoom.js";
import Point from "ol/geom/Point.js";
import Polygon, { fromExtent } from "ol/geom/Polygon.js";
import { defaults } from "ol/interaction/defaults.js";
import Graticule from "ol/layer/Graticule.js";
import VectorLayer from "ol/layer/Vector.js";
import { addCoordinateTransforms, get as projection } from "ol/proj.js";
import Projection from "ol/proj/Projection.js";
import VectorSource from "ol/source/Vector.js";
import { Circle, Fill, Stroke, Style, Text } from "ol/style.js";
import proj4 from "proj4";

const REACH = 14; // pixels from a station within which a click means it
const INK = "#33383d";
const line = (color, width, lineDash) => new Stroke({ color, width, lineDash });

/** The grid's CRS, and, where proj4js knows it, the way to longitude and latitude. */
function projected(release) {
  const { grid, extent, narrow, metres } = release;
  const display = new Projection({
    code: "soilscale",
    units: grid.geographic ? "degrees" : "m",
    metersPerUnit: metres,
    extent,
    getPointResolution: (resolution) => resolution,
  });
  try {
    const way = proj4(grid.proj4 ?? "", "WGS84");
    const middle = (extent[0] + extent[2]) / 2 / narrow;
    const turned = (degrees, centre) => degrees - 360 * Math.round((degrees - centre) / 360);
    const lonlat = ([x, y]) => {
      const [lon, lat] = way.forward([x / narrow, y]);
      return [turned(lon, 0), lat];
    };
    const drawn = (place) => {
      const [x, y] = way.inverse([...place]);
      // Longitudes of a grid in degrees may go on beyond 180.
      return [(grid.geographic ? turned(x, middle) : x) * narrow, y];
    };
    const bounds = around(extent, lonlat);
    if (!bounds.every(Number.isFinite)) throw new Error("the grid reaches beyond where its projection holds");
    // Whole degrees: the graticule draws, and names, its own border too.
    display.setWorldExtent(bounds.map((degrees, side) => (side < 2 ? Math.floor : Math.ceil)(degrees)));
    addCoordinateTransforms(display, projection("EPSG:4326"), lonlat, drawn);
    return { display, lonlat };
  } catch {
    return { display, lonlat: null }; // coordinates are then the grid's own
  }
}

/** West, south, east, north of an extent; west > east across the antimeridian. */
function around([left, bottom, right, top], lonlat) {
  const steps = [...Array(33).keys()].map((step) => step / 32);
  const places = steps.flatMap((a) => steps.map((b) => lonlat([left + a * (right - left), bottom + b * (top - bottom)])));
  const [middle] = lonlat([(left + right) / 2, (bottom + top) / 2]);
  const turned = places.map(([lon]) => ((((lon - middle + 180) % 360) + 360) % 360) - 180);
  const wrap = (lon) => ((((lon + 180) % 360) + 360) % 360) - 180;
  const lats = places.map(([, lat]) => lat);
  return [wrap(middle + Math.min(...turned)), Math.min(...lats), wrap(middle + Math.max(...turned)), Math.max(...lats)];
}

const STATION = new Style({
  image: new Circle({ radius: 5.5, fill: new Fill({ color: "#fff" }), stroke: line("#111", 2) }),
});

export class World {
  constructor(release, painter) {
    this.release = release;
    const { display, lonlat } = projected(release);
    this.lonlat = lonlat;
    this.marks = new VectorSource();
    this.places = new VectorSource();
    const outline = new VectorSource({ features: this.#outline() });
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.duration = calm ? 0 : 250;
    const layers = [
      new VectorLayer({ source: outline, style: (feature) => feature.get("style"), className: "ground" }),
      painter,
      ...(lonlat ? [this.#graticule()] : []),
      new VectorLayer({ source: outline, style: (feature) => feature.get("border"), className: "lines" }),
      (this.stations = new VectorLayer({ source: this.places, style: STATION, className: "stations" })),
      new VectorLayer({ source: this.marks, style: (feature) => feature.get("style"), className: "marks" }),
    ];
    const { extent, grid } = release;
    const room = Math.max(extent[2] - extent[0], extent[3] - extent[1]) * 0.6;
    this.map = new OlMap({
      target: "map",
      layers,
      controls: [new Zoom({ className: "zoom", duration: this.duration }), new ScaleLine({ minWidth: 70 })],
      interactions: defaults({ altShiftDragRotate: false, pinchRotate: false, zoomDuration: this.duration }),
      keyboardEventTarget: document.getElementById("map"),
      view: new View({
        projection: display,
        center: [(extent[0] + extent[2]) / 2, (extent[1] + extent[3]) / 2],
        resolution: (extent[2] - extent[0]) / 800,
        extent: [extent[0] - room, extent[1] - room, extent[2] + room, extent[3] + room],
        constrainOnlyCenter: true,
        showFullExtent: true,
        minResolution: grid.step / 60,
        maxResolution: Math.max(extent[2] - extent[0], extent[3] - extent[1]) / 120,
        constrainRotation: 1,
        enableRotation: false,
      }),
    });
  }

  /** Outline of the grid and of the area in it, for the ground below the map and the border above. */
  #outline() {
    const { area, extent, narrow } = this.release;
    const drawn = area?.map((ring) => ring.map(([x, y]) => [x * narrow, y]));
    const ground = new Style({ fill: new Fill({ color: "#fbfbf9" }) });
    const grid = new Feature({
      geometry: fromExtent(extent),
      border: new Style({ stroke: line(area ? "rgba(51,56,61,.35)" : INK, 1, area ? [4, 4] : undefined) }),
      style: ground,
    });
    // Every ring by itself: a hole is an outline like another.
    const rings = (drawn ?? []).map(
      (ring) => new Feature({ geometry: new Polygon([ring]), border: new Style({ stroke: line(INK, 1.5) }) }),
    );
    return [grid, ...rings];
  }

  #graticule() {
    const label = { font: "11px system-ui, sans-serif", fill: new Fill({ color: "#4a5056" }), stroke: line("rgba(255,255,255,.85)", 3) };
    return new Graticule({
      strokeStyle: line("rgba(40,50,60,.28)", 0.8),
      showLabels: true,
      wrapX: false,
      targetSize: 110,
      className: "graticule",
      lonLabelStyle: new Text({ ...label, textBaseline: "bottom" }),
      latLabelStyle: new Text({ ...label, textAlign: "end" }),
    });
  }

  /** Show all of the grid between what covers the map. */
  fit(padding, duration = 0) {
    this.map.getView().fit(this.release.extent, { padding, duration });
  }

  /** Mark the fine cell at a place, and the coarse cell around it; null clears the marks of a name. */
  mark(name, cell) {
    for (const feature of this.marks.getFeatures()) if (feature.get("name") === name) this.marks.removeFeature(feature);
    if (!cell) return;
    const { ratio } = this.release.grid;
    const [row, column] = [cell.row, cell.column].map((index) => index - (index % ratio));
    const strong = name === "picked";
    const add = (extent, style) => this.marks.addFeature(new Feature({ geometry: fromExtent(extent), name, style }));
    add(this.release.box(row, column, ratio), [
      new Style({ stroke: line("rgba(255,255,255,.9)", 3.5) }),
      new Style({ stroke: line(INK, strong ? 1.6 : 1, [5, 4]) }),
    ]);
    add(this.release.box(cell.row, cell.column), [
      new Style({ stroke: line("#fff", 4) }),
      new Style({ stroke: line("#111", strong ? 2 : 1.2) }),
    ]);
    if (strong) {
      const [left, bottom, right, top] = this.release.box(cell.row, cell.column);
      const geometry = new Point([(left + right) / 2, (bottom + top) / 2]);
      const image = new Circle({ radius: 4, stroke: line("#fff", 2), fill: new Fill({ color: "#d1495b" }) });
      this.marks.addFeature(new Feature({ geometry, name, style: new Style({ image }) }));
    }
  }

  /** Place stations on the map, at the centres of their cells. */
  place(stations) {
    const features = stations.map((station) => {
      const [left, bottom, right, top] = this.release.box(station.row, station.column);
      return new Feature({ geometry: new Point([(left + right) / 2, (bottom + top) / 2]), station });
    });
    this.places.addFeatures(features);
  }

  /** Station that is drawn at a coordinate, if there is one. */
  stationAt(coordinate) {
    const near = this.stations.getVisible() ? this.places.getClosestFeatureToCoordinate(coordinate) : null;
    if (!near) return null;
    const [x, y] = near.getGeometry().getCoordinates();
    const away = Math.hypot(x - coordinate[0], y - coordinate[1]) / this.map.getView().getResolution();
    return away <= REACH ? near.get("station") : null;
  }

  /** Coordinate in words. */
  words(coordinate) {
    const degrees = this.lonlat?.(coordinate);
    if (degrees?.every(Number.isFinite)) {
      const [lon, lat] = degrees;
      return `${Math.abs(lat).toFixed(3)}° ${lat < 0 ? "S" : "N"}, ${Math.abs(lon).toFixed(3)}° ${lon < 0 ? "W" : "E"}`;
    }
    return `x ${(coordinate[0] / this.release.narrow).toFixed(0)}, y ${coordinate[1].toFixed(0)}`;
  }

  /** Move the map so that a coordinate is seen. */
  reveal(coordinate, padding) {
    const view = this.map.getView();
    const [width, height] = this.map.getSize();
    const [x, y] = this.map.getPixelFromCoordinate(coordinate) ?? [0, 0];
    const inside = x > padding[3] && x < width - padding[1] && y > padding[0] && y < height - padding[2];
    if (inside) return;
    const resolution = view.getResolution();
    const shift = [(padding[1] - padding[3]) / 2, (padding[0] - padding[2]) / 2];
    view.animate({ center: [coordinate[0] + shift[0] * resolution, coordinate[1] + shift[1] * resolution], duration: this.duration });
  }
}

