"""Whose user the agent of a volume gets, by the script that the image runs, and what the runner reads of it."""

import os
import pwd
import resource
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from jelmore_runner import agent_user

SCRIPT: Final = Path(__file__).parents[3] / "runner-image/bin/agent-user"
GROUP: Final = 1000
IMAGE: Final = 1000
OWN: Final = 1_900_777
OTHER: Final = 1_955_555
WHOLE_MAP: Final = "         0          0 4294967295\n"
ROOTLESS_MAP: Final = "         0       1000          1\n         1     100000      65536\n"

as_root = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root may change to another user"
)


class Volume:
    """A volume as the engine makes it from the image, in a folder."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o755)
        for parent in folder.parents:  # the agent's user enters by this path
            if parent.owner() == "root" and parent.name.startswith("pytest"):
                parent.chmod(0o755)
        self.session, self.names, self.map = folder / "session", folder / "names", folder / "map"
        self.session.mkdir()
        self.names.mkdir()
        self.map.write_text(WHOLE_MAP)
        for name in ("home", "workspace"):
            self.add(name, IMAGE)

    def add(self, name: str, owner: int) -> Path:
        made = self.session / name
        made.mkdir()
        os.chown(made, owner, GROUP)
        made.chmod(0o2770)
        return made

    def run(self, asked: str | None = str(OWN)) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"]} | ({} if asked is None else {"JELMORE_RUNNER_AGENT_UID": asked})
        script = [str(SCRIPT), str(self.session), str(self.names), str(self.map)]
        command = ["setpriv", "--groups", str(GROUP), "--", *script]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)

    def owners(self) -> set[tuple[str, int, int, int]]:
        found = {each.name: each.stat() for each in self.session.iterdir()}
        return {(name, each.st_uid, each.st_gid, stat.S_IMODE(each.st_mode)) for name, each in found.items()}

    def name_of_agent(self) -> int:
        return int((self.names / "passwd").read_text().split(":")[2])

    def named(self) -> list[str]:
        return sorted(each.name for each in self.names.iterdir())


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(tmp_path)


def of(uid: int) -> set[tuple[str, int, int, int]]:
    return {(name, uid, GROUP, 0o2770) for name in ("home", "workspace")}


@as_root
def test_the_agent_of_a_fresh_volume_gets_the_proposed_id_and_keeps_it(volume: Volume) -> None:
    assert volume.run().returncode == 0
    assert volume.owners() == of(OWN)
    assert (volume.names / "passwd").read_text() == f"agent:x:{OWN}:1000::/session/home:/bin/bash\n"
    assert (volume.names / "uid").read_text() == f"{OWN}\n"
    inode = (volume.session / "home").stat().st_ino
    for asked in (str(OTHER), None, str(OWN), "0"):
        assert volume.run(asked).returncode == 0
        assert (volume.owners(), (volume.names / "uid").read_text()) == (of(OWN), f"{OWN}\n")
    assert (volume.session / "home").stat().st_ino == inode, "it is made once"


@as_root
@pytest.mark.parametrize("used", ["home", "workspace"])
def test_a_volume_with_files_of_the_image_s_user_keeps_this_user(volume: Volume, used: str) -> None:
    (volume.session / used / "file").write_text("mine")
    for _ in range(2):
        assert volume.run().returncode == 0
        assert volume.owners() == of(IMAGE)
        assert (volume.named(), volume.name_of_agent()) == (["passwd"], IMAGE)
    assert (volume.session / used / "file").read_text() == "mine"


@as_root
@pytest.mark.parametrize(
    "asked", [None, "", "0", "1000", "10001", "19999", "01900777", "1e6", "-1", "99999999999", "x; id", "4294967295"]
)
def test_what_is_no_id_for_an_agent_leaves_the_image_s(volume: Volume, asked: str | None) -> None:
    if asked == "4294967295":  # not in the map: another one is taken from those that are in every map
        volume.map.write_text("0 0 1\n")
    assert volume.run(asked).returncode == 0
    assert (volume.owners(), volume.named()) == (of(IMAGE), ["passwd"])


@as_root
def test_an_engine_without_these_ids_gets_one_that_it_has(volume: Volume) -> None:
    volume.map.write_text(ROOTLESS_MAP)
    assert volume.run().returncode == 0
    assert volume.owners() == of(20_000 + OWN % 40_000)
    assert 20_000 <= int((volume.names / "uid").read_text()) < 60_000


@as_root
@pytest.mark.parametrize("there", [(), ("home",), ("workspace",)])
def test_a_start_that_was_cut_off_is_completed(volume: Volume, there: tuple[str, ...]) -> None:
    """It has removed the image's folders and made none, one, or one that it has not moved yet."""
    for name in ("home", "workspace"):
        (volume.session / name).rmdir()
    staging = volume.add(".new", 0)
    os.chown(staging / ".." / ".new", 0, GROUP)
    (staging / "home").mkdir()
    os.chown(staging / "home", OTHER, GROUP)
    for name in there:
        volume.add(name, OTHER)
    assert volume.run().returncode == 0
    assert volume.owners() == of(OTHER if there else OWN)


@as_root
def test_folders_of_root_do_not_make_the_agent_root(volume: Volume) -> None:
    for name in ("home", "workspace"):
        os.chown(volume.session / name, 0, 0)
        (volume.session / name / "file").touch()
    assert volume.run().returncode == 0
    assert volume.name_of_agent() == IMAGE


