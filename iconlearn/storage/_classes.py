"""Which classes a file may name: the package's own, and components that were registered with it."""

from __future__ import annotations

import sys
from functools import cache

from ..registry import COMPONENTS

__all__ = ["class_of", "name_of"]

PACKAGE = __name__.partition(".")[0]
# Rooms whose values an estimator is made of.
ROOMS = (
    "estimators", "supervisory", "learned", "divergences", "mappers", "engines", "conditional", "calibration",
    "neighbors",
)  # fmt: skip


def name_of(cls) -> str | None:
    """What a file calls a class; None for one that it may not name."""
    own = next((name for name, known in _own().items() if known is cls), None)
    return own or next((name for name, known in _registered().items() if known is cls), None)


def class_of(name: str):
    """The class that a file means; None for an unknown one."""
    return _own().get(name) or _registered().get(name)


@cache
def _own():
    """The public classes of all modules in these rooms, by room and name; all are imported by now."""
    table = {}
    for path, module in sorted(sys.modules.items()):
        parts = path.split(".")
        if parts[0] == PACKAGE and len(parts) > 1 and parts[1] in ROOMS:
            for name in getattr(module, "__all__", ()):
                value = getattr(module, name, None)
                if isinstance(value, type) and value.__module__ == path:
                    table[f"{parts[1]}.{name}"] = value
    return table


def _registered():
    """Components of others, by slot and registered name."""
    return {
        f"registry.{slot}.{name}": made
        for slot, known in COMPONENTS.items()
        for name, made in known.items()
        if isinstance(made, type) and not made.__module__.startswith(f"{PACKAGE}.")
    }
