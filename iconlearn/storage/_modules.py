"""Torch modules: those of the package's own layers are rebuilt; of others a file holds the weights alone."""

from __future__ import annotations

import copy

import torch
from torch import nn

from ..mappers._autoencoder import AutoencoderModule, made_again
from ..mappers._base import Follower, OfImages, OrthonormalModule, TableModule, Target
from ..mappers._parts import BatchNorm, HeadedModule, PatchPairsModule, ProjectedModule, ResidualModule
from ..mappers._recurrent import RecurrentModule

DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128, torch.uint8,
        torch.int8, torch.int16, torch.int32, torch.int64, torch.bool,
    )
}  # fmt: skip

# What a recurrent mapper is made of, in the order of its children, the last of which it may lack; and what a gated
# recurrent layer of torch is made by.
PARTS = ("encoder", "gru", "ahead", "head")
OPTIONS = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional")

# By the names that files hold, which stay as they are wherever a class goes: the class, what a module of it is beyond
# its weights and children, and how it is made again from that.
KINDS = {
    "TableModule": (
        TableModule,
        lambda m: {"shape": list(m.places.shape)},
        lambda children, shape: TableModule(torch.zeros(shape)),
    ),
    "OrthonormalModule": (
        OrthonormalModule,
        lambda m: {"shape": list(m.free.shape)},
        lambda children, shape: OrthonormalModule(torch.zeros(shape)),
    ),
    "Follower": (
        Follower,
        lambda m: {"momentum": m.momentum},
        lambda children, momentum: Follower(children[0], momentum),
    ),
    "OfImages": (
        OfImages,
        lambda m: {"shape": list(m.shape)},
        lambda children, shape: OfImages(tuple(shape), children[0]),
    ),
    "Headed": (
        HeadedModule,
        lambda m: {"rate": m.rate},
        lambda children, rate: HeadedModule(children[0], children[1], rate),
    ),
    "PatchPairs": (
        PatchPairsModule,
        lambda m: {"shape": list(m.shape), "gap": m.gap},
        lambda children, shape, gap: PatchPairsModule(tuple(shape), gap, *children),
    ),
    "AutoencoderModule": (AutoencoderModule, lambda m: m.made, lambda children, **made: made_again(**made)),
    "BatchNorm": (BatchNorm, lambda m: {"width": m.num_features}, lambda children, width: BatchNorm(width)),
    "ProjectedModule": (ProjectedModule, lambda m: {}, lambda children: ProjectedModule(*children)),
    "RecurrentModule": (
        RecurrentModule,
        lambda m: {"n_inputs": m.n_inputs, "step": m.step, "steps": m.steps, "pool": m.pool},
        lambda children, **sizes: RecurrentModule(**sizes, **dict(zip(PARTS, children, strict=False))),
    ),
    "ResidualModule": (ResidualModule, lambda m: {}, lambda children: ResidualModule(*children)),
    "Target": (Target, lambda m: {}, lambda children: Target()),
    "Linear": (
        nn.Linear,
        lambda m: {"sizes": [m.in_features, m.out_features], "bias": m.bias is not None},
        lambda children, sizes, bias: nn.utils.skip_init(nn.Linear, *sizes, bias=bias),
    ),
    "GRU": (
        nn.GRU,
        lambda m: {name: getattr(m, name) for name in OPTIONS},
        lambda children, **options: nn.GRU(**options, device="meta").to_empty(device="cpu"),
    ),
    "ReLU": (nn.ReLU, lambda m: {"inplace": m.inplace}, lambda children, inplace: nn.ReLU(inplace)),
    "Sequential": (nn.Sequential, lambda m: {}, lambda children: nn.Sequential(*children)),
}
NAMES = {cls: name for name, (cls, _, _) in KINDS.items()}


def describe(module):
    """Name and options of a module that can be made again, children and all; None for any other."""
    cls = type(module)
    # A teacher may follow a module of any kind, and one of any kind may read images: it is asked for if need be.
    if cls not in NAMES or (cls not in (Follower, OfImages) and None in map(describe, children_of(module))):
        return None
    return NAMES[cls], KINDS[NAMES[cls]][1](module)


def children_of(module):
    """What a module is made again from besides its options; an autoencoder makes its own children."""
    return () if type(module) is AutoencoderModule else module.children()


def make_module(name, options, children):
    """A module that was described, its weights not yet filled in."""
    return KINDS[name][2](children, **options)


def with_weights(module, state, training, free):
    """A copy of the module with these weights, in their precision.

    Parameters
    ----------
    module : torch.nn.Module
    state : dict of Tensor
        As ``state_dict`` gives it.
    training : bool
    free : dict of bool
        Which parameters are learned.

    Raises
    ------
    ValueError
        If they are not the weights of such a module.
    """
    own = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    stored = {name: tuple(value.shape) for name, value in state.items()}
    if own != stored:
        raise ValueError(
            f"its weights are not those of the {type(module).__name__} that was given: they are "
            f"{stored or 'none'}, and the module has {own or 'none'}; give a module of the same layers"
        )
    module = copy.deepcopy(module).to("cpu")
    # By assignment, since every weight has a precision of its own.
    module.load_state_dict({name: value.clone() for name, value in state.items()}, assign=True)
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(free[name])
    return module.train(training)
