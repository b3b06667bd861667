"""Targets of energy estimates: what an operation and a byte cost on a named device, and where the figure is from.

Each target is a file in ``targets``. No figure in it is measured here. Each is published, or derived from what is
published, and ``derivation`` says how. The true energy is thought to lie between ``estimate / factor`` and
``estimate * factor``.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from snn_action.core.settings import Settings
from snn_action.evaluation.energy.records import list_records, load_record

Bits = Literal["4", "8", "16", "32"]
Kind = Literal["digital", "processor", "neuromorphic"]
Energies = dict[Bits, Annotated[float, Field(gt=0)]]
_FOLDER = Path(__file__).parent / "targets"
_BYTES = ("local_byte", "on_chip_byte", "off_chip_byte")


class Target(Settings):
    """What one device needs for an operation and for moving a byte; energies are in pJ, by the width of weights.

    A width that is not there is not known: nothing is to be taken in its place.
    """

    name: str = Field(min_length=1, description="A short name")
    title: str = Field(min_length=1, description="What the device is")
    kind: Kind = Field(description="Bare arithmetic, a processor that runs programs, or a neuromorphic chip")
    year: int = Field(ge=1900, le=2100, description="Of the source of the figures")
    process: str = Field(min_length=1, description="Technology that the figures hold for, such as '45 nm'")
    sources: tuple[str, ...] = Field(min_length=1, description="Full citations, with a DOI or an address")
    derivation: str = Field(min_length=1, description="How each figure follows from the sources, and what is assumed")
    factor: float = Field(gt=1, description="The true value is thought to lie within this factor of the estimate")
    mac: Energies = Field(default_factory=dict, description="Multiplication and addition of numbers")
    ac: Energies = Field(default_factory=dict, description="Addition of one weight for one spike")
    neuron_update: Energies = Field(default_factory=dict, description="One spiking neuron, one step")
    state_update: Energies = Field(default_factory=dict, description="One other value carried on, one step")
    includes_memory: bool = Field(description="Whether these energies have the memory accesses in them already")
    event_driven: bool = Field(True, description="Whether what is zero is skipped; false: every product is made")
    local_byte: float | None = Field(None, ge=0, description="A byte of the memory nearest to the arithmetic, pJ")
    on_chip_byte: float | None = Field(None, ge=0, description="A byte of the largest memory on the chip, pJ")
    off_chip_byte: float | None = Field(None, ge=0, description="A byte of memory outside the chip, pJ")
    local_bytes: int | None = Field(None, ge=1, description="Bytes of the nearest memory; null: unknown")
    on_chip_bytes: int | None = Field(
        None,
        ge=1,
        description="Bytes of the largest memory on the chip; null: unknown, or includes_memory has DRAM in it",
    )

    @model_validator(mode="after")
    def _check_memory(self) -> Self:
        for key in _BYTES:
            if self.includes_memory and getattr(self, key) is not None:
                raise ValueError(f"{key}: must be null where includes_memory is true, or memory is counted twice")
            if not self.includes_memory and getattr(self, key) is None:
                raise ValueError(f"{key}: must be a number where includes_memory is false")
        if not self.mac and not self.ac:
            raise ValueError("mac, ac: one of them must have an energy")
        return self


def load_target(name: str) -> Target:
    """A target of the package by its name, or one of the user's by the path of a file that ends in ".json".

    Raises:
        ConfigError: there is no such target, or the file does not fit; one line, which names the file and the key.
    """
    return load_record(Target, _FOLDER, name, "target")


def list_targets() -> list[str]:
    """The names of the targets that come with the package, in order."""
    return list_records(_FOLDER)
