"""Parameter groups, optimizers, and the learning rate as a function of the step."""

import math

import torch
from torch import Tensor, nn

from snellen.models.classifier import Classifier
from snellen.models.whitened_cnn import Group, Whitening
from snellen.runs.recipe import Recipe

MOMENTUM = "momentum_buffer"  # torch's name for it, in sgd; ours in Muon


def lr_at(step: int, total_steps: int, steps_per_epoch: int, recipe: Recipe) -> float:
    """Return the learning rate of this update as a share of its peak, in [0, 1].

    step: 0 for the first update. Warm-up rises linearly and reaches 1 at its last step. Then the schedule falls from
    1 to (almost) 0 over the remaining steps, or stays at 1. Each drop multiplies the rate by recipe.lr_drop.
    """
    warmup_steps = round(recipe.warmup * total_steps)
    if step < warmup_steps:
        share = (step + 1) / warmup_steps
    else:
        done = (step - warmup_steps) / (total_steps - warmup_steps)
        share = {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}[recipe.schedule]
    epoch = step // steps_per_epoch
    drops = sum(epoch >= drop for drop in recipe.lr_drops)
    if recipe.lr_drop_every:
        drops += epoch // recipe.lr_drop_every
    return share * recipe.lr_drop**drops


class Optimizer:
    """The optimizer of a network: learning rates by step, the update itself, and its state by parameter name.

    The groups are: filters (with muon, every trainable 4-d weight), the weight of the head (if it has its own rate),
    other weights, and biases and normalisation (no weight decay unless recipe.decay_all). Parameters that stop training
    early are in groups of their own.
    """

    def __init__(self, model: Classifier, recipe: Recipe, total_steps: int, steps_per_epoch: int):
        self.recipe, self.total_steps, self.steps_per_epoch = recipe, total_steps, steps_per_epoch
        self.named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        heads = [layer.weight for layer in model.modules() if isinstance(layer, nn.Linear)][-1:]
        shares = _shares(model, recipe)
        filters: dict[float, dict] = {}
        groups: dict[str, dict] = {}
        for parameter in self.named.values():
            share = shares.get(parameter, 1.0)
            if recipe.optimizer == "muon" and parameter.ndim == 4:
                group = filters.setdefault(share, {"params": [], "peak": recipe.muon_lr, "share": share})
                group["params"].append(parameter)
                continue
            is_head = recipe.head_lr > 0 and any(parameter is head for head in heads)
            peak = recipe.head_lr if is_head else recipe.peak_lr
            decay = recipe.weight_decay if parameter.ndim > 1 or recipe.decay_all else 0.0
            # Decoupled decay written as L2: an update at the peak takes lr * decay = step_decay off the weight.
            decay += recipe.step_decay / peak if peak else 0.0
            name = f"{is_head} {share} {decay}"
            group = groups.setdefault(name, {"params": [], "weight_decay": decay, "peak": peak, "share": share})
            group["params"].append(parameter)
        fused = all(p.device.type in ("cpu", "cuda") for p in self.named.values())
        self.parts: list[torch.optim.Optimizer] = []
        if groups and recipe.optimizer == "adamw":
            betas = (recipe.momentum, 0.999)
            self.parts.append(torch.optim.AdamW(groups.values(), lr=0.0, betas=betas, fused=fused or None))
        elif groups:
            sgd = torch.optim.SGD(
                groups.values(), lr=0.0, momentum=recipe.momentum, nesterov=recipe.nesterov, fused=fused or None
            )
            self.parts.append(sgd)
        if filters:
            self.parts.append(Muon(filters.values(), recipe.muon_momentum))

    def step(self, step: int) -> float:
        """Update the weights, clear the gradients, and return the learning rate of the peak_lr groups."""
        share = lr_at(step, self.total_steps, self.steps_per_epoch, self.recipe)
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = group["peak"] * share
                if group["share"] < 1:  # decays to 0 on a shorter schedule
                    own_steps = group["share"] * self.total_steps
                    group["lr"] = group["peak"] * (1 - step / own_steps) if step < own_steps else 0.0
                    if group["lr"] == 0.0:
                        for parameter in group["params"]:  # skips the backward pass through the first layers
                            parameter.requires_grad, parameter.grad = False, None
            part.step()
            part.zero_grad(set_to_none=True)
        return self.recipe.peak_lr * share

    def state(self) -> dict[str, Tensor]:
        """Return the momentum and adamw's averages by parameter name: the whole state, apart from the step."""
        found = {}
        for name, parameter in self.named.items():
            for part in self.parts:
                for key, value in part.state.get(parameter, {}).items():
                    if value is not None:
                        found[name if key == MOMENTUM else f"{name} {key}"] = value
        return found

    def load_state(self, state: dict[str, Tensor]) -> None:
        for part in self.parts:
            for group in part.param_groups:
                for name, parameter in self.named.items():
                    if name in state and any(parameter is p for p in group["params"]):
                        # Same memory layout as the weight: the fused update reads both in storage order.
                        part.state[parameter][MOMENTUM] = torch.zeros_like(parameter).copy_(state[name])
                    if f"{name} step" in state and any(parameter is p for p in group["params"]):
                        averages = {key: torch.zeros_like(parameter) for key in ("exp_avg", "exp_avg_sq")}
                        for key, value in averages.items():
                            value.copy_(state[f"{name} {key}"])
                        part.state[parameter].update(averages, step=state[f"{name} step"].to(parameter.device))


