from __future__ import annotations

import multiprocessing

import numpy as np
import torch

from innflow.data.simulation.isolate import Isolated


def busy(rows: np.ndarray, seed: tuple[int, ...], start: int) -> np.ndarray:
    """Run an operation that PyTorch divides among threads."""
    torch.exp(torch.ones(1_000_000)).sum()
    return rows + start


def work_on_two_threads(results) -> None:
    torch.set_num_threads(2)
    torch.exp(torch.ones(1_000_000)).sum()  # starts the threads
    copies = Isolated(busy, 1, 0.1)
    tasks = [(np.full((2, 1), float(i)), (0,), i) for i in range(3)]
    results.put([result.tolist() for result in copies.results(tasks, 2)])
    copies.close()


def test_a_copy_of_a_process_with_threads_does_not_wait_for_them():
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=work_on_two_threads, args=(results,))
    process.start()
    try:
        found = results.get(timeout=60)
    finally:
        process.kill()
        process.join()
    assert found == [[[2.0 * i]] * 2 for i in range(3)]
