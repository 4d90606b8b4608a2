-- The published calls. Ids are text, because few readers of Parquet know its UUIDs. duration is the platform's duration text in seconds. duration_seconds is the platform's own
-- figure, or duration, or the time between start and end. The timestamps are compared without a time zone, because that
-- needs no calendar.
SELECT id::VARCHAR AS id, call_sid, direction, status, from_number, to_number, phone_number, customer_number,
       duration_to_seconds(duration) AS duration,
       coalesce(nullif(duration_seconds, 0), nullif(duration_to_seconds(duration), 0),
                CASE WHEN ended_at > started_at THEN TRY_CAST(date_diff('second', make_timestamp(epoch_us(started_at)), make_timestamp(epoch_us(ended_at))) AS INTEGER) END,
                duration_seconds, duration_to_seconds(duration)) AS duration_seconds,
       cost, summary, turns_of_call(transcript, metadata) AS transcript, recording_url, provider, started_at, ended_at, created_at,
       assistant_id::VARCHAR AS assistant_id, metadata, stt_minutes, tts_characters
FROM {{rows}}
