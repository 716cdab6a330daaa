"""Any of timm's networks as the backbone of an image.

timm takes longer to import than torch: it waits until a network is named, as many who import this,
such as policies on the state, name none.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, cast

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from torch import Tensor, nn

_WEIGHTS = "model.safetensors"


class PretrainedWeightsError(RuntimeError):
    """ImageNet weights cannot be had; the message says what to do."""


def require_backbone(name: str) -> None:
    """Check that timm knows a network, with or without its tag of pretrained weights.

    Raises:
        ValueError: If timm does not know it; names the nearest ones it knows.
    """
    import timm

    if timm.is_model(name):
        return
    near = difflib.get_close_matches(name.split(".")[0], timm.list_models(), n=4)
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    raise ValueError(
        f"backbone={name!r} is not a network that timm {timm.__version__} knows{hint} "
        "timm.list_models() lists them all"
    )


class Backbone(nn.Module):
    """A timm network without its classifier: pooled features, and tokens before pooling.

    Args:
        name: Name of a timm network.
        shape: Channels, rows and columns of the input images.
        options: Further arguments of `timm.create_model`, such as `{"patch_size": 8}`.
        pretrained: Whether to start from timm's ImageNet weights, the input layer adapted to
            the channels.

    Raises:
        ValueError: If timm does not know the network, or it does not take such images or options.
        PretrainedWeightsError: If the ImageNet weights cannot be had.
    """

    feature_size: int
    """Width of the pooled features."""
    num_tokens: int
    """Number of spatial tokens."""
    token_size: int
    """Width of a token."""

    def __init__(
        self,
        name: str,
        shape: tuple[int, int, int],
        options: Mapping[str, Any] | None = None,
        pretrained: bool = False,
    ) -> None:
        import timm

        super().__init__()
        require_backbone(name)
        channels, rows, columns = shape
        settings = dict(options or {})
        if _is_made_for_one_size(name):
            settings["img_size"] = rows if rows == columns else (rows, columns)
        if pretrained:
            settings |= {"pretrained": True, "pretrained_cfg_overlay": _local_weights(name)}
        try:
            self.network: Any = timm.create_model(
                name, in_chans=channels, num_classes=0, **settings
            )
            self._measure(shape)
        except Exception as error:  # whatever a network raises where it does not fit
            raise ValueError(
                f"backbone {name!r} cannot be built for images of {rows} x {columns} "
                f"pixels, {channels} channel(s) and options {dict(options or {})}: "
                f"{str(error) or f'the network ends in {type(error).__name__}'}; "
                "choose another size, other options or another backbone"
            ) from error

    def forward(self, images: Tensor) -> Tensor:
        """Pooled features, (B, feature_size), of normalised images, (B, C, H, W)."""
        return cast(Tensor, self.network(images))

    def tokens(self, images: Tensor) -> Tensor:
        """Spatial tokens: an image's patches, or the pixels of the last feature map.

        Class and register tokens are left out.

        Args:
            images: Normalised images, (B, C, H, W).

        Returns:
            Tokens in row-major order, (B, num_tokens, token_size).
        """
        features = self.network.forward_features(images)
        if not isinstance(features, Tensor):
            raise ValueError("its forward_features does not give one feature map or row of tokens")
        if features.ndim == 3:
            return features[:, getattr(self.network, "num_prefix_tokens", 0) :]
        if getattr(self.network, "output_fmt", "NCHW") == "NHWC":
            return features.flatten(1, 2)
        return features.flatten(2).transpose(1, 2)

    @torch.no_grad()
    def _measure(self, shape: tuple[int, int, int]) -> None:
        """Sizes, found by trying: timm's attributes disagree with some networks' outputs."""
        self.eval()  # batch statistics stay as they are
        blank = torch.zeros(1, *shape)
        self.feature_size = self(blank).shape[1]
        _, self.num_tokens, self.token_size = self.tokens(blank).shape
        self.train()


def _is_made_for_one_size(name: str) -> bool:
    import timm

    weights = timm.get_pretrained_cfg(name, allow_unregistered=True)
    return weights is not None and bool(weights.fixed_input_size)


def _local_weights(name: str) -> dict[str, Any]:
    """Where timm is to read the weights: a local file, downloaded if it is not there yet.

    Only safetensors: timm alone would fall back to a pickled file, and would retry for a minute
    where there is no network.
    """
    import timm

    weights = timm.get_pretrained_cfg(name, allow_unregistered=True)
    if weights is None or not weights.hf_hub_id:
        raise PretrainedWeightsError(
            f"timm has no ImageNet weights of {name!r}; "
            "timm.list_models(pretrained=True) lists the networks that have, "
            "or train from scratch with pretrained=False"
        )
    repository, _, revision = weights.hf_hub_id.partition("@")
    try:
        path = hf_hub_download(repository, _WEIGHTS, revision=revision or None)
    except (LocalEntryNotFoundError, HfHubHTTPError) as error:
        raise PretrainedWeightsError(
            f"cannot get the ImageNet weights of {name!r}, {_WEIGHTS} of {repository!r} on the "
            "Hugging Face Hub. Without network: run "
            f"`hf download {repository} {_WEIGHTS}` on a machine that has one, copy its folder "
            "~/.cache/huggingface/hub here (or point HF_HUB_CACHE to it), and try again; or "
            "train from scratch with pretrained=False"
        ) from error
    return {"file": path, "custom_load": False}
