"""How many clusters: the groups that stand out in p."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ._merge_path import merge_path
from ._monitoring import timed

__all__ = ["Counting"]


class Counting:
    """Counts the clusters of a clusterer's p, before a fit that does not know their number and after any."""

    @property
    def merge_path_(self):
        if "p_" not in vars(self):
            raise AttributeError("merge_path_ is there once the estimator is fitted")
        p = self.p_.conditional_
        over_rows = getattr(self.p_, "columns", "rows") == "rows" and not getattr(self.p_, "fresh", False)
        reason = _without_path(p) if over_rows else "p has other columns or draws views"
        if reason is not None:
            raise AttributeError(f"no merge_path_ here: {reason}")
        if self._path is None:
            self._path = merge_path(p, np.random.RandomState(0), balance=self.q_.balance_)
        return self._path

    def _counted(self, plan, old):
        """The plan with as many clusters as stand out in p, and their number."""
        if not all(problem.tied and not problem.fresh for problem in plan.objective.problems):
            raise ValueError(
                "n_clusters='auto' counts the groups among the rows, and this p (or a term's) has other columns or "
                "draws views; give n_clusters as a number"
            )
        reason = _without_path(plan.problem.p)
        if reason is not None:
            raise ValueError(f"n_clusters='auto' cannot count clusters here: {reason}")
        with timed(self, "counting"):
            self._path = merge_path(plan.problem.p, plan.rng, balance=plan.q.balance_)
        n_clusters = self._path.suggested
        spec = self._resolved("mapper")
        module = self._module(spec, plan.X, n_clusters, plan.setting, old if self.warm_start else None)
        rows = replace(plan.rows, mapper=module, width=n_clusters)
        problems = tuple(replace(problem, rows=rows, columns=rows) for problem in plan.objective.problems)
        return replace(
            plan, mapper=module, rows=rows, objective=replace(plan.objective, problems=problems)
        ), n_clusters


def _without_path(p):
    """Why the groups of p cannot be counted, or None."""
    if p.dense:
        return "p has no sparse neighbours; give it a finite n_neighbors, or take p='knn'"
    return None
