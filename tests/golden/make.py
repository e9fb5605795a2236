# SPDX-License-Identifier: MIT
"""Makes losses.jsonl for tests/losses/golden.c: PyTorch's results of both binary cross entropies.

    python3 -m venv venv && venv/bin/pip install torch==2.13.0 numpy
    venv/bin/python tests/golden/make.py > tests/golden/losses.jsonl

Each line is a case. It holds the operands, the reduction, the loss, its gradients in input and
target (dx, dy), and the gradients of sum(SECOND * dx) in input and target (dxx, dxy). The upstream
gradient is 1. With reduction none it is GRADIENT, repeated. Numbers are hexadecimal, so that they
are exact.

The expected value of an element is the first of these that applies:
  1. PyTorch's own result, if it is within NEAR ulp of the true value;
  2. for floats, PyTorch's result in double, rounded ("double" lists these quantities);
  3. the true value: the closed form in numpy.longdouble (64 bits of mantissa). Here PyTorch has a
     larger error ("differs" lists the elements, PyTorch's result for the first, and the reason).
The unit is the ulp of the result or of its largest term, whichever is larger. If the terms of a
quantity cancel, "ulps" has its tolerance, in ulp of the expected value. Otherwise the reader uses
its own tolerance.

A small generator in this file makes the numbers, so the output is the same on each machine of this
architecture.
"""

import json
import sys

import numpy as np
import torch
import torch.nn.functional as F

NEAR = 3
GRADIENT = (1, -0.5, 2, 0.25)
SECOND = (1, 2, -0.5)
QUANTITIES = ("loss", "dx", "dy", "dxx", "dxy")
WIDE = np.longdouble
DTYPES = {"f32": (np.float32, torch.float32), "f64": (np.float64, torch.float64)}

WHY = {
    "infinite": "an infinite logit: gradus gives the limit, PyTorch 0 times infinity or inf - inf",
    (
        "logits",
        "loss",
    ): "PyTorch adds (1-y) x to a multiple of log_sigmoid(x): for smaller x the two cancel",
    ("logits", "dx"): "PyTorch subtracts from s(x): near saturation s(x) rounds to 1",
    ("logits", "dy"): "PyTorch subtracts two logarithms of sigmoids",
    ("logits", "dxx"): "PyTorch forms 1 - s(x), which has few digits for larger x",
    ("logits", "dxy"): "PyTorch forms 1 - s(x), which has few digits for larger x",
    ("bce", "loss"): "PyTorch rounds each step in the dtype",
    ("bce", "dx"): "PyTorch's least value of x (1-x) is the float 1e-12, also in double",
    (
        "bce",
        "dy",
    ): "the value's logarithms are cut off at -100; so is the slope in gradus, and not in PyTorch",
    (
        "bce",
        "dxx",
    ): "PyTorch adds 1e-12 to x and 1-x, and its numerator x^2 - 2xy + y cancels near x = y",
    ("bce", "dxy"): "PyTorch's least value of x (1-x) is another in the second derivative",
}


# ---- Numbers -------------------------------------------------------------------------------------


class Numbers:
    """Random numbers with few bits, so that their text is short."""

    def __init__(self, seed):
        self.state = seed

    def draw(self, count, low, high, bits=8):
        values = []
        for _ in range(count):
            self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
            values.append(low + (high - low) * ((self.state >> 33) % 2**bits + 0.5) / 2**bits)
        return values


def text(value):
    value = float(value)
    if not np.isfinite(value) or value == 0:
        return {"inf": "inf", "-inf": "-inf", "nan": "nan"}.get(str(value), "0")
    mantissa, exponent = value.hex().split("p")
    return (mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa) + "p" + exponent


# ---- The truth -----------------------------------------------------------------------------------


def times(c, v):
    """Returns c v. If c is exactly 0, the result is 0 even for an infinite v."""
    with np.errstate(invalid="ignore"):
        return np.where((c == 0) & np.isinf(v), 0, c * v)


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def sigmoid(x):
    z = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + z), z / (1 + z))


