"""The top room: commands, the daemon's assembly, the demo. Builds, schedules and shows."""
