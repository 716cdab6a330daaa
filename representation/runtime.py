"""Running an encoder that is done with training: ONNX Runtime on a CPU, PyTorch elsewhere."""

from __future__ import annotations

import copy
import io
import os
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from representation.encoder import OBSERVATION_KEYS, EncoderConfig, VisuotactileEncoder

RUNTIMES = ("onnxruntime", "torch")
"""What runs an encoder."""

_DTYPES = {"depth": np.float32, "contact": np.uint8}
_ROWS_PER_THREAD = 2
"""A thread gets at least so many observations: handing over fewer costs more than it saves."""
_TOLERANCE = 1e-3
"""Largest difference allowed between an exported network and the one it was exported from."""


class EncoderRuntimeError(RuntimeError):
    """A runtime cannot run an encoder; the message says what to do."""


class FrozenEncoder:
    """An encoder to run and never to train.

    It runs a copy of its own: training the encoder that was given, or calling its `train()`,
    changes nothing here, and the encoder that was given is not changed. There are no gradients.

    On a CPU it runs in ONNX Runtime, which takes a fraction of PyTorch's time for the small
    batches of a simulator. Its threads split the batch and wait for nothing in between, so they
    take no time from the simulator's. PyTorch's settings of threads stay as they are. The
    first call exports the network, which takes about a second.

    Args:
        encoder: An encoder, of which a copy is made; or what
            `VisuotactileEncoder.from_pretrained` takes.
        device: Where to encode; None for where the images are.
        runtime: "onnxruntime", which is for a CPU, or "torch"; None for "onnxruntime" on a CPU
            and "torch" elsewhere.
        num_threads: Threads on a CPU; None for PyTorch's own setting, `torch.get_num_threads()`.

    Raises:
        ValueError: If an argument is not allowed.
        EncoderFileError: If the encoder cannot be loaded.
    """

    def __init__(
        self,
        encoder: VisuotactileEncoder | str | Path,
        *,
        device: str | torch.device | None = None,
        runtime: str | None = None,
        num_threads: int | None = None,
    ) -> None:
        if runtime is not None and runtime not in RUNTIMES:
            raise ValueError(
                f"runtime={runtime!r} is not allowed; it must be one of {', '.join(RUNTIMES)}, "
                "or None"
            )
        if num_threads is not None and (isinstance(num_threads, bool) or num_threads < 1):
            raise ValueError(f"num_threads={num_threads!r} is not allowed; it must be at least 1")
        self.device = None if device is None else torch.device(device)
        if runtime == "onnxruntime" and self.device is not None and self.device.type != "cpu":
            raise ValueError(
                f'runtime="onnxruntime" is for a CPU; leave it out to encode on {device}'
            )
        if not isinstance(encoder, VisuotactileEncoder | str | Path):
            raise ValueError(
                f"encoder is a {type(encoder).__name__}; give a VisuotactileEncoder, or the name "
                "or the folder of one"
            )
        with _torch_threads(1):
            if isinstance(encoder, VisuotactileEncoder):
                encoder = copy.deepcopy(encoder)
            else:
                encoder = VisuotactileEncoder.from_pretrained(encoder)
        self.module = encoder.eval().requires_grad_(False)
        self.runtime = runtime
        self.num_threads = num_threads
        self._session: Any = None
        self._pool: tuple[int, ThreadPoolExecutor] | None = None

    @property
    def config(self) -> EncoderConfig:
        """The encoder's configuration."""
        return self.module.config

    @property
    def embedding_size(self) -> int:
        """Width D of the embedding."""
        return self.module.embedding_size

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of the images that the encoder reads."""
        return tuple(OBSERVATION_KEYS[modality] for modality in self.config.modalities)

    def __call__(self, images: Mapping[str, Any]) -> Any:
        """Embeddings of a batch of observations.

        Args:
            images: As for `VisuotactileEncoder.forward`, all of them NumPy arrays or all of them
                tensors on one device; others than those of `keys` are ignored.

        Returns:
            Embeddings, (B, D), float32: a new array, or for tensors a new tensor where they are.

        Raises:
            ValueError: If an image is missing or has another shape than the configuration.
            EncoderRuntimeError: If the runtime cannot run this encoder.
        """
        images = {key: images[key] for key in self.keys}
        first = images[self.keys[0]]
        home = first.device if isinstance(first, Tensor) else torch.device("cpu")
        device = self.device or home
        runtime = self.runtime or ("onnxruntime" if device.type == "cpu" else "torch")
        if runtime == "onnxruntime" and device.type != "cpu":
            raise ValueError(
                f'runtime="onnxruntime" is for a CPU, and the images are on {device}; leave '
                'runtime out, or pass device="cpu"'
            )
        if runtime == "onnxruntime":
            arrays = {
                key: value.cpu().numpy() if isinstance(value, Tensor) else value
                for key, value in images.items()
            }
            embedding = self._run_session(arrays)
            return torch.from_numpy(embedding).to(home) if isinstance(first, Tensor) else embedding
        tensors = {key: torch.as_tensor(value, device=device) for key, value in images.items()}
        encoded = self._run_module(tensors, device).to(home)
        return encoded if isinstance(first, Tensor) else encoded.numpy()

    def __getstate__(self) -> dict[str, Any]:
        """Without what belongs to this process."""
        return {**self.__dict__, "_session": None, "_pool": None}

    def _run_module(self, images: Mapping[str, Tensor], device: torch.device) -> Tensor:
        module = self.module.to(device).eval()  # also if somebody has reached in and trained it
        threads = self.num_threads if device.type == "cpu" else None
        with torch.inference_mode(), _torch_threads(threads):
            embedding: Tensor = module(images).float()
        # A tensor made in inference mode cannot enter a policy that learns; its clone can.
        return embedding.clone()

    def _run_session(self, images: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        if self._session is None:
            self._session = _make_session(self.module)
        arrays = {
            key: np.ascontiguousarray(self._checked(key, image), _DTYPES[key])
            for key, image in images.items()
        }
        count = len(arrays[self.keys[0]])
        threads = self.num_threads or torch.get_num_threads()
        shards = min(threads, max(1, count // _ROWS_PER_THREAD))
        if count == 0:
            return np.zeros((0, self.embedding_size), np.float32)
        if shards == 1:
            return self._run_rows(arrays)
        edges = np.linspace(0, count, shards + 1).astype(int)
        parts = [
            {key: array[start:stop] for key, array in arrays.items()}
            for start, stop in pairwise(edges)
        ]
        pool = self._threads(threads - 1)
        others = [pool.submit(self._run_rows, part) for part in parts[1:]]
        own = self._run_rows(parts[0])
        return np.concatenate([own, *(other.result() for other in others)])

    def _run_rows(self, arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        embedding: NDArray[np.float32] = self._session.run(None, dict(arrays))[0]
        return embedding

    def _checked(self, key: str, image: NDArray[Any]) -> NDArray[Any]:
        modality = next(name for name in self.config.modalities if OBSERVATION_KEYS[name] == key)
        size = self.config.size(modality)
        expected = (self.config.channels(modality), size, size)
        if image.ndim != 4 or image.shape[1:] != expected:
            raise ValueError(
                f"{key} has shape {image.shape}, but this encoder takes "
                f"(B, {', '.join(map(str, expected))})"
            )
        return image

    def _threads(self, count: int) -> ThreadPoolExecutor:
        process = os.getpid()
        if self._pool is None or self._pool[0] != process:  # a fork has none of its parent's
            self._pool = process, ThreadPoolExecutor(count, "encoder")
        return self._pool[1]


class _Positional(nn.Module):
    """An encoder whose images come one after the other, as an exported network's do."""

    def __init__(self, encoder: VisuotactileEncoder, keys: tuple[str, ...]) -> None:
        super().__init__()
        self.encoder, self.keys = encoder, keys

    def forward(self, *images: Tensor) -> Tensor:
        embedding: Tensor = self.encoder(dict(zip(self.keys, images, strict=True)))
        return embedding


