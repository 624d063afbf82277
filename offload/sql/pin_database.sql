-- Where the views of a pin are.
CREATE DATABASE IF NOT EXISTS {{ database }}
