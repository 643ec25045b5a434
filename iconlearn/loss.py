"""The heart: the one loss that every method here minimises.

    L = sum_i mass_i * D( p(.|i) || q(.|i) ),      log q(j|i) = log k(u_i, v_j) - log N_i

A divergence is summed over the support of p; what lies off the support costs f(0) per unit of q, or, with
a uniform share on p, is summed by the engine over all candidates.  Two cases have a shorter way to the same
value: a KL whose attraction is a sum over edges, and a KL against few columns, which is a softmax and a
cross-entropy in one pass.  Where rows have lists of candidates, all sums run over these.
"""

from __future__ import annotations

import math

import torch

from .numerics.geometry import gaps_between, matrix, pairs
from .numerics.threads import available, compiled_pays

__all__ = [
    "attraction",
    "exaggerate",
    "log_kernels",
    "log_normalizer",
    "log_normalizers",
    "loss",
    "positive",
    "row_divergences",
    "share",
    "softmax_divergence",
    "suits_softmax",
]

# Pairs that are held at once.
MAX_PAIRS = 2**25


def loss(problem, engine, visit, pull=1.0, whole=False):
    """Mean divergence over the rows of one visit, differentiable.

    Parameters
    ----------
    problem : Problem
        What is fitted.
    engine : Engine
        Finds the row sums and the sums over all candidates.
    visit : Visit
        Which rows and columns are seen.
    pull : float, default=1.0
        Exaggeration: the gradient of every supported pair's kernel is multiplied by it where it attracts.  The value
        of the loss is the true one whatever the pull.
    whole : bool, default=False
        Whether it is the loss alone that will be differentiated: neither a multiple of it nor a sum with more.

    Returns
    -------
    Tensor
        A scalar, in the precision of the mapper.
    """
    return _mean_divergence(problem, engine, visit, pull, whole=whole)


def _weighted_sum(weights, values):
    """sum_i w_i x_i: on the CPU by pairs, which loses fewest digits; on a device in one operation."""
    return (weights * values).sum() if values.device.type == "cpu" else weights.dot(values)


def row_divergences(problem, engine, visit, at=None):
    """D(p(.|i) || q(.|i)) of every visited row, q normalised by row.

    Parameters
    ----------
    problem : Problem
    engine : Engine
    visit : Visit
        Without lists of candidates.
    at : Tensor or None, default=None
        The table of the rows' places, row r of it in the divergence of row r alone.

    Returns
    -------
    Tensor of shape (rows,)
        Without gradients.
    Tensor of the shape of `at`
        Only where `at` is given: the gradient of each row's divergence with respect to its place.
    """
    q, divergence, edges = problem.q, problem.summand, visit.edges
    if edges is not None and divergence.linear_in_log_q and q.debias == 0 and visit.floor == 0:
        with torch.set_grad_enabled(at is not None):
            U, V = _places(problem, visit)
            log_k = q.log_kernel(pairs(q.scalar, U, V, edges))
            own = visit.rows_at_one - edges.row_sums(visit.p * log_k)
            log_norm, of_columns = log_normalizers(q, engine, U, V, visit)
            values = own + visit.p_sums * log_norm
            if of_columns is not None:
                values = values + edges.row_sums(visit.p * of_columns[edges.j])
            found = visit.of_table(values.detach())
            return found if at is None else (found, *torch.autograd.grad(values.sum(), at))
    # The loss is linear in the masses of the rows, so these are its derivatives.
    mass = torch.ones_like(visit.mass).requires_grad_()
    with torch.enable_grad():
        value = _mean_divergence(problem, engine, visit.weighing(mass), 1.0, by_sums=True)
        of_rows, *of_places = torch.autograd.grad(value, (mass,) if at is None else (mass, at))
        return (visit.of_table(of_rows), *of_places) if of_places else visit.of_table(of_rows)


def _places(problem, visit):
    """Of the visited rows and columns; the same object where one set of places serves both."""
    q, Z = problem.q, visit.outputs(problem.rows)
    U = q.place(Z, mass=visit.column_weights)
    if not problem.tied:
        return U, q.place(problem.columns.at(visit.cols, visit.column_inputs), columns=True)
    copies = {} if visit.copies is None else {"copies": visit.copies}  # which shared clusters alone can count
    return U, visit.columns(U) if q.same_places else q.place(
        Z, columns=True, mass=visit.column_weights, **copies
    )


