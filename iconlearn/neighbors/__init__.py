"""Nearest neighbours and distances.

    knn(X, k):  for every row i the k columns j != i of least d(x_i, x_j), duplicates included

A search proposes candidates; their distances are then evaluated again from differences, because
matrix products lose the distance of near-equal rows.  :func:`choose_backend` selects the search that is
taken: exact by blocks where that is quick, cells (inverted lists) above, pynndescent for the metrics
that neither serves.  New rows are always searched exactly, with ties broken by index, so that no row
depends on the others in its batch.
"""

from ._device_rows import on_device
from ._distances import check_defined, check_metric, distance_block, from_products, pair_distances
from ._equal_rows import KnownRows, duplicate_groups, equal_rows
from ._parameters import ParametricMetric, with_params
from ._rows import BLOCK_SIZE, PreparedRows
from ._search import BACKENDS, choose_backend, expected_search, knn, neighbor_graph
from ._shards import graph_of_all

__all__ = [
    "KnownRows",
    "ParametricMetric",
    "PreparedRows",
    "BACKENDS",
    "BLOCK_SIZE",
    "check_defined",
    "check_metric",
    "choose_backend",
    "distance_block",
    "duplicate_groups",
    "equal_rows",
    "expected_search",
    "from_products",
    "graph_of_all",
    "knn",
    "neighbor_graph",
    "on_device",
    "pair_distances",
    "with_params",
]
