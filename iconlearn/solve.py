"""From a plan to a solution: the engine's own solver, or the loop over the visits of every term."""

from __future__ import annotations

import copy
import functools
import itertools
import math
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from scipy import sparse
from scipy.special import entr

from ._randomness import torch_seeded
from ._warnings import warn
from .classification._ridge import preconditioner
from .engines import Dense, relocatable, relocate, visit_all
from .loss import loss
from .mappers import TableModule, declares, draws
from .numerics.geometry import matrix
from .numerics.threads import one_ahead, threads_for
from .objective import Points
from .optim import Entropies, EstimatedPlateau, Plateau, Solution, answering, minimise
from .supervisory import declared

__all__ = ["adam_rate", "evaluated", "present_loss", "solve"]

# Epochs in a row that may find no pair in any batch.
MAX_EMPTY = 20

# Temperatures of a q that cools.
N_COOLING = 8

# Rows whose outputs are found at a time, where a callback asks for those of all.
OUTPUT_ROWS = 2**16

# Steps of Adam: of a free place for every row; of the weights of one linear layer; of those of a network, where each
# moves many outputs; and of one that assigns clusters, which begins at a good start and is only to improve on it.
TABLE, LINEAR, NETWORK, HEAD = 0.1, 0.01, 0.003, 0.001

# Pairs up to which the loss of the final state is evaluated where the engine never visits all of them in one step:
# about a second of work.
MAX_EVALUATED = 2 * 10**8

# Numbers of the features that pass through a mapper at a time.
BLOCK = 2**24


def solve(plan, progress, n_iter, *, tol, patience, callback, **options) -> Solution:
    """Solve or minimise the plan's objective; its parameters end at the state that is kept.

    Parameters
    ----------
    plan : Plan
    progress : Progress
        Called with the record of every iteration.
    n_iter : int
        Most iterations.
    tol, patience
        As in :class:`iconlearn.optim._plateau.Plateau`, or where losses are estimates, in its neighbour.
    callback
        As in :func:`iconlearn.optim._loop.minimise`.
    **options
        What the loop takes besides: optimizer, phases, grad_tol, after_step.
    """
    callback = answering(
        callback,
        transform=partial(_transformed, plan),
        log_kernels=partial(_log_kernels, plan),
        entropies=partial(_entropies, plan),
    )
    if plan.engine.solves:
        return plan.engine.solve(
            plan.objective,
            max_iter=n_iter,
            tol=tol,
            rng=plan.rng,
            callback=callback,
            report=progress if progress.shown else None,
        )
    n_parts = len(plan.objective.problems) + _costly(plan.problem)
    parts, parameters = _Parts(n_parts), plan.objective.parameters
    if not parameters:
        return Solution(present_loss(plan), parts=parts.history())
    if any(problem.q.cools for problem in plan.objective.problems):
        options["phases"] = _cooling(options["phases"])
    rates = plan.objective.rates
    if rates is not None and options["optimizer"] in ("lbfgs", "momentum"):
        raise ValueError(
            f"optimizer={options['optimizer']!r} has one length of step for all, and parts of the mapper have rates of "
            f"their own; use optimizer='adam'"
        )
    after_step = _and_follow(plan.objective, options.pop("after_step", None))
    if options["optimizer"] == "lbfgs":
        options["precondition"] = preconditioner(plan.objective, plan.group)
        options["steady"] = not plan.engine.stochastic and after_step is None
    threads = threads_for(_work(plan), plan.device, own_loops=_own_loops(plan))
    streams = _streams(plan)
    with _own_randomness(plan), threads, _preparation(plan) as prepared:
        saved = _SavedLoop(plan, parts)
        solution = minimise(
            _epochs(plan, streams, prepared, saved),
            parameters,
            rates=rates,
            rule=_rule(plan)(tol, patience),
            callback=callback,
            report=progress if progress.shown else None,
            terms=parts.add,
            hold=_hold(plan),
            record=_records(plan),
            relocate=_relocation(plan, streams),
            mean=_mean_of_all(plan),
            after_step=after_step,
            keep=saved,
            tensors=lambda: plan.objective.state,
            outputs=lambda: _present_outputs(plan),
            **options,
        )
    return replace(solution, parts=parts.history())


