-- Selects the months (UTC) of the leaving rows.
SELECT DISTINCT strftime(make_timestamp(epoch_us(created_at)), '%Y-%m') FROM leaving;
