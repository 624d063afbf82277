"""The providers of series. Each implements `model.Provider`.

May import `answer`, `declaration` and `errors` of `series`, and `producers`."""
