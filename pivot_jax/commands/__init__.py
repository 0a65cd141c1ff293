"""Commands of the command line that need no config: one module each, with `main(words)`."""
