"""The narrow waist: a problem is p, q, a divergence, and the points at both ends.

    minimise   sum_t weight_t * sum_i mass_i * D( p_t(.|i) || q_t(.|i) )  +  penalty

over the parameters of the mappers.  Everything above builds these values, everything below reads them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import sparse

from .clusters import PairWeights
from .conditional import MAX_MATERIALISED, BlockConditional, Conditional, ListConditional
from .distributed import ALONE, Alone, Group, Shard
from .divergences import Divergence
from .learned import Learned
from .mappers import declares, rates_of

__all__ = ["Objective", "Points", "Problem"]


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
    reading : callable or None
        ``reading(places, rows)`` makes of the mapper's outputs, ``places(rows)``, what a step reads of the given rows.
    moments : callable or None
        ``moments(rows)``: which input each of the points is a view of, and how many of its steps are seen; only where
        the mapper is recurrent.
    shard : Shard or None
        Where the points are the rows of several processes: which of them are here, as `inputs` then are.
    """

    mapper: torch.nn.Module
    size: int
    inputs: object = None
    width: int | None = None
    view: Callable | None = None
    whole: bool = False
    reading: Callable | None = None
    moments: Callable | None = None
    shard: Shard | None = None

    @property
    def bounded(self) -> bool:
        """Whether the mapper keeps its outputs within bounds by itself, as an orthonormal one does."""
        return declares(self.mapper, "bounded")

    @property
    def basis(self) -> bool:
        """Whether the points are the unit vectors, so that dot products with them are coordinates."""
        return declares(self.mapper, "basis")

    def at(self, rows=None, inputs=None):
        """Outputs of the mapper for the given rows (a tensor of row numbers), or for all; or what is read of them.

        Parameters
        ----------
        rows : Tensor of int64 or None, default=None
        inputs : Tensor or None, default=None
            What :meth:`gathered` gives of these rows, where it is on the device already.
        """
        return self._mapped(rows, inputs) if self.reading is None else self.reading(self._mapped, rows)

    def gathered(self, rows):
        """Features of some rows (an array of row numbers) as an array, and their type on a device.

        None where they are a tensor already, or where other features than those of these rows are read.
        """
        others = self.reading is not None or self.moments is not None or self.shard is not None
        if self.inputs is None or isinstance(self.inputs, torch.Tensor) or others:
            return None, None
        chosen = self.inputs[rows if self.view is None else rows % self.inputs.shape[0]]
        return _as_array(chosen), next(self.mapper.parameters()).dtype

    def _mapped(self, rows=None, inputs=None):
        if self.shard is not None:
            positions = torch.arange(self.size, device=self.device) if rows is None else rows
            return self.shard.outputs(positions, self._own)
        if self.moments is not None:
            shown, seen = self.moments(torch.arange(self.size, device=self.device) if rows is None else rows)
            found, which = torch.unique(shown, return_inverse=True)
            return self.mapper.after(self._inputs(found), which, seen)
        return self.mapper(rows if self.inputs is None else self.features(rows, inputs))

    def _own(self, positions, rows):
        """Outputs for rows of this process, which are at the given positions among all points."""
        inputs = self._inputs(rows)
        return self.mapper(inputs if self.view is None else self.view(inputs, positions))

    def shown(self, rows=None):
        """What users are shown of the given rows, or of all: their code where the mapper has one, else its outputs."""
        return self.mapper.read(self.features(rows)) if declares(self.mapper, "encodes") else self.at(rows)

    def features(self, rows=None, inputs=None):
        """Features of the given rows as the mapper sees them, or of all; see :meth:`at`."""
        if self.view is not None:
            return self._views(rows, inputs)
        if inputs is not None:
            return inputs
        if not isinstance(self.inputs, torch.Tensor):
            return self._dense_rows(rows)
        return self.inputs if rows is None else self.inputs[rows]

    @property
    def device(self) -> torch.device:
        """Where the features are, or will be once they are a tensor."""
        like = self.inputs if isinstance(self.inputs, torch.Tensor) else next(self.mapper.parameters())
        return like.device

    def _views(self, rows, inputs):
        if rows is None:
            rows = torch.arange(self.size, device=self.device)
        return self.view(self._inputs(rows % self.inputs.shape[0]) if inputs is None else inputs, rows)

    def _inputs(self, rows):
        if isinstance(self.inputs, torch.Tensor):
            return self.inputs[rows.to(self.inputs.device)]
        return self._dense_rows(rows)

    def _dense_rows(self, rows):
        chosen = self.inputs if rows is None else self.inputs[rows.cpu().numpy()]
        like = next(self.mapper.parameters())
        return torch.as_tensor(_as_array(chosen)).to(device=like.device, dtype=like.dtype)


