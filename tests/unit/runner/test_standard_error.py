"""What Claude Code, and whatever else runs as its user, prints on its standard error."""

from jelmore_runner.agents.claude.standard_error import BURST_LINES, KEPT_LINES, LINES_PER_S, StandardError


def test_a_flood_of_lines_reaches_the_log_in_part_and_the_last_ones_are_kept() -> None:
    printed, clock = list[str](), [100.0]
    said = StandardError(printed=printed.append, now_s=lambda: clock[0])
    for number in range(100_000):
        said.take(f"line {number}")
    assert len(printed) == BURST_LINES
    assert list(said.lines) == [f"line {number}" for number in range(100_000 - KEPT_LINES, 100_000)]
    clock[0] += 1
    for number in range(1000):
        said.take(f"later {number}")
    assert printed[BURST_LINES] == f"claude: … {100_000 - BURST_LINES} lines left out"
    assert printed[BURST_LINES + 1] == "claude: later 0"
    assert len(printed) == BURST_LINES + 1 + LINES_PER_S


def test_nothing_of_it_speaks_to_a_terminal_and_a_long_line_is_cut() -> None:
    printed = list[str]()
    said = StandardError(printed=printed.append)
    said.take("\x1b]0;title\x07 \x9b2J a\rb \u202e end")
    said.take("x" * 1_000_000)
    assert printed[0] == "claude:  ]0;title   2J a b   end"
    assert len(printed[1]) < 2100
