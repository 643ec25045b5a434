"""Heads on an encoder, teachers of a part of a mapper, views of two kinds, and what is added to the row itself."""

import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

import iconlearn
from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding, recipes
from iconlearn.engines import MiniBatch
from iconlearn.learned import Cosine, Gaussian
from iconlearn.mappers import EMA, MLP, Projected, Residual, build_mapper, declares
from iconlearn.mappers._parts import BatchNorm, ProjectedModule
from iconlearn.supervisory import Debias, Restore, Views

X, Y = load_digits(return_X_y=True)
X, Y = X[:129] / 16, Y[:129]
FEW = {"max_iter": 2, "random_state": 0}


def rows_for(module):
    """X in the precision of a network, which is single after a fit on a device."""
    return torch.as_tensor(X).to(next(module.parameters()))


def built(spec, n_inputs=64, n_outputs=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return build_mapper(spec, n_inputs, n_outputs, 9, generator=generator, dtype=torch.float64, device="cpu")


def test_a_head_is_between_the_features_and_the_loss():
    module = built(Projected("mlp", (7, 5), predictor=(4,))).eval()
    rows = torch.as_tensor(X[:9])
    first, norm, _, last = module.projector
    assert (first.in_features, last.out_features) == (6, 5) and type(norm) is BatchNorm
    assert module.predictor[0].in_features == module.predictor[-1].out_features == 5
    Z = module.encoder(rows)
    by_hand = last(
        F.relu(F.batch_norm(first(Z), norm.running_mean, norm.running_var, norm.weight, norm.bias))
    )
    torch.testing.assert_close(module.target()(rows), by_hand)
    torch.testing.assert_close(module(rows), module.predictor(by_hand))
    torch.testing.assert_close(module.read(rows), Z)
    assert declares(module, "predicts") and not declares(module.target(), "predicts")
    state = torch.random.get_rng_state()
    again = built(Projected("mlp", (7, 5), predictor=(4,)))
    assert torch.equal(torch.random.get_rng_state(), state)
    for a, b in zip(module.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("key", ["simclr", "infonce", "moco_v3"])
def test_features_are_shown_where_there_is_a_head(key):
    bare = recipes.RECIPES[key](n_components=6, **FEW)
    assert bare.mapper == "mlp" and recipes.RECIPES[key](head=(7, 5)).mapper.projector == (7, 5)
    model = recipes.RECIPES[key](n_components=6, head=(7, 5), **FEW).fit(X)
    with torch.no_grad():
        features = model.mapper_.encoder(rows_for(model.mapper_)).numpy()
    np.testing.assert_allclose(model.transform(X), features, atol=1e-12)
    assert model.embedding_.shape == (129, 6)
    if key == "moco_v3":
        assert model.transform_columns(X).shape == model.column_embedding_.shape == (129, 5)
    assert model.inverse_transform(model.embedding_).shape == X.shape


def test_without_a_head_nothing_changes():
    one, other = (recipes.simclr(n_components=6, **FEW, **more).fit(X) for more in ({}, {"head": None}))
    np.testing.assert_array_equal(one.embedding_, other.embedding_)


@pytest.mark.parametrize(
    "encoder",
    ["mlp", "linear", MLP(9), nn.Linear(64, 6), lambda n_in, n_out: nn.Linear(n_in, n_out)],
    ids=["mlp", "linear", "spec", "module", "function"],
)
def test_encoders_of_every_kind(encoder):
    model = recipes.byol(n_components=6, projector=(7, 5), predictor=(4,), **FEW).set_params(
        mapper__encoder=encoder
    )
    assert model.fit(X).embedding_.shape == (129, 6)
    if isinstance(encoder, nn.Module):
        assert model.mapper_.encoder is not encoder


def test_a_teacher_follows_all_but_the_predictor():
    lead = built(Projected("linear", (7, 5), predictor=(4,)))
    teacher = EMA(0.8).follow(lead)
    assert type(teacher.copy) is ProjectedModule and teacher.copy.predictor is None
    assert not any(p.requires_grad for p in teacher.parameters())
    assert all(p.requires_grad for p in lead.parameters())
    before = [p.clone() for p in teacher.parameters()]
    with torch.no_grad():
        for p in lead.parameters():
            p.add_(1.0)
        lead.projector[1].running_mean.fill_(3.0)
    teacher.step()
    for old, new in zip(before, teacher.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.2)
    assert (teacher.copy.projector[1].running_mean == 3).all()


def spread(model):
    with torch.no_grad():
        U = F.normalize(model.mapper_(rows_for(model.mapper_)), dim=1)
    return float((U - U.mean(0)).square().sum(1).mean().sqrt())


def test_without_predictor_and_teacher_all_rows_come_together():
    """The accuracy of the features need not tell; the spread of the outputs does."""
    fits = {
        "n_components": 16,
        "projector": (32, 16),
        "max_iter": 60,
        "random_state": 0,
        "engine": MiniBatch(43),
    }
    whole = recipes.byol(momentum=0.9, predictor=(32,), **fits).fit(X)
    neither = recipes.byol(momentum=0.0, predictor=None, **fits).fit(X)
    assert spread(neither) < 0.5 * spread(whole) and spread(whole) > 0.6


@pytest.mark.parametrize("encoder", ["mlp", nn.Linear(64, 6).double()], ids=["ours", "a module"])
def test_files_and_copies_hold_heads_and_teachers(encoder, tmp_path):
    model = recipes.byol(n_components=6, **FEW).set_params(mapper__encoder=encoder).fit(X)
    iconlearn.save(model, tmp_path / "file")
    given = {} if isinstance(encoder, str) else {"mapper": encoder, "column_mapper": encoder}
    for other in (
        iconlearn.load(tmp_path / "file", **given),
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
    ):
        for name in ("transform", "transform_columns"):
            np.testing.assert_array_equal(
                getattr(other, name)(X[:5] + 0.1), getattr(model, name)(X[:5] + 0.1)
            )


def test_a_batch_of_one_row_has_no_statistics_of_its_own():
    model = recipes.byol(n_components=6, engine=MiniBatch(64), **FEW).fit(X)  # 129 rows: 64, 64 and 1
    assert np.isfinite(model.loss_history_).all()
    norm = BatchNorm(3).train()
    torch.testing.assert_close(norm(torch.ones(1, 3)), torch.ones(1, 3) / (1 + norm.eps) ** 0.5)
    rows = torch.randn(5, 3)
    torch.testing.assert_close(norm(rows), nn.BatchNorm1d(3).train()(rows))


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"encoder": "cnn"}, ValueError, "encoder='cnn' is not known"),
        ({"encoder": 3}, TypeError, "encoder=3 is no encoder"),
        ({"projector": ()}, ValueError, "at least one layer of the projector"),
        ({"projector": (0,)}, ValueError, "projector=0 is out of range"),
        ({"predictor": (0,)}, ValueError, "predictor=0 is out of range"),
    ],
)
def test_what_makes_no_head_is_said(parameters, error, message):
    with pytest.raises(error, match=message):
        recipes.simclr(**FEW).set_params(mapper=Projected(**parameters)).fit(X)


