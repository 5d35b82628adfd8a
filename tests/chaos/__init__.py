"""Faults at random moments against a whole Jelmore: nothing may be lost, doubled, stranded or stuck.

    python -m tests.chaos --seed 7 --minutes 10

starts a quick start of its own, keeps sessions busy and watched on every channel, injects the faults of
`tests.chaos.faults` in an order and at moments drawn from the seed, and then compares everything with everything.
"""
