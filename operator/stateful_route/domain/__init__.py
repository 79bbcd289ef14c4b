"""Pure values and decisions: standard library only, no I/O, no clock of its own, no asyncio."""
