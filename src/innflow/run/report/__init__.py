"""Reports: the page of a run, the page of a sweep, and the numbers at their top."""
