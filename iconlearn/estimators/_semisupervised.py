"""Learning from labels and neighbours at once: the classifier where some rows have no label.

    L = mean over labelled i of KL( p(.|i) || q(.|i) )  +  graph_weight * mean over all i of KL( p(.|i) || q(.|i) )

p is a graph over the rows and q(j|i) = sum_c r_ic r_jc / sum_k r_kc the kernel of shared classes.  The rows'
classes r are a table, and labelled rows are held at their labels.  A mapper that reads features learns r as its
targets and gives its opinion of every row back, as one more term KL( opinion_i || r_i ); they take turns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.utils import check_random_state

from ..divergences import KL
from ..engines import Partition, assign
from ..learned import Cluster
from ..mappers import TableModule
from ..neighbors import KnownRows, searching_on
from ..objective import Points, Problem
from ..out_of_sample._placed import blocks_of_rows
from ..out_of_sample._seen import mean_of_equal_rows
from ..registry import resolve
from ..supervisory import Gaussian
from ._inputs import choose_device, searching_as_told
from ._monitoring import Progress, callbacks, timed, together
from ._transduction import transduced

__all__ = ["Known", "fit_partly", "reads_pairs", "suits_table"]

# Turns of table and mapper, and what a mapper's opinion weighs beside the graph.
N_TURNS, OPINION_WEIGHT = 5, 10.0
# What given proportions weigh beside the graph.
PROPORTION_WEIGHT = 5.0
SMALLEST = 1e-12
# Reasons after which no further stage begins.
STOPPED = ("callback", "interrupted")
# Of the graph by default: nearer neighbours count for more, and so classes that touch stay apart.
PERPLEXITY = 10.0


def suits_table(estimator) -> bool:
    """Whether a free table can hold all that the fit is asked for: classes, KL, and a graph of the features."""
    graph = graph_of(estimator.graph)
    reads_all = getattr(graph, "from_features", False) or getattr(graph, "pairwise", False)
    return reads_all and _unsuited(estimator) is None


def graph_of(graph):
    """The p that says which rows are near which."""
    return Gaussian(PERPLEXITY) if isinstance(graph, str) and graph == "auto" else resolve("p", graph)


def reads_pairs(graph) -> bool:
    """Whether X itself is the graph; False for what cannot be resolved, of which fit complains."""
    try:
        return bool(getattr(graph_of(graph), "pairwise", False))
    except (TypeError, ValueError):
        return False


def _unsuited(estimator):
    """Why a table cannot serve, None if it can."""
    if not estimator._over_classes_by_dot():
        return f"p={estimator.p!r} with q={estimator.q!r} places rows beside prototypes"
    if not estimator._resolved("divergence").linear_in_log_q:
        return f"divergence={estimator.divergence!r} is not KL"
    return "there are further terms" if estimator.terms else None


def fit_partly(estimator, X, codes, weight, last):
    """Fit a classifier to rows whose code is -1 where they have no label.

    Parameters
    ----------
    estimator : ICONClassifier
        Its parameters are checked, and ``classes_`` is set.
    X : ndarray or sparse matrix of shape (n, n_features)
    codes : ndarray of int of shape (n,)
    weight : ndarray of shape (n,) or None
        Rows of weight zero have no say: they count as unlabelled, and nothing pulls on them but their neighbours.
    last : ndarray of shape (n_before, n_classes_before) or None
        ``label_distributions_`` of the fit before, for a warm start.

    Returns
    -------
    solution : Solution
    """
    if weight is not None:
        codes = np.where(weight > 0, codes, -1)
    _check_every_class_has_a_row(estimator, codes)
    known = KnownRows(X)
    fit = _PartlyLabelled(estimator, X, codes, weight, last)
    r, reached, solution = fit.table(None)
    if fit.engine is None:
        r, solution = _in_turns(estimator, fit, X, r, reached, weight, solution.reason)
    else:
        _keep_table(estimator, fit, r, solution, X.dtype)
    estimator.graph_, estimator.timings_ = fit.graph, fit.timings
    estimator.neighbors_backend_ = getattr(fit.graph, "neighbors_backend_", None)
    estimator.label_distributions_ = r.astype(X.dtype)
    estimator.transduction_ = estimator.classes_[r.argmax(axis=1)]
    # Equal rows of a given graph are told apart as little as equal features.
    rows = mean_of_equal_rows(known, r, pairwise=False)
    prior = r[reached].mean(axis=0) if fit.proportions is None else fit.proportions
    pairwise = bool(getattr(fit.graph, "pairwise", False))
    estimator._known = Known(known, rows, reached, weight, prior, pairwise)
    return solution


def _in_turns(estimator, fit, X, r, reached, weight, reason):
    """The mapper learns the table, and the table hears the mapper, until somebody stops either.

    `reason` is why the first table ended.  Where that was stopped, the mapper is still taught once: without it new
    rows would have no answer.
    """
    for _ in range(N_TURNS):
        # Rows that no label reaches have the prior, whose largest class would be taught as if it were theirs.
        trust = np.where(reached, r.max(axis=1), 0.0)
        trust = trust if weight is None else weight * trust
        solution = estimator._fit_rows(X, r.argmax(axis=1), trust, keeps=False)
        for stage, seconds in estimator.timings_.items():
            fit.timings[stage] = fit.timings.get(stage, 0.0) + seconds
        estimator.timings_ = fit.timings
        if solution.reason in STOPPED or reason in STOPPED:
            break
        r, _, heard = fit.table(np.exp(_log_softmax(estimator._scores(X))))
        reason = heard.reason
        if reason in STOPPED:
            break
    if reason in STOPPED and solution.reason not in STOPPED:
        solution, estimator.converged_ = replace(solution, reason=reason, converged=False), False
    return r, solution


def _check_every_class_has_a_row(estimator, codes):
    missing = np.setdiff1d(np.arange(len(estimator.classes_)), codes)
    if len(missing):
        raise ValueError(
            f"class {estimator.classes_[missing[0]]} has no row of positive sample_weight; give one of its "
            f"labelled rows some weight, or leave the class out"
        )


class _PartlyLabelled:
    """What the turns of one fit share: the graph, its terms, and what labelled rows are held at."""

    def __init__(self, estimator, X, codes, weight, last):
        self.estimator, self.codes = estimator, codes
        self.engine = _engine(estimator)
        self.timings = estimator.timings_ = {}
        self.rng = check_random_state(estimator.random_state)
        self.graph = clone(graph_of(estimator.graph), safe=False)
        _check_graph(estimator.graph, self.graph)
        with timed(estimator, "supervision"), searching_on(choose_device(estimator.device)):
            self.graph.fit(X, random_state=int(self.rng.randint(2**31 - 1)), n_jobs=estimator.n_jobs)
        self.p = estimator._debiased(clone(resolve("p", estimator.p), safe=False))
        self.targets = self._targets()
        self.problems = self._problems(weight)
        if self.engine is not None:
            estimator._check_engine(self.engine, self.problems)
        prior = estimator.class_prior
        self.proportions = None if prior is None else _proportions(prior, len(estimator.classes_))
        same = last is not None and last.shape == (X.shape[0], len(estimator.classes_))
        self.start = last.astype(float) if estimator.warm_start and same else None

    def _targets(self):
        """What the rows of each class are held at: p(.|i) over the classes, smoothed where debias says so."""
        n = len(self.estimator.classes_)
        if getattr(self.p, "columns", "rows") != "classes":
            return np.eye(n)
        # One row of each class; features do not matter to a p over classes.
        self.p.fit(np.zeros((n, 1)), np.arange(n))
        p = self.p.conditional_
        return (1.0 - p.uniform) * p.sparse().toarray() + p.uniform / n

    def _problems(self, weight):
        # As edges once and for all: they are asked for several times.
        graph, estimator = self.graph.conditional_.with_edges(), self.estimator
        if weight is not None:
            graph = graph.with_mass(weight)
        graph = graph.with_self_pairs()
        labelled = np.where(self.codes >= 0, 1.0 if weight is None else weight, 0.0)
        points = Points(TableModule(torch.zeros(0)), graph.n_rows)
        q, kl, share = Cluster(balance=1.0), KL(), float(estimator.graph_weight)
        q.begin(dtype=torch.float64)
        everywhere = Problem(graph, q, kl, points, points, share)
        on_labels = replace(everywhere, p=graph.with_mass(labelled), weight=1.0)
        return [everywhere, on_labels] if on_labels.p.row_mass.any() else [everywhere]

    def table(self, opinions):
        """Assignments of all rows, given a mapper's opinions; see :func:`transduced`."""
        estimator, beliefs = self.estimator, {"proportions": self.proportions}
        share = float(estimator.graph_weight)
        beliefs |= {"opinions": opinions, "opinion_weight": share * OPINION_WEIGHT}
        beliefs |= {"proportion_weight": share * PROPORTION_WEIGHT}
        n_iter = 300 if estimator.max_iter == "auto" else estimator.max_iter
        progress = Progress(type(estimator).__name__, estimator.verbose, n_iter)
        with timed(estimator, "transduction"):
            r, reached, solution = transduced(
                self.problems, self.codes, self.targets, beliefs, self.engine or Partition(), self.rng,
                max_iter=n_iter, tol=estimator.tol, start=self.start,
                callback=together(callbacks(estimator.callback)), report=progress,
            )  # fmt: skip
        progress.done(solution)
        if solution.reason == "interrupted" and self.engine is None:
            raise KeyboardInterrupt
        self.start = r
        return r, reached, solution


