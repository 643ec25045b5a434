"""Engines: how the row sums are found, or the answer itself.

``choose`` takes the first engine that no term refuses.
"""

from __future__ import annotations

from sklearn.base import clone

from ._base import Engine
from ._closed import Closed
from ._dense import Dense
from ._minibatch import MiniBatch
from ._partition import Partition, transduced, write_table
from ._relocation import relocatable, relocate
from ._sampled import Sampled
from ._visit import visit_all, visit_batch
from .mesh import Mesh, frozen_field

__all__ = [
    "Closed",
    "Dense",
    "Engine",
    "Mesh",
    "MiniBatch",
    "Partition",
    "Sampled",
    "choose",
    "frozen_field",
    "relocatable",
    "relocate",
    "transduced",
    "visit_all",
    "visit_batch",
    "write_table",
]

# Up to so many pairs an exact step costs less than a grid, and up to the second less than one with columns drawn;
# beyond the third, minutes of exact steps.
FEW_PAIRS = 10**6
SAMPLED_PAIRS = 25 * 10**6
MAX_DENSE_PAIRS = 10**8

ORDER = (
    Closed(),
    Partition(),
    Dense(max_pairs=FEW_PAIRS),
    Mesh(),
    Dense(max_pairs=SAMPLED_PAIRS),
    Sampled(),
    Dense(max_pairs=MAX_DENSE_PAIRS),
    MiniBatch(),
)


def choose(problems, candidates=ORDER) -> Engine:
    """A fresh copy of the first candidate that refuses none of the problems.

    Raises
    ------
    ValueError
        With the reason of every candidate, if all refuse.
    """
    reasons = []
    for engine in candidates:
        reason = next(filter(None, (engine.refuses(problem) for problem in problems)), None)
        if reason is None:
            return clone(engine)
        reasons.append(reason)
    # The most general engine is first: its reason is the one to act on.
    raise ValueError("; ".join(dict.fromkeys(reversed(reasons))))
