"""What a fitted classifier says of rows: classes, probabilities, log similarities and places."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.metrics import accuracy_score
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from ..classification._prototypes import log_similarities
from ._inputs import like_input, plain, validated_new
from ._unlabeled import is_auto, labelled_rows

__all__ = ["Answering"]


class Answering:
    """Adds predictions to a classifier.

    Rows whose classes were found together with those of others (`_known`) have the answers found there; all
    others are held against the prototypes.  `_marked` says whether some rows of ``fit`` had no label.
    """

    _known, _prefers_table, _marked = None, False, False

    def predict_proba(self, X):
        """Probability of every class, shape (n_new, n_classes): q over the prototypes."""
        log_q, rows = self._log_q(X)
        return like_input(torch.softmax(log_q, 1).numpy().astype(rows.dtype, copy=False), X)

    def predict_log_proba(self, X):
        """Logarithms of :meth:`predict_proba`, finite also where a probability is too small to be stored."""
        log_q, rows = self._log_q(X)
        # Where a probability is stored as one its logarithm is zero, so that the two methods agree.
        certain = torch.softmax(log_q, 1).numpy().astype(rows.dtype) == 1
        log_p = np.where(certain, 0.0, torch.log_softmax(log_q, 1).numpy())
        return like_input(log_p.astype(rows.dtype, copy=False), X)

    def decision_function(self, X):
        """Log similarity to every prototype, shape (n_new, n_classes), or their difference for two classes."""
        log_q, rows = self._log_q(X)
        scores = log_q.numpy().astype(rows.dtype, copy=False)
        return like_input(scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores, X)

    def predict(self, X):
        """Class of the most similar prototype."""
        best = self._log_q(X)[0].argmax(1).numpy()
        labels = self.classes_[best]
        return like_input(labels, X) if labels.dtype.kind in "iufb" else labels

    def score(self, X, y, sample_weight=None):
        """Accuracy of :meth:`predict` on the rows whose class is known.

        Rows that y marks as unlabelled say nothing about the answers, and are left out.  The marker is `unlabeled`,
        or -1 where "auto" took it for that in ``fit``.

        Parameters
        ----------
        X : array-like, sparse matrix or tensor of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,) or None, default=None

        Returns
        -------
        float

        Raises
        ------
        ValueError
            If y marks every row.
        """
        predicted = plain(self.predict(X))
        marker = (-1 if self._marked else None) if is_auto(self.unlabeled) else self.unlabeled
        y, known = labelled_rows(plain(y), marker)
        if known is not None:
            check_consistent_length(predicted, known, sample_weight)
            predicted = predicted[known]
            sample_weight = None if sample_weight is None else np.asarray(sample_weight)[known]
        return float(accuracy_score(y, predicted, sample_weight=sample_weight))

    def _log_q(self, X):
        """Log similarities to the prototypes over the temperature, and the rows as checked."""
        check_is_fitted(self)
        rows = validated_new(self, X)
        if self._known is not None:
            return torch.from_numpy(self._known.log_q(self, rows)), rows
        return self._scores(rows), rows

    def _scores(self, rows):
        """The same by the mapper alone."""
        with torch.no_grad():
            log_k = log_similarities(self.q_, self._mapped(rows), self._columns)
        log_k = log_k / self.temperature_
        return log_k if self._log_odds is None else log_k + torch.as_tensor(self._log_odds).to(log_k)
