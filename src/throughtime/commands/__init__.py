"""The commands, each parsed, called and printed."""
