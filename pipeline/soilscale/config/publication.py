"""The section ``publication``: who made the maps, how they may be used and cited, and their public address."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from soilscale import storage
from soilscale.config.base import Section, Text
from soilscale.config.urls import Url

WEB = r"^https?://[^\s/]+"

WebUrl = Annotated[str, Field(pattern=WEB)]


class Provider(Section):
    """Who made, processes, hosts or licenses the maps."""

    name: Text
    """Name of the person or organisation."""
    roles: tuple[Literal["licensor", "producer", "processor", "host"], ...] = ("producer", "processor")
    """Any of `licensor`, `producer`, `processor`, `host`."""
    url: WebUrl | None = None
    """Home page."""
    description: Text | None = None
    """Sentence that describes it."""


def _as_provider(value: Any) -> Any:
    """A provider that is written as its name alone."""
    return {"name": value} if isinstance(value, str) else value


class Publication(Section):
    """What a reader of the maps needs to know beside their numbers."""

    title: Text | None = None
    """Title of the data set."""
    description: Text | None = None
    """Paragraph that describes the data set."""
    license: Annotated[str, Field(pattern=r"^[\w.+-]+$")] | None = None
    """SPDX identifier such as `CC-BY-4.0`, or `other`."""
    license_url: WebUrl | None = None
    """URL of the licence's text; default: that of the SPDX identifier."""
    providers: tuple[Annotated[Provider, BeforeValidator(_as_provider)], ...] = ()
    """Who made, processes, hosts or licenses the maps: names, or mappings as below."""
    citation: Text | None = None
    """How to cite the maps."""
    doi: Annotated[str, Field(pattern=r"^10\.\d{4,9}/\S+$")] | None = None
    """DOI of the maps, with or without `https://doi.org/`."""
    contact: Text | None = None
    """Name, e-mail address or URL of a person to ask."""
    keywords: tuple[Text, ...] = ()
    """Words by which catalogs find the maps."""
    root: Url | None = None
    """Public URL of the output, such as `https://data.example.org/moselle` or `s3://bucket/moselle`. With it, every
    document links to itself and hrefs of files are absolute. Without it, they are relative, and the whole output
    can be copied anywhere. A change publishes all maps again, as a new release."""
    log: WebUrl | None = None
    """Address of a run's log, with `{run}` where the number of the run belongs, such as a query of your log store.
    Items, collections and the report page link to it; `operations.md` shows [how to find the log of a
    map](operations.md#from-a-map-to-its-log). A change publishes all maps again."""

    @field_validator("doi", mode="before")
    @classmethod
    def _bare(cls, doi: Any) -> Any:
        """DOI without the address of the resolver."""
        return doi.removeprefix("https://doi.org/").removeprefix("doi:") if isinstance(doi, str) else doi

    @field_validator("root")
    @classmethod
    def _public(cls, root: str | None) -> str | None:
        if root is not None and not (root.startswith(("http://", "https://")) or storage.in_cloud(root)):
            raise ValueError(f"got {root!r}; expected the URL by which readers reach the output, such as https://…")
        return root

    @field_validator("log")
    @classmethod
    def _of_a_run(cls, log: str | None) -> str | None:
        if log is not None and "{run}" not in log:
            raise ValueError(f"got {log!r}; expected an address with {{run}} for the number of the run")
        return log

    def lacks(self) -> Iterator[str]:
        """Keys that a publication should have and this one has not, each with the reason."""
        reasons = {
            "license": "nobody knows whether they may use the maps",
            "providers": "nobody knows who made the maps",
            "citation": "nobody knows how to cite the maps",
            "contact": "nobody knows where to ask",
            "root": "hrefs are relative, and hold only where the whole output is copied",
        }
        yield from (f"{key} ({why})" for key, why in reasons.items() if not getattr(self, key))
        if self.license == "other" and self.license_url is None:
            yield "license_url (license is other: its text must be linked)"
