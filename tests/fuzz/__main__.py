"""`make fuzz TARGET=request-head SECONDS=60`: search for bytes that break a reader, with coverage as the guide.

It needs atheris (`requirements/fuzz.txt`), which no test does. What it finds is in `.jelmore/fuzz/TARGET/`; a finding
becomes an example in `targets.py`.
"""

import argparse
import importlib
import sys
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).resolve().parents[2] / ".jelmore" / "fuzz"


def main() -> int:
    """Run one target until the time is up or bytes break it; libFuzzer ends the process and prints what it found."""
    atheris = importlib.import_module("atheris")

    with atheris.instrument_imports(
        include=["jelmore", "jelmore_gateway", "jelmore_protocol", "jelmore_runner", "h11"]
    ):
        from tests.fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("target", choices=list(TARGETS))
    parser.add_argument("--seconds", type=int, default=60)
    options = parser.parse_args()
    folder = FOLDER / options.target
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, example in enumerate(TARGETS[options.target].examples):
        (corpus / f"example-{number}").write_bytes(example)
    flags = [f"-max_total_time={options.seconds}", f"-artifact_prefix={folder}/", "-max_len=4096", "-timeout=10"]
    atheris.Setup([sys.argv[0], *flags, str(corpus)], TARGETS[options.target].read)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