def _as_array(rows):
    """Rows of a sparse matrix or of an array, which may lie in a file, as an array of their own."""
    return rows.toarray() if sparse.issparse(rows) else np.array(rows)


@dataclass(frozen=True, eq=False)
class Problem:
    """One term of an objective.

    Parameters
    ----------
    p : Conditional, BlockConditional or ListConditional
        Supervisory distribution.
    q : Learned
        Learned distribution, begun.
    divergence : Divergence
        Divergence of p from q.
    rows, columns : Points
        Where the two ends of every pair come from; the same object when the columns are the rows.
    weight : float, default=1.0
        Factor of this term.
    shard : Shard or None, default=None
        Where p has the rows of this process alone: which of all rows these are.
    share : float, default=1.0
        What the mean divergence counts here, so that the sum over all processes is the loss.
    group : Group or Alone
        The processes that the rows lie on.
    """

    p: Conditional | BlockConditional | ListConditional
    q: Learned
    divergence: Divergence
    rows: Points
    columns: Points
    weight: float = 1.0
    shard: Shard | None = None
    share: float = 1.0
    group: Alone | Group = ALONE

    @property
    def n_rows(self) -> int:
        """Rows of all processes."""
        return self.p.n_rows if self.shard is None else self.shard.n_all

    def own(self, rows):
        """Of some rows of all processes those that p has, by their numbers in p."""
        return rows if self.shard is None else self.shard.own(rows)

    @property
    def own_mass(self):
        """Weights of the rows of this process, those of all processes summing to one."""
        shard = self.rows.shard
        return self.share * self.p.row_mass if shard is None else self.p.row_mass[shard.here]

    def anywhere(self, so) -> bool:
        """Whether something is so of rows here, or in another process where these have rows of their own."""
        return so if self.shard is None else bool(self.group.largest(int(so)))

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
    def of_edges(self) -> bool:
        """Whether the loss is a sum over the support of p alone, for which no engine sums over candidates."""
        q, p = self.q, self.p
        alone = q.normalize in ("self", "space") and q.debias == 0 and self.divergence.linear_in_log_q
        return alone and not p.dense and p.uniform == 0

    @property
    def summand(self) -> Divergence | None:
        """What is summed over pairs: the divergence, or its limit where q (or p as well) is one."""
        if self.q.reduce == "logsumexp":
            return self.divergence
        return self.divergence.wide_limit if self.p.wide else self.divergence.limit

    @property
    def n_pairs(self) -> int:
        return self.p.n_pairs if self.shard is None else self.shard.n_all * self.p.n_cols

    def of_copies(self, number):
        """The same term where each of the rows stands for a number of equal ones.

        Parameters
        ----------
        number : ndarray of shape (n,)
            Positive.

        Raises
        ------
        ValueError
            Where p or q cannot count copies.
        """
        if not self.tied:
            return replace(self, p=self.p.with_mass(number * (1.0 if self.p.mass is None else self.p.mass)))
        if not getattr(self.q, "shared_clusters", False) or self.q.normalize != "self":
            raise ValueError(
                f"sample_weight counts in the sizes of clusters, and q={self.q!r} does not divide by these alone; use "
                f"q=Cluster(normalize='self'), or leave sample_weight out"
            )
        if self.divergence.reverse or self.p.column_weights is not None or self.p.wide:
            raise ValueError(
                f"sample_weight has no meaning with divergence={self.divergence!r} and a p of this kind, which weigh "
                f"rows themselves; use divergence='kl' and p='knn', or leave sample_weight out"
            )
        if self.p.dense and self.n_pairs > MAX_MATERIALISED:
            raise ValueError(
                "sample_weight needs a p that is held in memory, and this one covers too many pairs; give p a finite "
                "n_neighbors"
            )
        return replace(self, p=self.p.with_edges().of_copies(np.tile(number, self.p.n_rows // len(number))))

    def entropy(self) -> float:
        """Mean entropy of p over its rows, in nats; a KL plus this is a cross-entropy."""
        return self.p.mean_entropy()


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
    def rates(self) -> list[float] | None:
        """Factors on the step size of each parameter, as the mappers declare them; None where all are one."""
        modules = [points.mapper for problem in self.problems for points in (problem.rows, problem.columns)]
        factors = {key: rate for module in modules for key, rate in rates_of(module).items()}
        rates = [factors.get(id(t), 1.0) for t in self.parameters]
        return None if set(rates) <= {1.0} else rates

    @property
    def buffers(self) -> list[torch.Tensor]:
        """What the mappers keep besides, such as running means, each once."""
        ends = (points for problem in self.problems for points in (problem.rows, problem.columns))
        return list({id(t): t for points in ends for t in points.mapper.buffers()}.values())

    @property
    def state(self) -> list[torch.Tensor]:
        """All that steps change: what a fit that keeps its best state has to keep."""
        return [*self.parameters, *self.buffers]
