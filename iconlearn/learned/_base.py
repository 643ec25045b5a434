"""The protocol of a learned distribution q(.|i): how near the model says two points are.

    q(j|i) = (1 - debias) * k(u_i, v_j) / N_i + debias / m_i

``place`` is the space of the points, ``geometry`` the scalar of a pair that is read, ``log_kernel`` is one
radial line, and ``normalize`` defines N_i.  A new q is a class with one method.

With ``normalize="doubly"`` k is multiplied by exp(f_i + f_j) instead, with f such that rows and columns sum to one.

With ``normalize="space"`` N is the integral of the kernel over the whole space, a constant, and q(.|i) a density
around u_i, of which the columns are observations.
"""

from __future__ import annotations

import torch
from sklearn.base import BaseEstimator, clone

from .._checks import check_number, suggest
from .._torch_state import plain, restored

# Scalars of pairs for which a user's function is tried.
TRIED = [[0.1, 0.5, 0.9], [0.2, 0.4, 0.8]]


class Learned(BaseEstimator):
    """Base of every learned distribution.

    A subclass stores its parameters in ``__init__`` (at least `normalize` and `debias`) and defines
    :meth:`log_kernel`.  It may also define :meth:`place`, :meth:`begin` and :meth:`slope`.

    Attributes
    ----------
    geometry : {"sqdist", "dot", "hyperbolic"}
        The scalar of a pair that the kernel reads.
    normalizers : tuple of str
        Values of `normalize` that the kernel admits; "doubly" is for symmetric kernels, "self" only where its rows sum
        to one by themselves, "space" where it has a :meth:`log_volume`.
    self_pairs : bool
        True where a point must be a candidate of its own row for q to be normalised.
    free_dot : bool
        Whether q is a softmax of plain inner products, so that with unit vectors for columns the mapper's
        outputs are logits.
    shared_clusters : bool
        Whether the mapper's outputs are assignments to clusters.
    edge_form : tuple of (factor, offset) or None
        Whether the log kernel of squared distances is factor * log(1 + s / offset), or factor * s
        for an infinite offset; sums over many edges are faster then.
    cools : bool
        Whether a fit goes from one temperature to another; see :meth:`cool`.
    singular : bool
        Whether the kernel has no width of its own: at distance zero it is infinite, or all but.  Distances
        are then computed by differences, since a product would lose the small ones.
    subnormal : bool
        Whether the rows of q need not sum to one, which only a divergence linear in log q makes sense of.
    same_places : bool
        Whether rows and columns are placed alike, so that one set of places serves both.
    reduce : {"logsumexp", "mean", "min"}
        What a row is normalised by: the log of its sum of kernels or, where the bandwidth has gone to
        infinity or to zero, the mean or the largest of its log kernels.
    margin : float
        How much nearer than it is a pair without support counts, where `reduce` is "min".
    chosen : dict
        Fitted attributes, by name, that a fit chooses before its first step: what goes on from it needs them.
    potentials_ : Tensor of shape (n_rows,) or None
        Where `normalize` is "doubly": f of the training rows, ``log q_ij = f_i + f_j + log k_ij``.
    longest_target : float or None
        What targets of rows have to stay below, where the places cannot get beyond.
    needs_bound : bool
        Whether the loss has no useful minimum unless the mapper's outputs are bounded.
    """

    geometry = "sqdist"
    normalizers: tuple[str, ...] = ("row", "joint", "doubly")
    self_pairs = False
    free_dot = False
    shared_clusters = False
    cools = False
    singular = False
    subnormal = False
    same_places = True
    edge_form = None
    reduce = "logsumexp"
    margin = 0.0
    needs_bound = False
    longest_target: float | None = None
    potentials_ = None

    @property
    def chosen(self) -> dict:
        return {} if self.potentials_ is None else {"potentials_": self.potentials_}

    @property
    def scalar(self) -> str:
        """How the scalar of a pair is computed, for :mod:`iconlearn.numerics.geometry`."""
        return "differences" if self.singular and self.geometry == "sqdist" else self.geometry

    def __repr__(self, **options):
        # Both sides have a Gaussian and a Student; say which one this is.
        return f"learned.{super().__repr__(**options)}"

    def begin(self, *, dtype=torch.float32, device="cpu") -> list[torch.nn.Parameter]:
        """Check the parameters and create those that are learned; returns the latter."""
        if self.normalize not in self.normalizers:
            raise ValueError(
                f"normalize={self.normalize!r} of {type(self).__name__} is unknown; "
                f"use one of {', '.join(map(repr, self.normalizers))}.{suggest(self.normalize, self.normalizers)}"
            )
        check_number("debias", self.debias, low=0, high=1, closed="left")
        if "potentials_" in vars(self):
            del self.potentials_
        if self.normalize == "space" and self.debias > 0:
            raise ValueError(
                f"debias={self.debias!r} of {type(self).__name__} with normalize='space': a density over the whole "
                f"space has no candidates to spread a share over; leave debias at 0"
            )
        return []

    def place(self, Z, columns: bool = False, mass=None):
        """Outputs of the mapper as points of q's space; `mass` are the weights of the visited rows."""
        return Z

    def represent(self, Z):
        """What the mapper's outputs mean to a user: coordinates, directions or assignments."""
        return Z

    def outputs(self, places):
        """What the mapper gives where :meth:`represent` shows these places."""
        return places

    def cool(self, share):
        """Go to a share of the way, in [0, 1], from the first temperature to the last; for a q that cools."""

    def finite(self):
        """A q of finite bandwidth over the same places; itself, but for a limit."""
        return self

    def log_kernel(self, s):
        """Logarithm of the unnormalised similarity of pairs with scalar `s`."""
        raise TypeError(f"{type(self).__name__} must define log_kernel(s)")

    def log_null(self, U, rows, columns):
        """Log kernels of the null candidate, which lists of candidates may hold, with rows at U; 0 by default.

        Parameters
        ----------
        U : Tensor of shape (n, d)
        rows, columns : Tensor
            All visited places, as rows and as columns.
        """
        return U.new_zeros(len(U))

    def log_volume(self, n_dims):
        """Logarithm of the integral of the kernel over the space of `n_dims` dimensions; a number or a scalar tensor.

        Read where `normalize` is "space".

        Raises
        ------
        ValueError
            If the integral is infinite.
        """
        raise TypeError(f"{type(self).__name__} must define log_volume(n_dims) for normalize='space'")

    def slope(self, s):
        """Derivative of :meth:`log_kernel`; the default uses autograd."""
        with torch.enable_grad():
            s = s.detach().requires_grad_()
            return torch.autograd.grad(self.log_kernel(s).sum(), s)[0]

    def __getstate__(self):
        return plain(super().__getstate__())

    def __setstate__(self, state):
        super().__setstate__(restored(state))

    # Standard deviation of a good start, in units of the kernel's width.
    start_scale = 1e-2

    # A heavy-tailed kernel cannot underflow in a row sum, so it may be summed outside the log domain.
    heavy_tailed = False


