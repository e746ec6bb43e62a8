"""What stands on the page, in its order: sections, and the titles and notes of figures and tables.

A figure or a table that a run has, and that stands here, appears on the page; one that it has not leaves no gap. A
table that does not stand here appears at the end under its name. So another table takes one entry here, and no more.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A figure, by the name of its file."""

    name: str
    title: str
    caption: str
    alt: str
    """What there is to see, for those who do not."""


@dataclass(frozen=True)
class Table:
    """A table, by the name of its file."""

    name: str
    title: str
    note: str = ""
    keys: tuple[str, ...] = ()
    """Columns that tell rows apart in a table of the long form, which gets a column for each metric; none: as it is."""
    folded: bool = False
    """Whether it opens on a click only."""


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    name: str
    heading: str
    text: str = ""
    entries: tuple[Figure | Table, ...] = ()


STUDY_AREA = Section(
    "area",
    "Study area",
    "",
    (
        Figure(
            "study_area",
            "Study area",
            "(a) The coarse product in the month in which most of its cells are observed, with the stations if there "
            "are any; (b) elevation, with the borders of the coarse cells; (c) the land cover with the largest share "
            "of each fine cell. Grey is missing or outside. Meridians and parallels in degrees. The globe shows where "
            "the area lies (coastline: Natural Earth).",
            "Three maps of the area side by side: coarse soil moisture with a globe, elevation, dominant land cover.",
        ),
    ),
)

MAPS = Section(
    "maps",
    "Maps",
    "",
    (
        Figure(
            "maps",
            "Coarse product and fine maps",
            "One month of each season, the one with most cells observed. Each row has one scale of colours, from dry "
            "(light) to wet (dark), cut at its 2nd and 98th percentile; grey is missing.",
            "Maps in rows by season: the coarse product in large squares, the fine map with detail inside them.",
        ),
        Figure(
            "algorithms",
            "The algorithms beside each other",
            "Seasonal maps by each algorithm trained, of the year in which the season has most cells observed, made as "
            "the published maps are; of single months where no season is complete. Where the grid is large, every n-th "
            "cell is drawn, and of more than five algorithms those with the least blocked error.",
            "Maps in rows by season: the coarse product, then the fine map of each algorithm.",
        ),
        Figure(
            "rmse_maps",
            "Where the fine maps leave the coarse product",
            "Root mean square difference between the monthly fine maps and the coarse product laid on their grid as "
            "nearest, over the months of each season; above each map its value over the area. Of maps that conserve "
            "the coarse product it is the detail that was added, not an error; of others it is both. Steps between "
            "coarse cells show as lines.",
            "A map for each season of the difference between the fine maps and the coarse product.",
        ),
        Table(
            "consistency",
            "Fine maps against the coarse product",
            "The coarse product is laid on the fine grid as nearest. The largest block difference compares the mean of "
            "a coarse cell's fine values with its observation: maps that conserve it differ by rounding only.",
            ("season", "algorithm"),
            folded=True,
        ),
    ),
)

SERIES = Section(
    "series",
    "Time series",
    "",
    (
        Figure(
            "time_series",
            "Precipitation and both products through time",
            "Means over the area, each over the cells that the product has in that month: where the coarse product has "
            "few, the two may differ though the maps agree with it cell by cell. A month without a value is a gap.",
            "Bars of monthly precipitation above two lines, the coarse product and the fine maps.",
        ),
        Table("time_series", "Means over the area", folded=True),
    ),
)

