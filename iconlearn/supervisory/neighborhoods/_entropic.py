"""A symmetric, doubly stochastic p whose rows have a given entropy: the symmetric entropic affinity.

    min <P, C>   over   P = P^T,  P 1 = 1,  P_ii = 0,  H(P_i) >= log(perplexity) for every row,      C_ij = d_ij^2

Its dual has two numbers for each row, lambda_i of the row's sum and gamma_i >= 0 of its entropy, and

    P_ij = exp((lambda_i + lambda_j - 2 C_ij) / (gamma_i + gamma_j))

The dual is concave, so Newton's method finds it: directions by conjugate gradients, a search along each of them.  A
small perplexity is approached from a larger one, for which the rows overlap and the dual is well behaved.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array, issparse

from ..._checks import check_number, unchanging
from ..._warnings import warn
from ...conditional import MAX_MATERIALISED, Conditional, normalize_rows
from ...neighbors._matrices import check_all_known
from .._base import LARGEST_SHARE, Supervisory, check_metric_input, metric_of
from ._calibration import GaussianKernel, calibrate
from ._kernel import PERPLEXITY, KernelBlock, perplexity_by_default

# Below two rows a row has one neighbour, and a symmetric p is a matching of the rows.
LEAST = 2.0
# How far from one the sums of the rows may be, and from what is asked their entropies.
TOLERANCE = 1e-8
MAX_ITER = 200
# Where the way to a small perplexity begins, by what it goes on, and how well each stage is solved.
FIRST, RATIO, ROUGH = 30.0, 1.5, 0.05
# Least gamma, in units of the median of those that a Gaussian of the same perplexity has.
LEAST_GAMMA = 1e-2
# What a row may lose of its sum by pairs that are not stored.
LOST = 1e-6
# Between logarithms that make zero and those that are far from any solution.
LOWEST, HIGHEST = -700.0, 500.0
# Beyond so many bandwidths all distances are alike.
FARTHEST = 1e100
# New rows whose pairs are held at once, in numbers.
BLOCK_SIZE = 2**20


class SymmetricEntropic(Supervisory):
    """The symmetric p with rows of sum 1 and of a given perplexity that has the least mean squared distance.

    A Gaussian calibrated by row has the same perplexity and is not symmetric; the mean of it and its transpose, t-SNE's
    p, is symmetric and keeps neither the sums of the rows nor their perplexities.  This one keeps both, so that a row
    far from all others counts as much as any, and a row among many has no more than its share.

    Parameters
    ----------
    perplexity : float or "auto", default=30.0
        At least 2: the entropy of every row is log(perplexity), or more where the row is the neighbour of so many
        that it cannot have less.  "auto" is 30, and less for few rows, as in :class:`Gaussian`; a number above a
        third of the other rows is lowered to that, with a warning.
    metric : str or callable, default="euclidean"
        "precomputed" takes X as a symmetric matrix of distances, those of all pairs.
    metric_params : dict or None, default=None
        Parameters of the metric, as of :class:`KNN`.

    Attributes
    ----------
    conditional_ : Conditional
        Pairs that weigh a millionth of a row together are left out.
    gamma_, lambda_ : ndarray of shape (n_rows,)
        The dual variables: p_ij = exp((lambda_i + lambda_j - 2 d_ij^2) / (gamma_i + gamma_j)).
    perplexity_ : float
        The perplexity in use.

    Raises
    ------
    ValueError
        In ``fit``, if there are more than 2e7 pairs: all of them are needed at once.

    Notes
    -----
    New rows get the p that has the asked entropy and sum while the dual variables of the training rows stay as they
    are; each by itself.  Time and memory grow with the square of the number of rows.

    References
    ----------
    Van Assel, Vayer, Flamary and Courty, "SNEkhorn: dimension reduction with symmetric entropic affinities", NeurIPS
    2023, which counts the entropy as - sum p (log p - 1), one more than here.
    """

    from_features = True

    # For what was stored before there was such a parameter.
    metric_params = None

    def __init__(self, perplexity=30.0, *, metric="euclidean", metric_params=None):
        self.perplexity = perplexity
        self.metric = metric
        self.metric_params = metric_params

    def size_for(self, n_rows, n_groups, named):
        """Set the perplexity for so many rows and groups, where it is "auto" or p was `named` only."""
        if named or self.perplexity == "auto":
            self.perplexity = max(LEAST, perplexity_by_default(PERPLEXITY, n_rows, n_groups))

    def fit(self, X, y=None, *, random_state=None, n_jobs=None):
        """Solve the dual; see :meth:`Supervisory.fit`."""
        metric = metric_of(self)
        X = unchanging(check_metric_input(X, metric))
        n = X.shape[0]
        self.perplexity_ = self._resolved(n - 1)
        if n * n > MAX_MATERIALISED:
            raise ValueError(
                f"SymmetricEntropic needs all pairs of rows at once, and X has {n} rows, {n * n:.2g} pairs: more than "
                f"{MAX_MATERIALISED:.0e}; use Symmetrize(Gaussian({self.perplexity_:g})), or a sample of "
                f"{int(MAX_MATERIALISED**0.5)} rows, by whose p the others are placed afterwards"
            )
        D = self._distances(X)
        self._X, self._n_features = None if self.pairwise else X, X.shape[1]
        self._target = np.log(self.perplexity_)
        P = self._solved(D)
        self.conditional_ = Conditional(_without_the_least(P, tied=True), self_pairs=False)
        return self

    def _solved(self, D):
        n = len(D)
        off = ~np.eye(n, dtype=bool)
        largest = D[off].max()
        if largest == 0 or n <= 3:
            # All alike, or nothing to choose: zero diagonals and sums of one leave a single p.
            self._scale = largest if largest > 0 else 1.0
            self.gamma_ = np.full(n, self._scale**2)
            self.lambda_ = np.full(n, -(self._scale**2) * np.log(n - 1))
            self._floor = LEAST_GAMMA
            return off / (n - 1)
        np.fill_diagonal(D, np.inf)
        # Distances as large as numbers can be have squares in units of a bandwidth.
        kernel = GaussianKernel()
        own = calibrate(D, self.perplexity_, kernel)
        self._scale = scale = np.median(own)
        self._floor = LEAST_GAMMA * 2.0
        C = np.minimum(D / scale, FARTHEST) ** 2
        first = max(self.perplexity_, min(FIRST, n / 4))
        sigma = own if first == self.perplexity_ else calibrate(D, first, kernel)
        gamma = np.maximum(2 * (sigma / scale) ** 2, self._floor)
        lam, aims = _log_sums(C, gamma), [first]
        while aims[-1] > self.perplexity_:
            aims.append(max(self.perplexity_, aims[-1] / RATIO))
        for aim in aims:
            state = _Dual(C, lam, gamma, np.log(aim), self._floor)
            reached = _ascended(state, TOLERANCE if aim == aims[-1] else ROUGH)
            lam, gamma = reached.of_sums, reached.of_entropies
        if reached.residual > 1e3 * TOLERANCE:
            warn(
                f"SymmetricEntropic: sums of rows and their entropies are up to {reached.residual:.2g} off after "
                f"{MAX_ITER} steps; raise perplexity={self.perplexity_:g}"
            )
        self.gamma_, self.lambda_ = gamma * scale**2, lam * scale**2
        return reached.P

    def _extend(self, X_new, n_jobs):
        metric = metric_of(self)
        X_new = check_metric_input(X_new, metric, self._n_features)
        if self.pairwise:
            check_all_known(X_new, "SymmetricEntropic")
            X_new = X_new.toarray() if issparse(X_new) else X_new
        columns = self.conditional_.n_cols
        block = KernelBlock(X_new, self._X, metric, GaussianKernel(), np.ones(X_new.shape[0]), False)
        rows, parts = max(1, BLOCK_SIZE // columns), []
        of_sums, of_entropies = self.lambda_ / self._scale**2, self.gamma_ / self._scale**2
        for start in range(0, X_new.shape[0], rows):
            D = block.distances(np.arange(start, min(start + rows, X_new.shape[0])), None)
            P = _placed_rows(
                np.minimum(D / self._scale, FARTHEST) ** 2, of_sums, of_entropies, self._target, self._floor
            )
            parts.append(_without_the_least(P, tied=False).tocoo())
        i = np.concatenate([part.row + k * rows for k, part in enumerate(parts)])
        j, values = (np.concatenate([getattr(part, name) for part in parts]) for name in ("col", "data"))
        return Conditional(normalize_rows(csr_array((values, (i, j)), shape=(X_new.shape[0], columns))))

    def _resolved(self, n_others):
        """The perplexity as a number that so many other rows allow."""
        automatic = isinstance(self.perplexity, str) and self.perplexity == "auto"
        perplexity = PERPLEXITY if automatic else self.perplexity
        perplexity = check_number("perplexity", perplexity, low=LEAST, hint="typical values are 5 to 50")
        lowered = max(LEAST, min(perplexity, LARGEST_SHARE * n_others))
        if lowered < perplexity and not automatic:
            warn(
                f"perplexity={perplexity:g} is more than a third of the {n_others} other rows; it is lowered to "
                f"{lowered:g}"
            )
        return float(lowered)

    def _distances(self, X):
        """All distances, in double precision."""
        if self.pairwise:
            check_all_known(X, "SymmetricEntropic", tied=True)
            D = np.array(X.toarray() if issparse(X) else X, dtype=float)
            if not np.allclose(D, D.T, rtol=1e-5, atol=0):
                raise ValueError(
                    "SymmetricEntropic needs distances that are the same both ways, and those of X are not; use "
                    "(X + X.T) / 2, or Gaussian(metric='precomputed')"
                )
            return (D + D.T) / 2
        block = KernelBlock(X, X, metric_of(self), GaussianKernel(), np.ones(X.shape[0]), True)
        D = np.empty(block.shape)
        for rows, distances in block.full_rows():
            D[rows] = distances
        # A product gives the two sides of a pair in either order, which need not round alike.
        return np.maximum(D, D.T, out=D)


def _log_sums(C, gamma):
    """lambda for which the rows of exp((lambda_i - C_ij) / gamma_i), each by itself, sum to one."""
    powers = -C / gamma[:, None]
    largest = powers.max(axis=1)
    return -gamma * (largest + np.log(np.exp(powers - largest[:, None]).sum(axis=1)))


class _Dual:
    """The dual at a point: its value, slopes and curvature.

    With S_ij = gamma_i + gamma_j and L = log P, the value is sum_i lambda_i + (target + 1) gamma_i - <P, S> / 2, its
    slopes are 1 - P 1 and target + 1 + P (L - 1), and minus its second derivatives the blocks P / S, - P L / S and
    P L^2 / S, each with its row sums added on the diagonal.

    Parameters
    ----------
    C : ndarray of shape (n, n)
        Squared distances, infinite on the diagonal.
    of_sums, of_entropies : ndarray of shape (n,)
        lambda and gamma.
    target : float
        The entropy of a row.
    floor : float
        Least gamma.
    """

    def __init__(self, C, of_sums, of_entropies, target, floor):
        self.C, self.of_sums, self.of_entropies, self.target, self.floor = (
            C, of_sums, of_entropies, target, floor,
        )  # fmt: skip
        self._spans = of_entropies[:, None] + of_entropies
        self._logs = np.clip((of_sums[:, None] + of_sums - 2 * C) / self._spans, LOWEST, HIGHEST)
        self.P = np.exp(self._logs)
        np.fill_diagonal(self.P, 0.0)
        sums = self.P.sum(axis=1)
        self.value = (of_sums + (target + 1) * of_entropies).sum() - 0.5 * np.einsum(
            "ij,ij->", self.P, self._spans
        )
        self.slope_sums = 1.0 - sums
        slope = target + 1 + np.einsum("ij,ij->i", self.P, self._logs) - sums
        # At the floor a row may have more entropy than is asked.
        self.held = (of_entropies <= floor) & (slope < 0)
        self.slope_entropies = np.where(self.held, 0.0, slope)
        self.residual = max(np.abs(self.slope_sums).max(), np.abs(self.slope_entropies).max())

    def direction(self):
        """Newton's, by conjugate gradients; the diagonals of the blocks are all but an inverse."""
        W = self.P / self._spans
        WL = W * self._logs
        WLL = WL * self._logs
        free = ~self.held
        a, b, c = W.sum(axis=1), WL.sum(axis=1) * free, np.where(free, WLL.sum(axis=1) * (1 + 1e-6), 1.0)
        # Positive by the inequality of Cauchy and Schwarz, but for rounding.
        det = np.maximum(a * c - b * b, 1e-12 * a * c) + np.finfo(float).tiny

        def curved(x, y):
            return a * x + W @ x - b * y - WL @ y, np.where(free, c * y + WLL @ y - b * x - WL @ x, 0.0)

        def settled(u, v):
            return (c * u + b * v) / det, (b * u + a * v) / det * free

        x, y = np.zeros_like(a), np.zeros_like(a)
        r, s = self.slope_sums.copy(), self.slope_entropies.copy()
        dx, dy = settled(r, s)
        size = first = r @ dx + s @ dy
        enough = min(0.1, self.residual**0.5) ** 2
        for _ in range(MAX_ITER):
            u, v = curved(dx, dy)
            bend = dx @ u + dy @ v
            if not (size > enough * first and bend > 0):
                break
            x, y, r, s = (
                x + size / bend * dx, y + size / bend * dy, r - size / bend * u, s - size / bend * v,
            )  # fmt: skip
            z, w = settled(r, s)
            before, size = size, r @ z + s @ w
            dx, dy = z + size / before * dx, w + size / before * dy
        return x, y

    def moved(self, x, y):
        """The dual further on; no gamma falls below a tenth of itself at once."""
        least = np.maximum(self.floor, 0.1 * self.of_entropies)
        moved = np.maximum(self.of_entropies + y, least)
        return _Dual(self.C, self.of_sums + x, moved, self.target, self.floor)


