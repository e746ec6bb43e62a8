"""The sections of the page on what was measured elsewhere: stations, and several sensors."""

from __future__ import annotations

from soilscale.reports.contents import Figure, Section, Table

IN_SITU = Section(
    "in-situ",
    "Against stations",
    "Monthly means of stations compared with the fine map and the coarse product at their location, on the same "
    "pairs. A station is a point and a cell is not: part of the error comes from this.",
    (
        Figure(
            "stations",
            "Stations, compared with nearest and bilinear",
            "Error at stations, or correlation if they measure another quantity.",
            "Bars for each season: nearest, bilinear and the fine maps against stations.",
        ),
        Figure(
            "station_scatter",
            "Products against stations",
            "Every pair of station and month that both products have. The dashed line is equality. Stations of "
            "another quantity than volumetric soil moisture have a separate row, in which both sides are scaled to "
            "0..1, station by station.",
            "Scatters around a diagonal: coarse product and fine maps over station values, coloured by season.",
        ),
        Figure(
            "station_series",
            "Time series at stations",
            "The stations with the most months. A month without a value is a gap. If a station measures another "
            "quantity than volumetric soil moisture, its panel says so, and all three lines are scaled to 0..1.",
            "Small panels, one for each station, with three lines: station, coarse product and fine maps.",
        ),
        Table(
            "stations",
            "Scores by season",
            "Monthly pairs of all stations that measure volumetric soil moisture, as they are. If others measure "
            "another quantity, the columns marked 0 to 1 give R, K-L and anomaly R of all stations, each scaled to "
            "0..1 separately. If none measures volumetric moisture, all scores are of such values. A metric of other "
            "pairs than the first has their n beside it: anomaly R counts only calendar months with enough years. "
            "K-L of fewer than 10 pairs is left out.",
            ("season", "product"),
        ),
        Table(
            "station_intervals",
            "Prediction intervals against stations",
            "Share of the months of stations of volumetric soil moisture that lie between lower and upper, and the "
            "nominal level. A station is a point and has its own errors, which the intervals do not include: expect "
            "a smaller share.",
        ),
        Table("station_seasons", "Scores of seasonal means", "", ("season", "product"), folded=True),
        Table(
            "station_gains",
            "Gain of the fine maps, pooled and at each station",
            "From -1 to 1; above 0 the fine maps are nearer to a perfect score than the coarse product, or than its "
            "bilinear interpolation. Down is the mean of slope, R and bias. Pooled scores use the stations that "
            "measure volumetric soil moisture or, if there are none, all of them, each scaled to 0..1.",
            ("network", "station", "season", "against"),
            folded=True,
        ),
        Table("station_scores", "Scores of each station", "", ("network", "station", "season", "product"), folded=True),
        Table(
            "station_collocation",
            "Triple collocation of stations and two sensors",
            "Standard deviation of each product's random error, m³ m⁻³, and its correlation with the unknown truth, "
            "if the three errors are independent; each in its own scale, so compare R, not the errors. A dash means "
            "that the sample's estimate is below 0: the error is too small for so few months.",
            ("first", "second", "product"),
        ),
        Table("stations_left_out", "Station data left out, and why", folded=True),
        Table("station_places", "Where the stations lie; row and column of the fine cell, from 0", folded=True),
        Table("station_pairs", "Every pair", folded=True),
        Table("station_seasonal_pairs", "Every pair of seasonal means", folded=True),
    ),
)

SENSORS = Section(
    "target",
    "Sensors of the target",
    "The regression gives the reference from the sensor as it was read. The step is reference minus sensor, with "
    "equal weight for each calendar month; its spread is that between cells. The basis “overlap” compares the months "
    "that both saw. If they share too few, “climatology” compares the mean of each cell in each calendar month, over "
    "each sensor's own years. A change of climate then counts as a step, and is removed like one: the step after is "
    "0 by construction and proves nothing. “Through” takes the step from a third series that covers both sensors, "
    "matched to the level of the reference. For sensors that share fewer than 12 months, rows with the basis "
    "“overlap” give the step in these months alone, as an independent check.",
    (
        Figure(
            "sensors",
            "The sensors, before and after",
            "Means over the area. (a) Each sensor as it was read and at the level of the reference; (b) the "
            "reference over the others; lines and figures are the regression over all cells, as in the table, which "
            "scatter more than their means; (c) means of the calendar months, as read (dashed) and adjusted (solid), "
            "each over its sensor's own months, so differences in weather between years show here too.",
            "A time series of the sensors above a scatter with regression lines and a yearly cycle.",
        ),
        Table("sensors", "Regression and step between the sensors", "", ("part", "reference", "season", "basis")),
        Table("sensor_series", "Means over the area of each sensor", "Before and after, m³ m⁻³.", folded=True),
    ),
)
