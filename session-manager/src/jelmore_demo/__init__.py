"""The demo model: a scripted, stateless Anthropic Messages API for demonstrations and tests.

The real Claude Code runs against it, so a whole session works without a credential and without internet access.
Without directives it echoes the prompt. Lines of the prompt that start with `demo> ` are directives, run in order:

| directive | does |
|---|---|
| `run CMD` | calls Bash |
| `background CMD` | calls Bash with `run_in_background`: the turn continues at once |
| `write PATH TEXT` | calls Write; TEXT is the rest of the line, unchanged |
| `read PATH` | calls Read |
| `edit PATH | OLD | NEW` | calls Edit |
| `ask QUESTION | A | B` | calls AskUserQuestion with 2 to 4 options |
| `choose QUESTION | A | B` | the same, and several options may be chosen |
| `plan TEXT` | in plan mode: writes TEXT to the plan file and calls ExitPlanMode |
| `tool NAME JSON` | calls any tool with these arguments |
| `say TEXT` | says TEXT |
| `words N [DELAY_MS]` | says `word1 word2 …`, one content delta each, DELAY_MS before each |
| `sleep S` | is silent for S seconds |
| `fail STATUS` | answers with this HTTP status; texts since the last tool call are lost |

Imports neither the manager nor the runner.
"""
