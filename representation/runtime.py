"""Running an encoder that is done with training: ONNX Runtime on a CPU, a CUDA graph on a GPU."""

from __future__ import annotations

import copy
import io
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.error import DependencyNotInstalled
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import pad

from representation.encoder import Encoder, image_of, require_encoder
from representation.encoder_config import Shape
from representation.fused_convolutions import fuse_convolutions
from representation.timm_encoder import VisuotactileEncoder
from vtenv.engines.cuda_graph import capture_graph
from vtenv.modalities import IMAGE_MODALITIES
from vtenv.validation import require

CPU_RUNTIMES = ("onnxruntime", "torch")
"""Ways of computing an embedding on a CPU."""
RUNTIMES = (*CPU_RUNTIMES, "cuda-graph")
"""What runs an encoder."""
_DEVICES = {"onnxruntime": "cpu", "cuda-graph": "cuda"}
"""Kinds of devices that a runtime is for, where it is not for all."""
PRECISIONS = ("float32", "bfloat16")
"""What an encoder computes in; its embeddings are float32."""

EncoderSource = Encoder | str | Path
"""An encoder, or what `VisuotactileEncoder.from_pretrained` takes."""

_ROWS_PER_THREAD = 2
"""A thread gets at least so many observations: handing over fewer costs more than it saves."""
_TOLERANCE = 1e-3
"""Largest difference allowed between an exported network and the one it was exported from."""
_FEWEST_ROWS = 16
"""Observations that the smallest graph is for."""
_FEW_ROWS = 256
"""Observations for which it is not worth the time to try which convolutions are fastest."""


class EncoderRuntimeError(RuntimeError):
    """A runtime cannot run an encoder; the message says what to do."""


