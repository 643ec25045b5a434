"""The three estimators, in scikit-learn's manner."""

from ._classifier import ICONClassifier
from ._clustering import ICONClustering
from ._embedding import ICONEmbedding
from ._term import Term

__all__ = ["ICONClassifier", "ICONClustering", "ICONEmbedding", "Term"]
