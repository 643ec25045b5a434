"""Mappers: how a row gets its place.

    z_i = table[i]            z_i = W x_i + b            z_i = any torch.nn.Module (x_i)

A specification (:class:`Table`, :class:`Linear`, :class:`MLP`) holds parameters and builds a fresh module;
a module that the user passes is copied before it is trained.

What more a module can do, it declares by an attribute that is True, read by :func:`declares` and nowhere else:

    linear          z = W x + b, with W = ``weight`` and b = ``bias`` (which may be absent, or None)
    orthonormal     linear, and the rows of W are the orthonormal ones that span those of ``free``
    bounded         it keeps its outputs within bounds by itself
    table           its outputs are ``places``, and it is called with row numbers
    basis           a table of the unit vectors
    teacher         it follows another module by ``step()``; a specification, by ``follow(module)``
    encodes         ``read(X)`` is what users are shown of rows, a code or features, and its outputs are made of that
    decodes         ``decode(Z)`` gives features for codes
    costs           ``cost()`` is a scalar of the last forward pass that is added to the loss; it is asked once
    recurrent       ``after(X, which, seen)`` gives the outputs for sequences, ``X[which]``, that are seen up to a step
    predicts        ``target()`` is the part of it that a teacher follows
    samples         its outputs are drawn anew at every pass of training, and ``decode`` of standard normal codes is
                    a sample of what it has learned

Parts of a module learn at rates of their own where it has ``rates``, a dict from names of parts (or parameters) to
factors on Adam's steps; see :func:`rates_of`.
"""

from __future__ import annotations

import copy
import inspect
from itertools import pairwise

import torch
from sklearn.base import BaseEstimator
from torch import nn

from .._checks import check_number
from .._randomness import torch_seeded

# Starts are drawn in this precision whatever torch's default is, so that a seed means one start.
DRAWN = torch.float32


class Mapper(BaseEstimator):
    """Base of the specifications.

    Attributes
    ----------
    parametric : bool
        Whether the module maps features (and so new rows) rather than positions in the training set.
    own_precision : bool
        Whether the module keeps the precision it was made with; otherwise it takes that of the data.
    """

    parametric = True

    own_precision = False

    def build(self, n_inputs: int, n_outputs: int, n_rows: int, generator) -> nn.Module:
        """A fresh module on the CPU, its weights drawn from `generator` and from nothing else."""
        raise TypeError(f"{type(self).__name__} must define build(n_inputs, n_outputs, n_rows, generator)")

    def for_targets(self, n_targets):
        """This specification where the columns are targets of so many numbers.

        Parameters
        ----------
        n_targets : int

        Returns
        -------
        Mapper
            One whose modules are to have so many outputs, however wide their codes, where they have codes.
        """
        return self

    def for_images(self, shape):
        """This specification where rows are flat images, which convolutions of a module of the user's read whole.

        Parameters
        ----------
        shape : tuple of int
            (channels, height, width), or as many sides as the convolutions have.

        Returns
        -------
        Mapper
        """
        return self


class Table(Mapper):
    """A free place for every row; new rows are placed by their neighbours."""

    parametric = False

    def build(self, n_inputs, n_outputs, n_rows, generator):
        return TableModule(torch.randn(n_rows, n_outputs, generator=generator, dtype=DRAWN) * 1e-4)


class Linear(Mapper):
    """z = W x + b, or z = W x with orthonormal rows of W.

    Parameters
    ----------
    orthonormal : bool, default=False
        Whether W W^T = I is kept throughout (as PCA needs); there is no intercept then.
    bias : bool, default=True
        Whether there is an intercept (ignored when orthonormal).
    """

    def __init__(self, *, orthonormal=False, bias=True):
        self.orthonormal = orthonormal
        self.bias = bias

    def build(self, n_inputs, n_outputs, n_rows, generator):
        if not self.orthonormal:
            return layer(n_inputs, n_outputs, generator, bias=bool(self.bias))
        if n_outputs > n_inputs:
            raise ValueError(
                f"an orthonormal linear mapper cannot go from {n_inputs} features to "
                f"n_components={n_outputs} dimensions; ask for at most {n_inputs}"
            )
        return OrthonormalModule(torch.randn(n_outputs, n_inputs, generator=generator, dtype=DRAWN))


