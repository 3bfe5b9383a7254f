"""Batch norm over the images of all processes: the heads of a segmenter see one batch, however it is split.

torch's SyncBatchNorm serves CUDA alone; this one is the same arithmetic in sums that are exchanged with their
gradients, on any device, so that what is tested on two CPU processes is what several GPUs run.
"""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d with mean and variance over the batch of every process; equal to it in one process."""

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return the normed map; while training, the running statistics are those of the whole batch."""
        if not self.training:
            return super().forward(x_NCHW)
        x = x_NCHW.float()
        # Two passes: the variance of what is left after the mean, not a difference of large numbers.
        count = torch.full((1,), float(x.numel() // x.shape[1]), device=x.device)
        total = all_reduce(torch.cat([x.sum((0, 2, 3)), count]))
        size = total[-1].detach()
        mean = total[:-1] / size
        centred = x - mean[:, None, None]
        variance = all_reduce(centred.square().sum((0, 2, 3))) / size
        with torch.no_grad():
            momentum = 0.1 if self.momentum is None else self.momentum
            unbiased = variance * (size / (size - 1))
            assert self.running_mean is not None and self.running_var is not None
            assert self.num_batches_tracked is not None
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(unbiased, momentum)
            self.num_batches_tracked += 1
        normed = centred * (variance + self.eps).rsqrt()[:, None, None]
        scaled: Tensor = normed * self.weight[:, None, None] + self.bias[:, None, None]
        return scaled.to(x_NCHW.dtype)


def synced(model: nn.Module) -> nn.Module:
    """Let every batch norm of the model see the batch of all processes; nothing changes in a single one."""
    if dist.is_initialized() and dist.get_world_size() > 1:
        for module in model.modules():
            if type(module) is nn.BatchNorm2d:
                module.__class__ = SyncedBatchNorm2d
    return model
