"""The providers of series. Each implements `model.Provider`."""