def _mean_divergence(problem, engine, visit, pull, by_sums=False, whole=False):
    q, divergence = problem.q, problem.summand
    U, V = _places(problem, visit)
    if visit.lists is not None:
        return _over_lists(q, divergence, U, V, visit, pull)
    apart = engine.exact and not (by_sums or problem.tied or visit.edges is None or visit.exclude_self)
    if apart and pull == 1 and suits_softmax(q, divergence, len(visit.mass) * visit.n_candidates):
        # Outputs are the logits only where no unit vector is missing.
        basis = problem.columns.basis and len(V) == problem.columns.size
        return softmax_divergence(log_kernels(q, U, V, basis), divergence, visit)
    if visit.edges is not None and divergence.linear_in_log_q and q.debias == 0 and visit.floor == 0:
        # Linear in the normaliser too: one number a row instead of one an edge.
        # Of a batch they would be found for one step alone, by the host.
        both_ways = (lambda: visit.both_ways) if visit.rows is None or U.device.type == "cpu" else None
        if both_ways is not None:
            value = engine.edge_loss(q, U, V, visit, pull, whole)
            if value is not None:
                return value
        pulled = attraction(
            q, U, V, visit.edges, visit.pulled, pull, both_ways, problem.tied and q.same_places
        )
        if q.normalize == "self":
            return visit.at_one - pulled
        log_norm, of_columns = log_normalizers(q, engine, U, V, visit)
        value = visit.at_one - pulled + _weighted_sum(visit.row_weight, log_norm)
        return value if of_columns is None else value + (visit.column_weight * of_columns).sum()
    log_norm, of_columns = log_normalizers(q, engine, U, V, visit)
    if visit.edges is None:
        value = _all_pairs(problem, engine, U, V, log_norm, visit, visit.block, pull, of_columns)
        return value / (visit.n_candidates * problem.p.unit**2) if problem.p.wide else value
    log_k = exaggerate(q.log_kernel(pairs(q.scalar, U, V, visit.edges)), pull)
    log_q = log_k - visit.edges.of_rows(log_norm)
    if of_columns is not None:
        log_q = log_q - of_columns[visit.edges.j]
    log_q = share(q, log_q, log_norm, visit)
    value = (visit.weight * divergence(visit.p, log_q)).sum()
    if visit.floor > 0:
        floor = log_k.new_full((), visit.floor)
        value = value - (visit.weight * divergence(floor, log_q)).sum()
        return value + _floor_everywhere(problem, engine, U, V, log_norm, visit, floor, of_columns)
    if divergence.at_zero != 0:
        whole = visit.mass.sum() if by_sums else 1.0
        value = value + divergence.at_zero * (whole - (visit.weight * log_q.exp()).sum())
    return value


def _over_lists(q, divergence, U, V, visit, pull):
    """Mean divergence over lists: one q for each, over its own candidates."""
    lists = visit.lists
    at = U.index_select(0, lists.rows)
    log_k = q.log_kernel(pairs(q.scalar, at, V, visit.edges))
    if lists.n_null:
        log_k = torch.cat([log_k, q.log_null(at.index_select(0, lists.of[len(log_k) :]), U, V)])
    log_k = exaggerate(log_k, pull)
    log_q = log_k - _list_normalizer(q, log_k, visit).index_select(0, lists.of)
    if q.debias > 0:
        floor = math.log(q.debias) - torch.log(lists.sizes[lists.of].to(log_q.dtype))
        log_q = torch.logaddexp(math.log1p(-q.debias) + log_q, floor)
    return (visit.weight * divergence(visit.p, log_q)).sum()


def _list_normalizer(q, log_k, visit):
    """log N of every list: the log of its sum of kernels, or the mean or the largest of their logarithms."""
    lists, n = visit.lists, len(visit.mass)
    if q.reduce == "mean":
        return log_k.new_zeros(n).index_add(0, lists.of, log_k) / lists.sizes
    lifted = log_k + q.margin * (visit.p == 0) if q.reduce == "min" else log_k.detach()
    largest = log_k.new_zeros(n).scatter_reduce(0, lists.of, lifted, "amax", include_self=False)
    if q.reduce == "min":
        return largest
    terms = torch.exp(log_k - largest.index_select(0, lists.of))
    return largest + torch.log(log_k.new_zeros(n).index_add(0, lists.of, terms))


def _all_pairs(problem, engine, U, V, log_norm, visit, p_of, pull=1.0, of_columns=None):
    """Mean divergence with p given for every candidate by ``p_of(slice of rows)``."""
    # Engines of others need not know columns with normalisers.
    options = {} if of_columns is None else {"of_columns": of_columns}
    return engine.full_sum(
        problem.q,
        U,
        V,
        log_norm,
        visit,
        lambda log_q, rows: problem.summand(p_of(rows), log_q),
        pull,
        **options,
    )


