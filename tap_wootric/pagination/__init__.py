"""In which order to ask for the rows of a list that changes while it is read. Pure: no HTTP, no SDK."""
