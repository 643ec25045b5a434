"""
Follow information during a fit
===============================

A contrastive loss is a bound on information: the representation U of one view has at least log N - loss nats about the
other view Y.  How much U has about a label Z is another question, and how far the first guarantees the second depends
on how the views are made.  Two fits are followed here on held-out digits, and then temperature, width and batch size
are varied.
"""

# %%
# Half of the digits is for the fits, half for measurements.  Views of the first kind are one image with noise; those
# of the second are two images of one class, so that they share nothing but the class.

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from iconlearn import ICONEmbedding
from iconlearn.displays import InformationDisplay
from iconlearn.engines import MiniBatch
from iconlearn.learned import Cosine
from iconlearn.mappers import MLP
from iconlearn.metrics import InformationTracker, information_between, noise_information
from iconlearn.scorers import information_score
from iconlearn.supervisory import Labels, Views

NOISE = 0.3

X, y = load_digits(return_X_y=True)
X, rng = (X / 16).astype(np.float32), np.random.default_rng(0)
train, new = np.split(rng.permutation(len(X)), [898])
noisy = X[new] + NOISE * rng.normal(size=X[new].shape).astype(np.float32)
mates = [rng.choice(np.flatnonzero((y[new] == c) & (np.arange(len(new)) != i))) for i, c in enumerate(y[new])]


def with_noise(rows):
    return rows + NOISE * torch.randn_like(rows)


# %%
# A tracker is a callback.  It takes the current model's I(U; Y) on the held-out pairs, estimates I(U; Z), and computes
# what the first guarantees for the second: I(U; Y) - max(0, I(X; Y) - I(Y; Z)) where Y is made of X, and I(U; Y)
# itself where the views are independent given the label.

by_noise = InformationTracker(X[new], noisy, y[new], every=5, views=noise_information(X[new], NOISE))
by_class = InformationTracker(X[new], X[new][mates], y[new], every=1, assume="independent_given_label")

encoder = ICONEmbedding(
    16, p=Views(with_noise), q=Cosine(0.1), mapper=MLP(128), engine=MiniBatch(256), random_state=0
)
clone(encoder).set_params(callback=by_noise, max_iter=30).fit(X[train])
supervised = clone(encoder).set_params(p=Labels(), q__temperature=0.2, callback=by_class, max_iter=10)
supervised.fit(X[train], y[train])
for name, tracker in (("noise", by_noise), ("class mates", by_class)):
    print(f"{name}: I(X; Y) at most {tracker.views:.2f}, I(Y; Z) about {tracker.label_view:.2f} nats")
    print(tracker.to_pandas().round(3).to_string(), "\n")

# %%
# Noisy views share at most log 899 = 6.8 nats, since there are 899 images; the label has 2.3.  The encoder keeps much
# of that, and still the bound is negative: what it lost might have been the label.  (It was not, as the accuracy of a
# linear classifier shows.)

figure, axes = plt.subplots(1, 2, figsize=(12, 4), layout="constrained")
InformationDisplay.from_tracker(by_noise, axes=axes, unit="epoch", title="views by noise")
plt.show()

# %%
# Views of one class share the label alone.  All that U has about the other view it has about the label, and the bound
# rises towards its maximum.

figure, axes = plt.subplots(1, 2, figsize=(12, 4), layout="constrained")
InformationDisplay.from_tracker(by_class, axes=axes, unit="epoch", title="views by class")
plt.show()

# %%
# Now temperature, width and batch size, at ten epochs each.  :func:`iconlearn.scorers.information_score` is I(U; Y) by
# the kernel of the fit; the temperature that is best for the finished representation gives a higher estimate.

GRIDS = {
    "q__temperature": [0.05, 0.1, 0.2, 0.5],
    "mapper__hidden": [8, 16, 32, 64, 128, 256],
    "engine__batch_size": [64, 128, 256, 512],
}


def judged(parameter, value):
    """Information by the fit's kernel and by the best temperature, and accuracy of a linear classifier."""
    model = clone(encoder).set_params(max_iter=10, **{parameter: value}).fit(X[train])
    U = model.transform(X[new])
    probe = LogisticRegression(max_iter=1000).fit(model.transform(X[train]), y[train]).score(U, y[new])
    return information_score(model, X[new]), information_between(U, model.transform(noisy)), probe


figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained", sharey=True)
for ax, (parameter, values) in zip(axes, GRIDS.items(), strict=True):
    found = np.array([judged(parameter, value) for value in values])
    for value, (own, best, probe) in zip(values, found, strict=True):
        print(f"{parameter} {value}: {own:.2f} nats, best temperature {best:.2f}, probe {probe:.3f}")
    ax.plot(values, found[:, 0], "o-", color="#332288", lw=2, label="by the kernel of the fit")
    ax.plot(values, found[:, 1], "o--", color="#44AA99", lw=2, label="by the best temperature")
    for value, (_, best, probe) in zip(values, found, strict=True):
        ax.annotate(
            f"{probe:.2f}", (value, best), (0, 7), textcoords="offset points", ha="center", fontsize=9
        )
    ax.set(xscale="log", xlabel=parameter, ylim=(0, 7.2), xticks=values, xticklabels=values)
    ax.minorticks_off()
    ax.axhline(np.log(len(new)), color="#333333", lw=0.8, ls=(0, (4, 3)))
    ax.annotate(
        "log N", (1, np.log(len(new))), (-3, 2), ("axes fraction", "data"), "offset points", ha="right"
    )
    ax.spines[["top", "right"]].set_visible(False)
axes[0].set_ylabel("I(U; Y) at least (nats)")
axes[0].legend(frameon=False, loc="lower left")
axes[1].set_title("numbers: accuracy of a linear classifier", fontsize=11)
plt.show()

# %%
# With a low temperature the kernel's bound is closer to what the representation has; most of the fall to the right
# belongs to the kernel and not to the representation.  Eight hidden units are too few.  The batch size changes the
# number of steps, and the result little.  The accuracy is nearly the same for all: a bound on what views share chooses
# encoders of views, not of labels.
