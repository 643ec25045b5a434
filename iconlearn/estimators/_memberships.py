"""What a fitted clusterer says of rows: clusters, soft assignments and a score."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from ..engines import assign
from ..out_of_sample._placed import blocks_of_rows
from ..out_of_sample._score import reference_score
from ._heads import assignments, labels_of
from ._inputs import like_input, searching_as_told, validated_new
from ._joining import joined

__all__ = ["Memberships", "among"]


class Memberships:
    """Adds answers to a clusterer: those found in the fit for rows that it has seen, else by the head or by p."""

    def predict(self, X):
        """Most probable cluster of each row, -1 where `min_confidence` is not reached; see :meth:`predict_proba`."""
        check_is_fitted(self)
        if not self._parametric:
            return like_input(self._marked(self._probabilities(X)[0]), X)
        parts = self._mapped_parts(validated_new(self, X))
        return like_input(labels_of(parts, self._used, self.min_confidence), X)

    def predict_proba(self, X):
        """Soft assignments of new rows, shape ``(n_new, n_clusters_)``.

        A head maps them.  With a table each row takes the assignments that best explain its own p over the
        training rows; a row equal to a training row has that row's.  No row depends on the others.
        """
        probabilities, rows = self._probabilities(X)
        return like_input(probabilities.astype(rows.dtype, copy=False), X)

    def score(self, X, y=None):
        """Minus the mean divergence of the assignments of X from one fixed reference.

        The reference p is uniform over 15 neighbours among the rows of X, and q has a fixed uniform share,
        whatever p and debias were fitted, so that candidates of a search can be compared.
        """
        probabilities, rows = self._probabilities(X)
        if self._pairwise:
            raise ValueError("score needs features; with a precomputed or graph p compare loss_ instead")
        log_r = torch.from_numpy(np.log(np.maximum(probabilities, 1e-12)))
        return reference_score(rows, log_r, self.q_, self.n_jobs)

    @property
    def probabilities_(self):
        if "_used" not in vars(self):
            raise AttributeError("probabilities_ are there once the estimator is fitted")
        r = self._assignments
        if r is None:
            r = np.concatenate([among(part, self._used) for part in self._mapped_parts(self._X)])
        return r.astype(self._X.dtype)

    def _mapped_parts(self, X):
        """Assignments by a head to all its outputs, block by block."""
        return assignments(self.q_, self._mapped, X, self._outputs)

    def _marked(self, r):
        """The most probable cluster of each row, -1 for the doubtful ones."""
        labels = r.argmax(axis=1)
        if self.min_confidence > 0:
            labels[r.max(axis=1) < self.min_confidence] = -1
        return labels

    def _probabilities(self, X):
        """Assignments of new rows in double precision, and the rows as checked."""
        check_is_fitted(self)
        rows = validated_new(self, X)
        if self._parametric:
            return np.concatenate([among(r, self._used) for r in self._mapped_parts(rows)]), rows
        match = self._known.find(rows)
        probabilities, known = np.empty((rows.shape[0], self.n_clusters_)), match >= 0
        probabilities[known] = self._assignments[match[known]]
        if not known.all():
            probabilities[~known] = self._assigned(rows[~known])
        return probabilities, rows

    def _assigned(self, rows):
        """Assignments of rows that are not among the training rows."""
        reverse = self.divergence_.reverse
        # q is symmetric, so those who would have chosen a row say as much about it as those whom it chooses.  A p
        # that is no Supervisory may know one side only; from q to p there is no other side.
        near = self.p_.extend if reverse else getattr(self.p_, "reciprocal", self.p_.extend)
        with searching_as_told(self):
            p = near(rows, n_jobs=self.n_jobs)
        if reverse:
            weights = self.p_.conditional_.column_weights if self.q_.degree_weighted else None
            return joined(p, self._assignments, self._within, self.divergence_.entropy, weights)
        how = {"debias": self.q_.debias, "balance": self.q_.balance_}
        parts = [assign(part, self._assignments, **how) for _, part in blocks_of_rows(p, p.n_cols)]
        return np.concatenate(parts)


def among(r, used):
    """Assignments among the clusters in use."""
    r = r[:, used]
    return r / r.sum(axis=1, keepdims=True)
