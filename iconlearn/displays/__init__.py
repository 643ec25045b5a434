"""Pictures of fitted estimators, in scikit-learn's manner.

A display holds numbers and nothing else; ``plot(ax=None)`` draws them and keeps the artists, so that one
computation may be drawn many times.  matplotlib is imported when something is drawn.
"""

from ._merge_path import MergePathDisplay

__all__ = ["MergePathDisplay"]
