"""A machine that runs sessions: containers with a runner inside, volumes that outlive both, and an agent to steer.

Built on the fakes of the ports: here the engine and the runners meet, as on a real host. A journal and the inputs a
runner knows live on the volume, so they survive its death and a fresh runner numbers on.
"""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from jelmore.ports import ControlAddress, SandboxSpec
from jelmore.session.errors import ConflictError
from jelmore.session.output import Output
from jelmore.session.world import Sandbox, SandboxState
from jelmore_protocol.control import (
    AgentAhead,
    Change,
    Draining,
    Health,
    Init,
    InputAccepted,
    InputRequest,
    Phase,
    Stop,
)
from jelmore_protocol.events import AgentState, EventKind, WaitingFor
from tests.fakes.runners import FakeRunner, FakeRunners
from tests.fakes.sandboxes import FakeSandboxes


@dataclass
class Disk:
    """What a session's volume holds."""

    journal: list[Output] = field(default_factory=list)
    inputs: dict[str, int] = field(default_factory=dict)
    unfinished: str | None = None  # the input in the agent's callbacks
    executed: list[str] = field(default_factory=list)  # every input that was ever handed to an agent


@dataclass
class HostedRunner(FakeRunner):
    """A runner on the session's disk."""

    disk: Disk = field(default_factory=Disk)
    draining: bool = False
    model: str | None = None

    def __post_init__(self) -> None:
        self.journal, self.inputs = self.disk.journal, self.disk.inputs

    @property
    def health(self) -> Health:
        return super().health.model_copy(update={"quiet": self.draining})

    async def finish(self, *, is_error: bool = False) -> None:
        """End the running turn with its result."""
        input_id, self.disk.unfinished = self.disk.unfinished, None
        message = {"type": "result", "subtype": "success", "is_error": is_error, "result": "done", "num_turns": 1}
        await self.say(EventKind.MESSAGE, {"message": message, "input_id": input_id})
        await self.become(AgentState.WAITING_INPUT, WaitingFor.PROMPT)

    async def interrupted(self, cause: str) -> None:
        """Record a turn that will never finish as interrupted, if there is one."""
        input_id, self.disk.unfinished = self.disk.unfinished, None
        if input_id is not None:
            await self.say(EventKind.INTERRUPTED, {"input_id": input_id, "cause": cause})


class HostedRunners(FakeRunners):
    """The runners of one machine."""

    connects = True  # whether the agent of a runner connects when it is initialized

    async def init(self, at: ControlAddress, init: Init, *, ready_within_s: float = 0) -> Health:
        runner = self.hosted(at)
        if runner.init is not None:
            if runner.init.generation != init.generation:
                raise ConflictError("initialised with another generation")
            return runner.health
        runner.init, runner.phase = init, Phase.READY if self.connects else Phase.STARTING
        runner.take_ahead(init)
        await runner.interrupted("restart")
        await runner.become(AgentState.WAITING_INPUT, WaitingFor.PROMPT)
        if init.first_input is not None:
            await self.input(at, init.first_input)
        return runner.health

    async def input(self, at: ControlAddress, request: InputRequest) -> InputAccepted:
        runner = self.hosted(at)
        known = request.id in runner.inputs
        accepted = await super().input(at, request)
        if not known:
            runner.disk.unfinished = request.id
            runner.disk.executed.append(request.id)
        return accepted

    async def set_model(self, at: ControlAddress, change: Change) -> None:
        await super().set_model(at, change)
        self.hosted(at).model = change.value

    async def set_draining(self, at: ControlAddress, draining: Draining) -> None:
        runner = self.hosted(at)
        if draining.on and runner.state is AgentState.ACTIVE:
            raise ConflictError("the agent works")
        runner.draining = draining.on

    async def stop(self, at: ControlAddress, stop: Stop) -> None:
        runner = self.hosted(at)
        if runner.phase is not Phase.ENDED:
            await runner.interrupted("stopped")
        await super().stop(at, stop)

    def hosted(self, at: ControlAddress) -> HostedRunner:
        runner = self._at(at)
        assert isinstance(runner, HostedRunner)
        return runner


class Machine(FakeSandboxes):
    """The engine, with a runner in every container that runs."""

    def __init__(self) -> None:
        super().__init__()
        self.runners = HostedRunners()
        self.disks: dict[UUID, Disk] = {}
        self.agents_ahead = True  # whether runners can start them
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC)  # the time of runners

    def runner(self, session_id: UUID) -> HostedRunner:
        """Return the runner that answers for a session."""
        return self.runners.hosted(self.control(session_id))

    async def start(self, spec: SandboxSpec) -> None:
        before = self._newest(spec.session_id)
        await super().start(spec)
        after = self._newest(spec.session_id)
        assert after is not None
        assert after.control is not None
        if before is None or before.id != after.id or before.state is not after.state:
            await self._switch_off(spec.session_id)
            disk = self.disks.setdefault(spec.session_id, Disk())
            ahead = AgentAhead.NONE if self.agents_ahead else None
            self.runners.runners[after.control] = HostedRunner(disk=disk, ahead=ahead, now=self.now)

    async def pause(self, sandbox_id: str) -> None:
        await super().pause(sandbox_id)
        if (session_id := self.session_of(sandbox_id)) is not None:
            self.runners.silent.add(self.control(session_id))

    async def unpause(self, sandbox_id: str) -> None:
        await super().unpause(sandbox_id)
        if (session_id := self.session_of(sandbox_id)) is not None:
            self.runners.silent.discard(self.control(session_id))

    async def remove(self, sandbox_id: str) -> None:
        session_id = self.session_of(sandbox_id)
        await super().remove(sandbox_id)
        if session_id is not None:
            await self._switch_off(session_id)

    async def erase(self, session_id: UUID) -> None:
        await super().erase(session_id)
        self.disks.pop(session_id, None)

    async def journal(self, session_id: UUID) -> AsyncGenerator[bytes]:
        async for _ in super().journal(session_id):
            disk = self.disks.get(session_id, Disk())
            yield "".join(f"{output.text}\n" for output in disk.journal).encode()

    async def kill(self, session_id: UUID, exit_code: int = 137) -> None:
        """End the container as `kill -9` of its first process would."""
        self.die(session_id, exit_code)
        await self._switch_off(session_id)

    async def snatch(self, session_id: UUID) -> None:
        """Take the container away as `docker rm -f` by somebody else would."""
        self.vanish(session_id)
        await self._switch_off(session_id)

    def sandbox(self, session_id: UUID) -> Sandbox | None:
        """Return the newest container."""
        return self._newest(session_id)

    def state(self, session_id: UUID) -> SandboxState | None:
        """Return the state of the newest container."""
        sandbox = self._newest(session_id)
        return sandbox.state if sandbox else None

    async def _switch_off(self, session_id: UUID) -> None:
        """End the runners of containers that are gone or do not run."""
        running = {
            each.control
            for each in self.sandboxes.get(session_id, {}).values()
            if each.state in {SandboxState.RUNNING, SandboxState.PAUSED}
        }
        for at in [each for each in self.runners.runners if each.session_id == session_id and each not in running]:
            self.runners.silent.discard(at)
            await self.runners.runners.pop(at).cut()