class MLP(Mapper):
    """A multi-layer perceptron with ReLU between its layers.

    Parameters
    ----------
    hidden : int or tuple of int, default=(256, 256)
        Widths of the hidden layers.
    """

    def __init__(self, hidden=(256, 256)):
        self.hidden = hidden

    def build(self, n_inputs, n_outputs, n_rows, generator):
        widths = (n_inputs, *hidden_widths("hidden", self.hidden), n_outputs)
        return nn.Sequential(*rectified(widths, generator)[:-1])


class EMA(Mapper):
    """A teacher for the columns: a copy of the row mapper that follows it slowly and gets no gradient.

    Of a mapper with a predictor (:class:`Projected`) it follows all but that.

    Parameters
    ----------
    momentum : float in [0, 1), default=0.99
        Share of the teacher that is kept at every step; the rest is the row mapper's.  At 0 it is the row
        mapper of the step before.

    References
    ----------
    He et al., "Momentum contrast for unsupervised visual representation learning", CVPR 2020.
    """

    teacher = True

    def __init__(self, momentum=0.99):
        self.momentum = momentum

    def build(self, n_inputs, n_outputs, n_rows, generator):
        raise ValueError("an EMA teacher follows the row mapper, so it can serve as column_mapper only")

    def follow(self, module):
        """The teacher of a module."""
        return Follower(module, check_number("momentum", self.momentum, low=0, high=1, closed="left"))


class Follower(nn.Module):
    """A frozen copy of a module; ``step`` moves it towards the module by a share of 1 - momentum."""

    teacher = True

    def __init__(self, module, momentum):
        super().__init__()
        # Held in a list, so that the module followed is no part of this one.
        self.followed, self.momentum = [module], momentum
        self.copy = copy.deepcopy(_followed(module)).requires_grad_(False)

    def forward(self, X):
        return self.copy(X)

    @torch.no_grad()
    def step(self):
        module = _followed(self.followed[0])
        for mine, theirs in zip(self.copy.parameters(), module.parameters(), strict=True):
            mine.lerp_(theirs.detach(), 1.0 - self.momentum)
        for mine, theirs in zip(self.copy.buffers(), module.buffers(), strict=True):
            mine.copy_(theirs)


def _followed(module):
    """What a teacher of a module has a copy of."""
    return module.target() if declares(module, "predicts") else module


class TableModule(nn.Module):
    """A table of places; called with row numbers, or with None for all rows."""

    table = True

    def __init__(self, places):
        super().__init__()
        self.places = nn.Parameter(places.detach().clone())

    def forward(self, rows=None):
        return self.places if rows is None else self.places[rows]


class UnitVectors(TableModule):
    """The unit vectors, fixed: columns against which outputs are logits."""

    basis = True

    def __init__(self, n):
        super().__init__(torch.eye(n))
        self.requires_grad_(False)


class Target(nn.Module):
    """Rows as they are: columns that are targets."""

    def __init__(self):
        super().__init__()
        # Without numbers; it says where targets go, and in which precision.
        self.like = nn.Parameter(torch.empty(0), requires_grad=False)

    def forward(self, X):
        return X


class OrthonormalModule(nn.Module):
    """z = Q x, Q the orthonormal rows that span those of a free weight."""

    # It can neither stretch the data nor shrink them to a point.
    bounded = True
    linear = orthonormal = True

    def __init__(self, weight):
        super().__init__()
        self.free = nn.Parameter(weight.detach().clone())

    @property
    def weight(self):
        Q, R = torch.linalg.qr(self.free.T)
        signs = torch.where(torch.diagonal(R) < 0, -1.0, 1.0).to(Q.dtype)
        return (Q * signs).T

    def forward(self, X):
        return X @ self.weight.T


