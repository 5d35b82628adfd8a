"""How much of its processors a sandbox uses, from the counter that its control group keeps. Pure."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

SUSTAINED_S: Final = 120.0
"""A build may use all of its processors for a moment; a warning is about the average of this long."""

_LONGEST_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class ProcessorSample:
    """The counter at one moment: microseconds of processor time since the sandbox of this generation started."""

    at: datetime
    generation: int
    used_us: int


@dataclass(frozen=True, slots=True)
class ProcessorUse:
    """The newest samples of one sandbox, the oldest first. Values are thousandths of a processor."""

    samples: tuple[ProcessorSample, ...] = ()

    def after(self, sample: ProcessorSample) -> "ProcessorUse":
        """Return the use after one more sample. A new sandbox, or a counter that went back, begins again."""
        last = self.samples[-1] if self.samples else None
        if last is None or sample.generation != last.generation or sample.used_us < last.used_us:
            return ProcessorUse((sample,))
        if sample.at <= last.at:
            return self
        if (sample.at - last.at).total_seconds() > _LONGEST_S:  # it was paused, or nobody looked
            return ProcessorUse((sample,))
        kept = [*self.samples, sample]
        while kept[1:-1] and (sample.at - kept[1].at).total_seconds() >= SUSTAINED_S:
            del kept[0]
        return ProcessorUse(tuple(kept))

    @property
    def latest_millis(self) -> int | None:
        """The average since the sample before the newest; None while there is only one."""
        return _average(self.samples[-2], self.samples[-1]) if len(self.samples) > 1 else None

    @property
    def sustained_millis(self) -> int | None:
        """The average of `SUSTAINED_S` or a little more; None while that is not known."""
        if not self.samples or (self.samples[-1].at - self.samples[0].at).total_seconds() < SUSTAINED_S:
            return None
        return _average(self.samples[0], self.samples[-1])


def _average(first: ProcessorSample, last: ProcessorSample) -> int:
    seconds = (last.at - first.at).total_seconds()
    return round((last.used_us - first.used_us) / seconds / 1000)
