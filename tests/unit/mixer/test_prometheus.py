"""Adapter prometheus (mixer.md G.2, J3; checklist 38)."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from istio.mixer.adapter.prometheus.config.config_pb2 import Params
from mast.mixer.adapters import prometheus
from mast.mixer.adapters.prometheus import Prometheus, bounds, clean, measure
from mast.mixer.core.adapter import AdapterError, Batch, HandlerConfig, Instance
from mast.mixer.core.metric_overrides import MetricOverrides
from mast.mixer.core.series import LABEL_CHARACTERS, Registry, number
from mast.mixer.core.values import Duration, Value
from tests.support.mixer_config import Clock

COUNTER = {"instance_name": "c.metric.ns", "name": "hits", "kind": "COUNTER"}
GAUGE = {"instance_name": "g.metric.ns", "name": "level", "kind": "GAUGE"}
DISTRIBUTION = {
    "instance_name": "d.metric.ns",
    "name": "time",
    "kind": "DISTRIBUTION",
    "label_names": ["who"],
    "buckets": {"explicit_buckets": {"bounds": [1, 2.5]}},
}


def config(*metrics: Mapping[str, Any], **policy: str) -> HandlerConfig:
    described: dict[str, Any] = {"metrics": metrics}
    if policy:
        described["metrics_expiration_policy"] = policy
    return HandlerConfig("h", "prometheus", ParseDict(described, Params()))


class Scrape:
    """Handlers on one registry."""

    def __init__(self, max_series: int = 100) -> None:
        self.clock = Clock()
        self.registry = Registry(max_series)

    def handler(self, *metrics: Mapping[str, Any], **policy: str) -> Prometheus:
        return Prometheus(config(*metrics, **policy).params, self.registry, self.clock)

    @property
    def lines(self) -> list[str]:
        return [line for line in self.registry.render().split("\n") if line]

    @property
    def samples(self) -> list[str]:
        return [line for line in self.lines if not line.startswith("#")]


def batch(name: str, *values: Value | None, **dimensions: Value) -> Batch:
    instance = Instance(f"{name}.metric.ns", "metric", {"dimensions": dimensions})
    return Batch(instance, values, len(values))


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("/request/count", "request_count"),
        ("a.b c-d", "a_b_cd"),
        ("plain", "plain"),
        ("//x", "_x"),
    ],
)
def test_names_are_cleaned(name: str, cleaned: str) -> None:
    assert clean(name) == cleaned


def test_the_text_of_a_scrape() -> None:
    scrape = Scrape()
    handler = scrape.handler(
        {**COUNTER, "description": 'Hits\nof "it"', "label_names": ["b-c", "/a.x"]},
        GAUGE,
        DISTRIBUTION,
        {"instance_name": "my.metric.a-b", "namespace": "own", "kind": "COUNTER"},
    )
    labels = {"b-c": 'q"\\\n', "/a.x": 5}
    assert (
        handler.report(
            [
                batch("c", 1, 1, **labels),
                batch("g", 3.5, 2.5),
                batch("d", 0.5, 1, 2, 3.0, who="x"),
                Batch(Instance("my.metric.a-b", "metric", {"dimensions": {}}), [7]),
            ]
        )
        == []
    )
    assert scrape.lines == [
        '# HELP istio_hits Hits\\nof "it"',
        "# TYPE istio_hits counter",
        'istio_hits{a_x="5",bc="q\\"\\\\\\n"} 2',
        "# HELP istio_level level",
        "# TYPE istio_level gauge",
        "istio_level 2.5",
        "# HELP istio_time time",
        "# TYPE istio_time histogram",
        'istio_time_bucket{who="x",le="1"} 2',
        'istio_time_bucket{who="x",le="2.5"} 3',
        'istio_time_bucket{who="x",le="+Inf"} 4',
        'istio_time_sum{who="x"} 6.5',
        'istio_time_count{who="x"} 4',
        "# HELP own_my_metric_ab my.metric.a-b",
        "# TYPE own_my_metric_ab counter",
        "own_my_metric_ab 7",
    ]


@pytest.mark.parametrize(
    ("buckets", "expected"),
    [
        ({}, [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]),
        ({"explicit_buckets": {"bounds": [1, 3]}}, [1, 3]),
        ({"linear_buckets": {"num_finite_buckets": 2, "width": 5, "offset": 1}}, [1, 6, 11]),
        (
            {"exponential_buckets": {"num_finite_buckets": 8, "scale": 1, "growth_factor": 10}},
            [1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8],
        ),
    ],
)
def test_bucket_bounds(buckets: dict[str, Any], expected: list[float]) -> None:
    parsed = ParseDict(buckets, Params.MetricInfo.BucketsDefinition())
    assert list(bounds(parsed)) == expected


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e6, "1e+06"), (1e5, "100000"), (0.005, "0.005"), (2, "2"), (123456789.0, "1.23456789e+08"),
     (float("inf"), "+Inf"), (0.0, "0")],
)  # fmt: skip
def test_numbers_are_written_as_go_does(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "measured"),
    [(3, 3.0), (1.5, 1.5), (Duration(1_500_000_000), 1.5), ("12.5", 12.5), ("-1e3", -1000.0)],
)
def test_values(value: Value, measured: float) -> None:
    assert measure(value) == measured


@pytest.mark.parametrize(
    "value", ["x", "", "1_000", " 1", True, None, {"a": "b"}, b"\x01\x02\x03\x04"]
)
def test_values_that_are_no_numbers(value: Value | None) -> None:
    with pytest.raises(AdapterError, match="to a number"):
        measure(value)


def test_a_bad_value_costs_only_its_record() -> None:
    scrape = Scrape()
    handler = scrape.handler(COUNTER, GAUGE)
    errors = handler.report([batch("c", 1, "x", "2", Duration(10**9), None), batch("g", 4)])
    assert errors == [
        "metric istio_hits: could not convert metric value 'x' to a number",
        "metric istio_hits: could not convert metric value '' to a number",
    ]
    assert scrape.samples == ["istio_hits 4", "istio_level 4"]


def test_durations_count_in_seconds() -> None:
    scrape = Scrape()
    scrape.handler(GAUGE).report([batch("g", Duration(1), Duration(2_500_000_000))])
    assert scrape.samples == ["istio_level 2.5"]


def test_a_counter_does_not_decrease() -> None:
    scrape = Scrape()
    assert scrape.handler(COUNTER).report([batch("c", 2, -1, 3)]) == [
        "counter istio_hits cannot decrease"
    ]
    assert scrape.samples == ["istio_hits 5"]


def test_other_dimensions_than_label_names_cost_only_their_records() -> None:
    scrape = Scrape()
    errors = scrape.handler(DISTRIBUTION, GAUGE).report(
        [batch("d", 1), batch("d", 1, who="x", where="y"), batch("d", 1, who="x"), batch("g", 1)]
    )
    assert errors == [
        "metric d.metric.ns: dimensions [] are not the label_names ['who']",
        "metric d.metric.ns: dimensions ['where', 'who'] are not the label_names ['who']",
    ]
    assert 'istio_time_count{who="x"} 1' in scrape.samples
    assert "istio_level 1" in scrape.samples


def test_an_instance_without_metric_is_an_error() -> None:
    assert Scrape().handler(GAUGE).report([batch("x", 1)]) == [
        "could not find metric info from adapter config for x.metric.ns"
    ]


def test_an_instance_seen_before_counts_into_its_series() -> None:
    scrape = Scrape()
    handler = scrape.handler(DISTRIBUTION)
    again = batch("d", 1, who="x")
    handler.report([again])
    handler.report([again])
    assert 'istio_time_count{who="x"} 2' in scrape.samples


async def test_an_unchanged_metric_keeps_its_values_across_configurations() -> None:
    scrape = Scrape()
    before = scrape.handler(COUNTER)
    before.report([batch("c", 5)])
    after = scrape.handler(COUNTER, GAUGE)
    await before.close()
    after.report([batch("c", 1), batch("g", 1)])
    assert scrape.samples == ["istio_hits 6", "istio_level 1"]


async def test_a_changed_metric_resets_the_whole_registry() -> None:
    scrape = Scrape()
    before = scrape.handler(COUNTER, DISTRIBUTION)
    other = scrape.handler(GAUGE)
    before.report([batch("c", 5), batch("d", 1, who="x")])
    other.report([batch("g", 1)])
    after = scrape.handler({**COUNTER, "label_names": ["who"]}, DISTRIBUTION)
    assert scrape.samples == []
    assert scrape.registry.size == 0
    before.report([batch("c", 5)])  # until it is closed, in vain
    before.expire()
    await before.close()
    after.report([batch("c", 1, who="x")])
    other.report([batch("g", 2)])
    assert scrape.samples == ['istio_hits{who="x"} 1', "istio_level 2"]
    assert scrape.registry.size == 2


async def test_metrics_that_no_handler_has_any_more_disappear() -> None:
    scrape = Scrape()
    handler = scrape.handler(COUNTER, GAUGE)
    handler.report([batch("c", 1), batch("g", 1)])
    await handler.close()
    assert scrape.lines == []
    assert scrape.registry.size == 0
    scrape.handler({**COUNTER, "kind": "GAUGE"})


def test_two_instances_may_share_a_metric_that_is_defined_alike() -> None:
    scrape = Scrape()
    shared = {**COUNTER, "instance_name": "g.metric.ns"}
    scrape.handler(COUNTER, shared).report([batch("c", 1), batch("g", 2)])
    assert scrape.samples == ["istio_hits 3"]


def test_one_name_for_two_different_metrics_is_an_error() -> None:
    scrape = Scrape()
    other = {**COUNTER, "instance_name": "g.metric.ns", "kind": "GAUGE"}
    with pytest.raises(AdapterError, match="'istio_hits' is defined twice, differently"):
        scrape.handler(COUNTER, other)
    scrape.handler(COUNTER)
    with pytest.raises(AdapterError, match="'istio_hits' is already used with another kind"):
        scrape.handler(other)


def test_series_that_are_not_updated_expire() -> None:
    scrape = Scrape()
    handler = scrape.handler(DISTRIBUTION, metrics_expiry_duration="10s")
    handler.report([batch("d", 1, who="x"), batch("d", 1, who="y")])
    scrape.clock.now += 9
    handler.report([batch("d", 1, who="y")])
    scrape.clock.now += 1
    handler.expire()
    assert [line for line in scrape.samples if "count" in line] == ['istio_time_count{who="y"} 2']
    assert scrape.registry.size == 1


def test_without_policy_nothing_expires() -> None:
    scrape = Scrape()
    handler = scrape.handler(GAUGE)
    handler.report([batch("g", 1)])
    scrape.clock.now += 1e9
    handler.expire()
    assert scrape.samples == ["istio_level 1"]


def test_there_is_room_for_so_many_series_and_the_rest_is_counted() -> None:
    scrape = Scrape(max_series=2)
    handler = scrape.handler(DISTRIBUTION, metrics_expiry_duration="10s")
    for who in "abcc":
        handler.report([batch("d", 1, who=who)])
    assert scrape.registry.size == 2
    assert scrape.registry.dropped == 2
    scrape.clock.now += 10
    handler.expire()
    handler.report([batch("d", 1, who="c")])
    assert [line for line in scrape.samples if "count" in line] == ['istio_time_count{who="c"} 1']


def test_long_labels_take_the_room_of_several_series() -> None:
    scrape = Scrape(max_series=7)
    handler = scrape.handler(DISTRIBUTION, metrics_expiry_duration="10s")
    handler.report([batch("d", 1, who="x" * 2 * LABEL_CHARACTERS)])
    assert scrape.registry.size == 3
    handler.report([batch("d", 1, who="y" * 4 * LABEL_CHARACTERS), batch("d", 1, who="z")])
    assert (scrape.registry.size, scrape.registry.dropped) == (4, 1)
    scrape.clock.now += 10
    handler.expire()
    assert scrape.registry.size == 0


async def test_memory_is_bounded_whatever_the_labels_are() -> None:
    """However many label values there are, and however long (J3)."""
    random = Random(1)  # noqa: S311  not for secrets
    scrape = Scrape(max_series=50)
    handler = scrape.handler(DISTRIBUTION, GAUGE, metrics_expiry_duration="10s")
    for step in range(400):
        who = str(random.random()) * random.choice([1, 1, 1, 100, 2000])
        handler.report([batch("d", 1, who=who), batch("g", 1)])
        scrape.clock.now += random.choice([0, 0, 1])
        if not step % 20:
            handler.expire()
        if not step % 50:
            before, more = handler, () if step % 100 else (GAUGE,)
            handler = scrape.handler(DISTRIBUTION, *more, metrics_expiry_duration="10s")
            await before.close()
            counts = [line for line in scrape.samples if "_count" in line or "level" in line]
            assert len(counts) <= scrape.registry.size <= 50
            assert sum(map(len, counts)) < 50 * (LABEL_CHARACTERS + 50)
    assert scrape.registry.dropped
    await handler.close()
    assert scrape.registry.size == 0


@pytest.mark.parametrize(
    ("described", "problems"),
    [
        (config(COUNTER, GAUGE, DISTRIBUTION), []),
        (config({**COUNTER, "kind": "UNSPECIFIED"}),
         ["metrics[0].kind: must be GAUGE, COUNTER or DISTRIBUTION"]),
        (config({**COUNTER, "instance_name": ""}), ["metrics[0].instance_name: must not be empty"]),
        (config({**COUNTER, "name": "a+b"}), ["metrics[0].name: 'istio_a+b' is no metric name"]),
        (config({**COUNTER, "label_names": ["a+b", "__x", "ok"]}),
         ["metrics[0].label_names: 'a+b' is no label name",
          "metrics[0].label_names: '__x' is no label name"]),
        (config({**COUNTER, "label_names": ["a.b", "a/b"]}),
         ["metrics[0].label_names: not distinct once cleaned: a_b, a_b"]),
        (config({**DISTRIBUTION, "buckets": {"explicit_buckets": {"bounds": [2, 1]}}}),
         ["metrics[0].buckets: bounds must increase: (2.0, 1.0)"]),
        (config({**DISTRIBUTION, "buckets": {"explicit_buckets": {}}}),
         ["metrics[0].buckets: at least one bound is needed"]),
        (config(COUNTER, COUNTER), ["metrics: instance_name 'c.metric.ns' is used 2 times"]),
        (config(COUNTER, metrics_expiry_duration="0s"),
         ["metrics_expiration_policy.metrics_expiry_duration: must be > 0"]),
        (config(COUNTER, metrics_expiry_duration="1s", expiry_check_interval_duration="-1s"),
         ["metrics_expiration_policy.expiry_check_interval_duration: must not be negative"]),
    ],
)  # fmt: skip
def test_validation(described: HandlerConfig, problems: list[str]) -> None:
    adapter = prometheus.adapter(Registry(1), Clock())
    assert adapter.validate(described) == problems
    if not problems:
        assert isinstance(adapter.build(described), Prometheus)


def test_overrides_leave_out_metrics_and_change_labels() -> None:
    scrape = Scrape()
    handler = scrape.handler({**COUNTER, "label_names": ["who", "what"]}, GAUGE)
    overrides = MetricOverrides(
        frozenset({"istio_level"}),
        {"istio_hits": {"who": "", "more": "x", "none": "", "le": "1", "no-label": "1"}},
    )
    for each in (batch("c", 1, who="a", what="b"), batch("g", 7)):
        each.instance.overrides = overrides
        assert handler.report([each]) == []
    handler.report([batch("c", 2, who="a", what="b")])
    assert scrape.samples == [
        'istio_hits{more="x",what="b",who=""} 1',
        'istio_hits{what="b",who="a"} 2',
    ]
