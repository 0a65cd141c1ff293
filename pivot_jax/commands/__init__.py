"""Commands of the command line that are no stage of a run: one module each, with `main(words)`."""
