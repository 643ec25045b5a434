"""How long Adam's steps are, by what they move."""

from __future__ import annotations

from ..mappers import declares

__all__ = ["adam_rate"]

# A free place for every row; the weights of one linear layer; those of a network, where each moves many outputs; and
# those of one that assigns clusters, which has been taught its start and is only to improve on it.
TABLE, LINEAR, NETWORK, HEAD = 0.1, 0.01, 0.003, 0.001


def adam_rate(plan, told="auto"):
    """The length of Adam's steps for the mapper of a plan.

    Parameters
    ----------
    plan : Plan
    told : float or "auto", default="auto"
        ``learning_rate`` of the estimator; whoever names one has it.

    Returns
    -------
    float
    """
    if told != "auto":
        return told
    if not plan.parametric:
        return TABLE
    if declares(plan.mapper, "linear"):
        return LINEAR
    return HEAD if plan.q.shared_clusters else NETWORK
