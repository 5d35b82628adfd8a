"""The loops and calls of the manager: reconciler, relay, outbox, streams, health and sweep.

Code here must not import client libraries of other systems; it reaches them through `jelmore.ports`.
"""
