"""The other contenders, each written as in the tutorial of its library."""