def _preparation(plan):
    """What lets the visits of an epoch be prepared; on a device a thread does it while the host waits for a step."""
    drawn = plan.engine.stochastic and plan.group.size == 1
    return one_ahead(plan.device) if drawn and plan.device.type == "cuda" else nullcontext(iter)


def _costly(problem):
    """Whether the mapper of the main term's rows has a cost of its own."""
    return declares(problem.rows.mapper, "costs")


def _cooling(phases):
    """The last phase in parts, from the first temperature of q to its last one."""
    *before, last = phases
    parts = np.array_split(np.arange(last.n_iter), min(N_COOLING, last.n_iter))
    cooled = 1 - np.linspace(0, 1, len(parts))[::-1]  # a single part is at the last temperature
    return [
        *before,
        *(replace(last, n_iter=len(p), cooling=float(c)) for p, c in zip(parts, cooled, strict=True)),
    ]


def _hold(plan):
    """What lets the loop read the losses of several steps at once; None where the host does the steps itself."""
    # Potentials are sought until they are found, which the host has to see.
    seen = any(problem.q.normalize == "doubly" for problem in plan.objective.problems)
    alone = not any(problem.p.sharded for problem in plan.objective.problems)
    on_its_own = alone and plan.device.type != "cpu" and plan.engine.repeats and not seen
    return plan.engine.hold if on_its_own else None


def _mean_of_all(plan):
    """The mean over the rows of all processes, where each has a part of a table; else None."""
    p, group = plan.problem.p, plan.group
    return (lambda values: group.total(values.sum(0)) / p.n_all) if p.sharded else None


def _records(plan):
    """Whether steps keep nothing on the host: those of modules may, and q by clusters puts its masses elsewhere."""
    return all(
        declares(points.mapper, "table") and not problem.q.shared_clusters
        for problem in plan.objective.problems
        for points in (problem.rows, problem.columns)
    )


def _rule(plan):
    """Estimated losses are not judged as exact ones are."""
    estimated = any(plan.engine.estimates(problem) for problem in plan.objective.problems)
    return EstimatedPlateau if estimated else Plateau


class _SavedLoop:
    """Saves the loop, the plan and torch's draws whenever that is due, and puts back what was saved before.

    Attributes
    ----------
    state : dict or None
        Where the loop was.
    """

    def __init__(self, plan, parts):
        self.plan, self.parts = plan, parts
        kept = plan.keeper.recall("optimisation")
        self.state = None if kept is None else kept["loop"]
        self._visits, self._means = (), [] if kept is None else kept.get("means of sums", [])
        if kept is not None:
            plan.restore(kept["plan"])
            parts.rows = list(kept["parts"])
            self._draw_on(kept)

    def __call__(self, iteration, state):
        if self.plan.keeper.due(iteration):
            self.plan.keeper.keep("optimisation", lambda: self._everything(state()))

    def follow(self, visits):
        """Take note of the visits of a step, one for each term, and give those of the first what was saved of them."""
        self._visits = visits
        for visit, means in zip(visits, self._means):
            if visit.sample is not None:
                visit.sample.means = means
        self._means = []

    def _everything(self, loop):
        draws, on_device = None, None
        if _draws(self.plan):
            draws = torch.get_rng_state()
            if self.plan.device.type == "cuda":
                on_device = torch.cuda.get_rng_state(self.plan.device)
        return {
            "loop": loop,
            "plan": self.plan.state(),
            "parts": self.parts.rows,
            "draws": draws,
            "draws on device": on_device,
            "means of sums": [visit.sample and visit.sample.means for visit in self._visits],
        }

    def _draw_on(self, kept):
        """Let torch's draws follow those that were made before."""
        if kept["draws"] is None:
            return
        if self.plan.group.size > 1:
            # The draws are those of the first process, and each goes on with its own.
            torch.manual_seed(int(kept["loop"]["n_iter"]) * self.plan.group.size + self.plan.group.rank)
            return
        torch.set_rng_state(kept["draws"])
        on_device, cuda = kept.get("draws on device"), self.plan.device.type == "cuda"
        if cuda and on_device is not None:
            torch.cuda.set_rng_state(on_device, self.plan.device)
        elif cuda or on_device is not None:
            before, now = ("another device", "CUDA") if cuda else ("CUDA", "the CPU")
            warn(
                f"the checkpoint is of a fit on {before} and this one runs on {now}, which draws other random numbers: "
                f"views and dropout go on with other draws than those of a fit in one piece; go on where it began, or "
                f"remove the checkpoint"
            )


