"""Makes golden.json for the tests of losses_more: values and gradients of PyTorch, in double.

    python3 -m venv venv && venv/bin/pip install torch==2.13.0 && venv/bin/python make.py

SPDX-License-Identifier: MIT
"""
import json
import pathlib
import torch
import torch.nn.functional as F

torch.manual_seed(1)
REDUCTIONS = ("mean", "sum", "none")
cases = []


def tensor(t):
    t = t.detach()
    return {"shape": list(t.shape), "dtype": "f64" if t.is_floating_point() else "i64",
            "data": t.reshape(-1).tolist()}


def add(loss, function, tensors, reduction="mean", torch_options=None, **options):
    """Adds a case. Tensors have the names of the test's struct, options those of gradus."""
    if reduction == "sum" and options:
        return
    leaves = {name: t.clone().requires_grad_(t.is_floating_point() and name not in ("labels", "w"))
              for name, t in tensors.items()}
    out = function(**leaves, reduction=reduction, **(options if torch_options is None else torch_options))
    out.sum().backward()
    cases.append({"loss": loss, "reduction": reduction, "options": options,
                  "tensors": {name: tensor(t) for name, t in leaves.items()},
                  "value": tensor(out),
                  "gradients": {name: tensor(t.grad) for name, t in leaves.items()
                                if t.grad is not None}})


def n(*shape):
    return (2 * torch.randn(*shape, dtype=torch.float64)).round(decimals=3)


def signs(*shape):
    return torch.randint(0, 2, shape).double() * 2 - 1


def two(function):
    return lambda x, y, **o: function(x, y, **o)


