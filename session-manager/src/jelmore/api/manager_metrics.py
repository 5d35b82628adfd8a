"""Prometheus metrics of a manager: the health of its loops, and the length of its queues."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from jelmore.control.stats import Stats
from jelmore.session.pool import MemberState
from jelmore.session.usage import UsageSum

_BY_LOOP: Final = (
    ("jelmore_loop_running", "1 while the loop's task runs.", "running"),
    ("jelmore_loop_holding", "1 where this manager is the one that does the loop's work.", "holding"),
    ("jelmore_loop_last_run_age_seconds", "Since the loop's work was last done here.", "last_run_age_s"),
)
_PLAIN: Final = (
    ("jelmore_queue_depth", "Sessions that wait for reconciliation.", "reconcile", "depth"),
    ("jelmore_relays_following", "Sessions whose runner this manager follows.", "leases", "following"),
    ("jelmore_stream_readers", "Readers of live output.", "streams", "readers"),
)
_COUNTED: Final = (
    ("jelmore_outbox_published", "Events published by this manager.", "outbox", "published"),
    ("jelmore_record_cache_hits", "Reads of a record that needed no SQL.", "record-cache", "hits"),
    ("jelmore_record_cache_misses", "Reads of a record that needed SQL.", "record-cache", "misses"),
)


def manager_series(stats: Stats, loops: Mapping[str, Any]) -> list[Metric]:
    """Return the metrics of the whole installation (`stats`) and of this manager (`loops`), without unknown values.

    For loops that run on one manager at a time, alert on the smallest `last_run_age` of all managers.
    """
    return [*_of_loops(loops), *_of_system(stats)]


def _of_loops(loops: Mapping[str, Any]) -> list[Metric]:
    series: list[Metric] = []
    for name, text, key in _BY_LOOP:
        gauge = GaugeMetricFamily(name, text, labels=("loop",))
        for loop, says in loops.items():
            if says.get(key) is not None:
                gauge.add_metric([loop], float(says[key]))
        series.append(gauge)
    restarts = CounterMetricFamily("jelmore_loop_restarts", "Unplanned new starts of the loop.", labels=("loop",))
    for loop, says in loops.items():
        if "restarts" in says:
            restarts.add_metric([loop], says["restarts"])
    series.append(restarts)
    for name, text, loop, key in _PLAIN:
        if key in loops.get(loop, {}):
            series.append(GaugeMetricFamily(name, text, value=loops[loop][key]))
    for name, text, loop, key in _COUNTED:
        if key in loops.get(loop, {}):
            series.append(CounterMetricFamily(name, text, value=loops[loop][key]))
    return series


def _of_system(stats: Stats) -> list[Metric]:
    totals, system = stats.totals, stats.system
    known = [
        ("jelmore_sessions_memory_bytes", "Memory of all awake sessions.", totals.memory_bytes),
        ("jelmore_sessions_processes", "Processes of all awake sessions.", totals.pids),
        ("jelmore_sessions_workspace_bytes", "Disk of all live sessions' volumes.", totals.workspace_bytes),
        ("jelmore_outbox_waiting", "Events not published yet.", system.get("outbox", {}).get("waiting")),
        ("jelmore_disk_free_bytes", "Free disk, of the fuller file system.", system.get("disk", {}).get("free_bytes")),
        ("jelmore_disk_floor_bytes", "Free disk that is kept.", system.get("disk", {}).get("floor_bytes")),
    ]
    lag = GaugeMetricFamily(
        "jelmore_lag_seconds", "How long the oldest of what has to be done waits.", labels=("what",)
    )
    for name, seconds in system.get("lags", {}).items():
        lag.add_metric([name.removesuffix("_s")], seconds)
    plain: list[Metric] = [
        GaugeMetricFamily(name, text, value=value) for name, text, value in known if value is not None
    ]
    return [*plain, lag, *(_of_pool(system["pool"]) if "pool" in system else ())]


def _of_pool(pool: Mapping[str, Any]) -> list[Metric]:
    size = GaugeMetricFamily("jelmore_pool_size", "Sandboxes that are to be started ahead.", value=pool["size"])
    members = GaugeMetricFamily("jelmore_pool_members", "Sandboxes started ahead, by state.", labels=("state",))
    for state in MemberState:
        members.add_metric([state.value], pool[state.value])
    text = "Creates by the stage that served them, while there is a pool. One that got a member counts once it started."
    claims = CounterMetricFamily("jelmore_pool_claims", text, labels=("stage",))
    for stage, count in pool["claims"].items():
        claims.add_metric([stage], count)
    return [size, members, claims]


def usage_series(by_model: Sequence[UsageSum], waiting_for_budget: int) -> list[Metric]:
    """Return the metrics of tokens and cost since the first turn, of the 50 models that cost most."""
    turns = CounterMetricFamily("jelmore_turns", "Turns that ended, by their main model.", labels=("model",))
    tokens = CounterMetricFamily("jelmore_tokens", "Tokens of ended turns.", labels=("model", "kind"))
    cost = CounterMetricFamily("jelmore_cost_usd", "Cost of ended turns, in US dollars.", labels=("model",))
    for each in by_model:
        turns.add_metric([each.name], each.turns)
        tokens.add_metric([each.name, "input"], each.input_tokens)
        tokens.add_metric([each.name, "output"], each.output_tokens)
        tokens.add_metric([each.name, "cache_read"], each.cache_read_tokens)
        tokens.add_metric([each.name, "cache_write"], each.cache_write_tokens)
        cost.add_metric([each.name], each.cost_usd)
    text = "Sessions whose inputs wait for a budget."
    waiting = GaugeMetricFamily("jelmore_sessions_waiting_for_budget", text, value=waiting_for_budget)
    return [turns, tokens, cost, waiting]