def _ascended(state, tolerance):
    """The dual where its slopes vanish, or where no step leads on."""
    for _ in range(MAX_ITER):
        if state.residual <= tolerance:
            break
        x, y = state.direction()
        rise, step = state.slope_sums @ x + state.slope_entropies @ y, 1.0
        while step > 1e-10:
            further = state.moved(step * x, step * y)
            if further.value >= state.value + 1e-4 * step * rise - 1e-12 * abs(state.value):
                break
            step /= 2
        else:
            break
        state = further
    return state


def _placed_rows(C, of_sums, of_entropies, target, floor):
    """p of rows by themselves, the dual variables of the columns given; two unknowns a row, by Newton's method."""
    gamma = np.maximum(2 * calibrate(np.sqrt(C), np.exp(target), GaussianKernel()) ** 2, floor)
    # The largest weight is that of one of equals, so no sum begins beyond all bounds.
    lam = (2 * C - of_sums - (gamma[:, None] + of_entropies) * target).min(axis=1)
    P, rows = np.zeros(C.shape), np.arange(len(C))

    def at(rows, lam, gamma):
        spans = gamma[:, None] + of_entropies
        logs = np.clip((lam[:, None] + of_sums - 2 * C[rows]) / spans, LOWEST, HIGHEST)
        p = np.exp(logs)
        return p, logs, spans, lam + (target + 1) * gamma - np.einsum("ij,ij->i", p, spans)

    for _ in range(MAX_ITER):
        p, logs, spans, value = at(rows, lam[rows], gamma[rows])
        sums, pl = p.sum(axis=1), np.einsum("ij,ij->i", p, logs)
        of_sum, of_entropy = 1 - sums, target + 1 + pl - sums
        held = (gamma[rows] <= floor) & (of_entropy < 0)
        of_entropy = np.where(held, 0.0, of_entropy)
        P[rows] = p
        going = np.maximum(np.abs(of_sum), np.abs(of_entropy)) > TOLERANCE
        if not going.any():
            break
        w = p / spans
        a, b, c = w.sum(axis=1), np.einsum("ij,ij->i", w, logs), np.einsum("ij,ij,ij->i", w, logs, logs)
        b, c = np.where(held, 0.0, b), np.where(held, 1.0, c * (1 + 1e-9))
        det = np.maximum(a * c - b * b, 1e-12 * a * c) + np.finfo(float).tiny
        x, y = (c * of_sum + b * of_entropy) / det, (b * of_sum + a * of_entropy) / det
        rise, step = of_sum * x + of_entropy * y, np.ones(len(rows))
        for _ in range(40):
            further = np.maximum(gamma[rows] + step * y, np.maximum(floor, 0.1 * gamma[rows]))
            better = at(rows, lam[rows] + step * x, further)[-1]
            short = better < value + 1e-4 * step * rise - 1e-12 * np.abs(value)
            if not short.any():
                break
            step = np.where(short, step / 2, step)
        lam[rows], gamma[rows] = lam[rows] + step * x, further
        rows = rows[going]
    return P


def _without_the_least(P, tied):
    """Sparse rows without the pairs that are least, together at most a millionth of a row, normalised.

    Of tied rows a pair stays from both of its ends where one of them needs it.
    """
    kept, step = np.empty(P.shape, dtype=bool), max(1, BLOCK_SIZE // P.shape[1])
    for start in range(0, len(P), step):
        part = P[start : start + step]
        ranked = np.sort(part, axis=1)
        lost = (np.cumsum(ranked, axis=1) <= LOST * ranked.sum(axis=1, keepdims=True)).sum(axis=1)
        least = np.take_along_axis(ranked, np.minimum(lost, P.shape[1] - 1)[:, None], axis=1)
        kept[start : start + step] = (part >= least) & (part > 0)
    if tied:
        kept |= kept.T
        np.fill_diagonal(kept, False)
    return normalize_rows(csr_array(np.where(kept, P, 0.0)))