class FrozenEncoder:
    """An encoder to run and never to train; itself an `Encoder`.

    It runs a copy of its own: training the encoder that was given, or calling its `train()`,
    changes nothing here, and the encoder that was given is not changed. There are no gradients.

    On a CPU a network runs in ONNX Runtime, which takes a fraction of PyTorch's time for the small
    batches of a simulator. Its threads split the batch and wait for nothing in between, so they
    take no time from the simulator's. PyTorch's settings of threads stay as they are. The
    first call exports the network, which takes about a second.

    On a CUDA GPU a `VisuotactileEncoder` runs as a CUDA graph, channels last and with its batch
    norms and ReLUs fused with the convolutions before them; other networks do on request. There is
    a graph for each of few batch sizes, captured when it is first needed; a batch is padded to the
    next of them. The root mean square of what bfloat16 changes in an embedding is below 2% of the
    embedding's own.

    Args:
        encoder: An encoder, of which a copy is made; or what
            `VisuotactileEncoder.from_pretrained` takes.
        device: Where to encode; None for where the images are.
        runtime: "onnxruntime", which is for a network on a CPU, "cuda-graph", which is for one on
            a CUDA GPU, or "torch"; None for the first where it can be and is installed, the second
            for a `VisuotactileEncoder` on a GPU, and else the third.
        precision: "float32" or "bfloat16", which "onnxruntime" does not know.
        num_threads: Threads on a CPU; None for PyTorch's own setting, `torch.get_num_threads()`.

    Raises:
        ValueError: If an argument is not allowed.
        EncoderFileError: If the encoder cannot be loaded.
        DependencyNotInstalled: If `runtime` is "onnxruntime" and it is not installed.

    Warns:
        UserWarning: If PyTorch takes the place of ONNX Runtime, which is not installed.
    """

    def __init__(
        self,
        encoder: EncoderSource,
        *,
        device: str | torch.device | None = None,
        runtime: str | None = None,
        precision: str = "float32",
        num_threads: int | None = None,
    ) -> None:
        allowed = f"one of {', '.join(RUNTIMES)}, or None"
        require(runtime is None or runtime in RUNTIMES, "runtime", runtime, allowed)
        allowed = f"one of {', '.join(PRECISIONS)}"
        require(precision in PRECISIONS, "precision", precision, allowed)
        valid = num_threads is None or (not isinstance(num_threads, bool) and num_threads >= 1)
        require(valid, "num_threads", num_threads, "at least 1, or None")
        self.device = None if device is None else torch.device(device)
        if runtime in _DEVICES and self.device and self.device.type != _DEVICES[runtime]:
            raise ValueError(
                f'runtime="{runtime}" is for {_DEVICES[runtime]}; '
                f"leave it out to encode on {device}"
            )
        if runtime == "onnxruntime" and precision == "bfloat16":
            raise ValueError(
                'runtime="onnxruntime" computes in float32; leave precision out, or pass '
                'runtime="torch"'
            )
        with torch_threads(1):
            if isinstance(encoder, str | Path):
                self.module: Encoder = VisuotactileEncoder.from_pretrained(encoder)
            else:
                require_encoder(encoder)
                source = encoder.module if isinstance(encoder, FrozenEncoder) else encoder
                self.module = copy.deepcopy(source)
        if isinstance(self.module, nn.Module):
            self.module.float()  # weights of half precision, too
        _call(self.module, "eval")
        _call(self.module, "requires_grad_", False)
        self.runtime, self.precision = runtime, precision
        self._exports = find_spec("onnxruntime") is not None
        if not self._exports:
            self._do_without_onnxruntime()
        self.num_threads = num_threads
        self._sessions: dict[tuple[np.dtype[Any], ...], Any] = {}
        self._graphs: dict[torch.device, Callable[[dict[str, Tensor]], Tensor]] = {}
        self._pool: tuple[int, ThreadPoolExecutor] | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of the images that the encoder reads."""
        return self.module.keys

    @property
    def image_shapes(self) -> Mapping[str, Shape]:
        """Channels, rows and columns of each image, by key."""
        return self.module.image_shapes

    @property
    def image_ranges(self) -> Mapping[str, tuple[float, float]]:
        """Least and greatest value of the images of which the encoder says so, by key."""
        return getattr(self.module, "image_ranges", {})

    @property
    def embedding_size(self) -> int:
        """Width D of the embedding."""
        return self.module.embedding_size

    def __call__(self, observation: Mapping[str, Any]) -> Any:
        """Embeddings of a batch of observations.

        Args:
            observation: As for `Encoder`, all of them NumPy arrays or all of them tensors on one
                device, of any type; others than those of `keys` are ignored.

        Returns:
            Embeddings, (B, D), float32: a new array, or for tensors a new tensor where they are.

        Raises:
            ValueError: If an image is missing or has another shape than the encoder's.
            EncoderRuntimeError: If the runtime cannot run this encoder.
        """
        images = {
            key: _as_tensor(image_of(observation, key, self.image_shapes[key])) for key in self.keys
        }
        home = images[self.keys[0]].device
        device = self.device or home
        images = {key: image.to(device) for key, image in images.items()}
        run = {
            "onnxruntime": self._run_session,
            "cuda-graph": self._run_graph,
            "torch": self._run_module,
        }[self._runtime_on(device)]
        embedding = run(images).to(home)
        return embedding if isinstance(observation[self.keys[0]], Tensor) else embedding.numpy()

    def _do_without_onnxruntime(self) -> None:
        """Say what takes its place, or that nothing can."""
        install = "pip install 'vtinsert[onnx]'"
        if self.runtime == "onnxruntime":
            raise DependencyNotInstalled(
                f'runtime="onnxruntime" needs ONNX Runtime: {install}; or leave it out to encode '
                "in PyTorch"
            )
        on_cpu = self.device is None or self.device.type == "cpu"
        if self.runtime is None and on_cpu and isinstance(self.module, nn.Module):
            warnings.warn(
                "ONNX Runtime is not installed: on a CPU the encoder runs in PyTorch, which takes "
                f"1.4 to 2.6 times as long; {install}",
                stacklevel=3,
            )

    def __getstate__(self) -> dict[str, Any]:
        """Without what belongs to this process."""
        return {**self.__dict__, "_sessions": {}, "_graphs": {}, "_pool": None}

    def _runtime_on(self, device: torch.device) -> str:
        """What runs the encoder on a device.

        Raises:
            ValueError: If the runtime asked for cannot.
        """
        network = isinstance(self.module, nn.Module)
        if self.runtime is None:
            single = self._exports and self.precision == "float32"
            if device.type == "cpu" and network and single:
                return "onnxruntime"
            graph = device.type == "cuda" and isinstance(self.module, VisuotactileEncoder)
            return "cuda-graph" if graph else "torch"
        kind = _DEVICES.get(self.runtime, device.type)
        if device.type != kind or not (network or self.runtime == "torch"):
            raise ValueError(
                f'runtime="{self.runtime}" is for a torch.nn.Module on {kind}, and this is a '
                f"{type(self.module).__name__} and images on {device}; leave runtime out, or "
                f'pass device="{kind}"'
            )
        return self.runtime

    def _run_module(self, images: Mapping[str, Tensor]) -> Tensor:
        device = images[self.keys[0]].device
        _call(self.module, "to", device)
        _call(self.module, "eval")  # also if somebody has reached in and trained it
        threads = self.num_threads if device.type == "cpu" else None
        with torch.inference_mode(), torch_threads(threads), self._autocast(device):
            embedding = self.module(images).float()
        # A tensor made in inference mode cannot enter a policy that learns; its clone can.
        return embedding.clone()

    def _run_graph(self, images: dict[str, Tensor]) -> Tensor:
        device = images[self.keys[0]].device
        if device not in self._graphs:
            assert isinstance(self.module, nn.Module)
            examples = _examples(self, (np.dtype(np.float32),) * len(self.keys), 2)
            with torch_threads(1):
                module = fuse_convolutions(
                    copy.deepcopy(self.module).cpu().eval(),
                    lambda network: network(dict(zip(self.keys, examples, strict=True))).float(),
                )
            module.to(device).to(memory_format=torch.channels_last)

            def encode(images: dict[str, Tensor]) -> Tensor:
                many = len(images[self.keys[0]]) > _FEW_ROWS
                with self._autocast(device), _fastest_convolutions(many):
                    embedding: Tensor = module(images).float()
                return embedding

            self._graphs[device] = capture_graph(encode, device)
        count = len(images[self.keys[0]])
        if count == 0:
            return torch.zeros(0, self.embedding_size, device=device)
        rest = padded_rows(count) - count
        if rest:
            images = {key: pad(image, (0, 0) * 3 + (0, rest)) for key, image in images.items()}
        try:
            with torch.no_grad():
                return self._graphs[device](images)[:count]
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError as error:  # whatever a capture does not allow
            raise EncoderRuntimeError(
                f"this encoder cannot run as a CUDA graph ({error}); "
                'pass runtime="torch", which is slower on a GPU'
            ) from error

    def _autocast(self, device: torch.device) -> torch.autocast:
        half = self.precision == "bfloat16"
        # A cache of weights would outlive a capture.
        return torch.autocast(device.type, torch.bfloat16, enabled=half, cache_enabled=False)

    def _run_session(self, images: Mapping[str, Tensor]) -> Tensor:
        arrays = {key: np.ascontiguousarray(image.numpy()) for key, image in images.items()}
        dtypes = tuple(array.dtype for array in arrays.values())
        if dtypes not in self._sessions:
            self._sessions[dtypes] = _make_session(self.module, dtypes)
        session = self._sessions[dtypes]

        def run(rows: slice) -> NDArray[np.float32]:
            part = {key: array[rows] for key, array in arrays.items()}
            embedding: NDArray[np.float32] = session.run(None, part)[0]
            return embedding

        count = len(arrays[self.keys[0]])
        if count == 0:
            return torch.zeros(0, self.embedding_size)
        threads = self.num_threads or torch.get_num_threads()
        shards = min(threads, max(1, count // _ROWS_PER_THREAD))
        edges = np.linspace(0, count, shards + 1).astype(int)
        own, *others = map(slice, edges[:-1], edges[1:])
        submitted = [self._threads(threads - 1).submit(run, rows) for rows in others]
        parts = [run(own), *(part.result() for part in submitted)]
        return torch.from_numpy(np.concatenate(parts) if others else parts[0])

    def _threads(self, count: int) -> ThreadPoolExecutor:
        process = os.getpid()
        if self._pool is None or self._pool[0] != process:  # a fork has none of its parent's
            self._pool = process, ThreadPoolExecutor(count, "encoder")
        return self._pool[1]


def padded_rows(count: int) -> int:
    """Rows of the graph that encodes `count` observations: a power of two, or 1.5 times one."""
    power = 1 << (count - 1).bit_length()
    return max(_FEWEST_ROWS, power // 4 * 3 if count <= power // 4 * 3 else power)


@contextmanager
def _fastest_convolutions(worthwhile: bool) -> Iterator[None]:
    """Let cuDNN try its convolutions where it has not seen these shapes, and take the fastest."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = worthwhile
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def _as_tensor(image: Any) -> Tensor:
    """An image as a tensor: float32 if it is floating, and uint8 if it is bool."""
    if isinstance(image, Tensor):
        if image.dtype is torch.bool:
            return image.to(torch.uint8)
        return image.float() if image.is_floating_point() else image
    # By NumPy, whose conversions work in a forked process too.
    array = np.asarray(image)
    if array.dtype.kind in "bf":
        array = array.astype(np.uint8 if array.dtype.kind == "b" else np.float32, copy=False)
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def _call(encoder: Encoder, method: str, *arguments: object) -> None:
    """Call a method where the encoder has it."""
    if hasattr(encoder, method):
        getattr(encoder, method)(*arguments)


