"""The three estimators, in scikit-learn's manner, and a transformer to neighbours."""

from ._base import slim, to_module
from ._classifier import ICONClassifier
from ._clustering import ICONClustering
from ._embedding import ICONEmbedding
from ._neighbors import NeighborsTransformer
from ._term import Term

__all__ = [
    "ICONClassifier",
    "ICONClustering",
    "ICONEmbedding",
    "NeighborsTransformer",
    "Term",
    "slim",
    "to_module",
]
