"""The alert rules and the dashboard in docs/monitoring name only metrics and labels that a manager has."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from jelmore.api.manager_metrics import manager_series, usage_series
from jelmore.api.metrics import Metrics
from jelmore.control.stats import Stats
from jelmore.session.pool import MemberState
from jelmore.session.resources import Totals
from jelmore.session.usage import UsageSum

FOLDER = Path(__file__).resolve().parents[3] / "docs" / "monitoring"
NAME = re.compile(r"\bjelmore_[a-z_]+")
OF_PROMETHEUS = {"instance", "job", "le"}
ENDS = {"histogram": ("_bucket", "_sum", "_count")}


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((FOLDER / "grafana.json").read_text())["panels"]
    return found


EXPRESSIONS = [rule["expr"] for rule in rules()] + [each["expr"] for panel in panels() for each in panel["targets"]]


def exposition() -> str:
    """Everything that a manager with a pool serves."""
    metrics = Metrics()
    metrics.answered("GET", "get_session", 200, 0.1)
    metrics.streams.labels("sse").inc()
    names = ("running", "holding", "last_run_age_s", "restarts", "depth", "following", "readers", "published")
    loops = {
        loop: dict.fromkeys((*names, "hits", "misses"), 1)
        for loop in ("reconcile", "leases", "streams", "outbox", "record-cache")
    }
    system = {
        "outbox": {"waiting": 1},
        "lags": {"outbox_s": 1.5, "event_log_s": 0.0, "webhooks_s": 0.0},
        "disk": {"free_bytes": 1, "floor_bytes": 1},
        "pool": {"size": 1, "claims": {"none": 1}, **dict.fromkeys((state.value for state in MemberState), 1)},
    }
    stats = Stats({}, 1, 1, Totals(memory_bytes=1, pids=1, workspace_bytes=1), system)
    also = [*manager_series(stats, loops), *usage_series([UsageSum(name="a model")], 1)]
    return metrics.text({}, 1, 1, also).decode()


def kinds() -> dict[str, str]:
    """The kind of each metric, by name; without the time at which a counter began."""
    found = re.findall(r"^# TYPE (\S+) (\S+)$", exposition(), re.MULTILINE)
    return {name: kind for name, kind in found if not name.endswith("_created")}


def test_every_metric_of_an_expression_is_served() -> None:
    served = {name + end for name, kind in kinds().items() for end in ENDS.get(kind, ("",))}
    for expression in EXPRESSIONS:
        assert set(NAME.findall(expression)) <= served, expression
        assert expression.count("(") == expression.count(")"), expression


def test_every_metric_is_on_the_dashboard_or_in_a_rule() -> None:
    used = {name for expression in EXPRESSIONS for name in NAME.findall(expression)}
    missing = {name for name, kind in kinds().items() if not {name + end for end in ENDS.get(kind, ("",))} & used}
    assert missing == {
        "jelmore_loop_holding",
        "jelmore_record_cache_hits_total",
        "jelmore_record_cache_misses_total",
        "jelmore_sessions_processes",
        "jelmore_pool_size",
    }


def test_every_label_exists() -> None:
    labels = set(re.findall(r'[{,]([a-z_]+)="', exposition())) | OF_PROMETHEUS
    for expression in EXPRESSIONS:
        grouped = {label.strip() for group in re.findall(r"\bby \(([^)]*)\)", expression) for label in group.split(",")}
        assert grouped | set(re.findall(r'[{,]([a-z_]+)=~?"', expression)) <= labels, expression


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_a_rule_says_what_happened_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"]["summary"]
    assert len(rule["annotations"]["description"]) > 40


def test_panels_do_not_overlap() -> None:
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels()]
    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in panels()}) == len(places)
