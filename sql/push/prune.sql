-- Deletes idempotency records that are too old, and all except the newest {{most}}.
DELETE FROM pushes WHERE noted_at <= {{since}} OR noted_at < (SELECT noted_at FROM pushes ORDER BY noted_at DESC LIMIT 1 OFFSET {{most}});
