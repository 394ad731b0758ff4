"""Batch norm over the images of all processes. Unlike torch's SyncBatchNorm, it does not need GPUs."""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn


def share_statistics(model: nn.Module) -> None:
    """Make every batch norm in `model` use the mean and variance over all processes during training."""
    for layer in model.modules():
        if type(layer) is nn.BatchNorm2d:
            layer.__class__ = SharedBatchNorm2d  # same weights, same names; only `forward` differs


class SharedBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm2d in a group of processes that each hold at least one image of the batch.

    If each process computes the loss of its share of the batch, the gradients are those of the whole batch. In
    evaluation mode it behaves as BatchNorm2d.
    """

    momentum: float
    num_batches_tracked: Tensor
    running_mean: Tensor
    running_var: Tensor

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        normalised, mean, var, num = _Normalise.apply(x, self.weight, self.bias, self.eps)
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * (num / (num - 1)), self.momentum)  # the running variance is unbiased
        return normalised


class _Normalise(torch.autograd.Function):
    """Maps x (B, C, H, W) to (normalised x, mean (C,), biased variance (C,), values per channel in all processes)."""

    @staticmethod
    def forward(context, x, weight, bias, eps):
        mean, var = torch.batch_norm_update_stats(x, None, None, 0.0)
        dtype = torch.promote_types(mean.dtype, torch.float32)
        mean, var = mean.to(dtype), var.to(dtype)
        num = mean.new_full((1,), x.numel() // x.shape[1])
        mine = torch.cat([num, mean, var])
        all_of_them = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
        dist.all_gather(all_of_them, mine)
        nums, means, variances = torch.stack(all_of_them).split([1, len(mean), len(mean)], dim=1)
        num = nums.sum()
        mean = (nums * means).sum(0) / num
        # Add the variance within each process and between their means, to avoid a difference of large squares.
        var = (nums * (variances + (means - mean) ** 2)).sum(0) / num
        context.save_for_backward(x, weight, mean, var, num)
        context.eps = eps
        context.mark_non_differentiable(mean, var, num)
        return F.batch_norm(x, mean, var, weight, bias, False, 0.0, eps), mean, var, num

    @staticmethod
    def backward(context, grad, *_):
        x, weight, mean, var, num = context.saved_tensors
        # The gradients of weight and bias in evaluation mode are the two sums over this process's images needed below.
        _, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
            grad, x, torch.ones_like(mean), mean, var, None, None, False, context.eps, [False, True, True]
        )
        sums = torch.stack([grad_weight, grad_bias])
        dist.all_reduce(sums)
        # The gradient by x is w / std * (grad - mean(grad) - normalised * mean(grad * normalised)), written here as a
        # linear function of grad and x per channel. Ioffe and Szegedy, arXiv:1502.03167, section 3.
        invstd = torch.rsqrt(var + context.eps)
        scale = invstd if weight is None else invstd * weight
        slope = -scale * invstd * sums[0] / num
        offset = -scale * sums[1] / num - slope * mean
        scale, slope, offset = (values[:, None, None] for values in (scale, slope, offset))
        grad_x = torch.addcmul(offset, x.to(mean.dtype), slope).addcmul_(grad.to(mean.dtype), scale).to(x.dtype)
        needs = context.needs_input_grad
        return grad_x, grad_weight if needs[1] else None, grad_bias if needs[2] else None, None
