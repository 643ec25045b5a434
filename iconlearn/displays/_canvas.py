"""Import of matplotlib, and what all pictures share: axes, and colours that are distinct for any colour vision."""

from __future__ import annotations

import numpy as np

# Paul Tol's muted scheme, distinct for any colour vision, and orange for a tenth.
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
        raise ImportError("drawing needs matplotlib; install it with: pip install matplotlib") from error
    return pyplot.subplots(layout="constrained", **figure)[1] if ax is None else ax


def colors_of(n):
    """n colours as an array of shape (n, 3); after every ten they come back paler, then darker."""
    base = np.array([rgb(color) for color in PALETTE])
    tints = [base, 0.55 * base + 0.45, 0.6 * base]
    rows = np.arange(n)
    return np.array(tints)[rows // len(base) % len(tints), rows % len(base)].reshape(n, 3)


def ink_on(color):
    """The ink or white, whichever has more contrast with a background, by the relative luminance of WCAG 2."""

    def luminance(parts):
        parts = np.asarray(parts)
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return linear @ (0.2126, 0.7152, 0.0722)

    behind = luminance(color) + 0.05
    return "white" if 1.05 / behind > behind / (luminance(rgb(INK)) + 0.05) else INK


def rgb(color):
    """A colour written as "#RRGGBB" as three numbers between 0 and 1."""
    return tuple(int(color[k : k + 2], 16) / 255 for k in (1, 3, 5))


def name_of(value):
    """A label as it is written: numbers without needless digits, dates without needless zeros."""
    if isinstance(value, np.datetime64):
        return str(np.datetime_as_string(value, unit="auto")).replace("T", " ")
    if isinstance(value, np.timedelta64):
        return f"{value / np.timedelta64(1, 'D'):g} days"
    return f"{value:g}" if isinstance(value, float | np.floating) else str(value)


def push_apart(texts, weights, *, rounds=100):
    """Move texts that cover each other up and down, each by half of what they share, until none does.

    Of texts that still cover each other after so many rounds, those of smaller weight are taken out.

    Returns
    -------
    list of matplotlib Text
        Those that are left.
    """
    figure = texts[0].figure
    figure.draw_without_rendering()
    x0, y0, x1, y1 = np.array([text.get_window_extent().extents for text in texts]).T
    beside = np.minimum(x1[:, None], x1) > np.maximum(x0[:, None], x0)
    np.fill_diagonal(beside, False)
    rank = np.argsort(np.argsort(y0 + y1, kind="stable"))
    above, moved = np.sign(rank[:, None] - rank), np.zeros(len(texts))
    for _ in range(rounds):
        shared = _shared(y0 + moved, y1 + moved, beside)
        if not (shared > 0.5).any():
            break
        moved += 0.5 * (above * shared).sum(axis=1)
    covers = _shared(y0 + moved, y1 + moved, beside) > 1
    kept = []
    for k in np.argsort(-np.asarray(weights), kind="stable"):
        text = texts[k]
        if covers[k, kept].any():
            text.remove()
            continue
        kept.append(k)
        if moved[k]:
            frame = text.axes.transData
            text.set_position(
                frame.inverted().transform(frame.transform(text.get_position()) + [0, moved[k]])
            )
    return [texts[k] for k in sorted(kept)]


def _shared(low, high, beside):
    """How much of their heights texts share that are beside each other."""
    shared = np.minimum(high[:, None], high) - np.maximum(low[:, None], low)
    return np.where(beside, np.maximum(shared, 0), 0)
