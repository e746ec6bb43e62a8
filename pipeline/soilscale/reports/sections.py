"""The contents of the page in their order: sections, and the titles and notes of figures and tables.

A figure or table that is listed here appears on the page if the run has it; otherwise it leaves no gap. A table that
is not listed appears at the end under its name. So a new table needs only one entry here.
"""

from __future__ import annotations

from soilscale.reports.contents import Figure, Section, Table
from soilscale.reports.reference_sections import IN_SITU, SENSORS

STUDY_AREA = Section(
    "area",
    "Study area",
    "",
    (
        Figure(
            "study_area",
            "Study area",
            "(a) The coarse product in the month with the most observed cells, with any stations; (b) elevation, "
            "with the borders of the coarse cells; (c) the land cover with the largest share of each fine cell. Grey "
            "is missing or outside. Meridians and parallels in degrees. The globe shows where the area lies "
            "(coastline: Natural Earth).",
            "Three maps of the area side by side: coarse soil moisture with a globe, elevation, dominant land cover.",
        ),
    ),
)

OVERVIEW = Figure(
    "overview",
    "The maps at a glance",
    "The month in which most coarse cells are observed. Both maps have one scale of colours, from dry (light) to wet "
    "(dark); grey is missing.",
    "The coarse product in large squares beside the fine map with detail inside them.",
)
"""Figure of the summary."""

MAPS = Section(
    "maps",
    "Maps",
    "",
    (
        Figure(
            "maps",
            "Coarse product and fine maps",
            "One month of each season, the one with the most observed cells. Each row has one colour scale, from dry "
            "(light) to wet (dark), cut at its 2nd and 98th percentiles; grey is missing.",
            "Maps in rows by season: the coarse product in large squares, the fine map with detail inside them.",
        ),
        Figure(
            "maps_one_scale",
            "The same maps with one scale of colours",
            "As the figure before, but all seasons share one scale, so that wet and dry seasons compare.",
            "Maps in rows by season, as before, with one scale of colours for all.",
        ),
        Figure(
            "uncertainty",
            "Width of the prediction intervals",
            "Upper minus lower end of the prediction interval, for the months of the maps above.",
            "A map for each season of the width of the prediction interval.",
        ),
        Figure(
            "anomalies",
            "Anomalies",
            "The months of the maps above minus the mean of the same calendar month over all years of the run, where "
            "a cell has at least three of them. Blue is wetter than usual, brown drier.",
            "A map for each season of the difference from the mean of its calendar month.",
        ),
        Figure(
            "algorithms",
            "Comparison of the algorithms",
            "Seasonal maps by each trained algorithm, for the year in which the season has the most observed cells, "
            "made like the published maps; single months if no season is complete. On a large grid, every n-th cell "
            "is drawn. Of more than five algorithms, those with the smallest blocked error are shown.",
            "Maps in rows by season: the coarse product, then the fine map of each algorithm.",
        ),
        Figure(
            "rmse_maps",
            "Where the fine maps differ from the coarse product",
            "Root mean square difference between the monthly fine maps and the coarse product resampled to their "
            "grid by nearest neighbour, over the months of each season; the value over the area is above each map. "
            "For maps that conserve the coarse product it is the added detail, not an error; for others it is both. "
            "Steps between coarse cells show as lines.",
            "A map for each season of the difference between the fine maps and the coarse product.",
        ),
        Table(
            "consistency",
            "Fine maps against the coarse product",
            "The coarse product is resampled to the fine grid by nearest neighbour. The largest block difference "
            "compares the mean of a coarse cell's fine values with its observation: maps that conserve it differ "
            "only by rounding.",
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
            "Precipitation and both products over time",
            "Means over the area. The lines compare both products on the cells that both have in a month; where maps "
            "conserve the coarse product they coincide. The dotted line is the mean of all mapped cells. A month "
            "without a value is a gap.",
            "Bars of monthly precipitation above lines of the coarse product and the fine maps.",
        ),
        Table("time_series", "Means over the area", folded=True),
    ),
)

MODELS = Section(
    "models",
    "Accuracy of the models",
    "Models are evaluated at the coarse scale on held-out rows. In the random split, the training rows include "
    "neighbours of a held-out row in space and time, so its error is too small. The blocked split holds out whole "
    "blocks of cells and years: it shows what to expect where nothing was observed, and it alone decides the choice "
    "of algorithm.",
    (
        Table(
            "splits",
            "Accuracy of the models that made the maps",
            "At the coarse scale, RMSE in m³ m⁻³. Blocked: on held-out blocks of cells and years.",
        ),
        Figure(
            "accuracy",
            "Error and fit of every algorithm",
            "On held-out rows. The tick is the comprehensive model, trained on all seasons together. R² below 0 is "
            "worse than the mean of the observations.",
            "Bars of RMSE and R² for each algorithm and season, for the random and the blocked split.",
        ),
        Figure(
            "scatter",
            "Predicted against observed",
            "Blocked split, at the coarse scale, by the seasonal models that made the maps. The dashed line is "
            "equality.",
            "A panel for each season with predicted over observed soil moisture around a diagonal.",
        ),
        Figure(
            "comparison",
            "Seasonal against comprehensive models",
            "Difference on the same rows, with 95 % intervals from resampled blocks. If an interval contains 0, the "
            "difference may be chance.",
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
            "Difference is seasonal minus comprehensive; lower and upper are the limits of its 95 % interval.",
            folded=True,
        ),
        Table(
            "tuning",
            "Parameters tried",
            "Blocked: error on the folds that chose the best combination. Nested: error of the choice on folds that "
            "had no part in it. Untuned: error of the parameters as configured, on the same rows. The difference of "
            "the last two is the gain from tuning.",
            folded=True,
        ),
    ),
)