class _Positional(nn.Module):
    """An encoder whose images come one after the other, as an exported network's do."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, *images: Tensor) -> Tensor:
        return self.encoder(dict(zip(self.encoder.keys, images, strict=True))).float()


def _make_session(encoder: Encoder, dtypes: tuple[np.dtype[Any], ...]) -> Any:
    """An ONNX Runtime session that encodes images of such types on the thread that calls it."""
    # ONNX Runtime reports to its makers unless it is told not to before it is imported.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime  # type: ignore[import-untyped]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        with torch.no_grad(), torch_threads(1):
            module = _Positional(copy.deepcopy(encoder)).cpu().eval()
            exported = _exported(module, encoder.keys, _examples(encoder, dtypes, 2))
            session = onnxruntime.InferenceSession(
                exported, options, providers=["CPUExecutionProvider"]
            )
            examples = _examples(encoder, dtypes, 3)
            expected = module(*examples).numpy()
        feed = {key: image.numpy() for key, image in zip(encoder.keys, examples, strict=True)}
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
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The exporter that traces takes a second, its successor half a minute; and the shapes
        # that the encoder checks are those of the examples.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            examples,
            buffer,  # type: ignore[arg-type]
            dynamo=False,
            input_names=list(keys),
            output_names=["embedding"],
            dynamic_axes={name: {0: "batch"} for name in (*keys, "embedding")},
        )
    return buffer.getvalue()


def example_image(
    key: str, shape: Shape, count: int, dtype: Any, generator: np.random.Generator
) -> NDArray[Any]:
    """Random images of a modality, (count, *shape), no two alike, with pixels of no return.

    Args:
        key: Key of the modality; what `IMAGE_MODALITIES` lacks is within [0, 1].
        shape: Channels, rows and columns.
        count: Images.
        dtype: Type; integers are 0 or 1.
        generator: Draws them.
    """
    image = generator.random((count, *shape))
    if not np.issubdtype(dtype, np.floating):
        return (image < 0.5).astype(dtype)
    record = IMAGE_MODALITIES.get(key)
    low, high = (record and record.encoded_range) or (0.0, 1.0)
    return np.where(image < 0.1, 0.0, low + image * (high - low)).astype(dtype)


def _examples(
    encoder: Encoder, dtypes: tuple[np.dtype[Any], ...], count: int
) -> tuple[Tensor, ...]:
    generator = np.random.default_rng(count)
    return tuple(
        torch.from_numpy(example_image(key, encoder.image_shapes[key], count, dtype, generator))
        for key, dtype in zip(encoder.keys, dtypes, strict=True)
    )


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
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
