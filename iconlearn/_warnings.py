"""Warnings that point at the user's own line, not at one of ours."""

from __future__ import annotations

import sys
import warnings

# Packages through which a call comes to us: what scikit-learn wraps a fit in, who carries out its searches, and torch,
# which calls our functions of gradients.
THROUGH = ("iconlearn", "sklearn", "joblib", "contextlib", "torch")


def warn(message, category=UserWarning):
    """Warn as of the innermost line that is neither ours nor scikit-learn's.

    Parameters
    ----------
    message : str
    category : type of Warning, default=UserWarning
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in THROUGH:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
