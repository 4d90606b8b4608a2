SELECT digest, outcome::VARCHAR, noted_at FROM pushes WHERE key = $key AND noted_at > $since ORDER BY noted_at DESC LIMIT 1;
