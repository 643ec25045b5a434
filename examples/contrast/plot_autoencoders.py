"""
Restore rows from short codes: autoencoders
===========================================

An autoencoder restores every row from a short code of it.  In terms of p and q, p says that a row belongs to its own
features and to nothing else, and q is a density around what the decoder makes of the code.  The kinds differ in what
the code may be, what it costs, and what is seen of the row.
"""

# %%
# Half of the digits is held out.  Two codes a row can be drawn as they are; sixteen restore a digit well.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from iconlearn import recipes

X, y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32)
X_train, X_new, y_train, y_new = train_test_split(X, y, test_size=0.5, random_state=0, stratify=y)

made = {
    "principal components": lambda k: PCA(k),
    "autoencoder": lambda k: recipes.autoencoder(n_components=k, max_iter=60, random_state=0),
    "variational": lambda k: recipes.vae(n_components=k, sigma=0.05**0.5, max_iter=60, random_state=0),
    "denoising": lambda k: recipes.denoising_autoencoder(n_components=k, max_iter=60, random_state=0),
    "contractive": lambda k: recipes.contractive_autoencoder(n_components=k, max_iter=60, random_state=0),
}
narrow = {name: make(2).fit(X_train) for name, make in made.items()}
wide = {name: make(16).fit(X_train) for name, make in made.items()}
for name, model in wide.items():
    restored = model.inverse_transform(model.transform(X_new))
    print(
        f"{name:>20}: squared error of a held-out digit by 16 codes {((X_new - restored) ** 2).sum(axis=1).mean():.2f}"
    )

# %%
# Codes of held-out digits above, and below ten of these digits, restored from two codes and from sixteen.

COLOURS = np.array(
    [
        "#332288", "#88CCEE", "#44AA99", "#117733", "#999933",
        "#DDCC77", "#CC6677", "#882255", "#AA4499", "#888888",
    ]
)  # fmt: skip
shown = np.array([np.flatnonzero(y_new == digit)[0] for digit in range(10)])


def side_by_side(rows):
    """Ten images in one, each with a margin."""
    images = np.pad(rows.reshape(-1, 8, 8), ((0, 0), (1, 1), (1, 1)))
    return np.concatenate(list(images), axis=1)


figure, axes = plt.subplots(
    2, len(made), figsize=(16, 5.6), gridspec_kw={"height_ratios": [3, 1.6]}, layout="constrained"
)
for (top, bottom), name in zip(axes.T, made, strict=True):
    codes = narrow[name].transform(X_new)
    for digit in range(10):
        top.scatter(*codes[y_new == digit].T, s=5, c=COLOURS[digit], linewidths=0, label=str(digit))
    error = ((X_new - narrow[name].inverse_transform(codes)) ** 2).sum(axis=1).mean()
    top.set_title(f"{name}\ntwo codes, squared error {error:.1f}")
    top.set(xticks=[], yticks=[])
    strips = [X_new[shown]]
    strips += [model.inverse_transform(model.transform(X_new[shown])) for model in (narrow[name], wide[name])]
    bottom.imshow(np.concatenate([side_by_side(rows) for rows in strips]), cmap="gray_r", vmin=0, vmax=1)
    bottom.set(xticks=[], yticks=[5, 15, 25], yticklabels=["digit", "2 codes", "16 codes"])
    if name != "principal components":
        bottom.set_yticks([])
axes[0, 0].legend(markerscale=3, fontsize=8, loc="upper right", handletextpad=0.1, ncols=2, columnspacing=0.5)

# %%
# A variational autoencoder has a distribution of codes, from which new digits can be drawn.

figure, ax = plt.subplots(figsize=(8, 2.6), layout="constrained")
drawn = wide["variational"].sample(40, random_state=0).reshape(4, 10, 64)
ax.imshow(np.concatenate([side_by_side(rows) for rows in drawn]), cmap="gray_r", vmin=0, vmax=1)
ax.set(xticks=[], yticks=[], title="drawn from 16 codes, N(0, I)")
plt.show()