def _floor_everywhere(problem, engine, U, V, log_norm, visit, floor, of_columns):
    """Mean divergence as if p were the uniform share on every candidate."""
    q, linear = problem.q, problem.summand.linear_in_log_q and problem.q.debias == 0
    if visit.copies is not None or of_columns is not None or not linear:
        return _all_pairs(problem, engine, U, V, log_norm, visit, lambda rows: floor, of_columns=of_columns)
    mean_log_q = engine.mean_log_kernels(q, U, V, visit) - log_norm
    return visit.n_candidates * (visit.mass * problem.summand(floor, mean_log_q)).sum()


def log_normalizers(q, engine, U, V, visit):
    """What is taken off the log kernels of every row and, where q is doubly stochastic, of every column (or None)."""
    if q.normalize != "doubly":
        return log_normalizer(q, engine, U, V, visit), None
    of_rows, of_columns = engine.potentials(q, U, V, visit)
    return -of_rows, -of_columns


def log_normalizer(q, engine, U, V, visit):
    """log N_i for every visited row.

    A joint normaliser is the sum over all pairs; the row's mass is taken off as well, so that the weighted
    sum of row divergences is the divergence of the joint distributions.  That of a density is no sum at all.
    """
    if q.normalize == "self":
        return U.new_zeros(len(U))
    if q.normalize == "space":
        return torch.as_tensor(q.log_volume(U.shape[1]), dtype=U.dtype, device=U.device).expand(len(U))
    if q.reduce == "mean":
        return engine.mean_log_kernels(q, U, V, visit)
    if q.reduce == "min":
        return engine.nearest(q, U, V, visit)
    if q.normalize == "row":
        return engine.log_sums(q, U, V, visit)
    return engine.log_total(q, U, V, visit) + torch.log(positive(visit.mass))


def positive(mass):
    """Masses that a joint q can be divided by: q of a row without mass is paid for all the same."""
    return mass.clamp_min(torch.finfo(mass.dtype).tiny)


def share(q, log_q, log_norm, visit, rows=None):
    """Mix the uniform share of q in: (1 - a) q + a / m."""
    if q.debias == 0:
        return log_q
    log_floor = math.log(q.debias / visit.n_candidates)
    if q.normalize == "joint":
        log_floor = log_floor - torch.log(positive(visit.mass)) - math.log(len(visit.mass))
        log_floor = log_floor[visit.edges.i] if log_q.ndim == 1 else log_floor[rows][:, None]
    else:
        log_floor = log_q.new_full((), log_floor)
    return torch.logaddexp(math.log1p(-q.debias) + log_q, log_floor)


# -- the attracting half of a KL: sum_e w_e log k(u_i, v_j) over the edges --------------------------------------


def attraction(q, U, V, edges, weights, pull=1.0, both_ways=None, tied=False):
    """sum_e w_e log k(u_i, v_j) over edges, a scalar to be taken off a loss; differentiable.

    Parameters
    ----------
    q : Learned
    U, V : Tensor of shape (n_rows, d) and (n_cols, d)
        Places; the same object where the columns are the rows.
    edges : Edges
    weights : Tensor of shape (n_edges,)
    pull : float, default=1.0
        The gradient is multiplied by it, the value is not.
    both_ways : callable or None
        Gives what ``edges.symmetric(weights)`` does, where it has been kept.
    tied : bool, default=False
        Whether the columns are the rows and, behind them, rows of other processes.
    """
    if (tied or U is V) and q.edge_form is not None:
        if compiled_pays(U):
            symmetric = edges.symmetric(weights) if both_ways is None else both_ways()
            return _CompiledAttraction.apply(U, symmetric, *q.edge_form, pull, V.detach())
        if (U.device.type != "cpu" or U is not V) and both_ways is not None:
            return _DeviceAttraction.apply(U, both_ways(), *q.edge_form, pull, V.detach())
    return (weights * exaggerate(q.log_kernel(pairs(q.scalar, U, V, edges)), pull)).sum()


def exaggerate(log_k, pull):
    """The same values; where a loss falls as they rise, its gradient is multiplied by `pull`.

    Of KL that is all of it.  Other divergences also push pairs apart that q finds nearer than p, and a multiple of that
    would drive a map apart without end.
    """
    return log_k if pull == 1.0 else _Exaggerated.apply(log_k, pull)


class _Exaggerated(torch.autograd.Function):
    """Not a difference of multiples, which would cost digits of the values."""

    @staticmethod
    def forward(ctx, log_k, pull):
        ctx.pull = pull
        return log_k.view_as(log_k)

    @staticmethod
    def backward(ctx, g):
        return torch.where(g < 0, ctx.pull * g, g), None


