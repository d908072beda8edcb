from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from backend.detector.runtimes.torch_runtime import TorchRuntime, one_thread


@pytest.fixture
def three_threads() -> Iterator[None]:
    """PyTorch's number of threads, on any machine, for this thread and for those that first use it later."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def threads_of_a_new_thread() -> int:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(torch.get_num_threads).result()


class CountsThreads(torch.nn.Module):
    """Answers with the number of threads that PyTorch computes in, here and in a thread that starts meanwhile."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.full((1, 1, 1), torch.get_num_threads()), torch.full((1, 1, 1), threads_of_a_new_thread()), images


def seen_by(runtime: TorchRuntime) -> tuple[float, float]:
    """The threads that compute an image, and those of a thread that starts meanwhile."""
    (outputs,) = runtime.infer([np.zeros((32, 32, 3), np.uint8)])
    return outputs.candidates.item(), outputs.prototypes.item()


def test_a_cpu_computes_in_one_thread_and_others_keep_theirs(three_threads: None) -> None:
    network: Any = CountsThreads()
    runtime = TorchRuntime(network, device="cpu")
    with ThreadPoolExecutor(1) as pool:
        # In a thread that has not used PyTorch before, as those of the backend.
        assert pool.submit(seen_by, runtime).result() == (1, 3)
        assert pool.submit(torch.get_num_threads).result() == 3
    assert seen_by(runtime) == (1, 3)
    assert torch.get_num_threads() == threads_of_a_new_thread() == 3


def test_an_error_within_gives_the_threads_back(three_threads: None) -> None:
    with pytest.raises(RuntimeError), one_thread():
        raise RuntimeError
    assert torch.get_num_threads() == 3