MODELS = Section(
    "models",
    "Accuracy of the models",
    "Models are judged at the coarse scale on rows that they have not seen. In the random split, neighbours of a row "
    "in space and time are among those learned from, so its error is too small. The blocked split holds out whole "
    "blocks of cells and years: it says what to expect where nothing was observed, and it alone decides which "
    "algorithm is chosen.",
    (
        Figure(
            "accuracy",
            "Error and fit of every algorithm",
            "On rows that the model has not seen. The tick is the comprehensive model, trained on all seasons "
            "together. R² below 0 is worse than the mean of the observations.",
            "Bars of RMSE and R² for each algorithm and season, random beside blocked split.",
        ),
        Figure(
            "scatter",
            "Predicted against observed",
            "Blocked split, at the coarse scale, by the seasonal models with which the maps were made. The dashed "
            "line is equality.",
            "A panel for each season with predicted over observed soil moisture around a diagonal.",
        ),
        Figure(
            "comparison",
            "Seasonal against comprehensive models",
            "Difference on the same rows, with 95 % intervals from resampled blocks. An interval that holds 0 says "
            "that the difference may be luck.",
            "Points with intervals around zero for each season and algorithm.",
        ),
        Table(
            "accuracy",
            "Every algorithm, model and split",
            "RMSE, ubRMSE and bias in m³ m⁻³, MAPE in %, K-L in nats.",
            ("season", "algorithm", "model", "split"),
            folded=True,
        ),
        Table(
            "comparison",
            "Seasonal against comprehensive models",
            "Difference is seasonal minus comprehensive; lower and upper are the ends of its 95 % interval.",
            folded=True,
        ),
        Table(
            "tuning",
            "Parameters that were tried",
            "Blocked: error on the folds by which the best combination was chosen. Nested: error of the choice on "
            "folds that had no part in it; untuned: error of the parameters as configured on the same rows. Tuning "
            "gains the difference of these two.",
            folded=True,
        ),
    ),
)

SKILL = Section(
    "skill",
    "Beside nearest and bilinear",
    "Nearest lays each coarse value down on the fine cells; bilinear interpolates between them. A map that does not "
    "beat them has added nothing. One scale up the truth is always known: the observed coarse field is averaged over "
    "3 x 3 cells, downscaled back by held-out predictions, and compared with itself.",
    (
        Figure(
            "upscaled",
            "One scale up, against the coarse observation",
            "Error of a downscaling from blocks of 3 x 3 coarse cells back to the observed field.",
            "Bars for each season: error of nearest, bilinear and each algorithm.",
        ),
        Figure(
            "truth",
            "Against the known truth",
            "Error of the fine maps, all methods on the same fine cells.",
            "Bars for each season: error of nearest, bilinear and the fine maps against the truth.",
        ),
        Table("truth", "Against the known truth", "All methods on the same fine cells.", ("season", "method")),
        Table(
            "baselines",
            "Every method and reference",
            "",
            ("reference", "season", "method"),
            folded=True,
        ),
        Table(
            "applicability",
            "Error by the dissimilarity of the predictors, against the known truth",
            "Fine cells and months in ten bins of equal size by their index; an index above 1 is outside the area of "
            "applicability. RMSE in m³ m⁻³.",
            folded=True,
        ),
        Table(
            "intervals",
            "Prediction intervals against the known truth",
            "Share of fine cells whose truth lies between lower and upper, beside the level that was asked for.",
        ),
    ),
)