def terms_of_logits(x, y, w, p):
    up, down, s, c = softplus(x), softplus(-x), sigmoid(x), sigmoid(-x)
    plain = p == 1
    return {
        "loss": (times(w * (1 - y), up), times(w * p * y, down)),
        "dx": (w * (1 - y) * s, -w * p * y * c),
        "dy": (np.where(plain, -w * x, times(w * p, down)), np.where(plain, 0, -w * up)),
        "dxx": (w * (1 - y) * s * c, w * p * y * s * c),
        "dxy": (np.where(plain, -w, -w * s), np.where(plain, 0, -w * p * c)),
    }


def terms_of_probabilities(x, y, w, p):
    with np.errstate(divide="ignore"):
        u, v = np.minimum(-np.log(x), 100), np.minimum(-np.log1p(-x), 100)
    least = WIDE("1e-12")
    both = np.maximum(x * (1 - x), least)
    return {
        "loss": (w * (1 - y) * v, w * p * y * u),
        "dx": (w * (1 - y) * x / both, -w * p * y * (1 - x) / both),
        "dy": (w * p * u, -w * v),
        "dxx": (w * p * y / np.maximum(x, least) ** 2, w * (1 - y) / np.maximum(1 - x, least) ** 2),
        "dxy": (-w * p * (1 - x) / both, -w * x / both),
    }


def cycle(pattern, count):
    return np.array([pattern[i % len(pattern)] for i in range(count)], WIDE)


def truth_of(case):
    """Returns for each quantity its values and their scale, which is the largest term."""
    shape = case["shape"]

    def wide(name):
        given = case.get(name)
        return np.ones(shape, WIDE) if given is None else np.broadcast_to(given.astype(WIDE), shape)

    make = terms_of_logits if case["op"] == "logits" else terms_of_probabilities
    count = int(np.prod(shape))
    factor = {
        "none": cycle(GRADIENT, count),
        "sum": np.ones(count, WIDE),
        "mean": np.full(count, 1 / WIDE(count)),
    }
    factor = factor[case["reduction"]]
    truth = {}
    for name, (a, b) in make(wide("x"), wide("y"), wide("weight"), wide("pos_weight")).items():
        value, scale = (a + b).ravel(), np.maximum(np.abs(a), np.abs(b)).ravel()
        if name == "loss" and case["reduction"] != "none":
            by = WIDE(count if case["reduction"] == "mean" else 1)
            value, scale = value.sum(keepdims=True) / by, np.abs(value).sum(keepdims=True) / by
        elif name != "loss":
            value, scale = value * factor, scale * np.abs(factor)
        if name in ("dxx", "dxy"):
            value, scale = value * cycle(SECOND, count), scale * np.abs(cycle(SECOND, count))
        truth[name] = (value, scale)
    return truth


# ---- PyTorch's -----------------------------------------------------------------------------------


def torch_of(case, dtype):
    numbers = {
        name: torch.tensor(np.asarray(case[name], np.float64), dtype=dtype)
        for name in ("x", "y", "weight", "pos_weight")
        if case.get(name) is not None
    }
    x, y = numbers["x"].requires_grad_(), numbers["y"].requires_grad_()
    options = {"weight": numbers.get("weight"), "reduction": case["reduction"]}
    if case["op"] == "logits":
        loss = F.binary_cross_entropy_with_logits(
            x, y, pos_weight=numbers.get("pos_weight"), **options
        )
    else:
        loss = F.binary_cross_entropy(x, y, **options)
    seed = torch.ones_like(loss)
    if case["reduction"] == "none":
        seed = torch.tensor(cycle(GRADIENT, loss.numel()).astype(float), dtype=dtype).reshape(
            loss.shape
        )
    dx, dy = torch.autograd.grad(loss, [x, y], seed, create_graph=True)
    probe = torch.tensor(cycle(SECOND, x.numel()).astype(float), dtype=dtype).reshape(x.shape)
    dxx, dxy = torch.autograd.grad(dx, [x, y], probe, allow_unused=True)
    results = dict(zip(QUANTITIES, (loss, dx, dy, dxx, dxy)))
    return {name: value.detach().double().numpy().ravel() for name, value in results.items()}


# ---- What is expected ----------------------------------------------------------------------------


