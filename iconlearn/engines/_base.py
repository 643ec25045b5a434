"""The protocol of an engine: how the row sums are found, and what one step visits.

    log S_i = log sum_j k(u_i, v_j)

Engines differ in nothing else; the objective and the loop are the same for all.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from sklearn.base import BaseEstimator

from ._limits import nearest, refuses_limit
from ._sums import full_sum, kernel_is_learned, row_sums


@dataclass
class Hold:
    """What an engine has chosen for a stretch of steps.

    Attributes
    ----------
    able : bool
        Whether further steps can be taken by these choices.
    key : hashable or None
        Further steps are the same operations on the same tensors as after any first step with this key; None where
        nothing is known of that.
    choices : dict
        The choices, by what they are for.
    """

    able: bool = True
    key: object = ()
    choices: dict = field(default_factory=dict)


class Engine(BaseEstimator):
    """Base of the engines; sums over the visited columns are exact, by blocks.

    Attributes
    ----------
    solves : bool
        Whether the engine finds the answer itself, by ``solve``, instead of serving the loop.
    stochastic : bool
        Whether an epoch has several visits, so that each loss is an estimate.
    exact : bool
        Whether its sums are over all visited columns, so that few columns may be taken at once.
    takes_lists : bool
        Whether rows may have lists of candidates, whose sums are part of the loss itself.
    balances : bool
        Whether it finds the potentials of a q that is doubly stochastic, by ``potentials``.
    takes_shards : bool
        Whether columns may be rows of other processes.
    own_loops : bool
        Whether its long loops start threads of their own.
    block : int
        Number of pairs that are held at a time.
    draws_columns : bool
        Whether sums are estimated from columns drawn anew at every step.
    repeats : bool
        Whether every epoch is one visit of all rows, by operations that are the same each time.
    batch_size : int or None
        Most rows and columns of a step; None is all.
    over_processes : bool
        Whether its steps need no other rows than those that they visit, so that these may lie on several processes.
    """

    solves = False
    stochastic = False
    exact = False
    takes_lists = False
    balances = False
    takes_shards = False
    own_loops = False
    draws_columns = False
    repeats = False
    block = 2**20
    batch_size: int | None = None
    over_processes = False

    def refuses(self, problem) -> str | None:
        """None if the engine can do the problem, else a sentence a user can act on."""
        density = problem.q.normalize == "space"  # whose sentence is another one
        if math.isinf(problem.divergence.at_zero) and not (density or problem.p.has_full_support()):
            return (
                f"{type(problem.divergence).__name__} is infinite wherever p is zero, and this p is zero for "
                f"some candidates; give it full support with debias > 0 (for example debias=0.1)"
            )
        return self.refuses_form(problem)

    def refuses_form(self, problem) -> str | None:
        """As :meth:`refuses`, whatever p is zero for: for engines that need log p only."""
        if problem.p.sharded and not self.takes_shards:
            return (
                f"rows of this p have neighbours in other processes, and the {type(self).__name__.lower()} engine sums "
                f"over the rows of one; use engine='mesh' for a map over several processes"
            )
        if problem.group.size > 1 and not (problem.p.sharded or self.over_processes):
            return (
                f"the {type(self).__name__.lower()} engine needs all rows in one process, and under shards() each "
                f"process has rows of its own; use engine='dense' or 'minibatch', or fit in one process"
            )
        if problem.p.listed and not self.takes_lists:
            return (
                f"the {type(self).__name__.lower()} engine sums over all columns, and rows of this p have lists of "
                f"candidates of their own; use engine='dense' or 'minibatch'"
            )
        if problem.p.listed and problem.q.normalize not in ("row", "self"):
            return (
                f"rows of this p have lists of candidates, over which q sums to one list by list; "
                f"normalize={problem.q.normalize!r} of {type(problem.q).__name__} knows no lists: use normalize='row'"
            )
        if problem.q.normalize == "doubly" and not problem.tied:
            return (
                f"normalize='doubly' of {type(problem.q).__name__} lets rows and columns of one set of points sum to "
                f"one, and this p has columns that are no rows; use normalize='row'"
            )
        if problem.q.normalize == "doubly" and kernel_is_learned(problem.q):
            return (
                f"normalize='doubly' follows places, and the kernel of {problem.q!r} has learned parameters of its "
                f"own; use normalize='row' or 'joint'"
            )
        if problem.q.normalize == "doubly" and not self.balances:
            return (
                f"normalize='doubly' of {type(problem.q).__name__} needs all pairs of rows in every step, and the "
                f"{type(self).__name__.lower()} engine does not visit them; use engine='dense', or normalize='joint'"
            )
        if problem.q.normalize == "space" and not problem.summand.linear_in_log_q:
            return (
                f"{problem.q!r} is a density over the whole space, of which columns are observations, and only KL "
                f"makes a likelihood of it; use divergence='kl'"
            )
        if problem.q.subnormal and not problem.summand.linear_in_log_q:
            return (
                f"rows of {problem.q!r} do not sum to one in every batch, which only KL makes sense of; "
                f"use divergence='kl', or Cluster(balance=1, mass_momentum=0)"
            )
        if problem.fresh and not self.stochastic:
            what = (
                "mapper draws its outputs"
                if problem.rows.view is problem.columns.view is None
                else "p draws fresh views"
            )
            return f"this {what} at every step, and only engine='minibatch' can take such a loss"
        return refuses_limit(problem)

    def estimates(self, problem) -> bool:
        """Whether a loss is an estimate: of some of the pairs, or over views that are drawn anew."""
        return self.stochastic

    def visits(self, problem, *, rng, dtype, device):
        """An endless iterator of epochs; each epoch is an iterable of visits."""
        raise TypeError(f"{type(self).__name__} must define visits(problem, rng, dtype, device)")

    @contextmanager
    def hold(self):
        """Within the body steps go by the choices of its first step, and nothing after that step waits for a device.

        A step that these choices do not serve any more has a loss that is not a number.

        Yields
        ------
        Hold
            Known after the first step.
        """
        yield Hold()

    def log_sums(self, q, U, V, visit):
        """log of every row's sum of kernels; U and V are the places of the visited rows and columns."""
        return row_sums(q, U, V, visit.exclude_self, self.block)

    def edge_loss(self, q, U, V, visit, pull, whole):
        """The loss of edges and a linear divergence, where attraction and sums are found together; else None."""
        return None

    def log_total(self, q, U, V, visit):
        """log of the sum of all kernels, a scalar."""
        return torch.logsumexp(self.log_sums(q, U, V, visit), 0)

    def mean_log_kernels(self, q, U, V, visit):
        """Mean over the candidates of every row's log kernels."""
        return row_sums(q, U, V, visit.exclude_self, self.block, reduce="mean")

    def nearest(self, q, U, V, visit):
        """The largest of every row's log kernels, where the bandwidth has gone to zero."""
        return nearest(q, U, V, visit, self.block)

    def full_sum(self, q, U, V, log_norm, visit, summand, pull, of_columns=None):
        """sum_i mass_i sum_j summand(log q_ij) over all candidates."""
        return full_sum(q, U, V, log_norm, visit, summand, self.block, pull, of_columns)


class Found(torch.autograd.Function):
    """A loss whose gradient has been found with it.

    The gradient is not multiplied by anything where the loss is the `whole` of what is differentiated.
    """

    @staticmethod
    def forward(ctx, U, value, gradient, whole):
        ctx.save_for_backward(gradient)
        ctx.whole = whole
        return value

    @staticmethod
    def backward(ctx, g):
        (gradient,) = ctx.saved_tensors
        return gradient if ctx.whole else gradient * g, None, None, None
