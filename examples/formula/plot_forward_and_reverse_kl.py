"""
Choose the direction of KL: cover modes or seek one
===================================================

KL is not symmetric.  KL(p || q) is large where q is small and p is not, so a q of too few parameters spreads over all
of p; KL(q || p) is large where p is small and q is not, so the same q settles on a part of p and omits the rest.  Every
estimator takes either, as ``divergence="kl"`` or ``"reverse_kl"``; this picture has the simplest p and q that show the
difference.
"""

# %%
# p has two modes, of 60 and 40 per cent; q is a single Gaussian, whose mean and width are to be found.

import matplotlib.pyplot as plt
import numpy as np
import torch

from iconlearn.divergences import KL, ReverseKL
from iconlearn.metrics import cross_entropy, divergence, entropy

x = torch.linspace(-20, 20, 2001, dtype=torch.float64)


def log_bump(mean, width):
    """Log probabilities of a Gaussian on the grid."""
    return torch.log_softmax(-0.5 * ((x - mean) / width) ** 2, dim=0)


p = 0.6 * log_bump(-3.0, 0.7).exp() + 0.4 * log_bump(3.0, 0.7).exp()

# %%
# The summands that the estimators sum, minimised by hand.


def fitted(summand, mean, width=1.0):
    """Mean, width and divergence of the best bump from a start on."""
    place = torch.tensor([mean, np.log(width)], dtype=torch.float64, requires_grad=True)
    steps = torch.optim.LBFGS([place], max_iter=200, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def loss():
        steps.zero_grad()
        value = summand(p, log_bump(place[0], place[1].exp())).sum()
        value.backward()
        return value

    steps.step(loss)
    return float(place[0].detach()), float(place[1].detach().exp()), float(loss().detach())


fits = {
    (name, start): fitted(summand, start)
    for name, summand in (("KL(p || q)", KL()), ("KL(q || p)", ReverseKL()))
    for start in (-2.0, 2.0)
}
for (name, start), (mean, width, loss) in fits.items():
    print(f"{name} from {start:+.0f}: mean {mean:+.3f}, width {width:.3f}, divergence {loss:.4f} nats")

# %%
# The forward fit has the mean and the width of p itself, from either start.  The reverse fit is one of the modes, at a
# divergence of - log of that mode's share: 0.511 for 0.6 and 0.916 for 0.4.  The second is a local minimum only, and
# no gradient near it leads to the better one.

moments = float((p * x).sum()), float((p * x**2).sum() - (p * x).sum() ** 2) ** 0.5
print(f"mean and width of p: {moments[0]:+.3f}, {moments[1]:.3f};  - log 0.6 = {-np.log(0.6):.4f}")

# %%
# What it costs to code draws from p by q.  H(p) is the shortest mean code length of draws from p; a code that was made
# for q needs H(p, q), and KL is the difference.

q = log_bump(*fits["KL(p || q)", -2.0][:2]).exp().numpy()
bits = entropy(p.numpy(), base=2), cross_entropy(p.numpy(), q, base=2)
extra = divergence(p.numpy(), q, base=2)
print(
    f"{bits[1]:.3f} bits for a draw from p by the code of q, {bits[0]:.3f} by its own: {extra:.3f} too many"
)

# %%
# Each fit over p, and the two divergences of a bump of width 0.7 as a function of its mean: one valley, and two.

BLUE, RED = "#332288", "#CC6677"
figure, axes = plt.subplots(1, 3, figsize=(14, 4), layout="constrained", width_ratios=[1, 1, 1.15])
step = float(x[1] - x[0])
for ax, name, colour in zip(axes, ("KL(p || q)", "KL(q || p)"), (BLUE, RED), strict=False):
    ax.fill_between(x, p / step, color="#DDDDDD", lw=0)
    ax.text(-3, 0.355, "p", ha="center", color="#777777", fontsize=12)
    for start, style in ((-2.0, "-"), (2.0, (0, (4, 2)))):
        mean, width, loss = fits[name, start]
        ax.plot(x, log_bump(mean, width).exp() / step, color=colour, lw=2.5, ls=style)
        if start < 0 or name == "KL(q || p)":
            top = 1 / (width * np.sqrt(2 * np.pi))
            ax.annotate(
                f"{loss:.3f}", (mean, top), (0, 5), textcoords="offset points", ha="center", color=colour
            )
    said = "covers both modes" if colour == BLUE else "seeks a mode, by where it starts"
    ax.set_title(f"{name}: {said}", loc="left", fontsize=12)
    ax.set(xlim=(-8, 8), ylim=(0, 0.64), yticks=[], xlabel="x")
    ax.spines[["top", "right", "left"]].set_visible(False)

means = np.linspace(-6, 6, 121)
for kind, name, colour, at, lift in (
    ("kl", "KL(p || q)", BLUE, -3.2, (6, 6)),
    ("reverse_kl", "KL(q || p)", RED, -4.4, (2, 6)),
):
    curve = np.array([divergence(p.numpy(), log_bump(m, 0.7).exp().numpy(), kind) for m in means])
    axes[2].plot(means, curve, color=colour, lw=2.5)
    near = np.abs(means - at).argmin()
    axes[2].annotate(name, (at, curve[near]), lift, textcoords="offset points", color=colour, fontsize=12)
axes[2].set_title("a bump of width 0.7, moved", loc="left", fontsize=12)
axes[2].set(xlabel="its mean", ylabel="divergence (nats)", ylim=(0, 40), xlim=(-6, 6))
axes[2].spines[["top", "right"]].set_visible(False)
plt.show()