def near(value, truth, scale, dtype):
    """Returns True if value is within NEAR ulp of the truth."""
    if np.isnan(truth) or not np.isfinite(dtype(truth)):
        return bool(np.isnan(value) and np.isnan(truth)) or value == float(dtype(truth))
    if not np.isfinite(value):
        return False
    unit = np.spacing(np.abs(dtype(max(abs(truth), scale)))) if np.isfinite(dtype(scale)) else 0
    return abs(WIDE(value) - truth) <= NEAR * WIDE(unit)


def expected_of(case, name, truth, own, wide):
    """Returns the expected numbers, whether double was needed, and the elements that differ."""
    dtype = DTYPES[case["dtype"]][0]
    values, scales = truth
    expected, doubled, differs = [], False, []
    for i, (value, scale) in enumerate(zip(values, scales)):
        if near(own[i], value, scale, dtype):
            expected.append(own[i])
        elif case["dtype"] == "f32" and near(float(dtype(wide[i])), value, scale, dtype):
            expected.append(float(dtype(wide[i])))
            doubled = True
        else:
            expected.append(float(dtype(value)))
            differs.append(i)
    return expected, doubled, differs


def reason(case, name, elements):
    infinite = case["op"] == "logits" and np.isinf(np.asarray(case["x"], float)).any()
    return WHY["infinite"] if infinite else WHY[(case["op"], name)]


def tolerance(values, scales):
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(
            (values != 0) & np.isfinite(values) & np.isfinite(scales), scales / np.abs(values), 1
        )
    return int(np.ceil(8 * max(1, ratio.max()))) if len(ratio) else 8


def line_of(case):
    narrow, own_dtype = DTYPES[case["dtype"]]
    for name in ("x", "y", "weight", "pos_weight"):
        if case.get(name) is not None:
            case[name] = np.asarray(case[name], narrow)
    truth, own, wide = truth_of(case), torch_of(case, own_dtype), torch_of(case, torch.float64)
    line = {key: case[key] for key in ("op", "dtype", "reduction", "shape")}
    for name in ("x", "y"):
        line[name] = [text(v) for v in case[name].ravel()]
    for name in ("weight", "pos_weight"):
        if case.get(name) is not None:
            line[name] = {
                "shape": list(case[name].shape),
                "data": [text(v) for v in case[name].ravel()],
            }
    for name in QUANTITIES:
        expected, doubled, differs = expected_of(case, name, truth[name], own[name], wide[name])
        line[name] = [text(v) for v in expected]
        if tolerance(*truth[name]) > 8:
            line.setdefault("ulps", {})[name] = tolerance(*truth[name])
        if doubled:
            line.setdefault("double", []).append(name)
        if differs:
            line.setdefault("differs", []).append(
                {
                    "of": name,
                    "at": differs,
                    "torch": text(own[name][differs[0]]),
                    "why": reason(case, name, differs),
                }
            )
    return line


# ---- The cases -----------------------------------------------------------------------------------

OPTION_SHAPES = (None, (), (1,), (3,), (1, 3), (2, 1), (2, 3))
REDUCTIONS = ("mean", "sum", "none")


def option(numbers, shape, low, high):
    return (
        None
        if shape is None
        else np.array(numbers.draw(int(np.prod(shape)), low, high, 5)).reshape(shape)
    )


def logits_of_all_shapes(numbers):
    for i, w in enumerate(OPTION_SHAPES):
        for j, p in enumerate(OPTION_SHAPES):
            for k, reduction in enumerate(REDUCTIONS):
                yield dict(
                    op="logits",
                    dtype=("f32", "f64")[(i + j + k) % 2],
                    reduction=reduction,
                    shape=[2, 3],
                    x=np.array(numbers.draw(6, -8, 8)).reshape(2, 3),
                    y=np.array(numbers.draw(6, 0, 1, 5)).reshape(2, 3),
                    weight=option(numbers, w, 0, 4),
                    pos_weight=option(numbers, p, 0, 4),
                )


def probabilities_of_all_shapes(numbers):
    for w in OPTION_SHAPES:
        for reduction in REDUCTIONS:
            for dtype in DTYPES:
                yield dict(
                    op="bce",
                    dtype=dtype,
                    reduction=reduction,
                    shape=[2, 3],
                    x=np.array(numbers.draw(6, 0, 1)).reshape(2, 3),
                    y=np.array(numbers.draw(6, 0, 1, 5)).reshape(2, 3),
                    weight=option(numbers, w, 0, 4),
                )


