"""The one door to matplotlib, and what all pictures share: axes, and colours that everybody can tell apart."""

from __future__ import annotations

import numpy as np

__all__ = ["GREY", "INK", "axes_of", "colors_of", "name_of", "one_of_each"]

# Paul Tol's muted scheme, told apart with any kind of colour vision, and orange for a tenth.
PALETTE = (
    "#332288", "#88CCEE", "#44AA99", "#117733", "#DDCC77", "#CC6677", "#AA4499", "#882255", "#999933", "#EE7733",
)  # fmt: skip
# What belongs to no group, and what is written over the data.
GREY, INK = "#BBBBBB", "#333333"


def axes_of(ax, **figure):
    """The axes to draw in: those given, or those of a new figure, made as ``pyplot.subplots`` takes it.

    Raises
    ------
    ImportError
        Where matplotlib is not installed.
    """
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError("drawing needs matplotlib; install it with: pip install iconlearn[plot]") from error
    return pyplot.subplots(layout="constrained", **figure)[1] if ax is None else ax


def colors_of(n):
    """n colours as an array of shape (n, 3); after every ten they come back paler, then darker."""
    from matplotlib.colors import to_rgb

    base = np.array([to_rgb(color) for color in PALETTE])
    tints = [base, 0.55 * base + 0.45, 0.6 * base]
    rows = np.arange(n)
    return np.array(tints)[rows // len(base) % len(tints), rows % len(base)].reshape(n, 3)


def name_of(value):
    """A label as it is written: numbers without needless digits."""
    return f"{value:g}" if isinstance(value, float | np.floating) else str(value)


def one_of_each(values):
    """Distinct labels in order, and the position of every label among them; None and NaN have position -1."""
    values = np.asarray(values)
    missing = np.array([v is None or v != v for v in values.tolist()], dtype=bool)
    groups, codes = np.unique(values[~missing], return_inverse=True)
    places = np.full(len(values), -1)
    places[~missing] = codes
    return groups, places
