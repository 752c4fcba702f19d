"""How a row of the API becomes a record. Pure functions: no HTTP, no SDK streams."""
