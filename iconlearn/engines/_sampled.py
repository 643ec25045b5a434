"""The sampled engine: neighbours in full, and random columns for all the others.

    S_i  ~  sum_{j in N_i} k(u_i, u_j)  +  (n / m) sum_{j in M, j not in N_i, j != i} k(u_i, u_j)

N_i is the support of p in row i, where the kernel is large, and M are m columns drawn anew at every step, the
same for all rows.  The estimate of S_i has no bias.  Its logarithm, which the loss has, is low by about
var(S_i) / (2 S_i^2), and the gradient of that logarithm weighs rows by how low their estimate is.  So steps divide the
gradient of S_i by its mean over the last steps,

    d log S_i  ~  dS_i / M_i,        M_i <- MEMORY M_i + (1 - MEMORY) S_i,

which has the bias and the variance of many more columns, and lags behind by as many steps (on the CPU; on another
device columns cost little).

References
----------
Yuan et al., "Provable stochastic optimization for global contrastive learning: small batch does not harm performance",
ICML 2022 (moving averages of the normalisers).
"""

from __future__ import annotations

from dataclasses import replace

import torch

from .._checks import check_number
from ..numerics.geometry import Edges, pairs
from ..numerics.threads import WIDE, available, compiled_pays
from ._base import Engine, Found
from ._sums import row_sums
from ._visit import visit_all

# Of a row's sum, what is left in its mean after a step.
MEMORY = 0.9


class Sampled(Engine):
    """All rows at every step, their sums estimated; for maps of more than three dimensions.

    Parameters
    ----------
    n_columns : int, default=1000
        Columns that are drawn at every step.
    """

    own_loops = True
    draws_columns = True
    repeats = True

    def __init__(self, n_columns=1000):
        self.n_columns = n_columns

    def refuses(self, problem):
        check_number("n_columns", self.n_columns, low=1, integer=True)
        q = problem.q
        if not problem.tied or problem.rows.inputs is not None:
            return "the sampled engine places the rows of one table; use engine='minibatch' for a network or two sides"
        if problem.p.dense or problem.p.uniform > 0 or q.debias > 0:
            return "the sampled engine needs a sparse p without a uniform share on p or q; use engine='minibatch'"
        if not problem.divergence.linear_in_log_q:
            return "the sampled engine estimates the KL only; use engine='minibatch' for other divergences"
        if q.normalize in ("self", "space") or q.reduce != "logsumexp" or not q.heavy_tailed:
            return (
                "the sampled engine needs a heavy-tailed kernel and its row sums, as q='student' has; "
                "use engine='minibatch' for other q"
            )
        return super().refuses(problem)

    def visits(self, problem, *, rng, dtype, device):
        visit = visit_all(problem, dtype=dtype, device=device, ordered=True)
        sample = Sample(visit.edges, min(self.n_columns, problem.p.n_cols), visit.exclude_self, rng)
        visit = replace(visit, sample=sample)
        while True:
            sample.draw()
            yield [visit]

    def edge_loss(self, q, U, V, visit, pull, whole):
        # A single loop over the rows finds the distances to neighbours and drawn columns, and both gradients from them.
        inverse = q.edge_form == (-1.0, 1.0) and q.normalize == "row" and not q.cools
        if not (inverse and U is V and U.requires_grad and compiled_pays(U, WIDE)):
            return None
        from ..numerics.compiled import sampled_terms

        sample, weights = visit.sample, visit.row_weight
        if sample.means is None:
            sample.means = torch.zeros_like(weights)
        arrays = (part.contiguous().numpy() for part in (visit.pulled, weights, sample.columns, sample.means))
        total, gradient = sampled_terms(
            U.detach().contiguous().numpy(), *sample.near.arrays, *arrays, sample.scale, MEMORY, pull,
            sample.exclude_self, available(),
        )  # fmt: skip
        value = visit.at_one + total + (weights * torch.log(sample.means)).sum()
        return Found.apply(U, value, torch.from_numpy(gradient), whole)

    def log_sums(self, q, U, V, visit):
        sample = visit.sample

        def kernel(edges):
            return q.log_kernel(pairs(q.scalar, U, V, edges)).exp()

        near = kernel(sample.near)
        far = row_sums(q, U, V[sample.columns], False, self.block).exp()
        # Drawn neighbours, and the row itself, are no part of the rest.
        if U.device.type == "cpu":
            edges = sample.again()
            far = far - edges.row_sums(kernel(edges))
        else:
            # How many of them there are only the device knows.
            far = far - sample.sums_again(near, q.log_kernel(U.new_zeros(1)).exp())
        sums = sample.near.row_sums(near) + sample.scale * far.clamp_min(0.0)
        sums = sums.clamp_min(torch.finfo(sums.dtype).tiny)
        # On a device steps are recorded and taken back, which knows of no state but that of parameters and method.
        remembers = sums.requires_grad and sums.device.type == "cpu"
        return sample.log_with_memory(sums) if remembers else torch.log(sums)


class Sample:
    """Columns drawn for one step, and the pairs that they have in common with the support of p.

    Parameters
    ----------
    near : Edges
        The support, every row's own pair aside.
    size : int
        How many columns are drawn.
    exclude_self : bool
        Whether a row's own column is no part of its sum.
    rng : RandomState

    Attributes
    ----------
    columns : Tensor of int64 of shape (size,)
        In the order they were drawn; all different.
    scale : float
        How many columns each drawn one stands for.
    means : Tensor of shape (n,) or None
        The rows' sums, averaged over the last steps; None before the first.
    """

    def __init__(self, near, size, exclude_self, rng):
        self.near, self.size, self.exclude_self, self.rng = near, size, exclude_self, rng
        self.scale = near.shape[1] / size
        self.columns = torch.empty(size, dtype=torch.int64, device=near.i.device)
        self.means = None

    def log_with_memory(self, sums):
        """log of the rows' mean sums, these among them, with the gradient of these sums over the means."""
        if self.means is None:
            self.means = sums.detach().clone()
        else:
            self.means.lerp_(sums.detach(), 1.0 - MEMORY)
        means = self.means.clone()
        return torch.log(means) + (sums - sums.detach()) / means

    def draw(self):
        """Take new columns; on a device they lie where the last ones did."""
        columns = torch.from_numpy(self.rng.choice(self.near.shape[1], self.size, replace=False))
        if self.columns.device.type == "cuda":
            columns = columns.pin_memory()
        self.columns.copy_(columns, non_blocking=True)

    def again(self):
        """Pairs of the support (and of the diagonal) whose column was drawn."""
        rows, drawn = self.near.of_columns(self.columns)
        if self.exclude_self:
            rows, drawn = torch.cat([rows, self.columns]), torch.cat([drawn, self.columns])
        order = torch.argsort(rows, stable=True)
        return Edges(rows[order], drawn[order], self.near.shape)

    def sums_again(self, near, itself):
        """Row sums over these pairs of the kernels, given those of the support and that of a point with itself."""
        drawn = near.new_zeros(self.near.shape[1]).index_fill_(0, self.columns, 1.0)
        sums = self.near.row_sums(near * drawn[self.near.j])
        return sums + drawn * itself if self.exclude_self else sums
