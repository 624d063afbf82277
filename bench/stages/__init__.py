"""Every stage of the pipeline alone, with the code that runs it, and where there is one the obvious way beside it."""
