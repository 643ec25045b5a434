"""How a loss is minimised: one loop, its methods, its rules for ending, and many small problems at once."""

from __future__ import annotations

from ._history import Entropies, History, Record, Solution, answering, asks_to_stop
from ._lbfgs import LBFGS
from ._loop import minimise
from ._methods import OPTIMIZERS, Phase
from ._plateau import EstimatedPlateau, Plateau, Verdict
from ._rows import ROW_RULES, minimise_rows
from ._stretch import copies, put_back

__all__ = [
    "LBFGS",
    "OPTIMIZERS",
    "ROW_RULES",
    "Entropies",
    "EstimatedPlateau",
    "History",
    "Phase",
    "Plateau",
    "Record",
    "Solution",
    "Verdict",
    "answering",
    "asks_to_stop",
    "copies",
    "minimise",
    "minimise_rows",
    "put_back",
]
