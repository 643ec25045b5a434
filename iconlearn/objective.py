"""The narrow waist: a problem is p, q, a divergence, and the points at both ends.

    minimise   sum_t weight_t * sum_i mass_i * D( p_t(.|i) || q_t(.|i) )  +  penalty

over the parameters of the mappers.  Everything above builds these values, everything below reads them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse

from .clusters import PairWeights
from .conditional import BlockConditional, Conditional
from .divergences import Divergence
from .learned import Learned
from .mappers import declares

__all__ = ["Objective", "Points", "Problem"]

# Numbers of p that are looked at at a time.
BLOCK = 2**22


@dataclass(frozen=True, eq=False)
class Points:
    """A set of points, seen through a mapper.

    Parameters
    ----------
    mapper : torch.nn.Module
        Gives the places.
    size : int
        Number of points.
    inputs : Tensor, sparse matrix, ndarray or None
        Features of the points; None where the mapper is a table and is called with row numbers.  Those of a
        sparse matrix or of an array (which may lie in a file) are made a tensor when they are visited.
    width : int or None
        Number of outputs of the mapper, where it is known beforehand.
    view : callable or None
        ``view(features, rows)`` makes a fresh view of every visited row; point r then shows row r modulo the
        number of inputs.
    whole : bool, default=False
        Whether every step includes all of these columns, however few its rows: classes, of which each row is to be
        far from all but its own.
    """

    mapper: torch.nn.Module
    size: int
    inputs: object = None
    width: int | None = None
    view: Callable | None = None
    whole: bool = False

    @property
    def bounded(self) -> bool:
        """Whether the mapper keeps its outputs within bounds by itself, as an orthonormal one does."""
        return declares(self.mapper, "bounded")

    @property
    def basis(self) -> bool:
        """Whether the points are the unit vectors, so that dot products with them are coordinates."""
        return declares(self.mapper, "basis")

    def at(self, rows=None):
        """Outputs of the mapper for the given rows (a tensor of row numbers), or for all."""
        return self.mapper(rows if self.inputs is None else self.features(rows))

    def shown(self, rows=None):
        """What users are shown of the given rows, or of all: their code where the mapper has one, else its outputs."""
        return self.mapper.read(self.features(rows)) if declares(self.mapper, "encodes") else self.at(rows)

    def features(self, rows=None):
        """Features of the given rows as the mapper sees them, or of all."""
        if self.view is not None:
            return self._views(rows)
        if not isinstance(self.inputs, torch.Tensor):
            return self._dense_rows(rows)
        return self.inputs if rows is None else self.inputs[rows]

    def _views(self, rows):
        if rows is None:
            rows = torch.arange(self.size)
        shown = rows % self.inputs.shape[0]
        if isinstance(self.inputs, torch.Tensor):
            features = self.inputs[shown.to(self.inputs.device)]
        else:
            features = self._dense_rows(shown)
        return self.view(features, rows)

    def _dense_rows(self, rows):
        chosen = self.inputs if rows is None else self.inputs[rows.cpu().numpy()]
        like = next(self.mapper.parameters())
        chosen = chosen.toarray() if sparse.issparse(chosen) else np.array(chosen)
        return torch.as_tensor(chosen).to(device=like.device, dtype=like.dtype)


@dataclass(frozen=True, eq=False)
class Problem:
    """One term of an objective.

    Parameters
    ----------
    p : Conditional or BlockConditional
        Supervisory distribution.
    q : Learned
        Learned distribution, begun.
    divergence : Divergence
        Divergence of p from q.
    rows, columns : Points
        Where the two ends of every pair come from; the same object when the columns are the rows.
    weight : float, default=1.0
        Factor of this term.
    """

    p: Conditional | BlockConditional
    q: Learned
    divergence: Divergence
    rows: Points
    columns: Points
    weight: float = 1.0

    @property
    def tied(self) -> bool:
        """Whether the columns are the rows."""
        return self.rows is self.columns

    @property
    def fresh(self) -> bool:
        """Whether any point is seen through views that are drawn anew at every step, or drawn by its mapper."""
        ends = (self.rows, self.columns)
        return any(end.view is not None or declares(end.mapper, "samples") for end in ends)

    @property
    def summand(self) -> Divergence | None:
        """What is summed over pairs: the divergence, or its limit where q (or p as well) is one."""
        if self.q.reduce == "logsumexp":
            return self.divergence
        return self.divergence.wide_limit if self.p.wide else self.divergence.limit

    @property
    def n_pairs(self) -> int:
        return self.p.n_rows * self.p.n_cols

    def entropy(self) -> float:
        """Mean entropy of p over its rows, in nats; a KL plus this is a cross-entropy."""
        total, mass = 0.0, self.p.row_mass
        numbers = self.p.edges.nnz if isinstance(self.p, Conditional) else self.n_pairs
        step = max(1, BLOCK * self.p.n_rows // max(numbers, 1))
        for start in range(0, self.p.n_rows, step):
            rows = np.arange(start, min(start + step, self.p.n_rows))
            e = self.p.entries(rows)
            p, weight = e.p, mass[rows]
            row_weight = weight[e.i] if e.i is not None else weight[:, None]
            with np.errstate(divide="ignore", invalid="ignore"):
                total -= (row_weight * np.where(p > 0, p * np.log(p), 0.0)).sum()
            if e.i is not None and e.floor > 0:
                off = self.p.n_candidates - np.bincount(e.i, minlength=len(rows))
                total -= (weight * off).sum() * e.floor * np.log(e.floor)
        return float(total)


@dataclass(frozen=True, eq=False)
class Objective:
    """A weighted list of problems that share a mapper, and a penalty on its parameters.

    Parameters
    ----------
    problems : tuple of Problem
        The terms.
    penalty : callable or None
        Returns a scalar tensor that is added to the loss.
    pair_weights : PairWeights or None
        The weights of pairs of all terms together, where the search of a start has found them.
    """

    problems: tuple[Problem, ...]
    penalty: Callable | None = None
    pair_weights: PairWeights | None = None

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """Everything that is learned, each once."""
        found: dict[int, torch.nn.Parameter] = {}
        for problem in self.problems:
            for points in (problem.rows, problem.columns):
                found.update((id(t), t) for t in points.mapper.parameters() if t.requires_grad)
            learned = problem.q.__dict__.values()
            found.update((id(t), t) for t in learned if isinstance(t, torch.nn.Parameter) and t.requires_grad)
        return list(found.values())

    @property
    def buffers(self) -> list[torch.Tensor]:
        """What the mappers keep besides, such as running means, each once."""
        ends = (points for problem in self.problems for points in (problem.rows, problem.columns))
        return list({id(t): t for points in ends for t in points.mapper.buffers()}.values())

    @property
    def state(self) -> list[torch.Tensor]:
        """All that steps change: what a fit that keeps its best state has to keep."""
        return [*self.parameters, *self.buffers]
