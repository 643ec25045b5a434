"""Sums whose order CUDA does not fix: none is left in a fit, but for additions of which every place gets one."""

import itertools

import numpy as np
import pytest
import torch
from device import pretended
from sklearn.datasets import load_iris

from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding, Term, supervisory
from iconlearn.engines import MiniBatch
from iconlearn.learned import Cluster
from iconlearn.numerics.geometry import Edges, pairs

X, Y = load_iris(return_X_y=True)
X = X + 1e-3 * np.random.RandomState(0).normal(size=X.shape)
FEW = {"max_iter": 3, "random_state": 0}
KERNELS = ("gaussian", "student", "inverse_power", "dot", "cosine")
DIVERGENCES = ("kl", "reverse_kl", "jensen_shannon", "hellinger", "total_variation")

FITS = {
    **{f"map, {q}": lambda q=q: ICONEmbedding(q=q, engine="dense", **FEW) for q in KERNELS},
    **{
        f"map, {d}, {debias}": lambda d=d, debias=debias: ICONEmbedding(divergence=d, debias=debias, **FEW)
        for d, debias in itertools.product(DIVERGENCES, (0.0, 0.2))
        if (d, debias) != ("reverse_kl", 0.0)
    },
    "map, 1-D mesh": lambda: ICONEmbedding(1, engine="mesh", **FEW),
    "map, mesh": lambda: ICONEmbedding(engine="mesh", **FEW),
    "map, sampled": lambda: ICONEmbedding(5, engine="sampled", **FEW),
    "map, batches": lambda: ICONEmbedding(engine=MiniBatch(32), **FEW),
    "map, line search": lambda: ICONEmbedding(optimizer="lbfgs", **FEW),
    "map, classes": lambda: ICONEmbedding(p="classes", mapper="linear", **FEW),
    "map, classes in free places": lambda: ICONEmbedding(p="classes", **FEW),
    "map, class mates": lambda: ICONEmbedding(terms=[Term("labels")], **FEW),
    "map, weighed rows": lambda: ICONEmbedding(p="graph", mapper="table", **FEW),
    "linear map": lambda: ICONEmbedding(mapper="linear", **FEW),
    "network": lambda: ICONEmbedding(mapper="mlp", **FEW),
    "views": lambda: ICONEmbedding(p="views", q="cosine", mapper="mlp", engine=MiniBatch(32), **FEW),
    "teacher": lambda: ICONEmbedding(
        p=supervisory.Views(cross=True), q="cosine", mapper="mlp", column_mapper="ema", **FEW
    ),
    "clusters": lambda: ICONClustering(3, engine="dense", n_init=1, **FEW),
    "clusters by degree": lambda: ICONClustering(
        3, q=Cluster(degree_weighted=True), engine="dense", n_init=1, **FEW
    ),
    "clusters by a head": lambda: ICONClustering(3, mapper="mlp", engine=MiniBatch(32), n_init=1, **FEW),
    "classifier": lambda: ICONClassifier(**FEW),
    "classifier, network": lambda: ICONClassifier(mapper="mlp", **FEW),
    "classifier, prototypes": lambda: ICONClassifier(q="gaussian", **FEW),
    "classifier, class mates": lambda: ICONClassifier(p="labels", q="cosine", mapper="mlp", **FEW),
}


@pytest.mark.pretended
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", FITS)
def test_every_sum_of_a_fit_has_an_order(name):
    model, given = FITS[name](), X
    if name == "map, weighed rows":
        given = np.exp(-np.square(X[:, None] - X).sum(2))
    with pretended.watch() as watched:
        model.fit(given, Y)
    unordered = {
        (operation, line) for kind, operation, line in watched.events if kind == pretended.UNORDERED_SUM
    }
    assert not {line for _, line in unordered if not line.startswith("iconlearn/loss.py")}, unordered
    assert {operation for operation, _ in unordered} <= {"index_add.out"}


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", FITS)
def test_fits_follow_deterministic_algorithms(name):
    model, given = FITS[name](), X
    if name == "map, weighed rows":
        given = np.exp(-np.square(X[:, None] - X).sum(2))
    torch.use_deterministic_algorithms(True)
    try:
        model.fit(given, Y)
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.gpu
def test_a_row_far_outside_follows_deterministic_algorithms():
    rows = np.random.RandomState(0).normal(size=(1050, 4))
    start = np.random.RandomState(1).normal(size=(1050, 2))
    start[0] *= 3e4
    torch.use_deterministic_algorithms(True)
    try:
        fit = ICONEmbedding(engine="mesh", init=start, early_exaggeration=1.0, **FEW).fit(rows)
    finally:
        torch.use_deterministic_algorithms(False)
    assert np.isfinite(fit.embedding_).all()


def test_a_class_and_a_row_meet_once_in_p():
    # Else additions to the places of the softmax would have an order.
    for p in (supervisory.Classes(), supervisory.KNN(5), supervisory.Labels()):
        for rows, cols in (
            (None, None),
            (np.arange(40, 90), np.arange(2) if "Classes" in repr(p) else np.arange(80)),
        ):
            entries = p.fit(X, Y).conditional_.entries(rows, cols)
            if hasattr(entries, "j") and entries.j is not None:
                assert len(set(zip(entries.i.tolist(), entries.j.tolist(), strict=True))) == len(entries.i)


# -- the sums are right -----------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("geometry", ["sqdist", "dot", "differences"])
@pytest.mark.parametrize("width", [1, 2, 3, 7])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("n_edges", [0, 1, 300])
def test_gradients_of_edges_are_those_of_the_pairs_one_by_one(geometry, width, tied, n_edges):
    draw = np.random.RandomState(width)
    at = np.sort(draw.choice(40 * 40, n_edges, replace=False))
    i, j = (torch.from_numpy(part).cuda() for part in divmod(at, 40))
    U = torch.from_numpy(draw.normal(size=(40, width))).cuda().requires_grad_()
    V = U if tied else torch.from_numpy(draw.normal(size=(40, width))).cuda().requires_grad_()
    weights = torch.from_numpy(draw.normal(size=n_edges)).cuda()
    scalars = (U[i] * V[j]).sum(1) if geometry == "dot" else (U[i] - V[j]).square().sum(1)
    ends = (U,) if tied else (U, V)
    expected = torch.autograd.grad((weights * scalars.sin()).sum(), ends)
    found = torch.autograd.grad((weights * pairs(geometry, U, V, Edges(i, j, (40, 40))).sin()).sum(), ends)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_values_of_rows_and_sums_over_edges_are_each_others_gradients(device):
    i = torch.tensor([0, 0, 2, 3, 3, 3], device=device)
    edges = Edges(i, torch.tensor([1, 4, 4, 0, 1, 2], device=device), (5, 6))
    values = torch.arange(1.0, 6.0, dtype=torch.float64, device=device, requires_grad=True)
    along = torch.arange(1.0, 7.0, dtype=torch.float64, device=device, requires_grad=True)
    assert edges.of_rows(values).tolist() == [1, 1, 3, 4, 4, 4]
    assert edges.row_sums(along).tolist() == [3, 0, 3, 15, 0]
    assert edges.column_sums(along).tolist() == [4, 6, 6, 0, 5, 0]
    assert torch.autograd.gradcheck(edges.of_rows, values)
    assert torch.autograd.gradcheck(edges.row_sums, along)
    assert torch.autograd.gradcheck(edges.column_sums, along)
