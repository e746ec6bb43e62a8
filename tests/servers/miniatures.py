"""The catalogs that `catalogs.toml` names, small: their documents, ways to sign and files, on the loopback interface.

What is imitated: the walk of JAXA Earth by date, level, longitude and latitude; the Planetary Computer's API, its
tokens that end, its mixed platforms, null dates and CRS without a code; CMR-STAC's pages by cursor, HDF-EOS files
behind the redirects of Earthdata Login; IMERG of GES DISC and SMAP of NSIDC as HDF5; OpenLandMap among 60 other
collections, its items as wide as the world. Files cover the surroundings of an area alone, in the lattice of the
product; each is made when it is asked for, from `granules.truth`.
"""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from servers import granules

TOKEN = "l0gin"  # noqa: S105 - of this server
"""Earthdata token that opens its files."""

LOGIN = "localhost"
"""Host of Earthdata Login, which is not that of the files."""

USER, PASSWORD = "maria", "hunter2"
BASIC = f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"
SESSION = "session=c00kie"
"""Cookie that a host of files gives to who has logged in."""

CONTAINERS = {
    "modis": "modiseuwest/modis-061",
    "nasadem": "nasademeuwest/nasadem-cog",
    "esa": "landcoverdata/esa-cci-lc",
}
Json = dict[str, Any]
WORLD = [-180.0, -90.0, 180.0, 90.0]


