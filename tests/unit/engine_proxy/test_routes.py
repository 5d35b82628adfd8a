"""Which calls are allowed, and in which spelling."""

import json
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest

from jelmore_engine_proxy.objects import Use, check_container, check_volume, reduced_info
from jelmore_engine_proxy.policy import Policy, RefusedError
from jelmore_engine_proxy.routes import read

POLICY: Final = Policy("here", Path("/run/jelmore"), frozenset({"jelmore/runner:latest"}), "seccomp={}")
ID: Final = "0a1b2c3d-0000-4000-8000-000000000001"
CONTAINER: Final = "c" * 64
HERE: Final = "jelmore.instance=here"
TWICE: Final = quote(json.dumps({"label": [HERE]})[:-1] + ', "label": []}')
OURS: Final = quote(json.dumps({"label": ["jelmore.instance=here"]}))


def filters(**given: object) -> str:
    return f"filters={quote(json.dumps(given))}"


ALLOWED: Final = [
    ("GET", "/_ping"),
    ("GET", "/version"),
    ("GET", "/v1.41/info"),
    ("GET", "/v1.54/info"),
    ("GET", "/v1.41/images/jelmore/runner:latest/json"),
    (
        "GET",
        f"/v1.41/events?since=1.000000000&{filters(type=['container'], event=['die'], label=[HERE])}",
    ),
    ("GET", f"/v1.41/containers/json?all=1&filters={OURS}"),
    ("GET", f"/v1.41/containers/json?all=1&{filters(label=['jelmore.instance=here', f'jelmore.session={ID}'])}"),
    ("POST", f"/v1.41/containers/create?name=jelmore-{ID}-1"),
    ("POST", f"/v1.41/containers/create?name=jelmore-{ID}-files-0a1b2c3d"),
    ("GET", f"/v1.41/containers/{CONTAINER}/json"),
    ("GET", f"/v1.41/containers/jelmore-{ID}-1/logs?stdout=1&stderr=1&tail=20"),
    ("POST", f"/v1.41/containers/{CONTAINER}/start"),
    ("POST", f"/v1.41/containers/{CONTAINER}/pause"),
    ("POST", f"/v1.41/containers/{CONTAINER}/unpause"),
    ("DELETE", f"/v1.41/containers/{CONTAINER}?force=1"),
    ("GET", f"/v1.41/containers/{CONTAINER}/archive?path=/session/state/journal.jsonl"),
    ("PUT", f"/v1.41/containers/{CONTAINER}/archive?path=/"),
    ("GET", f"/v1.41/volumes?{filters(name=['^jelmore-'])}"),
    ("GET", f"/v1.41/volumes?filters={OURS}"),
    ("POST", "/v1.41/volumes/create"),
    ("GET", f"/v1.41/volumes/jelmore-{ID}"),
    ("DELETE", f"/v1.41/volumes/jelmore-{ID}?force=1"),
]


@pytest.mark.parametrize(("method", "target"), ALLOWED)
def test_the_manager_s_calls_are_allowed(method: str, target: str) -> None:
    read(method, target, POLICY)