class _Given(Mapper):
    """A module, or a function that makes one, that the user passed."""

    own_precision = True

    def __init__(self, source, images=None):
        self.source = source
        self.images = images

    def for_images(self, shape):
        return _Given(self.source, shape)

    def build(self, n_inputs, n_outputs, n_rows, generator):
        return with_images(self._module(n_inputs, n_outputs, generator), self.images)

    def _module(self, n_inputs, n_outputs, generator):
        if isinstance(self.source, nn.Module):
            return copy.deepcopy(self.source)
        # A factory draws from torch's global generator; give it a seed of ours and put the state back.
        _check_factory(self.source, n_inputs, n_outputs)
        with torch_seeded(int(torch.randint(2**31 - 1, (), generator=generator))):
            module = self.source(n_inputs, n_outputs)
        if not isinstance(module, nn.Module):
            raise TypeError(
                f"mapper={self.source!r} returned {type(module).__name__}; a mapper factory takes "
                f"(n_inputs, n_outputs) and returns a torch.nn.Module"
            )
        return module


def _check_factory(source, n_inputs, n_outputs):
    """Refuse what cannot be called with the numbers of inputs and outputs, such as the class of a module."""
    name = source.__name__ if isinstance(source, type) else repr(source)
    try:
        parameters = inspect.signature(source)
    except (TypeError, ValueError):
        return  # compiled
    error: object = None
    try:
        parameters.bind(n_inputs, n_outputs)
    except TypeError as failure:
        error = failure
    if isinstance(source, type) and issubclass(source, nn.Sequential | nn.ModuleList | nn.ModuleDict):
        error = "it holds modules, not numbers"
    if error is not None:
        raise TypeError(
            f"mapper={name} cannot be called as {name}({n_inputs}, {n_outputs}), with the numbers of inputs and "
            f"outputs ({error}): give a module, mapper={name}(...), or a function that makes one, such as "
            f"lambda n_inputs, n_outputs: {name}(...)"
        )


def declares(module, capability: str) -> bool:
    """Whether a module (or a specification) declares a capability; see the head of this file.

    torch's own linear layer does.  A parameter or a submodule of that name is no declaration.
    """
    return getattr(module, capability, False) is True or (
        capability == "linear" and type(module) is nn.Linear
    )


def rates_of(module) -> dict:
    """Factors on the step size that a module and its parts declare, by the id of the parameter.

    Raises
    ------
    TypeError, ValueError
        If ``rates`` is no dict of positive numbers by names of parts that it has.
    """
    found: dict[int, float] = {}
    for part in module.modules():
        rates = getattr(part, "rates", None)
        if rates is None:
            continue
        if not isinstance(rates, dict):
            raise TypeError(f"rates={rates!r} of a mapper must be a dict, such as {{'body': 0.1}}")
        parameters = dict(part.named_parameters())
        for name, rate in rates.items():
            rate = check_number(
                f"rates[{name!r}]", rate, low=0, closed="neither", hint="requires_grad_(False) freezes a part"
            )
            own = [t for key, t in parameters.items() if key == name or key.startswith(f"{name}.")]
            if not own:
                known = sorted({key.partition(".")[0] for key in parameters})
                raise ValueError(
                    f"rates names {name!r}, and the mapper has no such part; it has {', '.join(known)}"
                )
            found.update((id(t), rate) for t in own)
    return found


def draws(module) -> bool:
    """Whether a module may draw at random while it is trained, as dropout does; one of another's making may."""
    without = (TableModule, OrthonormalModule, Follower, Target, nn.Linear, nn.ReLU, nn.Sequential)
    return not all(type(part) in without for part in module.modules())


def images_read_by(module):
    """The shape of the images that a module makes of flat rows; how many channels and sides its convolutions read.

    Returns
    -------
    tuple of int or None
        Of a module that begins with ``torch.nn.Unflatten(1, shape)``.
    tuple of int or None
        (channels, number of sides) of its first convolution.
    """
    leaves = [
        part for part in module.modules() if isinstance(part, OfImages) or next(part.children(), None) is None
    ]
    first = leaves[0] if leaves else None
    if isinstance(first, OfImages):
        return first.shape, None
    if (
        isinstance(first, nn.Unflatten)
        and first.dim == 1
        and isinstance(first.unflattened_size, tuple | list)
    ):
        return tuple(first.unflattened_size), None
    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    layers = (part for part in leaves if isinstance(part, kinds))
    return None, next(((layer.in_channels, len(layer.kernel_size)) for layer in layers), None)


