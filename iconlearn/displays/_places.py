"""Places and what is said of them: what every picture of a map checks and decides before it draws."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real

import numpy as np
from sklearn.base import is_clusterer

from .._checks import check_choice
from .._label_markers import missing, refuse_mixed
from .._torch_state import as_array
from ._canvas import name_of

# Whole numbers of more different values than this are a scale, not groups.
MAX_GROUPS = 50
# More groups than this have colours and no names: neither a legend nor a map has space for them.
MAX_NAMED = 100
# Where a colour bar may have ticks of dates: every so many units, the coarsest first.
DATE_STEPS = [
    *(("Y", step) for step in (1000, 500, 200, 100, 50, 20, 10, 5, 2, 1)),
    *(("M", step) for step in (6, 3, 1)),
    *(("D", step) for step in (14, 7, 2, 1)),
    *(("h", step) for step in (12, 6, 3, 1)),
    *((unit, step) for unit in "ms" for step in (30, 10, 5, 1)),
]
ENOUGH_TICKS = 3
# Microseconds in the units of durations.
DURATIONS = {"days": 86_400e6, "hours": 3600e6, "minutes": 60e6, "seconds": 1e6}


@dataclass
class Groups:
    """Names of groups, in their order, and the position of every point's group; -1 where it has none."""

    names: list[str]
    codes: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.names))

    def named(self) -> np.ndarray:
        """Positions of the groups that may have names: the largest, in their order."""
        return np.sort(np.argsort(-self.sizes, kind="stable")[:MAX_NAMED])


@dataclass
class Scale:
    """A number for every point, NaN where there is none, and how a colour bar writes them.

    Attributes
    ----------
    numbers : ndarray of float64 of shape (n,)
        Of dates, the seconds since the first.
    unit : str or None
        Of durations.
    ticks : tuple of (positions, texts), or None
        For dates.
    texts : ndarray of str of shape (n,), or None
        For dates: each in full.
    """

    numbers: np.ndarray
    unit: str | None = None
    ticks: tuple[list, list] | None = None
    texts: np.ndarray | None = None


def checked_places(embedding, values, kind):
    """The embedding as an array, once a picture of it can be drawn.

    Raises
    ------
    ValueError
        Where it has other than two or three dimensions, `values` another length, or `kind` is unknown.
    """
    embedding = _as_array(embedding)
    if embedding.ndim != 2 or embedding.shape[1] not in (2, 3):
        raise ValueError(
            f"the embedding has shape {embedding.shape}: a picture shows two or three dimensions; choose some, "
            f"for example Z[:, :2], or show the clusters or classes of an estimator on a map of the same rows: "
            f"from_estimator(estimator, X, coordinates=ICONEmbedding().fit_transform(X))"
        )
    if values is not None and len(values) != len(embedding):
        raise ValueError(f"there are {len(values)} values for {len(embedding)} points: give one for each")
    if kind is not None:
        check_choice("kind", kind, ("groups", "scale"))
    read_values(values, kind)
    return embedding


def read_values(values, kind) -> Groups | Scale | None:
    """The kind of `values`, as given by `kind` or, without one, inferred from them.

    Dates, durations, fractions, and whole numbers of many different values are a scale.

    Raises
    ------
    ValueError
        Where they have several columns, mix texts and numbers, or cannot be measured and are to be a scale.
    """
    if values is None:
        return None
    column = _column(values)
    categories = _categories(column)
    column = _of_one_kind(_as_array(column))
    if column.ndim != 1:
        raise ValueError(f"values has shape {column.shape}: give one value for each point, shape (n,)")
    if kind is None:
        kind = "scale" if categories is None and _measures(column) else "groups"
    return _scale(column) if kind == "scale" else _groups(column, categories)


def predicted(estimator, X):
    """Clusters or classes that an estimator gives the rows of X; none where a row is in no cluster (-1)."""
    labels = _as_array(estimator.predict(X))
    return np.where(labels < 0, np.nan, labels) if is_clusterer(estimator) else labels


def _column(values):
    """The only column of a data frame as a series; anything else as it is."""
    if hasattr(values, "columns") and len(values.columns) == 1:
        return values[values.columns[0]]
    return values


def _categories(column):
    """The categories of a series of pandas or polars in their order; None for what has none."""
    dtype = getattr(column, "dtype", None)
    return list(dtype.categories) if type(dtype).__name__ in ("CategoricalDtype", "Enum") else None


def _as_array(values):
    values = as_array(values)
    # numpy would turn the numbers of a mixed list into texts.
    array = np.asarray(values, dtype=object if isinstance(values, list | tuple) else None)
    if array.dtype == object and array.ndim == 2:
        array = np.array(array.tolist())
    return array.ravel() if array.ndim == 2 and array.shape[1] == 1 else array


