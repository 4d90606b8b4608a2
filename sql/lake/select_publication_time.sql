-- Returns the time of a publication that begins now. It is later than that of every earlier publication of the store, and
-- than the given one of its former histories, even if the clock was set back.
SELECT greatest(now(), max(greatest(published_at, replaced_at)) + INTERVAL 1 microsecond, $before::TIMESTAMPTZ + INTERVAL 1 microsecond)
FROM published_files;
