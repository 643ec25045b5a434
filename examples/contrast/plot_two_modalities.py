"""
Match two modalities, as CLIP does
==================================

A row may show the same thing twice, as an image and its caption do.  Here the two modalities are the upper and the
lower half of a handwritten digit.  Each half has an encoder of its own, and the loss is CLIP's: each upper half should
be nearest to its own lower half among all, and the other way round.
"""

# %%
# ``split=32`` says where the columns of X are cut.  ``max_iter`` counts epochs of mini-batches.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import normalize

from iconlearn import recipes
from iconlearn.engines import MiniBatch

X, y = load_digits(return_X_y=True)
X_train, X_new, _, y_new = train_test_split(X / 16, y, test_size=300, random_state=0, stratify=y)
model = recipes.clip(
    split=32, n_components=32, mapper="mlp", engine=MiniBatch(batch_size=256), max_iter=40, random_state=0
).fit(X_train)

# %%
# Both halves of held-out digits.  ``transform`` maps the first group of columns and ``transform_columns`` the second.

upper, lower = normalize(model.transform(X_new)), normalize(model.transform_columns(X_new))
similar = upper @ lower.T
order = (-similar).argsort(axis=1)
rank = (order == np.arange(len(X_new))[:, None]).argmax(axis=1)
print(f"the right lower half, of {len(X_new)}, comes first for {np.mean(rank == 0):.0%} of the upper ones,")
print(f"among the first five for {np.mean(rank < 5):.0%}; the first one shows the same digit for "
      f"{np.mean(y_new[order[:, 0]] == y_new):.0%}")  # fmt: skip

# %%
# An upper half, its own lower half, and the five lower halves that are most similar to it.  The right one has a blue
# frame.

shown = [np.flatnonzero(y_new == digit)[0] for digit in range(10)]
figure, axes = plt.subplots(5, 14, figsize=(12, 5.4))
figure.subplots_adjust(left=0.01, right=0.99, top=0.86, bottom=0.02, wspace=0.12, hspace=0.18)


def draw(ax, top, bottom, right):
    image = np.vstack([top.reshape(4, 8), bottom.reshape(4, 8)])
    ax.imshow(image, cmap="gray_r", vmin=0, vmax=1)
    ax.axhline(3.5, color="#bbbbbb", linewidth=0.8)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(color="#0072B2" if right else "#cccccc", linewidth=2.5 if right else 0.8)


for k, row in enumerate(shown):
    line, first = k % 5, 7 * (k // 5)
    top = X_new[row, :32]
    draw(axes[line, first], top, X_new[row, 32:], True)
    for place, guess in enumerate(order[row, :5]):
        draw(axes[line, first + 1 + place], top, X_new[guess, 32:], guess == row)
    axes[line, first + 6].axis("off")
for first in (0, 7):
    axes[0, first].set_title("the digit", fontsize=10, loc="left")
    axes[0, first + 1].set_title(
        "upper half, with the lower halves that fit it best", fontsize=10, loc="left"
    )
figure.suptitle("Lower halves found for upper halves, among 300 unseen digits", x=0.01, ha="left")
plt.show()