for r in REDUCTIONS:
    add("mse", two(F.mse_loss), {"x": n(2, 3), "y": n(2, 3)}, r)
    add("l1", two(F.l1_loss), {"x": n(2, 3), "y": n(2, 3)}, r)
    for value in (None, 0.3, 2.5):
        o = {} if value is None else {"beta": value}
        add("smooth_l1", two(F.smooth_l1_loss), {"x": n(7), "y": n(7)}, r, **o)
        o = {} if value is None else {"delta": value}
        add("huber", two(F.huber_loss), {"x": n(7), "y": n(7)}, r, **o)
    y = torch.softmax(n(2, 4), 1)
    y[0, 1] = 0
    logs = torch.log_softmax(n(2, 4), 1)
    # PyTorch's gradient in y at y = 0 is NaN, so y is a constant in this case.
    add("kl_div", lambda x, labels, **o: F.kl_div(x, labels, **o), {"x": logs, "labels": y}, r)
    add("kl_div", two(F.kl_div), {"x": logs, "y": torch.softmax(n(2, 4), 1)}, r)
    add("kl_div", two(F.kl_div), {"x": logs, "y": torch.log_softmax(n(2, 4), 1)}, r, log_target=True)
    add("poisson_nll", two(F.poisson_nll_loss), {"x": n(5), "y": n(5).abs()}, r)
    add("poisson_nll", two(F.poisson_nll_loss), {"x": n(5), "y": 3 * n(5).abs() + 0.1}, r, full=True)
    add("poisson_nll", two(F.poisson_nll_loss), {"x": n(5).abs(), "y": 3 * n(5).abs()}, r,
        {"log_input": False, "full": True, "eps": 0.01}, rate_input=True, full=True, eps=0.01)
    for shape in ((3, 4), (3, 1), (3,)):
        for o in ({}, {"full": True}, {"eps": 0.5}):
            add("gaussian_nll", lambda x, y, z, **k: F.gaussian_nll_loss(x, y, z, **k),
                {"x": n(3, 4), "y": n(3, 4), "z": n(*shape).abs()}, r, **o)

    def classes(function):
        return lambda x, labels, w=None, **o: function(x, labels, weight=w, **o)

    labels = {(): torch.tensor(2), (5,): torch.tensor([0, 3, 1, 3, 2]),
              (2, 3): torch.tensor([[0, 1, 2], [3, 3, 1]])}
    for shape, target in labels.items():
        size = shape[:1] + (4,) + shape[1:]
        w = torch.rand(4, dtype=torch.float64) + 0.1
        for o in ({}, {"ignore_index": 3}):
            for extra in ({}, {"w": w}):
                add("nll", classes(F.nll_loss), {"x": n(*size), "labels": target, **extra}, r, **o)
                add("cross_entropy", classes(F.cross_entropy),
                    {"x": n(*size), "labels": target, **extra}, r, **o)
                add("cross_entropy", classes(F.cross_entropy),
                    {"x": n(*size), "labels": target, **extra}, r, label_smoothing=0.2, **o)
        for e in ({}, {"label_smoothing": 0.3}):
            axis = 1 if shape else 0
            for extra in ({}, {"w": w}):
                add("cross_entropy", lambda x, y, w=None, **o: F.cross_entropy(x, y, weight=w, **o),
                    {"x": n(*size), "y": torch.softmax(n(*size), axis), **extra}, r, **e)
    minus = torch.tensor([0, -100, 1])
    add("cross_entropy", classes(F.cross_entropy), {"x": n(3, 4), "labels": minus}, r)
    add("nll", classes(F.nll_loss), {"x": n(3, 4), "labels": minus}, r)

    add("multilabel_soft_margin", two(F.multilabel_soft_margin_loss),
        {"x": n(3, 4), "y": torch.rand(3, 4, dtype=torch.float64)}, r)
    add("multilabel_soft_margin", lambda x, y, w, **o: F.multilabel_soft_margin_loss(x, y, w, **o),
        {"x": n(3, 4), "y": torch.rand(3, 4, dtype=torch.float64),
         "w": torch.rand(4, dtype=torch.float64)}, r)
    add("soft_margin", lambda x, labels, **o: F.soft_margin_loss(x, labels, **o),
        {"x": n(2, 3), "labels": signs(2, 3)}, r)
    for o in ({}, {"margin": 2.5}, {"margin": -0.5}):
        add("hinge_embedding", lambda x, labels, **k: F.hinge_embedding_loss(x, labels, **k),
            {"x": n(6), "labels": torch.tensor([1.0, -1, 0, -1, 1, -1], dtype=torch.float64)}, r, **o)
        add("cosine_embedding", lambda x, z, labels, **k: F.cosine_embedding_loss(x, z, labels, **k),
            {"x": n(4, 3), "z": n(4, 3), "labels": torch.tensor([1.0, -1, 0, -1], dtype=torch.float64)},
            r, **o)
    add("cosine_embedding", lambda x, z, labels, **k: F.cosine_embedding_loss(x, z, labels, **k),
        {"x": n(3), "z": n(3), "labels": torch.tensor(-1.0, dtype=torch.float64)}, r)
    for o in ({}, {"margin": 0.25}, {"p": 1.0}, {"p": 3.0}, {"eps": 0.1}, {"swap": True, "margin": 3.0}):
        for shape in ((4, 3), (3,)):
            add("triplet_margin", lambda x, y, z, **k: F.triplet_margin_loss(x, y, z, **k),
                {"x": n(*shape), "y": n(*shape), "z": n(*shape)}, r, **o)

y = torch.softmax(n(3, 4), 1)
add("kl_div", two(F.kl_div), {"x": torch.log_softmax(n(3, 4), 1), "y": y}, "batchmean", {},
    batch_mean=True)
for loss, f in (("softmax", torch.softmax), ("log_softmax", torch.log_softmax)):
    for axis in (0, 1, -1):
        x, v = n(2, 3, 4), n(2, 3, 4)
        add(loss, lambda x, y, axis=axis, f=f, reduction=None: f(x, axis) * y, {"x": x, "y": v},
            "none", {}, axis=axis)

path = pathlib.Path(__file__).with_name("golden.json")
with path.open("w") as file:
    file.write('{"made_by": "make.py, torch %s", "cases": [\n' % torch.__version__)
    file.write(",\n".join(json.dumps(case) for case in cases))
    file.write("\n]}\n")
print(len(cases), "cases")
