"""Autoencoders: their codes, their decoders and what a code costs, against formulas and libraries of others."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from scipy.special import rel_entr
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.decomposition import PCA
from torch import nn
from torch.autograd.functional import jacobian
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

import iconlearn
from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding, recipes
from iconlearn.engines import MiniBatch
from iconlearn.learned import Cosine, Gaussian
from iconlearn.mappers import L1, Autoencoder, Contractive, ConvAutoencoder, Prior, Sparse, build_mapper

IRIS = load_iris().data
X = load_digits().data[:120] / 16
SQUARED = Gaussian(0.5**0.5, normalize="space")
# What the squared error lacks to the loss, in 64 and 4 dimensions.
HALF_LOG = 0.5 * math.log(math.pi)


def restoring(n_components, mapper, **parameters):
    parameters = {"q": SQUARED, "random_state": 0, "max_iter": 3, **parameters}
    return ICONEmbedding(n_components, p="restore", mapper=mapper, **parameters)


def built(spec, n_inputs=64, n_codes=3, n_targets=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    spec = spec.for_targets(n_targets or n_inputs)
    return build_mapper(spec, n_inputs, n_codes, 9, generator=generator, dtype=torch.float64, device="cpu")


def rows(n=7):
    return torch.as_tensor(X[:n])


# --- linear ones are known in closed form --------------------------------------------------------------


@pytest.mark.cpu(reason="networks are in single precision on a device")
@pytest.mark.parametrize(("data", "k", "n_iter"), [(IRIS, 2, 600), (X, 5, 600)], ids=["iris", "digits"])
def test_a_linear_autoencoder_has_the_residual_of_principal_components(data, k, n_iter):
    model = restoring(k, Autoencoder(()), optimizer="lbfgs", max_iter=n_iter, tol=1e-12).fit(data)
    theirs = PCA(k).fit(data)
    residual = ((data - theirs.inverse_transform(theirs.transform(data))) ** 2).sum(axis=1).mean()
    restored = model.inverse_transform(model.transform(data))
    assert ((data - restored) ** 2).sum(axis=1).mean() == pytest.approx(residual, abs=1e-5)
    np.testing.assert_allclose(restored, theirs.inverse_transform(theirs.transform(data)), atol=5e-3)
    assert model.loss_ == pytest.approx(residual + 2 * data.shape[1] * HALF_LOG / 2, abs=1e-5)


def likelihood(k):
    """Minus the mean log likelihood of probabilistic PCA at its best, by scikit-learn."""
    model, share = PCA(k).fit(IRIS), (len(IRIS) - 1) / len(IRIS)
    # scikit-learn divides by n - 1, at which the likelihood of these rows is not quite the largest.
    model.explained_variance_ *= share
    model.noise_variance_ *= share
    return -model.score(IRIS)


def analytic_bound(module, data, log_sigma):
    """Minus the evidence lower bound of a linear autoencoder with Gaussian codes, the mean over codes done by hand."""
    mean, log_variance = module.encoder(data).chunk(2, dim=1)
    W, b = module.decoder[0].weight, module.decoder[0].bias
    error = (data - mean @ W.T - b).square().sum(1) + log_variance.exp() @ W.square().sum(0)
    density = error / (2 * torch.exp(2 * log_sigma)) + data.shape[1] * (
        0.5 * math.log(2 * math.pi) + log_sigma
    )
    divergence = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0)).sum(1)
    return (density + divergence).mean()


def test_the_best_bound_of_a_linear_variational_autoencoder_is_probabilistic_pca():
    data, module = torch.as_tensor(IRIS), built(Autoencoder((), code="gaussian"), 4, 2)
    log_sigma = torch.zeros((), dtype=torch.float64, requires_grad=True)
    best = torch.optim.LBFGS(
        [*module.parameters(), log_sigma], max_iter=400, tolerance_change=0, tolerance_grad=1e-9, history_size=50,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure():
        best.zero_grad()
        value = analytic_bound(module, data, log_sigma)
        value.backward()
        return value

    best.step(closure)
    bound = float(closure().detach())
    assert bound == pytest.approx(likelihood(2), abs=1e-6)
    axes = np.linalg.qr(module.decoder[0].weight.detach().numpy())[0]
    assert np.linalg.svd(PCA(2).fit(IRIS).components_ @ axes, compute_uv=False).min() == pytest.approx(
        1, abs=1e-4
    )
    # And what a fit minimises is that bound: its draws have this mean.
    torch.manual_seed(0)
    many, q = data.repeat(400, 1), Gaussian(float(log_sigma.detach().exp()), normalize="space")
    with torch.no_grad():
        errors = (many - module.train()(many)).square().sum(1)
        drawn = q.log_volume(4) - q.log_kernel(errors)
        cost = float(module.cost())
    error_of_mean = float(drawn.std()) / len(many) ** 0.5
    assert float(drawn.mean()) + cost == pytest.approx(bound, abs=5 * error_of_mean) and error_of_mean < 0.02


def test_a_fit_of_a_linear_variational_autoencoder_shows_its_bound():
    made = recipes.vae(n_components=2, hidden=(), random_state=0, max_iter=60, learning_rate=0.02)
    model = made.set_params(engine=MiniBatch(32)).fit(IRIS)
    double, log_sigma = (
        copy.deepcopy(model.mapper_).double(),
        torch.tensor(math.log(model.q_.sigma_)).double(),
    )
    bound = float(analytic_bound(double, torch.as_tensor(IRIS), log_sigma).detach())
    assert likelihood(2) < bound < 8
    assert model.loss_is_estimate_ and model.loss_ == pytest.approx(bound, rel=0.05)


# --- what a code costs ---------------------------------------------------------------------------------


def test_the_prior_is_the_divergence_of_torch_s_distributions():
    module = built(Autoencoder((5,), code="gaussian", cost=Prior(0.7)))
    mean, log_variance = module.encoder(rows()).chunk(2, dim=1)
    theirs = kl_divergence(Normal(mean, torch.exp(0.5 * log_variance)), Normal(0.0, 1.0)).sum(1).mean()
    module(rows())
    torch.testing.assert_close(module.cost(), 0.7 * theirs, rtol=1e-12, atol=0)
    assert type(built(Autoencoder(code="gaussian")).cost_of) is Prior


def test_sparse_is_the_relative_entropy_of_mean_activations():
    module = built(Autoencoder((5,), code="sigmoid", cost=Sparse(0.1, weight=0.3)))
    mean = torch.sigmoid(module.encoder(rows())).mean(0).detach().numpy()
    module(rows())
    theirs = 0.3 * (rel_entr(0.1, mean) + rel_entr(0.9, 1 - mean)).sum()
    assert float(module.cost().detach()) == pytest.approx(theirs, rel=1e-12)


def test_absolute_codes():
    module = built(Autoencoder((5,), cost=L1(0.3)))
    module(rows())
    codes = module.encoder(rows()).detach().numpy()
    assert float(module.cost().detach()) == pytest.approx(0.3 * np.abs(codes).sum(axis=1).mean(), rel=1e-12)


@pytest.mark.parametrize(
    "spec", [Autoencoder((6,)), Autoencoder((6,), code="sigmoid"), ConvAutoencoder((8, 8), 4)]
)
def test_contractive_is_torch_s_jacobian(spec):
    spec = clone(spec).set_params(cost=Contractive(0.4))
    module = built(spec)
    theirs = 0.4 * np.mean(
        [float(jacobian(lambda x: module.read(x[None])[0], x).square().sum()) for x in rows()]
    )
    with torch.no_grad():
        module.eval()(rows())
    assert float(module.cost()) == pytest.approx(theirs, rel=1e-10)
    torch.manual_seed(0)
    drawn = []
    for _ in range(300):
        module.train()(rows())
        drawn.append(float(module.cost().detach()))
    assert np.mean(drawn) == pytest.approx(theirs, abs=4 * np.std(drawn) / 300**0.5)
    # Its own slope, from one graph through another.
    module.train()(rows())
    module.cost().backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in module.encoder.parameters())


def test_contractive_is_what_little_noise_does_to_the_code():
    module = built(Autoencoder((), cost=Contractive(1.0)))
    with torch.no_grad():
        module.eval()(rows())
        torch.manual_seed(0)
        many = rows(1).repeat(20000, 1)
        moved = (module.read(many + 0.01 * torch.randn_like(many)) - module.read(many)).square().sum(1).mean()
    assert float(module.cost()) == pytest.approx(float(moved) / 1e-4, rel=0.02)


@pytest.mark.cpu(reason="networks are in single precision on a device")
def test_the_loss_is_the_squared_error_and_the_cost_and_shows_both():
    for cost, code in ((L1(0.2), "plain"), (Sparse(0.2, weight=0.3), "sigmoid"), (Contractive(0.1), "plain")):
        model = restoring(3, Autoencoder((6,), code=code, cost=cost)).fit(X)
        module = model.mapper_
        with torch.no_grad():
            restored = module(torch.as_tensor(X)).numpy()
        error = 64 * F.mse_loss(torch.as_tensor(restored), torch.as_tensor(X)) + 64 * HALF_LOG
        assert not model.loss_is_estimate_
        assert model.loss_ == pytest.approx(float(error) + float(module.cost().detach()), rel=1e-9)
        np.testing.assert_allclose(model.loss_parts_.sum(axis=1), model.loss_history_, rtol=1e-9)
        assert model.loss_parts_.shape[1] == 2 and (model.loss_parts_[:, 1] > 0).all()
    assert restoring(3, "autoencoder").fit(X).loss_parts_.shape[1] == 1


@pytest.mark.parametrize(
    ("mapper", "small", "large", "measure"),
    [
        ("contractive_autoencoder", 1e-3, 1.0, lambda Z: np.square(Z - Z.mean(axis=0)).sum()),
        ("sparse_autoencoder", 1e-3, 1.0, lambda Z: abs(Z.mean() - 0.05)),
    ],
)
def test_a_cost_has_its_effect(mapper, small, large, measure):
    fits = [
        recipes.RECIPES[mapper](
            n_components=8, weight=w, max_iter=40, random_state=0, engine=MiniBatch(30)
        ).fit(X)
        for w in (small, large)
    ]
    assert measure(fits[1].embedding_) < 0.7 * measure(fits[0].embedding_)


# --- codes, decoders and samples -----------------------------------------------------------------------


SPECS = {
    "plain": Autoencoder((9,)),
    "linear": Autoencoder(()),
    "sigmoid": Autoencoder((9,), code="sigmoid", cost=Sparse()),
    "gaussian": Autoencoder((9, 7), code="gaussian"),
    "convolutions": ConvAutoencoder((8, 8), (4, 6)),
    "maxima": ConvAutoencoder((2, 8, 4), (4, 6), pool="max", cost=L1()),
}


@pytest.mark.cpu(reason="networks are in single precision on a device")
@pytest.mark.parametrize("name", SPECS)
def test_codes_are_shown_and_decoded_to_the_module_s_outputs(name):
    model = restoring(3, SPECS[name], engine="minibatch", max_iter=2).fit(X)
    Z = model.transform(X)
    assert Z.shape == (120, 3) and Z.dtype == X.dtype
    np.testing.assert_allclose(Z, model.embedding_, atol=1e-12)
    with torch.no_grad():
        outputs = model.mapper_(torch.as_tensor(X)).numpy()
    np.testing.assert_allclose(model.inverse_transform(Z), outputs, atol=1e-12)
    assert list(model.get_feature_names_out()) == [f"iconembedding{k}" for k in range(3)]
    assert not hasattr(model, "column_mapper_") and not hasattr(model, "column_embedding_")
    again = restoring(3, SPECS[name], engine="minibatch", max_iter=2).fit(X)
    np.testing.assert_array_equal(again.embedding_, model.embedding_)
    assert np.isfinite(model.score(X))


@pytest.mark.parametrize("name", SPECS)
def test_files_pickles_and_copies_hold_everything(name, tmp_path):
    model = restoring(3, SPECS[name], engine="minibatch", max_iter=1).fit(X)
    iconlearn.save(model, tmp_path / "file")
    for other in (iconlearn.load(tmp_path / "file"), pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(other.transform(X[:5] + 0.1), model.transform(X[:5] + 0.1))
        np.testing.assert_array_equal(other.inverse_transform(X[:5, :3]), model.inverse_transform(X[:5, :3]))
        assert type(other.mapper_.cost_of) is type(model.mapper_.cost_of)
        assert repr(other.mapper) == repr(model.mapper)


def test_the_generator_is_the_only_source_of_first_weights():
    for spec in SPECS.values():
        state = torch.random.get_rng_state()
        one = nn.utils.parameters_to_vector(built(spec).parameters())
        assert torch.equal(torch.random.get_rng_state(), state)
        torch.testing.assert_close(nn.utils.parameters_to_vector(built(spec).parameters()), one)
        assert not torch.equal(nn.utils.parameters_to_vector(built(spec, seed=1).parameters()), one)


def test_layers_and_shapes():
    mlp = built(Autoencoder((9, 7)), n_targets=5)
    assert [p.shape for p in mlp.encoder.parameters() if p.ndim > 1] == [(9, 64), (7, 9), (3, 7)]
    assert [p.shape for p in mlp.decoder.parameters() if p.ndim > 1] == [(7, 3), (9, 7), (5, 9)]
    for shape in ((1, 7, 5), (3, 8, 8), (2, 1, 9)):
        for pool in ("stride", "max"):
            module = built(ConvAutoencoder(shape, (4, 5, 6), pool=pool), math.prod(shape))
            data = torch.rand(4, math.prod(shape), dtype=torch.float64)
            assert module(data).shape == data.shape and module.read(data).shape == (4, 3)
    kinds = {type(part) for part in built(ConvAutoencoder((8, 8))).modules()}
    assert {nn.Conv2d, nn.ConvTranspose2d} <= kinds and nn.MaxPool2d not in kinds


def test_samples_are_decoded_standard_normals():
    model = restoring(3, Autoencoder((9,), code="gaussian"), engine="minibatch").fit(X)
    drawn = model.sample(5, random_state=4)
    Z = np.random.RandomState(4).standard_normal((5, 3))
    np.testing.assert_allclose(drawn, model.inverse_transform(Z))
    np.testing.assert_array_equal(model.sample(5, random_state=4), drawn)
    assert model.sample().shape == (1, 64)
    with pytest.raises(ValueError, match="n_samples=0"):
        model.sample(0)
    for other in (restoring(3, "autoencoder").fit(X), ICONEmbedding()):
        with pytest.raises(AttributeError) as caught:
            other.sample()
        assert "sample is a method of fitted variational autoencoders, such as iconlearn.recipes.vae" in str(
            caught.value.__cause__
        )


def test_a_drawn_code_needs_batches_and_has_no_exact_loss():
    spec = Autoencoder((9,), code="gaussian")
    with pytest.raises(ValueError, match=r"mapper draws its outputs.*engine='minibatch'"):
        restoring(3, spec, engine="dense").fit(X)
    model = restoring(3, spec).fit(X)
    assert type(model.engine_) is MiniBatch and model.loss_is_estimate_
    state = torch.random.get_rng_state()
    restoring(3, spec).fit(X)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_callback_sees_codes():
    seen = []
    model = restoring(3, "autoencoder", learning_rate=1e-12, callback=lambda r: seen.append(r.outputs())).fit(
        X
    )
    np.testing.assert_allclose(seen[-1], model.embedding_, atol=1e-6)


def test_parameters_of_a_cost_can_be_searched():
    model = recipes.sparse_autoencoder(n_components=4).set_params(
        mapper__cost__rho=0.3, mapper__hidden=(5,), max_iter=1
    )
    assert model.fit(X).mapper_.cost_of.rho == 0.3 and model.mapper_.encoder[0].out_features == 5


# --- refusals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        (
            Autoencoder(cost=Sparse()),
            ValueError,
            "cost=Sparse.. cannot be asked of code='plain'.*use code='sigmoid'",
        ),
        (Autoencoder(cost=Prior()), ValueError, "cannot be asked of code='plain'.*use code='gaussian'"),
        (Autoencoder(cost=0.1), TypeError, "cost=0.1 of an autoencoder is no cost.*mappers.Contractive"),
        (Autoencoder(code="tanh"), ValueError, "code='tanh' is not known"),
        (Autoencoder(code="sigmoid", cost=Sparse(1.5)), ValueError, "rho=1.5 is out of range"),
        (Autoencoder(cost=L1(-1)), ValueError, "weight=-1 is out of range"),
        (Autoencoder((0,)), ValueError, "hidden=0"),
        (ConvAutoencoder((9, 9)), ValueError, r"shape=\(9, 9\) holds 81 numbers, and a row has 64"),
        (ConvAutoencoder(8), TypeError, "shape=8 is no shape of images"),
        (ConvAutoencoder((8, 8), pool="mean"), ValueError, "pool='mean' is not known"),
    ],
)
def test_what_makes_no_autoencoder_is_said(spec, error, message):
    with pytest.raises(error, match=message):
        restoring(3, spec).fit(X)


def test_an_autoencoder_needs_targets():
    for model in (
        ICONEmbedding(3, mapper="autoencoder"),
        ICONClustering(3, mapper="autoencoder"),
        ICONClassifier(mapper="autoencoder"),
    ):
        with pytest.raises(ValueError, match=r"restores targets, and this p has none; use p='restore'"):
            model.fit(X, np.arange(120) % 3)
    with pytest.raises(ValueError, match=r"mapper='table' reads no features.*mapper='autoencoder'"):
        restoring(3, "table").fit(X)
    with pytest.raises(
        ValueError, match=r"have 64 numbers a row, and the outputs of the mapper 3.*Autoencoder\(\)"
    ):
        restoring(3, "linear").fit(X)
    with pytest.raises(ValueError, match=r"targets of p=.*have 64 numbers a row"):
        ICONClustering(3, p="restore", mapper="linear").fit(X)


@pytest.mark.cpu(reason="networks are in single precision on a device")
def test_other_q_tell_a_row_from_the_targets_of_others():
    """Contrast instead of likelihood: the same restored rows against all targets."""
    model = restoring(3, Autoencoder((9,)), q=Cosine(0.1), max_iter=2).fit(X)
    with torch.no_grad():
        restored = F.normalize(model.mapper_(torch.as_tensor(X)), dim=1)
    logits = restored @ F.normalize(torch.as_tensor(X), dim=1).T / 0.1
    assert model.loss_ == pytest.approx(float(F.cross_entropy(logits, torch.arange(120))), rel=1e-9)
