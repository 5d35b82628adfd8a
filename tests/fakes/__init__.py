"""Ports in memory, small and honest: each passes the contract suite of its driver, and nothing else vouches for it."""
