"""Where a map begins: the table or the linear mapper gets its start."""

from __future__ import annotations

import numpy as np
import torch

from ..initialization._coarse import LARGE, coarse_places
from ..initialization._places import SPREAD, initial_places, principal_axes

__all__ = ["Beginning"]


class Beginning:
    """Puts a start into the mapper of a map."""

    def _places_to_go_on_from(self, X):
        """Where a warm start with other rows begins: old rows at their places, new ones beside them."""
        last = getattr(self, "_X", None) if self.warm_start else None
        if last is None or self._parametric or self._pairwise or X.shape[0] == last.shape[0]:
            return None
        if X.shape[1] != last.shape[1] or self.embedding_.shape[1] != self.n_components:
            return None
        return self._places_of(X)

    def _starts_coarsely(self, plan, method):
        """Whether the map of a few rows is the start for all."""
        if not isinstance(self.init, str) or self.init not in ("auto", "coarse") or method != "momentum":
            return False
        able = getattr(plan.p, "from_features", False) and not (
            plan.parametric or self._pairwise or self.terms
        )
        if self.init == "coarse" and not able:
            raise ValueError(
                "init='coarse' starts from the map of some of the rows, which needs a p that is found from features, "
                "mapper='table' and no further terms; use init='pca'"
            )
        return able and (self.init == "coarse" or plan.X.shape[0] >= LARGE)

    def _start(self, plan, y, method, coarse):
        """Put the start into a table, or the principal axes into a linear map."""
        features = None if self._pairwise else plan.X
        init = "pca" if isinstance(self.init, str) and self.init == "auto" else self.init
        if coarse:
            init = coarse_places(self, plan.X, y, plan.problem.p.sparse(), plan.rng)
        if plan.features is not None:
            features = features[:, plan.features]
        with torch.no_grad():
            if not plan.parametric:
                # A map of almost no extent is a saddle: momentum leaves it slowly and well, L-BFGS never.
                scale = 1.0 if method == "lbfgs" else SPREAD if plan.q.heavy_tailed else plan.q.start_scale
                edges = plan.problem.p.sparse
                if getattr(plan.p, "columns", "rows") != "rows" and features is None:
                    raise ValueError("a p over classes needs a feature matrix X")
                places = initial_places(init, features, edges, self.n_components, plan.rng, scale=scale)
                plan.mapper.places.copy_(torch.as_tensor(places))
            elif isinstance(init, str) and init == "pca":
                _axes_into(plan.mapper, features, self.n_components, plan.rng)


def _axes_into(mapper, X, n_components, rng):
    """Start a linear map at the principal axes, scaled so that its first output has unit variance."""
    target = getattr(mapper, "free", getattr(mapper, "weight", None))
    if target is None or target.ndim != 2 or target.shape[0] != n_components:
        return
    axes = principal_axes(X, n_components, rng)
    centre = np.asarray(X.mean(axis=0)).ravel()
    spread = np.asarray(X @ axes[0]).ravel().std()
    scale = 1.0 if hasattr(mapper, "free") or spread == 0 else 1.0 / spread
    target[: len(axes)] = torch.as_tensor(axes * scale).to(target)
    if getattr(mapper, "bias", None) is not None:
        mapper.bias.copy_(-(target @ torch.as_tensor(centre).to(target)))