def _engine(estimator):
    """The engine of a table; None where a mapper is fitted, whose engine the estimator chooses."""
    if estimator._resolved("mapper").parametric:
        return None
    reason = _unsuited(estimator)
    if reason is not None:
        raise ValueError(
            f"mapper={estimator.mapper!r} cannot be used here: {reason}; use a mapper that reads features, such as "
            f"'linear' or 'mlp'"
        )
    engine = Partition() if estimator.engine == "auto" else resolve("engine", estimator.engine)
    if not hasattr(engine, "graph"):
        raise ValueError(
            f"engine={estimator.engine!r} cannot solve a table of classes; use engine='auto' or 'partition', or a "
            f"mapper such as 'linear'"
        )
    return clone(engine, safe=False)


def _check_graph(name, graph):
    over_rows = getattr(graph, "columns", "rows") == "rows" and not getattr(graph, "fresh", False)
    if not over_rows or getattr(graph, "requires_y", False):
        raise ValueError(
            f"graph={name!r} does not say which rows are near which; use 'auto', another p of "
            f"iconlearn.supervisory that reads the features, or Graph(adjacency)"
        )


def _proportions(prior, n_classes):
    if isinstance(prior, str) and prior == "balanced":
        return np.full(n_classes, 1.0 / n_classes)
    given = None if isinstance(prior, str) else np.asarray(prior)
    if given is None or given.shape != (n_classes,) or given.dtype.kind not in "iuf":
        raise ValueError(
            f"class_prior={prior!r} must be None, 'balanced' or the share of each of the {n_classes} classes, in "
            f"the order of the sorted classes"
        )
    given = given.astype(float)
    if not (given > 0).all() or abs(given.sum() - 1.0) > 1e-6:
        raise ValueError(
            f"class_prior={prior!r} must be positive and sum to one, and its sum is {given.sum():.6g}"
        )
    return given / given.sum()


