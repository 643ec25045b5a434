"""
Learn word vectors and solve analogies
======================================

Skip-gram learns a vector for each word from the words around it.  Where two words differ in the same way, so do their
vectors: king - man + woman is near queen.  In the sentences below the words near a word depend on its role and on its
sex, and the pictures show the differences between the members of the pairs.
"""

# %%
# Sentences of a small grammar: forty-three words, of which six pairs differ by sex alone.

import itertools

import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import PCA

from iconlearn import recipes, words

PAIRS = [("man", "woman"), ("king", "queen"), ("prince", "princess"), ("boy", "girl"), ("father", "mother"),
         ("son", "daughter")]  # fmt: skip
OF_SEX = (["he", "his", "beard"], ["she", "her", "dress"])
rng = np.random.default_rng(0)
lines = []
for _ in range(3000):
    role, sex = rng.integers(6), rng.integers(2)
    things = [f"{PAIRS[role][0]}'s thing {k}" for k in rng.choice(4, 2, replace=False)]
    line = [PAIRS[role][sex], *things, *rng.choice(OF_SEX[sex], 2, replace=False)]
    lines.append(["the", *rng.permutation(line)])

# %%
# Three models of the choice of a word among all: a softmax over the vocabulary; the branches on the way down a tree,
# in which frequent words are near the root; and whether a pair of words is from the text or random.  And CBOW, which
# predicts a word from the bag of words around it.

questions = [(*a, *b) for a, b in itertools.permutations(PAIRS, 2)]
fits = {
    output: recipes.skip_gram(n_components=16, subsample=None, output=output, random_state=0).fit(lines)
    for output in ("softmax", "tree", "negative")
}
fits["CBOW"] = recipes.cbow(n_components=16, subsample=None, max_iter=100, random_state=0).fit(lines)
for name, model in fits.items():
    print(f"{name:9}{30 * words.analogy_accuracy(model, questions):3.0f} of 30 analogies")

model = fits["negative"]
print("man is to king as woman is to", words.analogy(model, "man", "king", "woman", n=3))
print("like 'he':", words.most_similar(model, "he", n=3))

# %%
# Left, the twelve words along the mean difference of the pairs and one other direction, each pair as an arrow.  Right,
# the cosines of the six arrows with one another in all sixteen dimensions: they point in similar directions.

vectors = words.word_vectors(model)
place = {word: k for k, word in enumerate(model.vocabulary_)}
U = vectors[[place[word] for pair in PAIRS for word in pair]]
arrows = U[1::2] - U[::2]
# Across, what the sexes differ by; up, the direction in which the rest varies most.
sex = arrows.mean(0) / np.linalg.norm(arrows.mean(0))
across = (U - U.mean(0)) @ sex
rest = (U - U.mean(0)) - np.outer(across, sex)
up = PCA(1, random_state=0).fit_transform(rest)[:, 0]


def apart(heights):
    """Heights of names, none of which covers another."""
    order, gap = np.argsort(heights), 0.055 * np.ptp(up)
    placed = heights[order].copy()
    for k in range(1, len(placed)):
        placed[k] = max(placed[k], placed[k - 1] + gap)
    return placed[np.argsort(order)]


figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.6), width_ratios=(1.5, 1))
for k in range(6):
    left.annotate("", (across[2 * k + 1], up[2 * k + 1]), (across[2 * k], up[2 * k]),
                  arrowprops={"arrowstyle": "->", "color": f"C{k}"})  # fmt: skip
for member, side, place in ((0, "right", across[::2].min() - 0.12), (1, "left", across[1::2].max() + 0.12)):
    for k, height in enumerate(apart(up[member::2])):
        left.text(place, height, PAIRS[k][member], ha=side, va="center", color=f"C{k}", fontsize=9)
left.scatter(across, up, c=[f"C{k}" for k in range(6) for _ in range(2)], s=12)
left.margins(0.22, 0.1)
left.set(
    xlabel="along the mean difference of the pairs",
    ylabel="first principal axis of the rest",
    xticks=[],
    yticks=[],
)
left.set_title("word vectors of skip-gram, 16 dimensions", fontsize=10, loc="left")

directions = arrows / np.linalg.norm(arrows, axis=1, keepdims=True)
image = right.imshow(directions @ directions.T, vmin=0, vmax=1, cmap="Blues")
names = [f"{b} - {a}" for a, b in PAIRS]
right.set_xticks(range(6), names, rotation=45, ha="right", fontsize=8)
right.set_yticks(range(6), names, fontsize=8)
right.set_title("cosines of the differences", fontsize=10, loc="left")
figure.colorbar(image, ax=right, shrink=0.7)
figure.tight_layout()
