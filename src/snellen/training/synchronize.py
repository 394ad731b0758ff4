"""Synchronisation of models in several processes: the same initial weights, and summed gradients.

One flat sum per update replaces DistributedDataParallel, which would sum each piece of a batch separately, wrap the
model, and average over unequal shares.
"""

import torch
import torch.distributed as dist
from torch import nn

from snellen.models.batchnorm import share_statistics
from snellen.runs.recipe import Recipe
from snellen.system import processes


def same_start(model: nn.Module, recipe: Recipe) -> None:
    """Copy the first process's weights to all; with sync_batchnorm, make batch norm use the images of all processes."""
    if processes.size() == 1:
        return
    if recipe.sync_batchnorm:
        share_statistics(model)
    with torch.no_grad():  # the seed is the same, but different processors may round differently
        for tensor in model.state_dict().values():
            tensor.copy_(processes.broadcast(tensor.contiguous()))


@torch.no_grad()
def sum_gradients(model: nn.Module, recipe: Recipe) -> None:
    """Sum the gradients over all processes, in place; without sync_batchnorm, also average its statistics."""
    if processes.size() == 1:
        return
    tensors = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    if not recipe.sync_batchnorm:
        averaged = [b for name, b in model.named_buffers() if name.endswith(("running_mean", "running_var"))]
        for statistic in averaged:
            statistic /= processes.size()
        tensors += averaged
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    dist.all_reduce(flat)
    for tensor, values in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(values.view(tensor.shape))