def _of_one_kind(column):
    """An array of objects as one of dates, durations or numbers, where it holds nothing else."""
    if column.dtype.kind != "O" or column.ndim != 1:
        return column
    absent = missing(column)
    known = column[~absent].tolist()
    if not known:
        return np.full(len(column), np.nan)
    for kinds, change, blank in (
        (bool | np.bool_, bool, None),
        (Real | Decimal, float, np.nan),
        (datetime.timedelta | np.timedelta64, _duration, np.timedelta64("NaT")),
    ):
        if all(isinstance(value, kinds) for value in known):
            return _filled(absent, [change(value) for value in known], blank)
    dates = [value.start_time if type(value).__name__ == "Period" else value for value in known]
    if all(isinstance(value, datetime.date | np.datetime64) for value in dates):
        zone = next((value.tzinfo for value in dates if _has_zone(value)), None)
        return _filled(absent, [_date(value, zone) for value in dates], np.datetime64("NaT"))
    refuse_mixed(column, "values")
    return column


def _filled(absent, known, blank):
    if not absent.any():
        return np.array(known)
    column = np.full(len(absent), blank, dtype=object if blank is None else np.array(known).dtype)
    column[~absent] = known
    return column


def _duration(value):
    return np.timedelta64(value).astype("m8[us]")


def _date(value, zone):
    """A date without a time zone: as clocks show it in that of the first date that has one."""
    if _has_zone(value):
        value = value.astimezone(zone).replace(tzinfo=None)
    return np.datetime64(value).astype("M8[us]")


def _has_zone(value):
    return isinstance(value, datetime.datetime) and value.tzinfo is not None


def _measures(column):
    if column.dtype.kind == "f":
        known = column[np.isfinite(column)]
        return bool((known != np.round(known)).any()) or len(np.unique(known)) > MAX_GROUPS
    return column.dtype.kind in "mM" or (column.dtype.kind in "iu" and len(np.unique(column)) > MAX_GROUPS)


def _scale(column):
    if column.dtype.kind == "m":
        return _durations(column)
    if column.dtype.kind == "M":
        return _dates(column)
    try:
        return Scale(np.where(missing(column), np.nan, column).astype(float))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"kind='scale' needs numbers, dates or durations, and values holds {column[0]!r}; use kind='groups'"
        ) from error


def _durations(column):
    numbers = column.astype("m8[us]").astype(np.int64).astype(float)
    numbers[np.isnat(column)] = np.nan
    longest = np.abs(numbers[np.isfinite(numbers)]).max(initial=0)
    unit = next((unit for unit, length in DURATIONS.items() if longest >= 2 * length), "seconds")
    return Scale(numbers / DURATIONS[unit], unit=unit)


def _dates(column):
    dates, known = column.astype("M8[us]"), ~np.isnat(column)
    numbers = np.full(len(dates), np.nan)
    if not known.any():
        return Scale(numbers)
    low, high = dates[known].min(), dates[known].max()
    numbers[known] = (dates[known] - low) / np.timedelta64(1, "s")
    ticks, unit = _date_ticks(low, high)
    positions = ((ticks.astype("M8[us]") - low) / np.timedelta64(1, "s")).tolist()
    # Hours are written with their minutes, as clocks do.
    texts = np.datetime_as_string(ticks, unit="m" if unit == "h" else unit)
    every = np.datetime_as_string(dates, unit=_coarsest(dates[known]))
    return Scale(numbers, ticks=(positions, _without_t(texts)), texts=np.array(_without_t(every)))


def _date_ticks(low, high):
    for unit, step in DATE_STEPS:
        grid = np.arange(low.astype(f"M8[{unit}]"), high.astype(f"M8[{unit}]") + 1)
        counted = grid.astype(int) + (1970 if unit == "Y" else 0)
        ticks = grid[(counted % step == 0) & (grid >= low) & (grid <= high)]
        if len(ticks) >= ENOUGH_TICKS:
            return ticks, unit
    return np.unique([low, high]), _coarsest(np.array([low, high]))


def _coarsest(dates):
    """The coarsest of days, minutes, seconds and microseconds in which dates are whole."""
    return next(
        (unit for unit in ("D", "m", "s") if (dates == dates.astype(f"M8[{unit}]").astype("M8[us]")).all()),
        "us",
    )


def _without_t(texts):
    return [text.replace("T", " ") for text in texts.tolist()]


def _groups(column, categories):
    absent = np.isnat(column) if column.dtype.kind in "mM" else missing(column)
    known = column[~absent]
    try:
        groups, found = np.unique(known, return_inverse=True)
    except TypeError as error:
        raise ValueError(
            f"values holds {known[0]!r} and others that cannot be put in order; use texts or numbers"
        ) from error
    if categories is not None:
        # The order of the categories, where there are any points of them.
        at = {group: k for k, group in enumerate(groups.tolist())}
        order = [at[category] for category in categories if category in at]
        groups, found = groups[order], np.argsort(order)[found]
    codes = np.full(len(column), -1)
    codes[~absent] = found
    return Groups([name_of(group) for group in groups], codes)
