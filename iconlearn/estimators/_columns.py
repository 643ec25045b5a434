"""Columns that are not the rows: the other modality, contexts, keys, classes."""

from __future__ import annotations

import torch
from sklearn.utils.validation import check_is_fitted

from ..mappers import declares
from ._io import like_input, validated_new

__all__ = ["Columns"]


class Columns:
    """What a map says of the columns of p, where they have places of their own."""

    def transform_columns(self, X):
        """Places of rows as columns of p: their other group of features, or their keys.

        Parameters
        ----------
        X : array-like, sparse matrix or tensor of shape (n_new, n_features)
            All features, as in :meth:`fit`.

        Returns
        -------
        ndarray or tensor of shape (n_new, n_components)
        """
        check_is_fitted(self)
        if not hasattr(self, "column_mapper_") or declares(self.column_mapper_, "table"):
            raise ValueError(
                f"with p={self.p!r} columns are not mapped from features; use transform, or column_embedding_ "
                f"where there is one"
            )
        rows = validated_new(self, X)
        return like_input(self._columns_of(rows).astype(rows.dtype, copy=False), X)

    def _keep_columns(self, plan, X):
        """Columns that are not the rows: their mapper and their places."""
        for name in ("column_embedding_", "column_mapper_"):
            vars(self).pop(name, None)
        columns = plan.problem.columns
        if plan.problem.tied:
            self._anchors = None if plan.parametric else self._places
            return
        self.column_mapper_ = columns.mapper.to("cpu").eval()
        self._column_features = None
        if columns.inputs is None:
            self._anchors = columns.mapper.places.detach().cpu().double().numpy()
            shown = self.q_.represent(torch.from_numpy(self._anchors)).numpy()
        else:
            if plan.p.columns == "features":
                self._column_features = plan.p.features(X.shape[1])[1]
            shown = self._columns_of(X)
        self.column_embedding_ = shown.astype(X.dtype, copy=False)

    def _columns_of(self, X):
        return self.q_.represent(self._mapped(X, self.column_mapper_, self._column_features)).numpy()
