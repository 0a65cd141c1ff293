"""What every ending of one of several processes has in common."""

LOST = 75
"""Exit code (EX_TEMPFAIL): another process is why this one ends, and the same command continues."""
AGAIN = "the same command on all hosts continues from what is stored"
