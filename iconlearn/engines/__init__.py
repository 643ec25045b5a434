"""Engines: how the row sums are found, or the answer itself.

``choose`` takes the first engine that no term refuses.
"""

from __future__ import annotations

from ._agglomeration import agglomerate, coarsen
from ._base import Engine
from ._closed import Closed
from ._dense import Dense
from ._minibatch import MiniBatch
from ._partition import Partition, assign, refine

__all__ = [
    "Closed",
    "Dense",
    "Engine",
    "MiniBatch",
    "Partition",
    "agglomerate",
    "assign",
    "choose",
    "coarsen",
    "refine",
]

# More pairs than this are minutes of exact steps; below it dense is exact and quick enough.
MAX_DENSE_PAIRS = 10**8

ORDER = (Closed(), Partition(), Dense(max_pairs=MAX_DENSE_PAIRS), MiniBatch())


def choose(problems, candidates=ORDER) -> Engine:
    """The first candidate that refuses none of the problems.

    Raises
    ------
    ValueError
        With the reason of every candidate, if all refuse.
    """
    reasons = []
    for engine in candidates:
        reason = next(filter(None, (engine.refuses(problem) for problem in problems)), None)
        if reason is None:
            return engine
        reasons.append(reason)
    # The most general engine speaks first: its reason is the one to act on.
    raise ValueError("; ".join(dict.fromkeys(reversed(reasons))))
