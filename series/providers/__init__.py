"""The sources of series, each behind `model.Provider`."""
