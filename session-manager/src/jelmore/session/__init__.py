"""The pure core: states, next step and events of a session. No await, no clock, no third-party import."""
