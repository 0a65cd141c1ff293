"""Trajectory formats: readers and writers, one module each, and the table that names them (`registry`)."""
