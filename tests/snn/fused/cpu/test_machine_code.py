import ctypes
import logging
from typing import Any

import pytest
from llvmlite import binding, ir

from snn_action.snn.fused.cpu import cache, machine_code


def emit(builder: Any, places: list[Any]) -> None:
    """target, number: add one to the number and put it to the target."""
    pointer = builder.inttoptr(places[0], ir.IntType(64).as_pointer())
    builder.store(builder.add(places[1], ir.Constant(ir.IntType(64), 1)), pointer)


def run() -> int:
    address = machine_code.compile_function("add_one", 2, emit)
    result = ctypes.c_int64()
    ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)(address)(ctypes.addressof(result), 41)
    return result.value


def test_code_is_kept_and_taken_again(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    caplog.set_level(logging.INFO)
    assert run() == 42
    assert "compiling a fused kernel" in caplog.text
    (file,) = (tmp_path / "snn_action" / "machine_code" / "strips").iterdir()
    caplog.clear()
    assert run() == 42
    assert not caplog.text
    assert file.exists()


@pytest.mark.parametrize("spoil", [lambda _: b"", lambda code: code[:-7], lambda code: b"garbage" + code[7:]])
def test_code_that_is_broken_is_compiled_again(spoil, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert run() == 42
    (file,) = (tmp_path / "snn_action" / "machine_code" / "strips").iterdir()
    whole = file.read_bytes()
    file.write_bytes(spoil(whole))
    assert run() == 42
    assert "is broken" in caplog.text
    assert file.read_bytes() == whole


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path, monkeypatch, caplog):
    (tmp_path / "snn_action").write_text("a file where the folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache.say.cache_clear()
    assert run() == 42
    assert "every process compiles them anew" in caplog.text


def test_the_processor_is_the_one_that_numba_compiles_for(monkeypatch):
    monkeypatch.setattr(machine_code.settings, "CPU_NAME", "x86-64")
    monkeypatch.setattr(machine_code.settings, "CPU_FEATURES", "+sse2,-avx")
    assert machine_code.choose_processor() == ("x86-64", "+sse2,-avx")


TARGETS = {
    "plain x86-64": ("x86_64-unknown-linux-gnu", "x86-64", "", "mulps", "ymm"),
    "AVX2": ("x86_64-unknown-linux-gnu", "x86-64", "+avx2,+fma", "ymm", "zmm"),
    "AVX-512": ("x86_64-unknown-linux-gnu", "skylake-avx512", "", "zmm", "no such"),
    "arm64": ("aarch64-unknown-linux-gnu", "generic", "", "fmla", "xmm"),
    "arm64 of Apple": ("arm64-apple-macosx", "apple-m1", "", "fmla", "xmm"),
}


@pytest.mark.parametrize("target", TARGETS)
def test_strips_of_every_neuron_compile_for_every_processor(target, monkeypatch):
    """No function of one kind of processor is called: what stands in the listing is what this processor has."""
    from snn_action.core import registry
    from snn_action.snn.fused.cpu import strips

    triple, processor, features, has, lacks = TARGETS[target]
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    machine = binding.Target.from_triple(triple).create_target_machine(cpu=processor, features=features, opt=3)
    listings = []

    def compile_for_target(*arguments):
        text = machine_code.write_function(*arguments)
        assert "llvm.x86" not in text
        assert "llvm.aarch64" not in text
        module = binding.parse_assembly(text)
        module.triple = triple
        listings.append(machine.emit_assembly(module))
        assert machine.emit_object(module)
        return 0

    monkeypatch.setattr(strips.machine_code, "compile_function", compile_for_target)
    for name in registry.REGISTRY["neuron"]:
        parsed = registry.parse("neuron", {"type": name})
        neuron = parsed.build()
        count, rates = neuron.equations("count"), None
        if "spike_aware" in neuron.gradients:
            rates = neuron.equations("rate_count")
        if count is None:
            continue
        strips.neurons_forward.__wrapped__(count, 2)
        strips.neurons_backward.__wrapped__(count)
        strips.array_forward.__wrapped__(count, 2, True, False)
        strips.array_backward.__wrapped__(count, True, True)
        if rates is not None:
            strips.array_backward_of_rates.__wrapped__(count, rates, 1, False, True)
    assert len(listings) > 20
    assert any(has in listing for listing in listings)
    assert not any(lacks in listing for listing in listings)
