"""Learning from labels and neighbours at once: the classifier where some rows have no label.

    L = mean over labelled i of KL( p(.|i) || q(.|i) )  +  graph_weight * mean over all i of KL( p(.|i) || q(.|i) )

p is a graph over the rows and q(j|i) = sum_c r_ic r_jc / sum_k r_kc the kernel of shared classes.  The rows'
classes r are a table, and labelled rows are held at their labels.  A mapper that reads features learns r as its
targets and gives its opinion of every row back, as one more term KL( opinion_i || r_i ); they take turns.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy import sparse
from scipy.special import chdtrc
from sklearn.base import clone

from .._randomness import random_source
from .._torch_state import as_array
from .._warnings import warn
from ..classification._class_table import ClassTable
from ..divergences import KL
from ..engines import transduced, write_table
from ..learned import Cluster
from ..mappers import TableModule
from ..neighbors import KnownRows
from ..numerics.graphs import parts_of_graph
from ..objective import Objective, Points, Problem
from ..out_of_sample._seen import mean_of_equal_rows
from ..plan import Plan, Setting
from ..registry import resolve
from ..supervisory import Gaussian, declared, fitted_on, perplexity_by_default, sized
from ._inputs import choose_device
from ._monitoring import Progress, callbacks, timed
from ._watchers import Watchers

# Turns of table and mapper, and what a mapper's opinion weighs beside the graph.
N_TURNS, OPINION_WEIGHT = 5, 10.0
# What given proportions weigh beside the graph.
PROPORTION_WEIGHT = 5.0
# Reasons after which no further stage begins.
STOPPED = ("callback", "interrupted")
# Of the graph by default: nearer neighbours count for more, and so classes that touch stay apart.
PERPLEXITY = 10.0
# Labels were not given evenly to the classes, or not at random to rows of the classes that were found, where chance
# would bring about such counts in less than this share of the cases (Pearson's test).
UNLIKELY = 1e-3


def graph_of(graph):
    """The p of neighbours."""
    return Gaussian(PERPLEXITY) if isinstance(graph, str) and graph == "auto" else resolve("p", graph)


def reads_pairs(graph) -> bool:
    """Whether X itself is the graph; False for what cannot be resolved, of which fit complains."""
    try:
        return declared(graph_of(graph), "pairwise")
    except (TypeError, ValueError):
        return False


def targets_of(p, n_classes):
    """What the rows of each class are held at, shape (n_classes, n_classes), by p over the classes."""
    targets = declared(p, "targets")(n_classes)
    return (1.0 - targets.uniform) * targets.sparse().toarray() + targets.uniform / n_classes


def check_every_class_has_weight(codes, classes):
    """Refuse labels of which some class has none that counts."""
    missing = np.setdiff1d(np.arange(len(classes)), codes)
    if len(missing):
        raise ValueError(
            f"class {classes[missing[0]]} has no row of positive sample_weight; give one of its "
            f"labelled rows some weight, or leave the class out"
        )


class Transduction:
    """The classes of all rows of one fit, from those of some and a graph.

    Parameters
    ----------
    estimator : ICONClassifier
        Its parameters, and ``classes_``; its ``timings_`` are kept.
    X : ndarray or sparse matrix of shape (n, n_features)
    codes : ndarray of int of shape (n,)
        -1 for rows without a label.
    weight : ndarray of shape (n,) or None
        Rows of weight zero have no say: nothing pulls on them but their neighbours.
    targets : ndarray of shape (n_classes, n_classes)
        What the rows of each class are held at.
    engine : Partition

    Attributes
    ----------
    plan : Plan
        p is the graph, q the kernel of shared classes, and the mapper the table of classes.
    start : ndarray of shape (n, n_classes) or None
        Where to begin; None searches.
    """

    def __init__(self, estimator, X, codes, weight, targets, engine):
        self.estimator, self.codes, self.weight, self.targets = estimator, codes, weight, targets
        self.start = None
        rng = random_source(estimator.random_state)
        graph = clone(graph_of(estimator.graph), safe=False)
        if isinstance(estimator.graph, str) and estimator.graph == "auto":
            # Labels separate the classes, and fewer neighbours for many classes did not help.
            graph.perplexity = perplexity_by_default(graph.perplexity, X.shape[0], 1)
        else:
            sized(graph, X.shape[0], len(targets), named=isinstance(estimator.graph, str | type))
        _check_graph(estimator.graph, graph)
        with timed(estimator, "supervision"):
            seed, device = int(rng.randint(2**31 - 1)), choose_device(estimator.device)
            fitted_on(graph, X, None, random_state=seed, n_jobs=estimator.n_jobs, device=device)
        q, dtype, n_classes = Cluster(), torch.float64, len(targets)
        q.begin(dtype=dtype)
        mapper = TableModule(torch.zeros(X.shape[0], n_classes, dtype=dtype))
        points = Points(mapper, X.shape[0], width=n_classes)
        self.plan = Plan(
            X=X,
            p=graph,
            q=q,
            mapper=mapper,
            parametric=False,
            objective=Objective(tuple(self._problems(graph.conditional_, q, points))),
            engine=engine,
            setting=Setting(dtype, torch.device("cpu"), torch.Generator(), rng),
            rows=points,
        )
        prior, self.counts = estimator.class_prior, np.bincount(codes[codes >= 0], minlength=n_classes)
        self.proportions = None if prior is None else _proportions(prior, estimator.classes_, self.counts)

    def _problems(self, graph, q, points):
        # As edges once and for all: they are asked for several times.
        graph = graph.with_edges()
        weight = _weight_of_reached(graph.edges, self.codes, self.weight)
        if weight is not None:
            graph = graph.with_mass(weight)
        graph = graph.with_self_pairs()
        labelled = np.where(self.codes >= 0, 1.0 if weight is None else weight, 0.0)
        everywhere = Problem(graph, q, KL(), points, points, float(self.estimator.graph_weight))
        on_labels = replace(everywhere, p=graph.with_mass(labelled), weight=1.0)
        return [everywhere, on_labels] if on_labels.p.row_mass.any() else [everywhere]

    def solve(self, opinions=None):
        """Assignments of all rows, given a mapper's opinions; see :func:`transduced`."""
        estimator, plan = self.estimator, self.plan
        share = float(estimator.graph_weight)
        beliefs = {
            "opinions": opinions,
            "opinion_weight": share * OPINION_WEIGHT,
            "proportions": self.proportions,
            "proportion_weight": share * PROPORTION_WEIGHT,
        }
        n_iter = 300 if estimator.max_iter == "auto" else estimator.max_iter
        progress = Progress(type(estimator).__name__, estimator.verbose, n_iter)
        watchers = Watchers(callbacks(estimator.callback))
        with timed(estimator, "transduction"):
            r, reached, solution = transduced(
                plan.objective.problems, self.codes, self.targets, beliefs, plan.engine, plan.rng,
                max_iter=n_iter, tol=estimator.tol, start=self.start,
                callback=watchers.callback(), report=progress,
            )  # fmt: skip
        watchers.warn_if_hardly_begun(n_iter)
        progress.done(solution)
        write_table(plan.mapper, r)
        self.start = r
        return r, reached, solution

    def warn_of_shares(self, r, reached):
        """Warn where labels, unless given evenly, say that classes have other shares than were found."""
        counts, shares = self.counts, r[reached].mean(axis=0)
        n_labels = counts.sum()
        expected = np.maximum(n_labels * shares, 1e-12)
        unlike, uneven = _unlike(counts, expected), _unlike(counts, counts.mean())
        if all(chdtrc(len(counts) - 1, found.sum()) < UNLIKELY for found in (unlike, uneven)):
            most = int(np.argmax(unlike))
            name = self.estimator.classes_.tolist()[most]
            warn(
                f"class {name!r} has {counts[most] / n_labels:.0%} of the {n_labels} labels and {shares[most]:.0%} of "
                f"the rows, by their neighbours: classes that overlap are drawn to equal sizes; if rows were labelled "
                f"at random, class_prior='labels' gives classes about their shares of the labels"
            )

    def among(self, reached) -> Plan:
        """The plan of the rows that a label reaches, at the present state of the table."""
        if reached.all():
            return self.plan
        mapper = TableModule(self.plan.mapper.places[torch.from_numpy(reached)])
        points = Points(mapper, int(reached.sum()), width=self.plan.rows.width)
        problems = tuple(
            replace(problem, p=_among(problem.p, reached), rows=points, columns=points)
            for problem in self.plan.objective.problems
        )
        return replace(self.plan, mapper=mapper, rows=points, objective=Objective(problems))

    def table(self, r, reached) -> ClassTable:
        """What becomes of assignments: those of the rows, and what others need of them."""
        known, pairwise = KnownRows(self.plan.X), declared(self.plan.p, "pairwise")
        prior = r[reached].mean(axis=0) if self.proportions is None else self.proportions
        by_features = not pairwise and declared(self.plan.p, "equal_rows_alike")
        rows = mean_of_equal_rows(known, r, by_features)
        return ClassTable(known, rows, reached, self.weight, prior, pairwise, self.plan.q.balance_)


