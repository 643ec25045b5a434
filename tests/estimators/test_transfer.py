"""A body that was learned elsewhere under a new head: frozen, or at a rate of its own."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

import iconlearn
from iconlearn import ICONClassifier, recipes
from iconlearn.mappers import Headed, rates_of

X, Y = load_digits(return_X_y=True)
X, Y = (X[:300] / 16).astype(np.float32), Y[:300]


def body():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU())


def moves(model, start):
    """How far a parameter has gone, by name; a weight with hardly any slope goes less far than its rate."""
    before = dict(start.named_parameters())
    gone = {name: (t - before[name]).abs() for name, t in model.mapper_.named_parameters() if name in before}
    return {name: float(t[t > 0].detach().median()) for name, t in gone.items()}


def one_step(mapper):
    """The first step of Adam is as long as its rate, whatever the slope; the second evaluation is what it led to."""
    options = {"max_iter": 2, "learning_rate": 0.01, "engine": "dense", "optimizer": "adam"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ICONClassifier(mapper=mapper, C=None, random_state=0, **options).fit(X, Y)


def test_one_step_moves_the_body_by_a_tenth_of_the_head():
    start = body()
    kept = copy.deepcopy(start.state_dict())
    model = one_step(Headed(start, rate=0.1))
    for name, gone in moves(model, nn.ModuleDict({"body": start})).items():
        assert gone == pytest.approx(0.001, rel=1e-3), name
    other = one_step(Headed(start, rate=1.0))
    for name, gone in moves(other, nn.ModuleDict({"body": start})).items():
        assert gone == pytest.approx(0.01, rel=1e-3), name
    head = [dict(m.mapper_.named_parameters())["head.weight"] for m in (model, other)]
    torch.testing.assert_close(*head)
    assert all(torch.equal(value, kept[name]) for name, value in start.state_dict().items())


def test_any_module_may_name_rates_of_its_parts():
    start = nn.Sequential(body(), nn.Linear(12, 10))
    start.rates = {"0.0": 0.5, "1.bias": 0.2}
    gone = moves(one_step(start), start)
    for name, rate in {
        "0.0.weight": 0.5,
        "0.0.bias": 0.5,
        "0.2.weight": 1,
        "1.weight": 1,
        "1.bias": 0.2,
    }.items():
        assert gone[name] == pytest.approx(0.01 * rate, rel=1e-3), name
    # Also where it is a part of another, and in every call of partial_fit.
    outer = nn.Sequential(start)
    model = ICONClassifier(mapper=outer, C=None, learning_rate=0.01, engine="dense", random_state=0)
    gone = moves(model.partial_fit(X[:50], Y[:50], classes=range(10)), outer)  # one batch
    assert gone["0.0.0.weight"] == pytest.approx(0.005, rel=1e-3)
    assert gone["0.1.weight"] == pytest.approx(0.01, rel=1e-3)
    assert len(rates_of(model.partial_fit(X, Y).mapper_)) == 3


def test_a_frozen_body_stays_as_it_is():
    torch.manual_seed(0)
    start = nn.Sequential(nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.9)).eval()
    model = ICONClassifier(mapper=Headed(start, rate=0), max_iter=20, random_state=0).fit(X, Y)
    for name, value in start.state_dict().items():
        assert torch.equal(model.mapper_.body.state_dict()[name], value), name
    assert not any(t.requires_grad for t in model.mapper_.body.parameters())
    # What the head learns from is what the body gives: no dropout, and no means of batches.
    mapper, rows = copy.deepcopy(model.mapper_).train(), torch.from_numpy(X)
    assert mapper.head.training and torch.equal(mapper(rows), model.mapper_(rows))
    thawed = ICONClassifier(mapper=Headed(model.mapper_.body, rate=0.5), max_iter=2, random_state=0).fit(X, Y)
    assert all(t.requires_grad for t in thawed.mapper_.parameters())
    assert not torch.equal(thawed.mapper_.body[0].weight, start[0].weight)


def test_a_head_is_stored_with_its_rate(tmp_path):
    model = ICONClassifier(mapper=Headed(body(), rate=0.3), max_iter=2, random_state=0).fit(X, Y)
    iconlearn.save(model, tmp_path / "model.icon")
    for back in (iconlearn.load(tmp_path / "model.icon"), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(back.predict_proba(X), model.predict_proba(X))
        assert set(rates_of(back.mapper_).values()) == {0.3}


def test_what_was_learned_without_labels_is_passed_on():
    encoder = recipes.simclr(n_components=8, max_iter=3, random_state=0).fit(X).mapper_
    model = ICONClassifier(mapper=Headed(encoder[:-1], rate=0.1), max_iter=60, random_state=0).fit(
        X[:200], Y[:200]
    )
    assert model.score(X[200:], Y[200:]) > 0.8 and model.mapper_.head.in_features == 256


def test_wrong_rates_and_bodies_are_refused():
    def fit(mapper, **options):
        ICONClassifier(mapper=mapper, max_iter=2, **options).fit(X, Y)

    def rated(rates):
        start = nn.Sequential(body(), nn.Linear(12, 10))
        start.rates = rates
        return start

    for make, message in (
        (
            lambda: fit(rated({"body": 0.1})),
            "rates names 'body', and the mapper has no such part; it has 0, 1",
        ),
        (lambda: fit(rated({"0": 0.0})), r"rates\['0'\]=0.0 is out of range.*requires_grad_\(False\)"),
        (lambda: fit(rated(0.1)), "rates=0.1 of a mapper must be a dict"),
        (lambda: fit(rated({"0": 0.1}), optimizer="lbfgs"), "optimizer='lbfgs' has one length of step"),
        (lambda: fit(rated({"0": 0.1}), optimizer="momentum"), "optimizer='momentum' has one length of step"),
        (lambda: fit(Headed(body(), rate=2.0)), "rate=2.0 is out of range"),
        (lambda: fit(Headed("mlp")), "body='mlp' must be a torch.nn.Module"),
        (lambda: fit(Headed(nn.Linear(63, 5))), "cannot read rows of 64 features"),
        (lambda: fit(Headed(nn.Unflatten(1, (8, 8)))), r"returned \(2, 8, 8\) for two rows"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            make()
