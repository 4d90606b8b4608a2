-- Selects the epoch of a sequence number. It is the zero UUID before the first epoch.
SELECT coalesce(max_by(id, first_seq), '00000000-0000-0000-0000-000000000000'::UUID)::VARCHAR FROM epochs WHERE first_seq <= $seq;