def in_turns(transduction, r, reached, reason, learn, opinions):
    """The mapper learns the table, and the table takes the mapper's opinions, until a callback stops either.

    Parameters
    ----------
    transduction : Transduction
    r, reached
        Its first assignments.
    reason : str
        Why these ended.  Where they were stopped, the mapper still learns once: without it new rows would have no
        answer.
    learn : callable
        ``learn(codes, weight)`` fits the mapper and returns its Solution.
    opinions : callable
        ``opinions()`` are the mapper's probabilities of the classes of all rows.

    Returns
    -------
    r : ndarray of shape (n, n_classes)
    solution : Solution
        Of the mapper.
    """
    if reason == "interrupted":
        raise KeyboardInterrupt
    weight = transduction.weight
    for _ in range(N_TURNS):
        # Rows that no label reaches have the prior, whose largest class would be taught as if it were theirs.
        trust = np.where(reached, r.max(axis=1), 0.0)
        solution = learn(r.argmax(axis=1), trust if weight is None else weight * trust)
        if solution.reason in STOPPED or reason in STOPPED:
            break
        r, _, found = transduction.solve(opinions())
        reason = found.reason
        if reason == "interrupted":
            raise KeyboardInterrupt
        if reason in STOPPED:
            break
    if reason in STOPPED and solution.reason not in STOPPED:
        solution = replace(solution, reason=reason, converged=False)
    return r, solution


