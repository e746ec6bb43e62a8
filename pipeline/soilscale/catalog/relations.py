"""How the items of a source relate: tiles, versions, platforms, duplicates, or undecided.

Decided by place, interval and properties, never by the order of ids; `docs/months.md` states the rules. Two items are
of one place if the edges of their boxes differ by less than a tenth of a side, so that tiles that overlap by some
pixels stay tiles; they are of one time if they share most of their intervals.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from soilscale.catalog import places, time_coverage, versions
from soilscale.catalog.platforms import canonical, platform
from soilscale.catalog.query import Item, Span
from soilscale.catalog.time_coverage import DAY
from soilscale.sources import Source

Standing = Literal[
    "counts", "other platform", "lacks an asset", "duplicate", "older version", "longer interval", "unclear"
]
"""What an item is: it counts; it gives way to another; or it counts beside another that nothing tells it from."""

ALIKE = 0.85
"""Least share of the time of two intervals together that both cover, for them to be of one time."""

LONGER = 1.5
"""How many times as long an interval is that gives way to a shorter one, or a shorter one to it."""

MONTH = np.timedelta64(32, "D")
"""Greatest length of an interval that counts as no longer than a month."""

OBSERVED = ("instruments", "sat:orbit_state", "sat:relative_orbit", "sat:absolute_orbit", "sar:polarizations")
"""Properties in which two observations of one place and time differ, of which the mean counts."""

KINDS = ("gsd", "processing:level", "product:type")
"""Properties in which two products differ: neither is a version of the other."""

CHECKSUMS = ("file:checksum", "checksum:multihash")


@dataclass(frozen=True)
class Verdict:
    """What one item is to the others of its source."""

    item: str
    """Id of the item."""
    standing: Standing
    series: str
    """Items of one interval that lie side by side have one series; of several series the mean counts."""
    beside: str | None = None
    """Id of the item that counts in its place, or from which nothing tells it apart."""
    reason: str = ""
    """What decided."""

    @property
    def counts(self) -> bool:
        """Whether the item is read."""
        return self.standing in ("counts", "unclear")


@dataclass(frozen=True)
class Relations:
    """What every item of a source is to the others."""

    verdicts: tuple[Verdict, ...]
    """One for each item, in their order."""
    spans: tuple[Span, ...]
    """Start and end (exclusive) of each item."""
    platforms: Mapping[str, int]
    """Platform -> number of items that count; ``""``: of those that name none, if others do."""
    versions: Mapping[str, int]
    """Version -> number of items that count."""
    platform_filter: tuple[str, ...] = ()
    """Platforms that the source asks for."""
    same_ids: int = 0
    """Number of items whose id another item has too, of another place or time."""
    lengths: Mapping[float, int] = field(default_factory=dict)
    """Days that an interval covers, to a tenth -> number of items that count."""
    overlap: tuple[str, str] | None = None
    """Ids of two items of one place that count, no longer than a month, whose intervals overlap and differ in length:
    the longer one and the shorter one."""

    def having(self, standing: Standing) -> list[tuple[Verdict, Span]]:
        """Items of one standing, with their intervals."""
        pairs = zip(self.verdicts, self.spans, strict=True)
        return [(verdict, span) for verdict, span in pairs if verdict.standing == standing]


def relate(items: Sequence[Item], source: Source) -> Relations:
    """Decide what the items of a source are to each other.

    Pure: the same items give the same answer in any order, but for the order of the answer.

    Parameters
    ----------
    items
        All items of the source, frozen or as a catalog has them.
    source
        The source that they belong to: its assets, its platform, and whether it is static.

    Returns
    -------
    Relations
        A verdict for each item, and how many count by platform, version and length.

    Raises
    ------
    DataError
        If an item names no time.
    """
    spans = time_coverage.resolve(items, source.composite)
    judge = _Judge(items, spans, source)
    judge.judge()
    verdicts = tuple(judge.verdicts[index] for index in range(len(items)))
    counting = [index for index, verdict in enumerate(verdicts) if verdict.counts]
    platforms = Counter(judge.platforms[index] or "" for index in counting)
    version_counts = Counter(text for index in counting if (text := versions.version(items[index])) is not None)
    ids = Counter(item["id"] for item in items)
    days = Counter(round(float((spans[index][1] - spans[index][0]) / DAY), 1) for index in counting)
    return Relations(
        verdicts,
        tuple(spans),
        platforms if any(platforms) else {},
        version_counts,
        platforms_of(source),
        sum(count for count in ids.values() if count > 1),
        days,
        judge.overlap,
    )


def platforms_of(source: Source) -> tuple[str, ...]:
    """Platforms that a source asks for, as they are compared; none: all."""
    return tuple(sorted({canonical(name) for name in source.platform}))


class _Judge:
    """Verdicts as they are reached."""

    def __init__(self, items: Sequence[Item], spans: Sequence[Span], source: Source) -> None:
        self.items, self.spans, self.source = items, spans, source
        self.platforms = [platform(item) for item in items]
        self.places = [places.place(item, source.asset) for item in items]
        self.verdicts: dict[int, Verdict] = {}
        self.overlap: tuple[str, str] | None = None

    def judge(self) -> None:
        """Reach a verdict on every item."""
        names = platforms_of(self.source)
        left = []
        for index, name in enumerate(self.platforms):
            if names and name is not None and name not in names:
                self._give_way(index, None, "other platform", name)
            else:
                left.append(index)
        for group in self._groups(left):
            self._judge_group(group)
        if not self.source.static:
            self._judge_lengths()

    def _groups(self, indices: Iterable[int]) -> Iterator[list[int]]:
        """Items of one place and time; those whose place is unknown, of one time and file."""
        times: dict[Span, list[int]] = defaultdict(list)
        for index in indices:
            times[self.spans[index]].append(index)
        for spans in _alike(sorted(times)):
            members = [index for span in spans for index in times[span]]
            placed = [(index, footprint) for index in members if (footprint := self.places[index]) is not None]
            for group in places.together([footprint for _, footprint in placed]):
                yield [placed[number][0] for number in group]
            # Unknown places are not one place: only the same file makes two such items alike.
            nowhere: dict[object, list[int]] = defaultdict(list)
            for index in members:
                if self.places[index] is None:
                    nowhere[self._file(index)].append(index)
            yield from nowhere.values()

    def _judge_group(self, group: list[int]) -> None:
        if len(group) > 1:
            # Before versions: a newer item that lacks the data must not displace an older one that has them.
            group = self._complete(group)
            group = self._different(group)
        for name, members in self._series(group).items():
            observed = self._observed(members)
            self._count(
                name, [[i for kind in self._split(part, KINDS) for i in self._newest(kind)] for part in observed]
            )

    def _complete(self, group: list[int]) -> list[int]:
        """Items that have every wanted asset, if any has."""
        complete = [i for i in group if all(name in self.items[i]["assets"] for name in self.source.assets)]
        for index in group if complete else ():
            if index not in complete:
                self._give_way(index, complete[0], "lacks an asset", "")
        return complete or group

    def _different(self, group: list[int]) -> list[int]:
        """One of all items that hold the same file: the newest."""
        left = group
        for key in (self._file, self._checksum):
            files: dict[object, list[int]] = defaultdict(list)
            for index in left:
                files[key(index)].append(index)
            left = []
            for members in files.values():
                latest = versions.newest([self.items[index] for index in members])
                winner = members[latest[0]] if latest else min(members, key=lambda index: str(self.items[index]["id"]))
                left += [winner, *self._others(members, winner, "duplicate", "the same file")]
        return left

    def _others(self, members: Iterable[int], winner: int, standing: Standing, reason: str) -> list[int]:
        """Let all but one give way; none is left."""
        for index in members:
            if index != winner:
                self._give_way(index, winner, standing, reason)
        return []

    def _series(self, group: list[int]) -> dict[str, list[int]]:
        """Items by platform; those that name none are of the only one that others name."""
        platforms = sorted({name for index in group if (name := self.platforms[index]) is not None})
        # With two platforms named, one that names none might be of either, and keeps a series of its own.
        alone = platforms[0] if len(platforms) == 1 else ""
        by_platform: dict[str, list[int]] = defaultdict(list)
        for index in group:
            by_platform[self.platforms[index] or alone].append(index)
        return by_platform

    def _observed(self, members: list[int]) -> list[list[int]]:
        """Items by what they observed: instrument, orbit, and the instant, where an interval was inferred from it."""
        if len(members) == 1:
            return [members]
        # Two instants of one day are two overpasses, but an interval that is stated already says what is covered.
        inferred = not any(time_coverage.states(self.items[index]["properties"]) for index in members)
        return self._split(members, (*OBSERVED, "datetime") if inferred else OBSERVED)

    def _split(self, members: list[int], keys: Sequence[str]) -> list[list[int]]:
        """Items by those of some properties that all of them state."""
        values_of = [[json.dumps(self.items[i]["properties"].get(key)).lower() for key in keys] for i in members]
        complete = [number for number in range(len(keys)) if all(values[number] != "null" for values in values_of)]
        alike: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for index, values in zip(members, values_of, strict=True):
            alike[tuple(values[number] for number in complete)].append(index)
        return list(alike.values())

    def _newest(self, members: list[int]) -> list[int]:
        """The newest of several items; all of them if nothing tells them apart."""
        if len(members) == 1:
            return members
        latest = versions.newest([self.items[index] for index in members])
        if latest is None:
            return members
        winner = members[latest[0]]
        return [winner, *self._others(members, winner, "older version", latest[1])]

    def _count(self, name: str, moments: list[list[int]]) -> None:
        """Let items of one place, time and platform count, each in a series of its own."""
        # By time and file, never by id, so that series are the same whatever a catalog calls its items.
        ordered = sorted((index for part in moments for index in part), key=self._order)
        unclear = {index: part for part in moments if len(part) > 1 for index in part}
        for number, index in enumerate(ordered):
            series = name if number == 0 else f"{name}#{number + 1}"
            rivals = [self.items[rival]["id"] for rival in unclear.get(index, ()) if rival != index]
            standing: Standing = "unclear" if rivals else "counts"
            beside = min(rivals, default=None)
            self.verdicts[index] = Verdict(self.items[index]["id"], standing, series, beside)

    def _judge_lengths(self) -> None:
        """Let what is longer than a month give way to what is shorter, of its place and within its interval.

        What is no longer than a month is left to each month; a pair of it is kept as an example.
        """
        counting = [i for i, verdict in self.verdicts.items() if verdict.counts and self.places[i] is not None]
        counting.sort(key=lambda index: self.spans[index])
        starts, ends = (np.array([self.spans[i][side] for i in counting], dtype="datetime64[s]") for side in (0, 1))
        lengths = ends - starts
        # Most sources have one length, and need no comparing of pairs.
        if not counting or lengths.max() < LONGER * lengths.min():
            return
        for number in np.flatnonzero(lengths >= LONGER * lengths.min()):
            is_long = lengths[number] > MONTH
            if not is_long and self.overlap is not None:
                continue
            reach = starts[number] if is_long else starts[number] - lengths[number]
            window = slice(*np.searchsorted(starts, [reach, ends[number]]))
            fits = (ends[window] <= ends[number]) if is_long else (ends[window] > starts[number])
            fits &= lengths[window] * LONGER <= lengths[number]
            shorter = self._rival(counting[number], [counting[window.start + i] for i in np.flatnonzero(fits)])
            if shorter is None:
                continue
            days = [float((self.spans[i][1] - self.spans[i][0]) / DAY) for i in (counting[number], shorter)]
            if is_long:
                reason = f"{days[0]:g} days beside {days[1]:g}"
                self._give_way(counting[number], shorter, "longer interval", reason)
            else:
                self.overlap = self.items[counting[number]]["id"], self.items[shorter]["id"]

    def _rival(self, index: int, rivals: Iterable[int]) -> int | None:
        """First of some items that is of the place of another, and of no other platform."""
        name = self.platforms[index]
        for rival in rivals:
            # Composites of two platforms overlap on purpose; neither gives way.
            if None not in (name, self.platforms[rival]) and name != self.platforms[rival]:
                continue
            if places.same(self.places[index], self.places[rival]):
                return rival
        return None

    def _give_way(self, index: int, winner: int | None, standing: Standing, reason: str) -> None:
        beside = None if winner is None else self.items[winner]["id"]
        self.verdicts[index] = Verdict(self.items[index]["id"], standing, "", beside, reason)

    def _file(self, index: int) -> object:
        """Where the data of an item lie; an item without them is like no other."""
        asset = self.items[index]["assets"].get(self.source.asset)
        return ("without", index) if asset is None else str(asset["href"])

    def _checksum(self, index: int) -> object:
        asset = self.items[index]["assets"].get(self.source.asset, {})
        checksum = next((asset[key] for key in CHECKSUMS if isinstance(asset.get(key), str)), None)
        return ("without", index) if checksum is None else checksum

    def _order(self, index: int) -> tuple[str, str]:
        properties = self.items[index]["properties"]
        return str(properties.get("datetime")), str(self._file(index))


def _alike(spans: Sequence[Span]) -> Iterator[list[Span]]:
    """Intervals, in the order of their starts, that share most of their time."""
    open_: list[list[Span]] = []
    for span in spans:
        open_, closed = _split(open_, span)
        yield from closed
        # Compared with the first of a group only: neighbours in a chain could else drift apart without end.
        home = next((group for group in open_ if _shared(group[0], span) >= ALIKE), None)
        if home is None:
            open_.append([span])
        else:
            home.append(span)
    yield from open_


def _split(groups: list[list[Span]], span: Span) -> tuple[list[list[Span]], list[list[Span]]]:
    """Groups that an interval, or one that starts later, may still join, and the others."""
    late = [group for group in groups if group[0][1] <= span[0]]
    return [group for group in groups if group[0][1] > span[0]], late


def _shared(span: Span, second: Span) -> float:
    """Share of the time of two intervals together that both cover."""
    overlap = min(span[1], second[1]) - max(span[0], second[0])
    either = max(span[1], second[1]) - min(span[0], second[0])
    return max(float(overlap / either), 0.0)