IN_SITU = Section(
    "in-situ",
    "Against stations",
    "Monthly means of stations beside the fine map and the coarse product at their place, on the same pairs. A "
    "station is a point, a cell is not: part of the error is theirs.",
    (
        Figure(
            "stations",
            "Stations, beside nearest and bilinear",
            "Error at stations, or correlation where they measure another quantity.",
            "Bars for each season: nearest, bilinear and the fine maps against stations.",
        ),
        Figure(
            "station_scatter",
            "Products against stations",
            "Every pair of station and month that both products have. The dashed line is equality. Stations of "
            "another quantity than volumetric soil moisture stand in a row of their own, in which both sides are "
            "brought to 0..1, station by station.",
            "Scatters around a diagonal: coarse product and fine maps over station values, coloured by season.",
        ),
        Figure(
            "station_series",
            "Stations through time",
            "The stations with most months. A month without a value is a gap. Where a station measures another "
            "quantity than volumetric soil moisture, its panel says so, and all three lines are brought to 0..1.",
            "Small panels, one for each station, with three lines: station, coarse product and fine maps.",
        ),
        Table(
            "stations",
            "Scores by season",
            "Monthly pairs of all stations that measure volumetric soil moisture, as they are. If others measure "
            "another quantity, R, K-L and anomaly R of all stations, each brought to 0..1 by itself, stand beside, "
            "marked 0 to 1; if none measures volumetric moisture, all that is told is of such values. A metric of "
            "other pairs than the first has their n beside it: anomaly R counts only calendar months with enough "
            "years. K-L of fewer than 10 pairs is left out.",
            ("season", "product"),
        ),
        Table(
            "station_intervals",
            "Prediction intervals against stations",
            "Share of the months of stations of volumetric soil moisture that lie between lower and upper, beside the "
            "level that was asked for. A station is a point and has errors of its own, of which the intervals know "
            "nothing: expect it to lie within less often.",
        ),
        Table("station_seasons", "Scores of seasonal means", "", ("season", "product"), folded=True),
        Table(
            "station_gains",
            "Gain of the fine maps, pooled and at each station",
            "From -1 to 1; above 0 the fine maps are nearer to a perfect score than the coarse product, or than its "
            "bilinear interpolation. Down is the mean of slope, R and bias. Pooled are the stations that measure "
            "volumetric soil moisture or, if there are none, all of them, each brought to 0..1.",
            ("network", "station", "season", "against"),
            folded=True,
        ),
        Table("station_scores", "Scores of each station", "", ("network", "station", "season", "product"), folded=True),
        Table(
            "station_collocation",
            "Triple collocation of stations and two sensors",
            "Standard deviation of each product's random error, m³ m⁻³, and its correlation with the unknown truth, "
            "if the three err independently; each in its own scale, so R compares them, not the errors. A dash "
            "says that the sample's estimate is below 0: the error is too small for so few months.",
            ("first", "second", "product"),
        ),
        Table("stations_left_out", "What was left out of the stations' records, and why", folded=True),
        Table("station_pairs", "Every pair", folded=True),
        Table("station_seasonal_pairs", "Every pair of seasonal means", folded=True),
    ),
)

SENSORS = Section(
    "target",
    "Sensors of the target",
    "The regression gives the reference from the sensor as it was read. The step is reference minus sensor, each "
    "calendar month counting alike; its spread is that between cells. The basis “overlap” compares the months that "
    "both saw; “climatology”, where they share too few, the mean of each cell in each calendar month, each over its "
    "sensor's own years, so that a change of climate counts as a step, and is removed like one: the step after is then "
    "0 by construction and proves nothing. “Through” takes the step from a third series that covers both sensors, "
    "brought to the level of the reference. Of sensors that share fewer than 12 "
    "months, rows with the basis “overlap” tell the step in these alone, as a check that nothing was fitted to.",
    (
        Figure(
            "sensors",
            "The sensors, before and after",
            "Means over the area. (a) Each sensor as it was read and at the level of the reference; (b) the reference "
            "over the others; lines and figures are the regression of all cells that the table tells, which scatter "
            "more than their means; (c) means of the calendar months, as read (dashed) and adjusted (solid), each over "
            "its sensor's own months, so that years that differ in weather differ here too.",
            "A time series of the sensors above a scatter with regression lines and a yearly cycle.",
        ),
        Table("sensors", "Regression and step between the sensors", "", ("part", "reference", "season", "basis")),
        Table("sensor_series", "Means over the area of each sensor", "Before and after, m³ m⁻³.", folded=True),
    ),
)

