SELECT hex(digest), outcome::VARCHAR, epoch_us(noted_at)::VARCHAR
FROM pushes WHERE key = {{key}} AND noted_at > {{since}} ORDER BY noted_at DESC LIMIT 1;
