"""The network: an encoder sees the image alone, once; a small decoder reads a prompt into it.

So all garments of a crop, and all rounds of correction, share one pass of the encoder; and the encoder can first learn
from the class of every pixel. What is exported is both, as one pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.errors import ModelError
from backend.segmenters.builtin.prompt_maps import CHANNELS

# Channels at strides 4, 8, 16 and 32, in the image's features and in the decoder.
WIDTHS = (48, 64, 96, 128)
LAST_WIDTH = 24
# A disc of a click covers at most four places of stride 8: enough for twenty clicks of a kind.
MOST_PLACES = 80
MEAN, DEVIATION = (123.7, 116.3, 103.5), (58.4, 57.1, 57.4)


class PromptNetwork(nn.Module):
    """Segments what a prompt asks for.

    Args:
        encoder: timm's name of it.
        classes: how many classes the pre-training tells apart, 0 (none) not counted.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, encoder: str, classes: int) -> None:
        """Makes it with random weights.

        Raises:
            ModelError: timm has no such encoder, or it does not fit.
        """
        super().__init__()
        self.encoder: Any = timm.create_model(
            encoder, features_only=True, pretrained=False, out_indices=_stages(encoder)
        )
        information: Any = self.encoder.feature_info
        channels = information.channels()
        self.lateral = nn.ModuleList(nn.Conv2d(there, here, 1) for there, here in zip(channels, WIDTHS, strict=True))
        self.narrow = nn.ModuleList(nn.Conv2d(deep, here, 1) for here, deep in pairwise(WIDTHS))
        self.smooth = nn.ModuleList(_convolution(width, width) for width in WIDTHS[:-1])
        self.classify = nn.Conv2d(WIDTHS[0], classes + 1, 1)
        self.decoder = _Decoder()
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(1, 3, 1, 1))

    def encode(self, images: Tensor) -> list[Tensor]:
        """Returns the features of images `(N, 3, H, W)`, 0 to 255: at strides 4, 8, 16 and 32, with `WIDTHS`.

        H and W are multiples of 32.
        """
        stages = self.encoder((images - self.mean) / self.deviation)
        features = [lateral(stage) for lateral, stage in zip(self.lateral, stages, strict=True)]
        for level in reversed(range(len(self.smooth))):
            deeper = _enlarged(self.narrow[level](features[level + 1]), features[level])
            features[level] = self.smooth[level](features[level] + deeper)
        return features

    def class_logits(self, features: Sequence[Tensor]) -> Tensor:
        """Returns `(N, classes + 1, H / 4, W / 4)`."""
        return self.classify(features[0])

    def decode(self, features: Sequence[Tensor], prompts: Tensor) -> Tensor:
        """Returns the logits of masks, `(N, 1, H / 2, W / 2)`, for prompts `(N, CHANNELS, H, W)`, see `prompt_maps`."""
        return self.decoder(features, prompts)

    def forward(self, images: Tensor, prompts: Tensor) -> Tensor:
        """Returns how probable each pixel is, `(N, 1, H, W)`: what is exported."""
        logits = self.decode(self.encode(images), prompts)
        return torch.sigmoid(F.interpolate(logits, scale_factor=2.0, mode="bilinear"))