def _and_follow(objective, after_step):
    """Let every teacher of the objective take its step after the others'."""
    teachers = {
        id(m): m for problem in objective.problems if declares(m := problem.columns.mapper, "teacher")
    }
    if not teachers:
        return after_step

    def both():
        if after_step is not None:
            after_step()
        for teacher in teachers.values():
            teacher.step()

    return both


def _work(plan):
    """Products of one step: its pairs, and its rows times the weights of a network."""
    most = plan.engine.batch_size or math.inf
    pairs = sum(min(p.n_rows, most) * min(p.n_cols, most) for p in (t.p for t in plan.objective.problems))
    weights = sum(w.numel() for w in plan.mapper.parameters()) if plan.parametric else 0
    return pairs + min(plan.X.shape[0], most) * weights


def _own_loops(plan):
    """Whether steps are loops with threads of their own; sums over all candidates are torch's."""
    return plan.engine.own_loops and all(
        problem.summand.linear_in_log_q and problem.q.debias == 0 and problem.q.normalize != "doubly"
        for problem in plan.objective.problems
    )


def present_loss(plan):
    """The loss of a plan as its parameters are now."""
    visits = [next(iter(next(stream))) for stream in _streams(plan)]
    with torch.no_grad():
        here = sum(
            problem.weight * problem.share * float(loss(problem, plan.engine, visit))
            for problem, visit in zip(plan.objective.problems, visits, strict=True)
        )
        return plan.group.total(here)


def evaluated(plan, solution, shown=None) -> Solution:
    """The solution with the loss of the state that is kept, from all pairs in double precision.

    What the loop has seen differs from it: batches have a p and a q of their own, the sums of other engines are
    estimates, dropout and batch normalisation act otherwise in training, single precision loses the digits of a
    small divergence, and a state may have been replaced after the loop.

    Parameters
    ----------
    plan : Plan
    solution : Solution
    shown : callable or None
        From the mapper's outputs, in double precision, to those that the estimator shows; None shows them as
        they are.

    Returns
    -------
    Solution
        With ``estimated=True`` and its loss as it was where views are drawn anew at every step, so that there is
        no such loss, where p has columns in other processes, or where an engine that estimates sums has more than
        2e8 pairs.
    """
    problems = plan.objective.problems
    if solution.constant is not None:
        return solution  # found in double precision, but for what is left to the first use
    exact = plan.engine.exact and not plan.engine.stochastic
    if any(problem.fresh or problem.p.sharded for problem in problems):
        return replace(solution, estimated=True)
    if not exact and sum(map(_pairs_to_evaluate, problems)) > MAX_EVALUATED:
        # An engine that solves has seen all pairs, but for those that a uniform share adds.
        estimated = not plan.engine.solves or any(problem.p.uniform > 0 for problem in problems)
        return replace(solution, estimated=estimated)
    kept: dict[int, Points] = {}
    costs: list[float] = []

    def fixed(points):
        if id(points) not in kept:
            of_main = points is plan.problem.rows and _costly(plan.problem)
            Z = _outputs(points, costs if of_main else None)
            kept[id(points)] = Points(TableModule(Z if shown is None else shown(Z)), points.size)
        return kept[id(points)]

    value, engine = 0.0, Dense()
    with torch.no_grad():
        for problem in problems:
            fixed_problem = replace(
                problem, q=_in_double(problem.q), rows=fixed(problem.rows), columns=fixed(problem.columns)
            )
            visit = visit_all(fixed_problem, dtype=torch.float64, device=plan.device)
            value += problem.weight * problem.share * float(loss(fixed_problem, engine, visit))
            # A q of several terms answers for the main one.
            shared = problem is not problems[0] and problem.q is problems[0].q
            if problem.q.normalize == "doubly" and not shared:
                problem.q.potentials_ = fixed_problem.q.potentials_
        value = plan.group.total(value)
        if plan.objective.penalty is not None:
            value += float(plan.objective.penalty())
    # A cost of mean activations is not the mean of what blocks of rows cost.
    return replace(solution, loss=value + sum(costs), estimated=len(costs) > 1)


