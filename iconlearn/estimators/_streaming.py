"""Clusters of a stream: one batch of rows after the other, for heads."""

from __future__ import annotations

import numpy as np
import torch

from ..neighbors import KnownRows
from ..optim import Phase
from ._heads import labels_of
from ._io import all_or_nothing, validated_new
from ._parametric import for_mappers_of_features
from ._rates import adam_rate

__all__ = ["Streaming"]

# Passes over each batch that comes after the first, and what is remembered of the clusters' sizes.
N_PASSES, REMEMBERED = 10, 0.9


class Streaming:
    """Adds partial_fit to a clusterer."""

    @for_mappers_of_features
    def partial_fit(self, X, y=None):
        """Learn from one batch of rows of a stream; for heads.

        The first batch is fitted as :meth:`fit` does, so it should hold rows of all clusters.  Each further one moves
        the head by a few passes (`max_iter`, or 10) over its own rows, whose p is found among themselves, while the
        sizes of the clusters are means over the batches (`mass_momentum` of q, or 0.9).  `labels_` and the losses
        are those of the last batch; clusters keep their numbers.

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
        with all_or_nothing(self):
            solution = self._fit_batch(X, y)
        if solution.reason == "interrupted":
            raise KeyboardInterrupt
        return self

    def _fit_batch(self, X, y):
        """One batch of a stream: the first is fitted whole, each further one takes the head a little on."""
        if not getattr(self, "_streaming", False):
            solution = self._fit(X, y)
            if self.n_clusters != "auto" and self._outputs < self.n_clusters:
                raise ValueError(
                    f"the first batch has {self._outputs} distinct rows, fewer than "
                    f"n_clusters={self.n_clusters}; begin with a larger batch"
                )
            self._streaming = True
        else:
            solution = self._go_on(X, y)
        # A cluster without rows in this batch may have some in the next.
        self._used, self.n_clusters_ = np.arange(self._outputs), self._outputs
        self.labels_ = labels_of(self._mapped_parts(self._X), self._used, self.min_confidence)
        return solution

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
