"""What a fit is, before anything is optimised: the objective, the engine, and the points at both ends of p.

A fit of several stages may be saved after each of them and continued in another process.  Stages are "begin" (the
random state), "supervision" (all fitted p), "start" (places, weights) and "optimisation" (the loop, as often as it is
due); what saves and returns them has the methods of :class:`NoCheckpoint`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from scipy import sparse

from ._randomness import torch_seeded
from .distributed import ALONE, Alone, Group, alone
from .mappers import Target, declares
from .objective import Objective, Points, Problem
from .supervisory import declared, fitted_on

__all__ = [
    "CommonCheckpoint",
    "Ends",
    "NoCheckpoint",
    "Plan",
    "Setting",
    "Terms",
    "check_module",
    "check_targets",
    "check_views",
    "features_of",
    "same_shapes",
]


class NoCheckpoint:
    """Saves nothing."""

    def recall(self, stage):
        """What an earlier fit of the same data left of a stage, or None."""
        return None

    def keep(self, stage, make):
        """Save what ``make()`` gives."""

    def due(self, iteration):
        """Whether the loop should be saved after this iteration."""
        return False

    def done(self, solution):
        """The fit is over; unless it was interrupted, it will not be continued."""


class CommonCheckpoint:
    """What several processes save of a fit and recall together: the first one has the files.

    Each finds p anew, of which it may have its own rows' part.
    """

    def __init__(self, keeper, group):
        self.keeper, self.group = keeper, group

    def recall(self, stage):
        if stage == "supervision":
            return None
        value = None
        with self.group.together():
            if self.group.rank == 0:
                value = self.keeper.recall(stage)
        return self.group.from_first(value)

    def keep(self, stage, make):
        if stage != "supervision" and self.group.rank == 0:
            self.keeper.keep(stage, make)

    def due(self, iteration):
        return self.group.rank == 0 and self.keeper.due(iteration)

    def done(self, solution):
        if self.group.rank == 0:
            self.keeper.done(solution)


@dataclass(frozen=True, eq=False)
class Setting:
    """What all computations of a fit share.

    Parameters
    ----------
    dtype : torch.dtype
    device : torch.device
    generator : torch.Generator
        Of torch's draws, such as first weights.
    rng : RandomState
        Of all others.
    group : Group or Alone
        The processes that the fit goes over.
    """

    dtype: torch.dtype
    device: torch.device
    generator: torch.Generator
    rng: np.random.RandomState
    group: Alone | Group = ALONE


@dataclass(eq=False)
class Plan:
    """Everything that is known before the optimisation starts.

    Parameters
    ----------
    X : ndarray or sparse matrix
        The rows of the fit.
    p, q : objects
        Of the main term.
    mapper : torch.nn.Module
    parametric : bool
        Whether the mapper reads features.
    objective : Objective
    engine : Engine
    setting : Setting
    rows : Points or None
        The rows as they are, where p is of views of them or of a part of their features.
    features : slice or None
        Those that the mapper reads; None for all.
    keeper : object
        What saves the stages of the fit while it runs.
    """

    X: object
    p: object
    q: object
    mapper: torch.nn.Module
    parametric: bool
    objective: Objective
    engine: object
    setting: Setting
    rows: Points | None = None
    features: slice | None = None
    keeper: object = field(default_factory=NoCheckpoint)

    @property
    def problem(self) -> Problem:
        """The main term."""
        return self.objective.problems[0]

    @property
    def dtype(self) -> torch.dtype:
        return self.setting.dtype

    @property
    def device(self) -> torch.device:
        return self.setting.device

    @property
    def rng(self) -> np.random.RandomState:
        return self.setting.rng

    @property
    def group(self) -> Alone | Group:
        return self.setting.group

    def state(self) -> dict:
        """All that steps change: weights, buffers, what q has learned, and where the draws are."""
        return {
            "weights": [module.state_dict() for module in self._modules()],
            "learned": [parameter.detach() for parameter in self.objective.parameters],
            "chosen": [getattr(problem.q, "chosen", {}) for problem in self.objective.problems],
            "rng": self.setting.rng,
            "generator": self.setting.generator.get_state(),
        }

    @torch.no_grad()
    def restore(self, state):
        """Put a state back."""
        for module, weights in zip(self._modules(), state["weights"], strict=True):
            module.load_state_dict(weights)
        for parameter, value in zip(self.objective.parameters, state["learned"], strict=True):
            parameter.copy_(value)
        for problem, chosen in zip(self.objective.problems, state["chosen"], strict=True):
            vars(problem.q).update(chosen)
        self.setting.rng.set_state(state["rng"].get_state(legacy=False))
        self.setting.generator.set_state(state["generator"])

    def _modules(self):
        """The mappers of all terms, teachers among them, each once."""
        ends = [points for problem in self.objective.problems for points in (problem.rows, problem.columns)]
        return list({id(points.mapper): points.mapper for points in ends}.values())


class Terms:
    """Makes a Problem of a p and a q over the rows of this fit.

    Parameters
    ----------
    X, y
        What p is fitted to.
    ends : Ends
    setting : Setting
    n_jobs : int or None
    prototypes : callable
        ``prototypes(q, n_classes)`` makes the module of columns that are classes.
    fitted : sequence
        Those p that an earlier fit has fitted, in the order of the terms.
    gathers : bool
        Whether a p that looks across rows is found from those of all processes, which are few.

    Attributes
    ----------
    every : list
        All p of this fit, in the order of the terms.
    """

    def __init__(self, X, y, ends, setting, n_jobs, prototypes, fitted=(), gathers=False):
        self.gathers = gathers
        self.X, self.y, self.ends, self.setting, self.n_jobs = X, y, ends, setting, n_jobs
        self.prototypes, self.fitted, self.every = prototypes, fitted, []

    def __call__(self, p, q, divergence, weight, mass):
        group, across = self.setting.group, across_of(p, self.ends.rows.mapper)
        if group.size > 1:
            _check_across(p, self.ends.rows.mapper, self.gathers)
        self._fit(p)
        if group.size > 1 and across == "neighbors" and not p.conditional_.sharded:
            raise ValueError(
                f"p={p!r:.200} has all rows for neighbours, and each process has rows of its own; give it a number of "
                f"neighbours, or fit in one process"
            )
        if mass is not None:
            mass = np.tile(mass if across == "own" else group.gathered(mass), declared(p, "copies"))
        conditional = p.conditional_ if mass is None else p.conditional_.with_mass(mass)
        shard, share = self._part(conditional, mass) if across == "own" else (None, 1.0 / group.size)
        if conditional.sharded:
            share = 1.0  # of its own rows, whose masses are shares of all
        if share == 0 if shard is not None else not conditional.row_mass.any():
            raise ValueError(f"p={p!r} gives no row any support, so there is nothing to learn from")
        rows, columns = self.ends.of(p), None
        kind = declared(p, "columns")
        if kind == "rows":
            columns = rows
            if q.self_pairs:
                conditional = conditional.with_self_pairs()
        elif kind == "targets":
            columns = self.ends.targets(p, q, further=len(self.every) > 1)
        elif kind in ("features", "views"):
            columns = self.ends.across(p)
        else:
            columns = Points(
                self.prototypes(q, conditional.n_cols), conditional.n_cols, whole=kind in ("classes", "tasks")
            )
        return Problem(conditional, q, divergence, rows, columns, weight, shard, share, group)

    def _part(self, conditional, mass):
        """Which of all rows are here, and how much of all mass is theirs; None and 1 where all rows are here."""
        group = self.setting.group
        if group.size == 1:
            return None, 1.0
        own = float((np.ones(conditional.n_rows) if mass is None else mass)[conditional.supported()].sum())
        return self.ends.shard, own / group.total(own)

    def _fit(self, p):
        seed = int(self.setting.rng.randint(2**31 - 1))
        if len(self.every) < len(self.fitted):
            vars(p).update(vars(self.fitted[len(self.every)]))
        else:
            self._fit_to_rows(p, {"random_state": seed, "n_jobs": self.n_jobs, "device": self.setting.device})
        self.every.append(p)

    def _fit_to_rows(self, p, options):
        group = self.setting.group
        if group.size == 1 or across_of(p, self.ends.rows.mapper) is not None:
            fitted_on(p, self.X, self.y, **options)
            return
        X, y = group.gathered(self.X), None if self.y is None else group.gathered(self.y)
        with alone():
            fitted_on(p, X, y, **options)


class Ends:
    """The points at both ends of the pairs: all rows, views of them, or groups of their features.

    Parameters
    ----------
    rows : Points
        All rows as they are, behind the main mapper.
    features : slice or None
        The group of features that the main mapper reads; None for all.
    n_features : int
    build : callable
        ``build(slice or None)`` makes the mapper of another group of features or, for None, of the columns'
        views.
    inputs : Tensor, sparse matrix or None
        All features.
    targets : callable
        ``targets(p)`` gives the targets of all rows as inputs of a mapper.
    shard : Shard
        Which of the rows of all processes these are.
    """

    def __init__(self, rows, features, n_features, build, inputs, targets, shard):
        self.shard = shard
        self.rows, self.n_features, self.build, self.inputs = rows, n_features, build, inputs
        self._inputs_of = targets
        self.main = _key(features)
        self.mappers = {self.main: rows.mapper}
        self.teacher = None

    def of(self, p):
        """The rows of p."""
        return self._of_all(p, self._of(p))

    def _of_all(self, p, points):
        """The points of all processes, where p has all of them and there are several."""
        if self.shard.group.size == 1 or across_of(p, self.rows.mapper) in ("own", "neighbors"):
            return points
        return replace(points, size=self.shard.n_all * declared(p, "copies"), shard=self.shard)

    def _of(self, p):
        features = features_of(p, self.n_features)
        if features is not None and _key(features) != self.main:
            return self._group(features)
        reading = declared(p, "reading")
        if reading is not None:
            return replace(self.rows, width=None, reading=reading(self.rows.device))
        if not declared(p, "fresh"):
            return self.rows
        seen = self._seen(p, self.rows.mapper, p.view)
        return replace(seen, moments=declared(p, "moments")) if declares(seen.mapper, "recurrent") else seen

    def across(self, p):
        """The columns of p, where they are features or views of their own."""
        if p.columns == "features":
            return self._of_all(p, self._group(p.features(self.n_features)[1]))
        if self.teacher is None:
            self.teacher = self.build(None)
        return self._of_all(p, self._seen(p, self.teacher, declared(p, "columns_view") or p.view))

    def targets(self, p, q, further=False):
        """The targets of p, as columns.

        The rows of a table find their own places, which a `further` term may pull towards targets and the main one, by
        which new rows are placed, may not; but for targets of a reading of those places.
        """
        reading = declared(p, "reading")
        if self.inputs is None and reading is None and not further:
            raise ValueError(
                f"mapper='table' reads no features, and p={p!r:.200} needs them to be restored from; use "
                f"mapper='autoencoder' or another one of features"
            )
        like = next(iter(self.rows.mapper.parameters()))
        points = Points(Target().to(like), self.rows.size, self._inputs_of(p))
        if reading is None:
            check_targets(self.rows, points, p, q)
        return points

    def _seen(self, p, mapper, view):
        size = self.rows.size * declared(p, "copies")
        if self.inputs is None:
            raise ValueError(
                f"mapper='table' gives every row one place, and p={p!r} needs a place for every view of a row; "
                f"use mapper='linear', 'mlp' or a module"
            )
        points = Points(mapper, size, self.rows.inputs, self.rows.width, view)
        check_views(points, p)
        return points

    def _group(self, features):
        if self.inputs is None:
            raise ValueError("groups of features need a mapper that reads them: 'linear', 'mlp' or a module")
        if _key(features) not in self.mappers:
            self.mappers[_key(features)] = self.build(features)
        return Points(self.mappers[_key(features)], self.rows.size, self.inputs[:, features])


def across_of(p, mapper):
    """How p is found over several processes; neighbours in other ones serve a table alone."""
    across = declared(p, "across")
    return None if across == "neighbors" and not declares(mapper, "table") else across


def _check_across(p, mapper, gathers):
    """Refuse a p or a mapper that a fit over several processes cannot have."""
    across, table = across_of(p, mapper), declares(mapper, "table")
    if table and across != "neighbors":
        raise ValueError(
            f"mapper='table' gives every row a place of its own, which over several processes follows from neighbours "
            f"among the rows of all: use p='knn', 'gaussian' or 'student', or Symmetrize of these, or fit in one "
            f"process, where p={p!r:.200} is known"
        )
    alike = declared(p, "columns") == "rows" and not (declared(p, "fresh") or declared(p, "reading"))
    if across is None and not (gathers and alike):
        raise ValueError(
            f"p={p!r:.200} looks across rows, and under shards() each process has rows of its own: use a p of classes, "
            f"labels, views or modalities ('classes', 'labels', Views(), Paired(split)), partial_fit with batches "
            f"where the estimator has it, or fit in one process"
        )
    for part in mapper.modules():
        if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
            raise ValueError(
                f"the mapper has {type(part).__name__}, whose means would be those of each process's own rows under "
                f"shards(); use torch.nn.LayerNorm or GroupNorm, or fit in one process"
            )
    for what in ("costs", "samples", "recurrent"):
        if declares(mapper, what):
            raise ValueError(
                f"a mapper that declares {what!r} has not been made to work over several processes; fit in one"
            )


def _key(features):
    return None if features is None else (features.start, features.stop)


def features_of(p, n_features):
    """The group of features that the rows of p are read off, None for all."""
    groups = declared(p, "features")
    groups = None if groups is None else groups(n_features)
    return None if groups is None else groups[0]


def check_module(module, spec, X, n_outputs):
    """Try a user's module on two rows, so that a wrong shape is noticed before the work starts."""
    if not (spec.parametric and spec.own_precision):
        return
    like = next(iter(module.parameters()), torch.zeros(0))
    rows = X[:2].toarray() if sparse.issparse(X) else np.array(X[:2])
    was_training = module.training
    try:
        with torch.no_grad():
            out = module.eval()(torch.from_numpy(rows).to(device=like.device, dtype=like.dtype))
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise ValueError(
            f"the mapper cannot read rows of {rows.shape[1]} features: {error}. Rows come as a tensor of shape "
            f"(n_rows, {rows.shape[1]}); a module for images begins with torch.nn.Unflatten(1, (channels, height, "
            f"width)), and the first linear layer takes as many features as there are"
        ) from error
    finally:
        module.train(was_training)
    if not isinstance(out, torch.Tensor) or out.ndim != 2 or out.shape[0] != len(rows):
        got = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
        raise ValueError(
            f"the mapper returned {got} for an input of shape {rows.shape}; it must return (n_rows, n_outputs)"
        )
    if n_outputs is not None and out.shape[1] != n_outputs:
        raise ValueError(
            f"the mapper returned {out.shape[1]} outputs a row, and {n_outputs} are needed; change the module "
            f"or the number of components"
        )
    if not torch.isfinite(out).all():
        raise ValueError(
            "the mapper returned NaN or infinity for the first two rows; check its weights and X"
        )