REFUSED: Final = [
    ("POST", f"/v1.41/containers/{CONTAINER}/exec"),
    ("POST", f"/v1.41/exec/{CONTAINER}/start"),
    ("POST", f"/v1.41/containers/{CONTAINER}/attach?stream=1"),
    ("GET", f"/v1.41/containers/{CONTAINER}/attach/ws"),
    ("POST", f"/v1.41/containers/{CONTAINER}/update"),
    ("POST", f"/v1.41/containers/{CONTAINER}/rename?name=x"),
    ("POST", f"/v1.41/containers/{CONTAINER}/kill"),
    ("GET", f"/v1.41/containers/{CONTAINER}/export"),
    ("GET", f"/v1.41/containers/{CONTAINER}/top"),
    ("POST", f"/v1.41/commit?container={CONTAINER}"),
    ("POST", "/v1.41/build"),
    ("POST", "/v1.41/session"),
    ("POST", "/grpc"),
    ("POST", "/v1.41/images/create?fromImage=debian"),
    ("POST", "/v1.41/images/load"),
    ("DELETE", "/v1.41/images/jelmore/runner:latest"),
    ("GET", "/v1.41/images/debian:trixie-slim/json"),
    ("GET", "/v1.41/images/json"),
    ("GET", "/v1.41/networks"),
    ("POST", "/v1.41/networks/create"),
    ("POST", "/v1.41/plugins/pull"),
    ("POST", "/v1.41/swarm/init"),
    ("POST", "/v1.41/services/create"),
    ("GET", "/v1.41/secrets"),
    ("POST", "/v1.41/containers/prune"),
    ("POST", "/v1.41/volumes/prune"),
    ("GET", "/v1.41/system/df"),
    ("POST", "/v1.41/auth"),
    # another spelling of a path
    ("GET", "//version"),
    ("GET", "/v1.41//info"),
    ("GET", "/v1.41/./info"),
    ("GET", "/v1.41/containers/../info"),
    ("GET", "/v1.41/%69nfo"),
    ("GET", f"/v1.41/containers%2F{CONTAINER}%2Fjson"),
    ("GET", f"/v1.41/containers/{CONTAINER}%2F..%2F..%2Finfo/json"),
    ("GET", f"/v1.41/containers/{CONTAINER}/json/"),
    ("GET", "/v1.41/info/"),
    ("GET", "/V1.41/info"),
    ("GET", "/v1.41/Info"),
    ("GET", "/v1.41/info\\"),
    ("GET", "/v1.41/info\x00"),
    ("GET", "http://engine/v1.41/info"),
    ("GET", "*"),
    ("GET", ""),
    ("get", "/v1.41/info"),
    ("GET", "/v1.41/v1.41/info"),
    # a version whose bodies are read in another way
    ("POST", f"/v1.23/containers/{CONTAINER}/start"),
    ("GET", "/v1.40/info"),
    ("GET", "/v2.0/info"),
    ("GET", "/v1.041/info"),
    # a query that says more, says it twice, or selects more
    ("GET", "/v1.41/containers/json?all=1"),
    ("GET", "/v1.41/containers/json?filters={}"),
    ("GET", f"/v1.41/containers/json?{filters(label=['jelmore.instance=there'])}"),
    ("GET", f"/v1.41/containers/json?{filters(label=['jelmore.instance'])}"),
    ("GET", f"/v1.41/containers/json?{filters(label={'jelmore.instance=here': False})}"),
    ("GET", f"/v1.41/containers/json?filters={OURS}&filters=%7B%7D"),
    ("GET", f"/v1.41/containers/json?filters={TWICE}"),
    ("GET", f"/v1.41/containers/json?filters={OURS}&size=1"),
    ("GET", f"/v1.41/containers/json?filters={OURS};all=1"),
    ("DELETE", f"/v1.41/containers/{CONTAINER}?force=1;v=1"),
    ("GET", f"/v1.41/containers/{CONTAINER}/archive?path=/session;path=/etc"),
    ("GET", "/v1.41/events"),
    ("GET", f"/v1.41/events?{filters(type=['image'], label=['jelmore.instance=here'])}"),
    ("GET", f"/v1.41/volumes?{filters(name=['.'])}"),
    ("GET", "/v1.41/volumes"),
    ("GET", "/v1.41/volumes/other"),
    ("GET", f"/v1.41/volumes/jelmore-{ID}-x"),
    ("DELETE", "/v1.41/volumes/jelmore_postgres"),
    ("POST", "/v1.41/containers/create"),
    ("POST", "/v1.41/containers/create?name=other"),
    ("POST", f"/v1.41/containers/create?name=jelmore-{ID}-1&name=other"),
    ("POST", f"/v1.41/containers/create?name=jelmore-{ID}-1&platform=x"),
    ("POST", f"/v1.41/containers/create?name=jelmore-{ID}-1%2Fx"),
    ("POST", f"/v1.41/containers/{CONTAINER}/start?checkpoint=x"),
    ("DELETE", f"/v1.41/containers/{CONTAINER}?force=1&v=1"),
    ("DELETE", f"/v1.41/containers/{CONTAINER}?link=1"),
    ("GET", f"/v1.41/containers/{CONTAINER}/archive?path=/etc/shadow"),
    ("GET", f"/v1.41/containers/{CONTAINER}/archive?path=/session/workspace/link"),
    ("GET", f"/v1.41/containers/{CONTAINER}/archive"),
    ("HEAD", f"/v1.41/containers/{CONTAINER}/archive?path=/session"),
    ("PUT", f"/v1.41/containers/{CONTAINER}/archive?path=/etc"),
    ("PUT", f"/v1.41/containers/{CONTAINER}/archive?path=/&copyUIDGID=1"),
    ("GET", f"/v1.41/containers/{CONTAINER}/logs?follow=1"),
    ("GET", f"/v1.41/containers/{CONTAINER}/logs?tail=all"),
    ("GET", "/v1.41/info?x=%ff"),
    ("GET", "/v1.41/info?x"),
    ("GET", f"/v1.41/images/{'a/' * 3000}json"),
]


