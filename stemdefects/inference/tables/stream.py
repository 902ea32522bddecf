"""A movie through the network, block by block: reading, computing and the rest overlap, memory stays bounded."""

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from stemdefects.devices import callers
from stemdefects.inference.network import align
from stemdefects.inference.network.engine import FrameOutput
from stemdefects.inference.setup import Setup
from stemdefects.inference.tables import blocks_of_frames
from stemdefects.inference.tables.partial_results import Block
from stemdefects.io.movie import Checked, FrameError, Movie

READ_AHEAD = 2  # blocks
IN_FLIGHT = 2  # batches on the host: one alone does not keep the cores busy
MAX_FINISHERS = 4  # threads that finish frames; most of their work is in compiled code


class Shown(NamedTuple):
    """What the network is shown of one frame: stack (T, H, W), and the pixels that hold no intensity (H, W bool) or
    None; second: (H, W) the frame on a second detector, None where there is none or it cannot be used."""

    stack: np.ndarray
    invalid: np.ndarray | None
    second: np.ndarray | None = None


class Work(NamedTuple):
    """A block as it is read: its number, its frames' numbers, and what of each frame is shown or wrong."""

    number: int
    indices: np.ndarray
    stacks: list[Shown | FrameError]


@dataclass
class _Open:
    """A block on its way: results per frame as they come, `left` of them still to come."""

    work: Work
    results: list
    left: int


def blocks(
    movie: Movie, setup: Setup, todo: Iterable[int], progress: Callable[[int, int], None] | None = None
) -> Iterator[Block]:
    """Results of the blocks `todo`, in order. `progress(frames, defects)` is called as they are finished."""
    maker, size = blocks_of_frames.BlockMaker(setup), setup.engine.batch_size
    report = progress or (lambda frames, defects: None)
    unfinished: deque[_Open] = deque()
    on_device: deque[tuple[_Open, list[int], Future]] = deque()  # batches, also of the next block
    on_host: deque[tuple[_Open, list[int], list[Future]]] = deque()

    def collect() -> None:
        block, members, looked = on_device.popleft()
        on_host.append((block, members, [pool.submit(maker.finish, output) for output in looked.result()]))

    def settle() -> None:
        block, members, futures = on_host.popleft()
        for i, future in zip(members, futures, strict=True):
            block.results[i] = future.result()
        block.left -= len(members)
        report(len(members), sum(len(block.results[i].found.rows) for i in members))

    def finished() -> Iterator[Block]:
        while unfinished and not unfinished[0].left:
            block = unfinished.popleft()
            errors = {i: stack for i, stack in enumerate(block.work.stacks) if isinstance(stack, FrameError)}
            report(len(errors), 0)
            yield maker.block(block.work.number, block.work.indices, block.results, errors)

    # small products in several threads at once: threads of BLAS would only wait for each other
    finishers, lookers = min(MAX_FINISHERS, os.cpu_count() or 1), callers()
    with (
        threadpool_limits(1, "blas"),
        ThreadPoolExecutor(finishers, "finisher") as pool,
        ThreadPoolExecutor(lookers, "network") as network,
    ):
        for work in _read_ahead(movie, setup, list(todo)):
            good = [i for i, shown in enumerate(work.stacks) if isinstance(shown, Shown)]
            block = _Open(work, [None] * len(work.stacks), len(good))
            unfinished.append(block)
            for batch in (good[i : i + size] for i in range(0, len(good), size)):
                shown = [stack for i in batch if isinstance(stack := work.stacks[i], Shown)]
                on_device.append((block, batch, network.submit(look, setup, shown)))
                if len(on_device) > lookers:
                    collect()
                if len(on_host) > IN_FLIGHT:
                    settle()
                yield from finished()
            yield from finished()
        while on_device:
            collect()
        while on_host:
            settle()
        yield from finished()


def look(setup: Setup, some: list[Shown]) -> list[FrameOutput]:
    """What the network says of a batch."""
    return setup.engine.look(np.stack([s.stack for s in some]), [s.invalid for s in some], [s.second for s in some])


def _read_ahead(movie: Movie, setup: Setup, todo: list[int]) -> Iterator[Work]:
    """Blocks read by a thread of their own, `READ_AHEAD` ahead of their use."""
    ready: queue.Queue = queue.Queue(maxsize=READ_AHEAD)
    stop = threading.Event()

    def put(item: Any) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def read() -> None:
        try:
            for number in todo:
                indices = setup.block(number)
                if not put(Work(number, indices, [shown(movie, int(i), setup) for i in indices])):
                    return
            put(None)
        except BaseException as error:  # to be raised where the blocks are used
            put(error)

    thread = threading.Thread(target=read, name="reader", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join(timeout=5)


def shown(movie: Movie, index: int, setup: Setup) -> Shown | FrameError:
    """Frame `index` with its aligned neighbours, or their mean, or what is wrong with it."""
    average = setup.settings.average_frames
    half = max(setup.model.frames, average) // 2
    frames: list[Checked | FrameError | None] = []
    for i in range(index - half, index + half + 1):
        if not 0 <= i < len(movie):
            frames.append(None)
            continue
        if i not in setup.recent:
            while len(setup.recent) > 2 * half:
                setup.recent.pop(next(iter(setup.recent)))
            try:
                setup.recent[i] = movie.checked(i)
            except FrameError as error:
                setup.recent[i] = error
        frames.append(setup.recent[i])
    if isinstance(frames[half], FrameError):
        return frames[half]
    usable = [frame if isinstance(frame, Checked) else None for frame in frames]
    images, invalid = ([frame and frame[k] for frame in usable] for k in (0, 1))
    vectors = None if setup.reference_px is None else setup.raw_vectors(setup.reference_px)

    def between(a: int, b: int) -> np.ndarray:  # as part of every stack that holds the pair: worked out once
        pair = index - half + a, index - half + b
        if pair not in setup.steps_px:
            while len(setup.steps_px) > 4 * half:
                setup.steps_px.pop(next(iter(setup.steps_px)))
            before, after = images[a], images[b]
            assert before is not None and after is not None and vectors is not None  # as `align.stack` asks
            setup.steps_px[pair] = align.moved(before, after, vectors)
        return setup.steps_px[pair]

    stack = align.stack(images, vectors, invalid, between)
    wrong = invalid[half]
    if setup.straighten is not None:
        wrong = setup.straighten.invalid(wrong, stack.shape[1:])
        stack = np.stack([setup.straighten.image(frame) for frame in stack])
    second = _second(movie, index, setup)
    return Shown(stack.mean(0, keepdims=True, dtype=np.float32) if average > 1 else stack, wrong, second)


def _second(movie: Movie, index: int, setup: Setup) -> np.ndarray | None:
    if movie.second is None:
        return None
    try:
        frame = movie.second.frame(index)
    except FrameError:
        return None
    return frame if setup.straighten is None else setup.straighten.image(frame)