class OfImages(nn.Module):
    """A module of images, called with flat rows."""

    def __init__(self, shape, module):
        super().__init__()
        self.shape, self.module = shape, module

    def forward(self, X):
        return self.module(X.unflatten(1, self.shape))


def with_images(module, shape):
    """A module of flat rows; one with convolutions that does not make images of them itself is handed images.

    Raises
    ------
    ValueError
        For a module that declares what nothing before it could pass on.
    """
    if shape is None or images_read_by(module)[1] is None:
        return module
    own = [name for name in ("encodes", "decodes", "costs", "samples") if declares(module, name)]
    if own:
        raise ValueError(
            f"mapper={module!r:.200} declares {own[0]}, so that nothing can be put before it: let its forward begin "
            f"with torch.nn.Unflatten(1, {shape}), and give X.reshape(len(X), -1)"
        )
    return OfImages(shape, module)


def is_frozen(spec) -> bool:
    """Whether a specification stands for a module that has nothing to learn."""
    return (
        isinstance(spec, _Given)
        and isinstance(spec.source, nn.Module)
        and not any(t.requires_grad for t in spec.source.parameters())
    )


def given(source) -> Mapper:
    """The specification of a module or factory that the user passed."""
    return _Given(source)


def build_mapper(spec: Mapper, n_inputs, n_outputs, n_rows, *, generator, dtype, device) -> nn.Module:
    """Build a module and put it where it is trained."""
    module = spec.build(n_inputs, n_outputs, n_rows, generator)
    return module.to(device) if spec.own_precision else module.to(device=device, dtype=dtype)


def hidden_widths(name, given):
    """Widths of layers as a tuple, from a number or several."""
    widths = (given,) if isinstance(given, int) else tuple(given)
    for width in widths:
        check_number(name, width, low=1, integer=True)
    return widths


def layer(n_inputs, n_outputs, generator, *, bias=True):
    """torch's linear layer with torch's own initial range, drawn from a generator of ours."""
    return drawn(nn.Linear, n_inputs, generator, n_inputs, n_outputs, bias=bias)


def rectified(widths, generator):
    """Linear layers from each width to the next, with ReLU after each."""
    ends = pairwise(widths)
    return [part for before, after in ends for part in (layer(before, after, generator), nn.ReLU())]


def n_outputs_of(module, name, given, n_inputs, what=("rows", "features")):
    """How many numbers a module of the user's gives for a row; it is tried on two.

    Parameters
    ----------
    module : torch.nn.Module
        Left in the mode of evaluation.
    name, given : str, object
        The parameter that it came as.
    n_inputs : int
    what : tuple of str
        What it reads, and what these are made of.

    Raises
    ------
    ValueError
        If it cannot read them, or gives anything else than a row of numbers for each.
    """
    like = next(module.parameters(), torch.zeros(0))
    try:
        with torch.no_grad():
            out = module.eval()(like.new_zeros(2, n_inputs))
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise ValueError(
            f"{name}={given!r:.200} cannot read {what[0]} of {n_inputs} {what[1]}: {error}"
        ) from error
    if not isinstance(out, torch.Tensor) or out.ndim != 2 or len(out) != 2:
        got = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
        raise ValueError(
            f"{name}={given!r:.200} returned {got} for two {what[0]}; it must return (n_{what[0]}, n_outputs)"
        )
    return out.shape[1]


def drawn(kind, fan_in, generator, *sizes, **options):
    """A layer of torch whose weights are drawn from a generator of ours, within 1 / sqrt(fan_in) as torch has it."""
    # What it draws itself is drawn over; a layer without numbers would be as good, but torch loads sympy to fill it.
    with torch_seeded(0):
        made = kind(*sizes, device="cpu", dtype=DRAWN, **options)
    bound = fan_in**-0.5
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.uniform_(-bound, bound, generator=generator)
    return made
