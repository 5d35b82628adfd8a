"""`python -m jelmore_runner`: listens, imports the rest, serves until SIGTERM.

The sockets listen before the heavy imports, which take a fraction of a second. Meanwhile callers wait in the kernel's
queue instead of being refused.
"""

import sys

from jelmore_runner.settings import SettingsError, read_settings, scrub_environment


def main() -> int:
    """Run and return the exit status: 0 after a stop, 2 for a bad setting, 1 for anything unexpected."""
    import os

    try:
        if os.environ.pop("JELMORE_RUNNER_SWITCHES", ""):  # set by `bin/runner` for this process
            from jelmore_runner.switching import become

            become("runner")
        settings = read_settings(os.environ)
        scrub_environment(settings)
        os.umask(0o002)
        for folder in (settings.workspace, settings.home, settings.state):
            folder.mkdir(parents=True, exist_ok=True)
        from jelmore_runner.sockets import bind

        control, public = bind(settings.control), bind(settings.public)
    except (SettingsError, OSError) as error:
        print(f"runner: {error}", file=sys.stderr, flush=True)  # noqa: T201
        return 2
    from jelmore_runner.uvicorn_import import leave_out_command_line

    leave_out_command_line()
    from jelmore_runner.process import run

    return run(settings, control, public)


if __name__ == "__main__":
    sys.exit(main())