class _CompiledAttraction(torch.autograd.Function):
    """Points against themselves: each pair is met from both of its ends, and counts half from each."""

    @staticmethod
    def forward(ctx, U, both_ways, factor, offset, pull, V):
        from .numerics.compiled import edge_terms

        places, others = U.detach().contiguous().numpy(), V.contiguous().numpy()
        total, gradient = edge_terms(places, others, *both_ways, offset, available())
        ctx.save_for_backward(torch.from_numpy(gradient))
        ctx.scale = factor * pull
        return U.new_tensor(0.5 * factor * total)

    @staticmethod
    def backward(ctx, g):
        (gradient,) = ctx.saved_tensors
        return (g * ctx.scale) * gradient, None, None, None, None, None


class _DeviceAttraction(torch.autograd.Function):
    """The same in few operations, and sums in the order of the edges; the gradient is made in the forward pass."""

    @staticmethod
    def forward(ctx, U, both_ways, factor, offset, pull, V):
        pointers, _, weights, ends = both_ways
        gaps = gaps_between(V, ends)
        s = (gaps * gaps).sum(1)
        if math.isinf(offset):
            total, slope = weights.dot(s), weights
        else:
            total = weights.dot(torch.log1p(s if offset == 1 else s / offset))
            slope = weights / s.add_(offset)
        pulls = gaps.mul_(slope[:, None])
        ctx.save_for_backward(
            torch.segment_reduce(pulls, "sum", offsets=pointers, axis=0, unsafe=True, initial=0)
        )
        ctx.scale = 2.0 * factor * pull
        return total * (0.5 * factor)

    @staticmethod
    def backward(ctx, g):
        (pulls,) = ctx.saved_tensors
        return pulls * (g * ctx.scale), None, None, None, None, None


# -- few columns: softmax and cross-entropy in one pass ---------------------------------------------------------


def suits_softmax(q, divergence, n_pairs) -> bool:
    """Whether the loss of a sparse p over columns of their own is this one, and small enough."""
    softmax = (q.reduce, q.normalize, q.debias) == ("logsumexp", "row", 0)
    return softmax and divergence.linear_in_log_q and n_pairs <= MAX_PAIRS


def log_kernels(q, U, V, basis=False):
    """Log kernels of all pairs, shape (rows, columns); differentiable.

    Parameters
    ----------
    q : Learned
    U, V : Tensor
        Places of rows and columns.
    basis : bool, default=False
        Whether the columns are multiples of the unit vectors.
    """
    if basis and q.geometry == "dot":
        scale = V.diagonal()
        if scale.requires_grad or not _is_one(scale):
            U = U * scale
        return q.log_kernel(U)
    return q.log_kernel(matrix(q.scalar, U, V))


def _is_one(factor):
    """Whether a factor is one and can be left out; a device multiplies sooner than it says so."""
    return factor.device.type == "cpu" and bool((factor == 1).all())


def softmax_divergence(log_k, divergence, visit):
    """Mean divergence over the rows of a visit, from the log kernels of all its pairs."""
    value = _CrossEntropy.apply(log_k, visit) + visit.at_one
    if visit.floor > 0:
        at_floor = divergence(log_k.new_full((), visit.floor), log_k.new_zeros(()))
        value = value + at_floor * (visit.n_candidates * visit.mass.sum() - visit.weight.sum())
    return value


class _CrossEntropy(torch.autograd.Function):
    """- sum_ij t_ij log softmax(log k)_ij; its gradient is made in the forward pass, where the softmax is."""

    @staticmethod
    def forward(ctx, log_k, visit):
        places = visit.edges.i * log_k.shape[1] + visit.edges.j
        over, total = visit.pulled, visit.row_weight
        log_q = torch.log_softmax(log_k, 1)
        if visit.floor > 0:
            over = over - visit.floor * visit.weight
            total = visit.edges.row_sums(over) + visit.floor * log_k.shape[1] * visit.mass
        value = -(over * log_q.view(-1)[places]).sum()
        if visit.floor > 0:
            value = value - visit.floor * (visit.mass * log_q.sum(1)).sum()
        if ctx.needs_input_grad[0]:
            gradient = log_q.exp_().mul_(total[:, None])
            gradient.view(-1).index_add_(0, places, over, alpha=-1)
            if visit.floor > 0:
                gradient -= visit.floor * visit.mass[:, None]
            ctx.save_for_backward(gradient)
        return value

    @staticmethod
    def backward(ctx, g):
        (gradient,) = ctx.saved_tensors
        return gradient if _is_one(g) else gradient * g, None
