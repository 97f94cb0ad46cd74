"""Whether the steps of an ensemble fit together: what each takes is there, in type and dims, and has room to wait."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Dims = tuple[int, ...]
Made = dict[str, tuple[int, Dims]]


def ensemble(config: Any, models: Mapping[str, Any]) -> Iterator[str]:
    """Every disagreement between an ensemble and the models of its steps."""
    missing = [step.model_name for step in config.ensemble_scheduling.step if step.model_name not in models]
    if missing:
        yield from (f"step {name} is not a model of this repository" for name in missing)
        return
    yield from _tensors(config, models)
    yield from _queues(config, models)
    yield from _one_by_one(config)


def _tensors(config: Any, models: Mapping[str, Any]) -> Iterator[str]:
    known: Made = {tensor.name: (tensor.data_type, _full(tensor.dims, config)) for tensor in config.input}
    made = dict(known)
    for step in config.ensemble_scheduling.step:
        model = models[step.model_name]
        yield from _inputs(step, model, made)
        outputs: Made = {tensor.name: (tensor.data_type, _full(tensor.dims, model)) for tensor in model.output}
        for output, tensor in step.output_map.items():
            if output not in outputs:
                yield f"step {step.model_name} has no output {output}"
            else:
                made[tensor] = outputs[output]
    for tensor in config.output:
        have = made.get(tensor.name)
        if have is None or have[0] != tensor.data_type or not fit(have[1], _full(tensor.dims, config)):
            yield f"output {tensor.name} is not what the steps make of it"
    used = {tensor for step in config.ensemble_scheduling.step for tensor in step.input_map.values()}
    yield from (f"input {name} is used by no step" for name in known if name not in used)


def _inputs(step: Any, model: Any, made: Made) -> Iterator[str]:
    stated = {tensor.name: tensor for tensor in model.input}
    for name, tensor in stated.items():
        if name not in step.input_map and not tensor.optional:
            yield f"step {step.model_name} is not given its input {name}"
    for name, source in step.input_map.items():
        if name not in stated:
            yield f"step {step.model_name} has no input {name}"
        elif source not in made:
            yield f"step {step.model_name} takes {source}, which no step before it makes"
        elif made[source][0] != stated[name].data_type or not fit(made[source][1], _full(stated[name].dims, model)):
            yield f"step {step.model_name} takes {name} in another type or other dims than {source} has"


def _queues(config: Any, models: Mapping[str, Any]) -> Iterator[str]:
    """A crowd is to be turned away at the door, not after the work of the first steps."""
    longest = 0.0
    for step in config.ensemble_scheduling.step:
        limit = models[step.model_name].dynamic_batching.default_queue_policy.max_queue_size or math.inf
        if limit < longest:
            yield f"step {step.model_name} has a shorter queue, of {limit}, than a step before it, of {longest}"
        longest = max(longest, limit)


def _one_by_one(config: Any) -> Iterator[str]:
    """Whether no two steps start at the same moment.

    Before 26.05, Triton hangs or crashes where one of two fails while the other is started: its core's changes 466 and 483.
    """
    steps = list(config.ensemble_scheduling.step)
    there = {tensor.name for tensor in config.input}
    while ready := [step for step in steps if there.issuperset(step.input_map.values())]:
        if len(ready) > 1:
            names = ", ".join(step.model_name for step in ready)
            yield f"steps {names} start together: where one fails at that moment, the server hangs"
            return
        steps.remove(ready[0])
        there.update(ready[0].output_map.values())


def fit(dims: Dims, stated: Dims) -> bool:
    """Whether dims are possible where others are stated; -1 stands for any.

    Example:
        >>> fit((-1, 64), (8, 64)), fit((8, 64), (8, 128))
        (True, False)
    """
    return len(dims) == len(stated) and all(-1 in (a, b) or a == b for a, b in zip(dims, stated, strict=True))


def _full(dims: Iterable[int], config: Any) -> Dims:
    """Dims with the batch in front, where the model has one."""
    return (-1, *dims) if config.max_batch_size > 0 else tuple(dims)
