# SPDX-License-Identifier: Apache-2.0
"""The micro-batch that fits is found, and a lack of memory says what would fit."""

import dataclasses

import jax
import pytest

from ssl_jax import data, run
from ssl_jax.cli.console import Console
from ssl_jax.loop.loop import MicroBatch
from ssl_jax.plan import start, topology
from ssl_jax.plan.look import look
from ssl_jax.types import Failure, Meta, UserError
from tests.plan import small


def of(experiment, micro_batch):
    return dataclasses.replace(experiment, loop=dataclasses.replace(experiment.loop, micro_batch=micro_batch))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    experiment = small.with_corpus(tmp_path_factory.mktemp("start"), data=2, fsdp=4)
    return experiment, Meta(tokenizer=data.prepare(experiment.data, experiment.text).tokenizer)


@pytest.fixture(scope="module")
def needs(prepared):
    """Bytes a device: with all 4 rows of a shard at once, and a row at a time."""
    experiment, meta = prepared
    views = (look(of(experiment, n), meta, topology.this_machine(), 40) for n in (None, 1))
    return [view.memory.total for view in views]


def machine_of(patch, capacity):
    target = dataclasses.replace(topology.this_machine(), capacity=capacity)
    patch.setattr(start, "this_machine", lambda: target)


@pytest.mark.slow
def test_the_micro_batch_that_fits(prepared, needs, monkeypatch):
    experiment, meta = prepared
    whole, least = needs
    assert least < 0.9 * whole
    auto, said = of(experiment, MicroBatch.AUTO), []

    machine_of(monkeypatch, int(1.01 * whole / start.ROOM))
    assert start.fitted(auto, meta, said.append) == of(experiment, None)

    machine_of(monkeypatch, int(0.95 * whole / start.ROOM))
    found = start.fitted(auto, meta, said.append)
    assert found.loop.micro_batch in (1, 2) and found.loop.batch_size == experiment.loop.batch_size
    view = look(found, meta, topology.this_machine(), 40)
    assert view.memory.total <= 0.95 * whole
    assert said[-1].startswith(f"what fits: loop.micro_batch={found.loop.micro_batch}")

    machine_of(monkeypatch, least // 10)
    with pytest.raises(UserError, match=r"no micro-batch fits: .* ssl-jax plan says what would do"):
        start.fitted(auto, meta, said.append)
    assert start.fitted(experiment, meta, said.append) is experiment  # a number stays


def test_out_of_memory_is_one_line_with_what_needs_less(prepared, tmp_path, monkeypatch):
    """Also where the compiler had thought that it fits."""
    experiment, _ = prepared

    def runs_out(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1 bytes")

    monkeypatch.setattr(run, "loop", runs_out)
    with pytest.raises(Failure, match=r"^out of device memory; .* --set loop\.micro_batch=[12] needs less$"):
        run.main(of(experiment, None), tmp_path / "run", console=Console())


def test_other_errors_of_the_runtime_stay_what_they_are(prepared, tmp_path):
    experiment, meta = prepared
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"), start.advised(experiment, meta):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")


def test_only_a_device_of_this_process_is_asked_for_its_memory(monkeypatch):
    """jax raises for those of another process."""

    class Gpu:
        platform, device_kind = "gpu", "NVIDIA H100 80GB HBM3"

        def memory_stats(self):
            return {"bytes_limit": 7}

    class Elsewhere(Gpu):
        def memory_stats(self):
            raise jax.errors.JaxRuntimeError("MemoryStats is only supported for addressable devices")

    mine = Gpu()
    monkeypatch.setattr(jax, "devices", lambda: [Elsewhere(), mine])
    monkeypatch.setattr(jax, "local_devices", lambda: [mine])
    assert topology.this_machine().capacity == 7
