"""A p made from another p: debiasing, walks, symmetry, mixtures.

    Debias  (1 - a) P + a / m        Walk  P + P^2 + ... + P^t
    Symmetrize  (P + P^T) / 2        Mix   sum_k w_k P_k

They compose from the inside out, ``Debias(Walk(KNN(15), length=2), weight=0.4)``.  Each fits a
clone of what it wraps and keeps it as ``p_``; a uniform share of the inner p is set aside and put
back afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Real

import numpy as np
from scipy.sparse import csr_array

from .._checks import check_choice, check_number
from ..conditional import BlockConditional, Conditional, along_entries, normalize_rows
from ._base import declared, extended
from ._wrapper import Wrapper

# Numbers held by one temporary block (32 MiB of float64).
BLOCK_SIZE = 2**22


class Debias(Wrapper):
    """p~(j|i) = (1 - weight) p(j|i) + weight / m, m the number of candidates of a row.

    Parameters
    ----------
    p : Supervisory
    weight : float in [0, 1), default=0.1
        The share; shares compose.  Label smoothing, where the columns are classes.

    Attributes
    ----------
    p_ : Supervisory
        The fitted inner p.
    conditional_ : Conditional or BlockConditional

    References
    ----------
    Alshammari et al., "I-Con: a unifying framework for representation learning", ICLR 2025, section
    3.3.2.
    """

    def __init__(self, p, weight=0.1):
        self.p = p
        self.weight = weight

    pairs_of_rows = False
    takes_lists = True
    across = property(lambda self: declared(self.p, "across"))
    takes_shards = True

    def fit(self, X, y=None, *, random_state=None, n_jobs=None, device=None):
        """Fit the inner p and mix in the share; see :meth:`Supervisory.fit`."""
        self._share = check_number(
            "weight", self.weight, low=0, high=1, closed="left", hint="the share that is spread evenly"
        )
        self.p_ = self.fitted(self.p, X, y, random_state, n_jobs, device)
        self.conditional_ = self.p_.conditional_.with_uniform(self._share)
        return self

    def targets(self, n_classes):
        """See :meth:`Supervisory.targets`."""
        return declared(self.p, "targets")(n_classes).with_uniform(self.weight)

    def expected_seconds(self, X):
        """That of the inner p; see :meth:`Supervisory.expected_seconds`."""
        return declared(self.p, "expected_seconds")(X)

    def _around(self, inner):
        return inner.with_uniform(self._share)


class Walk(Wrapper):
    """Neighbours of neighbours: p~ ∝ P + P^2 + ... + P^length.

    Parameters
    ----------
    p : Supervisory
        Needs sparse support whose columns are the rows.
    length : int, default=2
        Number of steps; the support grows by about this power.
    mode : {"sum", "uniform"}, default="sum"
        "sum": weights as above.  "uniform": equal weight for all columns within `length` steps.

    Attributes
    ----------
    p_ : Supervisory
        The fitted inner p.
    conditional_ : Conditional
        Where the inner p excludes self pairs, walks that return are dropped before rows are
        normalised.

    References
    ----------
    Alshammari et al., "I-Con: a unifying framework for representation learning", ICLR 2025, section
    3.3.3.
    """

    def __init__(self, p, length=2, mode="sum"):
        self.p = p
        self.length = length
        self.mode = mode

    def fit(self, X, y=None, *, random_state=None, n_jobs=None, device=None):
        """Fit the inner p and walk; see :meth:`Supervisory.fit`."""
        check_number("length", self.length, low=1, integer=True, hint="2 or 3 are usual")
        check_choice("mode", self.mode, ["sum", "uniform"])
        self.p_ = self.fitted(self.p, X, y, random_state, n_jobs, device)
        inner = self.p_.conditional_
        step = inner.sparse()
        edges = _walk(step, step, self.length, self.mode, inner.self_pairs)
        self.conditional_ = Conditional(edges, inner.uniform, inner.mass, inner.self_pairs)
        return self

    def _around(self, inner):
        edges = _walk(inner.sparse(), self.p_.conditional_.sparse(), self.length, self.mode, True)
        return Conditional(edges, inner.uniform, inner.mass, True)


class Symmetrize(Wrapper):
    """A p that is as near from j to i as from i to j.

    Parameters
    ----------
    p : Supervisory
        Its columns have to be the rows.
    mode : {"mean", "union", "mutual"}, default="mean"
        "mean": the joint p_ij = (mass_i p(j|i) + mass_j p(i|j)) / 2 of t-SNE, handed out as rows
        p_ij / mass'_i with the new masses mass'_i = sum_j p_ij.  "union", "mutual": entrywise
        maximum or minimum of P and its transpose, rows normalised, all rows weighing alike.

    Attributes
    ----------
    p_ : Supervisory
        The fitted inner p.
    conditional_ : Conditional or BlockConditional

    Notes
    -----
    A uniform share of the inner p applies to the rows of the result.  New rows have no column, so
    ``extend`` is that of the inner p.

    References
    ----------
    van der Maaten and Hinton, "Visualizing data using t-SNE", JMLR 2008, section 3.1.
    """

    takes_shards = True
    across = property(lambda self: "neighbors" if declared(self.p, "across") == "neighbors" else None)

    def __init__(self, p, mode="mean"):
        self.p = p
        self.mode = mode

    def fit(self, X, y=None, *, random_state=None, n_jobs=None, device=None):
        """Fit the inner p and make it symmetric; see :meth:`Supervisory.fit`."""
        check_choice("mode", self.mode, ["mean", "union", "mutual"])
        self.p_ = self.fitted(self.p, X, y, random_state, n_jobs, device)
        inner = self.p_.conditional_
        self.conditional_ = reweighted(inner, inner.row_mass if self.mode == "mean" else None, self.mode)
        self.warn_lost("any neighbour of which they are a neighbour too", "use mode='mean' or 'union'")
        return self

    def _around(self, inner):
        return inner


class Mix(Wrapper):
    """p(j|i) = sum_k w_k p_k(j|i).

    Parameters
    ----------
    ps : list or tuple of Supervisory
        All of one shape, and all with or all without self pairs.  Their parameters are reached as
        ``p0__...``, ``p1__...``, in order.
    weights : sequence of float or None, default=None
        Non-negative, scaled to sum to one; None weighs all alike.

    Attributes
    ----------
    ps_ : list of Supervisory
        The fitted parts.
    conditional_ : Conditional or BlockConditional

    Notes
    -----
    Row weights mix as well, mass_i = sum_k w_k mass_ki.  A row without support in one part takes
    its support from the others; its uniform share is that of all rows, sum_k w_k u_k.
    """

    def __init__(self, ps, weights=None):
        self.ps = ps
        self.weights = weights

    pairs_of_rows = False

    # The parts agree in what is read off the first, or fit refuses them.
    p = property(lambda self: self._parts[0] if self._parts else None)
    requires_y = property(lambda self: any(declared(p, "requires_y") for p in self._parts))
    prepare = property(
        lambda self: self._refuse_words if any(self._all_declare("prepare")) else self.p.prepare
    )
    from_features = property(lambda self: all(declared(p, "from_features") for p in self._parts))
    equal_rows_alike = property(lambda self: all(declared(p, "equal_rows_alike") for p in self._parts))

    @property
    def _parts(self):
        return list(self.ps) if isinstance(self.ps, (list, tuple)) else []

    def get_params(self, deep=True):
        """Parameters; with `deep` those of the parts too, as ``p0``, ``p0__...`` and so on."""
        params = super().get_params(deep=False)
        if deep:
            for k, p in enumerate(self._parts):
                params[f"p{k}"] = p
                if hasattr(p, "get_params") and not isinstance(p, type):
                    params.update((f"p{k}__{name}", value) for name, value in p.get_params().items())
        return params

    def set_params(self, **params):
        """Set parameters; ``p0=KNN(5)`` replaces a part, ``p0__n_neighbors=5`` changes one."""
        for name in ("ps", "weights"):
            if name in params:
                setattr(self, name, params.pop(name))
        for k in range(len(self._parts)):
            if f"p{k}" in params:
                parts = self._parts
                parts[k] = params.pop(f"p{k}")
                self.ps = type(self.ps)(parts)
        return super().set_params(**params)

    def for_outputs(self, n_outputs):
        """See :meth:`Supervisory.for_outputs`: all parts are asked."""
        return self._asked("for_outputs", n_outputs)

    def beside(self, main):
        """See :meth:`Supervisory.beside`: all parts are asked."""
        return self._asked("beside", main)

    def _asked(self, name, value):
        if self._parts:
            self.ps = type(self.ps)([declared(p, name)(value) for p in self._parts])
        return self

    def fit(self, X, y=None, *, random_state=None, n_jobs=None, device=None):
        """Fit all parts; see :meth:`Supervisory.fit`."""
        if not self._parts:
            raise ValueError(
                f"ps={self.ps!r} must be a list of at least one p, for example [KNN(15), Labels()]"
            )
        self._shares = _check_weights(self.weights, len(self._parts))
        if len(set(self._all_declare("pairwise"))) > 1:
            raise ValueError("the parts of Mix disagree about X: some take features and some a square matrix")
        self.ps_ = [self.fitted(p, X, y, random_state, n_jobs, device) for p in self._parts]
        self.conditional_ = _mix([p.conditional_ for p in self.ps_], self._shares)
        self._check_same_points(X.shape[1])
        return self

    def targets(self, n_classes):
        """See :meth:`Supervisory.targets`."""
        shares = _check_weights(self.weights, len(self._parts))
        return _mix([declared(p, "targets")(n_classes) for p in self._parts], shares)

    def _extend(self, X_new, n_jobs, device):
        return _mix([extended(p, X_new, n_jobs=n_jobs, device=device) for p in self.ps_], self._shares)

    def _reciprocal(self, X_new, n_jobs, device):
        parts = [extended(p, X_new, n_jobs=n_jobs, device=device, both_sides=True) for p in self.ps_]
        mixed = _mix([replace(p, mass=None) for p in parts], self._shares)
        return replace(mixed, mass=sum(w * _both(p) for w, p in zip(self._shares, parts, strict=True)))

    def _all_declare(self, name):
        return [declared(p, name) for p in self._parts]

    def _check_same_points(self, n_features):
        """Both ends of the pairs have to be the same points for all parts."""
        for part in self._parts:
            if declared(part, "fresh"):
                raise ValueError(
                    f"Mix has one view of a row for all parts, and {part!r:.200} draws its own anew at every step; "
                    f"give it to the estimator as a further term, terms=[Term({type(part).__name__}(...))]"
                )
        columns = self._all_declare("columns")
        features = [of and of(n_features) for of in self._all_declare("features")]
        for part, kind, group in zip(self._parts, columns, features, strict=True):
            if (kind, group) != (columns[0], features[0]):
                raise ValueError(
                    f"the parts of Mix are over different points, the {columns[0]} of {self._parts[0]!r:.200} and the "
                    f"{kind} of {part!r:.200}; give one of them to the estimator as a further term, terms=[Term(...)]"
                )

    def _refuse_words(self, sentences):
        raise ValueError(
            f"Mix has one X for all parts, and {self!r:.200} would count the words of X in several ways; count them "
            f"first, X = Cooccurrence(...).prepare(sentences)[0]"
        )


@dataclass(frozen=True, eq=False)
class SymmetrizedBlock:
    """Rows of a p with its pairs weighed both ways, normalised, on demand.

    Parameters
    ----------
    block : callable
        The inner rows.
    weight : ndarray of shape (n_rows,)
        Factor of each inner row.
    total : ndarray of shape (n_rows,)
        Row sums of the matrix of weights.
    mode : {"mean", "union", "mutual", "transpose"}
        "transpose" has the pairs the other way only.
    """

    block: Callable
    weight: np.ndarray
    total: np.ndarray
    mode: str

    def __call__(self, rows=None, cols=None) -> np.ndarray:
        at = slice(None) if rows is None else rows
        total = self.total[at][:, None]
        return self.joint(rows, cols) / np.where(total > 0, total, 1.0)

    def joint(self, rows, cols):
        """The weights of the visited pairs."""
        to, back = slice(None) if cols is None else cols, slice(None) if rows is None else rows
        here = (self.block(cols, rows) * self.weight[to][:, None]).T
        if self.mode == "transpose":
            return here
        there = self.block(rows, cols) * self.weight[back][:, None]
        if self.mode == "mean":
            return (there + here) / 2
        return np.maximum(there, here) if self.mode == "union" else np.minimum(there, here)


@dataclass(frozen=True, eq=False)
class MixedBlock:
    """A weighted sum of rows, evaluated on demand.

    Parameters
    ----------
    parts : list of callable or csr_array
    factors : ndarray of shape (n_parts, n_rows)
        Weight of each part in each row.
    """

    parts: list
    factors: np.ndarray

    def __call__(self, rows=None, cols=None) -> np.ndarray:
        at = slice(None) if rows is None else rows
        return sum(
            factor[at][:, None] * _part(part, rows, cols) for part, factor in zip(self.parts, self.factors)
        )


def _both(p):
    """Masses of both sides for new rows, 2 where p has one side only and rows no mass."""
    return np.where(p.supported(), 2.0 if p.mass is None else p.mass, 0.0)


def _part(part, rows, cols):
    if callable(part):
        return part(rows, cols)
    part = part if rows is None else part[rows]
    return (part if cols is None else part[:, cols]).toarray()


def _scale_rows(matrix, factor):
    matrix = matrix.copy()
    matrix.data = matrix.data * along_entries(factor, matrix)
    return matrix


def _walk(first, step, length, mode, self_pairs):
    if mode == "uniform":
        # Path counts, unlike products of small probabilities, never vanish.
        first, step = first.sign(), step.sign()
    power = total = first
    for _ in range(length - 1):
        power = power @ step
        total = total + power
    total = csr_array(total, copy=True)
    if mode == "uniform":
        total = total.sign()
    if not self_pairs:
        total.data[total.indices == along_entries(np.arange(total.shape[0]), total)] = 0.0
    return normalize_rows(total)


def reweighted(inner, weight, mode):
    """A p over rows with its pairs weighed both ways, by one of the modes of :class:`SymmetrizedBlock`.

    `weight` is a factor for each row of the inner p; None for 1.
    """
    weight = np.ones(inner.n_rows) if weight is None else weight
    return (_reweighted_blocks if inner.dense else _reweighted_edges)(inner, weight, mode)


def _reweighted_edges(inner, weight, mode):
    there = _scale_rows(inner.sparse(), weight)
    here = inner.transposed(there)
    if mode == "transpose":
        return replace(inner, edges=normalize_rows(here))
    if mode == "mean":
        joint = csr_array((there + here) / 2)
        return replace(inner, edges=normalize_rows(joint), mass=np.asarray(joint.sum(axis=1)).ravel())
    joint = there.maximum(here) if mode == "union" else there.minimum(here)
    return replace(inner, edges=normalize_rows(joint), mass=None)


def _reweighted_blocks(inner, weight, mode):
    total = np.zeros(inner.n_rows)
    block = SymmetrizedBlock(inner.block, weight, total, mode)
    step = max(1, BLOCK_SIZE // inner.n_cols)
    for start in range(0, inner.n_rows, step):
        rows = np.arange(start, min(start + step, inner.n_rows))
        total[rows] = block.joint(rows, None).sum(axis=1)
    empty = total <= 0
    mass = {"mean": total, "transpose": inner.mass}.get(mode)
    return replace(inner, block=block, mass=mass, empty=empty if empty.any() else None)


def _check_weights(weights, n_parts):
    if weights is None:
        return np.full(n_parts, 1 / n_parts)
    weights = list(weights)
    if len(weights) != n_parts:
        raise ValueError(
            f"weights={weights!r} has {len(weights)} entries for {n_parts} parts: give one weight per p"
        )
    valid = all(isinstance(w, Real) and np.isfinite(w) and w >= 0 for w in weights)
    if not valid or sum(weights) <= 0:
        raise ValueError(f"weights={weights!r} must be finite, at least 0, and not all 0")
    return np.asarray(weights, dtype=float) / sum(weights)


def _mix(conditionals, shares):
    if any(c.wide for c in conditionals):
        raise ValueError(
            "Mix needs probabilities, and a p in the limit of an infinite bandwidth such as WideGaussian() has none; "
            "use a p of finite bandwidth such as Gaussian(sigma=10)"
        )
    shapes = {c.shape for c in conditionals}
    if len(shapes) > 1:
        raise ValueError(
            f"the parts of Mix have different shapes, {sorted(shapes)}: their columns must be the same"
        )
    if len({c.self_pairs for c in conditionals}) > 1:
        raise ValueError(
            "the parts of Mix disagree about self pairs: some allow j == i and some do not "
            "(Identity and "
            "Labels(self_pairs=True) do, neighbour graphs do not)"
        )
    uniform = float(sum(w * c.uniform for w, c in zip(shares, conditionals)))
    supported = np.array([c.supported() for c in conditionals])
    factors = np.array([w * (1 - c.uniform) for w, c in zip(shares, conditionals)])[:, None] * supported
    total = factors.sum(axis=0)
    factors = factors / np.where(total > 0, total, 1.0)
    mass = None
    if any(c.mass is not None for c in conditionals) or not supported.all():
        mass = sum(w * c.row_mass for w, c in zip(shares, conditionals))
    self_pairs = conditionals[0].self_pairs
    if any(c.dense for c in conditionals):
        parts = [c.block if c.dense else c.edges for c in conditionals]
        empty = total <= 0
        return BlockConditional(
            MixedBlock(parts, factors),
            conditionals[0].shape,
            uniform,
            mass,
            self_pairs,
            empty if empty.any() else None,
        )
    edges = sum(_scale_rows(c.edges, f) for f, c in zip(factors, conditionals))
    return Conditional(normalize_rows(edges), uniform, mass, self_pairs)
