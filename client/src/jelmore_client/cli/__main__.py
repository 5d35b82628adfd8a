"""`python -m jelmore_client.cli`: the same as `jelmore`."""

from jelmore_client.cli import main

main()