class _Decoder(nn.Module):
    """A U-Net over the image's features, with the prompt at its input."""

    def __init__(self) -> None:
        super().__init__()
        first = WIDTHS[0]
        # 4 x 4 pixels at once: the prompt has little detail.
        self.read = nn.Conv2d(CHANNELS, first, 4, stride=4)
        # How like the clicked places each place is: to the positive clicks and to the negative ones.
        self.compare = nn.Conv2d(WIDTHS[1], 32, 1)
        self.like = nn.Conv2d(2, first, 1)
        self.enter = _convolution(first, first)
        self.down = nn.ModuleList(_convolution(here, deep, stride=2) for here, deep in pairwise(WIDTHS))
        self.deepest = nn.Sequential(_convolution(WIDTHS[-1], WIDTHS[-1]), _convolution(WIDTHS[-1], WIDTHS[-1]))
        self.narrow = nn.ModuleList(nn.Conv2d(deep, here, 1) for here, deep in pairwise(WIDTHS))
        self.up = nn.ModuleList(_convolution(width, width) for width in WIDTHS[:-1])
        self.last = nn.Sequential(nn.Conv2d(first, LAST_WIDTH, 1), nn.Upsample(scale_factor=2, mode="bilinear"))
        self.finish = nn.Sequential(_convolution(LAST_WIDTH, LAST_WIDTH), nn.Conv2d(LAST_WIDTH, 1, 1))

    def forward(self, features: Sequence[Tensor], prompts: Tensor) -> Tensor:
        alike = _likeness(self.compare(features[1]), prompts[:, :2])
        here = features[0] + self.read(prompts) + self.like(_enlarged(alike, features[0]))
        levels = [self.enter(here)]
        for down, image in zip(self.down, features[1:], strict=True):
            levels.append(down(levels[-1]) + image)
        here = self.deepest(levels[-1])
        for level in reversed(range(len(self.up))):
            here = self.up[level](levels[level] + _enlarged(self.narrow[level](here), levels[level]))
        return self.finish(self.last(here))


def _likeness(features: Tensor, clicks: Tensor) -> Tensor:
    """Returns the largest cosine between each place and a clicked place, `(N, K, h, w)`; -1 without a click.

    Args:
        features: `(N, C, h, w)`.
        clicks: K kinds of clicks as discs, `(N, K, H, W)`.
    """
    height, width = features.shape[2:]
    clicked = F.adaptive_max_pool2d(clicks, (height, width)).flatten(2)
    places = F.normalize(features.flatten(2), dim=1)
    found = []
    for kind in range(clicks.shape[1]):
        # Places that are not clicked fill up a fixed number.
        here, numbers = clicked[:, kind, None].topk(min(MOST_PLACES, height * width))
        asked = places.gather(2, numbers.expand(-1, places.shape[1], -1))
        # Only which place is the most like is looked for among all pairs: gradients of so many would take longer than
        # the rest of the decoder. What is not clicked gets a channel of its own, which makes it unlike everything.
        with torch.no_grad():
            sought = torch.cat([places, torch.ones_like(places[:, :1])], 1).transpose(1, 2)
            nearest = (sought @ torch.cat([asked, 4 * (here - 1)], 1)).argmax(2)
        most_like = asked.gather(2, nearest[:, None].expand_as(places))
        cosine = (places * most_like).sum(1, keepdim=True)
        found.append(torch.where(here.amax(2, keepdim=True) > 0, cosine, -1.0).unflatten(2, (height, width)))
    return torch.cat(found, 1)


def _convolution(channels: int, to: int, *, stride: int = 1) -> nn.Module:
    # Groups, not batches: there are few pictures in a batch.
    return nn.Sequential(
        nn.Conv2d(channels, to, 3, stride=stride, padding=1, bias=False), _GroupNorm(8, to), nn.ReLU(inplace=True)
    )


class _GroupNorm(nn.GroupNorm):
    """PyTorch's own takes several times as long where channels come last, above all in bfloat16."""

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features.contiguous())


def _enlarged(small: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(small, size=like.shape[2:], mode="bilinear")


def _stages(encoder: str) -> tuple[int, ...]:
    """Returns which of the encoder's stages have strides 4, 8, 16 and 32.

    Raises:
        ModelError: it has no such stages.
    """
    try:
        known: Any = timm.create_model(encoder, features_only=True, pretrained=False)
        strides = known.feature_info.reduction()
        return tuple(strides.index(stride) for stride in (4, 8, 16, 32))
    except (RuntimeError, ValueError, AttributeError) as e:
        raise ModelError(f"timm has no encoder '{encoder}' with features at strides 4, 8, 16 and 32.") from e
