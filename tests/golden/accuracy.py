# SPDX-License-Identifier: MIT
"""Measures gradus and PyTorch on the same grid and prints docs/accuracy.md.

That page also describes how to run it.

python accuracy.py PATH_OF_THE_BUILT_ACCURACY_C > docs/accuracy.md
"""

import subprocess
import sys

import numpy as np
import torch
import torch.nn.functional as F

import make

GRID = 100_000
HARD, SOFT = (0.0, 1.0), (0.1, 0.25, 0.5, 0.9)
GRADIENTS = ("dx", "dy", "dw", "dp")
NAMES = ("loss", *GRADIENTS, *(f"{name} of a sum" for name in GRADIENTS), "dx of a mean")
WIDE = np.longdouble
DIGITS = {"f32": 24, "f64": 53}


def logits():
    t = (2.0 * np.arange(GRID) - (GRID - 1)) / (GRID - 1)
    return 1e4 * (t * t) * (t * t) * t


def probabilities():
    low = np.ldexp(
        1.0 + np.arange(GRID // 2) % 500 / 500.0, -1 - np.arange(GRID // 2) * 38 // (GRID // 2)
    )
    return np.concatenate([low / 2, 1 - np.maximum(low / 2, 2.0**-24)])


def terms(op, x, y, p):
    """Returns the two terms of each quantity, in long double."""
    one = np.ones_like(x)
    found = (make.terms_of_logits if op == "logits" else make.terms_of_probabilities)(x, y, one, p)
    found["dw"] = found["loss"]
    if op == "logits":
        found["dp"] = (make.times(y, make.softplus(-x)), 0 * x)
    else:
        found["dp"] = (y * np.minimum(-np.log(x), 100), 0 * x)
    found.update({f"{name} of a sum": found[name] for name in GRADIENTS})
    found["dx of a mean"] = tuple(term / len(x) for term in found["dx"])
    return found


def ulps(dtype, got, pair):
    """Returns the largest error, in ulp of the true value or of its terms, whichever is larger."""
    narrow = make.DTYPES[dtype][0]
    truth = pair[0] + pair[1]
    scale = np.maximum(np.abs(truth), np.maximum(np.abs(pair[0]), np.abs(pair[1])))
    # If scale rounds up to a power of two, spacing() is twice as large and would halve the error.
    lowest = -149 if dtype == "f32" else -1074
    exponent = np.where(
        scale > 0, np.frexp(np.where(scale > 0, scale, 1))[1] - DIGITS[dtype], lowest
    )
    unit = np.ldexp(WIDE(1), np.maximum(exponent, lowest))
    error = np.abs(got.astype(WIDE) - truth) / unit
    return float(np.where(np.isfinite(error), error, np.inf).max())


def gradus(program, op, dtype, p, x, y):
    words = [program, "logits" if op == "logits" else "bce", dtype, repr(p), str(len(x))]
    done = subprocess.run(
        words, input=x.tobytes() + y.tobytes(), stdout=subprocess.PIPE, check=True
    )
    return dict(zip(NAMES, np.frombuffer(done.stdout).reshape(len(NAMES), len(x))))


def pytorch(op, dtype, p, x, y):
    own = make.DTYPES[dtype][1]
    x, y = torch.tensor(x, dtype=own, requires_grad=True), torch.tensor(
        y, dtype=own, requires_grad=True
    )
    if op == "logits":
        given = torch.full((1,), p, dtype=own) if p else None
        loss = F.binary_cross_entropy_with_logits(x, y, reduction="none", pos_weight=given)
    else:
        loss = F.binary_cross_entropy(x, y, reduction="none")
    dx, dy = torch.autograd.grad(loss.sum(), [x, y], retain_graph=True)
    (dx_of_mean,) = torch.autograd.grad(loss.mean(), [x])
    found = {"loss": loss, "dx": dx, "dy": dy, "dx of a mean": dx_of_mean}
    found |= {"dx of a sum": dx, "dy of a sum": dy}
    return {name: v.detach().double().numpy() for name, v in found.items()}


def measure(program, op, p, targets):
    """Returns a map (quantity, dtype, library) -> ulp."""
    worst = {}
    grid = logits() if op == "logits" else probabilities()
    for dtype in make.DTYPES:
        for target in targets:
            narrow = make.DTYPES[dtype][0]
            x, y = grid.astype(narrow).astype(float), np.full(GRID, target).astype(narrow).astype(
                float
            )
            truth = terms(op, x.astype(WIDE), y.astype(WIDE), np.full(GRID, p or 1, WIDE))
            for who, found in (
                ("gradus", gradus(program, op, dtype, p, x, y)),
                ("torch", pytorch(op, dtype, p, x, y)),
            ):
                for name, got in found.items():
                    key = (name, dtype, who)
                    worst[key] = max(worst.get(key, 0), ulps(dtype, got, truth[name]))
    return worst


def cell(worst, name, dtype, who):
    if (name, dtype, who) not in worst:
        return "no gradient"
    value = worst[name, dtype, who]
    if value >= 2.0 ** (DIGITS[dtype] - 2):
        return "every digit"
    return f"{value:.2f}" if value < 100 else f"{value:.1e}"


HEAD = """# Accuracy

How far the binary cross entropies and their gradients are from the truth at worst, in units in
the last place (ulp), over a grid of 100,000 inputs for each target; beside them PyTorch {torch}
on its processor kernels, on the same grid.

* **Logits**: from -1e4 to 1e4, dense around 0 (1e4 t^5 for evenly spaced t): a third lie within
  42 of 0.
* **Probabilities**: from 2^-40 to 1 - 2^-24, dense at both ends.
* **Targets**: hard ones are 0 and 1; soft ones 0.1, 0.25, 0.5 and 0.9. Inputs and targets are
  rounded to the dtype first.
* **Truth**: the closed forms of `gradus/losses.h` in 80-bit long double, which has 11 bits more
  than a double.
* **An ulp** is that of the larger of the true result and the two terms (of the positive and of
  the negative part) that it is a sum of. Where these cancel, as in dx where the probability meets
  the target, every method that rounds its terms loses digits of the result; a hard target has one
  term only, and there the unit is the result's own ulp.
* **Rows**: loss, dx, dy, dw and dp are of `GR_NONE`; "of a sum" is of `GR_SUM` and "of a mean" of
  `GR_MEAN`.
* **every digit**: off by a quarter of the result or more, such as a 0 in its place. 0.50 is a
  correctly rounded result.

gradus computes the elements of `GR_NONE` for floats in double and rounds once, hence its 0.50. The
gradients of a sum of logits come from an exp(-|x|) in the dtype itself, in one pass that writes them
beside the sum. PyTorch loses the tails where it forms `s(x) - y` for a target of 1, and
`(1-y) x` minus a logarithm for a target of 0. It has no gradients for weight (dw) and pos_weight
(dp). gradus' results have the same bits on every processor and for any number of threads, so its
columns hold everywhere; PyTorch's depend a little on the processor.
"""

TAIL = """
## Sums

A mean or sum over 2^24 elements is within 6e-8 of the truth, relatively, for floats (half an ulp:
the sum is taken in double and rounded once) and within 1e-15 for doubles, even if all elements are
equal and so are their roundings: no chain of additions is longer than 16. A whole chunk of 1024
logits that no option changes takes its logarithms together, as one of a product: within 2e-15 then.
Every other whole chunk of logits takes exp(-|x|) in the dtype and the rest of each loss in double;
what is left of a chunk, and all probabilities, add what `GR_NONE` gives.

A gradient of a sum of logits has one definition at every length: dy, dw and dp are computed in double
from exp(-|x|) in the dtype, and dx is computed in the dtype itself (with `gamma` or `alpha` they are
those of `GR_NONE`). Two roundings are left in dx, that of exp(-|x|) and its own. Then the upstream gradient over N is multiplied in with a factor of twice the precision, so that
only the product is rounded: 3 ulp hold for every N and every upstream gradient. Over random logits
in (-30, 30), with and without weights and pos_weights, for N of 1000, 65,600, 70,001 and 524,801 and
upstream gradients of 1, 1.37 and 0.999, dx was at most 1.8 ulp off for a sum and 2.6 for a mean.

`tests/losses/accuracy.c` holds the bounds. It fails if a float of `GR_NONE` is more than 0.501 ulp
off, a double more than 3 (4 with weight and pos_weight and a soft target), or a gradient of a sum
or mean more than 3.
`tests/kernels/bce_sums.c` holds that an element's dx has the same bits at every length and position,
and that a weight, pos_weight or mask of ones changes no bit.

## How these tables were made

With PyTorch {torch} and numpy in a virtual environment, on x86-64 (numpy's longdouble must be 80
bits), from the source folder, the library built in `build`:

    cc -Iinclude -o build/accuracy tests/golden/accuracy.c -Lbuild -lgradus -Wl,-rpath,$PWD/build
    python tests/golden/accuracy.py build/accuracy > docs/accuracy.md
    cc -Iinclude -o build/derivatives tests/golden/derivatives.c -Lbuild -lgradus -Wl,-rpath,$PWD/build
    python tests/golden/derivatives.py build/derivatives >> docs/accuracy.md
"""


def table(program, title, op, p):
    print(f"\n## {title}\n")
    print("| | target | gradus f32 | PyTorch f32 | gradus f64 | PyTorch f64 |")
    print("|---|---|---|---|---|---|")
    measured = [
        (kind, measure(program, op, p, targets))
        for kind, targets in (("hard", HARD), ("soft", SOFT))
    ]
    for name in NAMES:
        for kind, worst in measured:
            cells = [
                cell(worst, name, dtype, who)
                for dtype in make.DTYPES
                for who in ("gradus", "torch")
            ]
            print(f"| {name} | {kind} | " + " | ".join(cells) + " |")


def main():
    np.seterr(all="ignore")
    torch.set_num_threads(1)
    version = torch.__version__.split("+")[0]
    print(HEAD.format(torch=version), end="")
    table(sys.argv[1], "With logits", "logits", 0.0)
    table(sys.argv[1], "With logits and a pos_weight of 3", "logits", 3.0)
    table(sys.argv[1], "Of probabilities", "bce", 0.0)
    print(TAIL.format(torch=version), end="")


if __name__ == "__main__":
    main()
