"""WHEN things happen: the queue and the reconciler, the relay, the outbox, streams, health and the sweep.

Nothing here knows a library of the outside world; everything outside is a port.
"""
