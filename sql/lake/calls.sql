-- The published calls. Ids are text, because few readers of Parquet know its UUIDs. duration is the platform's duration text in seconds. duration_seconds is the platform's own
-- figure, or duration, or the time between start and end. The timestamps are compared without a time zone, because that
-- needs no calendar. The arguments of macros are columns, because DuckDB binds an argument once for each use in the macro.
SELECT id::VARCHAR AS id, call_sid, direction, status, from_number, to_number, phone_number, customer_number,
       seconds AS duration,
       coalesce(nullif(duration_seconds, 0), nullif(seconds, 0),
                CASE WHEN ended_at > started_at THEN TRY_CAST(date_diff('second', make_timestamp(epoch_us(started_at)), make_timestamp(epoch_us(ended_at))) AS INTEGER) END,
                duration_seconds, seconds) AS duration_seconds,
       cost, summary, turns(said) AS transcript, recording_url, provider, started_at, ended_at, created_at,
       assistant_id::VARCHAR AS assistant_id, metadata, stt_minutes, tts_characters
FROM (SELECT *, duration_to_seconds(duration) AS seconds, coalesce(transcript, metadata -> '$.transcript') AS said FROM {{rows}})