def check_views(points, p):
    """Try the mapper on views of two rows, so that views that it cannot read are noticed before the work starts."""
    seen, mapper = [], points.mapper
    rows = torch.arange(min(2, points.size), device=points.device)

    def view(features, rows):
        seen.append(points.view(features, rows))
        return seen[-1]

    was_training = mapper.training
    mapper.eval()
    try:
        with torch.no_grad(), torch_seeded(0, points.device):
            out = replace(points, view=view).at(rows)
    except RuntimeError as error:
        if not seen:
            raise
        raise ValueError(
            f"the mapper cannot read the views of p={p!r}, of shape {tuple(seen[-1].shape)} and type "
            f"{seen[-1].dtype} for rows of shape {tuple(points.inputs[:2].shape)}: {error}"
        ) from error
    finally:
        mapper.train(was_training)
    width = out.shape[-1] if points.width is None else points.width
    if out.shape != (len(rows), width):
        raise ValueError(
            f"the mapper returned {tuple(out.shape)} for views of {len(rows)} rows by p={p!r}; it must return "
            f"{(len(rows), width)}"
        )
    if not torch.isfinite(seen[-1]).all():
        raise ValueError(f"a view by p={p!r} holds NaN or infinity; check what its augment does")


def check_targets(rows, columns, p, q):
    """Refuse targets of another width than what q compares them with, or out of its reach, before the work starts."""
    mapper, two = rows.mapper, torch.arange(min(2, rows.size))
    was_training = mapper.training
    mapper.eval()
    try:
        with torch.no_grad():
            given, wanted = q.place(rows.at(two)).shape[1], q.place(columns.at(two), columns=True).shape[1]
    finally:
        mapper.train(was_training)
    if given != wanted:
        raise ValueError(
            f"the targets of p={p!r:.200} have {wanted} numbers a row, and the outputs of the mapper {given}: give as "
            f"many components as targets, or mapper=iconlearn.mappers.Autoencoder(), of which they are the code's width"
        )
    if q.longest_target is not None:
        with torch.no_grad():
            largest, row = (float(value) for value in columns.at().amax(1).max(0))
        if largest >= q.longest_target:
            raise ValueError(
                f"the target of row {row:.0f} of p={p!r:.200} is {largest:.6g}, and {q!r} reaches less than "
                f"{q.longest_target:g}; scale X, so that all rows lie in the unit ball, or leave the term out"
            )


def same_shapes(old, new) -> bool:
    """Whether one module's weights fit into another."""
    shapes = [{k: v.shape for k, v in module.state_dict().items()} for module in (old, new)]
    return shapes[0] == shapes[1]