def _shares(model: Classifier, recipe: Recipe) -> dict[Tensor, float]:
    """Return the share of training after which each parameter stops, for those that stop early.

    The first layers learn first. Once they stop, the backward pass ends above them. Their rates fall to 0 by then.
    Source: Brock et al., "FreezeOut", arXiv:1706.04983, with a linear fall instead of a cosine.
    """
    shares: dict[Tensor, float] = {}
    for layer in model.modules():
        if isinstance(layer, Whitening):
            shares[layer.bias] = recipe.whiten_bias_share
    for parameter in next((m for m in model.modules() if isinstance(m, Group)), nn.Module()).parameters():
        shares[parameter] = recipe.first_group_share
    return shares


class Muon(torch.optim.Optimizer):
    """Orthogonalised momentum: each update is (almost) the nearest semi-orthogonal matrix to the momentum.

    Each filter bank (out, in, h, w) is treated as a matrix (out, in*h*w). Before its update it is scaled to the norm
    sqrt(out), so the learning rate is a share of the weight's size. Momentum is Nesterov's.
    Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024, in the form of the CIFAR-10
    record (arXiv:2404.00498 and its later variant): 3 Newton-Schulz steps in bfloat16.
    """

    def __init__(self, groups, momentum: float):
        super().__init__(groups, {"lr": 0.0, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(weight)
                momentum = state["momentum_buffer"].mul_(group["momentum"]).add_(weight.grad)
                direction = weight.grad.add(momentum, alpha=group["momentum"])
                weight.mul_(len(weight) ** 0.5 / weight.norm())
                update = orthogonalised(direction.reshape(len(weight), -1)).view_as(weight)
                weight.add_(update, alpha=-group["lr"])


def orthogonalised(matrix: Tensor, num_steps: int = 3) -> Tensor:
    """Push the singular values of float (m, n) towards 1, keeping singular vectors and dtype.

    A quintic Newton-Schulz iteration, X <- aX + (bA + cA^2)X with A = XX^T, in bfloat16. The coefficients are chosen to
    raise small values quickly; they leave values between about 0.7 and 1.2, not exactly at 1. Source: as in Muon.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix.bfloat16()
    x = x / (x.norm() + 1e-7)
    if tall := x.shape[0] > x.shape[1]:  # the smaller square is cheaper
        x = x.T
    for _ in range(num_steps):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return (x.T if tall else x).to(matrix.dtype)