def _make_session(encoder: VisuotactileEncoder) -> Any:
    """An ONNX Runtime session that encodes on the thread that calls it."""
    # ONNX Runtime reports to its makers unless it is told not to before it is imported.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime  # type: ignore[import-untyped]

    keys = tuple(OBSERVATION_KEYS[modality] for modality in encoder.config.modalities)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        with torch.no_grad(), _torch_threads(1):
            module = _Positional(copy.deepcopy(encoder).cpu(), keys).eval()
            session = onnxruntime.InferenceSession(
                _exported(module, keys, _examples(encoder.config, 2)),
                options,
                providers=["CPUExecutionProvider"],
            )
            examples = _examples(encoder.config, 3)
            expected = module(*examples).numpy()
        feed = {key: image.numpy() for key, image in zip(keys, examples, strict=True)}
        off = float(np.abs(session.run(None, feed)[0] - expected).max())
    except Exception as error:  # whatever an exporter does not expect of a network
        raise EncoderRuntimeError(
            f"ONNX Runtime cannot run this encoder ({error}); "
            'pass runtime="torch", which is slower on a CPU'
        ) from error
    if not off <= _TOLERANCE * max(1.0, float(np.abs(expected).max())):
        raise EncoderRuntimeError(
            f"ONNX Runtime runs this encoder wrongly: embeddings are off by {off:.2g}; "
            'pass runtime="torch", which is slower on a CPU'
        )
    return session


def _exported(module: nn.Module, keys: tuple[str, ...], examples: tuple[Tensor, ...]) -> bytes:
    """A network as an ONNX model whose batch may have any size."""
    buffer: Any = io.BytesIO()
    with warnings.catch_warnings():
        # The exporter that traces takes a second, its successor half a minute; and the shapes
        # that the encoder checks are those of the examples.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            examples,
            buffer,
            dynamo=False,
            input_names=list(keys),
            output_names=["embedding"],
            dynamic_axes={name: {0: "batch"} for name in (*keys, "embedding")},
        )
    model: bytes = buffer.getvalue()
    return model


def _examples(config: EncoderConfig, count: int) -> tuple[Tensor, ...]:
    """Images that no two observations share, with pixels that have no return."""
    generator = np.random.default_rng(count)
    near, far = config.depth_range_m
    images = []
    for modality in config.modalities:
        shape = (count, config.channels(modality), config.size(modality), config.size(modality))
        image: NDArray[Any] = generator.random(shape)
        if modality == "vision":
            image = np.where(image < 0.1, 0.0, near + image * (far - near))
        else:
            image = image < 0.5
        images.append(torch.from_numpy(image.astype(_DTYPES[OBSERVATION_KEYS[modality]])))
    return tuple(images)


@contextmanager
def _torch_threads(count: int | None) -> Iterator[None]:
    """Let PyTorch use so many threads of the CPU inside, and as many as before outside.

    With one it works in a forked process too, where it would wait for ever for the threads that
    stayed with its parent.
    """
    before = torch.get_num_threads()
    if count is None or count == before:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
