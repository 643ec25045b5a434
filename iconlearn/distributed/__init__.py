"""Fits over several processes, each with rows of its own: :func:`shards`, and what processes exchange in them."""

from ._group import Alone, Group
from ._shards import current, shards

__all__ = ["Alone", "Group", "current", "shards"]
