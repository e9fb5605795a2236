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


def both_sides(most):
    """From -most to most: half of the numbers evenly, half with every size from 1e-9 on."""
    sizes = np.geomspace(1e-9, most, GRID // 4)
    return np.concatenate([np.linspace(-most, most, GRID // 2), -sizes, sizes])


def positive(low, high):
    return np.geomspace(low, high, GRID)


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


def hard(d, f):
    """A function with two branches."""
    return lambda x: tuple(
        (np.where(np.abs(x - WIDE(0.5)) < 1, inner, outer),) for inner, outer in zip(d(x), f(x))
    )


def torch_focal(gamma):
    """torchvision.ops.sigmoid_focal_loss without alpha."""

    def loss(x):
        p, y = torch.sigmoid(x), torch.ones_like(x)
        ce = F.binary_cross_entropy_with_logits(x, y, reduction="none")
        return ce * ((1 - (p * y + (1 - p) * (1 - y))) ** gamma)

    return loss


def full(x, value):
    return torch.full_like(x, value)


def hot(x):
    return torch.tensor([0.0, 1.0, 0.0], dtype=x.dtype).expand_as(x)


def ones(x):
    return torch.ones(len(x), dtype=torch.long)


# name: grid for f32 and f64, truth, PyTorch, over classes
CASES = {
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
    "huber, y = 0.5": (
        both_sides,
        (80, 700),
        hard(
            lambda x: ((x - 0.5) ** 2 / 2, x - 0.5, 1 + 0 * x),
            lambda x: (np.abs(x - 0.5) - 0.5, np.sign(x - 0.5), 0 * x),
        ),
        lambda x: F.huber_loss(x, full(x, 0.5), reduction="none"),
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
    return [v.detach().double().numpy() for v in (y, column, second)]


def cell(dtype, value):
    if value >= 2.0 ** (DIGITS[dtype] - 2):
        return "every digit"
    return f"{value:.2f}" if value < 100 else f"{value:.1e}"


HEAD = """
## First and second derivatives

The same for ops and losses of one number, over all of the range in which the derivatives are normal
numbers: half of the 20,000 inputs evenly spaced, half with every size down to 1e-9 (or all of them
by size, if only positive inputs are allowed). Softmax and the losses over classes are given the
logits {{0, x, -x}}; the derivatives are those in the second logit, of the class that is true.
An ulp is that of the true result, or of the largest of the terms that it is the sum of. PyTorch
{torch} has no focal loss; its column has the formula of `torchvision.ops.sigmoid_focal_loss`.
gradus' first derivatives are the recorded ones of `gr_grad`.

"every digit" stands where PyTorch forms a derivative as a difference, such as s (1 - s) with s near
1; near 0 the second derivative of tanh loses its digits too.
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
