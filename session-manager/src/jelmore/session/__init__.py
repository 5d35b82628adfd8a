"""What a session is: its states, its next step, its events. Pure: no await, no clock, no third-party import."""
