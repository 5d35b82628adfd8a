"""The supervisor inside a session: one Claude Code, one journal, any number of people who watch and steer.

It knows nothing of Docker, the manager's database or other sessions; what it may say is in `jelmore_protocol`.
"""
