"""The section `models` of a configuration: algorithms, their parameters, and what is asked of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from soilscale import models
from soilscale.config.base import FaultError, Section, as_factors
from soilscale.errors import ConfigurationError, nearest

Fault = tuple[str, str]
"""Key, and what is wrong there."""

PROVEN = "proven"
"""Key of the context of validation under which stands what says whether the parameters of models were checked before:
to check them takes a second, for scikit-learn is imported."""


class Models(Section):
    """Which algorithms are fitted, with what parameters, and what is asked of them."""

    algorithms: Annotated[tuple[str, ...], Field(min_length=1)] = models.RECOMMENDED
    """The algorithms to train: `random_forest` has the defaults of R's randomForest; `trend_forest` is a ridge
    regression with such a forest on its residuals; `gaussian_process` learns lines, curves and fields of place from
    means over cells, see [Science](science.md#algorithms); `svm` has the defaults of e1071's svm in R, `knn` those
    of kknn; `xgboost` is boosted trees; `stack` is the mean of `gaussian_process`, `trend_forest` and `xgboost`,
    which are trained beside it if they are not named."""
    parameters: Mapping[str, dict[str, Any]] = {}
    """Algorithm -> parameters that differ from its defaults, such as `{random_forest: {n_estimators: 200}}`."""
    season_parameters: Mapping[str, dict[str, dict[str, Any]]] = {}
    """Season -> algorithm -> parameters that differ in this season, such as `{winter: {random_forest:
    {min_samples_split: 12}}}`."""
    tune: Mapping[str, dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]]] = {}
    """Algorithm -> parameter -> values to choose from, such as `{random_forest: {max_features: [2, 4],
    min_samples_split: [6, 20]}}`: every combination is tried on the blocked folds of each season, and the best one
    is used; `tuning.csv` shows the gain by a nested score."""
    tune_draws: int | None = Field(default=None, ge=1)
    """Number of combinations of `tune` to draw at random and try, for each algorithm and season, instead of all.
    Default: all."""
    select: bool = False
    """Whether each season learns only from the predictors that forward selection chooses by blocked error;
    `selection.csv` lists them."""
    ablation: Annotated[bool | tuple[str, ...], BeforeValidator(as_factors)] = True
    """Features and groups that are left out in turn for `ablation.csv`, by name; `true` every group, `false`
    none."""
    seed: int = Field(default=0, ge=0)
    """Seed of everything that is random: splits, folds, forests."""
    folds: int = Field(default=5, ge=2, le=20)
    """Folds of the blocked cross-validation, 2 to 20."""

    @field_validator("algorithms")
    @classmethod
    def _with_members(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return models.with_members(names)

    @model_validator(mode="after")
    def _known_algorithms(self, info: ValidationInfo) -> Models:
        for name in self.algorithms:
            self._try(name, {}, "algorithms")
        parametrised = self.parameters or self.season_parameters or self.tune
        # To try parameters imports the libraries of their algorithms, which a run with nothing to do is spared.
        if parametrised and not (info.context is not None and info.context[PROVEN]()):
            self._try_parameters()
        return self

    def _joint_faults(self) -> Iterator[Fault]:
        """Settings of seasons, or of a search, of algorithms that are one for all seasons."""
        joint_algorithms = {
            name: algorithm for name, algorithm in models.ALGORITHMS.items() if algorithm.joint or algorithm.members
        }
        for season, season_settings in self.season_parameters.items():
            for name in joint_algorithms.keys() & season_settings.keys():
                remedy = f"{name} is one fit of all seasons; set models.parameters.{name} instead"
                yield f"season_parameters.{season}.{name}", remedy
        for name in joint_algorithms.keys() & self.tune.keys():
            remedy = f"{name} learns its variances by likelihood, so there is nothing to tune; leave it out"
            if joint_algorithms[name].members:
                remedy = f"{name} is a mean of {', '.join(joint_algorithms[name].members)}; tune those instead"
            yield f"tune.{name}", remedy

    def _try_parameters(self) -> None:
        if wrong := list(self._joint_faults()):
            raise FaultError(*wrong)
        for name, values in self.parameters.items():
            self._try(name, values, "parameters")
        for season, season_settings in self.season_parameters.items():
            for name, values in season_settings.items():
                self._try(name, values, f"season_parameters.{season}")
        for name, choices in self.tune.items():
            if name not in self.algorithms:
                raise FaultError(("tune", f"{name!r} is not among algorithms{nearest(name, self.algorithms)}"))
            for parameter, options in choices.items():
                for option in options:
                    self._try(name, {parameter: option}, "tune")

    def _try(self, name: str, values: dict[str, Any], where: str) -> None:
        """Refuse an algorithm or a parameter that does not exist."""
        if name not in models.ALGORITHMS:
            raise FaultError((where, f"unknown algorithm {name!r}{nearest(name, models.ALGORITHMS)}"))
        if not values:
            return
        try:
            # Made once for nothing: the estimator knows its parameters best, so no list of them is kept here.
            models.ALGORITHMS[name].make(values, 1, self.seed)
        except ConfigurationError as error:
            key, _, fault = str(error).removeprefix("models.parameters.").partition(": ")
            raise FaultError((f"{where}.{key}", fault)) from error
