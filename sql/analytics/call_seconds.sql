-- The best that is known of a call's length, as the published calls have it. CASE, where coalesce would have the duration of every call read.
-- Timestamps without a zone are told apart without a calendar.
CASE WHEN duration_seconds <> 0 THEN duration_seconds
     ELSE coalesce(nullif(duration_to_seconds(duration), 0),
                   CASE WHEN ended_at > started_at THEN TRY_CAST(date_diff('second', make_timestamp(epoch_us(started_at)), make_timestamp(epoch_us(ended_at))) AS INTEGER) END, 0) END