def _among(p, rows):
    """A p of edges over some rows, its masses as they are."""
    return replace(p, edges=sparse.csr_array(p.edges[rows][:, rows]), mass=p.row_mass[rows])


def _weight_of_reached(edges, codes, weight):
    """Weights of the rows without those that no edge connects to a label, perhaps through others.

    Such rows have no part in the loss.
    """
    drawn = edges.copy() if weight is None else sparse.csr_array(sparse.diags(weight) @ edges)
    drawn.eliminate_zeros()  # a row of weight zero draws on none
    part = parts_of_graph(drawn)
    reached = np.isin(part, part[codes >= 0])
    if reached.all():
        return weight
    return np.where(reached, 1.0 if weight is None else weight, 0.0)


def _check_graph(name, graph):
    over_rows = declared(graph, "columns") == "rows" and not declared(graph, "fresh")
    if not over_rows or declared(graph, "requires_y"):
        raise ValueError(
            f"graph={name!r} does not say which rows are near which; use 'auto', another p of "
            f"iconlearn.supervisory that reads the features, or Graph(adjacency)"
        )


def _unlike(counts, expected):
    """Terms of Pearson's statistic."""
    return (counts - expected) ** 2 / expected


def _proportions(prior, classes, counts):
    """Shares of the classes, in their order, of which there are so many labels."""
    n_classes, asked = len(classes), prior
    if isinstance(prior, dict):
        names = classes.tolist()
        wrong = sorted(set(prior) ^ set(names), key=str)
        if wrong:
            raise ValueError(
                f"class_prior={asked!r} must name every class of y and no other: {wrong[0]!r} is in one of them only"
            )
        prior = [prior[name] for name in names]
    if isinstance(prior, str) and prior == "balanced":
        return np.full(n_classes, 1.0 / n_classes)
    if isinstance(prior, str) and prior == "labels":
        return (counts + 1.0) / (counts + 1.0).sum()
    given = None if isinstance(prior, str) else np.asarray(as_array(prior))
    if given is None or given.shape != (n_classes,) or given.dtype.kind not in "iuf":
        raise ValueError(
            f"class_prior={asked!r} must be None, 'balanced', 'labels' or the share of each of the {n_classes} "
            f"classes, by their names in a dict or in the order of the sorted classes"
        )
    given = given.astype(float)
    if not (given > 0).all() or abs(given.sum() - 1.0) > 1e-6:
        raise ValueError(
            f"class_prior={asked!r} must be positive and sum to one, and its sum is {given.sum():.6g}"
        )
    return given / given.sum()
