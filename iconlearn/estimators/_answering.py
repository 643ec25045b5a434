"""What a fitted classifier says of rows: classes, probabilities, log similarities and places."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from ._io import like_input, validated_new
from ._prototypes import log_similarities

__all__ = ["Answering"]


class Answering:
    """Adds predictions to a classifier.

    Rows whose classes were found together with those of others (`_known`) have the answers found there; all
    others are held against the prototypes.
    """

    _known, _prefers_table = None, False

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
