# SPDX-License-Identifier: MIT
"""Measures first and second derivatives of gradus and PyTorch; prints a part of docs/accuracy.md.

That page also describes how to run it.

python derivatives.py PATH_OF_THE_BUILT_DERIVATIVES_C
"""

import subprocess
import sys

import numpy as np
import torch
import torch.nn.functional as F

WIDE = np.longdouble
GRID = 20_000
DTYPES = {"f32": (np.float32, torch.float32), "f64": (np.float64, torch.float64)}
DIGITS = {"f32": 24, "f64": 53}
ORDERS = ("value", "first", "second")
SMOOTH, EPS = WIDE(0.125), WIDE(2) ** -20


def both_sides(most):
    """From -most to most: half of the numbers evenly, half with every size from 1e-9 on."""
    sizes = np.geomspace(1e-9, most, GRID // 4)
    return np.concatenate([np.linspace(-most, most, GRID // 2), -sizes, sizes])


def positive(low, high):
    return np.geomspace(low, high, GRID)


def between_0_and_1(low, high):
    """Dense at both ends."""
    below, above = np.geomspace(low, 0.5, GRID // 2), np.geomspace(high, 0.5, GRID // 2)
    return np.concatenate([below, 1 - above])


def limits(dtype, of_f32, of_f64):
    return of_f32 if dtype == "f32" else of_f64


# ---- The truth: for each order the terms that it is the sum of ------------------------------------


def s(x):
    z = np.exp(-np.abs(x))
    return np.where(x < 0, z, 1) / (1 + z)


def slope(x):
    return s(x) * s(-x)


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def focal(gamma):
    def truth(x):
        b, m = softplus(-x), s(-x)
        factor = np.exp(-gamma * softplus(x))
        d = -s(x)
        return (
            (factor * b,),
            (-factor * m, factor * gamma * d * b),
            (
                factor * slope(x),
                -2 * factor * gamma * d * m,
                factor * gamma * gamma * d * d * b,
                -factor * gamma * slope(x) * b,
            ),
        )

    return truth


def shares(x):
    """s and 1 - s of the second of {0, x, -x}."""
    most = np.abs(x)
    of = [np.exp(v - most) for v in (0 * x, x, -x)]
    total = of[0] + of[1] + of[2]
    return of[1] / total, (of[0] + of[2]) / total, np.exp(-x) + np.exp(-2 * x)


def softmax(x):
    own, rest, _ = shares(x)
    return (own,), (own * rest,), (own * rest * rest, -own * rest * own)


def cross_entropy(x):
    own, rest, ratio = shares(x)
    value = np.where(x > 0, np.log1p(ratio), -np.log(own))
    return (value,), (-rest,), (own * rest,)


def smoothed(x):
    """Cross entropy with a smoothing of 1/8: 1/24 of the loss of each class."""
    own, rest, _ = shares(x)
    total = np.log(1 + np.exp(-np.abs(x)) + np.exp(-2 * np.abs(x))) + np.abs(x)
    return (
        (total, -(1 - SMOOTH) * x),
        (-(1 - 2 * SMOOTH / 3) * rest, 2 * SMOOTH / 3 * own),
        (own * rest,),
    )


def hard(delta, scale):
    """Huber's loss of d = x - 0.5, times a scale."""

    def truth(x):
        d = x - WIDE(0.5)
        near = np.abs(d) < delta
        return (
            (scale * np.where(near, d * d / 2, delta * (np.abs(d) - delta / 2)),),
            (scale * np.where(near, d, delta * np.sign(d)),),
            (scale * np.where(near, 1, 0 * d),),
        )

    return truth


def hinge(x, far):
    """x, or max(0, 0.25 - x)."""
    d = WIDE(0.25) - x
    if not far:
        return (x,), (1 + 0 * x,), (0 * x,)
    return (np.maximum(d, 0),), (-1.0 * (d > 0),), (0 * x,)


def cosine(x):
    """The cosine of (x, 1) and (1, 1): each order as a list of terms."""
    a, b = x * x + 1 + WIDE(1e-12), np.sqrt(2 + WIDE(1e-12))
    up, a1, a3, a5 = x + 1, b * np.sqrt(a), b * a * np.sqrt(a), b * a * a * np.sqrt(a)
    return (
        (x / a1, 1 / a1),
        (1 / a1, -up * x / a3),
        (-2 * x / a3, -up / a3, 3 * up * x * x / a5),
    )


def cosine_loss(margin):
    """1 - cos; or max(0, cos - margin) if there is a margin."""

    def truth(x):
        value, first, second = cosine(x)
        if margin is None:
            value, first, second = (tuple(-t for t in o) for o in (value, first, second))
            return (1 + 0 * x, *value), first, second
        on = sum(value) > margin
        return tuple(
            tuple(np.where(on, t, 0) for t in terms)
            for terms in ((*value, -margin + 0 * x), first, second)
        )

    return truth


def norm(p, x, y):
    """The p-norm of (x, y), and its derivatives in x."""
    r = np.maximum(np.abs(x), np.abs(y))
    r = r * ((np.abs(x) / r) ** p + (np.abs(y) / r) ** p) ** (1 / WIDE(p))
    t = np.abs(x) / r
    first = t ** (p - 1)
    second = (t ** (p - 2), -(t ** (2 * p - 2))) if p > 1 else (0 * x,)
    return r, np.sign(x) * first, tuple((p - 1) / r * v for v in second)


def triplet(p, swap=False):
    """max(0, 4 + |a - p| - |a - n|) for a = (x, 1), p = (0, 0), n = (-1, 2)."""

    def truth(x):
        near, far = norm(p, x + EPS, 1 + EPS), norm(p, x + 1 + EPS, WIDE(-1) + EPS)
        apart = norm(p, 1 + EPS + 0 * x, -2 + EPS + 0 * x)
        kept = far[0] <= apart[0] if swap else x == x
        far_value = np.where(kept, far[0], apart[0])
        on = 4 + (near[0] - far_value) > 0
        return (
            (4.0 * on, near[0] * on, -far_value * on),
            (near[1] * on, -far[1] * on * kept),
            (*(v * on for v in near[2]), *(-v * on * kept for v in far[2])),
        )

    return truth


def power(exponent):
    return lambda x: (
        (x**exponent,),
        (exponent * x ** (exponent - 1),),
        (exponent * (exponent - 1) * x ** (exponent - 2),),
    )


def bce(y):
    return lambda x: (
        (-y * np.log(x), -(1 - y) * np.log1p(-x)),
        (-y / x, (1 - y) / (1 - x)),
        (y / x**2, (1 - y) / (1 - x) ** 2),
    )


def torch_focal(gamma):
    """torchvision.ops.sigmoid_focal_loss without alpha."""

    def loss(x):
        p, y = torch.sigmoid(x), torch.ones_like(x)
        ce = F.binary_cross_entropy_with_logits(x, y, reduction="none")
        return ce * ((1 - (p * y + (1 - p) * (1 - y))) ** gamma)

    return loss


def vectors(x):
    return torch.stack((x, torch.ones_like(x)), 1)


def rows(x, *values):
    return torch.tensor(values, dtype=x.dtype).expand(len(x), 2)


def torch_cosine(y, margin):
    return lambda x: F.cosine_embedding_loss(
        vectors(x), rows(x, 1.0, 1.0), full(x, y), margin=margin, reduction="none"
    )


def torch_triplet(p, swap=False):
    return lambda x: F.triplet_margin_loss(
        vectors(x), rows(x, 0.0, 0.0), rows(x, -1.0, 2.0), 4.0, p, 2.0**-20, swap, reduction="none"
    )


def torch_bce(y):
    return lambda x: F.binary_cross_entropy(x, full(x, y), reduction="none")


def full(x, value):
    return torch.full_like(x, value)


def hot(x):
    return torch.tensor([0.0, 1.0, 0.0], dtype=x.dtype).expand_as(x)


def ones(x):
    return torch.ones(len(x), dtype=torch.long)


# name: grid for f32 and f64, truth, PyTorch, over classes
CASES = {
    "1 / x": (
        both_sides,
        (1e9, 1e100),
        lambda x: ((1 / x,), (-1 / x**2,), (2 / x**3,)),
        torch.reciprocal,
    ),
    "x^2.5": (positive, ((1e-12, 1e12), (1e-100, 1e100)), power(WIDE(2.5)), lambda x: x**2.5),
    "square": (
        both_sides,
        (1e12, 1e100),
        lambda x: ((x * x,), (2 * x,), (2 + 0 * x,)),
        torch.square,
    ),
    "abs": (
        both_sides,
        (1e30, 1e300),
        lambda x: ((np.abs(x),), (np.sign(x),), (0 * x,)),
        torch.abs,
    ),
    "relu": (
        both_sides,
        (1e30, 1e300),
        lambda x: ((np.maximum(x, 0),), (1.0 * (x > 0),), (0 * x,)),
        torch.relu,
    ),
    "exp": (both_sides, (80, 700), lambda x: ((np.exp(x),),) * 3, torch.exp),
    "log": (
        positive,
        ((1e-12, 1e12), (1e-100, 1e100)),
        lambda x: ((np.log(x),), (1 / x,), (-1 / x**2,)),
        torch.log,
    ),
    "log1p": (
        positive,
        ((1e-12, 1e12), (1e-100, 1e100)),
        lambda x: ((np.log1p(x),), (1 / (1 + x),), (-1 / (1 + x) ** 2,)),
        torch.log1p,
    ),
    "sqrt": (
        positive,
        ((1e-12, 1e12), (1e-100, 1e100)),
        lambda x: ((np.sqrt(x),), (0.5 / np.sqrt(x),), (-0.25 / (x * np.sqrt(x)),)),
        torch.sqrt,
    ),
    "sigmoid": (
        both_sides,
        (80, 700),
        lambda x: ((s(x),), (slope(x),), (-np.tanh(x / 2) * slope(x),)),
        torch.sigmoid,
    ),
    "tanh": (
        both_sides,
        (40, 350),
        lambda x: ((np.tanh(x),), (4 * slope(2 * x),), (-8 * np.tanh(x) * slope(2 * x),)),
        torch.tanh,
    ),
    "softplus": (
        both_sides,
        (80, 700),
        lambda x: ((softplus(x),), (s(x),), (slope(x),)),
        F.softplus,
    ),
    "softmax": (both_sides, (40, 350), softmax, lambda x: (torch.softmax(x, 1) * hot(x)).sum(1), 3),
    "nll of log_softmax": (
        both_sides,
        (80, 700),
        cross_entropy,
        lambda x: F.nll_loss(torch.log_softmax(x, 1), ones(x), reduction="none"),
        3,
    ),
    "cross_entropy of a class": (
        both_sides,
        (80, 700),
        cross_entropy,
        lambda x: F.cross_entropy(x, ones(x), reduction="none"),
        3,
    ),
    "cross_entropy of probabilities": (
        both_sides,
        (80, 700),
        cross_entropy,
        lambda x: F.cross_entropy(x, hot(x), reduction="none"),
        3,
    ),
    "cross_entropy, label_smoothing 0.125": (
        both_sides,
        (80, 700),
        smoothed,
        lambda x: F.cross_entropy(x, ones(x), label_smoothing=0.125, reduction="none"),
        3,
    ),
    "multilabel_soft_margin": (
        both_sides,
        (80, 700),
        lambda x: ((np.log(WIDE(2)) / 3 + 2 * softplus(-x) / 3,), (-s(-x) / 3,), (slope(x) / 3,)),
        lambda x: F.multilabel_soft_margin_loss(x, hot(x), reduction="none"),
        3,
    ),
    **{
        f"bce, y = {y:g}": (
            between_0_and_1,
            ((2e-12, 2.0**-24), (2e-12, 2e-12)),
            bce(WIDE(y)),
            torch_bce(y),
        )
        for y in (1, 0, 0.25)
    },
    "bce_with_logits, y = 1": (
        both_sides,
        (80, 700),
        lambda x: ((softplus(-x),), (-s(-x),), (slope(x),)),
        lambda x: F.binary_cross_entropy_with_logits(x, full(x, 1), reduction="none"),
    ),
    "focal loss, gamma 2, y = 1": (both_sides, (28, 230), focal(WIDE(2)), torch_focal(2)),
    "focal loss, gamma 0.5, y = 1": (both_sides, (50, 460), focal(WIDE(0.5)), torch_focal(0.5)),
    "soft_margin, y = 1": (
        both_sides,
        (80, 700),
        lambda x: ((softplus(-x),), (-s(-x),), (slope(x),)),
        lambda x: F.soft_margin_loss(x, full(x, 1), reduction="none"),
    ),
    "poisson_nll, y = 3": (
        both_sides,
        (80, 700),
        lambda x: ((np.exp(x), -3 * x), (np.exp(x), -3 + 0 * x), (np.exp(x),)),
        lambda x: F.poisson_nll_loss(x, full(x, 3), reduction="none"),
    ),
    "poisson_nll of a rate, y = 3": (
        positive,
        ((1e-4, 1e12), (1e-4, 1e100)),
        lambda x: (
            (x, -3 * np.log(x + WIDE(1e-8))),
            (1 + 0 * x, -3 / (x + WIDE(1e-8))),
            (3 / (x + WIDE(1e-8)) ** 2,),
        ),
        lambda x: F.poisson_nll_loss(x, full(x, 3), log_input=False, reduction="none"),
    ),
    "kl_div in x, y = 0.375": (
        both_sides,
        (1e9, 1e100),
        lambda x: (
            (WIDE(0.375) * np.log(WIDE(0.375)) + 0 * x, -WIDE(0.375) * x),
            (-WIDE(0.375) + 0 * x,),
            (0 * x,),
        ),
        lambda x: F.kl_div(x, full(x, 0.375), reduction="none"),
    ),
    "kl_div in log y": (
        both_sides,
        (80, 700),
        lambda x: tuple((np.exp(x) * x, np.exp(x) * (3 + i)) for i in range(3)),
        lambda x: F.kl_div(full(x, -3), x, log_target=True, reduction="none"),
    ),
    "kl_div in y": (
        positive,
        ((1e-12, 1), (1e-100, 1)),
        lambda x: ((x * np.log(x), 3 * x), (np.log(x), 1 + 0 * x, 3 + 0 * x), (1 / x,)),
        lambda x: F.kl_div(full(x, -3), x, reduction="none"),
    ),
    "mse, y = 0.5": (
        both_sides,
        (80, 700),
        lambda x: (((x - 0.5) ** 2,), (2 * (x - 0.5),), (2 + 0 * x,)),
        lambda x: F.mse_loss(x, full(x, 0.5), reduction="none"),
    ),
    "l1, y = 0.5": (
        both_sides,
        (1e9, 1e100),
        lambda x: ((np.abs(x - 0.5),), (np.sign(x - 0.5),), (0 * x,)),
        lambda x: F.l1_loss(x, full(x, 0.5), reduction="none"),
    ),
    "huber, y = 0.5": (
        both_sides,
        (80, 700),
        hard(WIDE(1), 1),
        lambda x: F.huber_loss(x, full(x, 0.5), reduction="none"),
    ),
    "huber, delta 0.25, y = 0.5": (
        both_sides,
        (80, 700),
        hard(WIDE(0.25), 1),
        lambda x: F.huber_loss(x, full(x, 0.5), delta=0.25, reduction="none"),
    ),
    "smooth_l1, y = 0.5": (
        both_sides,
        (80, 700),
        hard(WIDE(1), 1),
        lambda x: F.smooth_l1_loss(x, full(x, 0.5), reduction="none"),
    ),
    "smooth_l1, beta 0.25, y = 0.5": (
        both_sides,
        (80, 700),
        hard(WIDE(0.25), 1 / WIDE(0.25)),
        lambda x: F.smooth_l1_loss(x, full(x, 0.5), beta=0.25, reduction="none"),
    ),
    "hinge_embedding, y = 1": (
        both_sides,
        (80, 700),
        lambda x: hinge(x, False),
        lambda x: F.hinge_embedding_loss(x, full(x, 1), margin=0.25, reduction="none"),
    ),
    "hinge_embedding, y = -1": (
        both_sides,
        (80, 700),
        lambda x: hinge(x, True),
        lambda x: F.hinge_embedding_loss(x, full(x, -1), margin=0.25, reduction="none"),
    ),
    "cosine_embedding, y = 1": (
        both_sides,
        (1e9, 1e60),
        cosine_loss(None),
        torch_cosine(1, 0.0),
    ),
    "cosine_embedding, margin 0.25, y = -1": (
        both_sides,
        (1e9, 1e60),
        cosine_loss(WIDE(0.25)),
        torch_cosine(-1, 0.25),
    ),
    "triplet_margin": (both_sides, (1e9, 1e100), triplet(2), torch_triplet(2)),
    "triplet_margin, swap": (both_sides, (1e9, 1e100), triplet(2, True), torch_triplet(2, True)),
    "triplet_margin, p 1": (both_sides, (1e9, 1e100), triplet(1), torch_triplet(1)),
    "triplet_margin, p 3": (both_sides, (1e9, 1e90), triplet(3), torch_triplet(3)),
    "gaussian_nll in x, v = 0.75": (
        both_sides,
        (1e9, 1e100),
        lambda x: (
            (np.log(WIDE(0.75)) / 2 + 0 * x, (x - 0.5) ** 2 / WIDE(1.5)),
            ((x - 0.5) / WIDE(0.75),),
            (1 / WIDE(0.75) + 0 * x,),
        ),
        lambda x: F.gaussian_nll_loss(x, full(x, 0.5), full(x, 0.75), reduction="none"),
    ),
    "gaussian_nll in the variance, d = 1": (
        positive,
        ((1e-5, 1e9), (1e-5, 1e90)),
        lambda x: (
            (np.log(x) / 2, 0.5 / x),
            (0.5 / x, -0.5 / x**2),
            (-0.5 / x**2, 1 / x**3),
        ),
        lambda x: F.gaussian_nll_loss(full(x, 1), full(x, 0), x, reduction="none"),
    ),
}


def ulps(dtype, got, terms):
    """Returns the largest error, in ulp of the true value or of its largest term."""
    truth = sum(terms)
    scale = np.abs(truth)
    for term in terms:
        scale = np.maximum(scale, np.abs(term))
    lowest = -149 if dtype == "f32" else -1074
    exponent = np.frexp(np.where(scale > 0, scale, WIDE(2) ** lowest))[1] - DIGITS[dtype]
    unit = np.ldexp(WIDE(1), np.maximum(exponent, lowest))
    error = np.abs(got.astype(WIDE) - truth) / unit
    return float(np.where(np.isfinite(error), error, np.inf).max())


def gradus(program, name, dtype, x):
    done = subprocess.run(
        [program, name, dtype, str(len(x))],
        input=x.tobytes(),
        stdout=subprocess.PIPE,
        check=True,
    )
    return np.frombuffer(done.stdout).reshape(3, len(x))


def pytorch(function, dtype, x, classes):
    x = torch.tensor(x, dtype=DTYPES[dtype][1])
    if classes:
        x = x[:, None] * torch.tensor([0.0, 1.0, -1.0], dtype=x.dtype)
    x.requires_grad_()
    y = function(x)
    (first,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    column = first[:, 1] if classes else first
    second = torch.zeros_like(x)
    if column.requires_grad:
        (second,) = torch.autograd.grad(column.sum(), x, allow_unused=True)
    second = second[:, 1] if classes else second
    return [v.detach().double().numpy(force=True) for v in (y, column, second)]


def cell(dtype, value):
    if value >= 2.0 ** (DIGITS[dtype] - 2):
        return "every digit"
    return f"{value:.2f}" if value < 100 else f"{value:.1e}"


HEAD = """
## First and second derivatives

The same for ops and losses of one number, over all of the range in which the derivatives are normal
numbers: half of the 20,000 inputs evenly spaced, half with every size down to 1e-9 (or all of them
by size, if only positive inputs are allowed). Softmax and the losses over classes are given the
logits {{0, x, -x}}; the derivatives are those in the second logit, of the class that is true. bce is
measured where the denominator x (1 - x) is above 1e-12, its lower limit. cosine_embedding has the
vectors (x, 1) and (1, 1); triplet_margin has the anchor (x, 1), (0, 0), (-1, 2), a margin of 4 and
an eps of 2^-20.
An ulp is that of the true result, or of the largest of the terms that it is the sum of. PyTorch
{torch} has no focal loss; its column has the formula of `torchvision.ops.sigmoid_focal_loss`.
gradus' first derivatives are the recorded ones of `gr_grad`.

"every digit" stands where PyTorch forms a derivative as a difference, such as s (1 - s) with s near
1; near 0 the second derivative of tanh loses its digits too. Every step of a composition rounds
once: this adds up to 4 to 8 ulp in second derivatives of a square root, a norm or a cosine.
gradus has no row with "every digit".
"""


def main():
    np.seterr(all="ignore")
    torch.set_num_threads(1)
    print(HEAD.format(torch=torch.__version__.split("+")[0]))
    print("| | derivative | gradus f32 | PyTorch f32 | gradus f64 | PyTorch f64 |")
    print("|---|---|---|---|---|---|")
    for name, case in CASES.items():
        grid, ends, truth, function = case[:4]
        cells = {order: [] for order in ORDERS}
        for i, dtype in enumerate(DTYPES):
            x = grid(*ends[i]) if isinstance(ends[i], tuple) else grid(ends[i])
            x = x.astype(DTYPES[dtype][0]).astype(float)
            exact = truth(x.astype(WIDE))
            for found in (
                gradus(sys.argv[1], name, dtype, x),
                pytorch(function, dtype, x, len(case) > 4),
            ):
                for order, got, terms in zip(ORDERS, found, exact):
                    cells[order].append(cell(dtype, ulps(dtype, got, terms)))
        for order in ORDERS:
            print(f"| {name} | {order} | " + " | ".join(cells[order]) + " |")


if __name__ == "__main__":
    main()
