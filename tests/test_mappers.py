"""Mappers: what they compute, where their weights come from, what they never touch."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from torch import nn

from iconlearn import ICONClassifier, ICONEmbedding
from iconlearn.classification._ridge import preconditioner
from iconlearn.mappers import EMA, MLP, Linear, Mapper, Table, UnitVectors, build_mapper, declares, given

X = torch.as_tensor(np.random.default_rng(0).normal(size=(9, 5)))


def built(spec, seed=0, *, n_inputs=5, n_outputs=2, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return build_mapper(spec, n_inputs, n_outputs, 9, generator=generator, dtype=dtype, device="cpu")


def weights(module):
    return torch.cat([p.detach().ravel() for p in module.parameters()])


def factory(n_inputs, n_outputs):
    return nn.Sequential(nn.Linear(n_inputs, 4), nn.Tanh(), nn.Linear(4, n_outputs))


SPECS = {
    "table": Table(),
    "linear": Linear(),
    "no bias": Linear(bias=False),
    "orthonormal": Linear(orthonormal=True),
    "mlp": MLP((8, 6)),
    "factory": given(factory),
}


@pytest.mark.parametrize("name", SPECS)
def test_the_generator_is_the_only_source_of_chance(name):
    state = torch.random.get_rng_state()
    torch.manual_seed(1)
    one = weights(built(SPECS[name]))
    after = torch.rand(3)
    torch.manual_seed(1)
    np.testing.assert_array_equal(torch.rand(3), after)
    torch.manual_seed(2)
    np.testing.assert_array_equal(weights(built(SPECS[name])), one)
    assert not torch.equal(weights(built(SPECS[name], seed=1)), one)
    torch.random.set_rng_state(state)


@pytest.mark.parametrize("name", sorted(set(SPECS) - {"table"}))
def test_features_are_mapped_row_by_row(name):
    module = built(SPECS[name])
    out = module(X.float() if name == "factory" else X)
    assert out.shape == (9, 2) and SPECS[name].parametric
    torch.testing.assert_close(module(X[3:4].float() if name == "factory" else X[3:4])[0], out[3])


def test_a_table_holds_a_place_for_every_row():
    module = built(Table())
    assert module().shape == (9, 2) and not Table.parametric
    torch.testing.assert_close(module(torch.tensor([3, 0])), module()[[3, 0]])
    assert 1e-5 < float(module().detach().std()) < 1e-3


def test_linear_layers():
    assert [p.shape for p in built(Linear()).parameters()] == [(2, 5), (2,)]
    assert [p.shape for p in built(Linear(bias=False)).parameters()] == [(2, 5)]
    assert float(weights(built(Linear(), n_inputs=100, n_outputs=50)).abs().max()) == pytest.approx(
        0.1, rel=0.01
    )


def test_hidden_layers():
    shapes = [p.shape for p in built(MLP((8, 6))).parameters()]
    assert shapes == [(8, 5), (8,), (6, 8), (6,), (2, 6), (2,)]
    assert [p.shape for p in built(MLP(7)).parameters()] == [(7, 5), (7,), (2, 7), (2,)]
    assert sum(isinstance(layer, nn.ReLU) for layer in built(MLP((8, 6)))) == 2
    for hidden in [(0,), (3, -1)]:
        with pytest.raises(ValueError, match="hidden"):
            built(MLP(hidden))
    with pytest.raises(TypeError, match="hidden"):
        built(MLP((2.5,)))


@pytest.mark.parametrize("method", [torch.optim.SGD, torch.optim.Adam])
def test_orthonormal_rows_stay_orthonormal_in_training(method):
    """Trained to the largest projected variance, that is PCA."""
    module, data = built(Linear(orthonormal=True)), X - X.mean(dim=0)
    start, optimizer = module.weight.detach().clone(), method(module.parameters(), lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        (-module(data).square().sum()).backward()
        optimizer.step()
        torch.testing.assert_close(module.weight @ module.weight.T, torch.eye(2, dtype=torch.float64))
    assert float((module.weight - start).detach().abs().max()) > 0.1
    most = torch.linalg.svdvals(data)[:2].square().sum()
    assert float(module(data).square().sum().detach()) == pytest.approx(float(most), rel=1e-3)


def test_orthonormal_rows_span_the_free_weight():
    module = built(Linear(orthonormal=True))
    free, Q = module.free.detach(), module.weight.detach()
    torch.testing.assert_close(free @ Q.T @ Q, free)
    again = type(module)(Q)
    torch.testing.assert_close(again.weight.detach(), Q)
    assert torch.autograd.gradcheck(lambda w: _weight_of(module, w), (free.clone().requires_grad_(),))


def _weight_of(module, free):
    return torch.func.functional_call(module, {"free": free}, (X,))


def test_too_many_orthonormal_rows_are_refused():
    with pytest.raises(ValueError, match="from 5 features to n_components=6"):
        built(Linear(orthonormal=True), n_outputs=6)
    assert built(Linear(orthonormal=True), n_outputs=5).weight.shape == (5, 5)


def test_a_module_is_copied_and_keeps_its_precision():
    module = nn.Linear(5, 2).float()
    before = weights(module).clone()
    copy = built(given(module))
    assert copy is not module and copy.weight.dtype == torch.float32
    with torch.no_grad():
        copy.weight += 1
    np.testing.assert_array_equal(weights(module), before)
    assert built(Linear()).weight.dtype == torch.float64


def test_a_factory_is_told_the_widths_and_checked():
    assert built(given(factory))[0].in_features == 5 and built(given(factory))[2].out_features == 2
    with pytest.raises(TypeError, match=r"returned int.*torch.nn.Module"):
        built(given(lambda n_inputs, n_outputs: n_inputs))


def test_a_specification_without_build_says_so():
    with pytest.raises(TypeError, match="must define build"):
        built(Mapper())


class Quadratic(nn.Module):
    """z = W x^2, by parameters and submodules with the names that declarations have."""

    def __init__(self, n_inputs=4, n_outputs=3):
        super().__init__()
        self.weight = nn.Parameter(
            torch.ones(n_outputs, n_inputs) * torch.linspace(-1, 1, n_outputs)[:, None]
        )
        self.bias, self.places, self.free = (nn.Parameter(torch.zeros(n_outputs)) for _ in range(3))
        self.linear = nn.Linear(n_inputs, n_outputs)
        self.table = nn.Parameter(torch.ones(1))

    def step(self):
        raise AssertionError("this is no teacher")

    def forward(self, X):
        return X.square() @ self.weight.T + self.bias + 0 * self.linear(X)


def test_names_of_parameters_are_no_declarations():
    module = Quadratic()
    for capability in ("linear", "orthonormal", "bounded", "table", "basis", "teacher"):
        assert not declares(module, capability)
    linear, orthonormal = built(Linear()), built(Linear(orthonormal=True))
    assert declares(linear, "linear") and not declares(linear, "orthonormal")
    assert all(declares(orthonormal, c) for c in ("linear", "orthonormal", "bounded"))
    assert declares(built(Table()), "table") and not declares(built(Table()), "basis")
    assert declares(UnitVectors(3), "table") and declares(UnitVectors(3), "basis")
    assert declares(EMA(), "teacher") and declares(EMA().follow(linear), "teacher")
    assert not declares(built(MLP(3)), "linear")


def test_a_quadratic_module_is_not_linear():
    X, y = load_iris(return_X_y=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = ICONClassifier(mapper=Quadratic(), max_iter=3, random_state=0).fit(X, y)
    assert not hasattr(model, "coef_") and not hasattr(model, "intercept_")
    assert type(model.engine_).__name__ == "MiniBatch"
    plan = model._plan(X, y, 3, keeps=False)
    assert model._method(plan) == "adam" and preconditioner(plan.objective) is None


def test_a_quadratic_module_gets_no_linear_start():
    X, _ = load_iris(return_X_y=True)
    before = Quadratic(4, 2)
    model = ICONEmbedding(mapper=before, optimizer="adam", learning_rate=1e-12, max_iter=1, random_state=0)
    after = model.fit(X).mapper_
    torch.testing.assert_close(after.weight, before.weight)


def test_a_module_may_declare_that_it_is_linear():
    class Scaled(nn.Module):
        linear = True

        def __init__(self, n_inputs, n_outputs):
            super().__init__()
            self.root = nn.Parameter(torch.zeros(n_outputs, n_inputs))

        @property
        def weight(self):
            return 2 * self.root

        def forward(self, X):
            return X @ self.weight.T

    X, y = load_iris(return_X_y=True)
    model = ICONClassifier(mapper=Scaled, random_state=0).fit(X, y)
    scores = X @ model.coef_.T + model.intercept_
    np.testing.assert_array_equal(model.classes_[scores.argmax(1)], model.predict(X))
