-- Selects the outcome of each classified row, with its created_at and that of the stored row in microseconds.
SELECT tenant_id, outcome, time_changed, epoch_us(created_at), epoch_us(kept_created_at) FROM delta;