# --- views of two kinds --------------------------------------------------------------------------------


def twice(rows):
    return 2 * rows


def test_columns_may_be_seen_otherwise():
    q = Gaussian(0.5**0.5, normalize="space")
    torch.manual_seed(0)
    encoder = nn.Linear(64, 3).double()
    for p in (
        Views(abs, cross=True, columns_augment=twice),
        Debias(Views(abs, cross=True, columns_augment=twice), 0.0),
    ):
        seen = ICONEmbedding(
            3, p=p, q=q, mapper=encoder, init="random", learning_rate=1e-12, max_iter=1, random_state=0
        ).fit(X)
        rows = torch.as_tensor(X)
        with torch.no_grad():
            error = 3 * F.mse_loss(encoder(rows.abs()), encoder(2 * rows)) + 1.5 * np.log(np.pi)
        assert seen.loss_history_[0] == pytest.approx(float(error), rel=1e-9)


def test_views_of_columns_by_name_and_what_is_refused():
    p = Views("noise", cross=True, columns_augment="mask", strength=0.5).fit(X)
    torch.manual_seed(0)
    rows = torch.as_tensor(X)
    seen = p.columns_view(rows).numpy()
    mean = np.broadcast_to(X.mean(axis=0), X.shape)
    assert ((seen == X) | np.isclose(seen, mean)).all() and (seen != X).any()
    torch.manual_seed(0)
    one = Views("noise", cross=True).fit(X)
    a = one.columns_view(rows)
    torch.manual_seed(0)
    torch.testing.assert_close(a, one.view(rows))
    with pytest.raises(
        ValueError, match=r"columns_augment='mask' without cross=True.*use augment, or cross=True"
    ):
        Views(columns_augment="mask").fit(X)
    with pytest.raises(ValueError, match="columns_augment='blur' is not known"):
        Views(cross=True, columns_augment="blur").fit(X)
    with pytest.raises(ValueError, match=r"columns_augment=.* returned tuple"):
        ICONEmbedding(
            p=Views(cross=True, columns_augment=lambda rows: (rows,)), q="cosine", mapper="mlp"
        ).fit(X)
    assert clone(p).columns_augment == "mask"


# --- what is added to the row itself -------------------------------------------------------------------


def test_a_residual_begins_at_the_row_itself():
    rows = torch.as_tensor(X[:9])
    module = built(Residual(5), n_outputs=64)
    torch.testing.assert_close(module(rows), rows)
    with torch.no_grad():
        module.change[-1].weight.fill_(0.1)
    torch.testing.assert_close(module(rows), rows + module.change(rows))
    with pytest.raises(ValueError, match="as many numbers as it reads, 64, and 6 are asked for"):
        built(Residual(5))


def test_a_teacher_s_features_are_a_target(tmp_path):
    """Inner representations of another model, learned by a smaller one."""
    teacher = ICONEmbedding(4, p="labels", q=Cosine(), mapper="linear", **FEW).fit(X, Y)
    p, q = Restore(teacher), Gaussian(0.5**0.5, normalize="space")
    student = ICONEmbedding(4, p=p, q=q, mapper="linear", random_state=0, tol=1e-10).fit(X)
    wanted = teacher.transform(X)
    design = np.c_[X, np.ones(len(X))]
    least = ((wanted - design @ np.linalg.lstsq(design, wanted, rcond=None)[0]) ** 2).sum(axis=1).mean()
    assert ((student.transform(X) - wanted) ** 2).sum(axis=1).mean() == pytest.approx(least, abs=1e-3)


def test_clusters_and_classes_need_as_many_outputs_as_there_are():
    for model in (
        ICONClustering(3, mapper=Projected("linear", (8, 5))),
        ICONClassifier(mapper=Projected("linear", 8)),
    ):
        with pytest.raises(
            ValueError, match=r"has [58] outputs a row, and ICON\w+ needs (3|10) here; let the last layer"
        ):
            model.fit(X, Y)
    assert (
        ICONClustering(3, mapper=Projected("linear", (8, 3)), max_iter=2, random_state=0).fit(X).labels_.max()
        <= 2
    )


def test_a_classifier_learns_over_heads():
    model = ICONClassifier(mapper=Projected("linear", (32, 10)), max_iter=200, random_state=0).fit(X, Y)
    assert model.score(X, Y) > 0.9
