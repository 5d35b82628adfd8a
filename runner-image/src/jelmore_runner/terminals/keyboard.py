"""Who of a terminal's clients types: one at a time, and whoever may write can take over. Pure."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Keyboard[T]:
    """The clients of one terminal, in the order in which they came, and the one that types."""

    clients: list[T] = field(default_factory=list)
    writer: T | None = None
    version: int = 0  # raised by each change, so that every client can report it once

    @property
    def watchers(self) -> int:
        """How many look on."""
        return len(self.clients) - (self.writer is not None)

    def join(self, client: T, *, wants: bool, take: bool) -> None:
        """Add a client. One that wants to type does so when nobody else does, or when it takes the keyboard."""
        self.clients.append(client)
        if wants and (take or self.writer is None):
            self.writer = client
        self.version += 1

    def take(self, client: T) -> None:
        """Let this client type, and nobody else."""
        if self.writer is not client:
            self.writer = client
            self.version += 1

    def leave(self, client: T) -> None:
        """Remove a client. Nobody is promoted: the others may be only looking on. May run twice."""
        if client in self.clients:
            self.clients.remove(client)
            if self.writer is client:
                self.writer = None
            self.version += 1
