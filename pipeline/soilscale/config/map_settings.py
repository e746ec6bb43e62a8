"""The section `maps` of a configuration: which maps are made, and how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from soilscale.config.base import FaultError, Section, ascending


class Maps(Section):
    """Which maps are made, and how."""

    algorithm: str = "best"
    """One of `models.algorithms`, or `best`: in each season the one with the smallest RMSE in blocked
    cross-validation, or `gaussian_process` within a standard error of it."""
    every: Annotated[tuple[Literal["month", "season"], ...], Field(min_length=1)] = ("month", "season")
    """Which maps are published as COGs: monthly, seasonal or both."""
    seasonal: Literal["maps", "predictors"] = "maps"
    """How a seasonal map is made: `maps` is the mean of the monthly maps, `predictors` the model on the season's
    mean predictors, as in the paper."""
    conserve: bool = True
    """Whether the mean of a coarse cell's fine values equals the observation."""
    valid_range: tuple[float, float] = (0.0, 0.6)
    """Physical range, m3 m-3; predictions outside it are set to its limits and flagged; observations outside it are
    not used to conserve."""
    interval: float | None = Field(default=0.9, gt=0, lt=1)
    """Nominal level of the layers `lower` and `upper`; null makes none; see [Science](science.md#intervals)."""
    applicability: bool = True
    """Whether the maps have the layer `applicability`, which shows how much their predictors differ from those of
    training; see [Science](science.md#applicability)."""
    residual: bool = False
    """Whether the maps have the layer `residual`: the correction that conservation adds to the model's estimate."""
    porosity: bool = True
    """Whether values are limited to the porosity of their soil, if sources of sand and clay are among the
    predictors; see [Science](science.md#physical-sense)."""
    frozen: Literal["mask", "unobserved", "flag"] = "unobserved"
    """Where frozen ground is left out, if a land surface temperature is among the predictors: `mask` everywhere,
    `unobserved` where the coarse product has no observation, `flag` nowhere; always flagged."""
    gaps: Literal["cycle", "neighbours", "none"] = "cycle"
    """How missing predictors are filled: `cycle` by level, annual cycle and the remainder that neighbours share, in
    the cube; `neighbours` by the months on either side, in the maps; `none` leaves them missing; see
    [Science](science.md#gaps). A different choice reads the sources again."""
    fill_gaps: int | None = Field(default=None, ge=0, le=3)
    """Months on either side, 1 to 3, from which `neighbours` fills (1 if left out). Without `gaps` it also chooses
    the method: 0 is `gaps: none`, 1 to 3 `gaps: neighbours`."""
    releases: int | None = Field(default=None, ge=1)
    """Number of newest [releases](products.md#maps) to keep; maps that belong to no kept release are removed.
    Default: all."""

    @model_validator(mode="before")
    @classmethod
    def _alias(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("fill_gaps") is not None and values.get("gaps") is None:
            return {**values, "gaps": "neighbours" if values["fill_gaps"] else "none"}
        return values

    @model_validator(mode="after")
    def _upwards(self) -> Maps:
        ascending("valid_range", self.valid_range)
        if self.fill_gaps is not None and self.gaps != ("neighbours" if self.fill_gaps else "none"):
            means = "`gaps: neighbours`" if self.fill_gaps else "`gaps: none`"
            raise FaultError(
                ("fill_gaps", f"{self.fill_gaps} means {means}, but gaps is {self.gaps!r}; leave one of the two out")
            )
        return self

    @property
    def reach(self) -> int:
        """Months on either side from which a predictor is interpolated that no annual cycle fills; 0 leaves gaps."""
        return {"cycle": 1, "none": 0}.get(self.gaps, self.fill_gaps or 1)
