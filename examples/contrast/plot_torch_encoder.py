"""
Train a convolutional encoder on views
======================================

The mapper is a small convolutional network, and ``p`` is :class:`~iconlearn.supervisory.Views`: two views of one image
belong together, and views are made by a function that rotates, shifts and stretches.  No label is used.  The encoder
learns to ignore these changes, which alter most of the pixels.
"""

# %%
# The digits.  Half of them is held out.

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from iconlearn import ICONEmbedding, views
from iconlearn.learned import Cosine
from iconlearn.supervisory import Views

X, y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32)
X_train, X_new, y_train, y_new = train_test_split(X, y, test_size=0.5, random_state=0, stratify=y)

# %%
# Views.  Their random numbers come from torch's generator, which a fit seeds, and whose state it restores at the end.

SHAPE = (8, 8)
view = views.compose(views.turn(SHAPE, 40), views.stretch(SHAPE, 0.15), views.move(SHAPE, 0.8))


def encoder(n_inputs, n_outputs):
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64 * 4 * 4, 128), nn.ReLU(),
        nn.Linear(128, n_outputs),
    )  # fmt: skip


model = ICONEmbedding(
    16, p=Views(view), q=Cosine(0.5), mapper=encoder, max_iter=60, random_state=0
).fit(X_train)  # fmt: skip
print(f"{model.n_iter_} epochs in {model.timings_['optimisation']:.0f} s, loss {model.loss_:.3f}")

# %%
# Held-out images, rotated by a growing angle, are classified by their ten nearest upright training images.

ANGLES = np.arange(0, 61, 5)


def all_turned(degrees):
    return views.turn(SHAPE, (degrees, degrees))(torch.from_numpy(X_new)).numpy()


def named_right(represent):
    votes = KNeighborsClassifier(10).fit(represent(X_train), y_train)
    return [votes.score(represent(all_turned(degrees)), y_new) for degrees in ANGLES]


curves = {"pixels": named_right(lambda rows: rows), "encoder": named_right(model.transform)}
for name, curve in curves.items():
    print(f"{name}: upright {curve[0]:.1%}, rotated by 30 degrees {curve[6]:.1%}, by 45 {curve[9]:.1%}")

# %%
# A map of held-out images, each rotated by a random angle, once from the pixels and once from the encoder's output.

torch.manual_seed(0)
turned = views.turn(SHAPE, 45)(torch.from_numpy(X_new)).numpy()
maps = {
    "rotated digits, from their pixels": turned,
    "the same, from the encoder": model.transform(turned),
}
maps = {title: ICONEmbedding(random_state=0).fit_transform(rows) for title, rows in maps.items()}

COLOURS = np.array(
    [
        "#332288", "#4499CC", "#44AA99", "#117733", "#999933",
        "#CC9933", "#CC6677", "#882255", "#AA4499", "#666666",
    ]
)  # fmt: skip


def draw_images(ax, Z, rows, digits, width=0.032):
    """Every second image at its place, in the ink of its digit."""
    Z = (Z - Z.min(0)) / np.ptp(Z, axis=0).max()
    for z, row, digit in zip(Z[::2], rows[::2], digits[::2], strict=True):
        ink = np.empty((8, 8, 4))
        ink[:] = plt.matplotlib.colors.to_rgba(COLOURS[digit])
        ink[..., 3] = row.reshape(8, 8).clip(0, 1)
        left, bottom = z - width / 2
        ax.imshow(ink, extent=(left, left + width, bottom, bottom + width), interpolation="bilinear")
    ax.set(xlim=(-width, Z[:, 0].max() + width), ylim=(-width, Z[:, 1].max() + width), aspect="equal")
    ax.axis("off")


figure = plt.figure(figsize=(16, 5.4))
left, middle, right = (figure.add_axes((x, 0.02, 0.33, 0.86)) for x in (0.005, 0.345, 0.69))
for ax, (title, Z) in zip((left, middle), maps.items(), strict=True):
    draw_images(ax, Z, turned, y_new)
    figure.text(ax.get_position().x0 + 0.02, 0.925, title, fontsize=14, weight="bold")

right.set_position((0.735, 0.13, 0.25, 0.46))
for (name, curve), colour, lift in zip(curves.items(), ("#888888", "#332288"), (6, -18), strict=True):
    right.plot(ANGLES, curve, color=colour, lw=3)
    right.annotate(
        name, (ANGLES[6], curve[6]), (8, lift), textcoords="offset points", color=colour, fontsize=13
    )
right.axvspan(0, 40, color="#332288", alpha=0.06, lw=0)
right.text(39, 0.03, "angles seen in training", ha="right", fontsize=10, color="#555555")
right.set(xlabel="rotation (degrees)", xlim=(0, 60), ylim=(0, 1.02), xticks=range(0, 61, 15))
right.set_title("accuracy of ten nearest neighbours", loc="left", fontsize=12)
right.spines[["top", "right"]].set_visible(False)

# Above the curve: an image, and views of it.
own = X_train[[3, 8]]
views = view(torch.from_numpy(np.repeat(own, 6, axis=0))).numpy()
strip = np.concatenate([own[:, None], views.reshape(2, 6, 64)], axis=1).reshape(2, 7, 8, 8)
strip = np.block([[np.pad(image, 1) for image in row] for row in strip])
top = figure.add_axes((0.735, 0.7, 0.25, 0.19))
top.imshow(strip, cmap="Greys", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
top.axvline(9.5, color="#332288", lw=2)
top.set_title("two digits, each with six views", loc="left", fontsize=12)
top.axis("off")
plt.show()
