"""The mesh engine: row sums of a radial kernel in one to three dimensions, in time O(n + grid).

    S_i = sum_{j != i} k(|u_i - u_j|^2)  =  field of unit charges at u_i, less what u_i reads of itself

Every step spreads the points onto a grid, convolves with the kernel by FFT and reads the sums off; the
gradient of a row-normalised loss needs one more convolution, with the charges d loss / d S_i.  In a map too
wide for a fine grid, a coarse one carries the smooth part of the kernel and near pairs the rest.  Points far
outside of the others, and rows whose sum is lost in the error of the grid, are summed directly.

To choose a grid and to find such rows the host has to read numbers.  Where it is to leave a device alone for a stretch
of steps, they go by the grid of the first one, which is then wider than the map; a step that needs another grid, or has
such rows, gives NaN.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import replace

import torch

from ..._checks import check_number
from ..._warnings import warn
from ...distributed import ALONE
from ...numerics.geometry import matrix
from ...numerics.threads import available, compiled_pays
from .._base import Engine, Found, Hold
from .._sums import kernel_is_learned, logs_or_direct, own_pairs, probes
from .._visit import visit_all_always
from ._batched import BatchedSums, Joined
from ._field import KEPT, Responses, convolved, fit_grid
from ._near import near_pairs_of_all

# Row sums below this share of the largest are summed directly: a light tail is lost in the error of the splines, a
# heavy one only in single precision.  The first share is that for nodes half a width apart, where the sums are off by
# a tenth, and goes with the error, the fourth power of the spacing; but so many rows that direct sums would cost more
# than the grid saves are never lost.
LOST, LOST_HEAVY = 2e-3, 1e-5
LOST_SPACING, MOST_LOST = 0.5, 0.05
# A box of more cells than this is worth trimming, if a few points at its ends are what makes it wide; they
# meet all others directly, in at most so many pairs for each end.
WIDE = 2**18
MAX_OUTSIDE = 2**22
# Bounds of the grid where the user gives none: it is to cost no more than the points, which touch more nodes
# in three dimensions.  What it leaves to near pairs compiled loops sum at once, and torch at many times the price: with
# such loops a step on fewer nodes is shorter, unless points share cells of half the reach with so many others, on
# average.
NODES_PER_POINT = {1: 16, 2: 16, 3: 64}
NODES_PER_POINT_COMPILED, CROWDED = 16, 32
LEAST_NODES, MOST_NODES, LEAST_NODES_COMPILED = 2**20, 2**24, 2**16
# Without compiled loops, on the CPU, a node costs as much as so many pairs of a direct sum; fewer pairs than these have
# a grid only where the user names the engine.
PAIRS_PER_NODE, LEAST_PAIRS = 6, 10**6
# A grid that is to serve for several steps is wider than the map by this share of its sides.
SLACK = 0.25
# A grid may be coarser than asked for by this factor, and its error three times as large.  A coarser one leaves pairs
# nearer than so many of its spacings to be summed one by one; few points meet all others instead.
COARSEST = 1.3
# Of more rows than this it may be coarser: summing their near pairs would make a step two to three times as long, and
# the figures of a map of 70 000 rows are the same.
FEW_POINTS, COARSEST_OF_MANY = 20_000, 2.0
REACH = 2.5
# Of many points on a grid of fewer nodes: their row sums are right to 5e-4 in the median.
REACH_OF_MANY = 2.0
# What is left for such a grid changes over a length of which the reach is so many; seen in the errors.
REACH_WIDTHS = 1.4
FEW_PAIRS = 10**7
# Most pairs of a step, at so many for each pair that shares a cell of half the reach.
MAX_PAIRS = 10**9
CROWDS = 8
# Rows of several processes up to which each knows the places of all where near pairs are summed, 160 MB in the plane.
MOST_GATHERED = 2 * 10**7


class Mesh(Engine):
    """Particle mesh: all pairs at the cost of a few, for maps of up to three dimensions.

    Row sums of a Student kernel agree with the exact ones to about 1e-4 in the median and 5e-3 in the
    worst row, their total to 1e-5.  In maps so wide that near pairs are summed one by one it is 5e-4 in the median,
    the total alike, and 5e-3 of the length of the gradient.

    Parameters
    ----------
    spacing : float, default=0.5
        Distance of the grid's nodes in units of the kernel's width; the error falls with its fourth power.
    min_cells : int, default=50
        Cells across a map that is small.
    max_nodes : int or None, default=None
        Most nodes of the (padded) grid; None is 16 for every point, or 64 in three dimensions where no compiled loops
        sum near pairs or these are too many, but 2^20 at least (2^16 with such loops) and 2^24 at most.  A wider map
        gets a coarser grid; from 1.3 times `spacing` on (twice for more than 20 000 rows) near pairs are summed one by
        one.
    """

    own_loops = True
    repeats = True
    takes_shards = True

    def __init__(self, spacing=0.5, *, min_cells=50, max_nodes=None):
        self.spacing = spacing
        self.min_cells = min_cells
        self.max_nodes = max_nodes

    def refuses(self, problem):
        check_number("spacing", self.spacing, low=0, closed="neither")
        check_number("min_cells", self.min_cells, low=4, integer=True)
        if self.max_nodes is not None:
            check_number("max_nodes", self.max_nodes, low=4096, integer=True)
        if problem.rows.reading is not None and problem.of_edges:
            return super().refuses(problem)  # a term for which nothing is summed
        q, width = problem.q, problem.rows.width
        if _radial(q) and kernel_is_learned(q):
            return (
                f"the mesh engine transforms the kernel once, and that of {q!r} changes with what it learns; use "
                f"engine='dense' or 'minibatch'"
            )
        if not sums_radial_kernels(q):
            return (
                f"the mesh engine sums radial kernels that are smooth at distance zero, such as Student or "
                f"Gaussian, and not {q!r}; use engine='dense' or 'minibatch'"
            )
        if width is None or width > 3:
            return f"the mesh engine works in 1 to 3 dimensions, and this map has {width}"
        if not problem.tied or not q.same_places:
            return "the mesh engine needs a p whose columns are the rows; use engine='dense' for other p"
        if problem.p.dense:
            return (
                "the mesh engine needs a sparse p, and this one has a value for every pair; give it a finite "
                "n_neighbors, or use engine='dense'"
            )
        if problem.p.uniform > 0 and not (problem.divergence.linear_in_log_q and q.debias == 0):
            return (
                "the mesh engine sums a uniform share of p for KL only; use engine='dense', or debias=0 for "
                "other divergences"
            )
        return (_refuses_shards(problem) if problem.p.sharded else None) or super().refuses(problem)

    def visits(self, problem, *, rng, dtype, device):
        return visit_all_always(problem, dtype=dtype, device=device, ordered=True)

    @contextmanager
    def hold(self):
        self._held = Hold()
        try:
            yield self._held
        finally:
            del self._held

    def log_sums(self, q, U, V, visit):
        cloud = self._cloud(q, U, visit)
        if cloud is None:
            return super().log_sums(q, U, V, visit)
        sums, group = cloud.sums("kernel", visit.exclude_self), cloud.box.group
        if cloud.held:
            # Of a row off the grid the sum is not a number, and others may lack what it adds to them.
            low, high = sums.detach().aminmax()
            return torch.log(torch.where(low > least_share(q, cloud.coarseness) * high, sums, torch.nan))
        highest = group.largest(sums.detach().max())
        lost = is_lost(q, sums.detach(), highest, cloud.coarseness)
        if hasattr(self, "_held"):
            self._hold_least(visit, least_share(q, cloud.coarseness) * highest, lost)
        if group.size == 1:
            return logs_or_direct(sums, lost, q, U, V, visit.exclude_self, self.block)
        if group.total(int(lost.sum())):
            sums = sums.masked_scatter(
                lost, cloud.direct("kernel", lost.nonzero()[:, 0], visit.exclude_self)[0]
            )
        return torch.log(sums)

    def edge_loss(self, q, U, V, visit, pull, whole):
        offset = None if q.edge_form is None or q.cools else q.edge_form[1]
        alone = U is V and q.normalize == "row" and offset is not None and math.isfinite(offset)
        if alone and compiled_pays(U) and visit.group.size == 1:
            found = self._found(q, U.detach(), visit, pull)
            return None if found is None else Found.apply(U, *found, whole)
        hold = self.__dict__.get("_held")
        if not alone or hold is None:
            return None
        kept = self.__dict__.setdefault("_joined", {})
        if id(visit) not in kept:
            kept[id(visit)] = Joined(q, U.detach(), visit)
        cloud = self._cloud(q, U, visit) if id(visit) in hold.choices else None
        if cloud is None or cloud.box.outside is not None or cloud.box.pairs is not None:
            return None
        tables, joined = cloud.tables("kernel", visit.exclude_self), kept[id(visit)]
        with torch.no_grad():
            found = joined.find(U, cloud.fixed.offset, tables, cloud.least, pull)
        return Found.apply(U, *found, whole)

    @torch.no_grad()
    def _found(self, q, U, visit, pull):
        """The loss and its gradient by compiled loops; None where not all points are on a grid that serves for them."""
        from ...numerics.compiled import edge_terms

        cloud = self._cloud(q, U, visit)
        if cloud is None or cloud.box.outside is not None:
            return None
        field, weights = cloud.field("kernel"), visit.row_weight
        sums = field.sums(visit.exclude_self)
        low, high = sums.aminmax()
        if not low > least_share(q, cloud.coarseness) * high:
            return None
        (factor, offset), places = q.edge_form, U.contiguous().numpy()
        total, pulled = edge_terms(places, places, *visit.both_ways, offset, available())
        # Each pair is met from both of its ends, and counts half from each.
        value = visit.at_one - 0.5 * factor * total + (weights * torch.log(sums)).sum()
        return value, field.pulls(weights / sums).sub_(torch.from_numpy(pulled), alpha=factor * pull)

    def log_total(self, q, U, V, visit):
        cloud = self._cloud(q, U, visit)
        if cloud is None:
            return super().log_total(q, U, V, visit)
        sums = cloud.sums("kernel", visit.exclude_self, alike=True)
        # Far from each other, all of them: what is left of the total is the error of the grid.
        least = lost_share(cloud.coarseness) * cloud.at_zero("kernel")
        if cloud.held:
            total = sums.sum()
            return torch.log(torch.where(total <= least * len(U), torch.nan, total))
        total = of_all(cloud.box.group, sums.sum())
        if float(total.detach()) <= least * cloud.box.n_all:
            if hasattr(self, "_held"):
                self._held.able = False
            if cloud.box.group.size == 1:
                return super().log_total(q, U, V, visit)
        return torch.log(total)

    def mean_log_kernels(self, q, U, V, visit):
        cloud = self._cloud(q, U, visit)
        if cloud is None:
            return super().mean_log_kernels(q, U, V, visit)
        return cloud.sums("log_kernel", visit.exclude_self) / max(cloud.box.n_all - visit.exclude_self, 1)

    def _cloud(self, q, U, visit=None):
        """The points with their grid; None where the map is too wide for one, or not finite."""
        hold = self.__dict__.get("_held")
        if hold is None:
            return self._chosen(q, U, group=ALONE if visit is None else visit.group)
        if id(visit) in hold.choices:
            choice = hold.choices[id(visit)]
            return choice and _Cloud(U, *choice)
        cloud = self._chosen(q, U, SLACK)
        if cloud is None:
            choice = None
        else:
            cloud.fixed = self._fixed_for(visit, cloud.box)
            choice = cloud.box, cloud.responses, cloud.fixed, 0.0
            # Near pairs are others at every step.
            hold.able &= cloud.box.pairs is None
            if cloud.box.outside is not None:
                hold.key = None
        hold.choices[id(visit)] = choice
        if hold.key is not None:
            hold.key = *hold.key, (id(visit), choice and id(cloud.fixed))
        return cloud

    def _hold_least(self, visit, least, lost):
        """Hold on to what row sums are lost below, rounded down so that a recording serves for a while."""
        hold = self._held
        least, any_lost = torch.stack([least, lost.any().to(least.dtype)]).tolist()
        hold.able &= not any_lost and 0 < least < math.inf
        if hold.able:
            least = 2.0 ** math.floor(math.log2(least))
            hold.choices[id(visit)] = *hold.choices[id(visit)][:-1], least
            if hold.key is not None:
                hold.key = *hold.key, least

    def _fixed_for(self, visit, box):
        """What steps on grids like this one share."""
        kept, grid = self.__dict__.setdefault("_fixed", OrderedDict()), box.grid
        key = id(visit), grid.spacing, grid.shape, grid.padded, grid.reach
        if key in kept:
            kept[key].offset.copy_(grid.offset)
        else:
            kept[key] = _Fixed(grid.offset)
            while len(kept) > KEPT:
                kept.popitem(last=False)
        kept.move_to_end(key)
        return kept[key]

    def _chosen(self, q, U, slack=0.0, group=ALONE, coarse=True):
        ends = _ends(U.detach(), group)
        if not math.isfinite(float((ends[1] - ends[0]).sum())):
            return None
        responses, n_all = self._responses_of(q), group.total(len(U))
        spacing = self.spacing * responses.width
        coarsest = (COARSEST if n_all <= FEW_POINTS else COARSEST_OF_MANY) * spacing
        compiled, alone = compiled_pays(U), group.size == 1
        least = LEAST_NODES_COMPILED if compiled and alone else LEAST_NODES
        per_point = NODES_PER_POINT[U.shape[1]]
        coarse &= compiled and alone and self.max_nodes is None and per_point > NODES_PER_POINT_COMPILED
        per_point = NODES_PER_POINT_COMPILED if coarse else per_point
        most = self.max_nodes or min(max(per_point * n_all, least), MOST_NODES)
        box = _Box(U.detach(), ends, spacing, self.min_cells, most, slack, group=group, n_all=n_all)
        if slack and box.grid.spacing > coarsest:
            box = _Box(U.detach(), ends, spacing, self.min_cells, most, group=group, n_all=n_all)
        if alone and not compiled and self._costs_more_than_pairs(U, box.grid):
            return None
        if box.grid.spacing <= coarsest:
            return _Cloud(U, box, responses)
        if alone and not compiled and n_all**2 <= FEW_PAIRS:
            return None
        if n_all <= MOST_GATHERED or group.size == 1:
            reach = REACH_OF_MANY if coarse and n_all > FEW_POINTS else REACH
            box.leave_near_pairs(U.detach(), reach * box.grid.spacing)
        if coarse and box.pairs.crowd() > CROWDED * n_all:
            return self._chosen(q, U, slack, group, coarse=False)
        if box.pairs is None or min(CROWDS * box.pairs.crowd(), n_all**2) > MAX_PAIRS:
            warn(
                f"the map is too wide for a grid of max_nodes={most}, with too many points near each other to sum "
                f"their pairs; its row sums are coarse",
            )
            box.leave_near_pairs(None, 0.0)
        return _Cloud(U, box, responses)

    def _costs_more_than_pairs(self, U, grid):
        direct = LEAST_PAIRS < len(U) ** 2 <= PAIRS_PER_NODE * math.prod(grid.padded)
        return direct and self.max_nodes is None and U.device.type == "cpu"

    def _responses_of(self, q):
        # Valid for the lifetime of the engine, which is one fit; copies start empty.
        kept = self.__dict__.setdefault("_responses", {})
        # The kernel of a q that cools is another one at each temperature.
        key = id(q), tuple(q.log_kernel(probes(q)).tolist()) if q.cools else None
        if key not in kept:
            kept[key] = responses_of(q)
        return kept[key]


def _refuses_shards(problem):
    """Why a problem cannot be solved over several processes, which exchange places and the charges of the grid."""
    p, q = problem.p, problem.q
    if not problem.divergence.linear_in_log_q or q.debias > 0 or p.uniform > 0:
        return "maps over several processes are fitted by divergence='kl', with debias=0 of p and of q"
    if not q.heavy_tailed or q.edge_form is None:
        return f"maps over several processes need a heavy tail, as q='student' has, and not {q!r}"
    return None


def sums_radial_kernels(q):
    """Whether q divides by sums of a radial kernel that is smooth at distance zero and stays as it is."""
    if not _radial(q) or kernel_is_learned(q):
        return False
    zero = probes(q)[:1]
    height, slope = float(q.log_kernel(zero.clone())), float(q.slope(zero))
    return math.isfinite(height) and math.isfinite(slope) and slope < 0


def _radial(q):
    return (
        q.geometry == "sqdist"
        and q.normalize in ("row", "joint")
        and not q.singular
        and q.reduce == "logsumexp"
    )


def responses_of(q):
    """The kernel of q, and its logarithm, ready for grids."""

    def kernel(s):
        return torch.exp(q.log_kernel(s))

    scale = float(-q.slope(probes(q)[:1])) ** -0.5
    return Responses(_kernel_width(kernel, scale, probes(q).device), kernel=kernel, log_kernel=q.log_kernel)


def _kernel_width(function, scale, device):
    """Width of a radial function as cubic splines see it: 1 for 1 / (1 + r^2).

    Their error goes with the fourth derivative, so this is the width of the Cauchy kernel that has the same
    largest one: (24 k(0) / max |d^4 k / dr^4|)^(1/4).

    Parameters
    ----------
    function : callable
        Of the squared distance.
    scale : float
        A first guess of the width, which sets where the derivative is sought.
    device : torch.device
        Where the function has its numbers.
    """
    step = 0.02 * scale
    k = function((torch.arange(-4, 1000, dtype=torch.float64, device=device) * step) ** 2)
    fourth = k[4:] - 4 * k[3:-1] + 6 * k[2:-2] - 4 * k[1:-3] + k[:-4]
    return float(24 * k[4] / fourth.abs().max()) ** 0.25 * step


def is_lost(q, sums, highest, coarseness):
    """Mask of the row sums that the error of the grid may have swallowed.

    Parameters
    ----------
    q : Learned
    sums : Tensor
    highest : float
        The largest of them.
    coarseness : float
        Distance of the nodes in widths of the kernel.
    """
    return sums <= least_share(q, coarseness) * highest


def least_share(q, coarseness):
    """Share of the largest row sum below which the error of the grid may have swallowed one."""
    return LOST_HEAVY if q.heavy_tailed else lost_share(coarseness)


def lost_share(coarseness):
    """Share of the largest sum below which a light tail is lost."""
    return min(max(LOST * (coarseness / LOST_SPACING) ** 4, LOST_HEAVY), MOST_LOST)


class _Box:
    """The part of the map that has a grid, and the few points outside.

    Attributes
    ----------
    grid : Grid
    inside, outside : Tensor of int64 or None
        Positions; None where all are inside.
    pairs : near pairs of the points inside, or None where the grid is fine enough
    """

    def __init__(self, U, ends, spacing, min_cells, max_nodes, slack=0.0, *, group, n_all):
        self.group, self.n_all = group, n_all
        low, high = ends
        self.inside = self.outside = self.pairs = None
        few = min(n_all // 1000, MAX_OUTSIDE // n_all)
        wide = few and float(((high - low) / spacing).clamp_min(1.0).prod()) > WIDE
        if wide and not _fills_its_box(U, few, low, high, group):
            near_low, near_high = _without_ends(U, few, low, high, group)
            if ((near_high - near_low) < 0.5 * (high - low)).any():
                outside = ((near_low > U) | (near_high < U)).any(1)
                low, high = near_low, near_high
                self.inside, self.outside = (~outside).nonzero()[:, 0], outside.nonzero()[:, 0]
        self.grid = fit_grid(low, high, spacing, min_cells, max_nodes, slack)
        self.n_inside = n_all if self.inside is None else group.total(len(self.inside))

    def leave_near_pairs(self, U, reach):
        """Have pairs up to `reach` summed one by one; a reach of zero leaves all to the grid."""
        self.grid = replace(self.grid, reach=reach)
        some = U if reach == 0 or self.inside is None else U[self.inside]
        self.pairs = near_pairs_of_all(some, reach, self.group) if reach else None


def _ends(U, group=ALONE):
    """The lowest and the highest place along each axis; not finite where any place is not."""
    if compiled_pays(U):
        from ...numerics.compiled import ends_of_points

        low, high = torch.from_numpy(ends_of_points(U.contiguous().numpy(), available()))
    else:
        low, high = U.amin(0), U.amax(0)
    if group.size > 1:
        # The least of several may be a number where one of them is none.
        low = torch.where(low == low, low, -math.inf)
    return group.smallest(low), group.largest(high)


def _fills_its_box(U, few, low, high, group):
    """Whether it is plain that no box without `few` points at each end is, widened, less than half as wide.

    That is so where more than these lie in each outer three eighths of it, which compiled loops see at once.
    """
    if group.size > 1 or not compiled_pays(U):
        return False
    from ...numerics.compiled import counts_beyond

    margin = 0.375 * (high - low)
    inner = (low + margin).numpy(), (high - margin).numpy()
    return bool((counts_beyond(U.contiguous().numpy(), *inner, available()) > few).all())


def _without_ends(U, few, lowest, highest, group):
    """A box that leaves at most `few` points off at each end, widened by half of itself."""
    own = min(few + 1, len(U))
    low = (
        group.gathered(U.topk(own, dim=0, largest=False).values)
        .topk(few + 1, dim=0, largest=False)
        .values[-1]
    )
    high = group.gathered(U.topk(own, dim=0).values).topk(few + 1, dim=0).values[-1]
    margin = 0.5 * (high - low)
    return torch.maximum(low - margin, lowest), torch.minimum(high + margin, highest)


def _alike(g, group):
    """Whether the slopes of all points, those of other processes included, are one number."""
    ends = torch.stack(g.aminmax()) if len(g) else g.new_tensor([math.inf, -math.inf])
    low, high = group.largest(ends * ends.new_tensor([-1.0, 1.0]))
    return bool(-low == high)


class _Fixed:
    """The tensors of steps on grids of one shape and spacing, which stay where they are.

    Attributes
    ----------
    offset : Tensor of shape (d, 1)
        As of :class:`Grid`; written over where another grid is laid.
    responses : dict
        Responses by the names of their functions.
    """

    def __init__(self, offset):
        self.offset, self.responses = offset, {}


class _Cloud:
    """Points, their grid, and sums of radial functions over all pairs of them.

    `least` is the number that row sums should be above where nothing is read from the device, else None.
    """

    def __init__(self, U, box, responses, fixed=None, least=None):
        self.U, self.box, self.responses, self.least, self.held = U, box, responses, least, least is not None
        self.fixed = fixed or _Fixed(box.grid.offset)

    @property
    def coarseness(self):
        """Distance of the nodes in widths of the kernel, or of its smooth part, which changes over the reach."""
        grid, width = self.box.grid, self.responses.width
        return grid.spacing / max(width, grid.reach / REACH_WIDTHS)

    def at_zero(self, name):
        return self._response(name).at_zero

    def _response(self, name):
        kept = self.fixed.responses
        if name not in kept:
            kept[name] = self.responses(name, self.box.grid)
        return kept[name]

    def tables(self, name, exclude_self):
        """The :class:`Tables` of sums of the function called `name` over all points."""
        return self._tables(self._response(name), len(self.U), exclude_self)

    def _tables(self, response, n, exclude_self):
        constant = response.constant * (n - 1) + (0.0 if exclude_self else response.at_zero)
        return response.tables(self.box.grid, constant)

    def sums(self, name, exclude_self, alike=False):
        """sum_j f(|u_i - u_j|^2) for the radial function called `name`, shape (n,); differentiable.

        `alike` says that all sums will have the same weight in what is differentiated.
        """
        box, response = self.box, self._response(name)
        if box.outside is None:
            return self._of_field(self.U, response, exclude_self, alike)
        outer, values = self.direct(name, box.outside, exclude_self)
        inner = self._of_field(self.U[box.inside], response, exclude_self, alike)
        sums = values.new_zeros(len(self.U)).index_copy(0, box.outside, outer)
        return sums.index_copy(0, box.inside, inner + values[:, box.inside].sum(0))

    def field(self, name):
        """The :class:`_Field` of the function called `name`, where all points are inside."""
        return _Field(self.U, self.box, self._response(name))

    def direct(self, name, rows, exclude_self):
        """Sums of some rows over all points, and the function of those rows of all processes and the points of this."""
        group, U = self.box.group, self.U
        some = group.gathered(U[rows])
        values = self.responses.functions[name](matrix("sqdist", some, U))
        first = group.starts(len(rows))
        if exclude_self:
            own = torch.zeros(len(some), len(U), dtype=torch.bool, device=U.device)
            own[first : first + len(rows)] = own_pairs(rows, len(U))
            values = values.masked_fill(own, 0.0)
        return of_all(group, values.sum(1))[first : first + len(rows)], values

    def _of_field(self, U, response, exclude_self, alike):
        if (U.device.type == "cpu" and not self.held) or self.box.group.size > 1:
            return _FieldSums.apply(U, self.box, response, exclude_self)
        sums = BatchedSums.apply(U, self.fixed.offset, self._tables(response, len(U), exclude_self), alike)
        return sums if self.box.pairs is None else sums + _NearSums.apply(U, self.box.pairs, response.split)


def of_all(group, values):
    """The sum of tensors over all processes, each of which has its own slope of it; differentiable."""
    return values if group.size == 1 else _OfAll.apply(values, group)


class _OfAll(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values, group):
        ctx.group = group
        return group.total(values)

    @staticmethod
    def backward(ctx, g):
        return ctx.group.total(g), None


class _NearSums(torch.autograd.Function):
    """What near pairs add to the sums."""

    @staticmethod
    def forward(ctx, U, pairs, split):
        ctx.setup = pairs, split
        return pairs.sums(split)

    @staticmethod
    def backward(ctx, g):
        pairs, split = ctx.setup
        return pairs.pulls(split, g), None, None


class _FieldSums(torch.autograd.Function):
    """Sums over all pairs of points on a grid; the charges of the backward pass are d loss / d sums."""

    @staticmethod
    def forward(ctx, U, box, response, exclude_self):
        ctx.of_field = _Field(U, box, response)
        return ctx.of_field.sums(exclude_self)

    @staticmethod
    def backward(ctx, g):
        return ctx.of_field.pulls(g), None, None, None


class _Field:
    """Sums of a radial function over all pairs of points on a grid, and their gradient."""

    def __init__(self, U, box, response):
        self.box, self.response, self.stencil = box, response, box.grid.stencil(U)

    def sums(self, exclude_self):
        """sum_j f(|u_i - u_j|^2), shape (n,)."""
        box, response = self.box, self.response
        value, self.slope = self.stencil.read_others(self._of_charges(), response)
        value = value + response.constant * (box.n_inside - 1)
        if box.pairs is not None:
            value = value + box.pairs.sums(response.split)
        return value if exclude_self else value + response.at_zero

    def pulls(self, g):
        """Gradient of sum_i g_i S_i with S those sums, shape (n, d)."""
        if _alike(g, self.box.group):
            # A joint normaliser: every pair counts alike from both of its ends.
            pulls = 2.0 * g[:1] * self.slope
        else:
            pulls = self.stencil.read_others(self._of_charges(g), self.response, g)[1]
            pulls = torch.addcmul(pulls, g[:, None], self.slope)
        if self.box.pairs is not None:
            pulls = pulls + self.box.pairs.pulls(self.response.split, g)
        return pulls

    def _of_charges(self, *charges):
        density = self.box.group.total(self.stencil.spread(*charges))
        return convolved(density, self.response, self.box.grid)
