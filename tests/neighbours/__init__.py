"""Real neighbours for the tests: HAPI, PostgreSQL, a browser; each started at most once a run, when first asked for."""
