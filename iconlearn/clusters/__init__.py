"""Soft clusters of a graph: weights of pairs, steps down the loss, searches of a start, labels, numbers of clusters.

Arrays and sparse matrices only; tables, heads and estimators belong to the packages that call these functions.
"""

from __future__ import annotations

from ._agglomeration import agglomerate
from ._confidence import mutual_shares, pairs_of, pairs_of_new
from ._count import LateMergePath, MergePath, counted_path, merge_path, without_path
from ._layers import ClusterLayers, ClusterTree, Hierarchy, LateHierarchy, hierarchy, marked
from ._microclusters import coarsen, number_of_nodes, with_groups
from ._refine import refine, refined, soften
from ._reverse_divergence import assign, joined, within
from ._search import LOOSE, cross, search, search_balances, split_and_merge
from ._starts import k_means, partitions, rank
from ._terms import pair_weights
from ._transduction import Beliefs, propagate, transduce
from ._weights import SMALLEST, PairWeights

__all__ = [
    "LOOSE",
    "SMALLEST",
    "Beliefs",
    "ClusterLayers",
    "ClusterTree",
    "Hierarchy",
    "LateHierarchy",
    "LateMergePath",
    "MergePath",
    "PairWeights",
    "agglomerate",
    "assign",
    "mutual_shares",
    "coarsen",
    "counted_path",
    "cross",
    "hierarchy",
    "joined",
    "marked",
    "k_means",
    "merge_path",
    "number_of_nodes",
    "pair_weights",
    "pairs_of",
    "pairs_of_new",
    "partitions",
    "propagate",
    "rank",
    "refine",
    "refined",
    "search",
    "search_balances",
    "soften",
    "split_and_merge",
    "transduce",
    "with_groups",
    "within",
    "without_path",
]
