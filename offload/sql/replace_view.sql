-- A candle view with another query; whoever reads it finds the one or the other.
CREATE OR REPLACE VIEW {{ view }} AS
{{ query }}
