"""Tasks made of the data."""

from __future__ import annotations

from ..engines import MiniBatch
from ..estimators import ICONEmbedding
from ..learned import Dot
from ..mappers import PatchPairs
from ..supervisory import Pretext
from ._recipe import recipe

TASKS = {
    "p": "Generated labels",
    "q": "Gaussian",
    "data": "images",
    "estimator": "ICONEmbedding",
    "mapper": "network",
}


def task(p, n_components, mapper="mlp"):
    """An encoder below a classifier of tasks, in batches of 256 views."""
    return ICONEmbedding(n_components, p=p, q=Dot(), mapper=mapper, engine=MiniBatch(256))


@recipe(
    "Rotation prediction", **TASKS,
    formula="p = 1 on the turn that the view was made by, q ∝ exp(f(view) . v_c)",
    paper="Gidaris, Singh and Komodakis, ICLR 2018",
    verified="torch's cross-entropy over all turns by numpy.rot90",
)  # fmt: skip
def rotation(shape, n_components=64, augment=None, shift=0):
    return task(Pretext("rotation", shape, augment=augment, shift=shift), n_components)


@recipe(
    "Relative patches", **TASKS,
    formula="p = 1 on the place of the second part of an image around the first, q ∝ exp(f(both) . v_c)",
    paper="Doersch, Gupta and Efros, ICCV 2015",
    verified="torch's cross-entropy over all pairs of parts, cut out by hand",
)  # fmt: skip
def relative_patch(shape, n_components=144, mapper=None, augment=None, gap=0, jitter=0, shift=0):
    p = Pretext("patches", shape, augment=augment, gap=gap, jitter=jitter, shift=shift)
    return task(p, n_components, PatchPairs(shape, gap=gap) if mapper is None else mapper)


@recipe(
    "Jigsaw", **TASKS,
    formula="p = 1 on the order that the parts of the image are in, q ∝ exp(f(view) . v_c)",
    paper="Noroozi and Favaro, ECCV 2016",
    verified="torch's cross-entropy over all orders, put together by hand",
)  # fmt: skip
def jigsaw(shape, n_tasks=12, n_components=64, grid=3, augment=None, gap=0, jitter=0, shift=0):
    p = Pretext(
        "jigsaw", shape, n_tasks=n_tasks, grid=grid, augment=augment, gap=gap, jitter=jitter, shift=shift
    )
    return task(p, n_components)