@as_root
@pytest.mark.parametrize("name", ["home", "workspace"])
def test_a_folder_of_a_user_that_the_engine_has_not_is_refused_in_words(volume: Volume, name: str) -> None:
    os.chown(volume.session / name, 65_534, GROUP)
    done = volume.run()
    assert (done.returncode, volume.named()) == (1, [])
    assert f"/session/{name} belongs to a user whom this container's engine does not have" in done.stderr


@as_root
@pytest.mark.parametrize("mode", [0o000, 0o700, 0o2750])
def test_folders_that_the_agent_closed_are_opened_to_the_runner(volume: Volume, mode: int) -> None:
    assert volume.run().returncode == 0
    for name in ("home", "workspace"):
        (volume.session / name / "file").write_text("mine")
        (volume.session / name).chmod(mode)
    for _ in range(2):
        assert volume.run().returncode == 0
        assert volume.owners() == of(OWN)
        assert (volume.session / "workspace" / "file").read_text() == "mine"


@as_root
def test_an_older_manager_starts_no_agent_on_a_volume_of_another_user(volume: Volume) -> None:
    assert volume.run().returncode == 0
    shutil.rmtree(volume.names)
    done = volume.run(None)
    assert done.returncode == 1
    assert f"belong to the user {OWN}" in done.stderr
    assert "use the version of Jelmore that made the session, or a later one" in done.stderr


@as_root
def test_two_containers_may_start_on_one_volume_at_once(volume: Volume) -> None:
    command = ["setpriv", "--groups", str(GROUP), "--", str(SCRIPT)]
    places = [str(volume.session), str(volume.names), str(volume.map)]
    environment = {"PATH": os.environ["PATH"], "JELMORE_RUNNER_AGENT_UID": str(OWN)}
    running = [subprocess.Popen([*command, *places], env=environment) for _ in range(8)]
    assert [each.wait(timeout=30) for each in running] == [0] * 8
    assert volume.owners() == of(OWN)


@as_root
def test_a_start_that_waits_in_vain_for_the_volume_says_so(
    volume: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "flock").write_text("#!/bin/sh\nexit 1\n")  # as flock ends when its time is over
    (programs / "flock").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    done = volume.run()
    assert (done.returncode, volume.owners(), volume.named()) == (1, of(IMAGE), [])
    assert "has held the volume of this session for 20 s" in done.stderr


def test_the_runner_reads_what_the_script_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Agent:
        pw_uid = IMAGE

    monkeypatch.setattr(pwd, "getpwnam", lambda _: Agent)
    (tmp_path / "uid").write_text(f"{OWN}\n")
    assert agent_user.agent_uid(tmp_path / "uid") == OWN
    assert agent_user.agent_uid(tmp_path / "absent") == IMAGE


def test_without_the_user_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: str) -> None:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwnam", unknown)
    assert agent_user.agent_uid(tmp_path / "absent") is None


@as_root
def test_watches_are_counted_to_the_user_of_the_workspace() -> None:
    """In a process of its own: its effective user changes for a moment."""
    most = int(Path("/proc/sys/fs/inotify/max_user_instances").read_text())
    if most > resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 100:
        pytest.skip("this process may open too few files to use up the instances of a user")
    code = f"""
import errno, os
from jelmore_runner.inotify import Inotify
made = []
try:
    for _ in range({most} + 1):
        made.append(Inotify(counted_for={OTHER}))
except OSError as error:
    assert error.errno == errno.EMFILE, error
else:
    raise AssertionError("nothing was counted")
assert os.getresuid() == (0, 0, 0)
Inotify()  # of this process's own user
Inotify(counted_for={OTHER + 1})
for each in made:
    each.close()
Inotify(counted_for={OTHER})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@as_root
def test_a_workspace_of_root_takes_no_right_from_the_runner() -> None:
    """As in a copy made by hand. The kernel takes all capabilities from a thread that was root for a moment."""
    code = f"""
import ctypes, os
from pathlib import Path
from jelmore_runner import switching
from jelmore_runner.inotify import Inotify
libc = ctypes.CDLL(None)
libc.prctl(8, 1, 0, 0, 0)  # PR_SET_KEEPCAPS
os.setresuid(10001, 10001, 10001)
header, sets = switching._Header(switching._CAPABILITIES_V3, 0), (switching._Set * 2)()
libc.capget(ctypes.byref(header), sets)
for each in sets:
    each.effective = each.permitted
libc.capset(ctypes.byref(header), sets)
libc.prctl(8, 0, 0, 0, 0)
def rights():
    return [each for each in Path("/proc/thread-self/status").read_text().splitlines() if each.startswith("Cap")]
before = rights()
assert any(int(each.split()[1], 16) for each in before)
for owner in ({OTHER}, 0):
    Inotify(counted_for=owner).close()
    assert rights() == before, owner
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_without_the_right_to_choose_a_user_watches_are_counted_to_one_s_own() -> None:
    code = f"""
import os
from jelmore_runner.inotify import Inotify
if os.geteuid() == 0:
    os.setresuid(65534, 65534, 65534)
before = os.getresuid()
Inotify(counted_for={OTHER}).close()
assert os.getresuid() == before
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
