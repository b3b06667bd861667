"""The format of ``metrics.json`` and of the lines of ``metrics.jsonl``.

Accuracies are shares (0 to 1). Keys that are not named here are ignored, so a report can be rebuilt from the run of a
newer version.
"""

from pydantic import BaseModel, ConfigDict, Field

LEAKED, MARK = "leakage: not a clean test", "\N{DAGGER}"  # what is put to figures and to numbers that may be inflated


class Part(BaseModel):
    """A part of a metrics file: immutable, foreign keys are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Accuracy(Part):
    """The four accuracies: every time step, last real step, mean over a clip, mean over a video's clips."""

    timestep: float
    last: float
    clip: float
    video: float


class TopFive(Part):
    """Share of videos whose class is among the five most probable."""

    video: float


class ClassResult(Part):
    """Test videos of one class; ``accuracy`` is null where there are none."""

    correct: int = Field(ge=0)
    videos: int = Field(ge=0)
    accuracy: float | None = None


class Baseline(Accuracy):
    """The mean-pool model on the same features."""

    per_class: dict[str, ClassResult] = {}
    anytime: tuple[float, ...] = ()


class Spikes(Part):
    """Spikes of the temporal model on the test clips."""

    per_neuron_per_step: float
    per_clip: float
    neurons: int


class Operations(Part):
    """Operations of one clip, as ``evaluation.operations`` says; null where they were not counted."""

    dense_macs: float
    effective_macs: float | None = None
    effective_acs: float | None = None
    neuron_updates: float | None = None
    state_updates: float | None = None

    @property
    def effective(self) -> float:
        """Operations of synapses that take part in the result: effective ones where counted, dense ones elsewhere."""
        if self.effective_macs is None and self.effective_acs is None:
            return self.dense_macs
        return (self.effective_macs or 0.0) + (self.effective_acs or 0.0)


class RunOperations(Part):
    """Operations of both networks; no backbone where the features came with the dataset."""

    backbone: Operations | None = None
    model: Operations


class EnergyEstimate(Part):
    """Estimates of a clip on one target in microjoules, as ``evaluation.energy.account.Row`` says."""

    target: str
    title: str
    factor: float = Field(ge=1)
    head: float | None = None
    twin: float | None = None
    baseline: float | None = None
    backbone: float | None = None
    chain: float | None = None
    twin_chain: float | None = None
    crossover: float | None = None
    rate: float | None = None
    problem: str | None = None
    too_large: str | None = None


class ChipFit(Part):
    """Whether the model fits on a chip, null where it is not known, and what has to shrink."""

    chip: str
    fits: bool | None = None
    why: tuple[str, ...] = ()


class Energy(Part):
    """What a clip of ``steps`` time steps is estimated to need with numbers of ``bits``, rounded matrices of theirs."""

    steps: int
    bits: int
    weight_bits: int | None = None
    estimates: tuple[EnergyEstimate, ...] = ()
    chips: tuple[ChipFit, ...] = ()

    def on(self, target: str) -> EnergyEstimate | None:
        """The estimates of one target, where it has any."""
        return next((each for each in self.estimates if each.target == target and each.head is not None), None)


class EarlyStop(Part):
    """Mean number of time steps that are looked at where clips end early, of how many, and the accuracy then."""

    steps: float
    of: float
    accuracy: Accuracy


class Pair(Part):
    """Accuracy on the test videos of two classes that only their course in time tells apart."""

    classes: tuple[str, str]
    model: float | None
    baseline: float | None = None


class Control(Part):
    """The same weights on clips whose frames were rearranged."""

    accuracy: Accuracy
    pairs: tuple[Pair, ...] = ()


class Controls(Part):
    """Frames in random order, and the first frame repeated."""

    shuffled: Control
    first_frame: Control


class Seconds(Part):
    """Wall time of the steps; ``evaluate`` is that of the temporal model's forward passes alone.

    Of the extraction also how many videos it was, and how many more were in the store; null where there was none.
    """

    extract: float | None = None
    videos_extracted: int | None = None
    videos_from_store: int | None = None
    train: float | None = None
    evaluate: float | None = None


