"""p by what is known of rows: classes, links, lists of candidates, another model's predictions."""

from ._classes import Classes, Identity, Labels
from ._links import MustLink, Paired
from ._lists import CannotLink, Choices, Pairs, Triplets
from ._predictions import Predictions

__all__ = [
    "CannotLink",
    "Choices",
    "Classes",
    "Identity",
    "Labels",
    "MustLink",
    "Paired",
    "Pairs",
    "Predictions",
    "Triplets",
]
