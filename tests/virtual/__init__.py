"""The adapter and its neighbours in one thread under a virtual clock: hours pass in milliseconds."""
