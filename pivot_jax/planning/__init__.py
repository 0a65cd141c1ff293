"""What a run will need of its hardware, found without the hardware (docs/planning.md)."""
