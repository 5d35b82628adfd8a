"""Terminals for people: shells of the agent's user, beside the agent.

The runner treats them as it treats the agent: it trusts nothing that comes out of them, and they inherit no file
descriptor and no variable of it. They are no work of the agent: they have no turn and journal nothing.
"""
