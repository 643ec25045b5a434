"""Rows restored from a code or from a part of themselves: autoencoders of every kind, and restoring tasks."""

from __future__ import annotations

from math import prod

from .._checks import check_choice, image_shape
from ..engines import MiniBatch
from ..estimators import ICONEmbedding
from ..learned import Gaussian
from ..mappers import L1, Autoencoder, Contractive, ConvAutoencoder, Prior, Residual, Sparse
from ..supervisory import Restore
from ._recipe import recipe

OWN = {
    "p": "Own features",
    "q": "Density on the whole space",
    "estimator": "ICONEmbedding",
    "mapper": "autoencoder",
}
# Every row has its own target, so batches of any size have one and the same loss, and small ones more steps.
BATCH = 128
# At this width the loss is |x - d(z)|^2 and a constant.
UNIT = 0.5**0.5


def restored(mapper, n_components, p=None, sigma=UNIT, learnable=False):
    """The estimator that all of these are: one target for every row, and a Gaussian around what is restored."""
    q = Gaussian(sigma, learnable=learnable, normalize="space")
    return ICONEmbedding(n_components, p=p or Restore(), q=q, mapper=mapper, engine=MiniBatch(BATCH))


@recipe(
    "Autoencoder", **OWN,
    formula="p = 1 on the row itself, q = N(d(z), I / 2): loss -> mean |x - d(c(x))|²",
    paper="Rumelhart, Hinton and Williams, 1986",
    verified="torch's squared error; without hidden layers principal components, by scikit-learn",
)  # fmt: skip
def autoencoder(n_components=8, hidden=(128,)):
    return restored(Autoencoder(hidden), n_components)


@recipe(
    "Sparse autoencoder", **OWN,
    formula="mean |x - d(z)|² + w Σ_k KL(ρ | mean z_k), z within 0 and 1; or + w mean Σ_k |z_k|",
    paper="Ng, 2011; Olshausen and Field, 1996",
    verified="scipy's relative entropies of mean activations; absolute codes by numpy",
)  # fmt: skip
def sparse_autoencoder(n_components=128, penalty="kl", rho=None, weight=None, hidden=(128,)):
    check_choice("penalty", penalty, ("kl", "l1"))
    if penalty == "l1":
        if rho is not None:
            raise ValueError(
                f"rho={rho!r} with penalty='l1': a mean activation is wanted by penalty='kl' alone"
            )
        return restored(Autoencoder(hidden, cost=L1(0.01 if weight is None else weight)), n_components)
    cost = Sparse(0.05 if rho is None else rho, weight=0.05 if weight is None else weight)
    return restored(Autoencoder(hidden, code="sigmoid", cost=cost), n_components)


@recipe(
    "Denoising autoencoder", **OWN,
    formula="p = 1 on the row itself, seen with noise; q = N(d(z), I / 2)",
    paper="Vincent et al., ICML 2008",
    verified="torch's squared error over the same noise; a linear one is the Wiener filter",
)  # fmt: skip
def denoising_autoencoder(n_components=8, corrupt="noise", strength=0.3, hidden=(128,)):
    return restored(Autoencoder(hidden), n_components, Restore(corrupt=corrupt, strength=strength))


@recipe(
    "Contractive autoencoder", **OWN,
    formula="mean |x - d(z)|² + w mean |∂z / ∂x|²",
    paper="Rifai et al., ICML 2011",
    verified="torch.autograd.functional.jacobian, row by row",
)  # fmt: skip
def contractive_autoencoder(n_components=32, weight=0.02, hidden=(128,)):
    return restored(Autoencoder(hidden, cost=Contractive(weight)), n_components)


@recipe(
    "Variational autoencoder", **OWN,
    formula="- E log N(x; d(z), σ²) + β KL(q(z given x) | N(0, I)), z drawn",
    paper="Kingma and Welling, ICLR 2014; Higgins et al., ICLR 2017",
    verified="torch.distributions; a linear one reaches the likelihood of probabilistic PCA, by scikit-learn",
)  # fmt: skip
def vae(n_components=8, beta=1.0, sigma="learned", hidden=(128,)):
    mapper = Autoencoder(hidden, code="gaussian", cost=Prior(beta))
    learned = isinstance(sigma, str) and check_choice("sigma", sigma, ("learned",)) == "learned"
    return restored(mapper, n_components, sigma=1.0 if learned else sigma, learnable=learned)


@recipe(
    "Convolutional autoencoder", **OWN,
    formula="as the autoencoder, with c and d of convolutions",
    paper="Masci et al., ICANN 2011",
    verified="torch's squared error; layers of torch on the same weights",
)  # fmt: skip
def conv_autoencoder(shape, n_components=8, channels=(16, 32), pool="stride"):
    return restored(ConvAutoencoder(shape, channels, pool=pool), n_components)


def filled(shape, hidden, corrupt, strength=0.2):
    """The estimator of images in which something is missing: what is shown of a row is the restored image."""
    p = Restore(corrupt=corrupt, strength=strength, shape=shape)
    return restored(Residual(hidden), prod(image_shape(shape)), p)


@recipe(
    "Inpainting", **{**OWN, "mapper": "residual network"},
    formula="p = 1 on the image itself, of which the right part is hidden; q = N(x + f(x), I / 2), x what is seen",
    paper="Pathak et al., CVPR 2016",
    verified="torch's squared error from whole images; hand-made hidden parts",
)  # fmt: skip
def inpainting(shape, size=0.5, hidden=(256,)):
    return filled(shape, hidden, "right", size)


@recipe(
    "Super-resolution", **{**OWN, "mapper": "residual network"},
    formula="p = 1 on the image itself, seen in blocks of its means; q = N(x + f(x), I / 2), x what is seen",
    paper="Dong et al., ECCV 2014",
    verified="torch's squared error from whole images; hand-made means",
)  # fmt: skip
def super_resolution(shape, factor=2, hidden=(256,)):
    return filled(shape, hidden, "small", factor)


@recipe(
    "Colourisation", data="colour images", **{**OWN, "mapper": "residual network"},
    formula="p = 1 on the image itself, seen in grey; q = N(x + f(x), I / 2), x what is seen",
    paper="Zhang, Isola and Efros, ECCV 2016",
    verified="torch's squared error from images in colour; the brightness by hand",
)  # fmt: skip
def colorization(shape, hidden=(64,)):
    return filled(shape, hidden, "grey")
