-- The database of the views of a pin.
CREATE DATABASE IF NOT EXISTS {{ database }}
