"""Keep the models of several processes equal: the same first weights, and the sum of their gradients.

One flat sum per update instead of DistributedDataParallel, which would sum each piece of a batch by itself, wrap the
model, and average over unequal shares.
"""

import torch
import torch.distributed as dist
from torch import nn

from snellen.models.batchnorm import share_statistics
from snellen.runs.recipe import Recipe
from snellen.system import processes


def same_start(model: nn.Module, recipe: Recipe) -> None:
    """Give every process the first one's weights; with sync_batchnorm, let batch norm see all processes."""
    if processes.size() == 1:
        return
    if recipe.sync_batchnorm:
        share_statistics(model)
    with torch.no_grad():  # all compute them from the same seed, but processors of two kinds may round differently
        for tensor in model.state_dict().values():
            tensor.copy_(processes.broadcast(tensor.contiguous()))


@torch.no_grad()
def sum_gradients(model: nn.Module, recipe: Recipe) -> None:
    """Add up the gradients of all processes, in place; without sync_batchnorm, average its statistics too."""
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
