"""Many workers in one process, in virtual time, under seeded faults. See docs/simulation.md."""