PREDICTORS = Section(
    "predictors",
    "Predictors",
    "",
    (
        Figure(
            "importance",
            "Importance in each season",
            "Increase of the out-of-bag error when a feature is permuted, over its standard error, as R's randomForest "
            "gives it (%IncMSE); the number is its rank in the season. The features of a group are permuted together.",
            "Bars for each feature and season, longest for the most important.",
        ),
        Figure(
            "ablation",
            "What is lost without a factor",
            "Change of the blocked error when the factor is left out.",
            "Bars for each factor and season, to the right where the model is worse without it.",
        ),
        Figure(
            "effects",
            "What the Gaussian process has learned of each predictor",
            "How much drier or wetter than at its mean soil is estimated to be as one predictor changes and the others "
            "stay: what its curve adds, without products with other predictors. The band holds the curve with a "
            "probability of 90 %, if the model is right: where it is wide, or holds 0 throughout, little was learned. "
            "Where seasons agree, their curves lie on one another. Predictors that act most come first, 16 at most; "
            "one may stand for another that goes with it.",
            "A panel for each predictor with a curve for each season, and around it a band.",
        ),
        Table("importance", "Importance of each feature and group", folded=True),
        Table("ablation", "Error without a factor", "", ("season", "without"), folded=True),
        Table(
            "within",
            "What the detail within coarse cells rests on",
            "Share within: of the variance of the map's prediction within coarse cells, that which goes with a feature "
            "(below 0: it works against the others). Share between: of the feature's own fine variance, that which "
            "lies between cells, where its effect was learned. Detail that rests on a feature which cells hardly show "
            "is a guess; the coarse scores cannot see it.",
            folded=True,
        ),
        Table("effects", "Curves of the Gaussian process, at their knots", folded=True),
        Table("selection", "Factors chosen step by step", folded=True),
    ),
)

MISSING = Section(
    "gaps",
    "What was masked or missing",
    "",
    (
        Table("failed", "Units of work that could not be made"),
        Table(
            "findings",
            "Inputs that contradict each other, or lack something",
            "As the audit after the search has found them; an error leaves units missing, a warning may change values.",
        ),
        Table("without_input", "Months without input", "Without an item, or without a single valid value."),
        Table(
            "flags",
            "Quality layer of the monthly maps",
            "Of fine cells and months. Shares of the flags are of those with a value, which may carry several; that of "
            "those without one is of the area.",
        ),
        Table(
            "extrapolation",
            "Maps outside the area of applicability",
            "The dissimilarity index (Meyer & Pebesma 2021, doi:10.1111/2041-210X.13650) says how unlike those of "
            "training the predictors of a fine cell are, the more important ones counting more; 1 is its threshold, "
            "the greatest that training data have to those of other places. Beyond it, what held-out blocks say of "
            "the error need not hold. Mean index and share beyond 1, of fine cells and months with a value.",
        ),
        Table(
            "masked",
            "Data of each source that are missing or masked",
            "Share of the area and months; gaps in time that are short enough are filled in the maps, and flagged.",
        ),
    ),
)

METRICS = Section(
    "reading",
    "How to read the metrics",
    "The method is that of Yan & Bai (2020, Remote Sensing 12, 2818, doi:10.3390/rs12172818), whose equations "
    "the numbers name. P is what was predicted, T what was observed, N the number of pairs. K-L is left out where it "
    "would rest on fewer than 10 pairs: of so few, the divergence of two distributions means nothing.",
    (Table("metrics", "Metrics", folded=True),),
)

PROVENANCE = Section(
    "provenance",
    "Provenance",
    "",
    (
        Table("items", "Sources"),
        Table(
            "inputs",
            "Inputs as they were found",
            "Items of the catalog and those left out; format, unit in the cube, and the least and greatest of sampled "
            "values of the items that were opened, with the share missing by cause.",
        ),
        Table("licences", "Licences and citations of the inputs", "What is made from them may have to name them."),
        Table("versions", "Software", folded=True),
    ),
)

SECTIONS = (STUDY_AREA, MAPS, SERIES, MODELS, SKILL, IN_SITU, SENSORS, PREDICTORS, MISSING, METRICS, PROVENANCE)
"""Sections after the summary, in their order."""

SPLITS = Table(
    "splits",
    "Accuracy of the models with which the maps were made",
    "At the coarse scale, RMSE in m³ m⁻³. Blocked: on whole blocks of cells and years that were held out.",
)
"""Table of the summary."""