def other_shapes(numbers):
    shapes = (
        ((), None),
        ((1,), None),
        ((4,), (4,)),
        ((2, 2, 2), (2, 1)),
        ((1, 3, 1, 2), (3, 1, 1)),
        ((0,), None),
    )
    for shape, p in shapes:
        for op in ("logits", "bce"):
            for i, reduction in enumerate(REDUCTIONS):
                count = int(np.prod(shape))
                low, high = (-6, 6) if op == "logits" else (0, 1)
                yield dict(
                    op=op,
                    dtype=("f64", "f32")[i % 2],
                    reduction=reduction,
                    shape=list(shape),
                    x=np.array(numbers.draw(count, low, high)).reshape(shape),
                    y=np.array(numbers.draw(count, 0, 1, 5)).reshape(shape),
                    pos_weight=option(numbers, p, 0, 4) if op == "logits" else None,
                )


EXTREME = (
    (0, -0.0, 1e-30, -1e-30),
    (1e-7, -1e-7, 0.3, -0.3),
    (5, -5, 10, -10),
    (17, -17, 20, -20),
    (37.42994775023705, -37.42994775023705, 40, -40),
    (88, -88, 100, -100),
    (700, -700, 745, -745),
    (1e4, -1e4, 3e38, -3e37),
    (float("inf"), 0, 1, 2),
    (float("-inf"), 0, 1, 2),
)


def extreme_logits(numbers):
    for row in EXTREME:
        for y in (0, 1, 0.375, 1.5):
            for dtype in DTYPES:
                yield dict(op="logits", dtype=dtype, reduction="none", shape=[4], x=row, y=[y] * 4)
        for dtype in DTYPES:
            yield dict(
                op="logits",
                dtype=dtype,
                reduction="none",
                shape=[4],
                x=row,
                y=[1, 0, 1, 0.25],
                pos_weight=[3.0, 2.0, 0.5, 0.25],
            )


def edges_of_probabilities(numbers):
    rows = (
        (0, 0.5, 1, 0.25),
        (1e-45, 1e-38, 1e-30, 1e-20),
        (1e-13, 1e-12, 1e-11, 1e-7),
        (0.999, 0.99999, 0.9999999, 1),
        (0.0625, 0.125, 0.875, 0.9375),
    )
    for row in rows:
        for y in (0, 1, 0.375):
            for dtype in DTYPES:
                yield dict(op="bce", dtype=dtype, reduction="none", shape=[4], x=row, y=[y] * 4)
        yield dict(
            op="bce",
            dtype="f64",
            reduction="sum",
            shape=[4],
            x=row,
            y=[0, 1, 0, 1],
            weight=[2.0, 1.0, 0.5, -1.0],
        )


def pages(numbers):
    """The examples in the documentation."""
    x, y = [[-0.8, 1.2, 0.7], [-0.1, -0.4, 0.7]], [[0.3, 0.8, 1.2], [-0.6, 0.1, 2.2]]
    for dtype in DTYPES:
        for reduction in REDUCTIONS:
            yield dict(op="logits", dtype=dtype, reduction=reduction, shape=[2, 3], x=x, y=y)
            yield dict(
                op="logits",
                dtype=dtype,
                reduction=reduction,
                shape=[2, 3],
                x=x,
                y=y,
                weight=[1.0] * 3,
                pos_weight=[1.0] * 3,
            )
            yield dict(
                op="bce",
                dtype=dtype,
                reduction=reduction,
                shape=[3],
                x=[0.2, 0.7, 0.1],
                y=[0, 1, 0],
                weight=[1.0, 2.0, 2.0],
            )


def main():
    torch.set_num_threads(1)
    np.seterr(all="ignore")
    numbers = Numbers(1)
    makers = (
        pages,
        logits_of_all_shapes,
        probabilities_of_all_shapes,
        other_shapes,
        extreme_logits,
        edges_of_probabilities,
    )
    for make in makers:
        for case in make(numbers):
            sys.stdout.write(json.dumps(line_of(case), separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
