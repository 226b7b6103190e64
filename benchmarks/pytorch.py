"""The same network, loss and optimizer in PyTorch: channels last, float32 or bfloat16 autocast.

It runs in an environment of its own, which has PyTorch and neither NumPy nor TensorFlow.

Dimensions: N cases in a batch; X, Y, Z voxels along the image's axes; C input channels; K classes.
"""

import contextlib

import torch
from torch import nn

from benchmarks.contender import Built
from benchmarks.network import BASE_FILTERS, BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM, CLIP_NORM, LEARNING_RATE
from utils.system.environment import available_cores


def build(given, contender):
    """Returns the `Built` of the cells."""
    torch.set_num_threads(available_cores())
    steps = {}
    for name in given.cells:
        kind, size = name.split(":")
        torch.manual_seed(0)
        network = VNet(given.network).to(memory_format=torch.channels_last_3d)
        make = _training if kind == "train" else _prediction
        steps[name] = make(network, given.network, int(size), contender.precision), int(size)
    count = sum(parameter.numel() for parameter in network.parameters())
    return Built("PyTorch {}".format(torch.__version__), count, steps)


class Unit(nn.Module):
    """Convolution without a bias, batch normalisation, the shortcut if there is one, ReLU."""

    def __init__(self, convolution, filters):
        super().__init__()
        self.convolution = convolution
        self.normalisation = nn.BatchNorm3d(filters, eps=BATCH_NORM_EPSILON, momentum=1.0 - BATCH_NORM_MOMENTUM)

    def forward(self, volume, shortcut=None):
        """[N, C, X, Y, Z] in and out."""
        volume = self.normalisation(self.convolution(volume))
        return torch.relu_(volume if shortcut is None else volume + shortcut)


def _same(inputs, filters):
    return Unit(nn.Conv3d(inputs, filters, 3, padding=1, bias=False), filters)


def _down(inputs, filters):
    return Unit(nn.Conv3d(inputs, filters, 2, stride=2, bias=False), filters)


def _up(inputs, filters):
    return Unit(nn.ConvTranspose3d(inputs, filters, 2, stride=2, bias=False), filters)


class ResidualBlock(nn.Module):
    """Convolutions whose result is added to what came in."""

    def __init__(self, filters, depth):
        super().__init__()
        self.units = nn.ModuleList([_same(filters, filters) for _ in range(depth)])

    def forward(self, volume):
        """[N, C, X, Y, Z] in and out."""
        shortcut = volume
        for unit in self.units[:-1]:
            volume = unit(volume)
        return self.units[-1](volume, shortcut)


class VNet(nn.Module):
    """The network of `model/vnet.py`: logits [N, K, X, Y, Z] of images [N, C, X, Y, Z]."""

    def __init__(self, network):
        super().__init__()
        self.first = _same(network.channels, BASE_FILTERS)
        filters, skips = BASE_FILTERS, []
        self.pooling, self.down = nn.ModuleList(), nn.ModuleList()
        for depth in network.downscale_blocks:
            skips.append(filters)
            self.pooling.append(_down(filters, 2 * filters))
            filters *= 2
            self.down.append(ResidualBlock(filters, depth))
        self.upsampling, self.up = nn.ModuleList(), nn.ModuleList()
        for depth in network.upscale_blocks:
            skipped = skips.pop()
            self.upsampling.append(_up(filters, skipped))
            filters = 2 * skipped
            self.up.append(ResidualBlock(filters, depth))
        self.last = _up(filters, BASE_FILTERS) if skips else nn.Identity()
        self.output = nn.Conv3d(BASE_FILTERS if skips else filters, network.classes, 3, padding=1)

    def forward(self, volume):
        """Logits of images."""
        volume, skips = self.first(volume), []
        for pooling, block in zip(self.pooling, self.down):
            skips.append(volume)
            volume = block(pooling(volume))
        for upsampling, block in zip(self.upsampling, self.up):
            volume = block(torch.cat([upsampling(volume), skips.pop()], dim=1))
        return self.output(self.last(volume))


def dice_loss(logits, labels):
    """One minus the mean soft Dice over cases and classes, of labels [N, X, Y, Z]: the loss of `model/losses.py`."""
    probabilities = torch.softmax(logits.float(), dim=1)
    classes = torch.arange(logits.shape[1], dtype=labels.dtype).view(1, -1, 1, 1, 1)
    truth = labels.unsqueeze(1) == classes
    voxels = (2, 3, 4)
    overlap = (probabilities * truth).sum(voxels)
    size = probabilities.square().sum(voxels) + truth.sum(voxels)
    return 1.0 - ((2.0 * overlap + 1e-6) / (size + 1e-6)).mean()


def _batch(network, size):
    shape = tuple(network.input_shape)
    images = torch.randn((size, network.channels) + shape).to(memory_format=torch.channels_last_3d)
    return images, torch.randint(network.classes, (size,) + shape, dtype=torch.uint8)


def _precision(name):
    return torch.autocast("cpu", dtype=torch.bfloat16) if name == "bfloat16" else contextlib.nullcontext()


def _training(model, network, size, precision):
    """A function that does one step of training and returns the loss."""
    images, labels = _batch(network, size)
    model.train()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=LEARNING_RATE, alpha=0.9, eps=1e-10, centered=True)

    def step():
        optimizer.zero_grad(set_to_none=True)
        with _precision(precision):
            loss = dice_loss(model(images), labels)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        return loss.item()

    return step


def _prediction(model, network, size, precision):
    """A function that predicts one batch and returns one of its probabilities."""
    images, _ = _batch(network, size)
    model.eval()

    def step():
        with torch.inference_mode(), _precision(precision):
            return torch.softmax(model(images).float(), dim=1)[0, 0, 0, 0, 0].item()

    return step