class BadVideo(Part):
    """A video that could not be read, and why."""

    video: str
    reason: str


class Leak(Part):
    """One way in which a test set is not clean."""

    kind: str
    fold: str
    text: str


class Share(Part):
    """Test videos of one kind; ``accuracy`` is null where there are none."""

    videos: int = 0
    accuracy: float | None = None


class Leakage(Part):
    """What was found of leakage, and what was looked at.

    ``unshared`` test videos share no group with training or validation, ``shared`` ones do.
    """

    clean: bool = True
    unshared: Share = Share()
    shared: Share = Share()
    dropped: int = 0
    leaks: tuple[Leak, ...] = ()
    checked: tuple[str, ...] = ()
    not_compared: tuple[str, ...] = ()


class Bin(Part):
    """Test videos of nearly the same confidence."""

    videos: int
    confidence: float
    accuracy: float


class Reliability(Part):
    """How honest confidences are: expected calibration error, what chance alone would give, log-likelihood, bins."""

    error: float
    noise: float
    loss: float
    bins: tuple[Bin, ...] = ()


class FoldCalibration(Part):
    """What was found on held-out videos of one fold; ``own_model`` is false where one more model was asked."""

    name: str
    temperature: float
    score: str
    threshold: float
    known_share: float
    videos: int
    groups: int
    own_model: bool = True
    auroc: dict[str, float] | None = None


class Calibration(Part):
    """Confidences of test videos before and after temperatures; where there are none, ``reason`` says why."""

    videos: int
    bins: int
    before: Reliability
    after: Reliability | None = None
    called_unknown: float | None = None
    reason: str | None = None
    folds: tuple[FoldCalibration, ...] = ()


class FoldResult(Part):
    """One of several folds."""

    name: str
    accuracy: Accuracy
    baseline: Accuracy | None = None
    train_videos: int | None = None
    test_videos: int | None = None


class FoldSummary(Part):
    """Mean or standard deviation over folds."""

    accuracy: Accuracy
    baseline: Accuracy | None = None


class Metrics(Part):
    """``metrics.json``; with several folds the single values are over the test videos of all folds together."""

    accuracy: Accuracy
    top5: TopFive
    baseline: Baseline | None = None
    per_class: dict[str, ClassResult]
    spikes: Spikes | None = None
    operations: RunOperations
    energy: Energy | None = None
    seconds: Seconds
    videos_per_second: float | None = None
    train_videos: int
    test_videos: int
    validation_videos: int = 0
    best_epoch: int | None = None
    anytime: tuple[float, ...] = ()
    pairs: tuple[Pair, ...] = ()
    controls: Controls | None = None
    bad_videos: tuple[BadVideo, ...] = ()
    notes: tuple[str, ...] = ()
    leakage: Leakage | None = None
    calibration: Calibration | None = None
    early_stop: EarlyStop | None = None
    folds: tuple[FoldResult, ...] = ()
    mean: FoldSummary | None = None
    std: FoldSummary | None = None

    @property
    def mark(self) -> str:
        """What stands behind every number that leakage may have inflated; nothing where none was found."""
        return "" if self.leakage is None or self.leakage.clean else f" {MARK}"

    @property
    def summary(self) -> FoldSummary:
        """What the headline shows: the mean over folds where there are several, else the only result."""
        return self.mean or FoldSummary(accuracy=self.accuracy, baseline=self.baseline)


class EpochSide(Part):
    """One side (train, validation or test) after an epoch; what was not measured is null."""

    loss: float | None = None
    timestep: float | None = None
    last: float | None = None
    clip: float | None = None
    video: float | None = None


class Epoch(Part):
    """One line of ``metrics.jsonl``; ``epoch`` counts from 0, and -1 is before training."""

    fold: str
    epoch: int
    learning_rate: float | None = None
    train: EpochSide | None = None
    validation: EpochSide | None = None
    test: EpochSide | None = None
    seconds: float | None = None
