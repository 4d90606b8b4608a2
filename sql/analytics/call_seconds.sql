-- Best available duration of a call, as in the export calls. CASE instead of coalesce avoids reading the duration of every call.
-- The difference is computed without a time zone, because date_diff on TIMESTAMPTZ uses a calendar.
CASE WHEN duration_seconds <> 0 THEN duration_seconds
     ELSE coalesce(nullif(duration_to_seconds(duration), 0),
                   CASE WHEN ended_at > started_at THEN TRY_CAST(date_diff('second', make_timestamp(epoch_us(started_at)), make_timestamp(epoch_us(ended_at))) AS INTEGER) END, 0) END