def _keep_table(estimator, fit, r, solution, dtype):
    """The fitted attributes of a classifier whose mapper is a table."""
    n_classes = r.shape[1]
    estimator.p_, estimator.q_ = fit.p, clone(estimator._resolved("q"), safe=False)
    estimator.q_.begin(dtype=torch.float64)
    estimator.divergence_, estimator.engine_ = (
        clone(estimator._resolved("divergence"), safe=False),
        fit.engine,
    )
    estimator.mapper_ = TableModule(torch.from_numpy(np.log(np.maximum(r, SMALLEST))))
    estimator._keep_losses(solution)
    estimator._parametric, estimator._features = False, None
    estimator.temperature_, estimator._log_odds = 1.0, None
    estimator._columns = torch.eye(n_classes, dtype=torch.float64)
    estimator.prototypes_ = np.eye(n_classes, dtype=dtype)


@dataclass(eq=False)
class Known:
    """The classes of the rows that a fit has seen, and of new rows by their neighbours.

    Parameters
    ----------
    rows : KnownRows
    table : ndarray of shape (n, n_classes)
        Equal rows have equal assignments.
    reached : ndarray of bool of shape (n,)
        Rows that edges connect to a label.
    weight : ndarray of shape (n,) or None
        Weights of the rows: one that weighs twice is a neighbour as two would be.
    prior : ndarray of shape (n_classes,)
        What a row has that nothing connects to a label.
    pairwise : bool
        Whether rows are those of a given graph, of which one without entries says nothing, not even which it is.
    """

    rows: KnownRows
    table: np.ndarray
    reached: np.ndarray
    weight: np.ndarray | None
    prior: np.ndarray
    pairwise: bool

    def log_q(self, estimator, X):
        """Log probabilities of the rows of X, each on its own; float64 of shape (m, n_classes)."""
        match, lone = self.rows.find(X), self._lone(X)
        seen, r = (match >= 0) | lone, np.empty((X.shape[0], self.table.shape[1]))
        r[seen] = np.where(lone[seen, None], self.prior, self.table[match[seen]])
        log_q = np.log(np.maximum(r, SMALLEST), where=seen[:, None], out=np.zeros_like(r))
        if not seen.all():
            new = X[~seen]
            log_q[~seen] = (
                _log_softmax(estimator._scores(new))
                if estimator._parametric
                else np.log(np.maximum(self._by_neighbours(estimator, new), SMALLEST))
            )
        return log_q

    def _lone(self, X):
        """Rows of a graph without any entry."""
        if not self.pairwise:
            return np.zeros(X.shape[0], dtype=bool)
        return np.asarray((X != 0).sum(axis=1)).ravel() == 0

    def _by_neighbours(self, estimator, X):
        """Assignments that explain best how near new rows and training rows are, seen from both sides."""
        with searching_as_told(estimator):
            graph = estimator.graph_
            # One that is no Supervisory may know its own side only.
            p = getattr(graph, "reciprocal", graph.extend)(X, n_jobs=estimator.n_jobs)
        told = (self._told(part) for _, part in blocks_of_rows(p, p.n_cols))
        return np.concatenate([self._assigned(part) for part in told])

    def _assigned(self, p):
        """Assignments by p over the rows that are worth asking; where there is none, the prior."""
        r = assign(p, self.table[self.reached])
        r[~p.supported()] = self.prior
        return r

    def _told(self, p):
        """p over the rows that are worth asking."""
        edges = sparse.csr_array(p.sparse()[:, self.reached])
        if self.weight is not None:
            edges = sparse.csr_array(edges @ sparse.diags(self.weight[self.reached]))
            edges.eliminate_zeros()
        return replace(p, edges=edges)


def _log_softmax(scores):
    return torch.log_softmax(scores.double(), dim=1).numpy()
