"""Implementations of the ports, one technology per file. Drivers import the ports and never their callers."""
