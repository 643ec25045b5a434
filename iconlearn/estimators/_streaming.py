"""Clusters of a stream: one batch of rows after the other, for heads."""

from __future__ import annotations

import numpy as np
import torch

from ..mappers import build_mapper
from ..neighbors import KnownRows
from ..optim import Phase
from ..plan import same_shapes
from ..solve import adam_rate
from ._heads import labels_of
from ._inputs import validated_new
from ._parametric import for_mappers_of_features

__all__ = ["Streaming"]

# Passes over each batch that comes after the first, and what is remembered of the clusters' sizes.
N_PASSES, REMEMBERED = 10, 0.9


class Streaming:
    """Adds partial_fit to a clusterer."""

    @for_mappers_of_features
    def partial_fit(self, X, y=None):
        """Learn from one batch of rows of a stream; for heads.

        The first batch is fitted as :meth:`fit` does, so it should hold rows of all clusters.  Each further one, or
        the first after a :meth:`fit`, moves the head by a few passes (`max_iter`, or 10) over its own rows, whose p
        is found among themselves, while the sizes of the clusters are means over the batches (`mass_momentum` of q,
        or 0.9).  `labels_` and the losses are those of the last batch; clusters keep their numbers, and those that
        had no rows in a fit come after the others.

        There is nothing to go on from after the fit of a table, or where `n_clusters` or `mapper` has been set to
        something of another shape since: such a batch is a first one again.

        Parameters
        ----------
        X : array-like, sparse matrix or tensor of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or None, default=None
            Labels, for a p that needs them.

        Returns
        -------
        self

        Raises
        ------
        AttributeError
            For mapper="table", whose assignments belong to the rows that it has seen.
        """
        return self._completed(self._fit_batch, X, y)

    def _fit_batch(self, X, y):
        """One batch of a stream: the first is fitted whole, each further one takes the head a little on."""
        if self._has_head():
            used = self._used
            solution = self._go_on(X, y)
        else:
            used = np.arange(0)
            solution = self._fit(X, y)
            if self.n_clusters != "auto" and self._outputs < self.n_clusters:
                raise ValueError(
                    f"the first batch has {self._outputs} distinct rows, fewer than "
                    f"n_clusters={self.n_clusters}; begin with a larger batch"
                )
        # A cluster without rows in this batch may have some in the next.
        self._used = np.concatenate([used, np.setdiff1d(np.arange(self._outputs), used)])
        self.n_clusters_ = self._outputs
        self.labels_ = labels_of(self._mapped_parts(self._X), self._used, self.min_confidence)
        return solution

    def _has_head(self):
        """Whether the last fit or batch left a head of the shape that is asked for."""
        if not getattr(self, "_parametric", False) or self.n_clusters not in ("auto", self._outputs):
            return False
        n_inputs = len(range(self.n_features_in_)[self._features or slice(None)])
        asked = build_mapper(
            self._resolved("mapper"), n_inputs, self._outputs, self._X.shape[0],
            generator=torch.Generator().manual_seed(0), dtype=torch.float32, device="cpu",
        )  # fmt: skip
        return same_shapes(self.mapper_, asked)

    def _go_on(self, X, y):
        self._check_numbers()
        X = validated_new(self, X)
        if X.shape[0] < 2:
            raise ValueError(f"a batch needs at least 2 rows, got n_samples={X.shape[0]}")
        q = self._shared_q()
        if q.mass_momentum == 0:
            q.set_params(mass_momentum=REMEMBERED)
        plan = self._plan(
            X, y, self._outputs, q=q, table_dtype=torch.float64, start=self.mapper_, keeps=False
        )
        plan.q.mean_size_ = torch.as_tensor(self._mean_sizes(), dtype=plan.dtype, device=plan.device)
        n_iter = N_PASSES if self.max_iter == "auto" else self.max_iter
        method = "adam" if self.optimizer == "auto" else self.optimizer
        solution = self._optimise(
            plan, method, [Phase(n_iter, adam_rate(plan, self.learning_rate))], patience=n_iter
        )
        self._sizes, self._path = plan.q.mean_size_.cpu().numpy(), None
        self._keep(plan, solution)
        self._finish(plan, KnownRows(plan.X), told=False)
        return solution

    def _mean_sizes(self):
        """Shares of the clusters in the batches so far."""
        if self._sizes is not None:
            return self._sizes
        sizes = sum(r.sum(axis=0) for r in self._mapped_parts(self._X))
        return sizes / sizes.sum()