@pytest.mark.parametrize(("method", "target"), REFUSED)
def test_every_other_call_and_spelling_is_refused(method: str, target: str) -> None:
    with pytest.raises(RefusedError):
        read(method, target, POLICY)


def test_the_engine_gets_a_target_that_is_written_again_and_a_container_by_its_id() -> None:
    call = read("DELETE", f"/v1.41/containers/jelmore-{ID}-1?force=true", POLICY)
    assert call.target(CONTAINER) == f"/v1.41/containers/{CONTAINER}?force=true"
    assert read("POST", "/v1.41/containers/containers/start", POLICY).target(CONTAINER) == (
        f"/v1.41/containers/{CONTAINER}/start"
    )
    archive = read("GET", "/v1.41/containers/x/archive?path=%2Fsession", POLICY)
    assert archive.target(CONTAINER) == f"/v1.41/containers/{CONTAINER}/archive?path=%2Fsession"


def inspected(**marks: str) -> dict[str, object]:
    labels = {f"jelmore.{name}": value for name, value in marks.items()}
    return {"Id": CONTAINER, "State": {"Status": "running"}, "Config": {"Labels": {**labels, "x": "y"}, "Env": ["A=b"]}}


@pytest.mark.parametrize("use", list(Use))
def test_a_container_of_others_can_only_be_seen_to_exist(use: Use) -> None:
    for marks in ({"instance": "there", "session": ID}, {"session": ID}, {}, {"instance": "here"}):
        if use is not Use.LOOK:
            with pytest.raises(RefusedError, match="not of the installation 'here'"):
                check_container(inspected(**marks), use, POLICY)
            continue
        seen = json.loads(check_container(inspected(**marks), use, POLICY) or b"")
        assert seen == {
            "Id": CONTAINER,
            "State": {"Status": "running"},
            "Config": {"Labels": {f"jelmore.{name}": value for name, value in marks.items()}},
        }


def test_what_may_be_done_with_our_own() -> None:
    ours = inspected(instance="here", session=ID)
    reader = inspected(instance="here", session=ID, reader="1")
    for use in (Use.LOOK, Use.START, Use.CHANGE, Use.READ_FILES):
        assert check_container(ours, use, POLICY) is None
    with pytest.raises(RefusedError, match="never started"):
        check_container(ours, Use.WRITE_FILES, POLICY)
    with pytest.raises(RefusedError, match="never started"):
        check_container(reader, Use.START, POLICY)
    check_container(reader, Use.WRITE_FILES, POLICY)


@pytest.mark.parametrize(
    "changes",
    [
        {"Labels": {"jelmore.instance": "there"}},
        {"Name": "jelmore_postgres"},
        {"Options": {"type": "none", "o": "bind", "device": "/"}},
        {"Driver": "other"},
    ],
)
def test_only_a_plain_volume_of_this_installation_may_be_mounted(changes: dict[str, object]) -> None:
    volume: dict[str, object] = {"Name": f"jelmore-{ID}", "Driver": "local", "Labels": None, "Options": None}
    check_volume(volume, POLICY)
    check_volume({**volume, "Labels": {"jelmore.instance": "here"}}, POLICY)
    with pytest.raises(RefusedError):
        check_volume({**volume, **changes}, POLICY)


def test_what_the_engine_says_of_itself_is_cut_to_what_is_used() -> None:
    info = {
        "DockerRootDir": "/var/lib/docker",
        "HttpProxy": "http://user:secret@proxy",
        "Runtimes": {"runc": {"path": "x"}},
    }
    assert json.loads(reduced_info(info)) == {"DockerRootDir": "/var/lib/docker", "Runtimes": {"runc": {}}}