def _pairs_to_evaluate(problem):
    """Pairs that the loss of all rows sums over."""
    return problem.p.sparse().nnz if problem.of_edges else problem.n_pairs


def _outputs(points, costs=None):
    """Outputs of the mapper for all points as it answers after training, in double precision.

    Where there is a list of `costs`, each block's share of the mean cost is added to it.
    """
    points.mapper.eval()
    if points.reading is not None:
        Z = _outputs(replace(points, reading=None))
        return points.reading(lambda rows: Z, None)
    if points.inputs is None:
        return points.at(None).double()
    step, parts = max(1, BLOCK // max(points.inputs.shape[1], 1)), []
    for part in torch.arange(points.size).split(step):
        parts.append(points.at(part).double())
        if costs is not None:
            costs.append(float(points.mapper.cost().detach()) * len(part) / points.size)
    return torch.cat(parts)


def _in_double(q):
    """A fitted q with all that it has learned in double precision."""
    double = copy.copy(q)
    for name, value in vars(q).items():
        if isinstance(value, torch.Tensor):
            setattr(double, name, value.detach().double())
    return double


# -- what a callback may ask of the moment -------------------------------------------------------------------


@contextmanager
def _as_it_is(module):
    """The module as it answers after training; nothing is changed, torch's draws included."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            yield
    finally:
        for part in training:
            part.training = True


def _present_outputs(plan):
    """What the mapper gives for the training rows as it is now, in the form that users see."""
    rows = torch.arange(plan.rows.size, device=plan.device).split(OUTPUT_ROWS)
    with _as_it_is(plan.mapper):
        encodes = declares(plan.mapper, "encodes")
        parts = (plan.rows.shown(part) for part in rows)
        parts = [(Z if encodes else plan.q.represent(Z)).cpu().numpy() for Z in parts]
    return np.concatenate(parts).astype(plan.X.dtype)


def _transformed(plan, X):
    """The same for rows that the fit need not know."""
    encodes = declares(plan.mapper, "encodes")
    Z = _mapped_now(plan, "rows", X, read=encodes)
    return (Z if encodes else plan.q.represent(Z)).cpu().numpy().astype(plan.X.dtype)


def _mapped_now(plan, end, X, read=False):
    """Outputs of the mapper of the rows or the columns for other rows as it is now, or the codes that it reads."""
    points = plan.rows if end == "rows" else plan.problem.columns
    if points.inputs is None and end == "rows":
        raise ValueError(
            "a table has places for the rows of the fit alone, which outputs() gives; use mapper='linear', 'mlp' or a "
            "module"
        )
    if points.inputs is None:
        raise ValueError(
            "the columns of this fit have places of their own (classes, words), and no row is one of them"
        )
    X, width = np.asarray(X.toarray() if sparse.issparse(X) else X), points.inputs.shape[1]
    groups = declared(plan.p, "features")
    if groups is not None and X.ndim == 2 and X.shape[1] == plan.X.shape[1]:
        X = X[:, groups(X.shape[1])[0 if end == "rows" else 1]]
    if X.ndim != 2 or X.shape[1] != width:
        raise ValueError(
            f"rows of shape {X.shape} were given, and the mapper reads (n, {width}): give those features"
        )
    with _as_it_is(points.mapper):
        inputs = torch.as_tensor(X, dtype=plan.dtype, device=plan.device)
        mapped = points.mapper.read if read else points.mapper
        return torch.cat([mapped(part) for part in inputs.split(OUTPUT_ROWS)])


@torch.no_grad()
def _log_kernels(plan, X, Y):
    """Log kernels of the main q between rows and columns that the fit need not know."""
    if plan.q.shared_clusters:
        raise ValueError(
            f"q={plan.q!r} is found from the assignments of all rows, not from pairs; use transform(X)"
        )
    U, V = (
        plan.q.place(_mapped_now(plan, "rows", X)),
        plan.q.place(_mapped_now(plan, "columns", Y), columns=True),
    )
    return plan.q.log_kernel(matrix(plan.q.scalar, U, V)).cpu().numpy().astype(float)


def _entropies(plan) -> Entropies:
    """The entropies of p that a bound on information takes besides the loss."""
    problem, *others = plan.objective.problems
    if others or problem.weight != 1 or plan.objective.penalty is not None:
        raise ValueError(
            "the loss has further terms or a penalty, and its entropies are those of one KL alone"
        )
    if problem.q.reduce != "logsumexp" or not problem.divergence.linear_in_log_q:
        raise ValueError(
            f"the loss is no cross-entropy with {problem.divergence!r} and q={problem.q!r}; use KL"
        )
    if not plan.engine.stochastic:
        p = problem.p
        return Entropies(
            p.n_candidates, p.mean_entropy(), _entropy_of_columns(p.column_mass(), p.n_candidates)
        )
    # Draws of its own, so that the fit goes on as if nobody had asked.
    stream = plan.engine.visits(problem, rng=copy.deepcopy(plan.rng), dtype=torch.float64, device="cpu")
    visits = list(next(stream))
    shares = np.array([visit.scale for visit in visits]) / len(visits)
    of_rows, of_columns = np.transpose([_entropies_of(visit) for visit in visits])
    return Entropies(
        max(visit.n_candidates for visit in visits), float(shares @ of_rows), float(shares @ of_columns)
    )


def _entropies_of(visit):
    """H(p) and H(j) of what a visit sees."""
    mass = visit.mass.numpy()
    if visit.edges is None:
        p = visit.block(slice(None)).numpy()
        of_rows, of_columns = mass @ entr(p).sum(axis=1), mass @ p
    else:
        j, p, weight = visit.edges.j.numpy(), visit.p.numpy(), visit.weight.numpy()
        floor, n_cols = visit.floor, visit.n_candidates + visit.exclude_self
        of_rows = weight @ (entr(p) - entr(floor)) + entr(floor) * visit.n_candidates * mass.sum()
        of_columns = np.bincount(j, weight * (p - floor), n_cols)
        of_columns += floor * (mass.sum() - (mass if visit.exclude_self else 0.0))
    return of_rows, _entropy_of_columns(of_columns, visit.n_candidates)


def _entropy_of_columns(mass, n_candidates):
    """H(j), of which the candidates of a row can tell no more than the logarithm of their number."""
    return min(float(entr(mass).sum()), math.log(n_candidates))


def _own_randomness(plan):
    """What views and modules draw in training (dropout) follows the fit's seed and leaves torch's own state alone."""
    # Each process draws for its own rows.
    seed = int(torch.randint(2**31 - 1, (), generator=plan.setting.generator)) + plan.group.rank
    return torch_seeded(seed, plan.device) if _draws(plan) else nullcontext()


def _draws(plan):
    """Whether anything in the loop draws from torch's global generator."""
    return any(
        problem.fresh or draws(problem.rows.mapper) or draws(problem.columns.mapper)
        for problem in plan.objective.problems
    )


class _Parts:
    """The weighted loss of every term at every iteration."""

    def __init__(self, n_terms):
        self.n_terms, self.rows = n_terms, []

    def add(self, terms):
        self.rows.append(np.array(terms))

    def history(self):
        return np.array(self.rows, dtype=float).reshape(-1, self.n_terms)


def _streams(plan):
    return [
        plan.engine.visits(problem, rng=plan.rng, dtype=plan.dtype, device=plan.device)
        for problem in plan.objective.problems
    ]


def _relocation(plan, streams):
    """What moves rows that lie among the wrong neighbours; None where that cannot be found out."""
    if not relocatable(plan.objective):
        return None
    return lambda: relocate(plan.problem, plan.engine, next(iter(next(streams[0]))))


def _epochs(plan, streams, prepared, saved):
    """The closures of each epoch: the first term's visits set the pace, the others follow.

    ``prepared(visits)`` gives these visits in their order, and ``saved.follow(visits)`` is called with those of a step.
    """
    objective, engine, parameters = plan.objective, plan.engine, plan.objective.parameters
    group, apart = plan.group, plan.problem.p.sharded
    first, *others = streams
    others = [itertools.chain.from_iterable(stream) for stream in others]
    with_more = len(objective.problems) > 1 or objective.penalty is not None or _costly(plan.problem)

    def closure(visits, pull):
        for parameter in parameters:
            parameter.grad = None
        values, costs = [], []
        for problem, visit in zip(objective.problems, visits, strict=True):
            factor = problem.weight * problem.share * visit.scale
            value = loss(problem, engine, visit, pull, whole=not with_more and factor == 1)
            if pull != 1 and problem.rows.reading is not None:
                # In the small map of that time it would outweigh all others: its slope is that of a logarithm.
                value = value.detach()
            values.append(_times(factor, value))
            if problem is plan.problem and _costly(problem):
                costs = [_times(visit.scale, problem.rows.mapper.cost())]
        values += costs
        total = functools.reduce(torch.add, values)
        if objective.penalty is not None:
            total = total + _times(1.0 / group.size, objective.penalty())
        total.backward()
        if total is values[0] and group.size == 1:
            return total.detach().expand(2)
        found = torch.stack([value.detach().to(total.dtype) for value in (total, *values)])
        group.add_up([found, *_gradients(parameters, group, apart)])
        return found

    def epoch(phase):
        for problem in objective.problems:
            problem.q.cool(phase.cooling)
        for _ in range(MAX_EMPTY):
            visits = None
            for visits in prepared([visit, *map(next, others)] for visit in next(first)):
                saved.follow(visits)
                yield lambda visits=visits: closure(visits, phase.exaggeration)
            if visits is not None:
                return
        raise ValueError(
            "no batch holds a pair that p supports, so there is nothing to learn from; raise batch_size or "
            "n_positives of the mini-batch engine"
        )

    return epoch


def _gradients(parameters, group, apart):
    """Of every parameter, also of one that no row of this process has moved.

    None are asked for by one process alone, nor where they lie `apart`: each has its own rows of a table.
    """
    if group.size == 1 or apart:
        return []
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    return [parameter.grad for parameter in parameters]


def _times(factor, value):
    return value if factor == 1 else factor * value


def adam_rate(plan, given="auto"):
    """The length of Adam's steps for the mapper of a plan.

    Parameters
    ----------
    plan : Plan
    given : float or "auto", default="auto"
        Returned as it is, unless it is "auto".

    Returns
    -------
    float
    """
    if given != "auto":
        return given
    if not plan.parametric:
        # A place that one of s batches visits is moved by s steps: Adam's means recall its gradient, and their
        # squares recall s times less of it, so that all of them together are as long as s^(1/2) steps.
        batches = plan.problem.p.n_rows / (plan.engine.batch_size or math.inf)
        return TABLE / math.sqrt(max(1.0, batches))
    if declares(plan.mapper, "linear"):
        return LINEAR
    return HEAD if plan.q.shared_clusters else NETWORK
