"""The helper that works on the workspace's files for people: a process of the agent's user, one per call.

It has no right that the agent lacks, so links, hooks and configuration of a hostile repository reach nothing new.
The package imports the standard library and `safe_files` only, because each call starts a new process.
"""
