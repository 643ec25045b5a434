"""Compiled loops for many points on the CPU; the only package, with the neighbour search, that imports numba.

Each has a twin in plain torch or numpy that does everything else.  The compiled code is kept on disk, releases the
interpreter's lock and runs on plain threads, one stretch of rows each, so that it works with forks
and with every other pool.
"""

from __future__ import annotations

from ._edges import edge_terms
from ._groups import best_partners, contracted
from ._near import ENTRIES, SortedPoints, near_pulls, near_sums
from ._nearest import descended, keep_nearest, rows_by_cell
from ._partition import explained_by_clusters, explained_by_lists, lists_onto_simplex, onto_simplex
from ._placement import Kernel, NearPlaces, Steps, Sums, placed_rows
from ._relocation import cheapest_rows
from ._sampled import sampled_terms
from ._splines import read_points, spread_points
from ._steps import counts_beyond, ends_of_points, momentum_step

__all__ = [
    "ENTRIES",
    "Kernel",
    "NearPlaces",
    "SortedPoints",
    "Steps",
    "Sums",
    "best_partners",
    "cheapest_rows",
    "contracted",
    "counts_beyond",
    "descended",
    "edge_terms",
    "ends_of_points",
    "explained_by_clusters",
    "explained_by_lists",
    "keep_nearest",
    "lists_onto_simplex",
    "momentum_step",
    "near_pulls",
    "near_sums",
    "onto_simplex",
    "placed_rows",
    "read_points",
    "rows_by_cell",
    "sampled_terms",
    "spread_points",
]