@dataclass
class Miniatures:
    """What the server has, and what was asked of it."""

    first: date
    last: date
    life: timedelta = timedelta(hours=1)
    """How long a token of the Planetary Computer holds."""
    url: str = ""
    requests: list[str] = field(default_factory=list, repr=False)
    files: dict[str, bytes] = field(default_factory=dict, repr=False)
    makers: dict[str, Callable[[], bytes]] = field(default_factory=dict, repr=False)
    """Path of a file -> what makes it."""
    built: dict[str, dict[str, list[Json]]] = field(default_factory=dict, repr=False)
    """API -> its collections and their items."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, part: str) -> int:
        """Requests whose path holds a text."""
        return sum(part in path for path in self.requests)

    @property
    def urls(self) -> dict[str, str]:
        """Preset -> where it is here."""
        return {
            "jaxa-earth": f"{self.url}/jaxa/catalog.json",
            "planetary-computer": f"{self.url}/pc/api/stac/v1",
            "nasa-lpcloud": f"{self.url}/cmr/stac/LPCLOUD",
            "nasa-gesdisc": f"{self.url}/cmr/stac/GES_DISC",
            "nasa-nsidc": f"{self.url}/cmr/stac/NSIDC_CPRD",
            "openlandmap": f"{self.url}/openlandmap/catalog.json",
        }

    @property
    def environment(self) -> dict[str, str]:
        """What a person has set who has the accounts."""
        return {"PC_SDK_SAS_URL": f"{self.url}/sas", "EARTHDATA_TOKEN": TOKEN, "NETRC": os.devnull}

    @property
    def months(self) -> list[date]:
        """First days of the months that products have."""
        found, day = [], self.first.replace(day=1)
        while day <= self.last:
            found.append(day)
            day = (day + timedelta(days=32)).replace(day=1)
        return found

    @property
    def days(self) -> list[date]:
        """Days that daily products have."""
        return [self.first + timedelta(days=n) for n in range((self.last - self.first).days + 1)]

    def composites(self, days: int) -> list[tuple[date, date]]:
        """First and last day of the composites of a product: of so many days from 1 January, of months, of years."""
        if not days:
            return [(day, _end(day)) for day in self.months]
        found = []
        for year in _years(self):
            day = date(year, 1, 1)
            while day.year == year:
                end = min(day + timedelta(days=days - 1), date(year, 12, 31)) if days < 365 else date(year, 12, 31)
                if end >= self.first and day <= self.last:
                    found.append((day, end))
                day = end + timedelta(days=1) if days < 365 else date(year + 1, 1, 1)
        return found

    def file(self, path: str, make: Callable[[], bytes]) -> str:
        """Address of a file that is made when it is asked for."""
        self.makers[path] = make
        return f"{self.url}{path}"

    def content(self, path: str) -> bytes | None:
        """Content of a file; None if there is none."""
        with self.lock:
            if path not in self.files and path in self.makers:
                self.files[path] = self.makers[path]()
            return self.files.get(path)


# --- JAXA Earth: links alone, no search ------------------------------------------------------------------------------

NOW = "9999-12"
SMC = "standard.L3-SMC.daytime.v3_global_monthly"
JAXA = {
    f"JAXA.G-Portal_Aqua.AMSR-E_{SMC}": ("SMC", "soil_moisture", "2002-06", "2011-10"),
    f"JAXA.G-Portal_GCOM-W.AMSR2_{SMC}": ("SMC", "soil_moisture", "2012-07", NOW),
    "JAXA.EORC_GSMaP_standard.Gauge.00Z-23Z.v6_monthly": ("PRECIP", "rain", "2000-03", NOW),
}
"""Collection -> band, what it measures, first and last month."""

OTHERS = 6
RASTERS = {
    "SMC": {
        "dn": {"data_type": "uint16", "min": 0, "max": 6000, "nodata": 65535, "error": [65534]},
        "dn2value": {"slope": 0.01, "offset": 0},
        "value": {"unit": "%"},
    },
    "PRECIP": {
        "dn": {"data_type": "uint16", "min": 0, "max": 65000, "nodata": 65535, "error": [65534]},
        "dn2value": {"slope": 0.001, "offset": 0},
        "value": {"unit": "mm/day"},
    },
}


def _jaxa(here: Miniatures, path: str) -> Json | None:  # noqa: PLR0911 - one of each kind of document
    parts = path.removeprefix("/jaxa/").split("/")
    if parts == ["catalog.json"]:
        names = [*JAXA, *(f"JAXA.Other{number}" for number in range(OTHERS))]
        return _catalog("cog", [_link("child", f"./{name}/collection.json") for name in names])
    name, rest = parts[0], parts[1:]
    if name not in JAXA:
        return _catalog(name, []) if rest == ["collection.json"] else None
    band, quantity, first, last = JAXA[name]
    months = [day for day in here.months if first <= f"{day:%Y-%m}" <= last]
    match rest:
        case ["collection.json"]:
            links = [_link("child", f"./{day:%Y-%m}/catalog.json") for day in months]
            return _collection(name, links)
        case [month, "catalog.json"]:
            return _catalog(month, [_link("child", f"./{level}/catalog.json") for level in (0, 1)])
        case [month, level, "catalog.json"]:
            bands = ["W180.00-E000.00", "E000.00-E180.00"] if level == "0" else ["E000.00-E090.00", "E090.00-E180.00"]
            return _catalog(level, [_link("child", f"./{east}/catalog.json") for east in bands])
        case [month, level, east, "catalog.json"]:
            north = "S90.00-N90.00" if level == "0" else "N00.00-N90.00"
            return _catalog(east, [_link("item", f"./{east}-{north}.json")])
        case [month, level, east, document] if document.endswith(".json"):
            stem = document.removesuffix(".json")
            day = date.fromisoformat(f"{month}-01")
            longitudes = east.split("-")
            west, right = (float(text[1:]) * (-1 if text[0] == "W" else 1) for text in longitudes)
            box = [west, 0.0 if level == "1" else -90.0, right, 90.0]
            pixels = 10 if level == "1" else 2
            make = partial(granules.jaxa, quantity, RASTERS[band], day, box, pixels)
            here.file(f"/jaxa/{name}/{month}/{level}/{east}/{stem}-{band}.tiff", make)
            asset = {"href": f"./{stem}-{band}.tiff", "type": TIFF, "je:rasters": [RASTERS[band]]}
            span = {"start_datetime": f"{day}T00:00:00Z", "end_datetime": f"{_end(day)}T23:59:59Z"}
            return _item(f"{name}-{month}-{stem}", box, {"datetime": None} | span, {band: asset}, name)
    return None


# --- the Planetary Computer and CMR-STAC: searches -------------------------------------------------------------------

TIFF = "image/tiff; application=geotiff; profile=cloud-optimized"


def _computer(here: Miniatures) -> dict[str, list[Json]]:
    blob = lambda store, name, make: here.file(f"/{CONTAINERS[store]}/{name}", make)  # noqa: E731
    items: dict[str, list[Json]] = {name: [] for name in ("modis-11A2-061", "modis-13A1-061", "modis-16A3GF-061")}
    for collection, short, days, fields in (
        ("modis-11A2-061", "11A2", 8, granules.LST),
        ("modis-13A1-061", "13A1", 16, granules.VEGETATION_16),
    ):
        for start, end in here.composites(days):
            for prefix, platform in (("MOD", "terra"), ("MYD", "aqua")):
                name = f"{prefix}{short}.A{start:%Y%j}.h26v05.061.2021"
                assets = {
                    band: {
                        "href": blob(
                            "modis", f"{name}/{band}.tif", partial(granules.modis, one, start, prefix == "MYD")
                        ),
                        "type": TIFF,
                    }
                    for band, one in fields.items()
                }
                items[collection].append(_modis_item(name, start, end, platform, assets, collection))
    for year in _years(here):
        name, start, end = f"MOD16A3GF.A{year}001.h26v05.061.2022", date(year, 1, 1), date(year, 12, 31)
        href = blob("modis", f"{name}/ET_500m.tif", partial(granules.modis, granules.ET_YEAR, start))
        assets = {"ET_500m": {"href": href, "type": TIFF}}
        items["modis-16A3GF-061"].append(_modis_item(name, start, end, "terra", assets, "modis-16A3GF-061"))
    href = blob("nasadem", "NASADEM_HGT_n34e108.tif", granules.elevation)
    box, properties = [108.0, 34.0, 109.0, 35.0], {"datetime": "2000-02-20T00:00:00Z"}
    items["nasadem"] = [
        _item("NASADEM_HGT_n34e108", box, properties, {"elevation": {"href": href, "type": TIFF}}, "nasadem")
    ]
    items["esa-cci-lc"] = []
    for year in _years(here):
        name = f"C3S-LC-L4-LCCS-Map-300m-P1Y-{year}-v2.1.1-N00E090"
        href = blob("esa", f"{name}.tif", granules.land_cover)
        properties = {"datetime": None, **_span(date(year, 1, 1), date(year, 12, 31))}
        assets = {"lccs_class": {"href": href, "type": TIFF}}
        items["esa-cci-lc"].append(_item(name, [90.0, 0.0, 135.0, 45.0], properties, assets, "esa-cci-lc"))
    return items


LAND = {
    "MOD11A2": (8, granules.LST),
    "MOD13A3": (0, granules.VEGETATION_MONTH),
    "MOD16A2GF": (8, granules.ET_8),
    "MCD12Q1": (365, granules.LAND_COVER_IGBP),
}
"""Product of LP DAAC -> days of a composite (0: a month), and its layers."""


def land_granule(product: str, start: date) -> str:
    """Name of a granule of LP DAAC."""
    return f"{product}.A{start:%Y%j}.h26v05.061.2021000000000"


def rain_file(day: date) -> str:
    """Name of the month of IMERG that begins on a day."""
    return f"3B-MO.MS.MRG.3IMERG.{day:%Y%m}01-S000000-E235959.{day:%m}.V07B.HDF5"


def _cmr(here: Miniatures) -> dict[str, list[Json]]:
    items: dict[str, list[Json]] = {}
    for product, (days, fields) in LAND.items():
        collection = f"{product}_061"
        items[collection] = []
        for start, end in here.composites(days):
            name = land_granule(product, start)
            href = here.file(
                f"/lp-prod-protected/{product}.061/{name}.hdf", partial(granules.hdf4, product, fields, start)
            )
            assets = {
                "data": {"href": href, "type": "application/x-hdf", "roles": ["data"]},
                "browse": {"href": f"{here.url}/browse/{name}.jpg", "type": "image/jpeg", "roles": ["thumbnail"]},
                "metadata": {"href": f"{here.url}/meta/{name}.xml", "type": "application/xml", "roles": ["metadata"]},
            }
            properties = {"datetime": f"{start}T00:00:00.000Z", **_span(start, end)}
            items[collection].append(_item(name, [92.3, 30.0, 117.5, 40.0], properties, assets, collection))
    items["GPM_3IMERGM_07"] = []
    for day in here.months:
        name = rain_file(day)
        href = here.file(f"/gesdisc/GPM_L3/{day:%Y}/{name}", partial(granules.imerg, day))
        properties = {"datetime": f"{day}T00:00:00.000Z", **_span(day, _end(day))}
        assets = {"data": {"href": href, "type": "application/x-hdf5", "roles": ["data"]}}
        items["GPM_3IMERGM_07"].append(_item(name, WORLD, properties, assets, "GPM_3IMERGM_07"))
    items["SPL3SMP_009"] = []
    for day in here.days:
        name = f"SMAP_L3_SM_P_{day:%Y%m%d}_R19240_001"
        href = here.file(f"/nsidc-cumulus-prod-protected/SMAP/{name}.h5", partial(granules.smap, day))
        # Named by when it was produced, as CMR-STAC does where a granule has several files.
        assets = {"001/SMAP_L3_SM_P": {"href": href, "type": "application/x-hdf5", "roles": ["data"]}}
        properties = {"datetime": f"{day}T00:00:00.000Z", **_span(day, day)}
        items["SPL3SMP_009"].append(_item(name, [-180.0, -85.04, 180.0, 85.04], properties, assets, "SPL3SMP_009"))
    return items


def _years(here: Miniatures) -> range:
    return range(here.first.year, here.last.year + 1)


def _end(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1) - timedelta(days=1)


def _span(start: date, end: date) -> Json:
    return {"start_datetime": f"{start}T00:00:00Z", "end_datetime": f"{end}T23:59:59Z"}


def _modis_item(name: str, start: date, end: date, platform: str, assets: Json, collection: str) -> Json:
    properties = {
        "datetime": None,
        **_span(start, end),
        "platform": platform,
        "instruments": ["modis"],
        "proj:epsg": None,
        "proj:wkt2": granules.SINUSOIDAL.to_wkt(),
    }
    return _item(name, [92.3, 30.0, 117.5, 40.0], properties, assets, collection)


def _search(items: Mapping[str, list[Json]], asked: Json, method: str, url: str) -> Json:
    names = asked.get("collections", [])
    names = names.split(",") if isinstance(names, str) else names
    box = asked.get("bbox") or WORLD
    box = [float(value) for value in (box.split(",") if isinstance(box, str) else box)]
    first, _, last = str(asked.get("datetime") or "../..").partition("/")
    last = last or first
    kept = [
        item
        for name in names
        for item in items.get(name, [])
        if item["bbox"][0] <= box[2]
        and item["bbox"][2] >= box[0]
        and item["bbox"][1] <= box[3]
        and item["bbox"][3] >= box[1]
        and (last == ".." or (item["properties"].get("start_datetime") or item["properties"]["datetime"]) <= last)
        and (first == ".." or (item["properties"].get("end_datetime") or item["properties"]["datetime"]) >= first)
    ]
    size, begin = min(int(asked.get("limit", 10)), 100), int(asked.get("cursor") or asked.get("token") or 0)
    page = {
        "type": "FeatureCollection",
        "features": kept[begin : begin + size],
        "numberMatched": len(kept),
        "links": [],
    }
    if begin + size < len(kept):
        key = "cursor" if "/cmr/" in url else "token"
        after = asked | {key: str(begin + size)}
        get = {"rel": "next", "href": f"{url}?{urlencode(after)}", "method": "GET"}
        page["links"] = [get if method == "GET" else {"rel": "next", "href": url, "method": "POST", "body": after}]
    return page


def _landing(url: str, names: list[str]) -> Json:
    links = [
        _link("self", url),
        _link("root", url),
        _link("data", f"{url}/collections"),
        _link("search", f"{url}/search") | {"method": "GET"},
        _link("search", f"{url}/search") | {"method": "POST"},
        *(_link("child", f"{url}/collections/{name}") for name in names),
    ]
    spec = "https://api.stacspec.org/v1.0.0"
    return _catalog("api", links) | {"conformsTo": [f"{spec}/core", f"{spec}/item-search", f"{spec}/collections"]}


# --- OpenLandMap: static, one file for the world, among many collections ----------------------------------------------


def _openlandmap(here: Miniatures, path: str) -> Json | None:
    textures = {f"{name}.tot_iso.11277.2020.wpct": name for name in ("sand", "silt", "clay")}
    parts = path.removeprefix("/openlandmap/").split("/")
    if parts == ["catalog.json"]:
        names = [*(f"layer{number}_openlandmap" for number in range(60)), *textures]
        return _catalog("OpenLandMap", [_link("child", f"./{name}/collection.json") for name in names])
    name, rest = parts[0], parts[1:]
    stem = f"{name}_20200101_20221231"
    if rest == ["collection.json"]:
        return _collection(name, [_link("item", f"./{stem}/{stem}.json")] if name in textures else [])
    if name in textures and rest == [stem, f"{stem}.json"]:
        href = here.file(f"/openlandmap-files/{name}.tif", partial(granules.texture, textures[name]))
        assets = {
            "thumbnail": {"href": f"{here.url}/preview.png", "type": "image/png"},
            f"{name}_m_30m_b0cm..30cm": {"href": href, "type": TIFF},
        }
        return _item(stem, WORLD, {"datetime": None, **_span(date(2020, 1, 1), date(2022, 12, 31))}, assets, name)
    return None


# --- the server ------------------------------------------------------------------------------------------------------


def _link(rel: str, href: str) -> Json:
    return {"rel": rel, "href": href, "type": "application/json"}


def _catalog(name: str, links: list[Json]) -> Json:
    return {"type": "Catalog", "id": name, "stac_version": "1.0.0", "description": name, "links": links}


def _collection(name: str, links: list[Json]) -> Json:
    extent = {"spatial": {"bbox": [WORLD]}, "temporal": {"interval": [[None, None]]}}
    return _catalog(name, links) | {"type": "Collection", "license": "proprietary", "extent": extent}


def _item(name: str, box: list[float], properties: Json, assets: Json, collection: str) -> Json:
    west, south, east, north = box
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "bbox": box,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": properties,
        "assets": assets,
        "links": [],
        "collection": collection,
    }


def _answer(
    here: Miniatures, method: str, target: str, body: Json, headers: Mapping[str, str]
) -> tuple[int, Any, Json]:
    """Status, document or bytes, and headers."""
    parts = urlsplit(target)
    path, query = parts.path, parse_qs(parts.query)
    here.requests.append(path)
    cmr = [(f"/cmr/stac/{provider}", _cmr) for provider in ("LPCLOUD", "GES_DISC", "NSIDC_CPRD")]
    for root, build in (("/pc/api/stac/v1", _computer), *cmr):
        if path.rstrip("/") == root or path.startswith(f"{root}/"):
            with here.lock:
                if build.__name__ not in here.built:
                    here.built[build.__name__] = build(here)
            items = here.built[build.__name__]
            if path.endswith("/search"):
                asked = body | dict(parse_qsl(parts.query))
                return 200, _search(items, asked, method, f"{here.url}{path}"), {}  # type: ignore[arg-type]
            return 200, _landing(f"{here.url}{root}", list(items)), {}
    if path.startswith("/sas/"):
        end = datetime.now(UTC) + here.life
        token = urlencode(
            {"st": "2020-01-01T00:00:00Z", "se": end.isoformat(), "sp": "rl", "sig": path.removeprefix("/sas/")}
        )
        return 200, {"msft:expiry": end.isoformat(), "token": token}, {}
    for root, build_document in (("/jaxa/", _jaxa), ("/openlandmap/", _openlandmap)):
        if path.startswith(root) and path.endswith(".json"):
            document = build_document(here, path)
            return (404, b"", {}) if document is None else (200, document, {})
    if denied := _denied(here, path, query, headers):
        return denied
    content = here.content(path.removeprefix("/signed"))
    return (404, b"", {}) if content is None else (200, content, {"Content-Type": "application/octet-stream"})


def _denied(  # noqa: PLR0911 - one for each kind of protection
    here: Miniatures, path: str, query: Mapping[str, list[str]], headers: Mapping[str, str]
) -> tuple[int, Any, Json] | None:
    """Answer to one who has no token, or whose signature has ended; None where the file is sent."""
    container = "/".join(path.split("/")[1:3])
    if container in CONTAINERS.values():
        end = query.get("se", ["1970-01-01T00:00:00+00:00"])[0]
        valid = query.get("sig") == [container] and datetime.fromisoformat(end) > datetime.now(UTC)
        return None if valid else (403, b"<Error><Code>AuthenticationFailed</Code></Error>", {})
    login = headers.get("Authorization") == f"Bearer {TOKEN}" or SESSION in headers.get("Cookie", "")
    authorize = f"{here.url.replace('127.0.0.1', LOGIN)}/oauth/authorize?{urlencode({'state': path})}"
    if path.startswith("/gesdisc/") and not login:
        return 302, b"", {"Location": f"{authorize}&client_id=gesdisc"}
    if path.startswith(("/lp-prod-protected/", "/nsidc-cumulus-prod-protected/")):
        if not login:
            return 302, b"", {"Location": f"{authorize}&client_id=cumulus"}
        end = int((datetime.now(UTC) + timedelta(hours=1)).timestamp())
        return 307, b"", {"Location": f"{here.url}/signed{path}?Expires={end}&Signature=abc"}
    if path.startswith("/oauth/") and headers.get("Authorization") == BASIC:
        return 302, b"", {"Location": f"{here.url}/login?{urlencode({'code': 'abc', 'state': query['state'][0]})}"}
    if path == "/login":
        return 302, b"", {"Location": query["state"][0], "Set-Cookie": f"{SESSION}; Path=/; HttpOnly"}
    if path.startswith("/oauth/"):
        return 200, b"<!DOCTYPE html><html>Earthdata Login", {"Content-Type": "text/html; charset=utf-8"}
    if path.startswith("/signed/") and "Signature" not in query:
        return 403, b"", {}
    return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    here: Miniatures

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self._send(*_answer(self.here, "GET", self.path, {}, self.headers))  # type: ignore[arg-type]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        self._send(*_answer(self.here, "POST", self.path, body, self.headers))  # type: ignore[arg-type]

    def _send(self, status: int, content: Any, headers: Json) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        headers = dict(headers) if isinstance(content, bytes) else {"Content-Type": "application/json"}
        part = self.headers.get("Range")
        if status == 200 and part and isinstance(content, bytes):
            first, _, last = part.removeprefix("bytes=").partition("-")
            start = int(first) if first else len(body) - int(last)
            stop = min(int(last) + 1, len(body)) if first and last else len(body)
            if start >= len(body):
                status, headers, body = 416, {"Content-Range": f"bytes */{len(body)}"}, b""
            else:
                headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(body)}"
                status, body = 206, body[start:stop]
        self.send_response(status)
        for name, value in {"Accept-Ranges": "bytes", **headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""


class _Server(ThreadingHTTPServer):
    request_queue_size = 64
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client may hang up when it has read enough."""


@contextmanager
def miniatures(first: date, last: date) -> Iterator[Miniatures]:
    """Serve the catalogs with products of some months until the context ends."""
    here = Miniatures(first, last)
    with _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"here": here})) as server:
        here.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield here
        finally:
            server.shutdown()
            thread.join()