def check_kernel(q, *, dtype, device):
    """Try the kernel of a q on a few scalars of pairs, so that a mistake is noticed before the work starts.

    Raises
    ------
    TypeError
        If it fails, or returns something else than a tensor.
    ValueError
        If what it returns has another shape or no gradient, or depends on the other pairs.
    """
    s = torch.tensor(TRIED, dtype=dtype, device=device, requires_grad=True)
    what = f"the log kernel of q={q!r:.200}"
    with torch.enable_grad():
        try:
            out, part = q.log_kernel(s), q.log_kernel(s[:1])
        except Exception as error:
            raise TypeError(
                f"{what} cannot be computed: {error}. It takes one tensor of scalars of pairs, squared distances or "
                f"dot products, and uses torch's operations throughout, such as -torch.log1p(s), not "
                f"-numpy.log1p(s)"
            ) from error
    if not isinstance(out, torch.Tensor):
        raise TypeError(
            f"{what} is a {type(out).__name__}: it has to be a tensor, computed by torch's operations throughout, such "
            f"as -torch.log1p(s) in place of -numpy.log1p(s)"
        )
    if out.shape != s.shape:
        raise ValueError(
            f"{what} has shape {tuple(out.shape)} for scalars of shape {tuple(s.shape)}: it has to be one number for "
            f"each pair; sums over pairs are not its business"
        )
    if not out.requires_grad:
        raise ValueError(
            f"{what} does not follow its argument: no gradient reaches it; leave out detach(), item() and numpy()"
        )
    if not torch.allclose(out[:1], part, equal_nan=True):
        raise ValueError(
            f"{what} of a pair depends on the other pairs: it has to be computed for each by itself, and is normalised "
            f"by the objective; leave out softmax and the like"
        )


def copy_in_double(q, **changes):
    """A copy of a fitted q in double precision, with what it has learned and some parameters changed."""
    copy = clone(q, safe=False).set_params(**changes)
    copy.begin(dtype=torch.float64)
    for name, value in vars(q).items():
        if isinstance(value, torch.Tensor):
            setattr(copy, name, value.detach().double())
    return copy
