"""The meaning of a relative period on a date, for an output that already holds months.

An output holds one unbroken run of months, from the first that it was begun with. A relative period lets it go on to
the last complete month, never shortens it, and leaves alone what the models learn from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import yaml

from soilscale import config, storage
from soilscale.config import Config
from soilscale.engine.output import Workspace
from soilscale.errors import ConfigurationError, DataError
from soilscale.seasons import as_month, following, month_range
from soilscale.stages.context import Renewal, Span

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The one that is compiled, where there is one."""


@dataclass(frozen=True)
class Held:
    """What an earlier run wrote down of its period."""

    period: Span
    training: Span
    renewal: Renewal | None


def resolve(settings: Config, today: date, *, afresh: bool, anew: bool = False) -> tuple[Config, Renewal | None]:
    """Configuration with the months that a relative period means, and how they were found; None if it is not relative.

    Parameters
    ----------
    today
        Date of the run, UTC.
    afresh
        Whether to count from this date even if an earlier command has written down what the same period meant on its
        own: what searches the catalogs counts, the stages after it take what was searched.
    anew
        Whether what the output holds is of no account, for it is another configuration's.

    Raises
    ------
    ConfigurationError
        If the output holds no months that the period could go on from and none are named to begin with, or the
        models are to learn from months that are not over.
    DataError
        If ``run.yaml`` in the output is not one of ours.
    """
    word = settings.period
    if not isinstance(word, str):
        return settings, None
    last = None if anew else _earlier(Workspace(settings.output))
    training = settings.training or (None if last is None else last.training)
    if training is None:
        raise ConfigurationError(_nothing_to_go_on(settings, word))
    # Stages after the search take the months that it took: counted again after midnight at a month's end, they would be
    # others.
    if not afresh and last is not None and last.renewal is not None and last.renewal.asked == word:
        return _with(settings, last.period, training), last.renewal
    period = _gone_on(training, last, today)
    first = _first_new(settings, word, period, last, today)
    renewed = (first, period[1]) if first <= period[1] else None
    return _with(settings, period, training), Renewal(word, str(today), renewed, word == config.period.SINCE_RELEASE)


def _with(settings: Config, period: Span, training: Span) -> Config:
    return settings.model_copy(update={"period": period, "training": training})


def _gone_on(training: Span, earlier: Held | None, today: date) -> Span:
    """Months from the first that is held, or is learned from, to the last that is held or complete."""
    complete = str(config.period.last_complete(today))
    first, last = earlier.period if earlier is not None else (training[0], complete)
    # Never shorter than what is held: months that an output holds are not taken out of it.
    first, last = min(first, training[0]), max(last, complete)
    if training[1] > last:
        raise ConfigurationError(
            f"training: got {list(training)}; expected months that are complete on {today}, the last of which is "
            f"{complete}"
        )
    return first, last


def _first_new(settings: Config, word: str, period: Span, last: Held | None, today: date) -> str:
    """First month to bring up to date."""
    first = config.period.first_of(word, config.period.last_complete(today))
    if first is None:
        # Imported here, since a run with nothing to do is to end without importing what makes maps.
        from soilscale.stages import releases

        newest = releases.newest(Workspace(settings.output))
        return period[0] if newest is None or not newest.last else _next(newest.last.removesuffix("Z"))
    # Not only the months that the word counts: a gap left by runs that did not take place is filled as well.
    return period[0] if last is None else max(period[0], min(str(first), _next(last.period[1])))


def _next(month: str) -> str:
    return str(following(as_month(month)))


def _nothing_to_go_on(settings: Config, word: str) -> str:
    return (
        f"period: {word} extends an existing output, but {settings.output} is empty; first run a fixed period, such "
        "as -o 'period=[2003-01, 2012-12]', or set the months that the models learn from, such as -o "
        "'training=[2003-01, 2012-12]': the maps start with them"
    )


def describe(settings: Config, renewal: Renewal) -> str:
    """What a relative period means, in a line."""
    new = "no further month" if renewal.renewed is None else " to ".join(dict.fromkeys(renewal.renewed))
    also = ", and revised inputs of earlier months" if renewal.revised else ""
    return (
        f"period {renewal.asked} on {renewal.date}: to update: {new}{also}; maps of {' to '.join(settings.span)}, "
        f"models of {' to '.join(settings.training or settings.span)}"
    )


def learned_anew(settings: Config, earlier: Span) -> Iterator[str]:
    """What a period that goes on costs where the models learn from its new months too, in a line; else none.

    Parameters
    ----------
    earlier
        First and last month that the output held so far.
    """
    first, last = settings.span
    if settings.training is None and first == earlier[0] and last > earlier[1]:
        new, every = len(month_range(_next(earlier[1]), last)), len(month_range(first, last))
        yield (
            f"period: new months {_next(earlier[1])} to {last}; without `training` the models learn from them too, "
            f"so all models and the maps of all {every} months are made anew; with -o "
            f"'training=[{first}, {earlier[1]}]' only the maps of {new} would be, and the other {every - new} "
            "stay as they are"
        )


def _earlier(workspace: Workspace) -> Held | None:
    """What ``run.yaml`` in the output tells; None if there is none."""
    try:
        data = storage.read_bytes(workspace.resolved)
    except FileNotFoundError:
        return None
    try:
        content = yaml.load(data, Loader=LOADER)  # noqa: S506 - a safe one
        period = _span(content["config"]["period"])
        training = content["config"].get("training")
        return Held(
            period, period if training is None else _span(training), _renewal(content.get(Renewal.__name__.lower()))
        )
    except (yaml.YAMLError, TypeError, KeyError, AttributeError, ValueError) as error:
        raise DataError(
            f"{workspace.resolved} does not record which months the output contains ({type(error).__name__}); "
            "run again with a fixed period: the months that the output contains"
        ) from error


def _span(value: Any) -> Span:
    first, last = (str(as_month(month)) for month in value)
    return first, last


def _renewal(content: Mapping[str, Any] | None) -> Renewal | None:
    if content is None:
        return None
    renewed = content["renewed"]
    return Renewal(content["asked"], content["date"], None if renewed is None else _span(renewed), content["revised"])
