"""How a loss is minimised: one loop, its methods, its rules for ending, and many small problems at once."""

from __future__ import annotations

from ._lbfgs import LBFGS
from ._loop import OPTIMIZERS, Phase, Record, Solution, copies, minimise, put_back
from ._plateau import EstimatedPlateau, Plateau, Verdict
from ._rowwise import minimise_rows

__all__ = [
    "LBFGS",
    "OPTIMIZERS",
    "EstimatedPlateau",
    "Phase",
    "Plateau",
    "Record",
    "Solution",
    "Verdict",
    "copies",
    "minimise",
    "minimise_rows",
    "put_back",
]
