"""What the pipelines ask of the outside, in domain words. The edges implement these; nobody here does I/O."""