SKILL = Section(
    "skill",
    "Comparison with nearest and bilinear",
    "Nearest gives each fine cell the value of its coarse cell; bilinear interpolates between coarse cells. A map "
    "that does not beat them has added nothing. In the upscaling test the truth is always known: the observed coarse "
    "field is averaged over 3 x 3 cells, downscaled again by held-out predictions, and compared with itself.",
    (
        Figure(
            "upscaled",
            "Upscaling test, against the coarse observation",
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
            "Share of fine cells whose truth lies between lower and upper, and the nominal level.",
        ),
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
            "Increase of the out-of-bag error when a feature is permuted, divided by its standard error, as in R's "
            "randomForest (%IncMSE); the number is its rank in the season. The features of a group are permuted "
            "together.",
            "Bars for each feature and season, longest for the most important.",
        ),
        Figure(
            "ablation",
            "Loss without each predictor",
            "Change of the blocked error when the predictor is left out.",
            "Bars for each predictor and season, to the right if the model is worse without it.",
        ),
        Figure(
            "effects",
            "What the Gaussian process has learned from each predictor",
            "How much drier or wetter the soil is estimated to be as one predictor departs from its mean and the "
            "others stay constant: the contribution of its curve, without products with other predictors. The band "
            "contains the curve with a probability of 90 %, if the model is right: if it is wide, or contains 0 "
            "throughout, little was learned. If seasons agree, their curves coincide. The predictors with the "
            "strongest effects come first, at most 16; one may stand for another that it correlates with.",
            "A panel for each predictor with a curve for each season, and around it a band.",
        ),
        Table("importance", "Importance of each feature and group", folded=True),
        Table("ablation", "Error without each predictor", "", ("season", "without"), folded=True),
        Table(
            "within",
            "Features behind the detail within coarse cells",
            "Share within: a feature's share of the variance of the map's prediction within coarse cells (below 0: "
            "it works against the others). Share between: the share of the feature's own fine variance that lies "
            "between cells, where its effect was learned. Detail from a feature that cells hardly show is a guess, "
            "which the coarse scores cannot detect.",
            folded=True,
        ),
        Table("effects", "Curves of the Gaussian process, at their knots", folded=True),
        Table("selection", "Predictors chosen step by step", folded=True),
    ),
)

MISSING = Section(
    "gaps",
    "Masked or missing data",
    "",
    (
        Table("failed", "Failed units of work"),
        Table(
            "findings",
            "Conflicting or incomplete inputs",
            "As found by the audit after the search. An error leaves units missing; a warning may change values.",
        ),
        Table("without_input", "Months without input", "Months without an item, or without any valid value."),
        Table(
            "flags",
            "Quality layer of the monthly maps",
            "Counts of fine cells and months. Shares of flags are of those with a value, which may carry several; "
            "the share without a value is of the area.",
        ),
        Table(
            "extrapolation",
            "Maps outside the area of applicability",
            "The dissimilarity index (Meyer & Pebesma 2021, doi:10.1111/2041-210X.13650) shows how much the "
            "predictors of a fine cell differ from those of training, with more weight on the important ones. 1 is "
            "its threshold, the maximum of training data relative to those of other places. Beyond it, the error on "
            "held-out blocks need not apply. Mean index and share above 1, for fine cells and months with a value.",
        ),
        Table(
            "masked",
            "Missing or masked data of each source",
            "Share of the area and months. Short gaps in time are filled in the maps, and flagged.",
        ),
    ),
)

METRICS = Section(
    "reading",
    "How to read the metrics",
    "The method is that of Yan & Bai (2020, Remote Sensing 12, 2818, doi:10.3390/rs12172818), whose equation numbers "
    "are given. P is the prediction, T the observation, N the number of pairs. K-L is left out for fewer than 10 "
    "pairs: the divergence of two distributions of so few values means nothing.",
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
            "Inputs as found",
            "Items of the catalog and those left out; format, unit in the cube, and the minimum and maximum of "
            "sampled values of the opened items, with the share missing by cause.",
        ),
        Table(
            "licences",
            "Licences and citations of the inputs",
            "Their licences may require that a publication of the maps names them.",
        ),
        Table("versions", "Software", folded=True),
    ),
)

SECTIONS = (STUDY_AREA, MAPS, SERIES, MODELS, SKILL, IN_SITU, SENSORS, PREDICTORS, MISSING, METRICS, PROVENANCE)
"""Sections after the summary, in their order."""
