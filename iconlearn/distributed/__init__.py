"""Fits over several processes, each with rows of its own: :func:`shards`, and what processes exchange in them."""

from ._group import ALONE, Alone, Group
from ._shard import Halo, Shard, check_alike
from ._shards import alone, current, shards

__all__ = ["ALONE", "Alone", "Group", "Halo", "Shard", "alone", "check_alike", "current", "shards"]
