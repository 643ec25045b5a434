"""Pictures of fitted estimators and of the periodic table, in scikit-learn's manner.

A display holds numbers and nothing else; ``plot(ax=None)`` draws them and keeps the artists, so that one
computation may be drawn many times.  matplotlib, and plotly for the interactive map, are imported when something
is drawn.
"""

from ._cluster_tree import ClusterTreeDisplay
from ._clusters import ClusterDisplay
from ._embedding import EmbeddingDisplay
from ._frame import map_frame
from ._information import InformationDisplay
from ._interactive import InteractiveMapDisplay
from ._loss import LossDisplay
from ._merge_path import MergePathDisplay
from ._neighbors import NeighborDistributionDisplay
from ._periodic_table import PeriodicTableDisplay

__all__ = [
    "ClusterDisplay",
    "ClusterTreeDisplay",
    "EmbeddingDisplay",
    "InformationDisplay",
    "InteractiveMapDisplay",
    "LossDisplay",
    "MergePathDisplay",
    "NeighborDistributionDisplay",
    "PeriodicTableDisplay",
    "map_frame",
]
