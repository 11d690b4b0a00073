"""Metrics: each part lists its own in one closed table, from which they are made, documented and checked.

A label's value is an event's declared name, an instance's name, or a member of a closed list: never anything of an
event's content.
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from heliograph.frames import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client import Metric

_QUICK: Final = (0.000_1, 0.000_3, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Bounds of histograms, in seconds: a forced write takes some of the first, a commit of the lake some of the last."""


class Kind(enum.StrEnum):
    """What a metric is to Prometheus."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class MetricTable(enum.Enum):
    """Every metric of one part: an enum that inherits this, with a line for each."""

    def __init__(self, metric: str, kind: Kind, labels: tuple[str, ...], about: str) -> None:
        self.metric = metric
        """Its name; that of a counter ends with ``_total``."""
        self.kind = kind
        self.labels = labels
        self.about = about
        """What it counts or measures, with its unit."""


class Meters:
    """The metrics of a process, counted as things happen.

    Args:
        table: Which there are.
        registry: Where they are collected.
    """

    def __init__(self, table: type[MetricTable], registry: CollectorRegistry) -> None:
        self.registry: Final = registry
        self._counters: dict[MetricTable, Counter] = {}
        self._histograms: dict[MetricTable, Histogram] = {}
        self._children: dict[tuple[str, ...], Callable[[float], None]] = {}
        for each in table:
            if each.kind is Kind.COUNTER:
                self._counters[each] = Counter(each.metric, each.about, each.labels, registry=registry)
            elif each.kind is Kind.HISTOGRAM:
                self._histograms[each] = Histogram(
                    each.metric, each.about, each.labels, registry=registry, buckets=_QUICK
                )

    def count(self, metric: MetricTable, number: float = 1, **labels: str) -> None:
        """Add to a counter."""
        key = (metric.metric, *labels.values())  # the name, as to hash a member of an enum takes longer
        child = self._children.get(key)
        if child is None:  # to look it up by its labels takes longer than to count
            counter = self._counters[metric]
            child = self._children[key] = (counter.labels(**labels) if labels else counter).inc
        child(number)

    def observe(self, metric: MetricTable, value: float, **labels: str) -> None:
        """Add a measurement to a histogram."""
        key = (metric.metric, *labels.values())
        child = self._children.get(key)
        if child is None:
            histogram = self._histograms[metric]
            child = self._children[key] = (histogram.labels(**labels) if labels else histogram).observe
        child(value)


class Snapshot:
    """Metrics that are known as they stand, read where they are kept: put in, and rendered at once."""

    def __init__(self) -> None:
        self._families: dict[MetricTable, CounterMetricFamily | GaugeMetricFamily] = {}

    def put(self, metric: MetricTable, value: float, **labels: str) -> None:
        """Say how a metric stands."""
        family = self._families.get(metric)
        if family is None:
            kind = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
            family = self._families[metric] = kind(metric.metric, metric.about, labels=metric.labels)
        family.add_metric([labels[label] for label in metric.labels], value)

    def put_each(self, metric: MetricTable, values: Mapping[str, float], label: str, **labels: str) -> None:
        """Say how a metric stands for each value of a label."""
        for name, value in values.items():
            self.put(metric, value, **{label: name}, **labels)

    def collect(self) -> Iterator[Metric]:
        """Yield all of them, as a registry asks for them."""
        yield from self._families.values()

    def text(self) -> bytes:
        """Return them in Prometheus's text format."""
        return render([self])


def render(snapshots: Iterable[Snapshot], registry: CollectorRegistry | None = None) -> bytes:
    """Return snapshots, and what a registry holds, in Prometheus's text format."""
    together = CollectorRegistry()
    for snapshot in snapshots:
        together.register(snapshot)
    return (b"" if registry is None else generate_latest(registry)) + generate_latest(together)


def write_metrics(file: str | Path, content: bytes) -> None:
    """Replace a file for the node exporter's textfile collector, which reads it at any moment.

    Raises:
        OSError: It cannot be written.
    """
    path = Path(file)
    write_atomically(path, content)
    path.chmod(0o644)  # another user collects it, and it holds no content of events
